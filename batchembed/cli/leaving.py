"""What a run leaves beside its dataset: its report in the state folder, and the files asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from batchembed.cli.files import require_writable, write_whole
from batchembed.cli.log import Log
from batchembed.core.run_report import RunReport
from batchembed.errors import PRECEDENCE, ExitCode, StorageError
from batchembed.report.as_json import report_dict
from batchembed.report.prometheus import last_success, metrics
from batchembed.store.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Where a run's report goes; None: nobody asked for that file."""

    metrics_file: Path | None
    summary_file: Path | None
    log: Log

    def check(self) -> None:
        """See that the files can be written.

        Raises:
            OutputRefusedError, StorageError: one can't.
        """
        for path in (self.metrics_file, self.summary_file):
            if path is not None:
                require_writable(path)

    def leave(self, report: RunReport, home: Home) -> ExitCode:
        """Write everything; the run's exit code, or 74 where a file that was asked for failed.

        What the run did is in ledger and dataset already: nothing here ends it.
        """
        content = msgspec.json.encode(report_dict(report))
        self._write(home.runs / f"{report.run_id}.json", content)
        done = True
        if self.summary_file is not None:
            done &= self._write(self.summary_file, content + b"\n")
        if self.metrics_file is not None:
            before = _last_success(self.metrics_file)
            done &= self._write(self.metrics_file, metrics(report, last_success=before))
        code = report.exit_code
        return code if done else _graver(code, ExitCode.IO)

    def _write(self, path: Path, content: bytes) -> bool:
        try:
            write_whole(path, content)
        except StorageError as error:
            self.log.tell(str(error), level="warning", event="warned")
            return False
        return True


def _last_success(path: Path) -> float | None:
    """What the file of an earlier run tells, if there is one."""
    try:
        return last_success(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _graver(one: ExitCode, other: ExitCode) -> ExitCode:
    return next((code for code in PRECEDENCE if code in {one, other}), one)
