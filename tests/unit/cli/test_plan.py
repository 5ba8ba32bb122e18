"""What `plan` says before anything is paid for. The videos are URLs: nothing is opened."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchembed.cli.main import main
from batchembed.core.keys import job_key, url_content
from batchembed.core.model import JobKey, TaskId
from batchembed.core.problems import Reason
from batchembed.core.quota import Charge
from batchembed.core.states import Entry, State
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import Dataset, DatasetIdentity
from batchembed.manifest.resolve import read_manifest
from batchembed.store.home import make_home, state_home
from batchembed.store.ledger import Block
from batchembed.store.sqlite_ledger import SqliteLedger

#: Their states, by what the way there is.
WAYS: dict[str, Sequence[State]] = {
    "doubt": (State.SUBMITTING, State.UNKNOWN),
    "flight": (State.SUBMITTING, State.PROCESSING),
    "ready": (State.SUBMITTING, State.PROCESSING, State.READY),
    "lost": (State.SUBMITTING, State.PROCESSING, State.LOST),
    "failed": (State.SUBMITTING, State.FAILED),
}


def write(folder: Path, names: Sequence[str], *settings: str) -> str:
    """A manifest of windows of 60 s of videos at URLs."""
    path = folder / "m.yaml"
    videos = "".join(
        f"  - {{video_url: 'https://example.com/{name}.mp4', id: {name}}}\n" for name in names
    )
    path.write_text(
        "version: 1\nengine: twelvelabs\noutput: {path: out}\n"
        "defaults: {video_start_offset_sec: 0, video_end_offset_sec: 60}\n"
        + "".join(f"{setting}\n" for setting in settings)
        + f"videos:\n{videos}",
        encoding="utf-8",
    )
    return str(path)


def remember(
    path: str,
    ways: dict[str, Sequence[State]],
    *,
    charges: Sequence[Charge] = (),
    block: Block | None = None,
) -> None:
    """Leave what earlier runs would have left."""
    manifest = read_manifest(path).manifest
    dataset = Dataset.open_or_create(
        Folder(Path(manifest.output.path)),
        identity=DatasetIdentity(model_name=manifest.model_name, dimension=1024, engine={}),
        new_id=lambda: "d" * 32,
    )
    home = state_home(manifest.file, None, dataset.dataset_id)
    make_home(home, manifest.output.path)
    ledger = SqliteLedger(home.ledger)
    parameters = manifest.videos[0].parameters
    for name, states in ways.items():
        key = job_key(url_content(f"https://example.com/{name}.mp4"), parameters)
        ledger.add(key, now=time.time())
        entry = Entry(job_key=key, state=State.PLANNED, attempt=1)
        for state in states:
            after = replace(
                entry,
                state=state,
                task_id=TaskId(f"task-{name}"),
                reason=Reason(code="task_failed", message="torn"),
            )
            assert ledger.move(after, old=entry.state)
            entry = after
    for number, charge in enumerate(charges):
        ledger.charge(JobKey(f"k{number}"), 1, charge)
    ledger.set_block(block)
    ledger.close()


def planned(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["plan", *argv, "--format", "json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_the_last_line_says_videos_minutes_requests_and_money(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ["a", "b", "c"], "budget: {price_per_minute: 0.042, video_minutes: 2}")

    assert main(["plan", path]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "submit    a",
        "submit    b",
        "hold_back c: it would go beyond the budget",
        (
            "plan: submit 2 videos, 2.0 minutes; in 2 creates and some 4 other requests; 0.08 USD, an "
            "estimate at 0.042 USD a minute; 1 held back"
        ),
    ]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "m.yaml"]


def test_the_same_stands_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = "quota: {requests_per_minute: 1}"
    told = planned(capsys, write(tmp_path, ["a", "b"], settings), "--set", "budget.currency=EUR")

    assert told["submit"] == {"videos": 2, "minutes": 2.0, "unknown_length": 0}
    assert told["held_back"] == {"videos": 0, "minutes": 0.0, "unknown_length": 0}
    assert told["requests"] == {"create": 2, "others": 4}
    assert told["cost"] is None
    assert told["days_at_quota"] == round(60 / 86_400, 3)
    assert told["videos"][0] == {"video_id": "a", "action": "submit", "why": "", "seconds": 60.0}

    told = planned(capsys, str(tmp_path / "m.yaml"), "--set", "budget.price_per_minute=0.5")

    assert told["cost"] == {"amount": 1.0, "currency": "USD", "price_per_minute": 0.5}


def test_what_earlier_runs_left_is_not_submitted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ["new", *WAYS])
    remember(path, {**WAYS, "gone": WAYS["flight"]})

    told = planned(capsys, path)

    assert {each["video_id"]: each["action"] for each in told["videos"]} == {
        "new": "submit",
        "doubt": "look_up",
        "flight": "wait",
        "ready": "collect",
        "lost": "nothing",
        "failed": "nothing",
    }
    assert told["submit"]["videos"] == 1
    assert told["in_flight_unnamed"] == 1


def test_what_is_tried_again_is_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, ["lost", "failed"])
    remember(path, {name: WAYS[name] for name in ("lost", "failed")})

    def actions(*argv: str) -> list[str]:
        return [each["action"] for each in planned(capsys, path, *argv)["videos"]]

    assert actions() == ["nothing", "nothing"]
    assert actions("--retry", "failed") == ["submit", "submit"]
    assert actions("--retry", "failed:lost") == ["submit", "nothing"]
    assert main(["plan", path, "--retry", "failed:lots"]) == 2
    assert "did you mean lost?" in capsys.readouterr().err


def test_what_earlier_runs_spent_counts_against_quota_and_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path,
        ["a", "b"],
        "quota: {video_minutes_per_day: 10}",
        "budget: {video_minutes: 11, per: dataset}",
    )
    remember(path, {}, charges=[Charge(at=time.time() - 43_200, video_sec=600.0)])

    told = planned(capsys, path)

    assert [each["action"] for each in told["videos"]] == ["submit", "hold_back"]
    assert told["days_at_quota"] == pytest.approx(0.5, abs=0.01)


def test_a_block_of_the_service_delays_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ["a"])
    remember(path, {}, block=Block(until=time.time() + 86_400, why="too many"))
    assert planned(capsys, path)["days_at_quota"] == pytest.approx(1, abs=0.01)


def test_a_block_that_a_clock_dated_too_late_delays_no_longer_than_it_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, ["a"])
    in_a_year = time.time() + 365 * 86_400
    remember(path, {}, block=Block(until=in_a_year, why="too many", seconds=43_200))
    assert planned(capsys, path)["days_at_quota"] == pytest.approx(0.5, abs=0.01)


def test_no_signature_of_a_url_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nengine: twelvelabs\noutput: {path: out}\nvideos:\n"
        "  - video_url: https://example.com/a.mp4?X-Amz-Signature=secret\n",
        encoding="utf-8",
    )
    assert main(["plan", str(path)]) == 0
    told = capsys.readouterr().out
    assert "https://example.com/a.mp4" in told
    assert "secret" not in told
    assert "0.0 minutes and 1 of unknown length" in told
