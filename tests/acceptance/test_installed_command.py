"""The installed command as a process: killed in the middle, interrupted, read through a pipe."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from batchembed.store.lock import run_lock
from tests.support.media import make_video

COMMAND = str(Path(sys.executable).with_name("batchembed"))

MANIFEST = """\
version: 1
engine: local
videos:
  - glob: v/*.mp4
output: {path: out}
concurrency: {workers: 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "v").mkdir()
    for seed, name in enumerate("abcd"):
        make_video(tmp_path / "v" / f"{name}.mp4", seconds=9.0 + seed, fps=10, seed=seed)
    (tmp_path / "m.yaml").write_text(MANIFEST, encoding="utf-8")
    return tmp_path


def start(folder: Path, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *argv],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *argv], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def await_line(process: subprocess.Popen[str], words: str) -> None:
    """Read what a run tells until a line has these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    pytest.fail(f"the run ended without a line of {words!r}")


def parts(folder: Path) -> dict[str, bytes]:
    root = folder / "out"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")}


@pytest.mark.slow
@pytest.mark.parametrize("moment", [": processing", ": ready", ": staged"])
def test_a_killed_run_is_gone_on_with_and_ends_in_the_same_bytes(
    folder: Path, moment: str, tmp_path: Path
) -> None:
    running = start(folder, "run", "m.yaml")
    await_line(running, moment)
    running.kill()
    running.communicate()

    resumed = finish(folder, "run", "m.yaml")
    assert resumed.returncode == 0, resumed.stderr
    killed = parts(folder)

    fresh = finish(folder, "run", "m.yaml", "--set", "output.path=fresh")
    assert fresh.returncode == 0, fresh.stderr
    (folder / "out").rename(folder / "killed")
    (folder / "fresh").rename(folder / "out")
    assert killed == parts(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_drains_the_run_and_the_next_finishes_it(
    folder: Path, number: signal.Signals, code: int
) -> None:
    # The longest video is embedded first: it holds the only worker while the signal arrives.
    make_video(folder / "v" / "long.mp4", seconds=150.0, fps=10)
    running = start(folder, "run", "m.yaml")
    await_line(running, ": processing")
    running.send_signal(number)
    out, err = running.communicate(timeout=60)

    assert running.returncode == code, err
    assert "Traceback" not in out + err
    assert "pending" in out
    assert f"stopped early: {number.name}: the run drained; run again to go on" in out
    resumed = finish(folder, "run", "m.yaml")
    assert resumed.returncode == 0
    assert "5 committed" in resumed.stdout


@pytest.mark.slow
def test_a_second_signal_ends_the_run_at_once_and_loses_nothing(folder: Path) -> None:
    make_video(folder / "v" / "long.mp4", seconds=150.0, fps=10)
    running = start(folder, "run", "m.yaml")
    await_line(running, ": processing")
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=60)

    assert running.returncode == 143, err
    assert "Traceback" not in out + err
    assert finish(folder, "run", "m.yaml").returncode == 0


@pytest.mark.slow
def test_a_damaged_engine_folder_is_an_error_and_an_end(folder: Path) -> None:
    assert finish(folder, "run", "m.yaml").returncode == 0
    (table,) = (folder / ".batchembed").glob("*/engine/tasks.sqlite")
    table.write_bytes(b"no database" * 1000)

    told = finish(folder, "run", "m.yaml")

    assert told.returncode == 74
    assert "tasks.sqlite can't be used" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.slow
def test_a_second_run_beside_the_first_is_told_to_wait(folder: Path) -> None:
    assert finish(folder, "run", "m.yaml").returncode == 0
    (lock,) = (folder / ".batchembed").glob("*/run.lock")

    with run_lock(lock):
        second = finish(folder, "run", "m.yaml")
        looked = finish(folder, "status", "m.yaml")

    assert second.returncode == 75
    assert f"another run holds this output by process {os.getpid()}" in second.stderr
    assert looked.returncode == 0
    assert finish(folder, "run", "m.yaml").returncode == 0


@pytest.mark.slow
def test_one_worker_and_two_give_the_same_bytes(folder: Path) -> None:
    for workers in (1, 2):
        told = finish(
            folder,
            "run",
            "m.yaml",
            "--set",
            f"output.path=w{workers}",
            "--set",
            f"concurrency.workers={workers}",
        )
        assert told.returncode == 0, told.stderr
    one, two = (
        {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.parquet")}
        for root in (folder / "w1", folder / "w2")
    )
    assert one
    assert one == two


@pytest.mark.slow
def test_the_lines_of_the_summary_work_when_pasted(folder: Path) -> None:
    told = finish(folder, "run", "m.yaml")
    commands = [line.strip() for line in told.stdout.splitlines() if " -c " in line]

    assert len(commands) == 2
    for command in commands:
        pasted = subprocess.run(
            [
                "/bin/sh",
                "-c",
                command,
            ],  # as a person pastes it
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert pasted.returncode == 0, pasted.stderr
        assert "embedding_option" in pasted.stdout
    pattern = f"{folder}/out/**/*.parquet"
    assert duckdb.read_parquet(pattern, hive_partitioning=True).fetchall()


@pytest.mark.slow
def test_a_terminal_sees_the_run_go_on(folder: Path) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [COMMAND, "run", "m.yaml"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"},
        text=True,
    )
    os.close(theirs)
    shown = b""
    while chunk := read(ours):
        shown += chunk
    out, _ = running.communicate(timeout=60)
    os.close(ours)

    assert running.returncode == 0
    assert b"4/4 videos" in shown
    assert "4 committed" in out


@pytest.mark.slow
def test_a_run_does_not_end_because_nobody_reads_of_it(folder: Path) -> None:
    running = start(folder, "run", "m.yaml")
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    running.stderr.close()

    assert running.wait(timeout=60) == 0
    assert finish(folder, "status", "m.yaml").stdout.count("committed") >= 4


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # a pseudo-terminal says so when its other end is closed
        return b""


@pytest.mark.parametrize("modules", ["batchembed", "batchembed.api.client", "batchembed.cli.main"])
def test_importing_the_package_is_light(modules: str) -> None:
    code = (
        f"import sys, {modules};"
        "print(sorted({'av', 'onnxruntime', 'pyarrow', 'starlette'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def imports_fail(module: str, error: str) -> str:
    """A program: the command, where the import of that module raises that."""
    return f"""
import importlib.abc, sys

class Failing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            raise {error}

sys.meta_path.insert(0, Failing())
sys.argv = ["batchembed", "run", "m.yaml"]
from batchembed.__main__ import console
console()
"""


def test_a_verb_whose_import_fails_is_a_defect_and_not_an_unknown_verb(tmp_path: Path) -> None:
    code = imports_fail("batchembed.cli.run", "KeyError('x')")
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "this is a defect of batchembed" in told.stderr


@pytest.mark.parametrize("module", ["batchembed.cli.main", "batchembed.cli.run"])
def test_an_interrupt_while_modules_are_imported_is_told_in_a_word(
    tmp_path: Path, module: str
) -> None:
    """Here it comes as the first line of that module does."""
    code = imports_fail(module, "KeyboardInterrupt")
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stdout) == (130, "")
    assert told.stderr.strip() == "batchembed: interrupted"
