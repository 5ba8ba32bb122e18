"""A confined process can do nothing but go on with what it has; an unconfined one can do it all."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from batchembed.engine.video.embed import EmbedPlan
from batchembed.engine.workers import sandbox
from batchembed.engine.workers.pool import WorkerPool
from batchembed.engine.workers.sandbox import Confinement, confine, offered
from tests.support.media import make_video

ROOT = Path(__file__).resolve().parents[2]
ME = (sys.executable, "-P", "-m", "tests.integration.test_sandbox")
PATIENCE_S = 30.0
#: System calls without a function in Python, numbered alike on all machines.
IO_URING_SETUP, PIDFD_OPEN, OPEN_TREE, OPENAT2, CLONE3 = 425, 434, 428, 437, 435
PTRACE = {"x86_64": 101, "aarch64": 117}.get(platform.machine(), -1)
#: Of a process that is not there: it would stop one that is.
PTRACE_ATTACH, NOBODY = 16, 0x7FFFFFFF

FREE, LANDLOCK, CONFINED = "free", "landlock", "confined"
NOTHING = Confinement(landlock=False, seccomp=False)
WHOLE = Confinement(landlock=True, seccomp=True)
needs_both = pytest.mark.skipif(offered() != WHOLE, reason="this kernel lacks Landlock or seccomp")


def attempts(
    folder: Path, port: int, open_file: int, made: socket.socket
) -> dict[str, Callable[[], object]]:
    """What a broken decoder might be made to do. The last one ends the process where it works."""
    return {
        "read a file": lambda: Path("/etc/passwd").read_bytes(),
        "write a file": lambda: (folder / "new").write_bytes(b"x"),
        "list a folder": lambda: next(folder.iterdir()),
        "open its own file again": lambda: os.open(f"/proc/self/fd/{open_file}", os.O_RDONLY),
        "remove a file": (folder / "victim").unlink,
        "rename a file": lambda: (folder / "old").rename(folder / "renamed"),
        "change a mode": lambda: (folder / "mode").chmod(0o777),
        "change the mode of an open file": lambda: os.fchmod(open_file, 0o600),
        "make a folder": (folder / "made").mkdir,
        "make a socket": lambda: socket.socket().detach(),
        "bind": lambda: made.bind(("127.0.0.1", 0)),
        "connect": lambda: made.connect(("127.0.0.1", port)),
        "make a pair of sockets": lambda: [end.detach() for end in socket.socketpair()],
        "fork": _fork,
        "run a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "signal its parent": lambda: os.kill(os.getppid(), 0),
        "hold its parent": lambda: os.close(_syscall(PIDFD_OPEN, os.getppid(), 0)),
        "become a program": lambda: os.execv(  # noqa: S606
            sys.executable, [sys.executable, "-c", "print('became a program')"]
        ),
    }


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _syscall(number: int, *arguments: object) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return result


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def _in_thread(work: Callable[[], str]) -> str:
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(work()))
    thread.start()
    thread.join()
    return said[0]


def _landlock_alone() -> Confinement:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(sandbox._PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return Confinement(landlock=sandbox._landlock(libc), seccomp=False)


CONFINE = {FREE: lambda: NOTHING, LANDLOCK: _landlock_alone, CONFINED: confine}


def misbehave(how: str, folder: Path, port: int) -> None:
    """Try everything, and print what came of it as lines of JSON."""
    made, (ours, theirs) = socket.socket(), socket.socketpair()
    asked, outcomes = threading.Event(), dict[str, str]()
    with (folder / "held").open("rb") as held, made, ours, theirs:
        things = attempts(folder, port, held.fileno(), made)

        def older() -> None:
            asked.wait(PATIENCE_S)
            outcomes["in an older thread"] = _outcome(things["read a file"])

        thread = threading.Thread(target=older)
        thread.start()
        confinement = CONFINE[how]()
        asked.set()
        thread.join()
        goes_on = {
            "reads what it holds": held.read().decode(),
            "starts a thread": _in_thread(lambda: "done"),
            "in a newer thread": _in_thread(lambda: _outcome(things["read a file"])),
            "answers": _outcome(lambda: theirs.sendall(b"answer")),
            "is answered": ours.recv(6).decode(),
            "gets a file": str(_passes_a_file(ours, theirs, held.fileno())),
            "signals itself": _outcome(lambda: os.kill(os.getpid(), 0)),
            "takes memory": str(len(bytearray(1 << 26))),
            "io_uring": _outcome(lambda: _syscall(IO_URING_SETUP, 1, None)),
            "open_tree": _outcome(lambda: _syscall(OPEN_TREE, -1, b"/", 0)),
            "openat2": _outcome(lambda: _syscall(OPENAT2, -1, b"/", None, 0)),
            "clone3": _outcome(lambda: _syscall(CLONE3, None, 0)),
            "ptrace": _outcome(lambda: _syscall(PTRACE, PTRACE_ATTACH, NOBODY, 0, 0)),
        }
        _say({"holds": f"{confinement.landlock} {confinement.seccomp}"})
        _say(goes_on | outcomes)
        for name, attempt in things.items():
            _say({name: _outcome(attempt)})


def _say(outcomes: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(outcomes) + "\n")
    sys.stdout.flush()


def _passes_a_file(ours: socket.socket, theirs: socket.socket, descriptor: int) -> int:
    socket.send_fds(ours, [b"x"], [descriptor])
    _, got, _, _ = socket.recv_fds(theirs, 1, 1)
    os.close(got[0])
    return len(got)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What came of everything, in a free process and in a confined one."""
    found = {}
    for how in CONFINE:
        folder = tmp_path_factory.mktemp(how)
        for name in ("victim", "old", "mode", "held"):
            (folder / name).write_text("held")
        with socket.create_server(("127.0.0.1", 0)) as server:
            ran = subprocess.run(
                [*ME, how, str(folder), str(server.getsockname()[1])],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        assert ran.returncode == 0, ran.stderr
        found[how] = {"became": "no"}
        for line in ran.stdout.splitlines():
            found[how] |= {"became": "yes"} if line == "became a program" else json.loads(line)
    return found


with socket.socket() as unused:
    NAMES = tuple(attempts(Path(), 0, 0, unused))


@needs_both
@pytest.mark.parametrize("name", NAMES)
def test_a_confined_process_is_refused(outcomes: dict[str, dict[str, str]], name: str) -> None:
    assert outcomes[CONFINED][name] in {"EPERM", "EACCES"}


@needs_both
def test_landlock_alone_denies_every_file_but_not_system_calls(
    outcomes: dict[str, dict[str, str]],
) -> None:
    found = outcomes[LANDLOCK]
    names = ("read a file", "write a file", "list a folder", "remove a file", "make a folder")
    assert {found[name] for name in names} == {"EACCES"}
    assert found["fork"] == found["make a pair of sockets"] == "done"


@pytest.mark.parametrize("name", NAMES[:-1])
def test_the_same_works_in_a_free_process(outcomes: dict[str, dict[str, str]], name: str) -> None:
    assert outcomes[FREE][name] == "done"


def test_only_a_free_process_becomes_a_program(outcomes: dict[str, dict[str, str]]) -> None:
    assert (outcomes[FREE]["became"], outcomes[CONFINED]["became"]) == ("yes", "no")


@needs_both
def test_a_confined_process_goes_on_with_what_it_has(outcomes: dict[str, dict[str, str]]) -> None:
    going_on = {
        "reads what it holds": "held",
        "starts a thread": "done",
        "answers": "done",
        "is answered": "answer",
        "gets a file": "1",
        "signals itself": "done",
        "takes memory": str(1 << 26),
    }
    for found in (outcomes[FREE], outcomes[CONFINED]):
        assert {name: found[name] for name in going_on} == going_on


@needs_both
def test_threads_older_and_newer_are_confined_too(outcomes: dict[str, dict[str, str]]) -> None:
    names = ("in an older thread", "in a newer thread")
    assert [outcomes[FREE][name] for name in names] == ["done", "done"]
    assert {outcomes[CONFINED][name] for name in names} <= {"EPERM", "EACCES"}


@needs_both
def test_system_calls_that_go_around_are_refused(outcomes: dict[str, dict[str, str]]) -> None:
    confined = outcomes[CONFINED]
    names = ("io_uring", "open_tree", "openat2", "ptrace")
    assert {confined[name] for name in names} == {"EPERM"}
    assert outcomes[FREE]["ptrace"] == "ESRCH"
    assert confined["clone3"] == "ENOSYS"  # and libc takes clone, which tells threads from forks
    assert outcomes[FREE]["openat2"] == outcomes[FREE]["clone3"] == "EINVAL"


@needs_both
def test_it_says_what_holds(outcomes: dict[str, dict[str, str]]) -> None:
    assert outcomes[CONFINED]["holds"] == "True True"


def test_asking_what_is_offered_confines_nothing() -> None:
    assert offered() == offered()
    assert Path(__file__).read_bytes()


def test_another_machine_is_not_confined_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert (offered(), confine()) == (NOTHING, NOTHING)
    assert Path(__file__).read_bytes()


@needs_both
@pytest.mark.slow
def test_the_real_model_embeds_in_a_confined_process(tmp_path: Path) -> None:
    """Of each codec that the tests can make: nothing of them is loaded late."""
    plan = EmbedPlan(clip_length_sec=2, scopes=("clip", "video"))
    with WorkerPool(1) as pool:
        for suffix in (".mp4", ".webm", ".avi", ".ts"):
            video = make_video(tmp_path / f"a{suffix}", seconds=4.2, audio=True)
            done = pool.submit(str(video), plan, deadline_s=PATIENCE_S).result()
            assert done.vectors.shape[1] == 1024
        status = Path(f"/proc/{pool.pids()[0]}/status").read_text()
        assert pool.confinement == WHOLE
    assert "\nSeccomp:\t2\n" in status
    assert "\nNoNewPrivs:\t1\n" in status


if __name__ == "__main__":
    signal.alarm(int(PATIENCE_S))
    misbehave(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
