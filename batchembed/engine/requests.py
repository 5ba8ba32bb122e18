"""A create's form -> what is to be embedded, refused as the document refuses. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from batchembed.core.keys import digest
from batchembed.core.model import Parameters
from batchembed.engine.refusal import Refusal, invalid
from batchembed.profiles import parameter_breaches, parameters

MODEL_NAME = "local-v1"

_NUMBERS = ("video_clip_length", "video_start_offset_sec", "video_end_offset_sec")
_KNOWN = frozenset({"model_name", "video_file", "video_url", "video_embedding_scope", *_NUMBERS})
#: JSON's numbers: Python's own reading would take `1_0`, ` 6 ` and `infinity`.
_NUMBER = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")

#: Of seconds: no video is so long, and milliseconds of it can still be counted.
_LARGEST_NUMBER = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A create that passed every check that needs no video.

    `video_url` is what to embed where it is set, whatever else was sent; else it is the file.
    """

    parameters: Parameters
    video_url: str | None

    def digest(self, content: str) -> str:
        """What two creates under one Idempotency-Key must share.

        Args:
            content: sha256 of the file's bytes, or the URL.
        """
        asked = self.parameters
        return digest(
            {
                "content": content,
                "model_name": asked.model_name,
                "video_clip_length": asked.video_clip_length,
                "video_embedding_scope": list(asked.video_embedding_scope),
                "video_start_offset_sec": asked.video_start_offset_sec,
                "video_end_offset_sec": asked.video_end_offset_sec,
            }
        )


def read_form(
    fields: Sequence[tuple[str, str]], *, has_file: bool, aliases: Collection[str] = ()
) -> CreateRequest:
    """Check a form's fields.

    Args:
        fields: names and texts; an empty text counts as not given, for that is what the official
            SDK sends for an explicit None.
        has_file: whether `video_file` came, too.
        aliases: further names that the model answers to.

    Raises:
        Refusal: 400 with the document's code and message.
    """
    unknown = sorted({name for name, _ in fields} - _KNOWN)
    if unknown:
        raise Refusal(400, "parameter_unknown", f"The {unknown[0][:200]} parameter is unknown.")
    values = _values([(name, text) for name, text in fields if text])
    model_name = values.pop("model_name", None)
    if model_name is None:
        raise _not_provided("model_name")
    if model_name != MODEL_NAME and model_name not in aliases:
        raise invalid("model_name", f"This engine has {', '.join((MODEL_NAME, *sorted(aliases)))}")
    video_url = values.pop("video_url", None)
    if video_url is None and not has_file:
        raise _not_provided("video_file")
    for reason in parameter_breaches(MODEL_NAME, values):
        raise Refusal(400, reason.code, reason.message)
    return CreateRequest(parameters=parameters(MODEL_NAME, values), video_url=video_url)


def _values(fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in fields:
        if name == "video_embedding_scope":
            values.setdefault(name, []).append(text)
        elif name in values:
            raise invalid(name, "It is given twice")
        else:
            values[name] = _number(name, text) if name in _NUMBERS else text
    return values


def _number(name: str, text: str) -> float:
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    if abs(number) > _LARGEST_NUMBER:
        raise invalid(name, f"{text[:40]!r} is no number")
    return number


def _not_provided(name: str) -> Refusal:
    return Refusal(
        400, "parameter_not_provided", f"The {name} parameter is required but was not provided."
    )
