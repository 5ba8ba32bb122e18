"""The one way from a manifest's path to a resolved `Manifest`: every default applied, every source listed."""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batchembed.core.model import EngineKind, EngineSpec, Manifest, OutputSpec, Video
from batchembed.core.problems import ManifestError, Problem, Scalar
from batchembed.manifest.between import (
    Claim,
    claim,
    mixed_types,
    partition_problems,
    same_ids,
    same_videos,
    widened,
)
from batchembed.manifest.check import check_shape, unique, version_problem
from batchembed.manifest.document import Document, Value
from batchembed.manifest.document import Path as Way
from batchembed.manifest.load import load
from batchembed.manifest.overrides import override
from batchembed.manifest.settings import Settings
from batchembed.manifest.sources import Listed, Note, absolute, listed
from batchembed.manifest.videos import Resolver, Setting
from batchembed.stores.location import LocationError, is_uri, location_of
from batchembed.stores.options import completed

LOCAL_MODEL = "local-v1"
REHEARSAL = ".rehearsal"
_FOLDER = "name a folder in it, such as s3://bucket/dataset"
_STORES = "$.stores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A manifest that can be run, and notes on what a person may not expect."""

    manifest: Manifest
    notes: tuple[str, ...]
    document: Document  #: the text, to point at lines of it


