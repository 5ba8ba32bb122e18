"""Each system call that lasts, failing: the run ends in words, and the next one loses and doubles nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest

from tests.support.emulator import Emulator, emulated
from tests.support.killing import Launcher
from tests.torture import tracing
from tests.torture.altered import altered
from tests.torture.scene import FORGETS, LONG, SOON_S, Scene, reference, set_scene
from tests.torture.tracing import CALLS, Fault, Made

pytestmark = pytest.mark.torture

_KINDS = ("error=EIO", "error=ENOSPC", "signal=KILL")
_AT_ONCE = 6
#: A service's table is read for each page of its listing: a new one for so many scenes.
_SCENES = 60
#: A create that was on its way when a call failed.
_ON_ITS_WAY_S = 0.5
_ENDS = {0, 73, 74}


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    tracing.require_strace()
    with Launcher(tmp_path_factory.mktemp("tracer"), inside=altered("traced")) as launched:
        yield launched


@pytest.fixture(scope="module")
def two(films: list[Path]) -> list[Path]:
    return films[:2]


@pytest.fixture(scope="module")
def wanted(
    two: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    return reference(two, launcher, tmp_path_factory.mktemp("two"))


def test_when_a_system_call_fails_the_run_ends_and_the_next_one_goes_on(
    two: list[Path], wanted: dict[str, bytes], tracer: Launcher, tmp_path: Path
) -> None:
    with emulated(tmp_path / "counted", rules=FORGETS) as emulator:
        scene = set_scene(tmp_path / "counted" / "scene", tracer, emulator, two, settle_s=SOON_S)
        ended, made = tracing.made_by(scene)
        assert ended.code == 0, ended
    assert set(CALLS) == made.most.keys()
    left = iter(_faults(made.most))
    wrong: dict[str, list[str]] = {}
    seen: Counter[int | None] = Counter()
    served = 0
    while faults := list(islice(left, _SCENES)):
        folder = tmp_path / str(served)
        with emulated(folder / "service", rules=FORGETS) as emulator:
            for at in range(0, len(faults), _AT_ONCE):
                scenes = {
                    fault: set_scene(
                        folder / f"{at + number}", tracer, emulator, two, settle_s=SOON_S
                    )
                    for number, fault in enumerate(faults[at : at + _AT_ONCE])
                }
                wrong |= _wrong(scenes, made, wanted=wanted, seen=seen)
        served += 1
    assert not wrong, "\n".join(f"{fault}: {problems}" for fault, problems in wrong.items())
    # Some of them ended a run in words, and some killed it.
    assert seen[74]
    assert seen[-9]


def test_a_ledger_that_takes_failed_writes_for_done_pays_twice(
    two: list[Path], wanted: dict[str, bytes], tmp_path: Path
) -> None:
    """The negative control: no write to the ledger's file reaches it any more, from some moment on."""
    tracing.require_strace()
    inside = altered("traced", "deaf ledger")
    with (
        Launcher(tmp_path / "launcher", inside=inside) as deaf,
        emulated(tmp_path / "service", rules=FORGETS) as emulator,
    ):
        counted = set_scene(tmp_path / "counted", deaf, emulator, two, settle_s=SOON_S)
        # The ledger is made by then, and no task is: a run that may create none does no more.
        ended, made = tracing.made_by(counted, "--limit", "0")
        assert ended.code == 75, ended
        early = made.most["fdatasync"] - 2
        fault = Fault(call="fdatasync", kind="error=EIO", number=early, ever_after=True)
        scene = set_scene(tmp_path / "scene", deaf, emulator, two, settle_s=SOON_S)
        wrong = _wrong({fault: scene}, made, wanted=wanted, seen=Counter())
    assert any(said.endswith(" 2 tasks") for said in wrong[str(fault)])


def _faults(most: Counter[str]) -> Sequence[Fault]:
    """Every one; or, in the short form, one of each call, the kinds in turn."""
    every = [
        Fault(call=call, kind=kind, number=number, ever_after=kind == "error=ENOSPC")
        for call in CALLS
        for kind in _KINDS
        for number in range(1, most[call] + 1)
    ]
    if LONG:
        return every
    drawn = random.Random(3)  # noqa: S311  nothing to guess
    return [
        drawn.choice([fault for fault in every if (fault.call, fault.kind) == (call, kind)])
        for call, kind in zip(CALLS, _KINDS * len(CALLS), strict=False)
    ]


def _wrong(
    scenes: dict[Fault, Scene],
    made: Made,
    *,
    wanted: dict[str, bytes],
    seen: Counter[int | None],
) -> dict[str, list[str]]:
    """The faults that did harm, and which; the scenes are played at once."""
    keys = {
        fault: f"tlk_{scene.folder.parent.name}_{scene.folder.name}"
        for fault, scene in scenes.items()
    }
    begun = {
        fault: tracing.faulted(scene, fault, made, key=keys[fault])
        for fault, scene in scenes.items()
    }
    wrong = {}
    for fault, scene in scenes.items():
        ended = scene.ended(begun[fault].number)
        seen[ended.code] += 1
        said = []
        if not ended.killed and ended.code not in _ENDS:
            said.append(f"exit {ended.code}")
        failed_at = begun[fault].failed_at()
        if failed_at is not None and ended.code != 0:
            late = _creates_after(scene.emulator, keys[fault], failed_at + _ON_ITS_WAY_S)
            said += [f"{late} creates after it failed"] if late else []
        wrong[fault] = said
    rest = {fault: scene.start() for fault, scene in scenes.items()}
    for fault, scene in scenes.items():
        scene.ended(rest[fault])
        if scene.runs[-1].code != 0:
            scene.until_done(most=3)
        wrong[fault] += scene.problems(wanted=wanted, also=_ENDS)
    return {str(fault): problems for fault, problems in wrong.items() if problems}


def _creates_after(emulator: Emulator, who: str, moment: float) -> int:
    return sum(asked.creates and asked.who == who and asked.at > moment for asked in emulator.asked)
