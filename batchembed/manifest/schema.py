"""The manifest's schema and the limits of the models, ready to validate and to give defaults."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from batchembed import resources
from batchembed.core.model import EngineKind
from batchembed.manifest.document import Value

PARAMETERS = (
    "video_clip_length",
    "video_embedding_scope",
    "video_start_offset_sec",
    "video_end_offset_sec",
    "embedding_option",
)


@functools.cache
def registry() -> Registry[Any]:
    """Every published schema under its path, relative to `schemas/`: the files refer so too."""
    names = ["manifest", *(f"limits/{model}" for model in resources.model_names())]
    return Registry().with_resources(
        (f"{name}.schema.json", DRAFT202012.create_resource(resources.schema(name)))
        for name in names
    )


def bundled() -> dict[str, Any]:
    """The manifest's schema as one document, the limits within it: for an editor far from here."""
    text = json.dumps(resources.schema("manifest"))
    for model in resources.model_names():
        text = text.replace(f'"limits/{model}.schema.json#', f'"#/$defs/limits:{model}')
    whole: dict[str, Any] = json.loads(text)
    for model in resources.model_names():
        whole["$defs"][f"limits:{model}"] = {"$defs": resources.schema(f"limits/{model}")["$defs"]}
    return whole


@functools.cache
def editor_validator() -> Draft202012Validator:
    """The whole schema, as an editor applies it: with the limits where they stand beside the model."""
    return Draft202012Validator({"$ref": "manifest.schema.json"}, registry=registry())


@functools.cache
def shape_validator() -> Draft202012Validator:
    """The schema without the limits, which the checker applies to each resolved video instead."""
    schema = {key: value for key, value in resources.schema("manifest").items() if key != "allOf"}
    return Draft202012Validator(schema, registry=registry())


@functools.cache
def entry_validator() -> Draft202012Validator:
    """One entry of `videos`, without the limits."""
    return Draft202012Validator({"$ref": "manifest.schema.json#/$defs/entry"}, registry=registry())


@functools.cache
def limits_validator(model: str) -> Draft202012Validator:
    """What a request to `model` may ask."""
    return Draft202012Validator(
        {"$ref": f"limits/{model}.schema.json#/$defs/parameters"}, registry=registry()
    )


@functools.cache
def row_validator() -> Draft202012Validator:
    """The keys that a table's row may have, with their types."""
    return Draft202012Validator(
        {
            "properties": {
                key: {"$ref": f"manifest.schema.json#/$defs/entry/properties/{key}"}
                for key in ("video_file", "video_url", "id", "skip", *PARAMETERS)
            }
        },
        registry=registry(),
    )


def property_of(*path: str) -> Mapping[str, Any]:
    """The schema of the manifest's property at `path`."""
    found: Mapping[str, Any] = resources.schema("manifest")
    for step in path:
        found = found["properties"][step]
    return found


def default_of(*path: str, engine: EngineKind) -> Value:
    """The default of the manifest's property at `path`, which may depend on the engine."""
    found = property_of(*path)
    by_engine: Mapping[str, Value] = found.get("x-default-by-engine", {})
    default: Value = by_engine[engine] if engine in by_engine else found["default"]
    return default


@functools.cache
def model_defaults(model: str) -> Mapping[str, Value]:
    """The defaults of the parameters that `model` publishes."""
    limits = resources.schema(f"limits/{model}")["$defs"]["parameters"]["properties"]
    return {key: limits[key]["default"] for key in PARAMETERS if "default" in limits[key]}
