"""What JSON Schema can't say: rules between fields, and between fields and facts.

Each rule gives `Reason`s, as the limits do. Texts and numbers are the document's.
"""

from __future__ import annotations

from batchembed.core.model import Facts, Parameters
from batchembed.core.problems import Reason
from batchembed.core.segments import SHORTEST_SEGMENT_MS, to_ms


def window_breaches(parameters: Parameters) -> tuple[Reason, ...]:
    """Rules between the offsets and the clip length, which need no video."""
    start, end = parameters.video_start_offset_sec, parameters.video_end_offset_sec
    if start is None or end is None:
        return ()
    clip = parameters.video_clip_length
    if to_ms(end) <= to_ms(start):
        return (
            Reason(
                code="parameter_invalid",
                field="video_end_offset_sec",
                message="The video_end_offset_sec parameter is invalid. "
                "video_end_offset_sec should be greater than video_start_offset_sec",
                value=end,
                limit=start,
                hint=f"end after {start:g} s, or leave both offsets out",
            ),
        )
    if to_ms(end) < to_ms(start) + to_ms(clip):
        return (
            Reason(
                code="parameter_invalid",
                field="video_end_offset_sec",
                message=f"the window from {start:g} to {end:g} s is shorter than video_clip_length, {clip:g} s",
                value=end,
                limit=start + clip,
                hint=f"end at {start + clip:g} s or later, or shorten video_clip_length",
            ),
        )
    return ()


def window_breaches_in(parameters: Parameters, facts: Facts) -> tuple[Reason, ...]:
    """Rules between the offsets and the video's duration.

    Without offsets a video shorter than the clip length is legal: it is one segment.
    """
    start, end = parameters.video_start_offset_sec, parameters.video_end_offset_sec
    if start is None or end is None:
        return ()
    duration, clip = facts.duration_sec, parameters.video_clip_length
    breaches = []
    if to_ms(start) > to_ms(duration) - to_ms(clip):
        latest = max(0.0, round(duration - clip, 3))
        breaches.append(
            Reason(
                code="parameter_invalid",
                field="video_start_offset_sec",
                message=f"video_start_offset_sec {start:g} leaves less than one clip of {clip:g} s "
                f"before the end of the video at {duration:g} s",
                value=start,
                limit=latest,
                hint=_room_for_a_clip(start, clip, duration),
            )
        )
    # In a video shorter than one clip the end is past it for the same cause, which is told already.
    if to_ms(end) > to_ms(duration) >= to_ms(clip):
        breaches.append(
            Reason(
                code="parameter_invalid",
                field="video_end_offset_sec",
                message=f"video_end_offset_sec {end:g} is past the end of the video at {duration:g} s",
                value=end,
                limit=duration,
                hint=f"end at {duration:g} s or earlier",
            )
        )
    return tuple(breaches)


def _room_for_a_clip(start: float, clip: float, duration: float) -> str:
    """What to do where no whole clip fits between `start` and the end of the video."""
    if to_ms(duration) >= to_ms(clip):
        return f"start at {round(duration - clip, 3):g} s or earlier"
    room = round(duration - start, 3)
    if to_ms(room) < SHORTEST_SEGMENT_MS:
        return "leave both offsets out: the video is shorter than one clip"
    return f"shorten video_clip_length to {room:g} s or less, or leave both offsets out"


def options_absent(
    wanted: tuple[str, ...] | None, facts: Facts | None, *, audio_options: frozenset[str]
) -> tuple[str, ...]:
    """The wanted options that the video can't have: those made of sound, where it has none."""
    if wanted is None or facts is None or facts.has_audio:
        return ()
    return tuple(option for option in wanted if option in audio_options)
