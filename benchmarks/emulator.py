"""The Embed API with nothing behind it: tasks in memory, and the same vectors for every video.

    python -m benchmarks.emulator [--processing-s 3] [--at-once N] [--hold N] [--clips 11]

It prints its address, and ends when it is told to. What it saw is at `/told`: requests by kind, the
sockets open at most, tasks between create and retrieve at most, and for each task the seconds from
ready to retrieved. A listing names a task by its upload's name as soon as it is created.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import resource
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from urllib.parse import parse_qs, urlsplit

from benchmarks.vectors import CLIP_LENGTH_S, answer_segments

#: Fields come before the file, as httpx writes them.
_FIELDS_BYTES = 1 << 14
_CHUNK_BYTES = 1 << 20
_MOST_PER_PAGE = 50
_FIELD = re.compile(rb'name="([a-z_]+)"(?:; filename="([^"]*)")?(?:\r\n[^\r\n]+)*\r\n\r\n([^\r]*)')
_TASK = re.compile(r"/v1\.3/embed/tasks/([0-9a-f]{24})(/status)?")
_TASKS = "/v1.3/embed/tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long tasks take, and what they give."""

    processing_s: float
    at_once: int | None  #: tasks worked on at once; None: all of them
    hold: int  #: no task is begun before so many are created
    clips: int  #: of each video, for each option


@dataclass(slots=True, kw_only=True)
class Task:
    """A task; moments by the monotonic clock."""

    task_id: str
    filename: str
    named: str  #: in JSON: what every answer has of it but the status
    created: float
    retrieved: float | None = None


