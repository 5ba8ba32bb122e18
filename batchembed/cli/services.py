"""Opens the service that a manifest names: the embedded engine, or a hosted one with its key."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import AsyncIterator, Mapping

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.api.observe import Observer
from batchembed.api.options import API_KEY_VARIABLES, DEFAULT_BASE_URL, ApiKey
from batchembed.api.retry import RetryPolicy
from batchembed.core.model import EngineKind, Manifest
from batchembed.errors import UsageError
from batchembed.runner.carry import Service
from batchembed.store.home import Home

#: What the extra `local` installs, of which the engine is made.
_LOCAL_MODULES = ("onnxruntime", "starlette")


def require_service(manifest: Manifest, env: Mapping[str, str]) -> ApiKey | None:
    """What the service needs before anything else is done.

    Raises:
        UsageError: an extra is not installed, or the key's variable is not set.
    """
    if manifest.engine.kind is EngineKind.LOCAL:
        for module in _LOCAL_MODULES:
            if importlib.util.find_spec(module) is None:
                raise UsageError(f"engine: local needs {module}: pip install 'batchembed[local]'")
        return None
    name = manifest.engine.api_key_env or API_KEY_VARIABLES[0]
    # Then the spellings that users of the official SDK have set.
    for variable in (name, *API_KEY_VARIABLES[1:]):
        if env.get(variable):
            return ApiKey(env[variable], variable=variable)
    raise UsageError(
        f"the API key's variable {name} is not set: export {name}=..., or rehearse without a key "
        "by --engine local"
    )


@contextlib.asynccontextmanager
async def open_service(
    manifest: Manifest, home: Home, api_key: ApiKey | None, observer: Observer
) -> AsyncIterator[Service]:
    """The manifest's service, open for the length of a run; the observer is told of its requests."""
    concurrency = manifest.concurrency
    if manifest.engine.kind is EngineKind.TWELVELABS:
        async with AsyncTasksClient(
            api_key=api_key,
            base_url=manifest.engine.base_url or DEFAULT_BASE_URL,
            uploads=concurrency.uploads,
            requests=concurrency.requests,
            retry=RetryPolicy(repeat_limited_creates=False),
            observer=observer,
        ) as client:
            yield Service(client=client, idempotent=False)
        return
    from batchembed.engine.service import Engine  # noqa: PLC0415  heavy
    from batchembed.engine.web.inprocess import BASE_URL, InProcessTransport  # noqa: PLC0415  heavy

    async with (
        Engine(home.engine, workers=concurrency.workers) as engine,
        AsyncTasksClient(
            base_url=BASE_URL,
            transport=InProcessTransport(engine),
            uploads=concurrency.uploads,
            requests=concurrency.requests,
            observer=observer,
        ) as client,
    ):
        yield Service(client=client, idempotent=True)
