"""Accept, ?format=, Accept-Encoding, If-None-Match: the protocol's table, and anything else that comes."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pidex.core import negotiation
from pidex.core.negotiation import ErrorType, encoding, error_type, etag_matches, media_type, weights
from pidex.core.simpleapi import HTML, V1_HTML, V1_JSON

V = "application/vnd.pypi.simple"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PIP = f"{V}.v1+json, {V}.v1+html; q=0.1, text/html; q=0.01"
UV = f"{V}.v1+json, {V}.v1+html;q=0.2, text/html;q=0.01"
POETRY = f"{V}.v1+json, */*;q=0.1"
UV_UPLOAD = "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"

#: protocol 4.1, word by word.
TABLE: list[tuple[str | None, str | None]] = [
    (None, HTML),
    ("", HTML),
    ("*/*", HTML),
    ("text/*", HTML),
    ("text/html", HTML),
    (f"{V}.v1+html", V1_HTML),
    (f"{V}.v1+json", V1_JSON),
    (f"{V}.latest+json", V1_JSON),
    (f"{V}.latest+html", V1_HTML),
    (PIP, V1_JSON),
    (UV, V1_JSON),
    (POETRY, V1_JSON),
    (f"{V}.v1+json;q=0, text/html", HTML),
    (f"{V}.v1+json;q=0.1, text/html;q=0.5", HTML),
    (BROWSER, HTML),
    (f"{V}.v1+json, {V}.v1+html", V1_HTML),
    ("application/json", None),
    ("text/plain", None),
    ("sth/else", None),
    (f"{V}.v2+json, {V}.v1+json", V1_JSON),
    (";;q=x", None),
]
MORE: list[tuple[str | None, str | None]] = [
    ("  ", HTML),
    (f"{V.upper()}.V1+JSON", V1_JSON),
    (f"{V}.v1+json;Q=0.5, text/html;q=0.4", V1_JSON),
    (f"text/html;q=0.4 , {V}.v1+json ; q=0.5", V1_JSON),
    (f"text/html;level=1;q=0.3,{V}.v1+json;q=0.4", V1_JSON),
    ("application/*", V1_HTML),
    ("application/*;q=0.2, text/*;q=0.1", V1_HTML),
    (f"application/*;q=0.9, {V}.v1+html;q=0.1, text/html;q=0.5", V1_JSON),
    (f"*/*, {HTML};q=0, {V}.v1+html;q=0", V1_JSON),
    ("*/*;q=0", None),
    (f"{V}.v1+json;q=0", None),
    (f"{V}.v1+json;q=0, {V}.latest+json", V1_JSON),
    (f"{V}.v1+json;q=nan, text/html;q=0.1", HTML),
    (f"{V}.v1+json;q=-1, text/html;q=0.1", HTML),
    (f"{V}.v1+json;q=1e3, text/html;q=0.1", HTML),
    (f"{V}.v1+json;q=, text/html;q=0.1", HTML),
    (f"{V}.v1+json;q=2, text/html", HTML),
    (f"{V}.v1+json;q=.5, text/html;q=0.4", V1_JSON),
    (f"{V}.v1+json;q=1.000, text/html;q=0.999", V1_JSON),
    (f'text/html;a="x,{V}.v1+json;q=1";q=0.5', HTML),
    (f'text/plain;a="x, text/html, {V}.v1+json', None),
    (f'text/plain;a="\\", text/html", {V}.v1+json', V1_JSON),
    (f'{V}.v1+json;a="', V1_JSON),
    (f';,";",;"q=1,{V}.v1+json', None),
    (f'; ,";", {V}.v1+json', V1_JSON),
    (f'{V}.v1+json;a="\\', V1_JSON),
    (",,;,;q=1,", None),
    ("text/html" + ",a/b" * 500, HTML),
    ("text/html," + "x" * 20_000, None),
    ("é\x00\ud800", None),
]


@pytest.mark.parametrize(("accept", "answer"), TABLE + MORE)
def test_accept(accept: str | None, answer: str | None) -> None:
    assert media_type(accept, None) == answer


@pytest.mark.parametrize(("accept", "_"), TABLE)
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("json", V1_JSON),
        ("html", HTML),
        ("JSON", V1_JSON),
        ("v1+json", V1_JSON),
        ("v1 json", V1_JSON),
        ("v1+html", V1_HTML),
        ("v1 html", V1_HTML),
        ("text/html", HTML),
        (f"{V}.v1+json", V1_JSON),
        (f"{V}.v1 json", V1_JSON),
        (f"{V}.v1+html", V1_HTML),
        (f"{V}.v1 html", V1_HTML),
        (f"{V}.latest+json", V1_JSON),
        (f"{V}.latest html", V1_HTML),
        ("xml", None),
        ("application/json", None),
        (f"{V}.v2+json", None),
        ("*/*", None),
        ("json" * 1_000, None),
    ],
)
def test_format_wins_over_any_accept(accept: str | None, _: object, asked: str, answer: str | None) -> None:
    assert media_type(accept, asked) == answer


@pytest.mark.parametrize(("accept", "answer"), TABLE)
def test_an_empty_format_says_nothing(accept: str | None, answer: str | None) -> None:
    assert media_type(accept, "") == answer


def test_a_long_header_is_answered_and_not_remembered() -> None:
    before = negotiation._remembered_media_type.cache_info()
    long = f"{V}.v1+json" + " " * negotiation.REMEMBERED_CHARS
    assert media_type(long, None) == V1_JSON
    assert encoding("gzip" + " " * negotiation.REMEMBERED_CHARS) == "gzip"
    assert error_type("text/html" + " " * negotiation.REMEMBERED_CHARS) == "text/html"
    after = negotiation._remembered_media_type.cache_info()
    assert after.currsize == before.currsize
    assert after.maxsize == negotiation.REMEMBERED


pieces = st.sampled_from(
    [
        ",",
        ";",
        "q",
        "=",
        "0",
        "1",
        ".",
        "5",
        '"',
        "\\",
        " ",
        "\t",
        "*",
        "/",
        "text/html",
        f"{V}.v1+json",
        "gzip",
    ]
)
headers = st.lists(pieces, max_size=30).map("".join) | st.text(max_size=50)


@settings(max_examples=500)
@given(headers)
def test_nothing_raises_and_only_what_is_offered_is_answered(header: str) -> None:
    assert media_type(header, None) in (HTML, V1_HTML, V1_JSON, None)
    assert media_type(None, header) in (HTML, V1_HTML, V1_JSON, None)
    assert encoding(header) in ("zstd", "gzip", None)
    assert error_type(header) in get_args(ErrorType)
    assert etag_matches(header, '"x"') in (True, False)
    assert all(0 <= q <= 1 for q in weights(header).values())


types = st.sampled_from([HTML, V1_HTML, V1_JSON])


@given(
    st.permutations([HTML, V1_HTML, V1_JSON]),
    st.lists(st.integers(1, 1000), min_size=3, max_size=3, unique=True),
)
def test_the_highest_q_wins_in_any_order(order: list[str], thousandths: list[int]) -> None:
    header = ", ".join(f"{name};q={q / 1000}" for name, q in zip(order, thousandths, strict=True))
    assert media_type(header, None) == order[thousandths.index(max(thousandths))]


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip, deflate", "gzip"),  # pip
        ("gzip, deflate, zstd", "zstd"),  # uv
        ("gzip, deflate, br, zstd", "zstd"),  # browsers
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate, br", None),
        ("gzip;q=0.5, zstd;q=0.4", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, zstd;q=0.0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip, identity", "gzip"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", None),
        ("*;q=0", None),
        ("*", "gzip"),
        ("*, gzip;q=0", "zstd"),
        ("*;q=0.5, zstd;q=0.1", "gzip"),
        ("identity;q=0, *;q=0", None),
        ("identity;q=0, *", "gzip"),
        ("gzip;q=x", None),
        (",;q=1", None),
    ],
)
def test_encoding(header: str | None, coding: str | None) -> None:
    assert encoding(header) == coding


def test_encoding_of_what_is_available() -> None:
    assert encoding("gzip, zstd", ("gzip",)) == "gzip"
    assert encoding("zstd", ("gzip",)) is None
    assert encoding("*", ()) is None


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (None, "text/plain"),
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain", "text/plain"),
        ("text/html", "text/html"),
        (BROWSER, "text/html"),
        (PIP, "application/problem+json"),
        (UV, "application/problem+json"),
        (POETRY, "application/problem+json"),
        (UV_UPLOAD, "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/problem+json, application/json", "application/problem+json"),
        ("application/json", "application/json"),
        ("application/*", "application/problem+json"),
        (f"{V}.v1+html", "text/html"),
        (f"{V}.v1+json;q=0", "text/plain"),
        (f"{V}.v1+json;q=0.1, text/html;q=0.5", "text/html"),
        ("text/plain, text/html", "text/html"),
        ("text/plain, text/html;q=0.9", "text/plain"),
        (";;q=x", "text/plain"),
    ],
)
def test_error_type(accept: str | None, answer: str) -> None:
    assert error_type(accept) == answer


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ("*", True),
        (" * ", True),
        ('"x", "abc"', True),
        ('"x",W/"abc" , "y"', True),
        ('"a,b", "abc"', True),
        ("abc", True),  # careless, and clear
        ("x, abc", True),
        ('"ab"', False),
        ('"abcd"', False),
        ('"ABC"', False),
        ('"x*"', False),
        ('"*"', False),
        ("", False),
        ('"', False),
        ('"abc', False),
        ('"x", ' * 5_000 + '"abc"', False),  # longer than a header may be
    ],
)
def test_etag(header: str, matches: bool) -> None:
    assert etag_matches(header, '"abc"') is matches


def test_a_weak_etag_of_ours_matches_weakly() -> None:
    assert etag_matches('"abc"', 'W/"abc"')
    assert etag_matches('W/"abc"', 'W/"abc"')
