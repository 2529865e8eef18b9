"""Where a request to an upstream may go, and whom credentials are for (T5)."""

from __future__ import annotations

import pytest

from pidex.core.destinations import (
    cleaned,
    literal_refusal,
    may_have_credentials,
    own_addresses,
    place,
    proxy_for,
    refusal,
    shown,
)
from pidex.core.errors import UpstreamFault

NONE: frozenset[tuple[str, int]] = frozenset()
INSIDE = (
    "10.0.0.1",
    "192.168.1.1",
    "172.16.5.5",
    "127.0.0.1",
    "127.9.9.9",
    "100.64.1.1",
    "::1",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "2002:a00:1::",
    "::ffff:127.0.0.1",
)
NEVER = (
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "x",
)
OUTSIDE = ("8.8.8.8", "151.101.0.223", "2a04:4e42::223", "::ffff:8.8.8.8")


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_of_private_networks_need_a_setting(address: str) -> None:
    assert refusal(address, 80, private=False, own=NONE)
    assert refusal(address, 80, private=True, own=NONE) is None


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_asked(address: str) -> None:
    assert refusal(address, 80, private=False, own=NONE)
    assert refusal(address, 80, private=True, own=NONE)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_are_asked(address: str) -> None:
    assert refusal(address, 443, private=False, own=NONE) is None


def test_the_address_that_was_configured_is_asked_at_its_port_alone() -> None:
    own = own_addresses("http://127.0.0.1:8080/simple/")
    assert refusal("127.0.0.1", 8080, private=False, own=own) is None
    assert refusal("127.0.0.1", 8081, private=False, own=own)
    assert own_addresses("https://index.example/") == NONE
    local = own_addresses("http://localhost:8080/")
    assert refusal("::1", 8080, private=False, own=local) is None
    assert refusal("::1", 22, private=False, own=local)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "x.localhost", "[::ffff:127.0.0.1]", "LOCALHOST"]
)
def test_hosts_that_are_this_machine_by_their_name(host: str) -> None:
    assert literal_refusal(place(f"http://{host}/x"), private=False, own=NONE)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x/y",
        "http://",
        "http:///x",
        "//x/y",
        "http://2130706433/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://1.2.3.4.5/",
        "http://a b/",
        "http://a\n/",
        "http://x:99999/",
        "http://[::1/",
        "http://x\\@y/",
        "javascript:alert(1)",
        "http://é/",
        "http://" + "a" * 5_000,
        "http://x/\ud800",
    ],
)
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(UpstreamFault):
        place(url)


def test_links_lose_credentials_and_fragment() -> None:
    assert (
        cleaned("https://a.example/s/", "https://u:p@b.example/x?q=1#sha256=0") == "https://b.example/x?q=1"
    )
    assert shown("https://u:hush@b.example/x?token=hush#hush\n") == "https://b.example/x"
    assert shown("https://u:hu@sh@b.example/x") == "https://b.example/x"


@pytest.mark.parametrize(
    ("other", "may"),
    [
        ("http://a.example/x", True),
        ("https://a.example/", True),
        ("http://b.example/", False),
        ("http://a.example:81/", False),
        ("http://a.example.evil/", False),
        ("https://a.example:8443/", False),
    ],
)
def test_credentials_are_for_one_server(other: str, may: bool) -> None:
    assert may_have_credentials(place("http://a.example/simple/"), place(other)) is may
    assert not may_have_credentials(place("https://a.example/"), place("http://a.example/"))


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("https://a.example/", "", "http://p:1"),
        ("http://a.example/", "", None),
        ("https://a.example/", "*", None),
        ("https://x.a.example/", "b,.a.example", None),
        ("https://a.example/", "a.example:443", None),
        ("https://a.example/", "a.example:80", "http://p:1"),
        ("https://10.1.2.3/", "10.0.0.0/8", None),
        ("https://xa.example/", "a.example", "http://p:1"),
    ],
)
def test_proxies_of_the_environment(url: str, no_proxy: str, proxy: str | None) -> None:
    assert proxy_for(place(url), {"HTTPS_PROXY": "http://p:1", "no_proxy": no_proxy}) == proxy
