"""Parts that somebody removed: their rows are fetched again while that is free, or it is said who lacks them.

Whoever's rows they are: a publish can do without none of them.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchembed.api.async_tasks_client import AsyncTasksClient
from batchembed.core.outcome import Outcome
from batchembed.dataset.folder import Folder
from batchembed.dataset.publish import RowsMissingError
from batchembed.errors import ApiConnectionError, ExitCode
from tests.support.engines import InstantPool
from tests.support.media import make_video
from tests.support.runs import Bench, entries

FILMS = ("a", "b", "c")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of two videos, and all that a run of it left; a third film is there."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "v").mkdir()
    for seed, name in enumerate(FILMS):
        make_video(folder / "v" / f"{name}.mp4", seconds=7.0, seed=seed, fps=5)
    bench = Bench(folder=folder)
    bench.write(entries("a", "b"))
    assert bench.run().exit_code is ExitCode.OK
    return folder


@pytest.fixture
def bench(made: Path, tmp_path: Path) -> Bench:
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    return Bench(folder=folder)


def lose_parts(bench: Bench) -> dict[str, bytes]:
    """Remove every part; gives what they were."""
    parts = bench.parts()
    for path in parts:
        (bench.output / path).unlink()
    return parts


def restore(bench: Bench, parts: dict[str, bytes]) -> None:
    for path, content in parts.items():
        (bench.output / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.output / path).write_bytes(content)


def embedded(bench: Bench) -> int:
    assert isinstance(bench.pool, InstantPool)
    return len(bench.pool.embedded)


def forget_tasks(bench: Bench) -> None:
    """As a service does after seven days."""
    for engine in bench.folder.glob(".batchembed/*/engine"):
        shutil.rmtree(engine)


def videos(bench: Bench) -> set[str]:
    return {str(name) for name in bench.rows()["video_id"].to_pylist()}


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda bench: bench.write(entries("a")), id="removed"),
        pytest.param(
            lambda bench: bench.write(entries("a") + entries("b", more=", skip: later")),
            id="skipped",
        ),
        pytest.param(lambda bench: (bench.folder / "v" / "b.mp4").unlink(), id="unreadable"),
    ],
)
def test_rows_that_nobody_asks_for_now_are_fetched_again_too(
    bench: Bench, edit: Callable[[Bench], Any]
) -> None:
    lose_parts(bench)
    edit(bench)
    assert bench.run().exit_code in {ExitCode.OK, ExitCode.INCOMPLETE}
    assert (videos(bench), embedded(bench)) == ({"a", "b"}, 0)


def test_a_run_of_others_brings_them_back_and_publishes_its_own(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    lose_parts(bench)
    assert bench.run(only=["c"]).published
    assert (videos(bench), embedded(bench)) == (set(FILMS), 1)


@pytest.fixture
def forgotten(bench: Bench) -> dict[str, bytes]:
    """The parts, which are gone, and so are the tasks they came of."""
    forget_tasks(bench)
    return lose_parts(bench)


def test_what_is_nowhere_any_more_is_said_with_the_ways_out(
    bench: Bench, forgotten: dict[str, bytes]
) -> None:
    bench.write(entries("c"))
    for _ in range(2):
        with pytest.raises(RowsMissingError) as refused:
            bench.run()
        assert refused.value.exit_code is ExitCode.IO
        for words in (
            "the rows of videos a, b are neither staged nor in the dataset",
            f"1 part is missing or cut short, the first is {bench.output}",
            "restore the parts from a backup",
            "ask for videos a, b again",
            "on_removed: drop",
        ):
            assert words in str(refused.value)
        assert "run again" not in str(refused.value), refused.value

    bench.write(entries("c"), more="on_removed: drop\n")
    assert bench.run().exit_code is ExitCode.OK
    assert (videos(bench), embedded(bench)) == ({"c"}, 1)


def test_one_missing_part_takes_no_other_with_it(bench: Bench) -> None:
    make_video(bench.folder / "v" / "c.mp4", seconds=7.0, seed=9, fps=5, audio=True)
    bench.write(entries(*FILMS), more="on_lost: fail\n")
    assert bench.run().exit_code is ExitCode.OK
    parts = bench.parts()
    (lost,) = [path for path in parts if "=audio" in path]
    (bench.output / lost).unlink()
    forget_tasks(bench)
    for _ in range(2):
        with pytest.raises(
            RowsMissingError, match=r"the rows of videos a, b, c .*--retry failed:lost"
        ):
            bench.run()
    restore(bench, {lost: parts[lost]})
    assert bench.run().exit_code is ExitCode.OK
    assert bench.parts() == parts


def test_what_is_asked_for_again_is_embedded_again(
    bench: Bench, forgotten: dict[str, bytes]
) -> None:
    bench.write(entries("c"))
    with pytest.raises(RowsMissingError):
        bench.run()
    bench.write(entries(*FILMS))
    assert bench.run().exit_code is ExitCode.OK
    assert (videos(bench), embedded(bench)) == (set(FILMS), 3)


@pytest.mark.parametrize("named", [("c",), FILMS], ids=["removed", "named"])
def test_parts_that_come_back_from_a_backup_are_what_they_were(
    bench: Bench, forgotten: dict[str, bytes], named: tuple[str, ...]
) -> None:
    """Also of jobs that a run has called lost meanwhile."""
    bench.write(entries(*named), more="on_lost: fail\n")
    with pytest.raises(RowsMissingError):
        bench.run()
    restore(bench, forgotten)
    bench.write(entries(*FILMS), more="on_lost: fail\n")
    assert bench.run().exit_code is ExitCode.OK
    assert (videos(bench), embedded(bench)) == (set(FILMS), 1)


def test_what_the_service_has_forgotten_takes_no_rows_out_of_the_dataset(bench: Bench) -> None:
    """An edit is taken back too late: the rows of the edit stay, and it is told."""
    forgetful = "on_lost: fail\n"
    bench.write(entries("a", "b"), more=f"defaults: {{video_clip_length: 4}}\n{forgetful}")
    assert bench.run().exit_code is ExitCode.OK
    rows = bench.rows()
    forget_tasks(bench)
    bench.write(entries("a", "b"), more=forgetful)
    report = bench.run()
    assert report.exit_code is ExitCode.INCOMPLETE
    assert {each.outcome for each in report.videos} == {Outcome.FAILED}
    assert bench.rows().equals(rows)
    assert bench.run(retry="failed:lost").exit_code is ExitCode.OK
    assert not bench.rows().equals(rows)


class _AwayClient(AsyncTasksClient):
    """Of a service that gives no results."""

    def __init__(self, inner: AsyncTasksClient) -> None:
        self.__dict__.update(inner.__dict__)

    async def retrieve_body(self, task_id: str, **options: Any) -> bytearray:
        raise ApiConnectionError("the service is away")


def test_while_they_can_not_be_fetched_the_run_says_why_and_the_next_goes_on(bench: Bench) -> None:
    bench.write(entries(*FILMS))
    parts = lose_parts(bench)
    bench.wrap = _AwayClient
    report = bench.run()
    assert report.exit_code is ExitCode.AGAIN
    assert {each.outcome for each in report.videos} == {Outcome.PENDING}
    bench.wrap = lambda client: client
    bench.write(entries("a", "b"))
    assert bench.run().exit_code is ExitCode.OK
    assert (bench.parts(), embedded(bench)) == (parts, 1)


def test_a_run_that_is_drained_before_they_are_fetched_leaves_them_to_the_next(
    bench: Bench,
) -> None:
    parts = lose_parts(bench)
    assert bench.run(stop_when=lambda event: True).exit_code is ExitCode.AGAIN
    assert bench.run().exit_code is ExitCode.OK
    assert (bench.parts(), embedded(bench)) == (parts, 0)


@pytest.mark.slow
def test_a_publish_in_the_middle_waits_for_them(bench: Bench) -> None:
    loop_and_gate: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    class Slow(AsyncTasksClient):
        """Gives results once somebody has tried to publish."""

        def __init__(self, inner: AsyncTasksClient) -> None:
            self.__dict__.update(inner.__dict__)

        async def retrieve_body(self, task_id: str, **options: Any) -> bytearray:
            if not loop_and_gate:
                loop_and_gate.append((asyncio.get_running_loop(), asyncio.Event()))
            await loop_and_gate[0][1].wait()
            return await super().retrieve_body(task_id, **options)

    class Telling(Folder):
        """Says when a publish begins."""

        def scratch(self, staging: Path) -> Path:
            for loop, gate in loop_and_gate:
                loop.call_soon_threadsafe(gate.set)
            return super().scratch(staging)

    parts = lose_parts(bench)
    bench.wrap = Slow
    bench.storage_at = lambda path, _: Telling(Path(path))
    assert bench.run(overrides=["output.publish_every_s=1"]).exit_code is ExitCode.OK
    assert (bench.parts(), embedded(bench)) == (parts, 0)


VISUAL, AUDIO = ", embedding_option: [visual-text]", ", embedding_option: [audio]"


def lose_group_of(bench: Bench, number: int) -> None:
    """Remove the parts of one group of the last record."""
    record = max((bench.output / "_batchembed" / "commits").iterdir())
    for part in json.loads(record.read_bytes())["groups"][number]["parts"]:
        (bench.output / part["path"]).unlink()


def test_while_only_rows_that_nobody_asks_for_are_missing_work_is_left_too(bench: Bench) -> None:
    bench.write(entries("a"))
    bench.run()
    lose_group_of(bench, 1)
    bench.write(entries("a", more=", metadata: {floor: 1}"))
    bench.wrap = _AwayClient
    for _ in range(2):
        report = bench.run()
        assert (report.exit_code, report.published) == (ExitCode.AGAIN, False)
        assert "the rows of video b" in report.warnings[0]
    bench.wrap = lambda client: client
    report = bench.run()
    assert (report.exit_code, report.published, report.warnings) == (ExitCode.OK, True, ())
    assert videos(bench) == {"a", "b"}


@pytest.fixture
def shared(bench: Bench) -> Bench:
    """Two videos are one job, of different options; the part of the first alone is gone."""
    make_video(bench.folder / "v" / "a.mp4", seconds=7.0, seed=9, fps=5, audio=True)
    shutil.copy(bench.folder / "v" / "a.mp4", bench.folder / "v" / "b.mp4")
    bench.write(entries("a", more=VISUAL) + entries("b", more=AUDIO))
    bench.run()
    bench.write(entries("a", more=VISUAL))
    bench.run()
    lose_group_of(bench, 0)
    assert isinstance(bench.pool, InstantPool)
    bench.pool.embedded.clear()
    return bench


@pytest.mark.parametrize("only", [[], ["c"]], ids=["skipped", "not chosen"])
def test_a_job_that_another_video_shows_is_fetched_again_too(
    shared: Bench, only: list[str]
) -> None:
    skip = "" if only else ", skip: later"
    shared.write(entries("a", more=VISUAL + skip) + entries("c"))
    assert shared.run(only=only).published
    assert (videos(shared), embedded(shared)) == (set(FILMS), 1)


def test_what_a_rebuilt_ledger_seeks_is_sought_by_the_next_run_whoever_asks(bench: Bench) -> None:
    for ledger in bench.folder.glob(".batchembed/*/ledger.sqlite"):
        ledger.unlink()
    lose_parts(bench)
    bench.wrap = _AwayClient
    assert bench.run().exit_code is ExitCode.AGAIN
    bench.wrap = lambda client: client
    bench.write(entries("a") + entries("b", more=", skip: later") + entries("c"))
    assert bench.run().exit_code is ExitCode.OK
    assert (videos(bench), embedded(bench)) == (set(FILMS), 1)


def test_a_restored_part_brings_back_a_job_of_which_not_all_is_published(bench: Bench) -> None:
    make_video(bench.folder / "v" / "a.mp4", seconds=7.0, seed=9, fps=5, audio=True)
    bench.write(entries("a", more=VISUAL), more="on_lost: fail\n")
    bench.run()
    shutil.rmtree(bench.folder / ".batchembed")
    parts = lose_parts(bench)
    with pytest.raises(RowsMissingError):
        bench.run()
    restore(bench, parts)
    report = bench.run()
    assert (report.exit_code, report.submitted) == (ExitCode.OK, 0)


def test_what_is_dropped_anyway_is_not_fetched(bench: Bench) -> None:
    lose_parts(bench)
    bench.write(entries("a"), more="on_removed: drop\n")
    report = bench.run()
    assert (report.exit_code, videos(bench)) == (ExitCode.OK, {"a"})
    assert dict(report.requests)["retrieve"] == 1
