"""What `docs/cron.md` and `docs/json.md` promise is what the code gives."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from batchembed.cli import run
from batchembed.cli.main import cli, main
from batchembed.core.failures import FailureClass
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.core.run_report import Parked
from batchembed.core.states import State
from batchembed.report.prometheus import metrics
from tests.unit.cli.prepared import Prepared
from tests.unit.report.reports import BEGAN_AT, REPORT, a_job, a_video

DOCS = Path(__file__).parents[3] / "docs"
CRON = (DOCS / "cron.md").read_text(encoding="utf-8")
JSON = (DOCS / "json.md").read_text(encoding="utf-8")
_METRIC = re.compile(r"\bbatchembed_[a-z_]+\b")


def everything() -> bytes:
    """The figures of a run that has every one of them."""
    entry = a_job("k", State.PROCESSING, task="t", submitted_at=BEGAN_AT)
    return metrics(
        replace(
            REPORT,
            engine="twelvelabs",
            price_per_minute=0.1,
            parked=Parked(why="quota", until=BEGAN_AT),
            videos=(a_video("a", Outcome.PENDING, entry=entry),),
        ),
        last_success=None,
    )


def test_every_metric_is_documented_and_every_documented_one_is_written() -> None:
    written = set(_METRIC.findall(everything().decode()))
    table = {
        name
        for line in CRON.splitlines()
        if line.startswith("| `batch")
        for name in _METRIC.findall(line)
    }

    assert table == written


def test_the_alerts_ask_for_metrics_and_labels_that_there_are() -> None:
    text = re.search(r"```yaml\n(groups:.*?)```", CRON, re.DOTALL)
    assert text is not None
    rules = yaml.safe_load(text[1])["groups"][0]["rules"]
    written = everything().decode()

    assert len(rules) >= 3
    for rule in rules:
        named = _METRIC.findall(rule["expr"])
        assert named
        assert {name for name in named if f"\n# TYPE {name} gauge\n" not in written} == set()
        for classes in re.findall(r'class=~"([a-z|]+)"', rule["expr"]):
            for each in classes.split("|"):
                assert f'class="{each}"' in written


def commands() -> list[str]:
    """Every command line of a run in the page, as a shell reads it."""
    joined = CRON.replace("\\\n", " ")
    found = re.findall(r"batchembed run (nightly\.yaml --[^`'\n>|]+)", joined)
    assert len(found) >= 3
    return found


@pytest.mark.parametrize("line", range(3))
def test_the_command_lines_are_understood(line: int) -> None:
    words = shlex.split(commands()[line])

    with click.Context(cli) as parent:
        context = run.command.make_context("run", words, parent=parent)

    assert context.params["manifest"] == "nightly.yaml"
    assert context.params["log_format"] == "json"


def test_every_option_in_the_page_is_one_of_run() -> None:
    known = {name for each in run.command.params for name in each.opts}
    cells = {
        word
        for line in CRON.splitlines()
        if line.startswith("| `--")
        for word in line.split("`")[1].split()
    }

    assert {word for word in cells if word.startswith("--")} <= known
    assert {"--if-locked", "--max-runtime", "--log-format", "--summary-file"} <= cells


def examples() -> dict[str, Any]:
    """The example of each verb."""
    return {
        verb: json.loads(text)
        for verb, text in re.findall(r"## (\w+)\n\n```json\n(.*?)```", JSON, re.DOTALL)
    }


#: Objects whose keys are names that the data gives.
_OPEN = ("counts", "next", "rows")


def agree(told: object, documented: object) -> bool:
    """Whether two values have the same keys, wherever both have objects or lists of them."""
    if isinstance(told, dict) and isinstance(documented, dict):
        return told.keys() == documented.keys() and all(
            key in _OPEN or agree(told[key], documented[key]) for key in told
        )
    if isinstance(told, list) and isinstance(documented, list) and told and documented:
        return agree(told[0], documented[0])
    return True


@pytest.mark.parametrize(
    ("verb", "more", "code"),
    [
        ("status", [], 0),
        ("failures", [], 0),
        ("show", ["a"], 0),
        ("validate", [], 3),
        ("plan", [], 0),
        ("reconcile", ["--forget", "c"], 0),
    ],
)
def test_a_verb_prints_the_keys_that_are_documented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str, more: list[str], code: int
) -> None:
    left = Prepared(folder=tmp_path, videos=("a", "b", "c"))
    left.carry("b", State.SUBMITTING, State.PROCESSING, at=time.time(), task="t2")
    left.carry("c", State.SUBMITTING, State.UNKNOWN, at=time.time())
    left.write(("a",))
    torn = Reason(code="video_file_broken", message="torn")
    states = (State.SUBMITTING, State.PROCESSING, State.FAILED)
    left.carry("a", *states, at=time.time(), task="t", reason=torn)
    left.block(time.time() + 1000, "wait")

    argv = [verb, str(left.manifest), *more, "--format", "json"]
    assert main(argv, env={"TWELVELABS_API_KEY": "tlk"}) == code

    told = json.loads(capsys.readouterr().out)
    documented = examples()[verb]
    assert agree(told, documented)
    for key in documented:
        less = {name: value for name, value in documented.items() if name != key}
        assert not agree(told, less)


def test_the_classes_of_the_page_are_those_of_the_code() -> None:
    classes = set(re.findall(r"^\| `(\w+)` \|", JSON, re.MULTILINE)) - {"class"}
    assert classes == {str(each) for each in FailureClass}