@dataclass(slots=True)
class Tasks:
    """The tasks in the order of their creation, in which they also get ready."""

    settings: Settings
    tasks: list[Task] = field(default_factory=list)
    created_at: list[float] = field(default_factory=list)  #: seconds since 1970
    ready: list[float] = field(default_factory=list)  #: monotonic; `inf` while they are held

    def create(self, form: bytes) -> Task:
        """A task for the form, of which the beginning is enough."""
        values: dict[str, list[str]] = {}
        filename = ""
        for name, file, value in _FIELD.findall(form):
            if name == b"video_file":
                filename = file.decode()
                break
            values.setdefault(name.decode(), []).append(value.decode())
        metadata = {
            "input_filename": filename,
            "video_clip_length": float(values.get("video_clip_length", ["6"])[0]),
            "video_embedding_scope": values.get("video_embedding_scope", ["clip"]),
            "duration": self.settings.clips * CLIP_LENGTH_S,
        }
        now, wall = time.monotonic(), time.time()
        told = {
            "_id": f"{len(self.tasks):024x}",
            "model_name": values["model_name"][0],
            "created_at": datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        named = f'{json.dumps(told)[:-1]}, "video_embedding": {{"metadata": {json.dumps(metadata)}'
        task = Task(task_id=told["_id"], filename=filename, named=named, created=now)
        self.tasks.append(task)
        self.created_at.append(wall)
        self.ready.append(inf)
        if len(self.tasks) == self.settings.hold:
            for number in range(len(self.tasks)):
                self._begin(number, now)
        elif len(self.tasks) > self.settings.hold:
            self._begin(len(self.tasks) - 1, now)
        return task

    def _begin(self, number: int, now: float) -> None:
        """Say when a task will be ready: as long as each takes the same, that is known at once."""
        if self.settings.at_once is not None and number >= self.settings.at_once:
            now = max(now, self.ready[number - self.settings.at_once])
        self.ready[number] = now + self.settings.processing_s

    def find(self, task_id: str) -> tuple[Task, bool] | None:
        """A task, and whether it is ready."""
        number = int(task_id, 16)
        if number >= len(self.tasks):
            return None
        return self.tasks[number], self.ready[number] <= time.monotonic()

    def page(self, query: dict[str, str]) -> str:
        """A page of the listing, newest first, in JSON."""
        finished = bisect_right(self.ready, time.monotonic())
        first, last = {
            "processing": (finished, len(self.tasks)),
            "ready": (0, finished),
            "failed": (0, 0),
        }.get(query.get("status", ""), (0, len(self.tasks)))
        if "started_at" in query:
            first = max(first, bisect_left(self.created_at, _seconds(query["started_at"])))
        if "ended_at" in query:
            last = min(last, bisect_right(self.created_at, _seconds(query["ended_at"])))
        total = max(0, last - first)
        page, limit = int(query.get("page", 1)), int(query.get("page_limit", 10))
        if not 1 <= limit <= _MOST_PER_PAGE or page < 1:
            raise ValueError("page_limit is from 1 to 50, and page from 1")
        stop = last - (page - 1) * limit
        numbers = range(stop - 1, max(first, stop - limit) - 1, -1)
        data = ", ".join(_item(self.tasks[number], ready=number < finished) for number in numbers)
        page_info = {
            "page": page,
            "limit_per_page": limit,
            "total_page": -(-total // limit),
            "total_results": total,
        }
        return f'{{"data": [{data}], "page_info": {json.dumps(page_info)}}}'

    def lags_s(self) -> list[float]:
        """From ready to the first time that a task was retrieved."""
        pairs = zip(self.tasks, self.ready, strict=True)
        return [task.retrieved - ready for task, ready in pairs if task.retrieved is not None]

    def most_in_flight(self) -> int:
        """Tasks that were created and not yet retrieved, at most."""
        steps = [(task.created, 1) for task in self.tasks]
        steps += [(task.retrieved, -1) for task in self.tasks if task.retrieved is not None]
        most = now = 0
        for _, step in sorted(steps):
            now += step
            most = max(most, now)
        return most


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _item(task: Task, *, ready: bool) -> str:
    return f'{task.named}}}, "status": "{"ready" if ready else "processing"}"}}'


class Emulator:
    """Answers requests, and counts them."""

    def __init__(self, settings: Settings) -> None:
        self._tasks = Tasks(settings)
        self._segments = answer_segments(settings.clips)
        self._requests: Counter[str] = Counter()
        self._sockets = 0
        self._most_sockets = 0

    async def serve(self, port: int) -> None:
        """Print the address, and serve until cancelled."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, backlog=1024)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1.3", flush=True)
        async with server:
            await server.serve_forever()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sockets += 1
        self._most_sockets = max(self._most_sockets, self._sockets)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._sockets -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether there may be another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        headers = head.lower()
        if "\r\nexpect: 100-continue" in headers:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _beginning(reader, headers)
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        status, parts, retrieved = self._answer(method, url.path, query, body)
        closing = "\r\nconnection: close" in headers
        told = [f"HTTP/1.1 {status}", "content-type: application/json"]
        told += [f"content-length: {sum(map(len, parts))}"]
        told += ["connection: close"] if closing else []
        writer.writelines(("\r\n".join((*told, "", "")).encode(), *parts))
        await writer.drain()
        if retrieved is not None and retrieved.retrieved is None:
            retrieved.retrieved = time.monotonic()
        return not closing

    def _answer(
        self, method: str, path: str, query: dict[str, str], body: bytes
    ) -> tuple[str, tuple[bytes, ...], Task | None]:
        """Status line, body, and the task if this gives its vectors."""
        if path == "/told":
            return "200 OK", (json.dumps(self._told()).encode(),), None
        if path == _TASKS and method == "POST":
            self._requests["create"] += 1
            task = self._tasks.create(body)
            return "200 OK", (b'{"_id": "%s"}' % task.task_id.encode(),), None
        if path == _TASKS:
            self._requests["list"] += 1
            try:
                return "200 OK", (self._tasks.page(query).encode(),), None
            except ValueError as error:
                return _refused("400 Bad Request", "parameter_invalid", str(error))
        matched = _TASK.fullmatch(path)
        found = self._tasks.find(matched[1]) if matched else None
        if matched is None or found is None:
            self._requests["unknown"] += 1
            return _refused("404 Not Found", "resource_not_exist", f"there is no {path}")
        task, ready = found
        if matched[2]:
            self._requests["status"] += 1
            return "200 OK", (_item(task, ready=ready).encode(),), None
        self._requests["retrieve"] += 1
        if not ready:
            return _refused("400 Bad Request", "parameter_invalid", "the task is not ready")
        before = f'{task.named}, "segments": '.encode()
        return "200 OK", (before, self._segments, b'}, "status": "ready"}'), task

    def _told(self) -> dict[str, object]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "tasks": len(self._tasks.tasks),
            "names": len({task.filename for task in self._tasks.tasks}),
            "requests": dict(self._requests),
            "sockets": self._most_sockets,
            "in_flight": self._tasks.most_in_flight(),
            "lags_s": self._tasks.lags_s(),
            "cpu_s": used.ru_utime + used.ru_stime,
        }


def _refused(status: str, code: str, message: str) -> tuple[str, tuple[bytes, ...], None]:
    return status, (json.dumps({"code": code, "message": message}).encode(),), None


async def _beginning(reader: asyncio.StreamReader, headers: str) -> bytes:
    """Read a body to its end, and keep what the fields are in."""
    length = re.search(r"\r\ncontent-length: *(\d+)", headers)
    left = int(length[1]) if length else 0
    kept = b""
    while left:
        chunk = await reader.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise ConnectionError("the body was cut")
        left -= len(chunk)
        kept += chunk[: _FIELDS_BYTES - len(kept)]
    return kept


def main() -> None:
    """Serve until it is ended by a signal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulator")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--processing-s", type=float, default=3)
    parser.add_argument("--at-once", type=int, help="tasks worked on at once (default: all)")
    parser.add_argument("--hold", type=int, default=0, help="begin none before so many are created")
    parser.add_argument("--clips", type=int, default=11, help="of each video, for each option")
    asked = parser.parse_args()
    settings = Settings(
        processing_s=asked.processing_s,
        at_once=asked.at_once,
        hold=asked.hold,
        clips=asked.clips,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Emulator(settings).serve(asked.port))


if __name__ == "__main__":
    main()
