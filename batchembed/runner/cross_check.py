"""Holds a dataset against its ledger: the record is the truth for data, the ledger for money."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from batchembed.core.model import JobKey
from batchembed.core.states import Entry, State
from batchembed.core.verification import Finding
from batchembed.dataset.record import RowSpec, record_key

_RUN = "run the manifest: it goes by the dataset, and mends its ledger"


def cross_check(
    ledger: str,
    entries: Mapping[JobKey, Entry],
    specs: Sequence[RowSpec],
    record: int,
    *,
    is_named: bool = True,
) -> Iterator[Finding]:
    """Where the two contradict each other.

    A job's state alone never does: what is committed may have been fetched again since.

    Args:
        ledger: its path.
        entries: all that it has.
        specs: the videos of the dataset's last record.
        record: the number of that.
        is_named: somebody said that it is the ledger of this very dataset, and not of one that
            this is an earlier copy of.
    """
    ahead = [e for e in entries.values() if e.state is State.COMMITTED and (e.commit or 0) > record]
    if ahead:
        number = max(entry.commit or 0 for entry in ahead)
        message = (
            f"the ledger has {len(ahead)} jobs committed by later records, up to {number}, "
            f"and the last one here is {record}"
        )
        yield (
            Finding(
                code="record_missing",
                file=record_key(number),
                message=message,
                hint="restore the records from a backup",
            )
            if is_named
            else Finding(
                code="ledger_ahead",
                file=ledger,
                message=f"{message}: records are lost, or this is an earlier copy of the dataset",
                hint="if it is none, name its ledger with --manifest or --state-dir",
                is_fault=False,
            )
        )
    rows: dict[JobKey, dict[str, RowSpec]] = {}
    for spec in specs:
        rows.setdefault(spec.job_key, {})[spec.rows_sha256] = spec
    for key, published in rows.items():
        entry = entries.get(key)
        first = next(iter(published.values()))
        if entry is None:
            message = f"it does not know job {key[:12]}, whose rows are in the dataset"
            yield _fault("ledger_lacks", ledger, message, first)
        elif entry.state is State.COMMITTED and (entry.commit or 0) <= record:
            yield from _rows(ledger, entry, published, first)


def _rows(
    ledger: str, entry: Entry, published: Mapping[str, RowSpec], first: RowSpec
) -> Iterator[Finding]:
    staged = entry.staged
    if staged is None:
        return
    spec = published.get(staged.sha256)
    if spec is None:
        message = f"the rows that it has of job {entry.job_key[:12]} are not those in the dataset"
        yield _fault("ledger_differs", ledger, message, first)
    elif spec.rows != staged.rows:
        message = f"it counts {dict(staged.rows)} rows of job {entry.job_key[:12]}, and the dataset {dict(spec.rows)}"
        yield _fault("ledger_differs", ledger, message, spec)


def _fault(code: str, ledger: str, message: str, spec: RowSpec) -> Finding:
    return Finding(code=code, file=ledger, message=message, hint=_RUN, video_id=spec.video_id)
