"""Which videos share a part: a pure function of the rows there are.

A *group* is a run of consecutive videos that have rows, in the order of the manifest. It is cut
after a video when it holds 16,384 rows and the video's id asks for a cut, or when it holds 65,536.
So an edit changes its own group and the few until the cuts meet again, and neither the order of
arrival nor the history of runs shows in the layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from batchembed.core.keys import cuts_group
from batchembed.core.model import VideoId

MIN_GROUP_ROWS = 16_384
MAX_GROUP_ROWS = 65_536

T = TypeVar("T")


class GroupCutter:
    """Is shown videos with rows, one after the other, and says where a group ends."""

    def __init__(self) -> None:
        self._held = 0

    def takes(self, video_id: VideoId, rows: int) -> bool:
        """Count a video in; True if the group ends after it."""
        self._held += rows
        full = self._held >= MAX_GROUP_ROWS
        if full or (self._held >= MIN_GROUP_ROWS and cuts_group(video_id)):
            self._held = 0
            return True
        return False


def group(videos: Iterable[tuple[VideoId, int, T]]) -> tuple[tuple[T, ...], ...]:
    """Cut `videos`, each `(video_id, rows, value)` in order, into groups of their values.

    Videos without rows are left out.
    """
    groups: list[tuple[T, ...]] = []
    current: list[T] = []
    cutter = GroupCutter()
    for video_id, rows, value in videos:
        if rows == 0:
            continue
        current.append(value)
        if cutter.takes(video_id, rows):
            groups.append(tuple(current))
            current = []
    if current:
        groups.append(tuple(current))
    return tuple(groups)


def layout(
    listed: Sequence[tuple[VideoId, int, T]], kept: Sequence[tuple[VideoId, int, T]]
) -> tuple[tuple[T, ...], ...]:
    """Groups of the manifest's videos, then those of kept videos that it no longer names."""
    return group(listed) + group(sorted(kept, key=lambda video: video[0]))
