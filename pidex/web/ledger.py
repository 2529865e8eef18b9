"""One line and a few counts for each request, written in batches of a few milliseconds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from pidex.logs import Sink, printable, timestamp
from pidex.metrics import Metrics

#: Seconds that a line may wait for others. A reader of the log does not notice; a write costs 10 us.
BATCH_SECONDS = 0.02
#: Lines that wait at most.
BATCH_LINES = 512
#: Characters of a path or a user agent in a line.
TEXT_CHARS = 1_000


#: One request: when it began and how long it took, in seconds; the client as ASGI has it, method, path,
#: status, bytes of the body, user agent; and what metrics call it: page, list, metadata, file or other.
Line = tuple[float, float, Sequence[Any] | None, str, str, int, int, bytes | None, str]


class Ledger:
    """The access log and the request metrics of one worker. For the event loop's thread.

    `sink` None: no lines. `downloaded`: told path and user agent of each file that was sent. Paths are logged
    without their query, and no header but the user agent: nothing that could hold a password (T36);
    control characters are escaped (T38).
    """

    def __init__(
        self,
        sink: Sink | None,
        form: str,
        metrics: Metrics,
        *,
        worker: int = 1,
        downloaded: Callable[[str, bytes | None], None] = lambda _path, _agent: None,
    ) -> None:
        self._sink, self._metrics, self._downloaded = sink, metrics, downloaded
        self._format: Callable[[Line], str] = self._json if form == "json" else self._text
        self._worker = worker
        self._second, self._stamp = -1, ""
        self._lines: list[Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self._requests = metrics.counter("pidex_requests", "Requests answered.", ("kind", "status"))
        self._bytes = metrics.counter("pidex_response_bytes", "Bytes of response bodies sent.", ("kind",))
        self._seconds = metrics.histogram(
            "pidex_request_seconds", "Time to answer a request, sent to its end."
        )

    def add(self, line: Line) -> None:
        """Note a request that has been answered."""
        lines = self._lines
        lines.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_SECONDS, self.flush)
        elif len(lines) >= BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if self._sink is not None and lines:
            self._sink.write(map(self._format, lines))
        for _, took, _, method, path, status, size, agent, kind in lines:
            if kind == "file" and status == 200 and method == "GET":
                self._downloaded(path, agent)
            self._requests.add(1, (kind, str(status)))
            if size:
                self._bytes.add(size, (kind,))
            self._seconds.observe(took)

    def _text(self, line: Line) -> str:
        began, took, client, method, path, status, size, agent, _ = line
        second = int(began)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return (
            f"{self._stamp}.{int((began - second) * 1000):03d}Z {_short(_address(client))} {_short(method)}"
            f' {_short(path)} {status} {size} {took * 1000:.1f}ms "{_agent(agent)}"'
        )

    def _json(self, line: Line) -> str:
        began, took, client, method, path, status, size, agent, _ = line
        return json.dumps(
            {
                "time": timestamp(began),
                "client": _address(client),
                "method": method[:TEXT_CHARS],
                "path": path[:TEXT_CHARS],
                "status": status,
                "bytes": size,
                "ms": round(took * 1000, 3),
                "agent": agent[:TEXT_CHARS].decode("latin-1") if agent else None,
                "worker": self._worker,
            }
        )


def _address(client: Sequence[Any] | None) -> str:
    return (client and client[0]) or "unix"


def _short(text: str) -> str:
    plain = text if text.isascii() and text.isprintable() else printable(text[:TEXT_CHARS])
    # A space would shift the fields of a line.
    return plain.replace(" ", "%20")[:TEXT_CHARS] or "-"


def _agent(agent: bytes | None) -> str:
    return printable(agent[:TEXT_CHARS].decode("latin-1")).replace('"', "'") if agent else "-"
