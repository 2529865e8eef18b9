"""Answers of upstreams before they are read: which form they have, in which letters, and what is none."""

from __future__ import annotations

import pytest

from pidex.core import answers
from pidex.core.answers import Body
from pidex.core.errors import UpstreamFault

ACCENT = "\N{LATIN SMALL LETTER E WITH ACUTE}"
ANCHOR = f"<a href='x'>d{ACCENT}mo</a>"


def body(data: bytes, content_type: str = "text/html") -> Body:
    return Body("http://up.example/simple/demo/", content_type, data)


@pytest.mark.parametrize(("data", "said", "json"), [
    (b"{}", "text/html", True),
    (b"\xef\xbb\xbf [1]", "text/plain", True),
    ('{"a": 1}'.encode("utf-16"), "", True),
    (b"<html>", "application/json", False),
    (b"plain", "application/vnd.pypi.simple.v1+JSON", True),
    (b"plain", "text/html", False),
    (b"", "", False),
])  # fmt: skip
def test_the_first_character_says_the_form(data: bytes, said: str, json: bool) -> None:
    assert answers.is_json(body(data, said)) is json


@pytest.mark.parametrize("data", [b'{"a": 1}', b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'.encode("utf-16")])
def test_json_is_read_in_whatever_letters(data: bytes) -> None:
    assert answers.json_bytes(body(data)) == b'{"a": 1}'


@pytest.mark.parametrize(("data", "said"), [
    (ANCHOR.encode(), "text/html"),
    (ANCHOR.encode(), "text/html; charset=utf-8"),
    (ANCHOR.encode(), "text/html; charset=no-such-letters"),
    (ANCHOR.encode(), "text/html; charset=rot13"),
    (b"\xef\xbb\xbf" + ANCHOR.encode(), "text/html"),
    (ANCHOR.encode("latin-1"), "text/html; charset=ISO-8859-1"),
    (f"<meta charset='windows-1252'>{ANCHOR}".encode("cp1252"), "text/html"),
    (ANCHOR.encode("utf-16"), "text/html"),
])  # fmt: skip
def test_html_is_read_in_the_letters_that_it_has(data: bytes, said: str) -> None:
    [anchor] = answers.document(body(data, said)).anchors
    assert (anchor.href, anchor.text) == ("x", f"d{ACCENT}mo")


@pytest.mark.parametrize(("data", "words"), [
    (b"", "is empty"),
    (b" \r\n\t", "is empty"),
    (b"no markup", "neither HTML nor JSON"),
    (b"<\0binary", "neither HTML nor JSON"),
])  # fmt: skip
def test_what_is_no_page_is_the_upstreams_fault(data: bytes, words: str) -> None:
    with pytest.raises(UpstreamFault, match=words):
        answers.document(body(data))


def test_links_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_LINKS", 3)
    with pytest.raises(UpstreamFault, match=r"up\.example"):
        answers.document(body(ANCHOR.encode() * 4))
