"""A create's form -> what is to be embedded, refused as the document refuses. Pure."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema

from batchembed import resources
from batchembed.api.models import CreateForm
from batchembed.core.keys import digest
from batchembed.core.model import Parameters
from batchembed.core.rules import window_breaches
from batchembed.engine.refusal import Refusal

MODEL_NAME = "local-v1"

_NUMBERS = ("video_clip_length", "video_start_offset_sec", "video_end_offset_sec")
_KNOWN = frozenset({"model_name", "video_file", "video_url", "video_embedding_scope", *_NUMBERS})


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A create that passed every check that needs no video."""

    parameters: Parameters

    def digest(self, content_sha256: str) -> str:
        """What two creates under one Idempotency-Key must share."""
        asked = self.parameters
        return digest(
            {
                "content": content_sha256,
                "model_name": asked.model_name,
                "video_clip_length": asked.video_clip_length,
                "video_embedding_scope": list(asked.video_embedding_scope),
                "video_start_offset_sec": asked.video_start_offset_sec,
                "video_end_offset_sec": asked.video_end_offset_sec,
            }
        )


def read_form(form: CreateForm) -> CreateRequest:
    """Check a form.

    Raises:
        Refusal: 400 with the document's code and message.
    """
    unknown = sorted({name for name, _ in form.fields} - _KNOWN)
    if unknown:
        raise Refusal(400, "parameter_unknown", f"The {unknown[0]} parameter is unknown.")
    values = _values(form)
    model_name = values.pop("model_name", None)
    if model_name is None:
        raise _not_provided("model_name")
    if model_name != MODEL_NAME:
        raise _invalid("model_name", f"This engine has {MODEL_NAME}")
    if values.pop("video_url", None) is not None:
        raise _invalid("video_url", "This engine fetches no URL: upload the file as video_file")
    if form.upload is None:
        raise _not_provided("video_file")
    _require_schema(values)
    parameters = Parameters(
        model_name=model_name,
        video_clip_length=values.get("video_clip_length", _default("video_clip_length")),
        video_embedding_scope=tuple(
            values.get("video_embedding_scope", _default("video_embedding_scope"))
        ),
        video_start_offset_sec=values.get("video_start_offset_sec"),
        video_end_offset_sec=values.get("video_end_offset_sec"),
    )
    for reason in window_breaches(parameters):
        raise Refusal(400, reason.code, reason.message)
    return CreateRequest(parameters=parameters)


def _values(form: CreateForm) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in form.fields:
        if name == "video_embedding_scope":
            values.setdefault(name, []).append(text)
        elif name in values:
            raise _invalid(name, "It is given twice")
        else:
            values[name] = _number(name, text) if name in _NUMBERS else text
    return values


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _invalid(name, f"{text[:40]!r} is no number") from None
    if not math.isfinite(number):
        raise _invalid(name, f"{text[:40]!r} is no number")
    return number


def _require_schema(values: Mapping[str, Any]) -> None:
    for error in _validator().iter_errors(values):
        if error.validator == "dependentRequired":
            raise _invalid(
                next(iter(values.keys() & {"video_start_offset_sec", "video_end_offset_sec"})),
                "Set both video_start_offset_sec and video_end_offset_sec, or neither",
            )
        name = str(error.absolute_path[0])
        said = error.schema.get("x-messages", {}).get(error.validator)
        if said is not None:
            raise Refusal(400, "parameter_invalid", said)
        raise _invalid(name, error.schema.get("x-hint", error.message))


@functools.cache
def _parameters_schema() -> dict[str, Any]:
    definition: dict[str, Any] = resources.schema(f"limits/{MODEL_NAME}")["$defs"]["parameters"]
    return definition


@functools.cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_parameters_schema())


def _default(name: str) -> Any:  # noqa: ANN401  the schema's own value
    return _parameters_schema()["properties"][name]["default"]


def _invalid(name: str, why: str) -> Refusal:
    return Refusal(400, "parameter_invalid", f"The {name} parameter is invalid. {why}")


def _not_provided(name: str) -> Refusal:
    return Refusal(
        400, "parameter_not_provided", f"The {name} parameter is required but was not provided."
    )
