"""Object stores as `obstore` reaches them: for what needs a condition, which pyarrow can't put."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from batchembed.core.model import StoreOptions
from batchembed.errors import StoreAccessError, UsageError
from batchembed.stores.failures import store_error
from batchembed.stores.filesystem import ATTEMPTS, CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S
from batchembed.stores.location import S3, Location

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config


def object_store(location: Location, options: StoreOptions) -> ObjectStore:
    """The store of the location's bucket, in which `location.key` is. Nothing is asked of it yet.

    Credentials come from boto's chain. `options` are complete, and are those of S3 alone.

    Raises:
        UsageError: what it needs is not installed.
        StoreAccessError: no credentials are found.
        StoreError: the client can't be made.
    """
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415  the extra may be missing
    except ImportError as error:
        raise UsageError(
            f"{location.uri} needs obstore: pip install 'batchembed[stores]'"
        ) from error
    if location.scheme == S3:
        return _s3(location.bucket, options)
    try:
        return _of_uri(f"{location.scheme}://{location.bucket}")
    except BaseError as error:
        raise store_error(error, location) from error


def _client() -> ClientConfig:
    return {
        "allow_http": True,  # where an endpoint is written so
        "connect_timeout": f"{CONNECT_TIMEOUT_S:g}s",
        "timeout": f"{REQUEST_TIMEOUT_S * ATTEMPTS:g}s",
    }


def _retries() -> RetryConfig:
    return {"max_retries": ATTEMPTS - 1}


@functools.lru_cache(maxsize=16)
def _s3(bucket: str, options: StoreOptions) -> ObjectStore:
    from obstore.store import S3Store  # noqa: PLC0415  of the extra

    # It takes None for a value.
    where: S3Config = {}
    if options.endpoint_url is not None:
        where["endpoint"] = options.endpoint_url
    if options.region is not None:
        where["region"] = options.region
    return S3Store(
        bucket,
        config=where,
        skip_signature=options.anonymous,
        virtual_hosted_style_request=options.endpoint_url is None,
        credential_provider=None if options.anonymous else _credentials(bucket),
        client_options=_client(),
        retry_config=_retries(),
    )


def _credentials(bucket: str) -> Boto3CredentialProvider:
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415  of the extra
    except ImportError as error:
        raise UsageError(f"s3://{bucket} needs boto3: pip install 'batchembed[stores]'") from error
    try:
        return Boto3CredentialProvider()
    except ValueError as error:
        raise StoreAccessError(
            f"there are no credentials for s3://{bucket}: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY",
            refused=True,
        ) from error


@functools.lru_cache(maxsize=16)
def _of_uri(uri: str) -> ObjectStore:
    from obstore.store import from_url  # noqa: PLC0415  of the extra

    return from_url(uri, client_options=_client(), retry_config=_retries())
