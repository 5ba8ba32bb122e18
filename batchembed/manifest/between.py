"""What is wrong between videos: ids, sources, metadata types, partitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from batchembed.core.keys import url_content
from batchembed.core.model import Parameters, Source, UrlSource, Video, address
from batchembed.core.partitions import partition_problem
from batchembed.core.problems import Place, Problem, Scalar
from batchembed.manifest.document import Document, describe
from batchembed.manifest.sources import Listed

MODEL_COLUMNS = ("model_name", "embedding_option", "embedding_scope")


class Claim(NamedTuple):
    """An id that a video has, whether or not something else is wrong with the video."""

    video_id: str
    place: Place
    written: bool  #: else it follows from the source


def claim(video: Listed) -> Claim:
    """The id of a video, and where it comes from."""
    place = video.places.get("id", video.place)
    return Claim(video.video_id, place, "id" in video.places)


def same_ids(document: Document, claims: Iterable[Claim]) -> Iterator[Problem]:
    """Ids that stand twice."""
    ids: dict[str, Claim] = {}
    for each in claims:
        first = ids.setdefault(each.video_id, each)
        if first is not each:
            message = f"the id {each.video_id} is used already {_where(first.place, document)}"
            hint = "give one of the two an id of its own" if each.written else "give it an id"
            yield document.problem_at(each.place, message, code="video_id", hint=hint)


def same_videos(document: Document, videos: Iterable[Video]) -> Iterator[Problem]:
    """Videos that stand twice with the same parameters."""
    sources: dict[tuple[str, Parameters], Video] = {}
    for video in videos:
        first = sources.setdefault((_identity(video.source), video.parameters), video)
        if first is not video:
            there = _where(first.place, document)
            message = f"the same video with the same parameters stands {there}"
            hint = "keep one of the two, or change the parameters of one"
            yield document.problem_at(video.place, message, code="same_video", hint=hint)


def mixed_types(document: Document, videos: Iterable[Video]) -> Iterator[Problem]:
    """Metadata whose type is not the same in every video."""
    types: dict[str, tuple[str, Video]] = {}
    for video in videos:
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
    if isinstance(source, UrlSource):
        return url_content(source.url).digest
    return address(source)


def _kind(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


def _where(place: Place, document: Document) -> str:
    if place.file == document.file:
        return f"in line {place.line}"
    return f"in {place.file}" + (f" {place.path.partition(',')[0]}" if place.line else "")


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
