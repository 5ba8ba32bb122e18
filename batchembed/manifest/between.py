"""What is wrong between videos: ids, sources, metadata types, partitions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from batchembed.core.keys import url_content
from batchembed.core.model import FileSource, Parameters, Source, Video
from batchembed.core.partitions import partition_problem
from batchembed.core.problems import Place, Problem, Scalar
from batchembed.manifest.document import Document, describe

MODEL_COLUMNS = ("model_name", "embedding_option", "embedding_scope")

_LONGEST_PARTITION = 128
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ].*)?|\d{1,2}:\d{2}.*")
_READ_AS_OTHER = frozenset(
    {"true", "false", "yes", "no", "on", "off", "y", "n", "t", "f", "null", "none", "nil"}
    | {"nan", "na", "n/a", "inf", "infinity", "~"}
)


def across(document: Document, videos: Sequence[Video]) -> Iterator[Problem]:
    """Rules that hold between videos: ids, sources, types of metadata."""
    ids: dict[str, Video] = {}
    sources: dict[tuple[str, Parameters], Video] = {}
    types: dict[str, tuple[str, Video]] = {}
    for video in videos:
        first = ids.setdefault(video.video_id, video)
        key = (_identity(video.source), video.parameters)
        same = sources.setdefault(key, video)
        if first is not video:
            hint = (
                "give one of the two an id of its own" if "id" in video.places else "give it an id"
            )
            message = (
                f"the id {video.video_id} is used already {_where(first.place_of('id'), document)}"
            )
            yield document.problem_at(video.place_of("id"), message, code="video_id", hint=hint)
        elif same is not video:
            message = (
                f"the same video with the same parameters stands {_where(same.place, document)}"
            )
            hint = "keep one of the two, or change the parameters of one"
            yield document.problem_at(video.place, message, code="same_video", hint=hint)
        for name, value in video.metadata.items():
            kind = _kind(value)
            seen, other = types.setdefault(name, (kind, video))
            if seen != kind:
                place = video.place_of(f"metadata.{name}")
                there = _where(other.place_of(f"metadata.{name}"), document)
                message = f"{name} is {describe(value)}, and {seen} {there}"
                hint = "a column has one type: write it the same way in every video"
                yield document.problem_at(place, message, code="metadata_type", hint=hint)


def _identity(source: Source) -> str:
    return source.path if isinstance(source, FileSource) else url_content(source.url).digest


def _kind(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


def _where(place: Place, document: Document) -> str:
    if place.file == document.file:
        return f"in line {place.line}"
    return f"in {place.file}" + (f" line {place.line}" if place.line else "")


def widened(videos: Iterable[Video]) -> Mapping[str, type[float]]:
    """The metadata keys whose whole numbers stand beside fractions, and become such."""
    kinds: dict[str, set[type]] = {}
    for video in videos:
        for name, value in video.metadata.items():
            kinds.setdefault(name, set()).add(type(value))
    return {name: float for name, found in kinds.items() if found == {int, float}}


def partition_problems(
    document: Document, partition_by: Sequence[str], videos: Sequence[Video]
) -> Iterator[Problem]:
    """Partition keys that not every video has, and values that readers would take for other than text."""
    for at, key in enumerate(partition_by):
        if key in MODEL_COLUMNS:
            continue
        place = document.place(("output", "partition_by", at))
        without = [video for video in videos if key not in video.metadata]
        if without and len(without) == len(videos):
            names = ", ".join(MODEL_COLUMNS)
            hint = f"use {names}, or a metadata key that every video has"
            message = f"there is nothing called {key} to partition by"
            yield document.problem_at(place, message, code="partition_key", hint=hint)
        elif without:
            there = _where(without[0].place, document)
            message = (
                f"{len(without)} of {len(videos)} videos have no metadata {key}; the first {there}"
            )
            hint = (
                f"give it to every video, or put one under defaults: metadata: {{{key}: unknown}}"
            )
            yield document.problem_at(place, message, code="partition_key", hint=hint)
        for video in videos:
            reason = partition_problem(key, video.metadata[key]) if key in video.metadata else None
            if reason is not None:
                where = video.place_of(f"metadata.{key}")
                yield document.problem_at(
                    where, reason.message, code="partition_value", hint=reason.hint
                )
