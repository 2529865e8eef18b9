"""Granian's own interface: a request of it as an ASGI scope with its two channels."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

Message = Mapping[str, Any]


class Channel:
    """ASGI's `receive` and `send` over an RSGI protocol object."""

    def __init__(self, proto: Any, *, has_body: bool) -> None:
        self._proto = proto
        self._body = aiter(proto) if has_body else None
        self._ended = False
        self._start: Message = {}
        self._transport: Any = None

    async def receive(self) -> MutableMapping[str, Any]:
        """The next piece of the body, then, once, its end, then the client's leaving."""
        if self._ended:
            await self._proto.client_disconnect()
            return {"type": "http.disconnect"}
        if self._body is not None:
            try:
                data = await anext(self._body)
            except StopAsyncIteration:
                pass
            else:
                return {"type": "http.request", "body": data, "more_body": True}
        self._ended = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Start the answer, or send a piece of its body. Without a last piece the connection is cut."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        data, more = message.get("body", b""), message.get("more_body", False)
        if self._transport is None:
            status, headers = self._start["status"], _texts(self._start["headers"])
            if not more:
                if data:
                    self._proto.response_bytes(status, headers, data)
                else:
                    self._proto.response_empty(status, headers)
                return
            self._transport = self._proto.response_stream(status, headers)
        if data:
            await self._transport.send_bytes(data)


def asgi(scope: Any, proto: Any) -> tuple[dict[str, Any], Channel]:
    """A request as ASGI has it. Its path came percent-decoded: bytes that are not UTF-8 are U+FFFD in it."""
    headers = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for name, value in scope.headers.items()
    ]
    names = {name for name, _ in headers}
    if scope.authority and b"host" not in names:
        headers.append((b"host", scope.authority.encode("latin-1", "replace")))  # HTTP/2 has no Host
    has_body = (
        b"content-length" in names
        or b"transfer-encoding" in names
        or (scope.http_version.startswith("2") and scope.method not in ("GET", "HEAD", "OPTIONS"))
    )
    converted = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": scope.http_version,
        "method": scope.method,
        "scheme": scope.scheme,
        "path": scope.path,
        "raw_path": quote(scope.path).encode(),
        "query_string": scope.query_string.encode("latin-1", "replace"),
        "root_path": "",
        "headers": headers,
        "client": address(scope.client),
        "server": address(scope.server),
    }
    return converted, Channel(proto, has_body=has_body)


def address(text: str) -> tuple[str, int] | None:
    """'127.0.0.1:80' or '[::1]:80' as ASGI has it; None for a Unix socket."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


def _texts(headers: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
