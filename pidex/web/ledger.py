"""One line and a few counts for each request, written in batches of a few milliseconds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from pidex.logs import Sink, printable, timestamp
from pidex.metrics import Metrics

#: Seconds that a line may wait for others. A reader of the log does not notice; a write costs 10 us.
BATCH_SECONDS = 0.02
#: Lines that wait at most.
BATCH_LINES = 512
#: Characters of a path or a user agent in a line.
TEXT_CHARS = 1_000


class Line(NamedTuple):
    """One request. `began` and `took` in seconds, the first since 1970; `size` is the bytes of the body."""

    began: float
    took: float
    client: str
    method: str
    path: str
    status: int
    size: int
    agent: str | None
    kind: str  # 'page', 'list', 'file', 'metadata' or 'other': a label of metrics


class Ledger:
    """The access log and the request metrics of one worker. For the event loop's thread.

    `sink` None: no lines. Paths are logged without their query, and no header but the user agent: nothing
    that could hold a password (T36); control characters are escaped (T38).
    """

    def __init__(self, sink: Sink | None, form: str, metrics: Metrics, *, worker: int = 1) -> None:
        self._sink, self._metrics = sink, metrics
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
        for line in lines:
            self._requests.add(1, (line.kind, str(line.status)))
            if line.size:
                self._bytes.add(line.size, (line.kind,))
            self._seconds.observe(line.took)

    def _text(self, line: Line) -> str:
        began = line.began
        second = int(began)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return (
            f"{self._stamp}.{int((began - second) * 1000):03d}Z {_short(_client(line.client))}"
            f" {_short(line.method)} {_short(line.path)}"
            f' {line.status} {line.size} {line.took * 1000:.1f}ms "{_agent(line.agent)}"'
        )

    def _json(self, line: Line) -> str:
        return json.dumps(
            {
                "time": timestamp(line.began),
                "client": _client(line.client),
                "method": line.method[:TEXT_CHARS],
                "path": line.path[:TEXT_CHARS],
                "status": line.status,
                "bytes": line.size,
                "ms": round(line.took * 1000, 3),
                "agent": line.agent[:TEXT_CHARS] if line.agent else line.agent,
                "worker": self._worker,
            }
        )


def _client(text: str) -> str:
    """The address alone: Granian names a peer with its port, and a Unix socket's peer not at all."""
    if text.count(":") == 1 or text.startswith("["):
        text = text.rpartition(":")[0].strip("[]")
    return text or "unix"


def _short(text: str) -> str:
    plain = text if text.isascii() and text.isprintable() else printable(text[:TEXT_CHARS])
    # A space would shift the fields of a line.
    return plain.replace(" ", "%20")[:TEXT_CHARS] or "-"


def _agent(text: str | None) -> str:
    return printable(text[:TEXT_CHARS]).replace('"', "'") if text else "-"
