"""Reads what `serve --faults` is to do wrong: strict YAML, checked like a manifest."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import msgspec
from jsonschema import Draft202012Validator

from batchembed import resources
from batchembed.core.problems import ManifestError
from batchembed.engine.faults.plan import FaultPlan
from batchembed.manifest.check import unique
from batchembed.manifest.document import Document, Value
from batchembed.manifest.explain import Fault, explain
from batchembed.manifest.load import load


def read_faults(path: str | Path) -> FaultPlan:
    """The plan in the file at `path`.

    Raises:
        InputMissingError: it is not there, or can't be read.
        ManifestError: it is not a list of faults, with everything that is wrong.
    """
    document = _load(path)
    problems = [
        document.problem(fault.path, fault.message, code=fault.code, hint=fault.hint, key=fault.key)
        for fault in explain(_validator().iter_errors(document.value))
        if _is_known(document, fault)
    ]
    if problems or document.problems:
        raise ManifestError(unique([*document.problems, *problems], first=document.file))
    return msgspec.convert(_whole(document.value), FaultPlan)


def _load(path: str | Path) -> Document:
    """The file as a document; an empty one is told what faults begin with, not manifests."""
    try:
        return load(path)
    except ManifestError as error:
        raise ManifestError(
            [
                replace(problem, message="the file is empty", hint="it begins with `rules:`")
                if problem.code == "empty"
                else problem
                for problem in error.problems
            ]
        ) from error


@functools.cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(resources.schema("faults"))


def _is_known(document: Document, fault: Fault) -> bool:
    """Whether what is told was read: not of a value, or a missing key, that could not be."""
    missing = fault.code == "missing_key" and fault.path in document.partial
    return document.sees(fault.path) and not missing


def _whole(value: Value) -> Value:
    """The value with 3.0 as 3, which are one number for JSON Schema and two for msgspec."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(item) for item in value]
        case dict():
            return {key: _whole(item) for key, item in value.items()}
        case _:
            return value
