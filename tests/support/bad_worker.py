"""A worker that does to some videos what broken decoders do; the rest it embeds like any other.

What happens is chosen by the clip length of the request, which arrives as plainly as anything.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import BinaryIO

from batchembed.engine.encoders import Encoder
from batchembed.engine.video.embed import Embedded, EmbedPlan, embed
from batchembed.engine.workers import worker
from tests.support.encoders import FakeEncoder

SEGFAULT, KILLED, STUCK, GREEDY, MUTE, DEFECT = 10.0, 9.0, 8.0, 7.0, 5.0, 4.0


def misbehave(file: BinaryIO, plan: EmbedPlan, encoder: Encoder) -> Embedded:
    """In place of `embed`."""
    asked = plan.clip_length_sec
    if asked == SEGFAULT:
        ctypes.string_at(0)
    if asked == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if asked == STUCK:
        signal.pause()
    if asked == GREEDY:
        bytearray(1 << 40)
    if asked == MUTE:
        os._exit(0)
    if asked == DEFECT:
        raise ValueError("an array is not as it should be")
    return embed(file, plan, encoder)


if __name__ == "__main__":
    raise SystemExit(worker.main(sys.argv[1:], lambda: worker.embedder(FakeEncoder, misbehave)))
