"""Differences from a lock file, as `run --locked` prints them."""

from __future__ import annotations

import json

import pytest

from batchembed.cli.problems import print_differences
from batchembed.core.lock_differences import BuildDiffersError, Difference


def differing(count: int) -> BuildDiffersError:
    found = [Difference(what=f"video {n}", locked="a video", now=None) for n in range(count)]
    return BuildDiffersError("m.lock.json", found, "nothing was submitted")


@pytest.mark.parametrize(
    ("count", "lines", "last"),
    [
        (50, 50, "video 49: locked as a video, and now gone"),
        (20_006, 51, "and 19,956 more: --format json has all"),
    ],
)
def test_a_person_is_told_the_first_differences_and_how_many_more_there_are(
    capsys: pytest.CaptureFixture[str], count: int, lines: int, last: str
) -> None:
    print_differences(differing(count), as_json=False)
    told = capsys.readouterr().out.splitlines()
    assert (len(told), told[-1]) == (lines, last)


def test_json_has_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_differences(differing(60), as_json=True)
    assert len(json.loads(capsys.readouterr().out)["differences"]) == 60
