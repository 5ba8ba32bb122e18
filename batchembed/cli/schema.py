"""`batchembed schema`: prints a published JSON Schema."""

from __future__ import annotations

import click

from batchembed import resources
from batchembed.cli.problems import print_json
from batchembed.errors import UsageError
from batchembed.manifest.schema import bundled


@click.command("schema")
@click.argument("name", default="manifest")
def command(name: str) -> None:
    """Print a JSON Schema: manifest (default, with the limits in it), run-report, lock, faults, limits/MODEL."""
    models = (f"limits/{model}" for model in resources.model_names())
    known = ("manifest", "run-report", "lock", "faults", *models)
    if name not in known:
        raise UsageError(f"there is no schema {name!r}; there are: {', '.join(known)}")
    print_json(bundled() if name == "manifest" else resources.schema(name))
