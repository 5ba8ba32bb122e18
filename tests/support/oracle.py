"""What must be true of a run's dataset and ledger, whatever happened to it: found out from outside."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset
from batchembed.dataset.read import open_dataset
from batchembed.engine.video.embed import Embedded, EmbedPlan
from batchembed.errors import ExitCode
from tests.support.emulator import Emulator
from tests.support.engines import InstantPool
from tests.support.killing import Ended

#: (video_id, option, scope, start_ms, end_ms)
RowName = tuple[str, str, str, int, int]

_PLAN = EmbedPlan(clip_length_sec=6.0, scopes=("clip", "video"))


def parts(output: Path) -> dict[str, bytes]:
    """Every part, by its path in the dataset."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*.parquet"))
    }


def ledger_file(folder: Path) -> Path:
    """The one ledger of the manifests in `folder`."""
    (found,) = (folder / ".batchembed").glob("*/ledger.sqlite")
    return found


def dataset_id(output: Path) -> str:
    """Of the dataset in `output`."""
    found = Dataset.find(Folder(output))
    assert found is not None
    return found.dataset_id


def marker(output: Path) -> str:
    """How the names of this dataset's uploads begin."""
    return f"bb1-{dataset_id(output)[:8]}-"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A copy of a database as it is now, with what a crash left beside it."""
    with tempfile.TemporaryDirectory() as folder:
        for here in path.parent.glob(f"{path.name}*"):
            shutil.copy(here, folder)
        with closing(sqlite3.connect(Path(folder) / path.name)) as copy:
            yield copy


def states(folder: Path) -> dict[str, tuple[str, str | None]]:
    """State and task id of each job, as the ledger's file says."""
    with _opened(ledger_file(folder)) as ledger:
        rows = ledger.execute("SELECT job_key, state, task_id FROM entries").fetchall()
    return {key: (state, task_id) for key, state, task_id in rows}


def wrong_rows(output: Path, videos: Mapping[str, Path]) -> list[str]:
    """What the rows of a dataset lack, or have too much, when each video's are computed anew."""
    expected = {
        name: vector for video_id, path in videos.items() for name, vector in _rows(video_id, path)
    }
    table = open_dataset(output).to_table()
    vectors = np.array(table.column("embedding").to_pylist(), dtype=np.float32)
    found: dict[RowName, npt.NDArray[np.float32]] = {}
    problems = []
    for row, vector in zip(table.drop_columns(["embedding"]).to_pylist(), vectors, strict=True):
        name: RowName = (
            row["video_id"],
            row["embedding_option"],
            row["embedding_scope"],
            round(row["start_offset_sec"] * 1000),
            round(row["end_offset_sec"] * 1000),
        )
        if name in found:
            problems.append(f"twice: {name}")
        found[name] = vector
    problems += [f"missing: {name}" for name in expected.keys() - found.keys()]
    problems += [f"of nothing: {name}" for name in found.keys() - expected.keys()]
    problems += [
        f"other bits: {name}"
        for name in found.keys() & expected.keys()
        if found[name].tobytes() != expected[name].tobytes()
    ]
    return problems


def _rows(video_id: str, path: Path) -> Iterable[tuple[RowName, npt.NDArray[np.float32]]]:
    embedded: Embedded = InstantPool().submit(str(path), _PLAN, deadline_s=60).result()
    for segment, vector in zip(embedded.segments, embedded.vectors, strict=True):
        name = (
            video_id,
            segment.embedding_option,
            segment.embedding_scope,
            segment.start_ms,
            segment.end_ms,
        )
        yield name, vector


def unpaid_or_twice(emulator: Emulator, output: Path, videos: Iterable[Path]) -> list[str]:
    """Which videos have no task of this dataset at the service, or several."""
    paid = emulator.paid(marked=marker(output))
    wanted = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in videos}
    problems = [
        f"{name}: {paid[sha256]} tasks" for sha256, name in wanted.items() if paid[sha256] != 1
    ]
    return problems + [f"{sha256}: of no video" for sha256 in paid.keys() - wanted.keys()]


def damage(folder: Path, output: Path, jobs: int) -> list[str]:
    """What is wrong with the files that a finished dataset of so many jobs leaves."""
    problems = []
    with _opened(ledger_file(folder)) as ledger:
        problems += [row[0] for row in ledger.execute("PRAGMA integrity_check") if row[0] != "ok"]
    states_now = [state for state, _ in states(folder).values()]
    if states_now != ["committed"] * jobs:
        problems.append(f"jobs are {states_now}")
    return problems + left_over(folder, output)


def left_over(folder: Path, output: Path) -> list[str]:
    """Files that a finished run should have taken away, or that its record does not name."""
    found = Dataset.find(Folder(output))
    record = None if found is None else found.last()
    named = set() if record is None else {part.path for part in record.parts}
    here = set(parts(output))
    problems = [f"a part that no record names: {path}" for path in here - named]
    problems += [f"a part that is missing: {path}" for path in named - here]
    staged = [*folder.glob(".batchembed/*/staging/*")]
    problems += [f"left in staging: {path.name}" for path in staged]
    problems += [
        f"a temporary file: {path}"
        for path in (*output.glob("_batchembed/incoming/*"), *folder.rglob("*.tmp"))
    ]
    return problems


def unreadable(folder: Path, output: Path) -> list[str]:
    """What of a dataset that is not finished can't be relied on: its ledger, its last record's parts."""
    problems = []
    for ledger_path in (folder / ".batchembed").glob("*/ledger.sqlite"):
        with _opened(ledger_path) as ledger:
            rows = ledger.execute("PRAGMA integrity_check").fetchall()
        problems += [row[0] for row in rows if row[0] != "ok"]
    found = Dataset.find(Folder(output))
    record = None if found is None else found.last()
    for part in () if record is None else record.parts:
        content = (output / part.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != part.sha256:
            problems.append(f"not what was written: {part.path}")
    return problems


#: How a run may end that nobody stopped, against a service with faults.
ENDINGS = frozenset({ExitCode.OK, ExitCode.UNAVAILABLE, ExitCode.AGAIN})


def bad_endings(ended: Iterable[Ended], *, also: Iterable[int] = ()) -> list[str]:
    """Runs that ended as none may: with a code outside the table, a traceback, or too late."""
    allowed = {*map(int, ENDINGS), *also}
    problems = []
    for run in ended:
        if run.late:
            problems.append(f"not ended after {run.wall_s:.1f} s: {run.err[-2000:]}")
        elif not run.killed and run.code not in allowed:
            problems.append(f"exit {run.code}: {run.out[-1000:]}{run.err[-2000:]}")
        if "Traceback" in run.err or "Traceback" in run.out:
            problems.append(f"a traceback: {run.err[-3000:]}")
    return problems
