"""Addresses as settings name them, checked and in one spelling: URLs, networks, ports and headers."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_HEADERS_WITH_A_MEANING = frozenset(
    {"authorization", "proxy-authorization", "cookie", "host", "x-forwarded-for", "forwarded"}
)

# All of these raise ValueError for what is none.


def url(text: str) -> str:
    """An http or https URL without credentials and query."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    if parts.username is not None or parts.password is not None or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError
    _ = parts.port  # raises ValueError where it is no port
    return text


def database(text: str) -> str:
    """A URL of a PostgreSQL database, credentials and parameters included.

    A password has but one place, where messages leave it out.
    """
    parts = urlsplit(text)
    if re.search(r"(^|&)(ssl)?password=", parts.query):
        raise ValueError
    if parts.scheme not in ("postgresql", "postgres") or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError
    if parts.path in ("", "/") or "#" in text:
        raise ValueError
    return text


def login_header(text: str) -> str:
    """The name of a header that may say who signed in, in lower case."""
    if text.lower() in _HEADERS_WITH_A_MEANING:
        raise ValueError
    return text.lower()


def proxy(text: str) -> str:
    """An address or a network, or 'unix'."""
    import ipaddress  # noqa: PLC0415  # 5 ms, and most servers trust nobody

    return text if text == "unix" else str(ipaddress.ip_network(text, strict=False))


def ipv4(text: str) -> str:
    """An IPv4 address."""
    import ipaddress  # noqa: PLC0415  # see above

    return str(ipaddress.IPv4Address(text))


def port_range(text: str) -> range:
    """'60000-60100': ports that need no privileges, both ends among them."""
    first, last = map(int, text.split("-"))
    if not 1024 <= first <= last <= 65535:
        raise ValueError
    return range(first, last + 1)


def upstream(text: str) -> str:
    """The name of an upstream, or its URL with a slash at its end. Raises `ValueError`."""
    if "://" in text:
        return url(text).rstrip("/") + "/"
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", text.lower()):
        raise ValueError(text)
    return text.lower()
