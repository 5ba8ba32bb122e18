"""The options and arguments that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from batchembed.core.model import Manifest, Profile
from batchembed.manifest.document import Document
from batchembed.manifest.resolve import read_manifest
from batchembed.media.limits import profile

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A manifest as a verb takes it."""

    manifest: Manifest
    profile: Profile
    document: Document


def manifest_options(verb: F) -> F:
    """The manifest, and what may change it."""
    for option in (
        click.argument("manifest", type=click.Path()),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override a key of the manifest: --set defaults.video_clip_length=4.",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local"]),
            help="Rehearse on the embedded engine: the same limits, a dataset of its own.",
        ),
    ):
        verb = option(verb)
    return verb


def state_option(verb: F) -> F:
    """Where the state is."""
    option: Callable[[F], F] = click.option(
        "--state-dir",
        type=click.Path(file_okay=False),
        help="Keep state here instead of .batchembed beside the manifest.",
    )
    return option(verb)


def _not_empty(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    # A variable that is not set must not mean the folder that one happens to be in.
    if not value:
        raise click.BadParameter("it is empty: name the folder or the URI of a dataset")
    return value


def dataset_argument(name: str) -> Callable[[F], F]:
    """A dataset. Whether it is there, and can be read, is found out where it is opened."""
    return click.argument(name, type=click.Path(readable=False), callback=_not_empty)


def format_option(verb: F) -> F:
    """What the answer looks like."""
    option: Callable[[F], F] = click.option(
        "--format",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How to print the answer.",
    )
    return option(verb)


def retry_option(verb: F) -> F:
    """Which failures are tried again."""
    option: Callable[[F], F] = click.option(
        "--retry",
        metavar="failed[:X]",
        help="Try failed and lost videos once more: all of them, or those of a class or code that "
        "`failures` prints, or `failed:transient`.",
    )
    return option(verb)


def only_option(verb: F) -> F:
    """Which videos."""
    option: Callable[[F], F] = click.option(
        "--only",
        multiple=True,
        metavar="ID-OR-PATTERN",
        help="Carry these videos alone; a pattern has *, ? or [...]. May be given more than once.",
    )
    return option(verb)


def limit_option(verb: F) -> F:
    """How many creates."""
    option: Callable[[F], F] = click.option(
        "--limit",
        type=click.IntRange(min=0),
        metavar="N",
        help="Create at most N tasks in this run.",
    )
    return option(verb)


def note_on_stderr(note: str) -> None:
    """Tell a note to a person."""
    click.echo(f"note: {note}", err=True)


def read(
    manifest: str,
    overrides: tuple[str, ...],
    engine: str | None,
    *,
    tell: Callable[[str], None] = note_on_stderr,
) -> Read:
    """Read a manifest for a verb, telling its notes.

    Raises:
        ManifestError, InputMissingError: it can't be used.
    """
    resolved = read_manifest(manifest, overrides=overrides, rehearse=engine == "local")
    for note in resolved.notes:
        tell(note)
    return Read(
        manifest=resolved.manifest,
        profile=profile(resolved.manifest.profile),
        document=resolved.document,
    )
