"""Names the versions that a vector's bits depend on."""

from __future__ import annotations

import importlib.metadata


def versions() -> str:
    """One line each: batchembed, and what the embedded engine computes with."""
    lines = [f"batchembed {importlib.metadata.version('batchembed')}"]
    lines += [f"{name} {version}" for name, version in engine_facts().items()]
    return "\n".join(lines)


def engine_facts() -> dict[str, str]:
    """What the embedded engine is made of."""
    from batchembed.engine.versions import engine_versions  # noqa: PLC0415  imports av

    return engine_versions()
