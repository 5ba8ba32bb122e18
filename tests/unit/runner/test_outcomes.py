"""What is said of a video that the end of a run left."""

from __future__ import annotations

import pytest

from batchembed.core.problems import Reason
from batchembed.errors import (
    ApiConnectionError,
    ApiError,
    AuthenticationError,
    BatchembedError,
    ServerError,
)
from batchembed.runner.outcomes import cut_short


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            AuthenticationError(status_code=401, code="api_key_invalid", message="no such key"),
            "api_key_invalid",
            "the service refused it: no such key",
        ),
        (
            ServerError(status_code=503, message="listing is down"),
            "http_503",
            "it ended the run: the service answered 503 listing is down",
        ),
        (
            ApiError(status_code=302),
            "http_302",
            "it ended the run: the service answered 302",
        ),
        (
            ApiConnectionError("GET embed/tasks: no connection"),
            "cut_short",
            "it ended the run: GET embed/tasks: no connection",
        ),
    ],
)
def test_only_what_the_service_refuses_is_called_refused(
    error: BatchembedError, code: str, message: str
) -> None:
    """A create may be in doubt, or never sent, where a listing answers 5xx."""
    hint = "run again once that is mended"
    assert cut_short(error) == Reason(code=code, message=message, hint=hint)
