"""What the emulator answers: unit vectors that are drawn once."""

from __future__ import annotations

import json
import math
import random

CLIP_LENGTH_S = 2
DIMENSION = 1024
OPTIONS = ("visual-text", "audio")


def answer_segments(clips: int) -> bytes:
    """The segments of a retrieve in JSON: so many clips, each with both options."""
    drawn = random.Random(0)  # noqa: S311  no secret
    return json.dumps(
        [
            {
                "start_offset_sec": clip * CLIP_LENGTH_S,
                "end_offset_sec": (clip + 1) * CLIP_LENGTH_S,
                "embedding_scope": "clip",
                "embedding_option": option,
                "float": _unit_vector(drawn),
            }
            for option in OPTIONS
            for clip in range(clips)
        ]
    ).encode()


def _unit_vector(drawn: random.Random) -> list[float]:
    numbers = [drawn.gauss(0, 1) for _ in range(DIMENSION)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]
