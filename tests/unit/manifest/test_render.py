"""Problems as lines."""

from __future__ import annotations

from batchembed.core.problems import Place, Problem
from batchembed.manifest.render import problem_dict, problem_lines


def problem(excerpt: str | None = "  id: x", column: int = 7, line: int = 3) -> Problem:
    place = Place(file="m.yaml", line=line, column=column, path="$.id")
    return Problem(place=place, message="is wrong", code="c", hint="fix it", excerpt=excerpt)


def test_a_problem_has_place_message_excerpt_caret_and_hint() -> None:
    assert problem_lines(problem()) == [
        "m.yaml:3:7: $.id: is wrong",
        "    id: x",
        "        ^",
        "    hint: fix it",
    ]


def test_a_problem_without_a_line_has_no_excerpt() -> None:
    assert problem_lines(problem(column=0, line=0))[:2] == [
        "m.yaml: $.id: is wrong",
        "    hint: fix it",
    ]


def test_a_long_line_is_cut_around_the_column() -> None:
    line = "a" * 4000 + "X" + "b" * 4000
    shown, caret = problem_lines(problem(line, 4001))[1:3]
    assert len(shown) < 140
    assert shown[len(caret) - 1] == "X"


def test_the_caret_stands_under_its_character_after_tabs_and_wide_letters() -> None:
    shown, caret = problem_lines(problem("\t映画: X", 6))[1:3]
    assert shown == "     映画: X".replace("     ", "    ")
    assert caret == "    " + " " * 6 + "^"


def test_what_a_terminal_would_obey_is_escaped() -> None:
    lines = problem_lines(problem("id: \x1b[31m\u202e", 5))
    assert "\x1b" not in "".join(lines)
    assert "\\x1b[31m\\u202e" in lines[1]


def test_json_has_every_part() -> None:
    assert problem_dict(problem()) == {
        "file": "m.yaml",
        "line": 3,
        "column": 7,
        "path": "$.id",
        "code": "c",
        "message": "is wrong",
        "hint": "fix it",
        "excerpt": "  id: x",
    }
