"""Scenarios S17 to S21: files come by a real FTP server: slow, broken off, damaged, renamed, over others."""

from __future__ import annotations

import ftplib
import hashlib
import http.client
import io
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

from tests.samples import sdist, wheel, write
from tests.walks.poller import Poller
from tests.walks.server import Server, Unready, patiently, until

Sample = tuple[str, bytes]

#: Bytes of the archives that are on their way for a while, and the pieces they are sent in.
SIZE, PIECES = 2_000_000, 20
#: Seconds between two pieces.
SLOW = 0.1


def noisy(name: str, version: str, seed: int = 0, size: int = SIZE) -> Sample:
    """A wheel of bytes that do not compress."""
    return wheel(name, version, files={f"{name}.bin": random.Random(seed).randbytes(size)})


@pytest.fixture
def ftp_port(folder: Path) -> Iterator[int]:
    """A running FTP server whose home is the served folder; user u, password p."""
    logging.getLogger("pyftpdlib").setLevel(logging.ERROR)
    authorizer = DummyAuthorizer()
    authorizer.add_user("u", "p", str(folder), perm="elradfmwMT")

    class Handler(FTPHandler):  # type: ignore[misc]
        pass

    Handler.authorizer = authorizer
    server = FTPServer(("127.0.0.1", 0), Handler)
    port: int = server.socket.getsockname()[1]
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            server.serve_forever(timeout=0.05, blocking=False)
        server.close_all()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    yield port
    over.set()
    thread.join(10)


@contextmanager
def client(port: int) -> Iterator[ftplib.FTP]:
    with ftplib.FTP() as ftp:
        ftp.connect("127.0.0.1", port, timeout=30)
        ftp.login("u", "p")
        ftp.voidcmd("TYPE I")
        yield ftp


