"""configs/every-key.yaml: what a person copies from has every setting, with its default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from batchembed import resources
from batchembed.core.model import EngineKind
from batchembed.manifest.document import Document
from batchembed.manifest.load import load
from batchembed.manifest.schema import default_of, property_of

EVERY_KEY = Path(__file__).parents[3] / "configs" / "every-key.yaml"


def settings(*path: str) -> Iterator[tuple[str, ...]]:
    """Every key of the schema that has a default of its own."""
    found = property_of(*path) if path else resources.schema("manifest")
    for key, schema in found["properties"].items():
        if "properties" in schema and key != "defaults":
            yield from settings(*path, key)
        elif "default" in schema:
            yield (*path, key)


def test_every_setting_stands_in_the_example_with_its_default() -> None:
    document: Document = load(EVERY_KEY)
    found = list(settings())
    assert ("quota", "requests_per_minute") in found
    assert ("engine", "base_url") in found
    missing = [path for path in found if path not in document.keys]
    assert missing == []
    for path in found:
        assert document.at(path) == default_of(*path, engine=EngineKind.TWELVELABS), path


def test_every_key_of_an_entry_stands_in_the_example() -> None:
    entries = load(EVERY_KEY).at(("videos",))
    assert isinstance(entries, list)
    written = {key for entry in entries if isinstance(entry, dict) for key in entry}
    assert written == set(resources.schema("manifest")["$defs"]["entry"]["properties"])
