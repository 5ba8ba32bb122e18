"""What every torture has: videos, what becomes of them when nothing goes wrong, and a launcher."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.killing import Launcher
from tests.torture.scene import LONG, make_films, reference

#: Of a run that is killed at random.
FILMS = 200 if LONG else 60


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "torture: kills, faults and full disks; BATCHEMBED_KILLS makes it long"
    )


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_films(tmp_path_factory.mktemp("films") / "v", FILMS)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with Launcher(tmp_path_factory.mktemp("launcher")) as launched:
        yield launched


@pytest.fixture(scope="session")
def undisturbed(
    films: list[Path], launcher: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The parts of a run of all films to which nothing happens."""
    return reference(films, launcher, tmp_path_factory.mktemp("undisturbed"))
