"""Requests to a bucket, of each kind of server: what waits is asked anew, what is refused is said."""

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
        self.status = 200

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
        self.send_response(server.status)
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.send_header("Content-Length", "5" if self.command in ("GET", "HEAD") else "0")
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET = do_HEAD = do_POST = do_DELETE = answer

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


#: Each kind of server: its scheme, the part of its endpoint that is not the bucket's, and what signs for us.
KINDS = {
    "s3": ("", 'aws_access_key_id = "a"\naws_secret_access_key = "b"\n'),
    "gs": ("", 'google_bearer_token = "a"\n'),
    "az": ("/ours", 'azure_storage_account_name = "ours"\nazure_storage_account_key = "a2V5"\n'),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, server: Halting, tmp_path: Path) -> Bucket:
    path, text = KINDS[request.param]
    keys = tmp_path / "keys.toml"
    keys.write_text(text)
    keys.chmod(0o600)
    endpoint = f"http://127.0.0.1:{server.server_address[1]}{path}"
    return Bucket(Place(f"{request.param}://packages/x", endpoint, credentials=keys, timeout=5))


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_said_whatever_is_asked(server: Halting, kind: Bucket, status: int) -> None:
    server.status = status
    for ask in (
        lambda: kind.size("blobs/a"),
        lambda: [*kind.read("blobs/a")],
        lambda: [*kind.list("blobs/")],
        lambda: kind.delete(["blobs/a"]),
        lambda: kind.put("blobs/a", BytesIO(b"x")),
        lambda: kind.put("blobs/a", BytesIO(bytes(2 * buckets.PART_BYTES))),
    ):
        with pytest.raises(StorageDown, match=r"refuses the credentials for .*packages/x"):
            ask()


def test_a_bucket_that_is_not_there_is_said(server: Halting, kind: Bucket) -> None:
    server.status = 404
    for ask in (
        lambda: [*kind.list("blobs/")],
        lambda: kind.put("blobs/a", BytesIO(b"x")),
        lambda: kind.put("blobs/a", BytesIO(bytes(2 * buckets.PART_BYTES))),
    ):
        with pytest.raises(StorageDown, match="There is no bucket"):
            ask()
    assert kind.size("blobs/a") is None
    with pytest.raises(FileNotFoundError):
        next(kind.read("blobs/a"))
    kind.delete(["blobs/a"])  # gone already


def test_what_else_is_answered_is_told_in_a_line(server: Halting, kind: Bucket) -> None:
    server.status = 400
    with pytest.raises(StorageDown, match=r"\(.*400.*\)\. Try again") as told:
        [*kind.list("blobs/")]
    assert "?" not in str(told.value)
    assert "\n" not in str(told.value)


def test_objects_are_deleted_without_the_means_that_not_every_server_has(
    server: Halting, bucket: Bucket
) -> None:
    bucket.delete(["blobs/a", "blobs/b"])
    assert server.asked == 2 * [("DELETE", 0)]
