"""The model service behind the real client: what it answers as the wire has it."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import msgspec

from batchembed.api.models import FORM_EXTENSION, CreateForm, Upload
from batchembed.api.observe import Unobserved
from batchembed.errors import ApiError, NotSentError, SubmissionUnknown
from tests.stateful.service import ModelClient, ModelService

#: Boundaries and headers of parts are smaller.
_SMALL_BYTES = 1_000


class ModelTransport(httpx.AsyncBaseTransport):
    """Serves an `httpx.AsyncClient` from a model service."""

    def __init__(self, service: ModelService) -> None:
        self._client = ModelClient(service, Unobserved())
        self._world = service.world
        self._received_at = service.received

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            body = await self._body(request)
        except NotSentError as error:
            raise httpx.ConnectError(str(error)) from error
        except SubmissionUnknown as error:
            raise httpx.ReadError(str(error)) from error
        except ApiError as error:
            told = {"code": error.code, "message": error.server_message}
            wait = {} if error.retry_after_s is None else {"retry-after": f"{error.retry_after_s}"}
            return httpx.Response(
                error.status_code or 500, headers=wait, content=json.dumps(told).encode()
            )
        return httpx.Response(
            200, headers={"content-type": "application/json", "x-trace-id": "t"}, content=body
        )

    async def _body(self, request: httpx.Request) -> bytes:
        _, _, path = request.url.path.partition("/embed/tasks")
        if request.method == "POST":
            return msgspec.json.encode(await self._create(request))
        if not path:
            query = {name: int(value) for name, value in request.url.params.items()}
            return msgspec.json.encode((await self._client.list(**query)).response)
        task_id, _, tail = path.removeprefix("/").partition("/")
        if tail == "status":
            return msgspec.json.encode(await self._client.status(task_id))
        return bytes(await self._client.retrieve_body(task_id))

    async def _received(self, request: httpx.Request, filename: str) -> bytes:
        """The bytes of the file, as they came; each chunk of them is a moment."""
        body, began = bytearray(), self._world.moments
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for chunk in request.stream:
            body += chunk
            if len(chunk) > _SMALL_BYTES:
                self._world.moment()
        self._received_at.append((began, self._world.moments))
        _, _, after = bytes(body).partition(f'filename="{filename}"'.encode())
        _, _, content = after.partition(b"\r\n\r\n")
        return content[: content.rindex(b"\r\n--", 0, len(content) - 4)]

    async def _create(self, request: httpx.Request) -> Any:
        form = request.extensions[FORM_EXTENSION]
        assert isinstance(form, CreateForm)
        fields, upload = dict(form.fields), form.upload
        if upload is not None:
            received = await self._received(request, upload.filename)
            upload = Upload(file=io.BytesIO(received), filename=upload.filename)
        return await self._client.create(
            model_name=fields["model_name"],
            video_file=upload,
            video_url=fields.get("video_url"),
            video_start_offset_sec=_number(fields.get("video_start_offset_sec")),
            video_end_offset_sec=_number(fields.get("video_end_offset_sec")),
            idempotency_key=request.headers["idempotency-key"],
        )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
