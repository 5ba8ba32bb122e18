"""Where a command's errors become words on standard error, and exit codes."""

from __future__ import annotations

import itertools
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

import click

from batchembed.api.options import API_KEY_VARIABLES
from batchembed.cli.log import JsonLog
from batchembed.core.redact import redacted
from batchembed.errors import PRECEDENCE, BatchembedError, ExitCode
from batchembed.report.text import printable


def wants_json(arguments: Sequence[str], option: str) -> bool:
    """Whether the command line asks for JSON by this option, whatever else is wrong with it."""
    return f"{option}=json" in arguments or (option, "json") in itertools.pairwise(arguments)


def graver(one: ExitCode, other: ExitCode) -> ExitCode:
    """Which of two codes a command ends with."""
    return next((code for code in PRECEDENCE if code in {one, other}), one)


class Boundary:
    """Tells what ends a command: in words, or in the lines of `--log-format json`.

    In that format a command has told its own errors before they come here: its lines have the
    run's id.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self._lines = wants_json(arguments, "--log-format")
        self._secrets = tuple(env[name] for name in API_KEY_VARIABLES if env.get(name))

    def failed(self, error: BatchembedError) -> ExitCode:
        """An error that a command raised."""
        if not self._lines:
            self._say(printable(str(error)))
        return error.exit_code

    def misused(self, error: click.ClickException) -> ExitCode:
        """A command line that is none."""
        if self._lines:
            self._line(error.format_message(), ExitCode.USAGE)
        else:
            error.show(sys.stderr)
        return ExitCode.USAGE

    def interrupted(self) -> ExitCode:
        """Ctrl-C, where nothing drains."""
        if self._lines:
            self._line("interrupted", ExitCode.INTERRUPTED)
        else:
            self._say("interrupted")
        return ExitCode.INTERRUPTED

    def defect(self) -> ExitCode:
        """The exception that is being handled is nobody's business but ours."""
        if not self._lines:
            self._say(
                f"{traceback.format_exc()}"
                "this is a defect of batchembed: please report the lines above"
            )
        return ExitCode.UNEXPECTED

    def unanswered(self, failure: OSError, code: ExitCode) -> ExitCode:
        """A command that came to `code` could not print its answer."""
        words = (
            f"the answer can't be written to standard output: {failure.strerror}; nothing else is "
            "lost: make room there, or send it elsewhere"
        )
        if self._lines:
            self._line(words, ExitCode.IO)
        else:
            self._say(words)
        return graver(code, ExitCode.IO)

    def _say(self, words: str) -> None:
        click.echo(f"batchembed: {redacted(words, *self._secrets)}", err=True)

    def _line(self, message: str, code: ExitCode) -> None:
        log = JsonLog(sys.stderr, run_id=None, clock=time.time)
        log.line("error", "error", message=message, exit_code=int(code))
