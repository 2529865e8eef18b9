"""A site for nginx in front of pidex: https, bodies and files passed on as they come, the right headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from pidex.cli.service.running import Running
from pidex.core.errors import ConfigError

#: Seconds that nginx waits for an answer: looking into a large archive takes its time.
MARGIN_SECONDS = 60
#: Seconds in which a node that did not answer is not asked again.
FAILED_SECONDS = 2


def site(
    running: Running,
    *,
    server_name: str | None,
    certificate: tuple[Path, Path] | None,
    http: bool,
    nodes: Sequence[str] = (),
) -> str:
    """A file for nginx's `http` block (conf.d, sites-enabled). `http`: without https.

    `nodes`: the addresses ('host:port') of a cluster's nodes, instead of this machine's. Name and scheme are
    those of the public URL where it is not said. Raises `ConfigError`.
    """
    public = urlsplit(running.settings.public_url or "")
    name = server_name or public.hostname or "packages.example.org"
    if any(each in name for each in " ;{}\"'\n"):
        raise ConfigError(f"{name!r} is no name of a server.")
    cert, key = certificate or (
        Path(f"/etc/letsencrypt/live/{name}/fullchain.pem"),
        Path(f"/etc/letsencrypt/live/{name}/privkey.pem"),
    )
    lines = [
        *_head(running, name, http, nodes),
        *_shared(running, nodes),
        *([] if http else _redirect(name)),
        "server {",
        *(f"    {line}".rstrip() for line in _server(running, name, None if http else (cert, key))),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _head(running: Running, name: str, http: bool, nodes: Sequence[str]) -> Iterator[str]:
    settings = running.settings
    scheme = "http" if http else "https"
    url = settings.public_url or f"{scheme}://{name}{settings.prefix}"
    trusted = "unix" if settings.socket is not None else "127.0.0.1"
    yield "# A site for nginx, printed by `pidex service nginx`."
    yield "# Put it into /etc/nginx/conf.d/pidex.conf, then: nginx -t && systemctl reload nginx"
    yield "#"
    yield "# pidex has to know of it. Its settings with this file (a flag, a variable, or a key of its file):"
    if nodes:
        yield "#   trusted_proxies = [...]   # the address by which nginx comes to the nodes"
    else:
        yield f'#   trusted_proxies = ["{trusted}"]'
    yield f'#   public_url = "{url}"'
    if settings.prefix:
        yield f'#   prefix = "{settings.prefix}"'
    if not nodes and settings.socket is None and settings.host not in ("127.0.0.1", "localhost", "::1"):
        yield '#   host = "127.0.0.1"   # else others reach it past nginx'
    missing = []
    if not (settings.trusted_proxies if nodes else _trusts(settings.trusted_proxies, trusted)):
        missing.append("trusted_proxies")
    if settings.public_url is None:
        missing.append("public_url")
    if missing:
        yield f"# Not set as these are printed: {', '.join(missing)}."
    yield ""


def _trusts(proxies: Sequence[str], who: str) -> bool:
    """Whether networks ('10.0.0.0/8') or 'unix' hold an address or 'unix'."""
    if who == "unix":
        return who in proxies
    address = ip_address(who)
    return any(each != "unix" and address in ip_network(each) for each in proxies)


def _shared(running: Running, nodes: Sequence[str]) -> Iterator[str]:
    settings = running.settings
    if nodes:
        places = [f"{_node(node)} max_fails=1 fail_timeout={FAILED_SECONDS}s" for node in nodes]
    elif settings.socket is not None:
        places = [f'"unix:{_text(str(settings.socket))}"']
    else:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104
        where = f"[{host}]" if ":" in host and not host.startswith("[") else host
        places = [f"{where}:{running.port}"]
    yield "upstream pidex {"
    for place in places:
        yield f"    server {place};"
    yield "    keepalive 32;"
    yield "}"
    yield "# One address: so many connections and requests a second. pip, uv and CI behind NAT ask in bursts."
    yield "limit_conn_zone $binary_remote_addr zone=pidex_connections:10m;"
    yield "limit_req_zone $binary_remote_addr zone=pidex_requests:10m rate=200r/s;"
    yield ""


def _node(text: str) -> str:
    host, colon, port = text.rpartition(":")
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    letters = ".-_" if inner == host else ":."
    good = inner and all(each.isalnum() or each in letters for each in inner) and inner.isascii()
    if not (colon and good and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"{text!r} is no node: write HOST:PORT.")
    return text


def _redirect(name: str) -> Iterator[str]:
    yield "server {"
    yield "    listen 80;"
    yield "    listen [::]:80;"
    yield f"    server_name {name};"
    yield "    return 308 https://$host$request_uri;"
    yield "}"
    yield ""


def _server(running: Running, name: str, certificate: tuple[Path, Path] | None) -> Iterator[str]:
    if certificate is None:
        yield "listen 80;"
        yield "listen [::]:80;"
    else:
        cert, key = certificate
        yield "listen 443 ssl;"
        yield "listen [::]:443 ssl;"
        yield f'ssl_certificate "{_text(str(cert))}";'
        yield f'ssl_certificate_key "{_text(str(key))}";'
        yield "ssl_protocols TLSv1.2 TLSv1.3;"
        yield "ssl_session_cache shared:pidex_tls:10m;"
        yield "ssl_session_timeout 1d;"
        yield "ssl_session_tickets off;"
    yield f"server_name {name};"
    yield ""
    yield "# pidex has its own limits, and says which: nginx lets every size pass."
    yield "client_max_body_size 0;"
    yield "# Who sends or reads a byte now and then is cut off."
    yield "client_header_timeout 10s;"
    yield "client_body_timeout 30s;"
    yield "send_timeout 60s;"
    yield "keepalive_timeout 65s;"
    yield "large_client_header_buffers 4 16k;"
    yield "limit_conn pidex_connections 100;"
    yield "limit_req zone=pidex_requests burst=1000 nodelay;"
    yield "limit_conn_status 429;"
    yield "limit_req_status 429;"
    yield "# Packages are compressed already, and pages by pidex."
    yield "gzip off;"
    yield ""
    prefix = running.settings.prefix
    if prefix:
        yield f"location = {prefix} {{ return 308 {prefix}/; }}"
    yield "# Pages, files, uploads and git alike. The path goes on as it came, prefix included."
    yield f"location {prefix}/ {{"
    for line in _location(running):
        yield f"    {line}"
    yield "}"


def _location(running: Running) -> Iterator[str]:
    settings = running.settings
    scheme = "https" if settings.tls_cert is not None else "http"
    seconds = int(settings.inspect_timeout + settings.page_wait) + MARGIN_SECONDS
    yield f"proxy_pass {scheme}://pidex;"
    if scheme == "https":
        yield "proxy_ssl_verify off;   # the certificate is that of this very machine"
    yield "proxy_http_version 1.1;"
    yield 'proxy_set_header Connection "";'
    yield "proxy_set_header Host $http_host;"
    yield "# The peer's own word, never what a client claims:"
    yield "proxy_set_header X-Forwarded-For $remote_addr;"
    yield "proxy_set_header X-Forwarded-Host $http_host;"
    yield "proxy_set_header X-Forwarded-Proto $scheme;"
    for header in ("Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-IP"):
        yield f'proxy_set_header {header} "";'
    if settings.login_header is not None:
        yield "# Who signed in to nginx, never what a client says: put the variable of your auth_request or"
        yield "# client certificate here. $remote_user is what a client says, unless auth_basic checks it."
        yield f'proxy_set_header {settings.login_header} "";'
    yield "# Bodies both ways as they come: no copy on nginx's disk, refusals before the last byte."
    yield "proxy_request_buffering off;"
    yield "proxy_buffering off;"
    yield "proxy_connect_timeout 5s;"
    yield f"proxy_read_timeout {seconds}s;"
    yield "proxy_send_timeout 60s;"


def _text(text: str) -> str:
    """Text inside quotes. nginx has no way to write a dollar sign."""
    if any(each in text for each in "$\n\r"):
        raise ConfigError(f"{text!r} cannot be written into a file for nginx.")
    return text.replace("\\", "\\\\").replace('"', '\\"')
