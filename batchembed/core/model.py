"""The nouns of a run. Frozen values; the words are those of the design and of the API."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from batchembed.core.problems import Place, Scalar

VideoId = NewType("VideoId", str)
JobKey = NewType("JobKey", str)
TaskId = NewType("TaskId", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A video file. `path` is absolute; `shown` is how the manifest writes it."""

    path: str
    shown: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlSource:
    """A video at a URL, which may carry a signature: only `shown` may be written anywhere."""

    url: str

    @property
    def shown(self) -> str:
        """The URL without user, password, query and fragment."""
        return public_url(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How object stores that speak S3 are reached. Credentials are never among it."""

    endpoint_url: str | None = None  #: None: AWS
    region: str | None = None
    anonymous: bool = False  #: requests are not signed


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSource:
    """A video on an object store: it is read from there, and uploaded as a file is."""

    uri: str
    stores: StoreOptions

    @property
    def shown(self) -> str:
        """The URI, which has no credentials in it."""
        return self.uri


#: What is opened and read here; a URL is the service's to fetch.
ReadSource: TypeAlias = FileSource | ObjectSource
Source: TypeAlias = ReadSource | UrlSource


def address(source: ReadSource) -> str:
    """The path or URI under which what is known of a file or an object is remembered."""
    return source.path if isinstance(source, FileSource) else source.uri


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What a create asks of the service, in the API's spellings. Both offsets are set, or neither."""

    model_name: str
    video_clip_length: float
    video_embedding_scope: tuple[str, ...]
    video_start_offset_sec: float | None = None
    video_end_offset_sec: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is published of a model, from `schemas/limits/<name>.schema.json`."""

    name: str
    dimension: int | None  #: None: learned from the first vector
    embedding_options: tuple[str, ...]
    audio_options: frozenset[str]  #: those that a video without sound lacks
    unit_length: bool  #: vectors are normalised
    longest_video_sec: float | None = None  #: that it takes, where that is published


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One entry of the manifest after defaults and overrides.

    `embedding_option` None means every option that the video has. `place` is the entry;
    `places` names, by key, where each value of `Parameters` and the like was written.
    """

    video_id: VideoId
    source: Source
    parameters: Parameters
    embedding_option: tuple[str, ...] | None
    metadata: Mapping[str, Scalar]
    skip: str | None
    place: Place
    places: Mapping[str, Place]

    def place_of(self, field: str | None) -> Place:
        """Where the value of `field` was written, or the entry itself."""
        return self.place if field is None else self.places.get(field, self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What probing found.

    `width` and `height` are pixels as displayed upright (rotation applied, sample aspect not);
    `aspect_ratio` is the display aspect after sample aspect and rotation.
    """

    width: int
    height: int
    aspect_ratio: float
    rotation: int
    duration_sec: float  #: rounded to 1 ms
    size_bytes: int
    frame_rate: float | None
    format_name: str
    video_codec: str
    audio_codec: str | None

    @property
    def has_audio(self) -> bool:
        return self.audio_codec is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """What is the same as long as a file's bytes are: the key of everything remembered of it.

    `ctime_ns` is there because `mtime_ns` can be set back.
    """

    path: str
    dev: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectIdentity:
    """What is the same as long as an object is not written again."""

    path: str  #: its URI
    tag: str  #: its ETag; of a store that has none, when it was written
    size_bytes: int


Identity: TypeAlias = FileIdentity | ObjectIdentity


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Identity of what is embedded.

    sha256 of a file's bytes, of a URL without its signature, or of what an object's store says of it.
    """

    kind: str  #: `sha256`, `url` or `object`
    digest: str
    weak: bool = False

    @property
    def source_sha256(self) -> str | None:
        """The sha256 of the bytes, which the content of a URL or an object does not tell."""
        return self.digest if self.kind == "sha256" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Content times parameters; what is paid for once. `facts` is None where nothing can be probed."""

    job_key: JobKey
    content: Content
    source: Source
    parameters: Parameters
    facts: Facts | None


class EngineKind(enum.StrEnum):
    """Who computes the embeddings."""

    #: The engine inside this package.
    LOCAL = "local"
    #: The hosted service, or another that speaks its API.
    TWELVELABS = "twelvelabs"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """`api_key_env` is the name of the variable, never the key."""

    kind: EngineKind
    base_url: str | None
    api_key_env: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """`path` is an absolute path, or the URI of a folder on an object store."""

    path: str
    partition_by: tuple[str, ...]
    publish_every_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """How much happens at once."""

    workers: int  #: processes of the embedded engine
    tasks: int  #: tasks in flight on the service
    uploads: int
    requests: int  #: other requests than uploads
    probes: int  #: files probed or hashed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """When to ask for a task's status again: exponential with jitter between the two waits."""

    first_wait_s: float
    longest_wait_s: float
    deadline_s: float  #: of one task, from its submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What the account allows; None where nothing is said. A create is what is counted."""

    requests_per_minute: int | None
    video_minutes_per_hour: float | None
    video_minutes_per_day: float | None
    max_inline_wait_s: float  #: a longer wait parks the run


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent, per `run` or on the whole `dataset`; None where there is no limit."""

    video_minutes: float | None
    amount: float | None  #: of money, in `currency`
    price_per_minute: float | None
    currency: str
    per: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest, validated and resolved: every default applied, every source listed.

    `profile` names the limits that are enforced; it differs from `model_name` in a rehearsal.
    """

    file: str  #: the manifest's absolute path
    name: str
    engine: EngineSpec
    model_name: str
    profile: str
    videos: tuple[Video, ...]
    output: OutputSpec
    on_limit_violation: str  #: `reject` or `submit`
    on_rejected: str  #: `fail` or `accept`
    on_removed: str  #: `keep` or `drop`
    on_lost: str  #: a task that the service no longer has: `fail`, or `resubmit` once
    on_unknown_submission: str  #: where no listing can be had: `wait`, `resubmit` or `fail`
    concurrency: Concurrency
    polling: Polling
    settle_s: float  #: a task that no listing shows for so long after the doubt was never created
    quota: Quota
    budget: Budget
    max_runtime_s: float | None  #: then the run drains
    stores: StoreOptions = StoreOptions()  #: complete: what variables say is in it
