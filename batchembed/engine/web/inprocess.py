"""A transport under the ordinary client that hands requests to an engine in this process.

A create's form goes over as it is, open file and all: no port, no multipart body, no copy.
Everything else takes the way through the app, so the wire stays one.
"""

from __future__ import annotations

import httpx

from batchembed.api.models import FORM_EXTENSION, CreateForm, TasksCreateResponse
from batchembed.engine.refusal import Refusal
from batchembed.engine.service import Engine
from batchembed.engine.web.app import answer, build_app, refused

#: A host that exists nowhere: requests never leave the process.
BASE_URL = "http://engine.invalid/v1.3"


class InProcessTransport(httpx.AsyncBaseTransport):
    """Serves an `httpx.AsyncClient` from a started engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._app = httpx.ASGITransport(app=build_app(engine))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request.

        Raises:
            BatchembedError: the engine can't work any more: there is nothing to wait for.
        """
        if self._engine.failure is not None:
            raise self._engine.failure
        form = request.extensions.get(FORM_EXTENSION)
        if not isinstance(form, CreateForm):
            return await self._app.handle_async_request(request)
        try:
            task = await self._engine.create(form, request.headers.get("idempotency-key"))
            made = answer(TasksCreateResponse(id=task.task_id))
        except Refusal as refusal:
            made = refused(refusal)
        return httpx.Response(made.status_code, headers=made.headers, content=bytes(made.body))
