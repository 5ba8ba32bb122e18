"""A run's report in the text format of Prometheus, for node exporter's textfile collector.

Every metric is a gauge: a file is read again and again, and each run replaces it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from batchembed.core.failures import FailureClass
from batchembed.core.outcome import Outcome
from batchembed.core.run_report import RunReport
from batchembed.core.states import State
from batchembed.errors import ExitCode
from batchembed.report.accounts import class_of, doubted
from batchembed.report.expiry import nearest_expiry

_LAST_SUCCESS = "batchembed_last_success_timestamp_seconds"
_ENDED = "batchembed_last_run_timestamp_seconds"
#: States in which a video waits for another run.
_WAITING = (
    State.PLANNED,
    State.SUBMITTING,
    State.UNKNOWN,
    State.PROCESSING,
    State.READY,
    State.STAGED,
)
#: A pending video whose job is not in the ledger yet.
_NEW = "new"


def metrics(report: RunReport, *, last_success: float | None) -> bytes:
    """The content of the file. `last_success` is of an earlier run, in seconds since 1970."""
    sheet = _Sheet(report.name)
    _videos(sheet, report)
    _last_run(sheet, report)
    if report.exit_code is ExitCode.OK:
        last_success = report.began_at + report.wall_s
    _end(sheet, report.began_at, report.wall_s, report.exit_code, last_success)
    sheet.one(
        "batchembed_results_expire_timestamp_seconds",
        "When the service deletes the first results that are not collected yet.",
        nearest_expiry((video.entry for video in report.videos), report.engine),
    )
    return sheet.text()


def metrics_unbegun(
    dataset: str, *, began_at: float, ended_at: float, code: ExitCode, last_success: float | None
) -> bytes:
    """The content of the file after a run that could not begin: nothing is known of its videos."""
    sheet = _Sheet(dataset)
    _end(sheet, began_at, round(max(0.0, ended_at - began_at), 3), code, last_success)
    return sheet.text()


def last_success(text: str) -> float | None:
    """When a run last succeeded, as an earlier file tells; None where it does not."""
    sample = _sample(text, _LAST_SUCCESS)
    return None if sample is None else sample.value


def dataset_of(text: str) -> str | None:
    """Whose figures an earlier file has; None where it is no file of ours."""
    sample = _sample(text, _ENDED)
    return None if sample is None else sample.labels.get("dataset")


def _sample(text: str, name: str) -> Sample | None:
    try:
        families = tuple(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError):  # somebody else's file, or half of one
        return None
    return next((sample for each in families for sample in each.samples if each.name == name), None)


def _videos(sheet: _Sheet, report: RunReport) -> None:
    sheet.by(
        "batchembed_videos",
        "Videos of the manifest, by outcome.",
        "outcome",
        ((str(outcome), n) for outcome, n in report.counts.items()),
    )
    failed = Counter(class_of(video) for video in report.videos)
    sheet.by(
        "batchembed_failed_videos",
        "Videos that were rejected or failed, by class.",
        "class",
        ((str(each), failed[each]) for each in FailureClass),
    )
    waiting = Counter(
        _NEW if video.entry is None else str(video.entry.state)
        for video in report.videos
        if video.outcome is Outcome.PENDING
    )
    sheet.by(
        "batchembed_pending_videos",
        "Videos that wait for another run, by state.",
        "state",
        ((state, waiting[state]) for state in (_NEW, *map(str, _WAITING))),
    )
    sheet.one("batchembed_rows", "Rows in the dataset.", report.rows)
    doubts = len({video.job_key for video in doubted(report)})
    sheet.one("batchembed_in_doubt_tasks", "Creates without an answer.", doubts)


def _last_run(sheet: _Sheet, report: RunReport) -> None:
    run = "batchembed_last_run_"
    parked = report.parked
    for name, what, value in (
        ("submitted_tasks", "Tasks that the last run created.", report.submitted),
        ("submitted_video_seconds", "Length of video in them.", report.submitted_sec),
        ("adopted_tasks", "Tasks that it found again in the service's listing.", report.adopted),
        ("collected_video_seconds", "Length of video it collected.", report.collected_sec),
        ("parked", "Whether it was parked by a quota or a budget.", int(parked is not None)),
        (
            "parked_until_timestamp_seconds",
            "When a parked run can go on.",
            None if parked is None else parked.until,
        ),
    ):
        sheet.one(f"{run}{name}", what, value)
    sheet.by(f"{run}requests", "Requests that it sent, by kind.", "kind", report.requests)
    if report.cost is not None:
        sheet.by(
            f"{run}cost",
            "What it submitted, at the manifest's price; an estimate.",
            "currency",
            [(report.currency, report.cost)],
        )


def _end(
    sheet: _Sheet, began_at: float, wall_s: float, code: ExitCode, last_success: float | None
) -> None:
    for name, what, value in (
        (_ENDED, "When the last run ended.", began_at + wall_s),
        ("batchembed_last_run_duration_seconds", "How long the last run took.", wall_s),
        ("batchembed_last_run_exit_code", "Exit code of the last run.", int(code)),
        (_LAST_SUCCESS, "When a run last ended with exit code 0.", last_success),
    ):
        sheet.one(name, what, value)


class _Sheet:
    """Metrics of one dataset, in a registry of their own."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self._registry = CollectorRegistry()

    def one(self, name: str, what: str, value: float | None) -> None:
        """A metric of one value; none where there is no value."""
        if value is not None:
            gauge = Gauge(name, what, ["dataset"], registry=self._registry)
            gauge.labels(self._dataset).set(value)

    def by(self, name: str, what: str, label: str, values: Iterable[tuple[str, float]]) -> None:
        """A metric of one value for each value of a label."""
        gauge = Gauge(name, what, ["dataset", label], registry=self._registry)
        for of, value in values:
            gauge.labels(self._dataset, of).set(value)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
