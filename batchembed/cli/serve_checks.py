"""What the command line of `serve` may say, beyond the types of its options."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Mapping, Sequence

import click

from batchembed.api.options import ApiKey
from batchembed.errors import ArgumentError, ServiceError, UsageError

MODEL = "local-v1"


def host_of(given: str) -> str:
    """A name or an address, without the brackets that URLs have around one of IPv6.

    Raises:
        UsageError: it can't be one.
    """
    host = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    try:
        usable = bool(host) and host.isprintable() and bool(host.encode("idna"))
    except UnicodeError:
        usable = False
    if not usable or set(host) & set(" []/@"):
        raise UsageError(f"--host {given!r} is no host: write a name or an address, as 127.0.0.1")
    return host


def api_key_of(host: str, variable: str | None, env: Mapping[str, str]) -> str | None:
    """The key in a variable, where one is named; space at its ends is not part of it.

    Raises:
        UsageError: there is none and the host needs one, or no header can carry it.
    """
    from batchembed.engine.web.guards import is_loopback  # noqa: PLC0415  needs the extra

    if variable is None:
        if not is_loopback(host):
            raise UsageError(
                f"--host {host} lets others reach the server: name the variable that holds the key "
                "they must send, --api-key-env NAME; or listen on 127.0.0.1"
            )
        return None
    given = env.get(variable, "").strip()
    if not given:
        raise UsageError(f"the API key's variable {variable} is not set: export {variable}=...")
    try:
        return ApiKey(given).reveal()
    except ArgumentError as error:
        raise UsageError(
            f"the API key in {variable} has what no header can carry: use printable ASCII "
            "characters alone (space at its ends is left out)"
        ) from error


def aliases_of(given: Sequence[str]) -> frozenset[str]:
    """The names that the model answers to, too. Raises `UsageError`: they are another's."""
    for text in given:
        name, _, model = text.partition("=")
        if not name or model != MODEL:
            raise UsageError(f"--alias {text}: write --alias MODEL={MODEL}, the one model there is")
    return frozenset(text.partition("=")[0] for text in given)


def a_number(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """The value of an option, which is none of the numbers that are no number."""
    if math.isnan(value):
        raise click.BadParameter("it is not a number")
    return value


def unheard(host: str, port: int, error: OSError) -> ServiceError:
    """Why nothing can be listened on there, and what to do."""
    if isinstance(error, socket.gaierror):
        why, hint = "is not found", "name an address of this machine with --host"
    elif error.errno == errno.EADDRNOTAVAIL:
        why, hint = "is no address of this machine", "name one with --host"
    else:
        why = f"port {port} can't be listened on: {error.strerror}"
        hint = "name another with --port, or stop what uses it"
        return ServiceError(f"{host} {why}; {hint}")
    return ServiceError(f"the host {host} {why}: {hint}")
