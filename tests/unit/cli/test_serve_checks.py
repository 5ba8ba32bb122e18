"""What the command line of `serve` may say."""

from __future__ import annotations

import errno
import socket

import click
import pytest

from batchembed.cli.serve_checks import a_number, aliases_of, api_key_of, host_of, unheard
from batchembed.errors import ExitCode, UsageError


@pytest.mark.parametrize(
    ("given", "host"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1"), ("My-Host.lan", "My-Host.lan")],
)
def test_a_host_is_a_name_or_an_address(given: str, host: str) -> None:
    assert host_of(given) == host


@pytest.mark.parametrize(
    "given", ["", "[]", "[::1", "a b", "a/b", "a@b", "a..b", "x" * 64, "\udcff", "a\n", "a\0"]
)
def test_what_is_no_host_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        host_of(given)


@pytest.mark.parametrize("key", ["s3cret", " s3cret\n"])
def test_space_around_a_key_is_not_part_of_it(key: str) -> None:
    assert api_key_of("::1", "KEY", {"KEY": key}) == "s3cret"


@pytest.mark.parametrize("key", ["\udcff\udcfe", "clé", "a\0b", "a\nb"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="printable ASCII") as caught:
        api_key_of("127.0.0.1", "KEY", {"KEY": key})

    assert caught.value.exit_code == ExitCode.USAGE
    assert key not in str(caught.value)


@pytest.mark.parametrize("env", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_a_key_that_is_empty_is_not_set(env: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="KEY is not set"):
        api_key_of("127.0.0.1", "KEY", env)


def test_only_this_machine_needs_no_key() -> None:
    assert api_key_of("::1", None, {}) is None
    with pytest.raises(UsageError, match="--api-key-env NAME"):
        api_key_of("10.0.0.1", None, {})


def test_aliases_are_of_the_one_model() -> None:
    assert aliases_of(["a=local-v1", "b=local-v1"]) == {"a", "b"}
    with pytest.raises(UsageError, match="MODEL=local-v1"):
        aliases_of(["a=b"])


def test_a_number_is_one() -> None:
    context = click.Context(click.Command("serve"))
    parameter = click.Option(["--retention-days"])
    assert a_number(context, parameter, 7.0) == 7.0
    with pytest.raises(click.BadParameter):
        a_number(context, parameter, float("nan"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the host h is not found: .* --host$"),
        (OSError(errno.EADDRNOTAVAIL, "-"), "the host h is no address of this machine: .* --host$"),
        (OSError(errno.EADDRINUSE, "in use"), "^h port 9 can't be listened on: in use; .*--port"),
    ],
)
def test_what_can_not_be_listened_on_is_told_with_what_to_change(error: OSError, said: str) -> None:
    told = unheard("h", 9, error)

    assert told.exit_code == ExitCode.UNAVAILABLE
    with pytest.raises(type(told), match=said):
        raise told