def read_manifest(
    path: str | Path,
    *,
    overrides: Sequence[str] = (),
    rehearse: bool = False,
    cores: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Resolved:
    """Read, check and resolve the manifest at `path`. No video is opened.

    Args:
        path: the manifest; messages name it as given here.
        overrides: `key=value`, as for `--set`.
        rehearse: run a manifest written for the service on the local engine, under the same limits.
        cores: how many there are, for `concurrency.workers`; None asks the system.
        environ: variables that say where object stores are, where the manifest does not.

    Raises:
        InputMissingError: the manifest is not there, or can't be read.
        ManifestError: with every problem of the manifest.
        StoreError: a glob or a table is on an object store that can't be read.
        UsageError: a variable has an endpoint that can't be one.
    """
    document = override(load(path), overrides)
    problems = list(document.problems)
    foreign = version_problem(document)
    if foreign is not None:
        raise ManifestError(unique([*problems, foreign], first=document.file))
    shape, document = check_shape(document)
    problems += shape
    cores = cores or os.cpu_count() or 1
    reading = _Reading(document, rehearse=rehearse, cores=cores, environ=environ)
    problems += reading.problems(problems)
    if problems:
        raise ManifestError(unique(problems, first=document.file))
    return reading.resolved()


class _Reading:
    """One document on its way; its shape is right, as far as its values were not taken out."""

    def __init__(
        self, document: Document, *, rehearse: bool, cores: int, environ: Mapping[str, str]
    ) -> None:
        self._document = document
        self._folder = posixpath.dirname(os.path.abspath(document.file))  # noqa: PTH100  links stay
        self._written = self._engine(Settings(document, engine=EngineKind.TWELVELABS, cores=cores))
        self._rehearses = rehearse and self._written.kind is EngineKind.TWELVELABS
        self._engine_spec = (
            EngineSpec(kind=EngineKind.LOCAL, base_url=None, api_key_env=None)
            if self._rehearses
            else self._written
        )
        self._settings = Settings(document, engine=self._engine_spec.kind, cores=cores)
        self._stores = completed(self._settings.stores(), environ)
        of_written = Settings(document, engine=self._written.kind, cores=cores)
        self._profile = of_written.text("model_name")
        self._model = LOCAL_MODEL if self._rehearses else self._profile
        self._videos: list[Video] = []
        self._notes: list[str] = []

    # -- problems

    def problems(self, shape: Sequence[Problem]) -> list[Problem]:
        """Everything that is wrong beyond the `shape`; the videos are resolved on the way.

        What holds between videos is asked only of those without a problem of their own.
        """
        setting = Setting(
            engine=self._engine_spec.kind, model_name=self._model, profile=self._profile
        )
        resolver = Resolver(self._document, setting)
        of_settings = list(self._settings.problems())
        # With a wrong address, another store would be asked.
        asks_stores = not any(_STORES in each.place.path for each in (*shape, *of_settings))
        problems = [
            *self._model_problems(),
            *of_settings,
            *self._output_problems(),
            *resolver.default_problems(),
        ]
        ids: list[Claim] = []
        for found in listed(
            self._document, self._folder, shape, stores=self._stores, asks_stores=asks_stores
        ):
            match found:
                case Note():
                    self._notes.append(found.text)
                case Problem():
                    problems.append(found)
                case Listed():
                    video, wrong = resolver.resolve(found)
                    problems += wrong
                    if "id" not in found.unread:
                        ids.append(claim(found))
                    if video is not None and not found.unread:
                        self._videos.append(video)
        problems += same_ids(self._document, ids)
        holders = Counter(each.video_id for each in ids)
        alone = [video for video in self._videos if holders[video.video_id] == 1]
        problems += same_videos(self._document, alone)
        problems += mixed_types(self._document, self._videos)
        problems += partition_problems(self._document, self._partition_by(), self._videos)
        return problems

    def _model_problems(self) -> Iterator[Problem]:
        way: Way = ("model_name",)
        if "model_name" not in self._root():
            return
        if self._written.kind is EngineKind.LOCAL and self._profile != LOCAL_MODEL:
            yield self._document.problem(
                way,
                f"{self._profile} is not computed by the engine local",
                code="model_engine",
                hint="write engine: twelvelabs, and rehearse it with --engine local",
            )
        if (
            self._written.kind is EngineKind.TWELVELABS
            and self._profile == LOCAL_MODEL
            and self._document.at(("engine", "base_url")) is None
        ):
            yield self._document.problem(
                way,
                f"{LOCAL_MODEL} is not a model of the hosted service",
                code="model_engine",
                hint="write engine: local, or give the base_url of an engine of your own",
            )

    def _output_problems(self) -> Iterator[Problem]:
        path = self._document.at(("output", "path"))
        if not isinstance(path, str) or not is_uri(path):
            return
        try:
            fault = None if location_of(path).key else ("the URI names a whole bucket", _FOLDER)
        except LocationError as error:
            fault = str(error), error.hint
        if fault is not None:
            message, hint = fault
            yield self._document.problem(("output", "path"), message, code="output_path", hint=hint)

    # -- values

    def resolved(self) -> Resolved:
        """The manifest; only without problems."""
        floats = widened(self._videos)
        videos = [_widen(video, floats) for video in self._videos] if floats else self._videos
        if self._rehearses:
            self._notes.append(
                f"rehearsal: {LOCAL_MODEL} in place of {self._profile}, under its limits; written to "
                f"{self._output().path}"
            )
        settings = self._settings
        return Resolved(
            document=self._document,
            manifest=Manifest(
                file=os.path.abspath(self._document.file),  # noqa: PTH100  links stay as they are
                name=self._name(),
                engine=self._engine_spec,
                model_name=self._model,
                profile=self._profile,
                videos=tuple(videos),
                output=self._output(),
                on_limit_violation=settings.text("on_limit_violation"),
                on_rejected=settings.text("on_rejected"),
                on_removed=settings.text("on_removed"),
                on_lost=settings.text("on_lost"),
                on_unknown_submission=settings.text("on_unknown_submission"),
                concurrency=settings.concurrency(),
                polling=settings.polling(),
                settle_s=settings.number("reconcile", "settle_s"),
                quota=settings.quota(),
                budget=settings.budget(),
                max_runtime_s=settings.number_or_none("max_runtime_s"),
                stores=self._stores,
            ),
            notes=tuple(self._notes),
        )

    def _root(self) -> Mapping[str, Value]:
        return self._document.value if isinstance(self._document.value, dict) else {}

    def _engine(self, hosted: Settings) -> EngineSpec:
        written = self._document.at(("engine",))
        kind = written.get("kind") if isinstance(written, dict) else written
        if kind != EngineKind.TWELVELABS:
            return EngineSpec(kind=EngineKind.LOCAL, base_url=None, api_key_env=None)
        return EngineSpec(
            kind=EngineKind.TWELVELABS,
            base_url=hosted.text("engine", "base_url"),
            api_key_env=hosted.text("engine", "api_key_env"),
        )

    def _name(self) -> str:
        name = self._root().get("name")
        return name if isinstance(name, str) else Path(self._document.file).stem

    def _partition_by(self) -> tuple[str, ...]:
        keys = self._settings.value("output", "partition_by")
        return tuple(str(key) for key in keys) if isinstance(keys, list) else ()

    def _output(self) -> OutputSpec:
        written = str(self._document.at(("output", "path")))
        path = (
            location_of(written).uri
            if is_uri(written)
            else posixpath.normpath(absolute(self._folder, written))
        )
        return OutputSpec(
            path=path + REHEARSAL if self._rehearses else path,
            partition_by=self._partition_by(),
            publish_every_s=self._settings.number("output", "publish_every_s"),
        )


def _widen(video: Video, floats: Mapping[str, type[float]]) -> Video:
    metadata: dict[str, Scalar] = {
        key: float(value) if key in floats else value for key, value in video.metadata.items()
    }
    return dataclasses.replace(video, metadata=metadata)
