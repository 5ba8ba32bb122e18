"""The loader: positions, strictness, and what can be thrown at it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchembed.core.problems import ManifestError, Problem
from batchembed.errors import InputMissingError
from batchembed.manifest.document import Mark
from batchembed.manifest.load import MAX_BYTES, load, load_text


def problems(text: str) -> tuple[Problem, ...]:
    """What is said of the text, whether or not it ended the reading."""
    try:
        return load_text(text, "m.yaml").problems
    except ManifestError as error:
        return error.problems


def test_values_and_keys_have_marks() -> None:
    document = load_text("a:\n  - b: x\n", "m.yaml")
    assert document.value == {"a": [{"b": "x"}]}
    assert document.keys["a", 0, "b"] == Mark(2, 5)
    assert document.marks["a", 0, "b"] == Mark(2, 8)


def test_a_place_is_the_nearest_written_thing() -> None:
    place = load_text("a:\n  b: 1\n", "m.yaml").place(("a", "c", 3))
    assert (place.line, place.column, place.path) == (2, 3, "$.a.c[3]")


def test_many_problems_are_reported_together() -> None:
    text = "a: &x 1\nb: *x\na: 2\n1: 3\nc: !!int 4\nd: .inf\n<<: {}\n? [k]\n: v\n"
    assert [(problem.place.line, problem.code) for problem in problems(text)] == [
        (1, "yaml_feature"),
        (2, "yaml_feature"),
        (3, "duplicate_key"),
        (4, "key"),
        (5, "yaml_feature"),
        (6, "number"),
        (7, "yaml_feature"),
        (8, "key"),
    ]


def test_what_was_collected_is_said_with_the_syntax_error_that_ends_the_reading() -> None:
    assert [problem.code for problem in problems("a: 1\na: 2\nb: c: d\n")] == [
        "duplicate_key",
        "yaml",
    ]


def test_the_first_of_two_equal_keys_is_kept() -> None:
    assert load_text("a: 1\na: {b: [2]}\nc: 3\n", "m.yaml").value == {"a": 1, "c": 3}


@pytest.mark.parametrize("unit", ["[", "{a: ", "- ", "? ", "{? "])
def test_deep_nesting_is_refused_before_it_is_read(unit: str) -> None:
    assert problems(unit * 1_000_000)[-1].code == "too_deep"


def test_an_exploding_document_is_refused_before_it_explodes() -> None:
    bomb = "a0: &a0 {k: v}\n" + "".join(
        f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40)
    )
    assert {problem.code for problem in problems(bomb)} == {"yaml_feature"}


def test_a_large_scalar_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as stream:
        stream.write(b"a: ")
        stream.truncate(50 * 2**20)
    with pytest.raises(ManifestError) as caught:
        load(path)
    assert caught.value.problems[0].code == "too_large"


def test_a_manifest_of_just_the_largest_size_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("a: ".ljust(MAX_BYTES, "x"), encoding="utf-8")
    assert load(path).problems == ()


def test_bytes_that_are_not_utf_8_are_named_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: 1\nname: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ManifestError) as caught:
        load(path)
    problem = caught.value.problems[0]
    assert (problem.place.line, problem.place.column) == (2, 10)
    assert "0xe9" in problem.message


def test_a_byte_order_mark_is_passed_over() -> None:
    assert load_text("\ufeffa: 1\n", "m.yaml").marks["a",] == Mark(1, 4)


def test_a_missing_manifest_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="is a folder"):
        load(tmp_path)


def test_a_path_with_a_nul_is_missing_input() -> None:
    with pytest.raises(InputMissingError):
        load("a\0b")


def test_signatures_and_users_of_urls_do_not_reach_an_excerpt() -> None:
    found = problems("a: [https://user:pw@example.com/v?sig=abc#x, .nan]\n")
    assert found[0].excerpt is not None
    assert "abc" not in found[0].excerpt
    assert "pw" not in found[0].excerpt
    assert found[0].excerpt.index(".nan") == found[0].place.column - 1


FRAGMENTS = [
    *["- ", "? ", ": ", "{", "}", "[", "]", "&a ", "*a", "!!int ", "!!bool ", "!!timestamp ", '"'],
    *[
        "'",
        "\n",
        "  ",
        "a",
        "b: ",
        "1",
        "0x",
        ".nan",
        "~",
        "<<: ",
        "|",
        ">",
        "%YAML 1.2\n",
        "---\n",
    ],
    *[
        "\x00",
        "\ud7ff",
        "\t",
        "#",
        "@",
        "`",
        "2024-99-99",
        "9" * 50,
        "é",
        "...\n",
        "!<x> ",
        "\u2028",
    ],
    *["\\u0000", "\r", "\x85", "\ufeff", "!", ", ", "\U0001f3ac"],
]


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join))
def test_any_text_is_read_or_refused_at_a_place_within_it(text: str) -> None:
    lines = text.removeprefix("\ufeff").splitlines() or [""]
    for problem in problems(text):
        assert 1 <= problem.place.line <= len(lines) + 1
        assert 1 <= problem.place.column <= max(map(len, lines)) + 2
        assert problem.message


def test_a_manifest_in_a_folder_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="not UTF-8") as caught:
        load(f"{tmp_path}/\udcff/m.yaml")
    assert str(caught.value).isprintable()
