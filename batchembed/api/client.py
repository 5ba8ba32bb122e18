"""`Client` and `AsyncClient`: where code written for the official SDK finds `client.embed.tasks`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.options import API_KEY_VARIABLES, DEFAULT_BASE_URL, ApiKey
from batchembed.api.tasks_client import TasksClient
from batchembed.errors import ArgumentError


class Embed:
    """`client.embed`."""

    def __init__(self, tasks: TasksClient) -> None:
        self.tasks = tasks


class AsyncEmbed:
    """`client.embed`, for an event loop."""

    def __init__(self, tasks: AsyncTasksClient) -> None:
        self.tasks = tasks


class Client:
    """The service as the official SDK shows it: `Client().embed.tasks.create(...)`."""

    def __init__(
        self,
        *,
        api_key: ApiKey | str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            api_key: else what TWELVELABS_API_KEY or TWELVE_LABS_API_KEY holds.
            base_url: of the service, its version included.
            headers: more of them, for every request.
            timeout: seconds that each connect, read or write may take.
            env: where the key is looked for; None: the process's environment.

        Raises:
            ArgumentError: there is no key.
        """
        self.embed = Embed(
            TasksClient(
                api_key=_key_of(env) if api_key is None else api_key,
                base_url=DEFAULT_BASE_URL if base_url is None else base_url,
                headers=headers,
                timeout=timeout,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self.embed.tasks.close()


class AsyncClient:
    """As `Client`, for an event loop."""

    def __init__(
        self,
        *,
        api_key: ApiKey | str | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """As `Client`."""
        self.embed = AsyncEmbed(
            AsyncTasksClient(
                api_key=_key_of(env) if api_key is None else api_key,
                base_url=DEFAULT_BASE_URL if base_url is None else base_url,
                headers=headers,
                timeout=timeout,
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self.embed.tasks.aclose()


def _key_of(env: Mapping[str, str] | None) -> ApiKey:
    # Not as a default argument: help() would print the whole environment.
    env = os.environ if env is None else env
    for name in API_KEY_VARIABLES:
        if env.get(name):
            return ApiKey(env[name], variable=name)
    raise ArgumentError(f"no API key: give api_key, or set {API_KEY_VARIABLES[0]}")