def send(
    ftp: ftplib.FTP,
    sample: Sample,
    *,
    command: str = "STOR",
    part: slice = slice(None),
    pause: float = SLOW,
    between: Callable[[], object] = lambda: None,
    drop: bool = False,
) -> None:
    """Send (a part of) a file in pieces. `drop`: then cut both connections without a word."""
    data = sample[1][part]
    data_connection = ftp.transfercmd(f"{command} {sample[0]}")
    step = max(1, len(data) // PIECES)
    for start in range(0, len(data), step):
        data_connection.sendall(data[start : start + step])
        between()
        time.sleep(pause)
    if drop:
        assert ftp.sock is not None
        for each in (data_connection, ftp.sock):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            each.close()
        ftp.sock = None
        return
    data_connection.close()
    ftp.voidresp()


def test_s17_a_slow_upload_is_not_listed_before_it_is_whole(folder: Path, ftp_port: int) -> None:
    write(folder, wheel("demo", "1.0"))
    samples = [noisy("demo", "2.0"), sdist("demo", "3.0", files={"noise": random.Random(1).randbytes(SIZE)})]
    seen: list[set[str]] = []
    with Server(folder) as server, client(ftp_port) as ftp:
        server.wait_for("demo", "demo-1.0-py3-none-any.whl")
        for sample in samples:

            def look(name: str = sample[0]) -> None:
                names = set(server.names("demo"))
                seen.append(names)
                assert "demo-1.0-py3-none-any.whl" in names
                if (folder / name).stat().st_size < len(dict(samples)[name]):
                    assert name not in names

            send(ftp, sample, between=look)
            server.wait_for("demo", sample[0])
            assert server.download("demo", sample[0]) == sample[1]
    assert len(seen) >= 2 * PIECES


def test_s17_an_overwritten_file_is_never_half(folder: Path, ftp_port: int) -> None:
    """A slow STOR over a listed file: its name stays on the page, and no 200 has other bytes."""
    old, new = noisy("demo", "1.0", 1), noisy("demo", "1.0", 2)
    write(folder, old)
    with Server(folder) as server, client(ftp_port) as ftp:
        server.wait_for("demo", old[0])
        with Poller(server, "demo", [old[0]]) as poller:
            until(lambda: poller.outcomes["right"])
            send(ftp, new)
            server.wait_for("demo", new[0], data=new[1])
            after = poller.outcomes["right"]
            until(lambda: poller.outcomes["right"] > after)
        print(f"S17: {poller.polls} polls: {dict(poller.outcomes)}")
        assert not poller.faults
        assert server.download("demo", new[0]) == new[1]


@pytest.mark.parametrize("again", ["STOR", "APPE", "REST"])
def test_s18_a_fragment_is_not_served_and_the_next_try_is(folder: Path, ftp_port: int, again: str) -> None:
    sample = noisy("demo", "1.0")
    write(folder, wheel("demo", "0.1"))
    with Server(folder) as server:
        with client(ftp_port) as ftp:
            send(ftp, sample, part=slice(0, SIZE // 2), pause=0.01, drop=True)
        path = folder / sample[0]
        until(path.exists)
        until(lambda: sample[0] in server.why(sample[0]))
        assert sample[0] not in server.names("demo")
        answer = server.get(f"/packages/{sample[0]}")
        assert answer.status in (404, 503), answer
        have = path.stat().st_size
        with client(ftp_port) as ftp:
            if again == "REST":
                ftp.storbinary(f"STOR {sample[0]}", io.BytesIO(sample[1][have:]), rest=have)
            elif again == "APPE":
                ftp.storbinary(f"APPE {sample[0]}", io.BytesIO(sample[1][have:]))
            else:
                ftp.storbinary(f"STOR {sample[0]}", io.BytesIO(sample[1]))
        server.wait_for("demo", sample[0])
        assert server.download("demo", sample[0]) == sample[1]


def test_s19_ascii_mode_is_noticed(folder: Path, ftp_port: int) -> None:
    samples = [noisy("demo", "1.0"), sdist("demo", "2.0", files={"noise": random.Random(1).randbytes(SIZE)})]
    write(folder, wheel("demo", "0.1"))
    with Server(folder) as server:
        with client(ftp_port) as ftp:
            for filename, data in samples:
                assert b"\r\n" in data
                ftp.voidcmd("TYPE A")
                connection = ftp.transfercmd(f"STOR {filename}")
                connection.sendall(data)
                connection.close()
                ftp.voidresp()
                assert (folder / filename).stat().st_size < len(data)
        for filename, _ in samples:

            def told(name: str = filename) -> bool:
                said = server.why(name)
                return name in said and ("refused" in said or "not whole" in said)

            until(told, why=f"{filename}: no reason given")
        assert server.names("demo") == ["demo-0.1-py3-none-any.whl"]


TEMPORARY = (".in.{}.", "{}.part", "{}.filepart", ".pureftpd-upload.{}", "{}~", ".{}.swp")


def test_s20_temporary_names_are_not_seen_and_a_rename_is(folder: Path, ftp_port: int) -> None:
    samples = [wheel("demo", f"{number}.0") for number in range(len(TEMPORARY))]
    write(folder, wheel("demo", "100"))
    with Server(folder) as server, client(ftp_port) as ftp:
        for pattern, (filename, data) in zip(TEMPORARY, samples, strict=True):
            ftp.storbinary(f"STOR {pattern.format(filename)}", io.BytesIO(data))
        ftp.storbinary("STOR after-1.0-py3-none-any.whl", io.BytesIO(wheel("after", "1.0")[1]))
        server.wait_for(
            "after", "after-1.0-py3-none-any.whl"
        )  # what lay there before it has been looked at too
        assert server.names("demo") == ["demo-100-py3-none-any.whl"]
        for pattern, (filename, data) in zip(TEMPORARY, samples, strict=True):
            ftp.rename(pattern.format(filename), filename)
            server.wait_for("demo", filename)
            assert server.download("demo", filename) == data


class Slow:
    """A download whose body is read only when asked for."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.connection.request("GET", parts.path)
        self.response = self.connection.getresponse()
        self.body = b""

    def read(self, count: int | None = None) -> None:
        """Read so many bytes or all. Raises IncompleteRead or ConnectionError when it was cut."""
        self.body += self.response.read(count) if count else self.response.read()


def test_s21_a_download_during_an_overwrite_is_right_or_cut(folder: Path, ftp_port: int) -> None:
    old, new = noisy("demo", "1.0", 1, 30_000_000), noisy("demo", "1.0", 2, 30_000_000)
    write(folder, old)
    with Server(folder) as server, client(ftp_port) as ftp:
        listed = server.wait_for("demo", old[0])

        def begun() -> Slow:
            slow = Slow(listed.url)
            if slow.response.status == 503:
                slow.connection.close()
                raise Unready
            return slow

        slow = patiently(begun)
        assert slow.response.status == 200
        slow.read(1_000_000)
        send(ftp, new, pause=0.02)
        cut = False
        try:
            slow.read()
        except (http.client.IncompleteRead, ConnectionError):
            cut = True
        slow.connection.close()
        assert cut or hashlib.sha256(slow.body).hexdigest() == listed.sha256
        assert cut, "the same inode was truncated: the old bytes cannot have come from anywhere"
        server.wait_for("demo", new[0], data=new[1], seconds=60)
        assert server.download("demo", new[0]) == new[1]
