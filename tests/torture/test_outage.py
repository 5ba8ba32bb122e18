"""A service that is away, or takes nothing for a while: it is left in peace, and nothing is paid twice."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from batchembed.engine.faults.plan import AnyRule, Endpoint, ServerError, TooManyRequests
from tests.support import oracle
from tests.support.emulator import Asked, Emulator, emulated
from tests.support.killing import Launcher
from tests.torture import tracing
from tests.torture.altered import altered
from tests.torture.scene import FORGETS, SOON_S, Scene, reference, set_scene

pytestmark = pytest.mark.torture

_MANY, _FEW = 50, 12
#: Requests that a run may send beyond one for each video, to a service that answers none.
_MORE = 20
#: A pause after an error is no longer than this, nor than twice the time since the first one.
_LONGEST_PAUSE_S = 60.0
#: That those who waited are spread over, and that a busy machine takes.
_SLACK_S = 3.0
_AWAY = ServerError()
_PARKS = "quota: {max_inline_wait_s: 1}\n"


@pytest.fixture(scope="module")
def many(films: list[Path]) -> list[Path]:
    return films[:_MANY]


@pytest.fixture(scope="module")
def wanted(
    many: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return reference(many, launcher, tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def wanted_of_few(
    many: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return reference(many[:_FEW], launcher, tmp_path_factory.mktemp("few"))


def test_a_service_that_is_away_is_asked_little_and_paid_once_when_it_is_back(
    many: list[Path], wanted: dict[str, bytes], launcher: Launcher, tmp_path: Path
) -> None:
    with _away(tmp_path, _AWAY) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, many, settle_s=SOON_S)
        for _ in range(2):  # the second begins with creates that are in doubt
            asked = len(emulator.asked)
            assert scene.run().code == 69, scene.runs
            assert 0 < len(emulator.asked) - asked <= _MANY + _MORE
    _end_well(scene, tmp_path, wanted)


def test_a_service_that_refuses_connections_is_tried_little_and_paid_once_when_it_is_back(
    many: list[Path], wanted_of_few: dict[str, bytes], tmp_path: Path
) -> None:
    tracing.require_strace()
    with (
        Launcher(tmp_path / "launcher", inside=altered("traced")) as tracer,
        _away(tmp_path, _AWAY) as emulator,
        closing(socket.socket()) as deaf,
    ):
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        scene = set_scene(tmp_path / "scene", tracer, emulator, many[:_FEW], settle_s=SOON_S)
        _move(scene, f"http://127.0.0.1:{deaf.getsockname()[1]}/v1.3")
        traced = tracing.start(scene, ["-e", "trace=connect"], key="tlk_refused")
        assert scene.ended(traced.number).code == 69, scene.runs
        tried = traced.log.read_text(encoding="utf-8").count(f"htons({deaf.getsockname()[1]})")
        assert 0 < tried <= _FEW + _MORE
        _end_well(scene, tmp_path, wanted_of_few)


def test_a_service_that_takes_nothing_for_two_minutes_parks_this_run_and_the_next(
    many: list[Path], launcher: Launcher, tmp_path: Path
) -> None:
    with _away(tmp_path, TooManyRequests(retry_after_s=120)) as emulator:
        scene = set_scene(
            tmp_path / "scene", launcher, emulator, many, settle_s=SOON_S, more=_PARKS
        )
        assert scene.run().code == 75, scene.runs
        asked = len(emulator.asked)
        assert 0 < asked <= _MANY + _MORE
        # It is remembered: the next run asks for nothing.
        assert scene.run().code == 75, scene.runs
        assert len(emulator.asked) == asked
        assert oracle.bad_endings(scene.runs) == []
        assert all("come back after" in run.out for run in scene.runs)


@pytest.mark.parametrize("inline", [True, False])
def test_nothing_is_created_before_the_time_that_the_service_names(
    many: list[Path],
    wanted_of_few: dict[str, bytes],
    launcher: Launcher,
    tmp_path: Path,
    inline: bool,
) -> None:
    """Whether the run itself waits for it, or parks, and a later one waits."""
    asked_s = 3.0
    refusal = TooManyRequests(on=("create",), after=4, times=1, retry_after_s=asked_s)
    with emulated(tmp_path / "service", rules=(*FORGETS, refusal)) as emulator:
        scene = set_scene(
            tmp_path / "scene",
            launcher,
            emulator,
            many[:_FEW],
            settle_s=SOON_S,
            more="concurrency: {uploads: 1}\n",
        )
        if not inline:
            assert scene.run("--set", "quota.max_inline_wait_s=0.5").code == 75, scene.runs
        assert scene.run().code == 0, scene.runs
        refused, after = [asked.at for asked in emulator.asked if asked.creates][4:6]
        assert after - refused >= asked_s
        assert scene.problems(wanted=wanted_of_few) == []


@pytest.mark.parametrize(("on", "after"), [("create", 3), ("status", 0)])
def test_a_service_that_comes_back_is_used_again_soon(
    many: list[Path],
    wanted_of_few: dict[str, bytes],
    launcher: Launcher,
    tmp_path: Path,
    on: Endpoint,
    after: int,
) -> None:
    """After some creates, or from the first look at a task on, it is away, its listings too."""
    times = 4
    away = ServerError(on=(on, "list"), after=after, times=times)
    with emulated(tmp_path / "service", rules=(*FORGETS, away)) as emulator:
        scene = set_scene(tmp_path / "scene", launcher, emulator, many[:_FEW], settle_s=SOON_S)
        assert scene.run().code == 0, scene.runs
        assert sum("server_error" in fault for fault in emulator.faults) == times
        concerned = [each.at for each in emulator.asked if each.lists or _is(on, each)]
        first, *_, last, next_one = concerned[after : after + times + 1]
        longest_s = min(_LONGEST_PAUSE_S, 2 * (last - first))
        assert next_one - last <= longest_s + _SLACK_S
        assert scene.problems(wanted=wanted_of_few) == []


def test_a_naive_loop_asks_a_service_that_is_away_more(many: list[Path], tmp_path: Path) -> None:
    """The negative control: three attempts for each video, as one would write it."""
    with _away(tmp_path, _AWAY) as emulator, httpx.Client(base_url=emulator.base_url) as client:
        for film in many:
            for _ in range(3):
                content = {"video_file": (film.name, film.read_bytes())}
                if client.post("/embed/tasks", files=content).is_success:
                    break
        assert len(emulator.asked) > _MANY + _MORE


def _is(endpoint: Endpoint, asked: Asked) -> bool:
    return asked.creates if endpoint == "create" else asked.path.endswith(f"/{endpoint}")


@contextmanager
def _away(folder: Path, rule: AnyRule) -> Iterator[Emulator]:
    with emulated(folder / "service", rules=(rule,)) as emulator:
        yield emulator
        assert emulator.tasks() == ()


def _move(scene: Scene, base_url: str) -> None:
    """Give the manifest another address of the service."""
    manifest = scene.folder / "m.yaml"
    text = manifest.read_text(encoding="utf-8")
    moved = re.sub(r"base_url: '[^']*'", f"base_url: '{base_url}'", text)
    manifest.write_text(moved, encoding="utf-8")


def _end_well(scene: Scene, folder: Path, wanted: dict[str, bytes]) -> None:
    """The service is back: the next run ends everything."""
    with emulated(folder / "well", rules=FORGETS) as emulator:
        _move(scene, emulator.base_url)
        scene.emulator = emulator
        scene.until_done()
        assert scene.problems(wanted=wanted) == []
