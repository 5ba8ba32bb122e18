"""The parts are a function of the rows there are: no history of publishes shows in them."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchembed.core.keys import cuts_group
from batchembed.core.model import VideoId
from batchembed.dataset.publish import RowSpec
from tests.support.dataset import BreakingFiles, open_here, parts_on_disk, publish, stage

#: A part of the videos, as one publish may find them.
Step = tuple[list[int], dict[int, str], list[int]]

CUTTING = [name for name in (f"v{n}" for n in range(3000)) if cuts_group(VideoId(name))]
#: Sizes so that groups are cut at a video that asks for it, by the most rows, and by the end.
SIZES = {
    CUTTING[0]: 17_000,
    "plain": 9_000,
    CUTTING[1]: 8_000,
    "long": 66_000,
    "short": 3,
    CUTTING[2]: 5,
}


def steps() -> st.SearchStrategy[list[Step]]:
    videos = st.integers(0, len(SIZES) - 1)
    return st.lists(
        st.tuples(
            st.lists(videos, unique=True),
            st.dictionaries(videos, st.sampled_from(["p-1", "p-2"]), max_size=2),
            st.lists(videos, unique=True, max_size=2),
        ),
        max_size=4,
    )


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps(), order=st.permutations(range(len(SIZES))))
def test_any_history_ends_in_the_parts_of_one_fresh_publish(
    steps: list[Step], order: list[int]
) -> None:
    """A step publishes some videos in some order, some moved elsewhere, some narrowed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "staging").mkdir()
        specs = [
            stage(
                folder / "staging",
                video_id,
                rows={"audio": rows, "visual-text": 2},
                metadata={"place": "p-0"},
            )
            for video_id, rows in SIZES.items()
        ]
        shutil.copytree(folder / "staging", folder / "fresh-staging")
        last = [specs[index] for index in order]
        fresh = open_here(folder / "fresh")
        publish(fresh, folder / "fresh-staging", last)

        dataset = open_here(folder / "out", files=BreakingFiles(1_000_000, crash=True))
        published: dict[str, RowSpec] = {}
        for listed, moved, narrowed in steps:
            now = [_edited(specs[index], moved.get(index), index in narrowed) for index in listed]
            kept = [spec for key, spec in published.items() if key not in {s.video_id for s in now}]
            publish(dataset, folder / "staging", now, kept)
            published = {spec.video_id: spec for spec in dataset.specs()}
        publish(dataset, folder / "staging", last)
        assert parts_on_disk(folder / "out") == parts_on_disk(folder / "fresh")
        assert list((folder / "staging").iterdir()) == []


def _edited(spec: RowSpec, place: str | None, narrow: bool) -> RowSpec:
    return dataclasses.replace(
        spec,
        metadata={"place": place} if place else spec.metadata,
        options=("visual-text",) if narrow else None,
    )
