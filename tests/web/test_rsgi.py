"""Granian's interface answers as ASGI's does, by the short way and by the long one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from pidex.web import rsgi
from tests.web.driver import JSON, Answer, House, file_url


class Transport:
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def send_bytes(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.answer.body += data


class Proto:
    """A protocol object as Granian has it."""

    def __init__(self, body: list[bytes]) -> None:
        self.answer = Answer()
        self.body = body
        self.streamed = False

    def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        assert not self.answer.status, "two answers"
        self.answer.status, self.answer.headers = status, dict(headers)

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.start(status, headers)

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.start(status, headers)
        self.answer.body = body

    def response_stream(self, status: int, headers: list[tuple[str, str]]) -> Transport:
        self.start(status, headers)
        self.streamed = True
        return Transport(self.answer)

    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.body:
            yield piece


def ask(
    house: House,
    target: str,
    headers: dict[str, str],
    method: str = "GET",
    body: tuple[bytes, ...] = (),
    version: str = "1.1",
) -> Proto:
    path, _, query = target.partition("?")
    scope = SimpleNamespace(
        proto="http", http_version=version, method=method, scheme="http", path=path, query_string=query,
        client="127.0.0.1:4000", server="127.0.0.1:3141", authority="index.test:8080", headers=headers,
    )  # fmt: skip
    proto = Proto(list(body))
    house.run(house.site.__rsgi__(scope, proto))
    return proto


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {"accept": JSON},
        {"accept": JSON, "accept-encoding": "gzip"},
        {"if-none-match": "*"},
        {"range": "bytes=0-9"},
        {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ],
)
def test_both_interfaces_say_the_same(house: House, headers: dict[str, str], method: str) -> None:
    path = file_url(house, "demo")
    targets = [
        "/",
        "/simple/",
        "/simple/demo/",
        "/simple/demo/?format=json",
        "/simple/Demo",
        "/simple/absent/",
    ]
    targets += ["/packages/", "/pypi/demo/json", path, f"{path}.metadata", "/simple/\ufffd/"]
    for target in targets:
        house.site.pages.shelf.clear()
        for _ in "made", "found":
            ours = ask(house, target, headers, method).answer
            theirs = house.run(house.ask(target, list(headers.items()), method=method))[0]
            assert ours.status == theirs.status, target
            assert ours.headers == theirs.headers, target
            assert ours.body == theirs.body, target


def test_a_body_is_read_before_the_refusal(house: House) -> None:
    for headers, version in (
        ({"content-length": "6"}, "1.1"),
        ({"transfer-encoding": "chunked"}, "1.1"),
        ({}, "2"),
    ):
        proto = ask(house, "/legacy/", headers, "POST", (b"abc", b"def"), version)
        assert proto.answer.status == 403


def test_a_long_file_is_streamed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_url(house, "demo")
    whole = house.get(path).body
    monkeypatch.setattr("pidex.web.files.BLOCK_BYTES", 100)
    proto = ask(house, path, {})
    assert proto.streamed
    assert proto.answer.body == whole


@pytest.mark.parametrize(
    ("text", "address"),
    [("1.2.3.4:5", ("1.2.3.4", 5)), ("[::1]:5", ("::1", 5)), ("", None), ("/a/b.sock", None)],
)
def test_addresses_are_read(text: str, address: Any) -> None:
    assert rsgi.address(text) == address
