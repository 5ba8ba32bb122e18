"""From what people name to where a dataset is kept."""

from __future__ import annotations

from pathlib import Path

from batchembed.dataset.folder import Folder
from batchembed.dataset.storage import Storage


def storage_at(location: str) -> Storage:
    """The place that a path names."""
    return Folder(Path(location).absolute())
