"""The sha256 of rows: one for the same rows, and another for all others."""

from __future__ import annotations

import hashlib
import itertools
import struct

import numpy as np
import pyarrow as pa

from batchembed.dataset.rows import as_staged, by_kind, rows_sha256, rows_table

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
STARTS = np.array([0.0, 2.0, 0.0, 0.0])
OPTIONS = ["audio", "audio", "audio", "visual-text"]
SCOPES = ["clip", "clip", "video", "clip"]
TABLE = rows_table(OPTIONS, SCOPES, STARTS, STARTS + 2, VECTORS)


def test_the_sha256_is_the_one_that_every_version_computes() -> None:
    """It is in ledgers and records: another one would make staged files pass for damaged."""
    kinds = [(b"audio", b"clip", 0, 2), (b"audio", b"video", 2, 3), (b"visual-text", b"clip", 3, 4)]
    content = struct.pack("<Q", 3)
    for option, scope, first, last in kinds:
        content += struct.pack("<3Q", len(option), len(scope), last - first) + option + scope
        content += STARTS[first:last].astype("<f8").tobytes()
        content += (STARTS[first:last] + 2).astype("<f8").tobytes()
        content += VECTORS[first:last].astype("<f4").tobytes()
    assert rows_sha256(TABLE) == hashlib.sha256(content).hexdigest()
    assert rows_sha256(TABLE).startswith("543da07434d8e9cd")


def test_the_pieces_that_a_table_is_in_change_nothing() -> None:
    for cuts in itertools.product(range(5), repeat=3):
        ends = [0, *sorted(cuts), 4]
        pieces = [TABLE.slice(a, b - a) for a, b in itertools.pairwise(ends)]
        batches = [batch for piece in pieces for batch in piece.to_batches()]
        empty = pa.RecordBatch.from_pylist([], TABLE.schema)
        table = pa.Table.from_batches([empty, *batches, empty])
        assert rows_sha256(table) == rows_sha256(TABLE)


def test_what_stands_in_a_schema_beside_the_columns_changes_nothing() -> None:
    assert rows_sha256(TABLE.replace_schema_metadata({"a": "b"})) == rows_sha256(TABLE)


def test_rows_that_come_from_parts_have_the_sha256_that_they_were_staged_with() -> None:
    assert rows_sha256(as_staged(by_kind(TABLE))) == rows_sha256(TABLE)


def test_no_other_rows_have_it() -> None:
    later, bit = STARTS.copy(), VECTORS.copy()
    later[1] = np.nextafter(2.0, 3.0)
    bit.view(np.uint32)[2, 1] ^= 1
    swapped = VECTORS[[1, 0, 2, 3]]
    others = {
        "start": rows_table(OPTIONS, SCOPES, later, STARTS + 2, VECTORS),
        "end": rows_table(OPTIONS, SCOPES, STARTS, later + 2.5, VECTORS),
        "bit": rows_table(OPTIONS, SCOPES, STARTS, STARTS + 2, bit),
        "order": rows_table(OPTIONS, SCOPES, STARTS, STARTS + 2, swapped),
        "option": rows_table(["audi0", *OPTIONS[1:]], SCOPES, STARTS, STARTS + 2, VECTORS),
        "scope": rows_table(OPTIONS, ["clip", *["video"] * 3], STARTS, STARTS + 2, VECTORS),
        "border": rows_table(["audioc"] * 4, ["lip"] * 4, STARTS, STARTS + 2, VECTORS),
        "border of that": rows_table(["audio"] * 4, ["clip"] * 4, STARTS, STARTS + 2, VECTORS),
        "dimension": rows_table(
            OPTIONS[:3], SCOPES[:3], STARTS[:3], STARTS[:3] + 2, VECTORS.reshape(3, 4)
        ),
        "fewer": TABLE.slice(0, 3),
        "none": TABLE.slice(0, 0),
    }
    found = {name: rows_sha256(table) for name, table in others.items()}
    assert len({*found.values(), rows_sha256(TABLE)}) == len(others) + 1
