"""A document's shape, and the limits of a request's parameters: every problem, in words."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from batchembed.core.problems import Problem
from batchembed.manifest import schema
from batchembed.manifest.document import Document, Path, Value, word
from batchembed.manifest.explain import Fault, explain

VERSION = 1

#: A parameter's value as a key of a cache.
Frozen: TypeAlias = "bool | int | float | str | tuple[Frozen, ...] | None"


def version_problem(document: Document) -> Problem | None:
    """A manifest of another version is not looked at any further."""
    if not isinstance(document.value, dict) or not document.sees(("version",)):
        return None
    version = document.value.get("version", VERSION)
    if type(version) is int and version == VERSION:
        return None
    return document.problem(
        ("version",),
        f"version {word(version)} is not known here; this batchembed reads version {VERSION}",
        code="version",
        hint=f"write `version: {VERSION}`, or use the batchembed that the manifest was written for",
    )


def check_shape(document: Document) -> tuple[list[Problem], Document]:
    """The schema's problems, and the document without the values that have one.

    What is left has the types that the schema says, so that later layers need not look again.
    """
    validator = schema.shape_validator()
    faults = [
        fault
        for fault in explain(validator.iter_errors(document.value))
        if document.sees(fault.path)
    ]
    problems = [
        document.problem(fault.path, fault.message, code=fault.code, hint=fault.hint, key=fault.key)
        for fault in faults
    ]
    return problems, _without(document, [fault for fault in faults if fault.code != "missing_key"])


def _without(document: Document, faults: Iterable[Fault]) -> Document:
    units = {_unit(fault.path) for fault in faults} | {_unit(path) for path in document.blind}
    if not units:
        return document
    value = copy.deepcopy(document.value)
    for unit in units:
        _drop(value, unit)
    return dataclasses.replace(document, value=None if () in units else value)


def _unit(path: Path) -> Path:
    """The smallest whole thing that a bad value spoils: a key, a video's key, a metadata key."""
    depth = 3 if path[:1] == ("videos",) else 2
    return path[: depth + 1] if path[depth - 1 : depth] == ("metadata",) else path[:depth]


def _drop(value: Value, path: Path) -> None:
    """Take what stands at `path` out of `value`; an item of a list becomes None."""
    *way, last = path or (0,)
    for step in way:
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        elif isinstance(value, dict) and step in value:
            value = value[str(step)]
    if isinstance(value, list) and isinstance(last, int):
        value[last] = None
    elif isinstance(value, dict):
        value.pop(str(last), None)


def limit_faults(model: str, given: Mapping[str, Value]) -> tuple[Fault, ...]:
    """What is wrong with the parameters of one request to `model`, by the model's limits.

    Videos share few sets of parameters, so each set is looked at once.
    """
    return _limit_faults(model, tuple((key, freeze(given[key])) for key in sorted(given)))


@functools.lru_cache(maxsize=4096)
def _limit_faults(model: str, given: tuple[tuple[str, Frozen], ...]) -> tuple[Fault, ...]:
    values = {key: thaw(value) for key, value in given}
    return tuple(explain(schema.limits_validator(model).iter_errors(values)))


def freeze(value: Value) -> Frozen:
    """The value as something hashable."""
    if isinstance(value, dict):
        return tuple((key, freeze(item)) for key, item in value.items())
    return tuple(freeze(item) for item in value) if isinstance(value, list) else value


def thaw(value: Frozen) -> object:
    """The list that `freeze` made a tuple of, or the value."""
    return [thaw(item) for item in value] if isinstance(value, tuple) else value


def unique(problems: Sequence[Problem], *, first: str) -> list[Problem]:
    """Each problem once, by place; those of the file `first` before all others."""
    return sorted(
        dict.fromkeys(problems),
        key=lambda problem: (problem.place.file != first, problem.place, problem.message),
    )
