"""HTTP by bare asyncio sockets: a request is answered whole, or it is cut, and which is known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

#: Seconds for one exchange.
EXCHANGE_SECONDS = 60.0
BOUNDARY = "faults-7f3c-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Cut(Exception):
    """No whole answer came. `sent`: whether any of the request may have reached the server."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


async def ask(
    port: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One exchange on a connection of its own. Raises `Cut`."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        raise Cut(str(error), sent=False) from None
    try:
        async with asyncio.timeout(EXCHANGE_SECONDS):
            lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            if body or method in ("POST", "PUT"):
                lines.append(f"Content-Length: {len(body)}")
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            with contextlib.suppress(OSError):  # an early refusal closes while we write: read it
                await writer.drain()
            return await _answer(reader, head=method == "HEAD")
    except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
        raise Cut(f"{type(error).__name__}: {error}", sent=True) from None
    finally:
        writer.transport.abort()


async def _answer(reader: asyncio.StreamReader, *, head: bool) -> Answer:
    while True:
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *rest = raw.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status >= 200:
            break
    headers = {}
    for line in filter(None, rest):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if head or status in (204, 304):
        return Answer(status, headers, b"")
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        return Answer(status, headers, body)
    if "content-length" not in headers:
        return Answer(status, headers, await reader.read())
    return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))


def form(filename: str, data: bytes) -> bytes:
    """The body of an upload, for `MULTIPART`."""
    name, version = filename.split("-")[:2]
    fields = {":action": "file_upload", "protocol_version": "1", "name": name, "version": version}
    fields |= {"filetype": "bdist_wheel", "pyversion": "py3", "metadata_version": "2.1"}
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    return "".join(parts).encode() + head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
