"""What a request may ask of a model: the published profile's `$defs/parameters`, applied.

Client and engine hold a request to it alike. The manifest's checker, which blames lines, has words
of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

import jsonschema

from batchembed import resources
from batchembed.core.model import Parameters
from batchembed.core.problems import Reason
from batchembed.core.rules import window_breaches

_OFFSETS = ("video_start_offset_sec", "video_end_offset_sec")
_SECONDS = {"type": "number", "minimum": 0, "x-hint": "seconds, 0 or more"}
#: What the document says of every model, for those that have no published profile.
_UNPUBLISHED: dict[str, Any] = {
    "properties": {
        "video_clip_length": {**_SECONDS, "default": 6},
        "video_embedding_scope": {"type": "array", "default": ["clip"]},
        **dict.fromkeys(_OFFSETS, _SECONDS),
    },
    "dependentRequired": {_OFFSETS[0]: [_OFFSETS[1]], _OFFSETS[1]: [_OFFSETS[0]]},
}


def parameter_breaches(model_name: str, given: Mapping[str, Any]) -> tuple[Reason, ...]:
    """Every rule that the parameters of a create break, in the document's words.

    Args:
        model_name: whose profile holds; a model without one is held to what holds for all.
        given: the parameters that are given: clip length and offsets in seconds, the scope as a
            list of text.
    """
    breaches = tuple(_reason(error) for error in _validator(model_name).iter_errors(given))
    return breaches or window_breaches(parameters(model_name, given))


def parameters(model_name: str, given: Mapping[str, Any]) -> Parameters:
    """The parameters of a create, each as it is given or by the model's default."""
    known = _parameters_schema(model_name)["properties"]
    values = {name: known[name]["default"] for name in known if "default" in known[name]}
    values.update(given)
    return Parameters(
        model_name=model_name,
        video_clip_length=values["video_clip_length"],
        video_embedding_scope=tuple(values["video_embedding_scope"]),
        video_start_offset_sec=values.get("video_start_offset_sec"),
        video_end_offset_sec=values.get("video_end_offset_sec"),
    )


def _parameters_schema(model_name: str) -> dict[str, Any]:
    if model_name not in resources.model_names():
        return _UNPUBLISHED
    definition: dict[str, Any] = resources.schema(f"limits/{model_name}")["$defs"]["parameters"]
    return definition


@functools.lru_cache(maxsize=16)
def _validator(model_name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_parameters_schema(model_name))


def _reason(error: jsonschema.ValidationError) -> Reason:
    """A breach in the document's words where the schema has them."""
    rule: Mapping[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "dependentRequired":
        instance = cast("Mapping[str, Any]", error.instance)
        field = next(name for name in _OFFSETS if name in instance)
        said = f"The {field} parameter is invalid. Set both {' and '.join(_OFFSETS)}, or neither"
    else:
        field = str(error.absolute_path[0])
        said = rule.get("x-messages", {}).get(error.validator) or (
            f"The {field} parameter is invalid. It is {rule.get('x-hint', error.message)}"
        )
    return Reason(code="parameter_invalid", field=field, message=said, hint=rule.get("x-hint"))
