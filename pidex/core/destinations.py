"""Where a request to an upstream may go: addresses, redirects, and whom credentials are for (T5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from pidex.core.errors import UpstreamFault

#: Characters of a URL.
MAX_URL: Final = 4_096

_UNWANTED: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff\\]")
_NUMERIC: Final = re.compile(r"[\d.]+|[^:]*:.*", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[\d.]+|[0-9A-Fa-f:.]+", re.ASCII)
#: An absolute URL that is as it should be already.
_PLAIN: Final = re.compile(r"(https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)/[A-Za-z0-9._~!$'()*+,;=:%/-]*")
_PORTS: Final = {"http": 80, "https": 443}
#: IPv6 networks that hold an IPv4 address, and the bits after it.
_EMBEDDED: Final = ((ip_network("64:ff9b::/96"), 0), (ip_network("2002::/16"), 80), (ip_network("::/96"), 0))
#: Addresses at which clouds tell a machine its secrets, outside of the link-local networks.
_METADATA: Final = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
_SHARED: Final = ip_network("100.64.0.0/10")


class Place(NamedTuple):
    """A server: scheme, host in lower case, and port."""

    scheme: str
    host: str
    port: int


def place(url: str) -> Place:
    """The server of an http or https URL. Raises `UpstreamFault` for any other text."""
    plain = _PLAIN.fullmatch(url)
    return _place(url) if plain is None or len(url) > MAX_URL else _known_server(plain[1])


def _place(url: str) -> Place:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UpstreamFault("An upstream names an address that is no URL.") from None
    if parts.scheme not in _PORTS or not host or len(url) > MAX_URL or _UNWANTED.search(url):
        raise UpstreamFault(f"An upstream names {shown(url)}, which is no http or https URL.")
    if not _HOST.fullmatch(host) or (_NUMERIC.fullmatch(host) and _literal(host) is None):
        raise UpstreamFault(f"An upstream names {shown(url)}, whose host is neither a name nor an address.")
    return Place(parts.scheme, host, _PORTS[parts.scheme] if port is None else port)


def cleaned(base: str, reference: str) -> str:
    """A link of a page as an absolute URL, without credentials and fragment. Raises `UpstreamFault`."""
    if is_plain(reference):
        return reference
    if _UNWANTED.search(reference):
        raise UpstreamFault("A link has characters that no URL has.")
    try:
        url = urljoin(base, reference)
        parts = urlsplit(url)
    except ValueError:
        raise UpstreamFault("A link is no URL.") from None
    place(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))


def is_plain(url: str) -> bool:
    """Whether a text is an absolute URL that is used as it is. Raises `UpstreamFault` for its host."""
    plain = _PLAIN.fullmatch(url)
    if plain is None or len(url) > MAX_URL or "/." in url:
        return False
    _known_server(plain[1])
    return True


@lru_cache(maxsize=1_024)  # a page of thousands of files names one or two
def _known_server(start: str) -> Place:
    return _place(f"{start}/")


def shown(url: str) -> str:
    """A URL for people and logs: no credentials, no query, no control characters, at most 200 characters."""
    rest = re.sub(r"^([A-Za-z]+://)[^/?#]*@", r"\1", url).partition("?")[0].partition("#")[0]
    return _UNWANTED.sub("?", rest)[:200]


def refusal(address: str, port: int, *, private: bool, own: frozenset[tuple[str, int]]) -> str | None:
    """Why an IP address may not be connected to, or None: it may.

    `own`: addresses and ports that the upstream itself was configured with. `private`: networks of one's own
    are allowed. Link-local addresses and those of cloud metadata are allowed by `own` alone.
    """
    found = _literal(address.partition("%")[0])
    if found is None:
        return f"{address} is no address"
    found = _inner(found)
    if (str(found), port) in own or (found.is_loopback and ("localhost", port) in own):
        return None
    if found in _METADATA or found.is_link_local:
        return f"{found} is a link-local or metadata address"
    if (
        found.is_multicast
        or found.is_unspecified
        or (found.is_reserved and not (found.is_global or found.is_loopback))
    ):
        return f"{found} is no address of a server"
    inside = found.is_private or found.is_loopback or found in _SHARED or not found.is_global
    if inside and not private:
        return f"{found} is an address of a private network, and the upstream is not set to be private"
    return None


def literal_refusal(where: Place, *, private: bool, own: frozenset[tuple[str, int]]) -> str | None:
    """As `refusal`, of a host that is written as an address or as localhost; None for any other name."""
    if _literal(where.host) is not None:
        return refusal(where.host, where.port, private=private, own=own)
    if where.host == "localhost" or where.host.endswith(".localhost"):
        return refusal("127.0.0.1", where.port, private=private, own=own)
    return None


def own_addresses(url: str) -> frozenset[tuple[str, int]]:
    """What of a configured URL is an address by itself: that, and its port."""
    where = place(url)
    literal = _literal(where.host)
    if literal is not None:
        return frozenset({(str(_inner(literal)), where.port)})
    return frozenset({("localhost", where.port)} if where.host == "localhost" else ())


def may_have_credentials(own: Place, other: Place) -> bool:
    """Whether what signs in at `own` may be sent to `other`: the same server, or its https from its http."""
    upgraded = (own.scheme, own.port, other.scheme, other.port) == ("http", 80, "https", 443)
    return own == other or (upgraded and own.host == other.host)


def proxy_for(where: Place, variables: Mapping[str, str]) -> str | None:
    """The proxy that `https_proxy`, `all_proxy` and `no_proxy` (in any case) name for a server."""
    lower = {name.lower(): value.strip() for name, value in variables.items()}
    for exempt in re.split(r"[\s,]+", lower.get("no_proxy", "")):
        name, _, port = exempt.lower().lstrip("*").lstrip(".").partition(":")
        if exempt == "*":
            return None
        if not name or (port and port != str(where.port)):
            continue
        if where.host == name or where.host.endswith(f".{name}") or _within(where.host, exempt):
            return None
    return lower.get(f"{where.scheme}_proxy") or lower.get("all_proxy") or None


def _within(host: str, network: str) -> bool:
    literal = _literal(host)
    try:
        return literal is not None and literal in ip_network(network, strict=False)
    except ValueError:
        return False


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return address
    if address.teredo is not None:
        return address.teredo[1]
    for network, bits in _EMBEDDED:
        if address in network:
            return IPv4Address(int(address) >> bits & 0xFFFFFFFF)
    return address
