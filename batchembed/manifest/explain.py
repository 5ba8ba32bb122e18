"""Schema errors in words that a person can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jsonschema import ValidationError

from batchembed.manifest.document import Path, describe
from batchembed.manifest.scalars import is_text

_TYPES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:\.\d+)?)")
_UNITS = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s(?:ec)?)?")
_MANY = 14
#: Keys of the manifest that one might look for in a video.
_TOP = {
    "model_name": "one dataset, one model",
    "engine": "one run, one engine",
}


class Fault(NamedTuple):
    """What is wrong at `path`; `key` says that the key itself is."""

    path: Path
    message: str
    code: str
    hint: str | None = None
    key: bool = False


def explain(errors: Iterable[ValidationError]) -> Iterator[Fault]:
    """Each error as one fault or more."""
    for error in errors:
        yield from _explain(error)


def _explain(error: ValidationError) -> Iterator[Fault]:
    path: Path = tuple(error.absolute_path)
    rule = str(error.validator)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    if rule == "additionalProperties":
        yield from _unknown_keys(path, error.instance, schema)
        return
    if "propertyNames" in error.relative_schema_path:
        name = str(error.instance)
        message = f"{_said(schema, rule) or error.message}: {_short(name)}"
        hint = f"call it my_{name}" if rule == "not" else schema.get("x-hint")
        yield Fault((*path, name), message, "metadata_key", hint, key=True)
        return
    message = _message(rule, error, schema)
    hint = _hint(rule, error, schema)
    yield Fault(path, message, _CODES.get(rule, "invalid"), hint, key=rule == "not")


_CODES = {
    "required": "missing_key",
    "anyOf": "missing_key",
    "type": "type",
    "enum": "value",
    "const": "value",
    "not": "misplaced_key",
    "dependentRequired": "parameter_invalid",
    "minimum": "range",
    "maximum": "range",
}


def _message(rule: str, error: ValidationError, schema: Mapping[str, Any]) -> str:
    value: Any = error.instance
    limit: Any = error.validator_value
    said = _said(schema, rule)
    if said is not None:
        shows = rule in _SHOW_VALUE and not schema.get("x-secret", False)
        return f"{said}; this is {describe(value)}" if shows else said
    match rule:
        case "required":
            return f"the key `{_missing(error)}` is missing"
        case "dependentRequired":
            return _lonely_offset(value)
        case "type":
            words = _either([_TYPES[name] for name in _names(limit) if not _implied(name, limit)])
            return f"must be {words}, and is {describe(value)}"
        case "enum" | "const":
            legal = _either([_plain(item) for item in (limit if rule == "enum" else [limit])])
            return f"must be {legal}, and is {describe(value)}"
        case "minimum" | "maximum":
            side = "at least" if rule == "minimum" else "at most"
            return f"must be {side} {limit}, and is {value}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"is too long: {len(value)}, and at most {limit} are allowed"
        case _:
            return _FIXED.get(rule, f"breaks the rule {rule}")


_SHOW_VALUE = frozenset({"pattern", "minimum", "maximum", "const"})
_FIXED = {
    "minLength": "is empty",
    "minItems": "is empty",
    "uniqueItems": "names the same thing twice",
}


def _names(wanted: str | list[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else wanted


def _implied(name: str, wanted: str | list[str]) -> bool:
    """Whether saying another of the wanted types says this one too."""
    return name == "integer" and wanted != "integer" and "number" in wanted


def _missing(error: ValidationError) -> str:
    """The key that a `required` error is about; only its message tells."""
    return error.message.split("'")[1]


def _said(schema: Mapping[str, Any], rule: str) -> str | None:
    messages: Mapping[str, str] = schema.get("x-messages", {})
    return messages.get(rule)


def _lonely_offset(value: Mapping[str, object]) -> str:
    pair = ("video_start_offset_sec", "video_end_offset_sec")
    given, missing = pair if pair[0] in value else reversed(pair)
    return f"{given} is set without {missing}"


def _hint(rule: str, error: ValidationError, schema: Mapping[str, Any]) -> str | None:
    value: Any = error.instance
    limit: Any = error.validator_value
    own: str | None = schema.get("x-hint")
    if rule == "dependentRequired":
        return "set both offsets, or neither"
    if rule == "type":
        return _type_hint(value, _names(limit), schema.get("x-unit")) or own
    if rule == "enum" and isinstance(value, str):
        near = closest(value, [item for item in limit if isinstance(item, str)])
        return f"did you mean {near}?" if near else own
    if rule == "required":
        return _example_of(error, schema)
    return own


def _type_hint(value: object, wanted: list[str], unit: str | None) -> str | None:
    numeric = "number" in wanted or "integer" in wanted
    if isinstance(value, str) and numeric:
        seconds = _seconds(value)
        if seconds is not None:
            minutes = unit == "min"
            return f"write minutes: {seconds / 60:g}" if minutes else f"write seconds: {seconds:g}"
        return None if is_text(value) else f"take the quotes off: {value}"
    if isinstance(value, str) and "array" in wanted:
        return f"write a list: [{_short(value)}]"
    if isinstance(value, bool | int | float) and "string" in wanted:
        word = str(value).lower() if isinstance(value, bool) else str(value)
        return f'quote it: "{word}"'
    if value is None:
        return "write a value, or take the line out"
    return None


def _seconds(text: str) -> float | None:
    """The seconds that a text such as 1:30 or 1m30s stands for."""
    clock = _CLOCK.fullmatch(text) or (_UNITS.fullmatch(text) if text else None)
    if clock is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    return hours * 3600 + minutes * 60 + seconds


def _example_of(error: ValidationError, schema: Mapping[str, Any]) -> str | None:
    missing = _missing(error)
    found = schema.get("properties", {}).get(missing, {})
    if "const" in found:
        return f"add `{missing}: {found['const']}`"
    hint = found.get("x-hint")
    return f"add it: {hint}" if hint else f"add `{missing}: ...`"


def _unknown_keys(path: Path, value: object, schema: Mapping[str, Any]) -> Iterator[Fault]:
    legal = list(schema.get("properties", {}))
    for key in value if isinstance(value, dict) else ():
        if key in legal:
            continue
        near = closest(key, legal)
        hint = f"did you mean {near}?" if near else None
        if key in _TOP:
            hint = f"{key} goes at the top of the manifest: {_TOP[key]}"
        if hint is None and len(legal) <= _MANY:
            hint = f"the keys here are {', '.join(legal)}"
        yield Fault((*path, key), f"unknown key `{_short(key)}`", "unknown_key", hint, key=True)


def closest(word: str, legal: Iterable[str]) -> str | None:
    """The legal word that `word` was probably meant to be."""
    folded = {item.casefold(): item for item in legal}
    near = difflib.get_close_matches(word[:100].casefold().replace("-", "_"), folded, 1, 0.6)
    if not near:
        near = difflib.get_close_matches(word[:100].casefold(), folded, 1, 0.6)
    return folded[near[0]] if near else None


def _plain(value: object) -> str:
    """A legal value as one would write it."""
    if isinstance(value, list):
        return f"[{', '.join(_plain(item) for item in value)}]"
    return str(value)


def _either(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _short(word: object) -> str:
    text = str(word)
    return text if len(text) <= 40 else f"{text[:40]}..."
