"""The lock file beside a manifest: a build's lock as JSON that git shows well.

One key a line, one video a line, one part a line, in sorted order of keys; no times, no task ids.
The same build gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from batchembed.core.build_lock import FORMAT, BuildLock
from batchembed.errors import InputMissingError, LockFileError

_SUFFIX = ".lock.json"


class _Head(msgspec.Struct):
    format: int


def lock_path(manifest: str) -> Path:
    """Where a manifest's lock file is: `demo.lock.json` beside `demo.yaml`.

    Another ending than `.yaml` stays, so that `demo.yml` beside it has a lock file of its own.
    """
    path = Path(manifest)
    return path.with_name((path.stem if path.suffix == ".yaml" else path.name) + _SUFFIX)


def lock_bytes(lock: BuildLock) -> bytes:
    """The content of a lock file; `schemas/lock.schema.json` describes it."""
    return "".join(f"{line}\n" for line in _lines(msgspec.to_builtins(lock))).encode()


def _lines(told: dict[str, Any]) -> Iterator[str]:
    yield "{"
    last = max(told)
    for key in sorted(told):
        comma = "" if key == last else ","
        value = told[key]
        if not (isinstance(value, list | tuple) and value and isinstance(value[0], dict)):
            yield f"  {_json(key)}: {_json(value)}{comma}"
            continue
        yield f"  {_json(key)}: ["
        for item in value[:-1]:
            yield f"    {_json(item)},"
        yield f"    {_json(value[-1])}"
        yield f"  ]{comma}"
    yield "}"


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


def read_lock(path: Path) -> BuildLock:
    """Read a lock file.

    Raises:
        InputMissingError: there is none, or it can't be opened.
        LockFileError: it is damaged, or of a newer version of batchembed.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputMissingError(
            f"there is no lock file {path}: a run without --locked writes it once every video has "
            "ended; then commit it"
        ) from error
    except OSError as error:
        raise InputMissingError(f"{path} can't be read: {error.strerror}") from error
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.format <= FORMAT:
            return msgspec.json.decode(content, type=BuildLock)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise LockFileError(
            f"{path} is damaged: {error}; restore it, or run without --locked, which writes it anew"
        ) from error
    raise LockFileError(
        f"{path} has format {head.format}, and this version of batchembed knows {FORMAT}: "
        "upgrade batchembed"
    )
