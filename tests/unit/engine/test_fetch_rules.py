"""What may be said of a URL and of an address without the network."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchembed.engine.fetching.target import Address, FetchRules, is_allowed, url_problem

RULES = FetchRules()
PRIVATE = FetchRules(allow_private=True)
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _v6(prefix: str, v4: ipaddress.IPv4Address, shift: int = 0) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(v4) << shift)


def _inner(address: Address) -> Address:
    """The IPv4 address that is written in an IPv6 one, where one is."""
    if address in ipaddress.ip_network("::ffff:0:0/96") or address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    sixtofour = address.sixtofour if isinstance(address, ipaddress.IPv6Address) else None
    return sixtofour or address


#: Addresses at large, and those of the networks where something odd lives.
ADDRESSES = st.one_of(
    st.ip_addresses(),
    st.sampled_from(
        [
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4"),
            *("240.0.0.0/4", "::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"),
            *("100::/64", "2001::/23", "2002::/16"),
            *("2001:db8::/32", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
        ]
    ).flatmap(lambda network: st.ip_addresses(network=network)),
)


@given(ADDRESSES)
def test_an_address_that_is_not_global_is_refused(address: Address) -> None:
    if not _inner(address).is_global or address.is_multicast:
        assert not is_allowed(address, RULES)


@given(st.ip_addresses(v=4))
def test_an_ipv6_way_to_an_ipv4_address_is_refused_as_that_is(v4: ipaddress.IPv4Address) -> None:
    ways = [_v6("::ffff:0:0", v4), _v6("64:ff9b::", v4), _v6("2002::", v4, shift=80)]
    for rules in (RULES, PRIVATE):
        assert {is_allowed(way, rules) for way in ways} == {is_allowed(v4, rules)}


@given(ADDRESSES)
def test_private_urls_add_private_networks_and_nothing_else(address: Address) -> None:
    plain = _inner(address)
    if is_allowed(address, PRIVATE) and not is_allowed(address, RULES):
        assert plain.is_private or plain in ipaddress.ip_network("100.64.0.0/10")
        assert not plain.is_link_local
        assert not plain.is_unspecified


@pytest.mark.parametrize(
    "text",
    ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_a_public_address_is_allowed(text: str) -> None:
    assert is_allowed(ipaddress.ip_address(text), RULES)


@pytest.mark.parametrize(
    "text",
    ["::127.0.0.1", "::ffff:0:7f00:1", "64:ff9b:1::1", "fec0::1", "5f00::1", "3fff::1"],
)
def test_what_python_calls_global_and_no_one_was_given_is_refused(text: str) -> None:
    assert not is_allowed(ipaddress.ip_address(text), RULES)


@pytest.mark.parametrize(
    "text",
    [
        *("169.254.169.254", "fe80::1", "fd00:ec2::254", "168.63.129.16", "100.100.100.200"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd20:ce::254"),
        *("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "192.0.0.192"),  # noqa: S104  bound to by nobody
    ],
)
def test_what_clouds_tell_their_machines_is_refused_under_any_rules(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not is_allowed(address, RULES)
    assert not is_allowed(address, PRIVATE)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "10.1.2.3", "169.254.169.254", "[::1]", "[::]"),
        *("0x7f000001", "0X7F000001", "127.1", "127.1.", "2130706433", "0177.0.0.1", "0x7f.1"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
        *("[2002:7f00:1::]", "[fe80::1%25eth0]", "[2606:4700::1%25eth0]", "[fd00:ec2::254]"),
        *("①27.0.0.1", "127。0。0。1", "%31%32%37.0.0.1", "0", "256.1.1.1", "1.2.3.0x4"),
    ],
)
def test_a_spelling_of_a_private_address_is_refused(host: str) -> None:
    for scheme in ("http", "https"):
        reason = url_problem(f"{scheme}://{host}/a.mp4?sig=secret", RULES)
        assert reason is not None
        assert (reason.code, reason.field) == ("parameter_invalid", "video_url")
        assert reason.hint
        assert "secret" not in reason.message


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://e.com/a.mp4", "https:// or http://"),
        ("file:///etc/passwd", "https:// or http://"),
        ("//e.com/a.mp4", "https:// or http://"),
        ("a.mp4", "https:// or http://"),
        ("", "https:// or http://"),
        ("http:///a.mp4", "no host"),
        ("http:/e.com/a.mp4", "no host"),
        ("http://./a.mp4", "no host"),
        ("http://e..com/a.mp4", "no host"),
        ("http://exa mple.com/", "no host"),
        (f"http://{'a' * 64}.com/", "no host"),
        ("https://user:secret@e.com/a.mp4", "a user or a password"),
        ("https://e.com@127.0.0.1/a.mp4", "a user or a password"),
        ("https://e.com\\@127.0.0.1/a.mp4", "a user or a password"),
        ("https://e.com:22/a.mp4", "Port 22"),
        ("https://e.com:0/a.mp4", "Port 0"),
        ("https://e.com:99999/a.mp4", "Port 99999"),
        ("https://e.com/a\r\nX-Header: secret", "not a URL"),
        ("https://[broken/a.mp4?sig=secret", "no host"),
        (f"https://e.com/{'a' * 70_000}", "not a URL"),
        ("https://xn--zzzz。com/", "not a URL"),
    ],
)
def test_a_url_that_is_not_one_of_a_public_file_is_refused(url: str, said: str) -> None:
    reason = url_problem(url, RULES)
    assert reason is not None
    assert reason.code == "parameter_invalid"
    assert said in reason.message
    assert "secret" not in reason.message


@pytest.mark.parametrize(
    "url",
    [
        *("https://e.com/a.mp4", "http://e.com", "HTTPS://E.COM:443/a?b=c#d", "http://e.com:443/"),
        *("https://e.com./a.mp4", "https://bücher.example/ü.mp4", "https://8.8.8.8/a.mp4"),
        *("https://[2606:4700::1]/a.mp4", "https://my_bucket.s3.example.com/a%20b.mp4?X=%2F"),
        "https://xn--zzzz.com/",
    ],
)
def test_a_url_of_a_public_file_has_no_problem(url: str) -> None:
    assert url_problem(url, RULES) is None


def test_any_port_of_a_private_host_is_allowed_on_request() -> None:
    for url in ("http://127.0.0.1:8000/a.mp4", "http://nas:9000/a.mp4", "http://[::1]/a.mp4"):
        assert url_problem(url, PRIVATE) is None
    for url in ("http://127.1/a.mp4", "http://169.254.169.254/", "http://nas:70000/a.mp4"):
        assert url_problem(url, PRIVATE) is not None


def test_a_long_url_is_not_told_whole() -> None:
    reason = url_problem(f"https://127.0.0.1/{'a' * 5000}", RULES)
    assert reason is not None
    assert len(reason.message) < 500


@given(st.text())
def test_any_text_is_accepted_or_refused_and_breaks_nothing(text: str) -> None:
    for url in (text, f"https://{text}/a.mp4", f"http://e.com{text}"):
        reason = url_problem(url, RULES)
        assert reason is None or reason.code == "parameter_invalid"
