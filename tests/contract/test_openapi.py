"""The server against its own description: schemathesis asks what it can think of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from batchembed.engine.web.openapi import description
from batchembed.engine.web.uploads import MAX_UPLOAD_BYTES
from tests.support.engines import served_from_a_thread
from tests.support.media import make_video

DESCRIPTION = description((), max_upload_bytes=MAX_UPLOAD_BYTES)

schema = schemathesis.openapi.from_dict(DESCRIPTION)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that has a task."""
    folder = tmp_path_factory.mktemp("serve")
    film: Path = make_video(folder / "a.mp4", audio=True)
    with served_from_a_thread(folder / "data") as base_url:
        made = httpx.post(
            f"{base_url}/embed/tasks",
            data={"model_name": "local-v1"},
            files={"video_file": film.read_bytes()},
        )
        assert made.status_code == 200
        yield base_url.removesuffix("/v1.3")


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_server_does_what_its_description_says(root: str, case: schemathesis.Case[Any]) -> None:
    # A form that the schema allows may still be refused: schemathesis has no videos.
    case.call_and_validate(
        base_url=root,
        checks=[
            not_a_server_error,
            content_type_conformance,
            negative_data_rejection,
            response_schema_conformance,
            status_code_conformance,
            unsupported_method,
        ],
    )


def test_the_server_tells_its_description(root: str) -> None:
    assert httpx.get(f"{root}/openapi.json").json() == DESCRIPTION
