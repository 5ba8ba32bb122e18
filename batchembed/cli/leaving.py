"""What a run leaves beside its dataset: its report in the state folder, and the files asked for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from batchembed.cli.boundary import graver
from batchembed.cli.files import require_writable, write_whole
from batchembed.cli.inputs import taken
from batchembed.cli.log import Log
from batchembed.cli.options import Read
from batchembed.cli.unfinished import exit_code_of
from batchembed.core.run_report import RunReport
from batchembed.errors import ExitCode, StorageError, UsageError
from batchembed.report.as_json import report_dict
from batchembed.report.prometheus import dataset_of, last_success, metrics, metrics_unbegun
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
            UsageError: what was asked for can't be meant.
            OutputRefusedError, StorageError: one can't be written.
        """
        if self.metrics_file is not None and not self.metrics_file.name.endswith(".prom"):
            raise UsageError(
                f"--metrics-file {self.metrics_file} does not end in .prom, so that node exporter "
                "would not read it: name it so"
            )
        if len({_resolved(*asked) for asked in self._asked()}) < len(self._asked()):
            raise UsageError(
                f"--metrics-file and --summary-file are one file, {self.metrics_file}: name two"
            )
        for _, path in self._asked():
            require_writable(path)

    def require_apart(self, asked: Read, state_dir: str | None) -> None:
        """See that the files replace nothing that the run reads or keeps.

        Raises:
            UsageError: one would.
        """
        for option, path in self._asked():
            what = taken(path, asked, state_dir)
            if what is not None:
                raise UsageError(f"{option} {path} {what}: name another file")

    @contextlib.contextmanager
    def beginning(self, manifest: str, name: str | None, *, began_at: float) -> Iterator[None]:
        """Where a run ends in this block, it has not begun: its exit code goes to the metrics file.

        `name` is None as long as the manifest is not read. There is nothing to report in a summary.
        """
        try:
            yield
        except BaseException as error:
            if self.metrics_file is not None:
                self._leave_unbegun(self.metrics_file, manifest, name, error, began_at)
            raise

    def _leave_unbegun(
        self, path: Path, manifest: str, name: str | None, error: BaseException, began_at: float
    ) -> None:
        text = _earlier(path)
        before = None if text is None else dataset_of(text)
        if name is None and text is not None and before is None:
            return  # not ours, and perhaps what the manifest would have named
        content = metrics_unbegun(
            name or before or Path(manifest).stem,
            began_at=began_at,
            ended_at=time.time(),
            code=exit_code_of(error),
            last_success=None if text is None else last_success(text),
        )
        self._write(path, content)

    def leave(self, report: RunReport, home: Home) -> ExitCode:
        """Write everything; the run's exit code, or 74 where a file that was asked for failed.

        What the run did is in ledger and dataset already: nothing here ends it. The metrics are
        last: they have the code that the others came to.
        """
        content = msgspec.json.encode(report_dict(report))
        self._write(home.runs / f"{report.run_id}.json", content)
        code = report.exit_code
        if self.summary_file is not None and not self._write(self.summary_file, content + b"\n"):
            code = graver(code, ExitCode.IO)
        if self.metrics_file is not None:
            text = _earlier(self.metrics_file)
            before = None if text is None else last_success(text)
            figures = metrics(replace(report, exit_code=code), last_success=before)
            if not self._write(self.metrics_file, figures):
                code = graver(code, ExitCode.IO)
        return code

    def _asked(self) -> list[tuple[str, Path]]:
        named = (("--metrics-file", self.metrics_file), ("--summary-file", self.summary_file))
        return [(option, path) for option, path in named if path is not None]

    def _write(self, path: Path, content: bytes) -> bool:
        try:
            write_whole(path, content)
        except StorageError as error:
            self.log.tell(str(error), level="warning", event="warned")
            return False
        return True


def _resolved(option: str, path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # the latter before Python 3.13
        raise UsageError(
            f"{option} {path} is a link that leads to itself: name another file"
        ) from error


def _earlier(path: Path) -> str | None:
    """What an earlier run left there, if there is anything."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
