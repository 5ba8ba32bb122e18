"""What a server says: nobody has to read it."""

from __future__ import annotations

import io
import os

from batchembed.cli.notes import Notes


def test_lines_are_written_in_order_and_can_not_move_a_terminal() -> None:
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as reader:  # noqa: PTH123  a descriptor
        with open(writing, "w", encoding="utf-8") as stream, Notes(stream) as notes:  # noqa: PTH123
            notes.tell("one")
            notes.tell("two \x1b[2J\udcff")

        assert reader.read() == "one\ntwo \\x1b[2J\\udcff\n"


def test_what_nobody_reads_is_dropped_and_counted() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filling = 0
    try:
        while True:
            filling += os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    with open(reading, encoding="utf-8") as reader:  # noqa: PTH123
        with open(writing, "w", encoding="utf-8") as stream, Notes(stream, most_waiting=3) as notes:  # noqa: PTH123
            for number in range(100):
                notes.tell(f"line {number}")  # none blocks
            reader.read(filling)

        lines = reader.read().splitlines()

    told = [line for line in lines if line.startswith("line ")]
    dropped = [line for line in lines if "were dropped" in line]
    counts = [int(line.removeprefix("(").split()[0]) for line in dropped]
    assert told[0] == "line 0"
    assert len(told) <= 4
    assert sum(counts) == 100 - len(told)


def test_a_stream_whose_reader_has_gone_ends_the_notes_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as stream, Notes(stream, most_waiting=10) as notes:  # noqa: PTH123
        for number in range(1000):
            notes.tell(f"line {number}")


def test_without_a_stream_there_are_no_notes() -> None:
    for stream in (None, io.StringIO()):
        with Notes(stream) as notes:
            notes.tell("a line")
