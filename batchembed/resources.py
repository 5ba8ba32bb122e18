"""Finds the published JSON Schemas, in an installed wheel or in a checkout."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, cast

_PACKAGE = Path(__file__).resolve().parent


@functools.cache
def schemas_dir() -> Path:
    """The folder of the schemas: inside the wheel, or at the top of a checkout."""
    shipped = _PACKAGE / "schemas"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "schemas"


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """The schema published as `schemas/<name>.schema.json`; not to be changed by the caller.

    Raises:
        FileNotFoundError: there is no such schema.
    """
    text = (schemas_dir() / f"{name}.schema.json").read_text(encoding="utf-8")
    return cast("dict[str, Any]", json.loads(text))


@functools.cache
def model_names() -> tuple[str, ...]:
    """The models that have a profile of limits, in order of name."""
    folder = schemas_dir() / "limits"
    return tuple(
        sorted(path.name.removesuffix(".schema.json") for path in folder.glob("*.schema.json"))
    )
