"""Multipart bodies: any chunking gives the same parts, hostile bodies give sentences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pidex.core.errors import BadRequest, PidexError, TooLarge
from pidex.core.multipart import MultipartLimits, MultipartParser, PartData, PartEnd, PartStart, boundary


def body(parts: list[tuple[str, str | None, bytes]], mark: bytes = b"mark", preamble: bytes = b"") -> bytes:
    out = preamble
    for name, filename, data in parts:
        extra = f'; filename="{filename}"' if filename is not None else ""
        out += (
            b"--" + mark + b"\r\n" + f'Content-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode()
        )
        out += data + b"\r\n"
    return out + b"--" + mark + b"--\r\n"


def parse(data: bytes, chunk: int, mark: bytes = b"mark", limits: MultipartLimits | None = None):
    parser = MultipartParser(mark, limits)
    found: list[tuple[str, str | None, bytes]] = []
    current: list[bytes] = []
    start: PartStart | None = None
    for at in range(0, len(data), chunk):
        for event in parser.feed(data[at : at + chunk]):
            match event:
                case PartStart():
                    start, current = event, []
                case PartData(data=piece):
                    assert piece
                    current.append(piece)
                case PartEnd():
                    assert start is not None
                    found.append((start.name, start.filename, b"".join(current)))
    parser.close()
    return found


PARTS = [
    ("name", None, b"demo"),
    ("empty", None, b""),
    ("content", "demo-1.0.tar.gz", b"\r\n--mar\r\r\n-\x00" * 9),
]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7, 64, 1_000_000])
def test_any_chunking_gives_the_same_parts(chunk: int) -> None:
    assert parse(body(PARTS), chunk) == PARTS


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["name", "version", "content"]),
            st.sampled_from([None, "f-1.zip"]),
            st.binary(max_size=60),
        ),
        max_size=6,
    ),
    st.integers(1, 40),
    st.sampled_from([b"", b"preamble\r\n"]),
)
def test_round_trip(parts: list[tuple[str, str | None, bytes]], chunk: int, preamble: bytes) -> None:
    mark = b"a-boundary-that-sixty-random-bytes-do-not-hold"
    assert parse(body(parts, mark, preamble), chunk, mark) == parts


@settings(max_examples=300)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_give_parts_or_a_sentence(data: bytes, chunk: int) -> None:
    try:
        parse(data.replace(b"@", b"\r\n--mark").replace(b"~", b"\r\n\r\n"), chunk)
    except PidexError as error:
        sentence = str(error)
    else:
        return
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", BadRequest, "closing boundary"),
        (b"x" * 9000, BadRequest, "does not begin"),
        (b"--mark\r\nContent-Disposition: form-data; name=a\r\n\r\nno end", BadRequest, "closing boundary"),
        (b"--mark\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--mark--", BadRequest, "form-data"),
        (b"--mark\r\nContent-Disposition: form-data\r\n\r\n\r\n--mark--", BadRequest, "no name"),
        (b"--mark\r\nno colon\r\n\r\n\r\n--mark--", BadRequest, "malformed"),
        (b"--mark\r\n\xff: x\r\n\r\n\r\n--mark--", BadRequest, "UTF-8"),
        (b"--mark" + b"x" * 200, BadRequest, "followed by"),
        (b"--markx\r\n\r\n", BadRequest, "followed by"),
        (b"--mark\r\n" + b"A: " + b"x" * 9000 + b"\r\n\r\n", TooLarge, "headers"),
        (
            b'--mark\r\nContent-Disposition: form-data; name="' + b"n" * 300 + b'"\r\n\r\n',
            BadRequest,
            "longer",
        ),
        (
            b"--mark\r\nContent-Disposition: form-data; name=a; filename*=utf-8''%E4.zip\r\n\r\n",
            BadRequest,
            "ASCII",
        ),
        (body([("a", None, b"")] * 1201), TooLarge, "1200 fields"),
    ],
)
def test_refusals(data: bytes, error: type[PidexError], words: str) -> None:
    for chunk in (1, 7, 10_000):
        with pytest.raises(error, match=words):
            parse(data, chunk)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b=c"', b"a b=c"),
        (
            "multipart/form-data; boundary=--------------GHSKFJDLGDS7543FJKLFHRE75642756743254",
            b"-" * 14 + b"GHSKFJDLGDS7543FJKLFHRE75642756743254",
        ),
    ],
)
def test_boundary(header: str, expected: bytes) -> None:
    assert boundary(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="a\r\nb"',
        "multipart/form-data; boundary=é",
        "multipart/form-data;;;=;",
    ],
)
def test_bad_boundary(header: str | None) -> None:
    with pytest.raises(BadRequest):
        boundary(header)


def test_quoted_names_and_escapes() -> None:
    data = (
        b'--mark\r\ncontent-disposition: form-data; name="a\\"b"; filename="c%22.whl"\r\n'
        b"Content-Type: x/y\r\n\r\n1\r\n--mark--"
    )
    parser = MultipartParser(b"mark")
    events = list(parser.feed(data))
    assert events == [PartStart('a"b', "c%22.whl", "x/y"), PartData(b"1"), PartEnd()]
    assert parser.ended
