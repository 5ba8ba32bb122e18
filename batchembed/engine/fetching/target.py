"""Which URLs a stranger may have us fetch, and which addresses we may connect to for that. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpx

from batchembed.core.model import public_url
from batchembed.core.problems import Reason

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

REFUSED = "parameter_invalid"
UNREACHABLE = "video_url_unreachable"
TOO_LARGE = "video_filesize_too_large"

CONNECT_S = 10.0
_SHOWN = 300
_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\Z")
#: What resolvers take for an IPv4 address, or a part of one, in some base.
_NUMBER = re.compile(r"(\d+|0x[0-9a-f]*)\Z")

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Reached on request: `--allow-private-urls`.
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fc00::/7"),
    )
)
#: Never reached: what clouds tell a machine about itself, and what `ipaddress` calls global wrongly.
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::/32", "fd20:ce::254/128"),
        *("fd00:c1::a9fe:a9fe/128", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """What a fetch may reach and take."""

    allow_private: bool = False  #: this machine and private networks, and any port
    max_bytes: int = 2_000_000_000
    timeout_s: float = 1800.0  #: of the whole fetch, redirects included
    stall_s: float = 30.0  #: without an answer, or without another byte of it
    min_bytes_per_s: float = 10_000.0  #: over each `stall_s`
    max_redirects: int = 5


class FetchError(Exception):
    """A URL's video was not fetched, as `reason` says. It fails that video alone."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.message)


def is_allowed(address: Address, rules: FetchRules) -> bool:
    """Whether the rules let us connect there."""
    plain = _plain(address)
    if any(plain in network for network in _NEVER):
        return False
    if rules.allow_private and any(plain in network for network in _PRIVATE):
        return True
    if isinstance(plain, ipaddress.IPv6Address) and plain not in _UNICAST:
        return False
    return plain.is_global and not plain.is_multicast


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to: mapped, 6to4 or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def url_problem(url: str, rules: FetchRules) -> Reason | None:
    """What forbids a URL as far as can be said without the network; None if nothing does."""
    try:
        read_target(url, rules)
    except FetchError as error:
        return error.reason
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that may be fetched if its host's addresses may."""

    url: httpx.URL
    host: str  #: lower case, without a dot at its end; an IPv6 address without brackets
    port: int

    @property
    def shown(self) -> str:
        """What may be told of it: no query, and no more than a line."""
        public = public_url(str(self.url))
        return public if len(public) <= _SHOWN else f"{public[:_SHOWN]}..."

    def request(self, address: Address) -> httpx.Request:
        """Ask that very address, in the name of the host, whose certificate it must have."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return httpx.Request(
            "GET",
            self.url.copy_with(host=str(address), port=self.port),
            headers={
                "Host": name if self.url.port is None else f"{name}:{self.port}",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "User-Agent": "batchembed",
            },
            extensions={"sni_hostname": self.host, "timeout": {"connect": CONNECT_S}},
        )


def read_target(url: str, rules: FetchRules) -> Target:
    """Check a URL's text.

    Raises:
        FetchError: it is refused.
    """
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").removesuffix(".")
    except (httpx.InvalidURL, ValueError) as error:  # idna's errors are ValueErrors
        raise refused("It is not a URL.", "check its spelling") from error
    if parsed.scheme not in _PORTS:
        raise refused("It does not begin with https:// or http://.", "give a link to a video file")
    if parsed.userinfo:
        raise refused("It holds a user or a password.", "sign it in its query, or upload the file")
    port = _PORTS[parsed.scheme] if parsed.port is None else parsed.port
    if not 0 < port < 65536 or (port not in _PORTS.values() and not rules.allow_private):
        raise refused(f"Port {port} is refused.", "serve the file from port 443 or 80")
    target = Target(url=parsed, host=host, port=port)
    literal = literal_address(host)
    if literal is not None:
        require_allowed(target, [literal], rules)
    elif not _NAME.match(host):
        raise refused("It names no host.", "check its spelling")
    elif _NUMBER.match(host.rpartition(".")[2]):
        raise refused(f"{host} is no usual spelling of an address.", "write it as 192.0.2.1")
    return target


def literal_address(host: str) -> Address | None:
    """The address that a host is, if it is no name."""
    if "%" in host:  # a zone of this machine
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def require_allowed(target: Target, addresses: Sequence[Address], rules: FetchRules) -> None:
    """Raises FetchError if one of a host's addresses is not to be reached."""
    if not all(is_allowed(address, rules) for address in addresses):
        raise refused(
            f"{target.shown} leads to an address that is not public.",
            "upload the file as video_file, or start the engine with --allow-private-urls",
        )


def refused(why: str, hint: str) -> FetchError:
    """The URL is not one that we fetch."""
    message = f"The video_url parameter is invalid. {why}"
    return FetchError(Reason(code=REFUSED, message=message, field="video_url", hint=hint))


def unreachable(target: Target, what: str, hint: str) -> FetchError:
    """The URL gave no video."""
    message = f"{target.shown} {what}"
    return FetchError(Reason(code=UNREACHABLE, message=message, field="video_url", hint=hint))


def too_large(target: Target, size_bytes: int, rules: FetchRules) -> FetchError:
    """It has more bytes than a video may have."""
    return FetchError(
        Reason(
            code=TOO_LARGE,
            message=f"The video is too large. {target.shown} has {size_bytes:,} bytes or more; "
            f"the most is {rules.max_bytes:,}.",
            field="video_url",
            value=size_bytes,
            limit=rules.max_bytes,
            hint="encode it at a lower bit rate, or split the file",
        )
    )
