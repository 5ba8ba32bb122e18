"""The schema that `batchembed schema` prints stands alone."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from batchembed.manifest.schema import bundled, editor_validator

MANIFEST = {
    "version": 1,
    "engine": "local",
    "model_name": "local-v1",
    "videos": [{"video_file": "a.mp4", "video_clip_length": 11}],
    "output": {"path": "out"},
}


def test_the_bundled_schema_refers_to_no_other_file() -> None:
    assert ".schema.json#" not in json.dumps(bundled())
    Draft202012Validator.check_schema(bundled())


def test_the_bundled_schema_says_what_the_files_say() -> None:
    told, expected = (
        [(list(error.absolute_path), error.message) for error in validator.iter_errors(MANIFEST)]
        for validator in (Draft202012Validator(bundled()), editor_validator())
    )

    assert told == expected
    assert told[0][0] == ["videos", 0, "video_clip_length"]
