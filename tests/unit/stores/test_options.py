"""How stores are reached: what is written comes before the usual variables."""

from __future__ import annotations

import pytest

from batchembed.core.model import StoreOptions
from batchembed.errors import UsageError
from batchembed.stores.options import completed, endpoint_fault


def test_what_is_written_comes_before_the_variables() -> None:
    environ = {"AWS_ENDPOINT_URL": "http://localhost:9000", "AWS_REGION": "eu-west-1"}
    written = StoreOptions(endpoint_url="https://minio.example.com", region="eu-central-1")

    assert completed(written, environ) == written


def test_the_variable_of_s3_comes_before_that_of_all_services() -> None:
    environ = {
        "AWS_ENDPOINT_URL": "http://localhost:1",
        "AWS_ENDPOINT_URL_S3": "http://localhost:2",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-2",
    }

    assert completed(StoreOptions(), environ) == StoreOptions(
        endpoint_url="http://localhost:2", region="eu-west-1"
    )


def test_without_a_word_it_is_aws_and_the_profile_knows_the_region() -> None:
    assert completed(StoreOptions(), {}) == StoreOptions()


def test_a_store_of_ones_own_needs_no_region() -> None:
    options = completed(StoreOptions(endpoint_url="https://minio.example.com:9000"), {})

    assert options.region == "us-east-1"


def test_a_variable_that_is_no_endpoint_is_named() -> None:
    with pytest.raises(UsageError, match=r"AWS_ENDPOINT_URL: an endpoint begins with https://"):
        completed(StoreOptions(), {"AWS_ENDPOINT_URL": "localhost:9000"})


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://minio.example.com:9000", None),
        ("http://[::1]:9000/", None),
        ("https://host/path", "a host and a port alone"),
        ("https://key:secret@host", "credentials"),
        ("https://host:port", "not a URL"),
        ("https://", "no host"),
        ("https://a b", "no host"),
    ],
)
def test_an_endpoint_is_a_host_and_a_port(url: str, fault: str | None) -> None:
    found = endpoint_fault(url)

    assert found is None if fault is None else fault in (found or "")
