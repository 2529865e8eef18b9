"""The access log: one line a request, escaped, without anything secret, and counted."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.logs import Sink
from pidex.metrics import Metrics
from pidex.web.ledger import BATCH_LINES, Ledger, Line
from tests.web.driver import House


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[tuple[Sink, Path]]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield Sink(fd), path
    os.close(fd)


PEER = ("127.0.0.1", 5000)


def line(
    path: str = "/x",
    method: str = "GET",
    client: tuple[str, int] | None = PEER,
    status: int = 200,
    size: int = 123,
    agent: bytes = b"pip/26",
) -> Line:
    return (1_700_000_000.25, 0.0015, client, method, path, status, size, agent, "page")


LINE = line("/simple/demo/")


def write(sink: Sink, form: str, *lines: Line) -> Metrics:
    metrics = Metrics()
    ledger = Ledger(sink, form, metrics, worker=3)

    async def add() -> None:
        for each in lines:
            ledger.add(each)
        ledger.flush()

    asyncio.run(add())
    return metrics


def test_a_line_says_who_what_and_how_long(logged: tuple[Sink, Path]) -> None:
    sink, path = logged
    write(sink, "text", LINE)
    assert path.read_text() == '2023-11-14T22:13:20.250Z 127.0.0.1 GET /simple/demo/ 200 123 1.5ms "pip/26"\n'


def test_a_line_may_be_json(logged: tuple[Sink, Path]) -> None:
    sink, path = logged
    write(sink, "json", LINE, line(client=("::1", 80)), line(client=None), line(client=("", 0)))
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert lines[0] == {
        "time": "2023-11-14T22:13:20.250Z", "client": "127.0.0.1", "method": "GET", "path": "/simple/demo/",
        "status": 200, "bytes": 123, "ms": 1.5, "agent": "pip/26", "worker": 3,
    }  # fmt: skip
    assert [each["client"] for each in lines] == ["127.0.0.1", "::1", "unix", "unix"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_in_a_request_starts_a_line_or_commands_a_terminal(
    logged: tuple[Sink, Path], form: str
) -> None:
    sink, path = logged
    nasty = "a\r\nGET /fake\x1b[2J\x00\u2028\u202e\udcff\x85"
    write(sink, form, line(nasty, nasty, (nasty, 1), agent=nasty.encode("utf-8", "replace")))
    text = path.read_text()
    assert text.count("\n") == 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", text)
    assert path.read_bytes().count(b"\n") == 1


def test_lines_are_written_soon_and_many_at_once(logged: tuple[Sink, Path]) -> None:
    sink, path = logged
    ledger = Ledger(sink, "text", Metrics())

    async def add() -> None:
        ledger.add(LINE)
        while not path.read_text():
            await asyncio.sleep(0)
        for _ in range(BATCH_LINES):
            ledger.add(LINE)
        assert path.read_text().count("\n") == 1 + BATCH_LINES

    asyncio.run(asyncio.wait_for(add(), 10))


def test_requests_are_counted(logged: tuple[Sink, Path]) -> None:
    metrics = write(logged[0], "text", LINE, LINE, line(status=404, size=0))
    text = metrics.exposition({}).decode()
    assert 'pidex_requests_total{kind="page",status="200"} 2.0' in text
    assert 'pidex_requests_total{kind="page",status="404"} 1.0' in text
    assert 'pidex_response_bytes_total{kind="page"} 246.0' in text
    assert 'pidex_request_seconds_bucket{le="0.0025"} 3.0' in text


def test_no_password_is_logged(own: House, logged: tuple[Sink, Path]) -> None:
    sink, path = logged
    own.site.ledger = Ledger(sink, "text", Metrics())
    own.get("/simple/demo/?token=hunter2", authorization="Basic aHVudGVyMg==")
    own.get("/nothing/x?password=hunter2", authorization="Bearer hunter2", cookie="hunter2")
    own.site.ledger.flush()
    text = path.read_text()
    assert text.count("\n") == 2
    assert "hunter2" not in text
    assert "aHVudGVyMg" not in text
