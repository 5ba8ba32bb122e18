"""Listed videos with their defaults, and what is wrong with each."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchembed import resources
from batchembed.core.model import (
    EngineKind,
    Parameters,
    UrlSource,
    Video,
    VideoId,
)
from batchembed.core.problems import Place, Problem, Scalar
from batchembed.core.rules import window_breaches
from batchembed.manifest.check import limit_faults
from batchembed.manifest.document import Document, Value
from batchembed.manifest.schema import PARAMETERS, model_defaults
from batchembed.manifest.sources import Listed, given_at

_LONGEST_ID = 512
_WINDOW = ("video_end_offset_sec", "video_start_offset_sec", "video_clip_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all videos share."""

    engine: EngineKind
    model_name: str
    profile: str  #: whose limits are enforced


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    """A video's values after defaults, and where each that was written stands."""

    values: Mapping[str, Value]
    metadata: Mapping[str, Scalar]
    places: Mapping[str, Place]
    own: frozenset[str]  #: keys that are not from `defaults`


class Resolver:
    """Applies one document's defaults and one model's limits."""

    def __init__(self, document: Document, setting: Setting) -> None:
        self._document = document
        self._setting = setting
        written = document.at(("defaults",))
        self._given, self._places = given_at(
            document, ("defaults",), written if isinstance(written, dict) else {}
        )
        self._model = model_defaults(setting.profile)

    def default_problems(self) -> Iterator[Problem]:
        """Defaults that break a limit, whether or not a video uses them."""
        given = {key: self._given[key] for key in PARAMETERS if key in self._given}
        for fault in limit_faults(self._setting.profile, given):
            if fault.path:
                place = self._places[str(fault.path[0])]
                yield self._at(place, fault.message, fault.code, fault.hint)

    def resolve(self, listed: Listed) -> tuple[Video | None, list[Problem]]:
        """The video, if what is known of it has no problem, and the problems."""
        merged = self._merge(listed)
        problems = [*self._id_problems(listed), *self._limit_problems(listed, merged)]
        fetches = isinstance(listed.source, UrlSource) and "skip" not in merged.values
        if self._setting.engine is EngineKind.LOCAL and fetches:
            problems.append(
                self._at(
                    listed.places.get("video_url", listed.place),
                    "the engine local fetches nothing from the network",
                    "video_url_local",
                    "download the video and name it under video_file",
                )
            )
        if problems:
            return None, problems
        parameters = self._parameters(merged.values)
        if not listed.unread:
            problems += self._window_problems(listed, merged, parameters)
        return None if problems else self._video(listed, merged, parameters), problems

    def _merge(self, listed: Listed) -> _Merged:
        return _Merged(
            values={**self._model, **self._given, **listed.given},
            metadata={**_metadata(self._given), **_metadata(listed.given)},
            places={**self._places, **listed.places},
            own=frozenset(listed.given),
        )

    def _parameters(self, values: Mapping[str, Value]) -> Parameters:
        return Parameters(
            model_name=self._setting.model_name,
            video_clip_length=_number(values["video_clip_length"]) or 0.0,
            video_embedding_scope=_words(values["video_embedding_scope"]) or (),
            video_start_offset_sec=_number(values.get("video_start_offset_sec")),
            video_end_offset_sec=_number(values.get("video_end_offset_sec")),
        )

    def _video(self, listed: Listed, merged: _Merged, parameters: Parameters) -> Video:
        skip = merged.values.get("skip")
        return Video(
            video_id=VideoId(listed.video_id),
            source=listed.source,
            parameters=parameters,
            embedding_option=_words(merged.values.get("embedding_option")),
            metadata=merged.metadata,
            skip=skip if isinstance(skip, str) else None,
            place=listed.place,
            places=merged.places,
        )

    def _limit_problems(self, listed: Listed, merged: _Merged) -> Iterator[Problem]:
        given = {key: merged.values[key] for key in PARAMETERS if key in merged.values}
        for fault in limit_faults(self._setting.profile, given):
            if listed.unread and not fault.path:
                continue  # an offset that stands alone, when the other may be there
            field = str(fault.path[0]) if fault.path else _lonely(given)
            place = merged.places.get(field, listed.place)
            yield self._at(place, fault.message, fault.code, fault.hint)
        if self._setting.profile == self._setting.model_name:
            return
        known = resources.schema(f"limits/{self._setting.model_name}")["x-model"][
            "embedding_options"
        ]
        foreign = set(_words(given.get("embedding_option")) or ()) - set(known)
        if foreign:
            message = f"{self._setting.model_name} can't rehearse {', '.join(sorted(foreign))}"
            hint = f"it knows {', '.join(known)}"
            place = merged.places["embedding_option"]
            yield self._at(place, message, "embedding_option_invalid", hint)

    def _window_problems(
        self, listed: Listed, merged: _Merged, parameters: Parameters
    ) -> Iterator[Problem]:
        """Between fields the video's own value is to blame before a default."""
        for reason in window_breaches(parameters):
            field = next((key for key in _WINDOW if key in merged.own), reason.field or "")
            place = merged.places.get(field, listed.place)
            yield self._at(place, reason.message, reason.code, reason.hint)

    def _id_problems(self, listed: Listed) -> Iterator[Problem]:
        place = listed.places.get("id", listed.place)
        fault = id_fault(listed.video_id)
        if fault is not None:
            message, hint = fault
            yield self._at(place, message, "video_id", hint)

    def _at(self, place: Place, message: str, code: str, hint: str | None) -> Problem:
        return self._document.problem_at(place, message, code=code, hint=hint)


def id_fault(video_id: str) -> tuple[str, str] | None:
    """What is wrong with an id, and what to do."""
    if not video_id.strip():
        return "the id is empty", "write an id, or leave the key out"
    if len(video_id) > _LONGEST_ID:
        return (
            f"the id has {len(video_id)} characters; at most {_LONGEST_ID} are allowed",
            "shorten it",
        )
    if not video_id.isprintable():
        return f"the id {video_id[:40]!r} has characters that can't be shown", "give it a plain id"
    if not unicodedata.is_normalized("NFC", video_id):
        return (
            "the id is not in Unicode's composed form (NFC)",
            "type it again, or copy it composed",
        )
    return None


def _metadata(given: Mapping[str, Value]) -> dict[str, Scalar]:
    words = given.get("metadata")
    return {
        key: value
        for key, value in (words.items() if isinstance(words, dict) else ())
        if isinstance(value, bool | int | float | str)
    }


def _lonely(given: Mapping[str, Value]) -> str:
    start = "video_start_offset_sec"
    return start if start in given else "video_end_offset_sec"


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _words(value: Value) -> tuple[str, ...] | None:
    return tuple(str(word) for word in value) if isinstance(value, list) else None
