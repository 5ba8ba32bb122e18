"""What is wrong, where, and what to do: one kind of value for every layer of checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchembed.errors import BatchembedError, ExitCode

Scalar = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where a value was written.

    `line` and `column` count from 1; 0 where a source has none (an override on the command line).
    """

    file: str
    line: int
    column: int
    path: str  #: such as `$.videos[3].video_clip_length`

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a video is not in the dataset.

    `code` is the API's own where it has one (`video_duration_too_short`), else ours.
    """

    code: str
    message: str
    field: str | None = None  #: the manifest's key that would change it, if one would
    value: Scalar | None = None
    limit: Scalar | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something wrong with the manifest, at the line that it came from."""

    place: Place
    message: str
    code: str
    hint: str | None = None
    excerpt: str | None = None  #: the offending line, as written


#: Problems of these codes alone end with exit 66 instead of 65: something named is not there.
INPUT_CODES = frozenset({"table_unreadable", "table_empty", "glob_empty"})


class ManifestError(BatchembedError):
    """The manifest can't be used; `problems` has all that is wrong, in order of place."""

    exit_code = ExitCode.MANIFEST

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        if self.problems and all(problem.code in INPUT_CODES for problem in self.problems):
            self.exit_code = ExitCode.NO_INPUT
        many = "problem" if len(self.problems) == 1 else "problems"
        file = self.problems[0].place.file if self.problems else "the manifest"
        super().__init__(f"{len(self.problems)} {many} in {file}")
