"""The file of faults: what it may say, and how it is told what it may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from batchembed import resources
from batchembed.cli.faults_file import read_faults
from batchembed.core.problems import ManifestError
from batchembed.engine.faults.plan import (
    ENDPOINTS,
    AnyRule,
    ConnectionCut,
    FaultPlan,
    GzipBomb,
    HiddenInListing,
    Rule,
    ServerError,
    Stuck,
    TaskRule,
    TooManyRequests,
)
from batchembed.errors import ExitCode, InputMissingError

CONFIG = Path(__file__).parents[3] / "configs" / "faults.yaml"
KINDS: dict[str, type[Rule]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyRule)}
WHEN = {"probability", "first", "every", "after", "times"}


def read(folder: Path, text: str) -> FaultPlan:
    path = folder / "faults.yaml"
    path.write_text(text, encoding="utf-8")
    return read_faults(path)


def refused(folder: Path, text: str) -> list[str]:
    """What is said of a text, a line for each problem."""
    with pytest.raises(ManifestError) as error:
        read(folder, text)
    assert error.value.exit_code == ExitCode.MANIFEST
    return [
        f"{problem.place.line}:{problem.place.column}: {problem.message}"
        + (f" ({problem.hint})" if problem.hint else "")
        for problem in error.value.problems
    ]


def examples(schema: object) -> Iterator[Any]:
    if isinstance(schema, dict):
        yield from schema.get("examples", ())
        for value in schema.values():
            yield from examples(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from examples(value)


def test_a_file_becomes_a_plan(tmp_path: Path) -> None:
    plan = read(
        tmp_path,
        "seed: 7\n"
        "rules:\n"
        "  - fault: too_many_requests\n"
        "    on: [create]\n"
        "    probability: 0.1\n"
        "    retry_after_s: 2\n"
        "    body: false\n"
        "  - {fault: connection_cut, when: during, first: 3, after: 2, times: 1}\n",
    )
    assert plan == FaultPlan(
        seed=7,
        rules=(
            TooManyRequests(on=("create",), probability=0.1, retry_after_s=2, body=False),
            ConnectionCut(when="during", first=3, after=2, times=1),
        ),
    )


def test_a_whole_number_may_be_written_with_a_point(tmp_path: Path) -> None:
    plan = read(tmp_path, "rules: [{fault: server_error, status: 502.0, every: 3.0}]\n")
    assert plan.rules == (ServerError(status=502, every=3),)


def test_the_worked_example_has_every_fault_once_and_seldom() -> None:
    plan = read_faults(CONFIG)
    assert sorted(rule.name for rule in plan.rules) == sorted(KINDS)
    assert all(rule.probability is not None and rule.probability <= 0.1 for rule in plan.rules)


def test_every_example_of_the_schema_is_a_plan(tmp_path: Path) -> None:
    seen = set()
    for example in examples(resources.schema("faults")):
        whole = example if "rules" in example else {"rules": [example]}
        seen |= {rule.name for rule in read(tmp_path, json.dumps(whole)).rules}
    assert seen == set(KINDS)


def test_the_schema_names_the_faults_that_there_are() -> None:
    rule = resources.schema("faults")["$defs"]["rule"]
    assert set(rule["properties"]["fault"]["enum"]) == set(KINDS)
    assert [branch["then"]["$ref"] for branch in rule["allOf"]] == [
        f"#/$defs/{name}" for name in rule["properties"]["fault"]["enum"]
    ]


@pytest.mark.parametrize("name", KINDS)
def test_the_schema_has_the_keys_and_defaults_of_a_fault(name: str) -> None:
    kind, schema = KINDS[name], resources.schema("faults")["$defs"][name]["properties"]
    takes_on = not issubclass(kind, (TaskRule, HiddenInListing))
    assert set(schema) == (
        {field.name for field in msgspec.structs.fields(kind) if takes_on or field.name != "on"}
        | {"fault"}
    )
    if takes_on:
        assert set(schema["on"]["items"]["enum"]) == kind.applies_to <= ENDPOINTS
    for field in msgspec.structs.fields(kind):
        own = field.name not in {*WHEN, "on"}
        if own and not field.required and field.default is not None:
            assert schema[field.name]["default"] == field.default


def test_problems_are_told_with_their_places_and_near_words(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        "sead: 3\nrules:\n  - fault: no_id\n    on: [retrieve]\n  - fault: not_a_number\n    vectros: all\n",
    ) == [
        "1:1: unknown key `sead` (did you mean seed?)",
        '4:10: must be create, and is the text "retrieve" (it applies to create)',
        "6:5: unknown key `vectros` (did you mean vectors?)",
    ]


def test_a_fault_that_is_nearly_named_is_recognised(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, "rules: [{fault: server_eror}]\n")
    assert said.startswith("1:17: must be ")
    assert said.endswith("(did you mean server_error?)")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "{fault: stuck, on: [create]}",
            "unknown key `on` (the keys here are fault, probability, first, every, after, times)",
        ),
        (
            "{fault: stuck, probability: 0.5, every: 2}",
            "every stands beside probability (keep one of probability, first and every)",
        ),
        (
            "{fault: stuck, first: 5, every: 2}",
            "every stands beside first (keep one of probability, first and every)",
        ),
        ("{fault: stuck, probability: 2}", "must be at most 1, and is 2"),
        ("{fault: stuck, first: 0}", "must be at least 1, and is 0"),
        ("{fault: server_error, status: 404}", "must be at least 500, and is 404"),
        ("{fault: answer_lost, delay_s: 3}", "the key `how` is missing (add `how: hang`)"),
        ("{fault: answer_lost, how: cut, status: 500}", 'must be error, and is the text "cut"'),
        (
            "{fault: too_many_requests, retry_after_form: date}",
            "the key `retry_after_s` is missing (add `retry_after_s: ...`)",
        ),
        (
            "{fault: redirect}",
            "the key `location` is missing (add it: such as http://127.0.0.1:9/elsewhere)",
        ),
        (
            "{fault: redirect, location: elsewhere}",
            (
                'location must be an http address or a path; this is the text "elsewhere"'
                " (such as http://127.0.0.1:9/elsewhere)"
            ),
        ),
        (
            "{probability: 1}",
            "the key `fault` is missing (add it: such as server_error, answer_lost or stuck)",
        ),
        ("stuck", 'must be a mapping, and is the text "stuck" (write `- fault: server_error`)'),
        (
            "{fault: not_a_number, value: 1e400}",
            "the number is too large (quote it if it is meant as text)",
        ),
    ],
)
def test_what_a_rule_may_not_say_is_told(tmp_path: Path, rule: str, said: str) -> None:
    (line,) = refused(tmp_path, f"rules:\n  - {rule}\n")
    assert line.split(": ", 1)[1] == said


def test_a_file_without_rules_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "rules: []\n") == ["1:8: there are no rules (- fault: server_error)"]
    assert refused(tmp_path, "seed: 1\n") == [
        "1:1: the key `rules` is missing (add it: - fault: server_error)"
    ]


def test_what_no_manifest_may_be_no_file_of_faults_may_be(tmp_path: Path) -> None:
    assert refused(tmp_path, "rules: &all\n  - fault: stuck\n")[0].startswith(
        "1:8: the anchor &all"
    )
    assert refused(tmp_path, "seed: 1\nseed: 2\nrules: [{fault: stuck}]\n") == [
        "2:1: the key `seed` is written twice; first in line 1 (keep one of the two)"
    ]


def test_a_key_that_could_not_be_read_is_not_called_missing_too(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, "? [rules]\n: 1\n")
    assert said.startswith("1:3: a key must be text")


def test_a_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="there is no such file"):
        read_faults(tmp_path / "faults.yaml")


def test_a_rule_without_a_window_always_hits(tmp_path: Path) -> None:
    plan = read(tmp_path, "rules: [{fault: stuck}, {fault: gzip_bomb, size_bytes: 4294967296}]\n")
    assert plan.rules == (Stuck(), GzipBomb(size_bytes=2**32))


def test_an_empty_file_is_told_how_faults_begin(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("# nothing\n", encoding="utf-8")

    with pytest.raises(ManifestError) as caught:
        read_faults(path)

    (problem,) = caught.value.problems
    assert (problem.message, problem.hint) == ("the file is empty", "it begins with `rules:`")
