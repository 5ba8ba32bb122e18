"""Every manifest under examples/: valid ones resolve, invalid ones say what their neighbour expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchembed.core.problems import ManifestError
from batchembed.manifest.load import load
from batchembed.manifest.render import problem_lines
from batchembed.manifest.resolve import read_manifest
from batchembed.manifest.schema import editor_validator

FOLDER = Path(__file__).parent / "examples" / "manifests"
VALID = sorted((FOLDER / "valid").glob("*.yaml"))
INVALID = sorted((FOLDER / "invalid").glob("*.yaml"))


def expectation(example: Path) -> Path:
    return example.with_suffix(".expected.txt")


def rendered(error: ManifestError) -> str:
    """All problems; files are named without their folder."""
    lines = [line for problem in error.problems for line in problem_lines(problem)]
    folder = f"{FOLDER / 'invalid'}/"
    return "".join(f"{line.removeprefix(folder)}\n" for line in lines)


def test_there_are_enough_examples() -> None:
    assert len(VALID) >= 8
    assert len(INVALID) >= 30


def test_every_expectation_has_its_example() -> None:
    expected = {path.name for path in (FOLDER / "invalid").glob("*.expected.txt")}
    assert expected == {expectation(example).name for example in INVALID}


@pytest.mark.parametrize("example", VALID, ids=lambda path: path.stem)
def test_a_valid_manifest_resolves(example: Path) -> None:
    assert read_manifest(example).manifest.videos


@pytest.mark.parametrize("example", VALID, ids=lambda path: path.stem)
def test_an_editor_finds_nothing_wrong_with_a_valid_manifest(example: Path) -> None:
    assert not list(editor_validator().iter_errors(load(example).value))


@pytest.mark.parametrize("example", INVALID, ids=lambda path: path.stem)
def test_an_invalid_manifest_says_what_is_expected(example: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(example)
    assert rendered(caught.value) == expectation(example).read_text(encoding="utf-8")
