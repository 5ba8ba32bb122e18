"""Datasets of which every row is written down, for tests that compare them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from batchembed.core.model import JobKey, VideoId
from batchembed.core.problems import Scalar
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset, DatasetIdentity
from batchembed.dataset.record import RowSpec
from batchembed.dataset.rows import CheckedRows, Kind, rows_table
from batchembed.dataset.schema import dataset_schema
from batchembed.dataset.staging import write_staged
from tests.support.dataset import PARTITION_BY

CLIP = ("visual-text", "clip")
#: By start and end.
Segments = Mapping[tuple[float, float], Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Film:
    """A video and its rows."""

    video_id: str
    rows: Mapping[Kind, Segments]
    content: str = "bytes"
    parameters: str = "clips of 2 s"
    source: str = "film.mp4"
    options: tuple[str, ...] | None = None
    duration_sec: float | None = 6.0
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def staged(film: Film, staging: Path, model_name: str) -> RowSpec:
    key = JobKey(sha256(f"{film.content} {film.parameters} {model_name}"))
    rows = [
        (kind, times, vector)
        for kind, segments in sorted(film.rows.items())
        for times, vector in sorted(segments.items())
    ]
    table = rows_table(
        [kind[0] for kind, _, _ in rows],
        [kind[1] for kind, _, _ in rows],
        np.array([times[0] for _, times, _ in rows]),
        np.array([times[1] for _, times, _ in rows]),
        np.array([vector for _, _, vector in rows], np.float32),
    )
    written = write_staged(CheckedRows(table=table, warnings=()), staging, key)
    return RowSpec(
        video_id=VideoId(film.video_id),
        source=film.source,
        source_sha256=sha256(film.content),
        job_key=key,
        rows_sha256=written.sha256,
        rows=written.rows,
        options=film.options,
        duration_sec=film.duration_sec,
        width=640,
        height=360,
        metadata=film.metadata,
    )


def make_dataset(
    root: Path,
    films: Sequence[Film],
    *,
    model_name: str = "local-v1",
    partition_by: Sequence[str] = PARTITION_BY,
    engine: Mapping[str, str | None] | None = None,
) -> Folder:
    """Publish these films, in this order, as what `root` holds; the vectors of all have one length."""
    staging = root.with_name(f"{root.name}-staging")
    staging.mkdir(exist_ok=True)
    specs = [staged(film, staging, model_name) for film in films]
    vectors = [v for film in films for segments in film.rows.values() for v in segments.values()]
    dimension = len(vectors[0]) if vectors else 3
    folder = Folder(root)
    identity = DatasetIdentity(
        model_name=model_name, dimension=dimension, engine=engine or {"pyav": "18"}
    )
    dataset = Dataset.open_or_create(folder, identity=identity, new_id=lambda: "d" * 32)
    dataset.publish(
        specs,
        (),
        schema=dataset_schema([spec.metadata for spec in specs], partition_by, dimension),
        staging=staging,
        side_files={"videos.jsonl": b"{}\n"},
    )
    return folder
