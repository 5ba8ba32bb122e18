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
#: In every lock file, also in half of one, and in one with the marks of a merge conflict.
_MARK = b'\n  "dimension": '
#: Where names stand for what is piped in.
_PIPES = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))


class _Head(msgspec.Struct):
    format: int


def lock_path(manifest: str) -> Path:
    """Where a manifest's lock file is: `demo.lock.json` beside `demo.yaml`.

    Another ending than `.yaml` stays, so that `demo.yml` beside it has a lock file of its own.
    `owner` tells of the one name that two manifests may still share.
    """
    path = Path(manifest)
    return path.with_name((path.stem if path.suffix == ".yaml" else path.name) + _SUFFIX)


def owner(manifest: str) -> Path | None:
    """The manifest beside this one that has its lock file: `demo.yaml`, where this is `demo`."""
    other = Path(f"{manifest}.yaml")
    return other if Path(manifest).suffix != ".yaml" and other.is_file() else None


def is_piped(manifest: str) -> bool:
    """Whether a manifest comes through a pipe, say: nothing can be kept beside it."""
    path = Path(manifest)
    return path.parent in _PIPES or not path.is_file()


def is_foreign(path: Path) -> bool:
    """Whether a file that is no lock file has the name of one. A damaged lock file still is one.

    Raises:
        OSError: it can't be known.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return not _is_own(content)


def is_newer(path: Path) -> bool:
    """Whether a lock file is of a newer version of batchembed, which knows more than this one writes.

    Raises:
        OSError: it can't be known.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Head).format > FORMAT
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _is_own(content: bytes) -> bool:
    if not content or _MARK in content:
        return True
    try:
        msgspec.json.decode(content, type=BuildLock)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    return True  # another tool has laid it out


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
        away = "" if _is_own(content) else "move it away and "
        raise LockFileError(
            f"{path} is damaged: {error}; restore it, or {away}run without --locked, which writes "
            "it anew"
        ) from error
    raise LockFileError(
        f"{path} has format {head.format}, and this version of batchembed knows {FORMAT}: "
        "upgrade batchembed"
    )
