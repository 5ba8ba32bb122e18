"""A process that opens strangers' videos, one at a time; run as a module, it embeds them.

`python -m batchembed.engine.workers.worker FD MEMORY PARENT` is executed, not forked, so it shares nothing
with its parent but a Unix socket, over which each video comes as an open file. It decodes what
strangers made, hence the limits: memory, no core files, no new privileges, it dies with its parent,
and once it has loaded and tried all that it needs, it confines itself (see `sandbox`). Standard
streams are not part of the protocol. `prober` runs the same with other work.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeAlias

import av
import av.audio.frame
import av.video.frame
import numpy as np

from batchembed.core.problems import Reason
from batchembed.engine.encoders import Encoder
from batchembed.engine.encoders.local_v1.model_file import ModelFileError
from batchembed.engine.video.embed import Embedded, EmbedFailed, EmbedPlan, embed
from batchembed.engine.workers.messages import (
    Embed,
    Failed,
    ProtocolError,
    Ready,
    Request,
    Result,
    done,
    read_request,
    send_answer,
)
from batchembed.engine.workers.sandbox import confine
from batchembed.media.unreadable import UnreadableVideoError

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
#: What code of others raises on broken input: PyAV and NumPy; of onnxruntime, InferenceError.
_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
#: What loading a model, and trying it, may raise besides.
_START_FAULTS = (
    ImportError,
    MemoryError,
    ModelFileError,
    EmbedFailed,
    UnreadableVideoError,
    *_FAULTS,
)

#: Answers one request; may raise `EmbedFailed` and `UnreadableVideoError`.
Work: TypeAlias = Callable[[BinaryIO, Request], Result]
EmbedOne: TypeAlias = Callable[[BinaryIO, EmbedPlan, Encoder], Embedded]

_SAMPLE_RATE = 16_000


def main(argv: Sequence[str], load: Callable[[], Work]) -> int:
    """Serve the socket until the parent closes it. Returns the exit code.

    Args:
        argv: socket, limit of memory in bytes, id of the parent.
        load: gives what is done with each video; called once the limits of memory stand, and tried
            on a video of our own before the process confines itself.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("descriptor", type=int)
    parser.add_argument("memory_bytes", type=int)
    parser.add_argument("parent", type=int)
    asked = parser.parse_args(argv)
    if not limit(asked.memory_bytes, asked.parent):
        return 0
    with socket.socket(fileno=asked.descriptor) as connection:
        try:
            work = load()
        except _START_FAULTS as error:
            send_answer(connection, Failed(_start_failure(error)))
            return 1
        send_answer(connection, Ready(confinement=confine()))
        serve(connection, work)
    return 0


def limit(memory_bytes: int, parent: int) -> bool:
    """Limit this process for good. Returns whether the parent is still there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent drains, then closes the socket
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    return os.getppid() == parent


def embedder(load: Callable[[], Encoder], embed_one: EmbedOne = embed) -> Work:
    """Load the model; what it gives answers `Embed`, and has done so once."""
    encoder = load()

    def work(file: BinaryIO, request: Request) -> Result:
        if not isinstance(request, Embed):
            raise ProtocolError(f"a worker that embeds is asked to {type(request).__name__}")
        return done(embed_one(file, request.plan, encoder))

    work(sample(), Embed(plan=EmbedPlan(clip_length_sec=2, scopes=("clip", "video"))))
    return work


def local_v1() -> Encoder:
    """The model inside the package."""
    from batchembed.engine.encoders.local_v1.encoder import LocalV1  # noqa: PLC0415  after the limits, and its absence is an answer

    return LocalV1()


def sample() -> BinaryIO:
    """A video of 1 s with sound, to try all that must be loaded before there are no files."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        video = out.add_stream("mpeg4", rate=2)
        video.width, video.height, video.pix_fmt = 64, 36, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=_SAMPLE_RATE, layout="mono")
        for index in range(2):
            picture = np.zeros((54, 64), np.uint8)
            frame = av.video.frame.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = index
            out.mux(video.encode(frame))
        out.mux(video.encode())
        silence = np.zeros((1, _SAMPLE_RATE), np.int16)
        block = av.audio.frame.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        block.sample_rate, block.pts = _SAMPLE_RATE, 0
        out.mux(sound.encode(block))
        out.mux(sound.encode())
    file.seek(0)
    return file


def serve(connection: socket.socket, work: Work) -> None:
    """Answer requests until the parent closes, or one failed: then a new process follows."""
    while (asked := read_request(connection)) is not None:
        request, descriptor = asked
        answer = _answer(descriptor, request, work)
        send_answer(connection, answer)
        if isinstance(answer, Failed):
            return


def _answer(descriptor: int, request: Request, work: Work) -> Result | Failed:
    try:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            return work(file, request)
    except (EmbedFailed, UnreadableVideoError) as failure:
        return Failed(_memory_failure() if ran_out_of_memory(failure) else failure.reason)
    except MemoryError:
        return Failed(_memory_failure())
    except _FAULTS as error:
        return Failed(
            Reason(
                code="worker_error",
                message=f"the video can't be worked on: {type(error).__name__}: {error}",
                hint="this is a defect of the engine: please report it with the video",
            )
        )


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether FFmpeg's ENOMEM, which is one of the ways a file can't be read, is behind it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        cause = cause.__cause__
    return False


def _memory_failure() -> Reason:
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return Reason(
        code="worker_memory",
        message=f"the video takes more memory than the {limit >> 20} MiB that a worker may use",
        limit=limit,
        hint="scale the video down",
    )


def _start_failure(error: BaseException) -> Reason:
    return Reason(
        code="worker_start",
        message=f"a worker can't start: {type(error).__name__}: {error}",
        hint="free memory, or use fewer workers"
        if ran_out_of_memory(error)
        else "install the engine again: pip install 'batchembed[local]'",
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], lambda: embedder(local_v1)))
