"""`--set key=value`: changes to a document before it is checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from batchembed.core.problems import ManifestError, Place, Problem
from batchembed.manifest.document import OVERRIDE, Document, Mark, Path, Value, show
from batchembed.manifest.load import load_text

_MARK = Mark(0, 0)
_ITEM = re.compile(r"\[(\d{1,9})\]")


def override(document: Document, overrides: Sequence[str]) -> Document:
    """The document with each `key=value` put in, in order.

    The key is a dotted path, with numbers for the items of a list (`videos.0.id` or `videos[0].id`);
    the value is YAML. What can't be put in becomes one of the document's problems; an unknown key is left to the schema.
    """
    for text in overrides:
        document = _override(document, text)
    return document


def _override(document: Document, text: str) -> Document:
    key, equals, word = text.partition("=")
    steps = _ITEM.sub(r".\1", key).split(".")
    if not equals or "" in steps:
        return _refused(document, (), f"{text!r} is not key=value", "such as concurrency.workers=1")
    path: Path = tuple(int(step) if step.isdecimal() else step for step in steps)
    try:
        value = load_text(word, OVERRIDE).value if word.strip() else None
    except ManifestError as error:
        return _refused(document, path, f"{word!r}: {error.problems[0].message}", "quote the value")
    try:
        changed = _put(document.value, path, value)
    except LookupError as error:
        return _refused(document, path, str(error.args[0]), "see the manifest for its entries")
    inside = len(path)
    marks = {at: mark for at, mark in document.marks.items() if at[:inside] != path}
    ends = range(1, inside + 1)
    fresh = {path[:end]: _MARK for end in ends if path[:end] not in document.marks}
    return dataclasses.replace(
        document,
        value=changed,
        marks={**fresh, **marks, path: _MARK},
        keys={**document.keys, **fresh, path: _MARK},
        blind=frozenset(at for at in document.blind if at[:inside] != path),
    )


def _put(value: Value, path: Path, new: Value) -> Value:
    """A copy of `value` with `new` at `path`; mappings on the way are made.

    Raises:
        LookupError: there is no such place; its argument says why.
    """
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        if not isinstance(step, int) or step >= len(value):
            raise LookupError(f"there is no item {step}: the list has {len(value)}, counted from 0")
        return [_put(item, rest, new) if at == step else item for at, item in enumerate(value)]
    if value is None:
        value = {}
    if isinstance(value, dict):
        return {**value, str(step): _put(value.get(str(step)), rest, new)}
    if step in {"base_url", "api_key_env"} and isinstance(value, str):
        return {"kind": value, str(step): new}  # `engine: twelvelabs` is short for a mapping
    raise LookupError(f"there is no {step!r} in a plain value")


def _refused(document: Document, path: Path, message: str, hint: str) -> Document:
    place = Place(file=OVERRIDE, line=0, column=0, path=show(path))
    problem = Problem(place=place, message=message, code="override", hint=hint)
    return dataclasses.replace(document, problems=(*document.problems, problem))
