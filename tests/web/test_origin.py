"""Proxies: whose word counts, and what this server is called from outside."""

from __future__ import annotations

import pytest

from pidex.web.options import Options
from pidex.web.origin import Origins

TRUSTING = Options(trusted_proxies=("10.0.0.0/8", "::1", "unix"))


def origin(peer: str, options: Options = TRUSTING, scheme: str = "http", **headers: str) -> tuple[str, str]:
    found = Origins(options).of(
        peer, scheme, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    return found.client, found.url


@pytest.mark.parametrize(
    ("peer", "headers", "client", "url"),
    [
        ("192.0.2.1", {}, "192.0.2.1", "http://h:1"),
        ("192.0.2.1", {"x_forwarded_for": "6.6.6.6", "x_forwarded_proto": "https", "x_forwarded_host": "evil",
                       "x_forwarded_prefix": "/p"}, "192.0.2.1", "http://h:1"),
        ("192.0.2.1", {"forwarded": "for=6.6.6.6;host=evil;proto=https"}, "192.0.2.1", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_for": "6.6.6.6"}, "6.6.6.6", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_for": "9.9.9.9, 6.6.6.6"}, "6.6.6.6", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_for": "6.6.6.6, 10.9.9.9"}, "6.6.6.6", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_for": "10.5.5.5, 10.9.9.9"}, "10.5.5.5", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_for": "<script>"}, "10.1.2.3", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_proto": "https", "x_forwarded_host": "pkg.test"}, "10.1.2.3", "https://pkg.test"),
        ("10.1.2.3", {"x_forwarded_proto": "https", "x_forwarded_port": "8443"}, "10.1.2.3", "https://h:1"),
        ("10.1.2.3", {"x_forwarded_host": "p.test", "x_forwarded_port": "8080"}, "10.1.2.3", "http://p.test:8080"),
        ("10.1.2.3", {"x_forwarded_proto": "https", "x_forwarded_host": "p.test", "x_forwarded_port": "443"},
         "10.1.2.3", "https://p.test"),
        ("10.1.2.3", {"x_forwarded_host": "p.test", "x_forwarded_prefix": "/py/"}, "10.1.2.3", "http://p.test/py"),
        ("10.1.2.3", {"x_forwarded_host": "p.test/priv"}, "10.1.2.3", "http://p.test/priv"),
        ("10.1.2.3", {"x_forwarded_prefix": "/../x"}, "10.1.2.3", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_prefix": '/"><x'}, "10.1.2.3", "http://h:1"),
        ("10.1.2.3", {"x_forwarded_proto": "javascript"}, "10.1.2.3", "http://h:1"),
        ("10.1.2.3", {"forwarded": 'for="[2001:db8::1]:80";proto=https;host="p.test"'}, "2001:db8::1", "https://p.test"),
        ("::1", {"x_forwarded_for": "6.6.6.6"}, "6.6.6.6", "http://h:1"),
        ("::ffff:10.1.2.3", {"x_forwarded_for": "6.6.6.6"}, "6.6.6.6", "http://h:1"),
        ("unix", {"x_forwarded_for": "6.6.6.6:1234"}, "6.6.6.6", "http://h:1"),
    ],
)  # fmt: skip
def test_only_trusted_proxies_are_believed(peer: str, headers: dict[str, str], client: str, url: str) -> None:
    assert origin(peer, host="h:1", **headers) == (client, url)


@pytest.mark.parametrize(
    "host", ["", "a b", "a\tb", "evil/x@y", "h:99999999", "[::1", "ü.test", "a" * 300, "-"]
)
def test_a_host_that_is_none_is_replaced_by_our_own(host: str) -> None:
    assert origin("192.0.2.1", Options(port=99), host=host)[1] == "http://127.0.0.1:99"
    assert origin("192.0.2.1", Options(host="::", port=99), host=host)[1] == "http://[::]:99"


def test_a_public_url_is_the_last_word() -> None:
    options = Options(public_url="https://pkg.test/py", trusted_proxies=("10.0.0.0/8",), prefix="/other")
    assert origin("10.0.0.1", options, host="h", x_forwarded_host="x")[1] == "https://pkg.test/py"


def test_https_and_prefix_are_told_without_a_proxy() -> None:
    assert origin("192.0.2.1", Options(prefix="/py"), "https", host="h:8443")[1] == "https://h:8443/py"


@pytest.mark.parametrize(
    "text",
    ['for="6.6.6.6', "x" * 8000, 'A="' + "a" * 8000, 'A="' * 2000, "for=;=;;", "host=h:1;proto=gopher"],
)
def test_a_forwarded_header_that_says_nothing_changes_nothing(text: str) -> None:
    assert origin("10.1.2.3", host="h:1", forwarded=text)[1] == "http://h:1"
