"""A process that embeds videos, one at a time: `python -m batchembed.engine.worker FD MEMORY PARENT`.

It is executed, not forked, so it shares nothing with its parent but a Unix socket, over which each
video comes as an open file. It decodes what strangers made, hence the limits: memory, no core
files, no new privileges, and it dies with its parent. Standard streams are not part of the protocol.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeAlias

import numpy as np

from batchembed.core.problems import Reason
from batchembed.engine.embed import Embedded, EmbedFailed, EmbedPlan, embed
from batchembed.engine.encoders import Encoder
from batchembed.engine.encoders.local_v1.model_file import ModelFileError
from batchembed.engine.messages import Done, Failed, Ready, done, read_request, send_answer

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
#: What code of others raises on broken input: PyAV and NumPy; of onnxruntime, InferenceError.
_FAULTS = (
    ArithmeticError,
    AssertionError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


Embed: TypeAlias = Callable[[BinaryIO, EmbedPlan, Encoder], Embedded]


def main(argv: Sequence[str], load: Callable[[], Encoder], embed_one: Embed = embed) -> int:
    """Serve the socket until the parent closes it. Returns the exit code.

    Args:
        argv: socket, limit of memory in bytes, id of the parent.
        load: gives the model; called once the limits stand.
        embed_one: what is done with each video.
    """
    parser = argparse.ArgumentParser(prog="batchembed.engine.worker")
    parser.add_argument("descriptor", type=int)
    parser.add_argument("memory_bytes", type=int)
    parser.add_argument("parent", type=int)
    asked = parser.parse_args(argv)
    if not confine(asked.memory_bytes, asked.parent):
        return 0
    with socket.socket(fileno=asked.descriptor) as connection:
        try:
            encoder = load()
        except (ImportError, MemoryError, ModelFileError, *_FAULTS) as error:
            send_answer(connection, Failed(_start_failure(error)))
            return 1
        send_answer(connection, Ready())
        serve(connection, encoder, embed_one)
    return 0


def confine(memory_bytes: int, parent: int) -> bool:
    """Limit this process for good. Returns whether the parent is still there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent drains, then closes the socket
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    return os.getppid() == parent


def load_encoder() -> Encoder:
    """The model, warm: the first call is what allocates most."""
    from batchembed.engine.encoders.local_v1.encoder import LocalV1  # noqa: PLC0415  after the limits, and its absence is an answer

    encoder = LocalV1()
    width, height = encoder.frame_size(16 / 9)
    encoder.frame_features(np.zeros((1, height, width, 3), np.uint8))
    return encoder


def serve(connection: socket.socket, encoder: Encoder, embed_one: Embed) -> None:
    """Answer requests until the parent closes, or a video failed: then a new process follows."""
    while (request := read_request(connection)) is not None:
        plan, descriptor = request
        answer = _answer(descriptor, plan, encoder, embed_one)
        send_answer(connection, answer)
        if isinstance(answer, Failed):
            return


def _answer(descriptor: int, plan: EmbedPlan, encoder: Encoder, embed_one: Embed) -> Done | Failed:
    try:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            return done(embed_one(file, plan, encoder))
    except EmbedFailed as failure:
        if _ran_out_of_memory(failure):
            return Failed(_memory_failure())
        return Failed(failure.reason)
    except MemoryError:
        return Failed(_memory_failure())
    except _FAULTS as error:
        return Failed(
            Reason(
                code="worker_error",
                message=f"the video can't be embedded: {type(error).__name__}: {error}",
                hint="this is a defect of the engine: please report it with the video",
            )
        )


def _ran_out_of_memory(error: BaseException) -> bool:
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
        message=f"embedding the video takes more than the {limit >> 20} MiB that a worker may use",
        limit=limit,
        hint="scale the video down",
    )


def _start_failure(error: BaseException) -> Reason:
    return Reason(
        code="worker_start",
        message=f"a worker can't start: {type(error).__name__}: {error}",
        hint="free memory, or use fewer workers"
        if isinstance(error, MemoryError)
        else "install the engine again: pip install 'batchembed[local]'",
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], load_encoder))
