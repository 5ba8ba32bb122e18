"""`docs/reading.md`: its code runs as it stands, and its table says what the readers were seen to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import readers
from tests.support.dataset import IDENTITY, open_here, publish, stage
from tests.support.readers import Reader
from tests.support.s3 import Bucket

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: The dataset that all its code reads.
WRITTEN = "outputs/demo"
VIDEOS = 3

BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
#: DuckDB itself reads S3 by an extension that it downloads.
ON_S3 = [block for block in BLOCKS if f"'{WRITTEN}/**" not in block]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's dataset is, below the folder in which its code runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DO_NOT_TRACK", "true")  # Daft would tell its makers
    (tmp_path / "outputs" / "staging").mkdir(parents=True)
    found = tmp_path / WRITTEN
    staging = found.parent / "staging"
    publish(open_here(found), staging, [stage(staging, f"v{n}") for n in range(VIDEOS)])
    return found


def run(block: str) -> None:
    """Run a block; each finds the three clips of every video."""
    names: dict[str, Any] = {}
    # The page's vectors have 1,024 numbers, and the dataset's few.
    block = block.replace("1024", str(IDENTITY.dimension))
    exec(compile(block, "docs/reading.md", "exec"), names)  # noqa: S102  the page's own code
    assert len(names["clips"]) == 3 * VIDEOS


def test_every_reader_has_its_block() -> None:
    imports = set(re.findall(r"^import (\w+)", "".join(BLOCKS), re.MULTILINE))
    assert imports == {"batchembed", "pyarrow", "duckdb", "polars", "pandas", "daft"}
    assert len(ON_S3) == len(BLOCKS) - 1


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("block", BLOCKS, ids=range(1, len(BLOCKS) + 1))
def test_a_block_runs_as_it_stands(block: str) -> None:
    run(block)


@pytest.mark.parametrize("block", ON_S3, ids=range(1, len(ON_S3) + 1))
def test_a_block_runs_on_s3(block: str, root: Path, s3: Bucket) -> None:
    run(block.replace(WRITTEN, s3.put_folder(root, "demo")))


def row(reader: Reader) -> str:
    """What the table says of a reader: `test_readers` has a test of each cell."""
    kinds = (re.sub(r"\b4\b", "1024", f"`{kind}`") for kind in (reader.text, reader.vectors))
    return f"| {' | '.join((reader.title, *['yes'] * 3, reader.fetched, *kinds))} |"


@pytest.mark.parametrize("page", [PAGE, README], ids=["docs", "README"])
def test_the_table_says_what_was_seen(page: str) -> None:
    _, table = page.split("|---|---|---|---|---|---|---|\n")
    assert table.split("\n\n")[0].splitlines() == [row(reader) for reader in readers.ALL]
