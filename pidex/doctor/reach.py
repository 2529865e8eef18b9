"""Checks of how we are reached: port, certificate and public URL."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from pidex.core.sentences import said
from pidex.doctor.finding import Clock, Finding, Findings, Target, fail, ok, warn

#: Days that a certificate should still hold.
CERTIFICATE_DAYS = 21
#: Seconds to wait for an answer over HTTP, and bytes of it to read.
HTTP_SECONDS, HTTP_BYTES = 5, 65_536
#: Tags of DER (X.690) that lead to a certificate's dates.
SEQUENCE, UTC_TIME, VERSION = 0x30, 0x17, 0xA0


def certificate(target: Target, clock: Clock) -> Findings:
    """The TLS certificate fits its key and holds on."""
    cert, key = target.tls_cert, target.tls_key
    if cert is None or key is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
        ends = expiry(ssl.PEM_cert_to_DER_cert(_first_certificate(cert.read_text())))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield fail(
                said("The key %(key)s does not belong to the certificate %(cert)s.", key=key, cert=cert),
                said("Name the pair that does."),
            )
        else:
            yield fail(
                said(
                    "The certificate %(cert)s and the key %(key)s cannot be used: %(reason)s.",
                    cert=cert,
                    key=key,
                    reason=error.reason or error,
                ),
                said("Give both as PEM, and the key without a passphrase."),
            )
        return
    days = (ends - clock()) / 86_400
    renew = said("Renew it, then send the server SIGHUP.")
    if days < 0:
        yield fail(
            said("The certificate %(cert)s expired %(days)s days ago.", cert=cert, days=f"{-days:.0f}"), renew
        )
    elif days < CERTIFICATE_DAYS:
        yield warn(
            said("The certificate %(cert)s expires in %(days)s days.", cert=cert, days=f"{days:.0f}"), renew
        )
    else:
        yield ok(
            said(
                "The certificate %(cert)s fits its key and holds for %(days)s days.",
                cert=cert,
                days=f"{days:.0f}",
            )
        )


def _first_certificate(text: str) -> str:
    end = "-----END CERTIFICATE-----"
    return text[text.index("-----BEGIN CERTIFICATE-----") : text.index(end) + len(end)]


def expiry(der: bytes) -> float:
    """When a certificate (X.509, DER) ends, in Unix seconds: `ssl` says so only after a handshake."""
    _, outer, _ = _element(der)
    _, inner, _ = _element(outer)
    tag, _, rest = _element(inner)
    # Version (optional), serial number, signature algorithm, issuer, then the dates.
    for _ in range(3 if tag == VERSION else 2):
        _, _, rest = _element(rest)
    _, dates, _ = _element(rest)
    _, _, rest = _element(dates)
    tag, value, _ = _element(rest)
    text = value.decode("ascii")
    if tag == UTC_TIME:  # two digits of the year: 50 to 99 are the last century's (RFC 5280)
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Tag, content and rest of a DER element."""
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    return data[0], data[start : start + length], data[start + length :]


def port(target: Target, _: Clock) -> Findings:
    """The address is free, or this server answers there."""
    if target.socket is not None:
        yield _unix(target.socket, target)
        return
    where = f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, number, _name, address = found[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        yield fail(
            said("The address %(host)s is not known: %(reason)s.", host=target.host, reason=error.strerror),
            said("Name another one with --host."),
        )
    except PermissionError:
        yield fail(
            said("This user may not listen on %(where)s.", where=where),
            said("Name a port above 1023 with --port."),
        )
    except OSError as error:
        scheme = "https" if target.tls_cert else "http"
        here = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(target.host, where.rpartition(":")[0])  # noqa: S104
        url = f"{scheme}://{here}:{target.port}{target.prefix}"
        if error.errno == errno.EADDRINUSE and identity(url, verify=False) is not None:
            yield ok(said("pidex answers at %(url)s/.", url=url))
        else:
            yield fail(
                said(
                    "%(where)s cannot be listened on: %(reason)s.",
                    where=where,
                    reason=(error.strerror or str(error)).lower(),
                ),
                said("End the other program, or name another address with --host and --port."),
            )
    else:
        yield ok(said("%(where)s is free.", where=where))


def _unix(path: Path, target: Target) -> Finding:
    if not path.exists():
        return ok(said("The socket %(path)s is free.", path=path))
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(HTTP_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return warn(
                said("The socket %(path)s is there, and nobody answers.", path=path),
                said("Remove it: rm %(path)s", path=path),
            )
        except OSError as error:
            return fail(
                said("The socket %(path)s cannot be reached: %(reason)s.", path=path, reason=error.strerror),
                said("See its permissions."),
            )
        connection = http.client.HTTPConnection("localhost")
        connection.sock = probe
        if _ask(connection, f"{target.prefix}/-/health") is None:
            return fail(
                said("Something else than pidex answers at the socket %(path)s.", path=path),
                said("Name another one with --socket."),
            )
    return ok(said("pidex answers at the socket %(path)s.", path=path))


def public_url(target: Target, _: Clock) -> Findings:
    """The public URL leads to this very server, through whatever proxies there are."""
    url = target.public_url
    if url is None:
        return
    try:
        ours = (target.data / "instance").read_text().strip()
    except OSError:
        yield warn(
            said("Whether %(url)s leads here cannot be seen.", url=url),
            said("Start the server, then run `pidex doctor` again."),
        )
        return
    try:
        found = identity(url, verify=True)
    except ssl.SSLCertVerificationError as error:
        yield fail(
            said(
                "Clients do not trust the certificate of %(url)s: %(reason)s.",
                url=url,
                reason=error.verify_message,
            ),
            said("Renew it, or give clients its authority."),
        )
        return
    if found is None:
        yield fail(
            said("%(url)s does not lead to a pidex.", url=url),
            said("Correct public_url, the proxy, or the name's address."),
        )
    elif found != ours:
        yield fail(
            said("%(url)s leads to another pidex.", url=url),
            said("Correct public_url, the proxy, or the name's address."),
        )
    else:
        yield ok(said("%(url)s leads to this server.", url=url))


def identity(url: str, *, verify: bool) -> str | None:
    """What the pidex at a URL says it is; None where none answers. Raises `ssl.SSLCertVerificationError`."""
    parts = urlsplit(url)
    host, number = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        if not verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, number, timeout=HTTP_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, number, timeout=HTTP_SECONDS)
    with contextlib.closing(connection):
        return _ask(connection, f"{parts.path.rstrip('/')}/-/health")


def _ask(connection: http.client.HTTPConnection, path: str) -> str | None:
    # A word that is never the same keeps a proxy from answering out of its cache.
    try:
        connection.request(
            "GET", f"{path}?loop={os.urandom(8).hex()}", headers={"Accept": "application/json"}
        )
        body = connection.getresponse().read(HTTP_BYTES)
        found = json.loads(body)["instance"]
    except ssl.SSLCertVerificationError:
        raise
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, str) else None
