"""What stores say, as pyarrow repeats it, and what that means."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from batchembed.core.model import StoreOptions
from batchembed.errors import (
    ExitCode,
    StoreAccessError,
    StoreAwayError,
    StoreError,
    StoreMissingError,
)
from batchembed.stores.failures import store_error
from batchembed.stores.filesystem import filesystem
from batchembed.stores.location import Location, location_of
from batchembed.stores.objects import object_store

LOCATION = location_of("s3://bucket/folder/a.mp4")


def said(error: str, operation: str = "HeadObject", more: str = "No response body.") -> OSError:
    return OSError(
        f"When reading information for key 'folder/a.mp4' in bucket 'bucket': AWS Error {error} "
        f"during {operation} operation: {more}"
    )


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (said("ACCESS_DENIED"), StoreAccessError, ExitCode.NO_PERMISSION),
        (said("UNKNOWN (HTTP status 403)"), StoreAccessError, ExitCode.NO_PERMISSION),
        (said("UNKNOWN (HTTP status 400)"), StoreAccessError, ExitCode.NO_PERMISSION),
        (said("INVALID_ACCESS_KEY_ID", "GetObject"), StoreAccessError, ExitCode.NO_PERMISSION),
        (said("NO_SUCH_BUCKET", "ListObjectsV2"), StoreMissingError, ExitCode.NO_INPUT),
        (FileNotFoundError("Path does not exist"), StoreMissingError, ExitCode.NO_INPUT),
        (said("NETWORK_CONNECTION", more="curlCode: 7"), StoreAwayError, ExitCode.UNAVAILABLE),
        (said("UNKNOWN (HTTP status 503)"), StoreAwayError, ExitCode.UNAVAILABLE),
        (said("SLOW_DOWN", "GetObject"), StoreAwayError, ExitCode.UNAVAILABLE),
        (said("UNKNOWN (HTTP status 301)"), StoreError, ExitCode.IO),
        (OSError("what nobody has heard of"), StoreError, ExitCode.IO),
    ],
)
def test_an_error_has_the_exit_code_of_what_it_means(
    error: OSError, kind: type[StoreError], code: ExitCode
) -> None:
    found = store_error(error, LOCATION)

    assert (type(found), found.exit_code) == (kind, code)
    assert "bucket" in str(found)


@pytest.mark.parametrize("client", [object_store, filesystem])
def test_a_container_without_its_account_is_told_how_to_write_it(
    client: Callable[[Location, StoreOptions], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)

    with pytest.raises(StoreError, match=r"names no account: write abfs://films@ACCOUNT\.dfs"):
        client(location_of("abfs://films/out"), StoreOptions())


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (said("ACCESS_DENIED"), False),
        (said("INVALID_ACCESS_KEY_ID"), True),
        (said("UNKNOWN", more="ExpiredToken: The provided token has expired."), True),
        (OSError("The AWS Access Key Id you provided: SignatureDoesNotMatch"), True),
    ],
)
def test_credentials_that_are_refused_are_told_from_one_door_that_is_shut(
    error: OSError, refused: bool
) -> None:
    found = store_error(error, LOCATION)

    assert isinstance(found, StoreAccessError)
    assert found.refused is refused


def test_the_name_of_a_request_is_left_out() -> None:
    error = said("UNKNOWN", more="odd (Request ID: 0bnYdVfROAK2U0hHOqT0)")

    assert "0bnYdVfROAK2U0hHOqT0" not in str(store_error(error, LOCATION))
