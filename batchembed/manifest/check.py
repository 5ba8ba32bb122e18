"""A document's shape, and the limits of a request's parameters: every problem, in words."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from batchembed.core.problems import Problem
from batchembed.manifest import schema
from batchembed.manifest.document import Document, Path, Value, word
from batchembed.manifest.explain import Fault, explain

VERSION = 1

_PLAIN_TEXT = 512
#: What may be there, under a key that could not be read.
_ABSENCES = frozenset({"missing_key", "parameter_invalid"})


def version_problem(document: Document) -> Problem | None:
    """A manifest of another version is not looked at any further."""
    if not isinstance(document.value, dict) or not document.sees(("version",)):
        return None
    version = document.value.get("version", VERSION)
    if str(version) == str(VERSION):  # the schema says so if it is text
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
    faults = [
        fault
        for fault in _shape_faults(document.value)
        if document.sees(fault.path)
        and not (fault.code in _ABSENCES and fault.path in document.partial)
    ]
    problems = [
        document.problem(fault.path, fault.message, code=fault.code, hint=fault.hint, key=fault.key)
        for fault in faults
    ]
    return problems, _without(document, [fault for fault in faults if fault.code != "missing_key"])


def _shape_faults(value: Value) -> Iterator[Fault]:
    """What the schema says of the whole; of the videos only those are put before it that may break it."""
    videos = value.get("videos") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(videos, list) or not videos:
        yield from explain(schema.shape_validator().iter_errors(value))
        return
    suspects = [at for at, entry in enumerate(videos) if not _sound(json.dumps(_like(entry)))]
    shown: list[Value] = [videos[at] for at in suspects or [0]]
    for fault in explain(schema.shape_validator().iter_errors({**value, "videos": shown})):
        if suspects and fault.path[:1] == ("videos",) and len(fault.path) > 1:
            yield fault._replace(path=("videos", suspects[int(fault.path[1])], *fault.path[2:]))
        else:
            yield fault


def _like(value: Value) -> Value:
    """A value that an entry's schema can't tell from `value`, and that many entries share.

    The schema of an entry asks for types, and of text for a length and a first character.
    """
    match value:
        case bool() | None:
            return value
        case int():
            return 1
        case float():
            return 1.5
        case str():
            return "text" if 0 < len(value) <= _PLAIN_TEXT and value[0] != "~" else value
        case list():
            return [_like(item) for item in value] if len(value) < 2 else value
        case _:
            return {key: _like(item) for key, item in value.items()}


@functools.lru_cache(maxsize=4096)
def _sound(entry: str) -> bool:
    """Whether an entry, as JSON, breaks no rule of the schema."""
    return schema.entry_validator().is_valid(json.loads(entry))


def _without(document: Document, faults: Iterable[Fault]) -> Document:
    units = {_unit(fault.path) for fault in faults} | {_unit(path) for path in document.blind}
    if not units:
        return document
    value = copy.deepcopy(document.value)
    for unit in units - {()}:
        _drop(value, unit)
    return dataclasses.replace(document, value=None if () in units else value)


def _unit(path: Path) -> Path:
    """The smallest whole thing that a bad value spoils: a key, a video's key, a metadata key."""
    depth = 3 if path[:1] == ("videos",) else 2
    return path[: depth + 1] if path[depth - 1 : depth] == ("metadata",) else path[:depth]


def _drop(value: Value, path: Path) -> None:
    """Take what stands at `path` out of `value`; an item of a list becomes None."""
    *way, last = path
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
    return _limit_faults(model, json.dumps(given))


@functools.lru_cache(maxsize=4096)
def _limit_faults(model: str, given: str) -> tuple[Fault, ...]:
    return tuple(explain(schema.limits_validator(model).iter_errors(json.loads(given))))


def unique(problems: Sequence[Problem], *, first: str) -> list[Problem]:
    """Each problem once, by place; those of the file `first` before all others."""
    return sorted(
        dict.fromkeys(problems),
        key=lambda problem: (problem.place.file != first, problem.place, problem.message),
    )
