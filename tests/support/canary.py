"""Two secrets that the suite's runs use, and a search for them in everything that the suite leaves."""

from __future__ import annotations

import contextlib
import gzip
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

#: An API key that tests give to runs.
KEY = "tlk_canary_4f1d7c0b9e25a863"
#: The signature of URLs that tests presign.
SIGNATURE = "cafe9d51f0c2747ab3e8166d0f95b2ac"
SECRETS = (KEY, SIGNATURE)

#: What a person writes with a secret in it: a manifest with a presigned URL.
_WRITTEN_BY_HAND = frozenset({".yaml", ".yml"})
#: Folders of services, which are told the URLs that they are to fetch.
SERVICE = "service"
_PIECE_BYTES = 1 << 24


def presigned(url: str) -> str:
    """The URL as if it were signed."""
    return f"{url}?X-Amz-Date=20261125T000000Z&X-Amz-Signature={SIGNATURE}"


def found_in(text: str) -> bool:
    """Whether a secret is in it."""
    return any(secret in text for secret in SECRETS)


def leaks(root: Path) -> list[Path]:
    """Every file under `root` that has a secret in its name or in it, packed or not."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if SERVICE not in path.relative_to(root).parts
        and (found_in(path.name) or (_is_ours(path) and _has_secret(path)))
    ]


def _is_ours(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.suffix not in _WRITTEN_BY_HAND


def _has_secret(path: Path) -> bool:
    with contextlib.suppress(OSError):  # gone meanwhile, or not to be read
        return any(
            secret.encode() in piece for piece in _pieces(path) for secret in SECRETS
        ) or any(found_in(text) for text in _unpacked(path))
    return False


def _pieces(path: Path) -> Iterator[bytes]:
    """The file's bytes, in pieces that overlap by more than a secret."""
    overlap = max(map(len, SECRETS))
    before = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield before + piece
            before = piece[-overlap:]


def _unpacked(path: Path) -> Iterator[str]:
    """What is in the file but not as it stands there."""
    match path.suffix:
        case ".parquet":
            with contextlib.suppress(pa.ArrowException):  # a test damaged it
                table = pq.read_table(path, partitioning=None)
                yield str(table.schema.metadata)
                for column in table.columns:
                    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                        yield from (text or "" for text in column.unique().to_pylist())
        case ".sqlite":
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(
                    sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
                ) as database,
            ):
                yield from database.iterdump()
        case ".gz":
            yield gzip.decompress(path.read_bytes()).decode(errors="replace")
        case _:
            return
