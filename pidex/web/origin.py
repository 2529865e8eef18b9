"""Where a request came from and what this server is called from there: proxies, prefixes, hosts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pidex.web.options import Options

#: How many forwarding proxies are looked at, from the nearest on.
HOPS = 16
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9.])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+){1,10}")
# Neither begins within a word nor goes back into one: linear in what a client may send through a proxy (T19).
_PAIR = re.compile(r'(?<![A-Za-z])([A-Za-z]++)=(?:"((?:[^"\\]|\\.)*+)"|([^;,"\s]*+))')

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks, and how.

    `client`: the address, 'unix' for a local socket. `url`: this server's root as the caller sees it, without
    a slash at its end. `trusted`: whether the peer is a proxy whose word counts. `forwarded`: whether
    somebody stands between.
    """

    client: str
    url: str
    trusted: bool
    forwarded: bool


class Origins:
    """Reads forwarding headers, of trusted peers only (T37)."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._unix = "unix" in options.trusted_proxies
        self._networks = tuple(
            ipaddress.ip_network(text, strict=False) for text in options.trusted_proxies if text != "unix"
        )
        self.trusting = bool(options.trusted_proxies)

    def trusts(self, address: str) -> bool:
        """Whether what this peer says of others is believed."""
        if address == "unix":
            return self._unix
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)

    def of(self, peer: str, scheme: str, headers: Mapping[str, str]) -> Origin:
        """The origin of a request. Forwarding headers of other peers are ignored, and only noticed."""
        forwarded = any(name in headers for name in ("forwarded", "x-forwarded-for", "x-real-ip", "via"))
        trusted = self.trusts(peer)
        told = _told(headers) if trusted else {}
        client = self._client(peer, told.get("for", "")) if trusted else peer
        return Origin(client, self._url(scheme, headers, told), trusted, forwarded)

    def _client(self, peer: str, chain: str) -> str:
        """The nearest address that no trusted proxy vouches for."""
        client = peer
        for text in reversed(chain.split(",")[-HOPS:]):
            address = _address(text)
            if address is None:
                break
            client = address
            if not self.trusts(address):
                break
        return client

    def _url(self, scheme: str, headers: Mapping[str, str], told: Mapping[str, str]) -> str:
        options = self._options
        if options.public_url:
            return options.public_url.rstrip("/")
        said = told.get("proto", "").lower()
        scheme = said if said in ("http", "https") else scheme
        prefix = told.get("prefix", "").rstrip("/")
        # pypiserver's users put the prefix into X-Forwarded-Host.
        host, slash, rest = told.get("host", "").partition("/")
        if slash and not prefix:
            prefix = f"/{rest}".rstrip("/")
        host = host or headers.get("host", "")
        if not _HOST.fullmatch(host):
            address = f"[{options.host}]" if ":" in options.host else options.host
            host = f"{address}:{options.port}"
        port = told.get("port", "")
        if port.isascii() and port.isdigit() and len(port) <= 5 and not re.search(r":\d+\Z", host):
            host += "" if port == {"http": "80", "https": "443"}[scheme] else f":{port}"
        if not _PREFIX.fullmatch(prefix) or ".." in prefix:
            prefix = options.prefix
        return f"{scheme}://{host}{prefix}"


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    """What proxies say, by Forwarded (RFC 7239) or X-Forwarded headers: for, proto, host, port, prefix.

    `for` is the whole chain; of the others the nearest proxy's word counts, which is the last.
    """
    told: dict[str, str] = {}
    forwarded = headers.get("forwarded")
    if forwarded is not None and len(forwarded) < 8192:
        chain = []
        for element in forwarded.split(","):
            pairs = {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(element)}
            chain.append(pairs.get("for", "unknown"))
            told |= {name: pairs[name] for name in ("proto", "host") if name in pairs}
        told["for"] = ",".join(chain)
    for name in ("proto", "host", "port", "prefix"):
        value = headers.get(f"x-forwarded-{name}")
        if value is not None and len(value) < 1024:
            told[name] = value.rpartition(",")[2].strip()
    chain_header = headers.get("x-forwarded-for")
    if chain_header is not None and "for" not in told:
        told["for"] = chain_header[-4096:]
    return told


def _address(text: str) -> str | None:
    """The address of one hop, without port and brackets; None where it is none."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
