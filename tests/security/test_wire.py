"""T14, T15, T17, T18: bytes on the wire that no honest client sends, directly, through nginx and Caddy."""

# ruff: noqa: E501  # tables of attacks are read by line

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.samples import wheel, write
from tests.security.wire import Caddy, Nginx, connect, rested, say, statuses, together
from tests.walks.server import Server, fetch, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("wire") / "packages"
    folder.mkdir()
    write(folder, wheel("demo", "1.0"))
    with Server(folder, options=["--trusted-proxies", "127.0.0.1"]) as running:
        running.wait_for("demo", wheel("demo", "1.0")[0])
        yield running


@pytest.fixture(scope="module")
def nginx(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx"), server) as running:
        yield running


@pytest.fixture(scope="module")
def caddy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caddy]:
    with Caddy(tmp_path_factory.mktemp("caddy"), server) as running:
        yield running


# --- line ends in what is asked (T14) -----------------------------------------------------------------------

ENDS = (
    *(
        "%0d%0a",
        "%0a",
        "%0d",
        "%0D%0A%20",
        "%0d%0a%0d%0a",
        "%E5%98%8A%E5%98%8D",
        "%c0%8d%c0%8a",
        "%250d%250a",
    ),
    *(
        "%u000d%u000a",
        "%00%0a",
        "%e2%80%a8",
        "%c2%85",
        "%0b%0c",
        "\\r\\n",
        "%5cr%5cn",
        "%0a%09",
        "%1e",
        "%7f",
    ),
)
EVIL = ("X-Evil:%201", "Set-Cookie:%20evil=1", "%0d%0aX-Evil:1")
TARGETS = (
    *("/simple/{}", "/simple/{}/", "/packages/{}", "/{}", "/{}/json", "/pypi/{}/json", "/project/{}/"),
    *("/?done={}", "/-/login?next=/{}", "/main/simple/Demo{}"),
)


def answer_headers(answer: bytes) -> dict[bytes, bytes]:
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(b":") for line in head)}


@pytest.mark.parametrize("through", ["server", "nginx", "caddy"])
def test_no_line_end_in_a_url_makes_a_header(request: pytest.FixtureRequest, through: str) -> None:
    """540 URLs, each on a connection of its own; a third of them through nginx and through Caddy."""
    port = request.getfixturevalue(through).port
    asked = [
        f"GET {target.format('x' + end + evil)} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
        for target, end, evil in itertools.product(TARGETS, ENDS, EVIL)
    ]
    assert len(asked) >= 500
    asked = asked[:: 1 if through == "server" else 3]
    for sent, answer in zip(asked, together(lambda data: say(port, data, 60), asked), strict=True):
        assert len(statuses(answer)) == 1, (sent, answer)
        assert statuses(answer)[0] < 500, (sent, answer)
        headers = answer_headers(answer)
        assert b"x-evil" not in headers, (sent, answer)
        assert b"evil" not in headers.get(b"set-cookie", b""), (sent, answer)
        assert not headers.get(b"location", b"").strip().startswith((b"//", b"http://evil")), (sent, answer)
        assert not re.search(rb"[\x00\x0b\x0c]|(?<!\r)\n|\r(?!\n)", answer.partition(b"\r\n\r\n")[0])


# --- two readings of one request (T15) ----------------------------------------------------------------------

