"""What a person may write in a manifest, and the films that it may name: values alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import NamedTuple

from batchembed.core.keys import job_key
from batchembed.core.model import Content, Facts, JobKey, Parameters, Profile, VideoId
from batchembed.core.problems import Scalar
from batchembed.core.segments import cut, window
from tests.stateful.service import vector_of

OPTIONS = ("audio", "visual-text")
CLIP_SEC = 6.0
PROFILE = Profile(
    name="local-v1",
    dimension=3,
    embedding_options=OPTIONS,
    audio_options=frozenset({"audio"}),
    unit_length=False,
    longest_video_sec=7_200.0,
)
#: By slot. A group may end after the first three.
VIDEO_IDS = tuple(map(VideoId, ("v42", "v511", "v840", *(f"v{n}" for n in range(6)))))


@dataclass(frozen=True, kw_only=True)
class Film:
    """The content of a file."""

    title: str
    duration_sec: float

    @property
    def content(self) -> bytes:
        return self.title.encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def facts(self) -> Facts:
        return Facts(
            width=640,
            height=360,
            aspect_ratio=16 / 9,
            rotation=0,
            duration_sec=self.duration_sec,
            size_bytes=len(self.content),
            frame_rate=10.0,
            format_name="mov",
            video_codec="h264",
            audio_codec="aac",
        )


FILMS = (
    Film(title="short", duration_sec=8.0),
    Film(title="odd", duration_sec=27.5),
    Film(title="long", duration_sec=61.0),
    Film(title="longer", duration_sec=90.0),
)
_BY_SHA256 = {film.sha256: film for film in FILMS}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An entry of the manifest: a slot's film, and what is wanted of it."""

    slot: int
    end: float | None = None  #: of the window, which begins with the film
    options: tuple[str, ...] | None = None
    place: str = "north"
    score: Scalar | None = None

    @property
    def video_id(self) -> VideoId:
        return VIDEO_IDS[self.slot]

    @property
    def parameters(self) -> Parameters:
        return Parameters(
            model_name="local-v1",
            video_clip_length=CLIP_SEC,
            video_embedding_scope=("clip",),
            video_start_offset_sec=None if self.end is None else 0.0,
            video_end_offset_sec=self.end,
        )

    @property
    def metadata(self) -> dict[str, Scalar]:
        return {"place": self.place} | ({} if self.score is None else {"score": self.score})


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A manifest as it is now, its videos in order."""

    videos: tuple[Wanted, ...]
    partition_by: tuple[str, ...] = ("embedding_option",)
    on_removed: str = "keep"
    publish_every_s: float = 30.0

    def with_video(self, wanted: Wanted, place: int) -> Draft:
        """With this entry: in place of the slot's own, or at this place."""
        if any(each.slot == wanted.slot for each in self.videos):
            videos = tuple(wanted if each.slot == wanted.slot else each for each in self.videos)
        else:
            videos = (*self.videos[:place], wanted, *self.videos[place:])
        return replace(self, videos=videos)

    def without(self, slot: int) -> Draft:
        """Without this slot; a manifest without any video is refused."""
        left = tuple(each for each in self.videos if each.slot != slot)
        return replace(self, videos=left or self.videos)


class Row(NamedTuple):
    """A segment and its vector; times in seconds."""

    option: str
    start: float
    end: float
    vector: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is paid for: a film, up to the end of a window."""

    film: Film
    end: float | None

    @property
    def key(self) -> JobKey:
        content = Content(kind="sha256", digest=self.film.sha256)
        return job_key(content, Wanted(slot=0, end=self.end).parameters)

    @property
    def rows(self) -> tuple[Row, ...]:
        """As the service computes them: a vector says which film, window, segment and option."""
        start = None if self.end is None else 0.0
        film = vector_of(self.film.sha256, start, self.end)
        spans = cut(window(self.film.duration_sec, start, self.end), CLIP_SEC)
        return tuple(
            Row(
                option=option,
                start=span.start_offset_sec,
                end=span.end_offset_sec,
                vector=(film, float(number), float(kind)),
            )
            for kind, option in enumerate(OPTIONS)
            for number, span in enumerate(spans)
        )

    @property
    def answer(self) -> bytearray:
        """As the service tells the rows."""
        segments = [
            {
                "start_offset_sec": row.start,
                "end_offset_sec": row.end,
                "embedding_option": row.option,
                "embedding_scope": "clip",
                "float": row.vector,
            }
            for row in self.rows
        ]
        return bytearray(json.dumps({"video_embedding": {"segments": segments}}).encode())


def work_on(sha256: str, end: float | None) -> Work:
    """What a task is about, by the hash of what was uploaded."""
    return Work(film=_BY_SHA256[sha256], end=end)
