"""A bucket whose server keeps requests waiting: they are asked anew, a few times."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pidex.backends.objects import bucket as buckets
from pidex.backends.objects.bucket import Bucket, Place
from pidex.core.errors import StorageDown
from tests.walks.server import until


class Halting(ThreadingHTTPServer):
    """Answers no request as long as there are some that it is to keep waiting; then every one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.waiting, self.over = 0, threading.Event()
        self.asked: list[tuple[str, int]] = []

    def handle_error(self, *_: Any) -> None:
        """Nothing: the client went, as it should."""


class Answering(BaseHTTPRequestHandler):
    def answer(self) -> None:
        server, size = self.server, int(self.headers.get("content-length", 0))
        assert isinstance(server, Halting)
        server.asked.append((self.command, len(self.rfile.read(size))))
        if len(server.asked) <= server.waiting:
            server.over.wait(60)
            return
        body = b"bytes" if self.command == "GET" else b""
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.send_header("Content-Length", "5" if self.command in ("GET", "HEAD") else "0")
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Halting]:
    with Halting() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def bucket(server: Halting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setattr(buckets, "PROMPT_SECONDS", 0.5)
    monkeypatch.setattr(buckets, "PROMPTS_SECONDS", 0.8)
    monkeypatch.setattr(buckets, "STALLED_SECONDS", 0.5)
    keys = tmp_path / "keys.toml"
    keys.write_text('aws_access_key_id = "a"\naws_secret_access_key = "b"\n')
    keys.chmod(0o600)
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    return Bucket(Place("s3://packages/x", endpoint, credentials=keys, timeout=20))


@pytest.mark.parametrize("waiting", [1, 2])
def test_what_gets_no_answer_is_asked_anew(server: Halting, bucket: Bucket, waiting: int) -> None:
    """Once it is asked again by the first means, then by the second: the bytes are whole each time."""
    server.waiting = waiting
    bucket.put("blobs/a", BytesIO(b"bytes"))
    assert len(server.asked) > waiting
    assert set(server.asked) == {("PUT", 5)}
    server.asked.clear()
    assert bucket.size("blobs/a") == 5
    assert len(server.asked) > waiting
    server.asked.clear()
    assert b"".join(bucket.read("blobs/a")) == b"bytes"
    assert len(server.asked) > waiting


def test_a_large_one_has_all_the_time_of_the_settings(server: Halting, bucket: Bucket) -> None:
    server.waiting = 1
    large = bytes(buckets.PROMPT_BYTES + 1)
    thread = threading.Thread(target=bucket.put, args=("blobs/a", BytesIO(large)))
    thread.start()
    until(lambda: server.asked)
    thread.join(1.5)  # long enough for a small one to be asked three times
    assert server.asked == [("PUT", len(large))]
    server.over.set()  # it ends without an answer: that is asked anew, too
    thread.join()
    assert server.asked == 2 * [("PUT", len(large))]


def test_what_never_gets_an_answer_is_said(server: Halting, tmp_path: Path, bucket: Bucket) -> None:
    short = Bucket(Place("s3://packages/x", f"http://127.0.0.1:{server.server_address[1]}",
                         credentials=tmp_path / "keys.toml", timeout=1))  # fmt: skip
    server.waiting = 1_000
    with pytest.raises(StorageDown, match="does not answer"):
        short.put("blobs/a", BytesIO(b"x"))
    assert len(server.asked) >= 2
