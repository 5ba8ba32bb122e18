"""The command line: `main(argv) -> exit code`, and the one boundary where errors become words."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import click

from batchembed.cli.boundary import Boundary, wants_json
from batchembed.cli.problems import print_differences, print_json, print_problems
from batchembed.cli.streams import guarded_streams
from batchembed.core.lock_differences import BuildDiffersError
from batchembed.core.problems import ManifestError
from batchembed.errors import BatchembedError, ExitCode

#: Each is a module of this package, with a `command`.
_VERB_NAMES = (
    *("run", "validate", "plan", "status", "failures", "show"),
    *("reconcile", "verify", "diff", "gc", "schema", "serve"),
)


class _Verbs(Mapping[str, click.Command]):
    """Each is imported when it is asked for: none waits for what another needs."""

    def __getitem__(self, name: str) -> click.Command:
        if name not in _VERB_NAMES:
            raise KeyError(name)
        try:
            command: click.Command = importlib.import_module(f"batchembed.cli.{name}").command
        except KeyError as error:  # else there would be no such verb
            raise ImportError(f"batchembed.cli.{name} can't be imported") from error
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_VERB_NAMES)

    def __len__(self) -> int:
        return len(_VERB_NAMES)


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from batchembed.cli.versions import versions  # noqa: PLC0415  it imports what it tells of

        click.echo(versions())
        context.exit()


@click.group(
    commands=cast("dict[str, click.Command]", _Verbs()),  # it is only read
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the versions that vectors depend on, and exit.",
)
def cli() -> None:
    """Build a dataset of video-segment embeddings from a YAML manifest.

    Exit codes: 0 all committed, 1 a defect, 2 usage, 3 some videos rejected or failed, 4 a check
    found a difference, 65 the manifest is wrong, 66 something it names is missing, 69 service away,
    73 output refused, 74 I/O error, 75 work is left: run again, 77 key refused, 130/143 stopped by
    a signal.
    """


def main(argv: Sequence[str] | None = None, *, env: Mapping[str, str] = os.environ) -> int:
    """Run one command; give its exit code.

    Args:
        argv: arguments without the program's name; those of the process where None.
        env: the environment; the API key's variable is the one thing read from it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    boundary = Boundary(arguments, env)
    with guarded_streams() as answer:
        code = _run(arguments, env, boundary)
        return code if answer.failure is None else boundary.unanswered(answer.failure, code)


def _run(arguments: list[str], env: Mapping[str, str], boundary: Boundary) -> ExitCode:
    as_json = wants_json(arguments, "--format")
    try:
        code = cli.main(arguments, prog_name="batchembed", standalone_mode=False, obj=env)
    except ManifestError as error:
        print_problems(error.problems, as_json=as_json)
        return error.exit_code
    except BuildDiffersError as error:
        print_differences(error, as_json=as_json)
        return boundary.failed(error)
    except BatchembedError as error:
        if as_json:
            _print_error(str(error), error.exit_code)
        return boundary.failed(error)
    except click.ClickException as error:
        if as_json:
            _print_error(error.format_message(), ExitCode.USAGE)
        return boundary.misused(error)
    except (click.Abort, KeyboardInterrupt):
        return boundary.interrupted()
    except Exception:  # noqa: BLE001  the boundary: a defect is reported as one
        return boundary.defect()
    return ExitCode(code) if isinstance(code, int) else ExitCode.OK


def _print_error(message: str, code: ExitCode) -> None:
    print_json({"error": {"message": message, "exit_code": int(code)}})
