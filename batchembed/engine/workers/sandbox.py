"""Takes from a process all that decoding does not need: files, sockets, programs, processes.

What is open stays open: a worker goes on with its socket and with the videos that come over it.
Landlock denies the file system by the kernel's own account of it. Seccomp denies system calls, those
that take a path too: it also holds where a kernel lacks Landlock, and in threads that were started
before, as onnxruntime's import starts one.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS = 38

_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
#: Bits that each version of Landlock can deny: of files, of TCP, and of reaching processes outside.
_LANDLOCK_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_LANDLOCK_TCP, _LANDLOCK_SCOPES = 0b11, 0b11

_SECCOMP_SET_MODE_FILTER, _SECCOMP_GET_ACTION_AVAIL = 1, 2
_SECCOMP_FILTER_FLAG_TSYNC = 1  # for all threads
_RET_ALLOW, _RET_ERRNO = 0x7FFF0000, 0x00050000
#: BPF: load a word, keep some of its bits, jump if equal, jump if at least, return.
_LOAD, _AND, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
#: Where a word is in `struct seccomp_data`; arguments are of eight bytes, the low half first.
_AT_NUMBER, _AT_ARCHITECTURE, _AT_ARGUMENTS = 0, 4, 16
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")  # how many, and where they are
#: System calls of x32, on x86-64, have this bit.
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_LOW_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Which of the kernel's two means hold, or are offered."""

    landlock: bool
    seccomp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """An architecture: its name in seccomp, its column in the tables, the call `seccomp` itself."""

    audit: int
    column: int
    seccomp: int


_MACHINES = {
    "x86_64": _Machine(audit=0xC000003E, column=0, seccomp=317),
    "aarch64": _Machine(audit=0xC00000B7, column=1, seccomp=277),
}

#: Denied whatever their arguments: numbers on x86-64 and on aarch64, None where there is none.
_DENIED: dict[str, tuple[tuple[int, int | None], ...]] = {
    "socket, socketpair, connect, accept, accept4, bind, listen, sendmmsg": (
        (41, 198), (53, 199), (42, 203), (43, 202), (288, 242), (49, 200), (50, 201), (307, 269),
    ),
    "execve, execveat, fork, vfork": ((59, 221), (322, 281), (57, None), (58, None)),
    "ptrace, process_vm_readv, process_vm_writev, process_madvise, kcmp": (
        (101, 117), (310, 270), (311, 271), (440, 440), (312, 272),
    ),
    "pidfd_open, pidfd_getfd, pidfd_send_signal": ((434, 434), (438, 438), (424, 424)),
    "tkill, rt_sigqueueinfo, rt_tgsigqueueinfo": ((200, 130), (129, 138), (297, 240)),
    "io_uring_setup, io_uring_enter, io_uring_register": ((425, 425), (426, 426), (427, 427)),
    "open, creat, openat, openat2": ((2, None), (85, None), (257, 56), (437, 437)),
    "name_to_handle_at, open_by_handle_at": ((303, 264), (304, 265)),
    "mkdir, mkdirat, mknod, mknodat": ((83, None), (258, 34), (133, None), (259, 33)),
    "rmdir, unlink, unlinkat": ((84, None), (87, None), (263, 35)),
    "rename, renameat, renameat2": ((82, None), (264, 38), (316, 276)),
    "link, linkat, symlink, symlinkat": ((86, None), (265, 37), (88, None), (266, 36)),
    "truncate, utime, utimes, futimesat, utimensat": (
        (76, 45), (132, None), (235, None), (261, None), (280, 88),
    ),
    "chmod, fchmod, fchmodat, fchmodat2": ((90, None), (91, 52), (268, 53), (452, 452)),
    "chown, fchown, lchown, fchownat": ((92, None), (93, 55), (94, None), (260, 54)),
    "setxattr, lsetxattr, fsetxattr, setxattrat": ((188, 5), (189, 6), (190, 7), (463, 463)),
    "removexattr, lremovexattr, fremovexattr, removexattrat": (
        (197, 14), (198, 15), (199, 16), (466, 466),
    ),
    "chroot, pivot_root, mount, umount2": ((161, 51), (155, 41), (165, 40), (166, 39)),
    "open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr": (
        (428, 428), (429, 429), (430, 430), (431, 431), (432, 432), (433, 433), (442, 442),
    ),
    "unshare, setns, personality, modify_ldt": ((272, 97), (308, 268), (135, 92), (154, None)),
    "iopl, ioperm, reboot, swapon, swapoff, acct, quotactl, syslog": (
        (172, None), (173, None), (169, 142), (167, 224), (168, 225), (163, 89), (179, 60), (103, 116),
    ),
    "bpf, perf_event_open, userfaultfd": ((321, 280), (298, 241), (323, 282)),
    "add_key, request_key, keyctl": ((248, 217), (249, 218), (250, 219)),
    "init_module, finit_module, delete_module, kexec_load, kexec_file_load": (
        (175, 105), (313, 273), (176, 106), (246, 104), (320, 294),
    ),
    "shmget, shmat, shmctl, msgget, semget, mq_open": (
        (29, 194), (30, 196), (31, 195), (68, 186), (64, 190), (240, 180),
    ),
}  # fmt: skip