INNER = "GET /simple/inner-{n}/ HTTP/1.1\r\nHost: h\r\n\r\n"
LENGTHS = (
    *("Content-Length: +{l}", "Content-Length: {l}, {l}", "Content-Length: {l}, 0", "Content-Length: 0x{l}"),
    *("Content-Length: -1", "Content-Length:", "Content-Length: {l};", "Content-Length : {l}"),
    *("Content-Length: 0\r\nContent-Length: {l}", "Content-Length: {l}\r\nContent-Length: 0"),
    *("Content_Length: {l}", "\x0bContent-Length: {l}", "Content-Length: {l}a", "Content-Length: {l} 0"),
    *("Content-Length: 99999999999999999999", "Content-Length\x00: {l}", "X: y\nContent-Length: {l}"),
    *(
        "X: y\rContent-Length: {l}",
        "Content-Length:\r\n {l}",
        "Content-Length: {l}\x00",
        " Content-Length: {l}",
    ),
)
CODINGS = (
    *("Transfer-Encoding: chunked", "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, identity"),
    *(
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked\x0b",
    ),
    *("Transfer-Encoding : chunked", "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked, chunked"),
    *("Transfer-Encoding: CHUNKED", 'Transfer-Encoding: "chunked"', "Transfer-Encoding: chunked;q=1"),
    *(
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    ),
    *("Transfer_Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "Transfer-Encoding: \x00chunked"),
    *("Transfer-Encoding: gzip, chunked", "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked,"),
)
CHUNKS = ("0\r\n\r\n", "0\n\n", "0x0\r\n\r\n", "+0\r\n\r\n", "0 \r\n\r\n", "0;x\n=\r\n\r\n", "1\r\nZZ\r\n0\r\n\r\n",
          "-1\r\n\r\n", "10000000000000000\r\n\r\n", "1\nZ\n0\n\n", "0\r\nContent-Length: 9\r\n\r\n", "\r\n0\r\n\r\n")  # fmt: skip
STARTS = (
    *("GET /simple/outer-{n}/ HTTP/1.1\nHost: h\n\n", "GET  /simple/outer-{n}/  HTTP/1.1\r\nHost: h\r\n\r\n"),
    *("GET /simple/outer-{n}/ HTTP/1.2\r\nHost: h\r\n\r\n", "GET /simple/outer-{n}/\r\n\r\n"),
    *(
        "GET /simple/outer-{n}/ HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
        "GET\t/simple/outer-{n}/ HTTP/1.1\r\n\r\n",
    ),
    *("\r\nGET /simple/outer-{n}/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET /simple/outer-{n}/ HTTP/1.1\r\n\r\n"),
    *("GET /simple/outer-{n}/ HTTP/1.1\r\nHost: h\r\nNo colon\r\n\r\n", "GET x HTTP/1.1\r\nHost: h\r\n\r\n"),
    *("GET /simple/outer-{n}/ HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", "GE\x00T / HTTP/1.1\r\nHost: h\r\n\r\n"),
)


#: The number of the first request through each: all of them are told apart in one log.
OFFSETS = {"server": 0, "nginx": 10_000, "caddy": 20_000}


def readings(first: int) -> Iterator[tuple[str, bytes]]:
    """What may be read as one request or as two: the framing that makes it so, and the bytes."""
    number = itertools.count(first)
    line = "{m} /simple/outer-{n}/ HTTP/1.{v}\r\nHost: h\r\n"
    for method, version in (("GET", 1), ("POST", 1), ("POST", 0)):
        for header in LENGTHS:
            n = next(number)
            inner = INNER.format(n=n)
            head = line.format(m=method, n=n, v=version) + header.format(l=len(inner))
            yield header, (head + "\r\n\r\n" + inner).encode("latin-1")
        for header, length in itertools.product(CODINGS, ("", "Content-Length: {l}\r\n")):
            n = next(number)
            body = CHUNKS[0] + INNER.format(n=n)
            head = line.format(m=method, n=n, v=version) + length.format(l=len(body)) + header
            yield f"{length}{header}", (head + "\r\n\r\n" + body).encode("latin-1")
    for chunk in CHUNKS:
        n = next(number)
        head = line.format(m="POST", n=n, v=1) + CODINGS[0]
        yield f"chunked {chunk!r}", (head + "\r\n\r\n" + chunk + INNER.format(n=n)).encode("latin-1")
    for start in STARTS:
        n = next(number)
        yield start, (start + INNER).format(n=n).encode("latin-1")


@pytest.mark.parametrize("through", ["nginx", "caddy"])
def test_nothing_is_read_in_two_ways_through_a_proxy(
    server: Server, request: pytest.FixtureRequest, through: str
) -> None:
    """Whatever pidex took for a request, the proxy took for one too and gave its answer to who asked."""
    port = request.getfixturevalue(through).port
    every = list(readings(OFFSETS[through]))
    assert len(every) > 200
    answers = together(lambda data: say(port, data), [data for _, data in every])
    log = rested(server.log)
    for (framing, data), answer in zip(every, answers, strict=True):
        seen = {kind: len(re.findall(rf"/simple/{kind}-{number(data)}/", log)) for kind in ("outer", "inner")}
        heads = len(statuses(answer)) or bool(answer)  # HTTP/0.9 has answers without a head
        assert sum(seen.values()) <= heads, (framing, seen, answer)
        assert 500 not in statuses(answer), (framing, answer)


def number(data: bytes) -> int:
    found = re.search(rb"inner-(\d+)/", data)
    assert found is not None
    return int(found[1])


def test_what_may_be_read_in_two_ways_is_not_read_on(server: Server) -> None:
    """Directly: a length that is none, two lengths, or a length beside chunks end the connection."""
    every = list(readings(OFFSETS["server"]))
    answers = together(lambda data: say(server.port, data), [data for _, data in every])
    both = []
    for (framing, data), answer in zip(every, answers, strict=True):
        assert 500 not in statuses(answer), (framing, answer)
        if b"inner" in answer or len(statuses(answer)) > 1:
            both.append((framing, data))
    print(f"{len(every)} requests, {len(both)} read on: {sorted({framing for framing, _ in both})}")
    # The inner request is one of its own where the outer one has no body, or one that ended before it.
    for framing, data in both:
        assert not ambiguous(data), (framing, data)


def ambiguous(data: bytes) -> bool:
    """Whether the head says two things about its body, as RFC 9112 reads it."""
    head = data.partition(b"\r\n\r\n")[0]
    lengths = re.findall(rb"(?mi)^content-length *:([^\r]*)", head)
    codings = re.findall(rb"(?mi)^transfer-encoding *:([^\r]*)", head)
    return len(set(lengths)) > 1 or bool(lengths and codings)


# --- who is slow (T17) --------------------------------------------------------------------------------------


def test_who_sends_a_head_or_a_body_slowly_is_cut_off(server: Server, tmp_path: Path) -> None:
    """300 clients that send half a head, and 50 half a body: nobody else waits, and all of them are cut off.

    The printed figures are 10 and 30 seconds; here both are one.
    """

    def hasty(text: str) -> str:
        assert "client_header_timeout 10s;" in text
        assert "client_body_timeout 30s;" in text
        return re.sub(r"(client_(?:header|body)_timeout) \d+s", r"\1 1s", text)

    slow: list[socket.socket] = []
    with Nginx(tmp_path, server, hasty) as nginx, contextlib.ExitStack() as stack:
        for number in range(350):
            connection = stack.enter_context(connect(nginx.port, f"127.0.1.{number % 250 + 1}", 30))
            head = b"POST /legacy/ HTTP/1.1\r\nHost: h\r\n"
            if number >= 300:
                head += b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 99999\r\n\r\n--x"
            connection.sendall(head)
            slow.append(connection)
        took = sorted(asking(nginx.port) for _ in range(100))
        print(f"350 slow clients: p50 {took[49] * 1e3:.1f} ms, p99 {took[98] * 1e3:.1f} ms for another")
        for connection in slow:
            while connection.recv(4096):  # an answer, or none; what counts is that there is an end
                pass


def asking(port: int) -> float:
    begin = time.monotonic()
    assert fetch(f"http://127.0.0.1:{port}/simple/demo/").status == 200
    return time.monotonic() - begin


def test_one_address_has_so_many_requests_at_once(server: Server, nginx: Nginx) -> None:
    """100 of 150 unfinished uploads of one address are read; the rest is told so, and others are not."""
    head = (
        b"POST /legacy/ HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 99999\r\n\r\n--x"
    )
    with contextlib.ExitStack() as stack:
        several = [stack.enter_context(connect(nginx.port, "127.0.2.1", 5)) for _ in range(150)]
        for connection in several:
            connection.sendall(head)
        refused = 0
        until(lambda: fetch(f"http://127.0.0.1:{nginx.port}/simple/demo/").status == 200)
        for connection in several:
            connection.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                refused += statuses(connection.recv(4096)) == [429]
        assert refused == 50


# --- ranges (T18) -------------------------------------------------------------------------------------------


def test_ranges_without_end_cost_nothing(server: Server) -> None:
    """Directly, by the server's own limit of a head: a long Range is ignored or refused, never answered in parts."""
    path = fetch(f"{server.url}/simple/demo/").text.partition('href="../..')[2].partition("#")[0]
    for ranges, most in (("0-1," * 200, 200), ("0-," * 16_000, 431), ("-1," * 33_000, 431)):
        data = (
            f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nRange: bytes={ranges}\r\n\r\n".encode()
        )
        answer = say(server.port, data)
        assert statuses(answer) == [] or statuses(answer)[0] in (200, most), answer[:200]
        assert b"multipart/byteranges" not in answer
