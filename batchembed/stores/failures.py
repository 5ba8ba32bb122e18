"""What a store's refusals mean, from what pyarrow and obstore say of them: few have types."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pyarrow as pa

from batchembed.errors import StoreAccessError, StoreAwayError, StoreError, StoreMissingError
from batchembed.stores.location import Location

_CREDENTIALS = (
    "look at AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN, get new ones if they have "
    "expired, and run again"
)
#: S3's own codes, as pyarrow writes them or as the service does: obstore gives its whole answer.
_REFUSED = re.compile(
    r"INVALID_ACCESS_KEY_ID|InvalidAccessKeyId|SIGNATURE_DOES_NOT_MATCH|SignatureDoesNotMatch"
    r"|UNRECOGNIZED_CLIENT|INVALID_CLIENT_TOKEN_ID|ExpiredToken|TokenRefreshRequired|InvalidToken"
    r"|MISSING_AUTHENTICATION_TOKEN|REQUEST_EXPIRED|INVALID_SIGNATURE|could not get credentials",
    re.IGNORECASE,
)
_DENIED = re.compile(r"ACCESS_DENIED|AccessDenied|status (code: )?40[13]|AllAccessDisabled")
#: A HEAD has no body to say more: of expired credentials it is all that S3 says.
_SAID_NOTHING = re.compile(r"HTTP status 400|status code: 400 Bad Request:$")
_NO_BUCKET = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket")
_MISSING = re.compile(r"NO_SUCH_KEY|NoSuchKey|RESOURCE_NOT_FOUND|status (code: )?404")
_ELSEWHERE = re.compile(
    r"PermanentRedirect|HTTP status 301|AuthorizationHeaderMalformed|redirect without LOCATION"
)
_NO_ACCOUNT = re.compile(r"Account must be specified|valid account name")
_AWAY = re.compile(
    r"NETWORK_CONNECTION|curlCode|SLOW_DOWN|SlowDown|THROTTLING|SERVICE_UNAVAILABLE"
    r"|INTERNAL_FAILURE|InternalError|REQUEST_TIMEOUT|status (code: )?(429|5\d\d)|timed? ?out"
    r"|HTTP error: ",
    re.IGNORECASE,
)
_NAMES_OF_REQUESTS = re.compile(r"\s*\(Request ID:[^)]*\)")
#: Settings, not what happened: they would be taken for a time-out.
_SETTINGS = re.compile(r", max_retries: \d+, retry_timeout: \d+s")


@contextlib.contextmanager
def translated(location: Location) -> Iterator[None]:
    """Around calls of pyarrow about `location`: what it raises becomes a `StoreError`.

    Raises:
        StoreError: or one of its kinds, with what to do.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise store_error(error, location) from error


def store_error(error: BaseException, location: Location) -> StoreError:
    """What an error of pyarrow, or of another client of stores, says of `location`."""
    said = _NAMES_OF_REQUESTS.sub("", str(error)).partition("\n\nDebug source:")[0]
    text = " ".join(_SETTINGS.sub("", said).split()) or type(error).__name__
    if _REFUSED.search(text) or _SAID_NOTHING.search(text):
        return StoreAccessError(
            f"the store of {location.uri} refuses the credentials: {_CREDENTIALS}", refused=True
        )
    if _NO_BUCKET.search(text):
        return no_bucket(location)
    if isinstance(error, FileNotFoundError) or _MISSING.search(text):
        return StoreMissingError(f"there is no {location.uri}: correct the URI")
    if _ELSEWHERE.search(text):
        return StoreError(
            f"the bucket {location.bucket} is in another region: set stores.s3.region, or AWS_REGION"
        )
    if _NO_ACCOUNT.search(text):
        return StoreError(
            f"{location.uri} names no account: write {location.scheme}://{location.bucket}"
            f"@ACCOUNT.dfs.core.windows.net/{location.key}"
        )
    if isinstance(error, PermissionError) or _DENIED.search(text):
        return StoreAccessError(
            f"permission denied for {location.uri}: let these credentials use it, or take others"
        )
    if _AWAY.search(text):
        return StoreAwayError(
            f"the store of {location.uri} gives no answer: look at its endpoint and the network, "
            f"then run again ({_reason(text)})"
        )
    return StoreError(f"{location.uri} can't be used: {text}")


def no_bucket(location: Location) -> StoreMissingError:
    """The whole bucket of `location` is not there."""
    return StoreMissingError(
        f"there is no bucket {location.bucket}: correct {location.uri}, or make the bucket"
    )


def _reason(text: str) -> str:
    """The last thing said, which is the cause."""
    for before in ("Details: ", "operation: ", " - "):
        text = text.rpartition(before)[2]
    return text
