"""Whether a video is one that the model takes: its facts against the published limits.

The limits are JSON Schema (`schemas/limits`), which also says how each breach is called. Here it
is applied, and each breach put in words with the value and the limit.
"""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

import jsonschema

from batchembed import resources
from batchembed.core import rules
from batchembed.core.model import Facts, Parameters, Profile
from batchembed.core.problems import Reason, Scalar

_NO_EMBEDDINGS = "embed_no_embeddings_found"
#: A limit whose schema names no code of the service for its breach.
_OTHER_LIMIT = "video_outside_limits"

#: Videos whose limits need not be judged again: 0.3 KB each.
_REMEMBERED = 1 << 17

#: What to do about a breach, by its code.
_HINTS = {
    "video_resolution_too_low": "use a larger original, or leave the video out",
    "video_resolution_too_high": "scale the video down",
    "video_resolution_invalid_aspect_ratio": "crop or pad the video",
    "video_duration_too_short": "leave the video out, or join it with another",
    "video_duration_too_long": "split the file: offsets do not make it legal",
    "video_filesize_too_large": "encode it at a lower bit rate, or split the file",
}


@functools.cache
def profile(name: str) -> Profile:
    """What is published of the model of this name.

    Raises:
        FileNotFoundError: it has no profile.
    """
    schema = resources.schema(f"limits/{name}")
    model = schema["x-model"]
    durations = schema["$defs"]["video"].get("properties", {}).get("duration_sec", {})
    return Profile(
        name=name,
        dimension=model["dimension"],
        embedding_options=tuple(model["embedding_options"]),
        audio_options=frozenset(model["audio_options"]),
        unit_length=model["unit_length"],
        longest_video_sec=durations.get("maximum"),
    )


def breaches(
    facts: Facts,
    parameters: Parameters,
    wanted_options: tuple[str, ...] | None,
    profile_name: str,
) -> tuple[Reason, ...]:
    """Every reason why the model would refuse this video with these parameters; empty if none.

    Args:
        facts: of the video.
        parameters: of the request, already legal by themselves.
        wanted_options: those to be kept, or None for all that the video has.
        profile_name: the model whose limits are enforced.

    Raises:
        FileNotFoundError: there is no such profile.
    """
    return (
        *_limit_breaches(facts, profile_name),
        *rules.window_breaches_in(parameters, facts),
        *_option_breaches(facts, wanted_options, profile(profile_name)),
    )


@functools.cache
def _validator(profile_name: str) -> jsonschema.Draft202012Validator:
    published = resources.schema(f"limits/{profile_name}")
    return jsonschema.Draft202012Validator({"$defs": published["$defs"], "$ref": "#/$defs/video"})


@functools.lru_cache(_REMEMBERED)
def _limit_breaches(facts: Facts, profile_name: str) -> tuple[Reason, ...]:
    """Remembered, because a run judges a video each time that it learns more of it."""
    instance = asdict(facts) | {
        "short_side": min(facts.width, facts.height),
        "long_side": max(facts.width, facts.height),
    }
    return tuple(_reason(error, facts) for error in _validator(profile_name).iter_errors(instance))


def _reason(error: jsonschema.ValidationError, facts: Facts) -> Reason:
    """Put a breach in words, by the annotations of the rule that is broken."""
    rule = error.schema if isinstance(error.schema, dict) else {}
    code = rule.get("x-codes", {}).get(error.validator, _OTHER_LIMIT)
    limit = ", ".join(rule["x-legal"]) if "x-legal" in rule else error.validator_value
    return Reason(
        code=code,
        message=_message(error, rule, facts),
        value=_scalar(error.instance),
        limit=_scalar(limit),
        hint=_HINTS.get(code),
    )


def _message(error: jsonschema.ValidationError, rule: dict[str, Any], facts: Facts) -> str:
    name = str(error.absolute_path[-1]) if error.absolute_path else "video"
    if error.validator not in {"minimum", "maximum", "anyOf"}:
        return f"{name}: {error.message}"
    unit = f" {rule['x-unit']}" if "x-unit" in rule else ""
    subject = _subject(name, f"{_number(error.instance)}{unit}", facts)
    if "x-legal" in rule:
        relation = "is none of" if error.validator == "anyOf" else "is outside"
        return f"{subject} {relation} {', '.join(rule['x-legal'])}"
    side = "below" if error.validator == "minimum" else "above"
    return f"{subject} is {side} the limit of {_number(error.validator_value)}{unit}"


def _subject(name: str, value: str, facts: Facts) -> str:
    match name:
        case "short_side" | "long_side":
            which = "shorter" if name == "short_side" else "longer"
            return f"resolution {facts.width}x{facts.height}: the {which} side, {value},"
        case "duration_sec":
            return f"duration {value}"
        case "size_bytes":
            return f"file size {value}"
        case _:
            return f"{name.replace('_', ' ')} {value}"


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{round(value, 3):,}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _scalar(value: object) -> Scalar | None:
    return value if isinstance(value, bool | int | float | str) else None


def _option_breaches(
    facts: Facts, wanted: tuple[str, ...] | None, published: Profile
) -> tuple[Reason, ...]:
    """A video that has none of what is wanted would be paid for in vain."""
    if not wanted:
        return ()
    absent = rules.options_absent(wanted, facts, audio_options=published.audio_options)
    if absent != wanted:
        return ()
    listed = ", ".join(wanted)
    return (
        Reason(
            code=_NO_EMBEDDINGS,
            field="embedding_option",
            message=f"the video has no sound, and only {listed} is wanted of it",
            value=listed,
            hint="add an option made of pictures to embedding_option, or leave it out",
        ),
    )
