"""A client that stops in the middle of a body: every way in gives up, says so, and keeps nothing (T17)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pidex.web import call
from tests import samples
from tests.web.driver import House
from tests.web.test_upload import MULTIPART

#: way in -> (method, path, kind of body, its beginning)
WAYS = {
    "upload": ("POST", "/legacy/", MULTIPART, b"--"),
    "form of an old client": ("POST", "/legacy/", "application/x-www-form-urlencoded", b":action=sub"),
    "XML-RPC": ("POST", "/pypi", "text/xml", b"<?xml version='1.0'?><methodCall>"),
    "API": ("PUT", "/-/api/v1/indexes/main/projects/demo/status", "application/json", b"{"),
    "page": ("POST", "/-/login", "application/x-www-form-urlencoded", b"user=ann"),
    "upload by a page": ("POST", "/-/upload", MULTIPART, b"--"),
}


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One that everybody may do anything in."""
    with House(tmp_path_factory.mktemp("open"), samples.wheel("demo", "1.0"), guard="") as built:
        yield built


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_stops_is_given_up(open_house: House, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(call, "DRAIN_SECONDS", 0.05)
    method, path, kind, body = WAYS[way]
    answer = open_house.run(
        open_house.ask(path, [("content-type", kind)], method=method, body=body, stalls=True)
    )[0]
    assert answer.status == 408, answer.body
    assert b"Nothing was sent for" in answer.body
