"""Which videos share a part."""

from __future__ import annotations

from batchembed.core.groups import MAX_GROUP_ROWS, MIN_GROUP_ROWS, GroupCutter, group, layout
from batchembed.core.keys import cuts_group
from batchembed.core.model import VideoId

NAMES = [VideoId(f"v{n}") for n in range(4000)]
CUTTING = [name for name in NAMES if cuts_group(name)]
PLAIN = [name for name in NAMES if not cuts_group(name)]


def sized(*videos: tuple[VideoId, int]) -> list[tuple[VideoId, int, VideoId]]:
    return [(name, rows, name) for name, rows in videos]


def test_few_videos_are_one_group() -> None:
    assert group(sized((PLAIN[0], 1), (CUTTING[0], 2))) == ((PLAIN[0], CUTTING[0]),)


def test_no_videos_are_no_group() -> None:
    assert group([]) == ()
    assert group(sized((PLAIN[0], 0))) == ()


def test_a_group_ends_at_an_id_that_asks_for_it_once_it_has_enough_rows() -> None:
    videos = sized((CUTTING[0], MIN_GROUP_ROWS - 1), (PLAIN[0], 1), (CUTTING[1], 1), (PLAIN[1], 1))
    assert group(videos) == ((CUTTING[0], PLAIN[0], CUTTING[1]), (PLAIN[1],))


def test_a_group_ends_when_it_is_full_whatever_the_ids() -> None:
    videos = sized((PLAIN[0], MAX_GROUP_ROWS - 1), (PLAIN[1], 1), (PLAIN[2], 1))
    assert group(videos) == ((PLAIN[0], PLAIN[1]), (PLAIN[2],))


def test_a_video_without_rows_neither_cuts_nor_is_listed() -> None:
    with_it = sized((PLAIN[0], MIN_GROUP_ROWS), (CUTTING[0], 0), (PLAIN[1], 1))
    without = sized((PLAIN[0], MIN_GROUP_ROWS), (PLAIN[1], 1))
    assert group(with_it) == group(without)


def test_one_id_in_256_asks_for_a_cut() -> None:
    assert 4000 / 512 < len(CUTTING) < 4000 / 128


def test_an_edit_changes_its_own_group_and_those_until_the_cuts_meet() -> None:
    videos = sized(*((name, 100) for name in NAMES))
    before = group(videos)
    after = group(videos[:100] + videos[101:])
    assert len(before) > 8
    assert len(set(before) - set(after)) <= 2


def test_the_cutter_says_where_the_groups_end() -> None:
    videos = [(name, 1_000) for name in NAMES]
    cutter = GroupCutter()
    ends = [name for name, rows in videos if cutter.takes(name, rows)]
    groups = group(sized(*videos))
    assert ends == [found[-1] for found in groups][: len(ends)]
    assert len(groups) - len(ends) in {0, 1}


def test_kept_videos_come_after_in_groups_of_their_own_by_id() -> None:
    listed = sized((PLAIN[3], 1))
    kept = sized((PLAIN[2], 1), (PLAIN[1], 1))
    assert layout(listed, kept) == ((PLAIN[3],), (PLAIN[1], PLAIN[2]))
