"""A YAML manifest of videos in, a verified, partitioned Parquet dataset of their embeddings out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchembed.api.async_tasks_client import AsyncTasksClient
    from batchembed.api.client import AsyncClient, Client
    from batchembed.api.options import RequestOptions
    from batchembed.api.retry import PollPolicy, RetryPolicy
    from batchembed.api.tasks_client import TasksClient
    from batchembed.dataset.matrix import embedding_matrix
    from batchembed.dataset.read import open_dataset

__all__ = [
    "AsyncClient",
    "AsyncTasksClient",
    "Client",
    "PollPolicy",
    "RequestOptions",
    "RetryPolicy",
    "TasksClient",
    "embedding_matrix",
    "open_dataset",
]

_HOMES = {
    "AsyncClient": "batchembed.api.client",
    "AsyncTasksClient": "batchembed.api.async_tasks_client",
    "Client": "batchembed.api.client",
    "PollPolicy": "batchembed.api.retry",
    "RequestOptions": "batchembed.api.options",
    "RetryPolicy": "batchembed.api.retry",
    "TasksClient": "batchembed.api.tasks_client",
    "embedding_matrix": "batchembed.dataset.matrix",
    "open_dataset": "batchembed.dataset.read",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: `import batchembed` stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    msg = f"module 'batchembed' has no attribute {name!r}"
    raise AttributeError(msg)
