"""What others see: every reader takes the dataset as one table, from a folder and from S3.

Each cell of the table in `docs/reading.md` is a test here.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import batchembed
from batchembed.dataset.parts import check_part
from batchembed.errors import DatasetError
from tests.support import readers
from tests.support.dataset import checked_rows, open_here, publish, stage
from tests.support.readers import Reader
from tests.support.s3 import Bucket

KEYS = ("model_name", "embedding_option", "embedding_scope", "place")
#: Values that some encoding would break.
PLACES = ("bridge", "two words", "50%/50% = fair", "Zürich", "a+b&c?d#e", "7th-street")
ASKED = "Zürich"
#: The most that a reader takes at once to see a footer: Polars.
FOOTER_BYTES = 256 << 10


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readers")
    (folder / "staging").mkdir()
    specs = [
        stage(folder / "staging", f"v{n}", metadata={"place": place, "floor": n})
        for n, place in enumerate(PLACES)
    ]
    publish(open_here(folder / "out"), folder / "staging", specs, partition_by=KEYS)
    return folder / "out"


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daft tells its makers of each use, unless this is set."""
    monkeypatch.setenv("DO_NOT_TRACK", "true")


def is_asked(path: str) -> bool:
    return f"place={quote(ASKED)}" in path


def vectors() -> dict[tuple[str, str, int], bytes]:
    """What was staged: the bits of each vector, by video, option and segment."""
    found = {}
    for n in range(len(PLACES)):
        table = checked_rows(f"v{n}", {"audio": 2, "visual-text": 3}).table
        numbers = np.array(table["embedding"].to_pylist(), np.float32)
        names = [("audio", 0), ("audio", 1), *(("visual-text", index) for index in range(3))]
        for name, vector in zip(names, numbers, strict=True):
            found[f"v{n}", *name] = vector.tobytes()
    return found


def require_all(reader: Reader, location: str) -> None:
    seen = reader.read(location, None)
    rows, types = seen.rows(), seen.types
    assert {
        (row["video_id"], row["embedding_option"], row["segment_index"]): np.array(
            row["embedding"], np.float32
        ).tobytes()
        for row in rows
    } == vectors()
    assert seen.length == len(rows) == 5 * len(PLACES)
    assert {(row["video_id"], row["place"], row["floor"]) for row in rows} == {
        (f"v{n}", place, n) for n, place in enumerate(PLACES)
    }
    assert all(isinstance(row[key], str) for row in rows for key in KEYS)
    assert (types["place"], types["embedding"]) == (reader.text, reader.vectors)


@pytest.mark.parametrize("reader", readers.ALL, ids=repr)
def test_a_reader_sees_every_row_of_a_folder_to_the_bit(reader: Reader, root: Path) -> None:
    require_all(reader, str(root))


@pytest.mark.parametrize("reader", readers.ALL, ids=repr)
def test_a_reader_sees_every_row_on_s3_to_the_bit(reader: Reader, root: Path, s3: Bucket) -> None:
    require_all(reader, s3.put_folder(root, "videos/2026"))


def spoil(part: Path) -> None:
    """Overwrite a part's pages, and leave its footer."""
    whole = part.read_bytes()
    pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    part.write_bytes(whole[:4] + bytes(pages - 4) + whole[pages:])


@pytest.mark.parametrize("reader", readers.ALL, ids=repr)
def test_rows_of_another_partition_are_not_read(reader: Reader, root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    for part in copy.rglob("*.parquet"):
        if not is_asked(part.as_posix()):
            spoil(part)
    rows = reader.read(str(copy), ASKED).rows()
    assert [(row["video_id"], row["place"]) for row in rows] == [("v3", ASKED)] * 5
    with pytest.raises(readers.DAMAGE):
        reader.read(str(copy), None)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three parts, each of another place. DuckDB fetches what has less than 2 MiB whole."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "staging").mkdir()
    specs = [
        stage(folder / "staging", place, rows={"audio": 120_000}, metadata={"place": place})
        for place in ("Aachen", ASKED, "two words")
    ]
    publish(open_here(folder / "out"), folder / "staging", specs, partition_by=KEYS)
    return folder / "out"


@pytest.mark.parametrize("reader", readers.ALL, ids=repr)
def test_pages_of_another_partition_are_not_fetched(
    reader: Reader, large: Path, s3: Bucket
) -> None:
    location = s3.put_folder(large, "out")
    s3.server.forget_asked()
    assert reader.read(location, ASKED).length == 120_000
    fetched = Counter[str]()
    for asked in s3.server.asked():
        if asked.path.endswith(".parquet") and asked.method == "GET":
            fetched[asked.path] += asked.answer_bytes
    whole = min(part.stat().st_size for part in large.rglob("*.parquet"))
    others = {path: size for path, size in fetched.items() if not is_asked(path)}
    assert max(fetched.values()) >= whole > FOOTER_BYTES
    # One footer may be that of the part which was asked for.
    assert (
        len(others) in {"nothing": [0], "one footer": [0, 1], "every footer": [2]}[reader.fetched]
    )
    assert all(size <= FOOTER_BYTES for size in others.values())


def test_open_dataset_filters_by_partition_and_column(root: Path) -> None:
    chosen = (ds.field("place") == "Zürich") & (ds.field("floor") == 3)
    table = readers.opened(str(root)).to_table(columns=["video_id"], filter=chosen)
    assert table.to_pydict() == {"video_id": ["v3"] * 5}


def test_open_dataset_gives_the_matrix_of_a_partition(root: Path) -> None:
    table = readers.opened(str(root)).to_table(filter=ds.field("place") == ASKED)
    matrix = batchembed.embedding_matrix(table)
    assert [vector.tobytes() for vector in matrix] == [
        bits for (video_id, *_), bits in vectors().items() if video_id == "v3"
    ]


def test_open_dataset_reads_what_the_record_names_and_nothing_else(root: Path) -> None:
    part = next(root.rglob("*.parquet"))
    stray = part.with_name(f"part-{'0' * 16}.parquet")
    stray.write_bytes(part.read_bytes())
    assert readers.opened(str(root)).count_rows() == 5 * len(PLACES)
    stray.unlink()


def test_a_plain_glob_finds_parts_and_nothing_else(root: Path) -> None:
    record = open_here(root).last()
    assert record is not None
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.parquet")}
    assert found == {part.path for part in record.parts}


def test_a_flipped_bit_is_found(root: Path, tmp_path: Path) -> None:
    part = next(root.rglob("*.parquet"))
    whole, columns = part.read_bytes(), pq.read_schema(part)
    rows = pq.read_metadata(part).num_rows
    damaged = tmp_path / "damaged.parquet"
    chosen = random.Random(1)  # noqa: S311  a choice of bits is no secret
    unseen = 0
    for _ in range(100):
        place = chosen.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << chosen.randrange(8)
        damaged.write_bytes(flipped)
        try:
            check_part(damaged, rows=rows, columns=columns)
        except DatasetError:
            continue
        # The footer has no checksum: a flip there may change a statistic, but no row.
        unseen += not pq.read_table(damaged).equals(pq.read_table(part))
    assert unseen == 0