#: `clone3` hides its flags from a filter: told that there is none, libc takes `clone`.
_CLONE3 = (435, 435)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unless:
    """A call that is denied unless an argument's low word, masked, is one value."""

    numbers: tuple[int, int]
    argument: int
    mask: int
    value: int


def _conditions(own_pid: int) -> tuple[_Unless, ...]:
    """Threads, answers to the parent, and signals and limits of this process itself go on."""

    def unless(
        numbers: tuple[int, int], argument: int, value: int, mask: int = _LOW_WORD
    ) -> _Unless:
        return _Unless(numbers=numbers, argument=argument, mask=mask, value=value)

    return (
        unless((56, 220), 0, _CLONE_THREAD, _CLONE_THREAD),  # clone: of a thread
        unless((44, 206), 5, 0),  # sendto: without an address, as `send` is
        unless((62, 129), 0, own_pid),  # kill
        unless((234, 131), 0, own_pid),  # tgkill, which is how `abort` ends
        unless((302, 261), 0, 0),  # prlimit64, which is how limits are read
    )


def offered() -> Confinement:
    """What this kernel offers, without confining anything."""
    libc, machine = _libc(), _machine()
    if libc is None or machine is None:
        return Confinement(landlock=False, seccomp=False)
    action = ctypes.c_uint32(_RET_ERRNO)
    available = libc.syscall(machine.seccomp, _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(action))
    return Confinement(landlock=_landlock_version(libc) > 0, seccomp=available == 0)


def confine() -> Confinement:
    """Confine this process for good, as far as its kernel can.

    Whatever it is still to import, load or open must be there before. Landlock holds for the
    calling thread and those that it starts, seccomp for every thread.

    Returns:
        What holds from now on.
    """
    libc, machine = _libc(), _machine()
    if libc is None or machine is None:
        return Confinement(landlock=False, seccomp=False)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # both ask for it
    landlock = _landlock(libc)
    return Confinement(landlock=landlock, seccomp=_seccomp(libc, machine))


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _machine() -> _Machine | None:
    return _MACHINES.get(platform.machine()) if sys.maxsize > _LOW_WORD else None


def _landlock_version(libc: ctypes.CDLL) -> int:
    """0 or less where the kernel has none."""
    return int(libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION))


def _landlock(libc: ctypes.CDLL) -> bool:
    """Deny all that this version can deny: a set of rules without a rule."""
    version = _landlock_version(libc)
    if version < 1:
        return False
    files = (1 << _LANDLOCK_FILE_BITS[min(version, max(_LANDLOCK_FILE_BITS))]) - 1
    words = [files]
    if version >= 4:
        words.append(_LANDLOCK_TCP)
    if version >= 6:
        words.append(_LANDLOCK_SCOPES)
    attributes = struct.pack(f"={len(words)}Q", *words)
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return False
    try:
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _seccomp(libc: ctypes.CDLL, machine: _Machine) -> bool:
    code = b"".join(itertools.starmap(_INSTRUCTION.pack, _filter(machine, os.getpid())))
    instructions = ctypes.create_string_buffer(code, len(code))
    program = _PROGRAM.pack(len(code) // _INSTRUCTION.size, ctypes.addressof(instructions))
    done = libc.syscall(
        machine.seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, program
    )
    return bool(done == 0)


def _filter(machine: _Machine, own_pid: int) -> Iterator[tuple[int, int, int, int]]:
    """The filter's instructions: code, how many to skip if true, and if false, operand."""
    deny = (_RETURN, 0, 0, _RET_ERRNO | errno.EPERM)
    allow = (_RETURN, 0, 0, _RET_ALLOW)
    yield (_LOAD, 0, 0, _AT_ARCHITECTURE)
    yield (_IF_EQUAL, 1, 0, machine.audit)
    yield deny
    yield (_LOAD, 0, 0, _AT_NUMBER)
    if machine.column == 0:
        yield (_IF_AT_LEAST, 0, 1, _X32)
        yield deny
    for numbers in itertools.chain.from_iterable(_DENIED.values()):
        number = numbers[machine.column]
        if number is not None:
            yield (_IF_EQUAL, 0, 1, number)
            yield deny
    yield (_IF_EQUAL, 0, 1, _CLONE3[machine.column])
    yield (_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS)
    for unless in _conditions(own_pid):
        yield (_IF_EQUAL, 0, 5, unless.numbers[machine.column])
        yield (_LOAD, 0, 0, _AT_ARGUMENTS + 8 * unless.argument)
        yield (_AND, 0, 0, unless.mask)
        yield (_IF_EQUAL, 0, 1, unless.value)
        yield allow
        yield deny
    yield allow
