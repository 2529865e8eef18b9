"""Range and If-Range: what is served in part, what whole, and what not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import ranges
from pidex.core.ranges import Slice, Unsatisfiable, Whole, applies

SIZE = 1_000
ETAG = '"5a5a"'
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (None, Whole()),
        ("", Whole()),
        ("bytes=0-0", Slice(0, 1)),
        ("bytes=0-99", Slice(0, 100)),
        ("bytes=999-999", Slice(999, 1_000)),
        ("bytes=500-", Slice(500, 1_000)),
        ("bytes=0-", Slice(0, 1_000)),
        ("bytes=-1", Slice(999, 1_000)),
        ("bytes=-500", Slice(500, 1_000)),
        ("bytes=-1000", Slice(0, 1_000)),
        ("bytes=-5000", Slice(0, 1_000)),
        ("bytes=900-5000", Slice(900, 1_000)),
        ("BYTES=0-99", Slice(0, 100)),
        ("  bytes = 0 - 99 ", Slice(0, 100)),
        ("bytes=\t-\t5", Slice(995, 1_000)),
        ("bytes=,0-99, ,", Slice(0, 100)),
        ("bytes=00000000000000000000000000-099", Slice(0, 100)),
        ("bytes=0-" + "9" * 300, Slice(0, 1_000)),
        ("bytes=-" + "9" * 300, Slice(0, 1_000)),
        ("bytes=" + "9" * 300 + "-", Unsatisfiable()),
        ("bytes=1000-", Unsatisfiable()),
        ("bytes=1000-2000", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
        ("bytes=99-0", Whole()),
        ("bytes=0-99,200-299", Whole()),
        ("bytes=0-99,-1", Whole()),
        ("bytes=-", Whole()),
        ("bytes=", Whole()),
        ("bytes", Whole()),
        ("bytes=0", Whole()),
        ("bytes=a-b", Whole()),
        ("bytes=0x10-20", Whole()),
        ("bytes=+1-20", Whole()),
        ("bytes=--5", Whole()),
        ("bytes=1-2-3", Whole()),
        ("bytes=1.0-2", Whole()),
        ("bytes=٣-٥", Whole()),
        ("bytes=1_0-20", Whole()),
        ("bytes=0-99\n", Whole()),
        ("items=0-99", Whole()),
        ("=0-99", Whole()),
        ("bytes=0-99" + " " * 1_000, Whole()),
        ("bytes=" + "0-," * 33_000, Whole()),
    ],
)
def test_parse(header: str | None, answer: Whole | Slice | Unsatisfiable) -> None:
    assert ranges.parse(header, SIZE) == answer


@pytest.mark.parametrize(
    ("header", "answer"),
    [("bytes=0-", Unsatisfiable()), ("bytes=-5", Whole()), ("bytes=-0", Unsatisfiable()), (None, Whole())],
)
def test_parse_of_an_empty_file(header: str | None, answer: Whole | Slice | Unsatisfiable) -> None:
    assert ranges.parse(header, 0) == answer


def test_headers_of_the_answer() -> None:
    assert Slice(0, 1).content_range(SIZE) == "bytes 0-0/1000"
    assert Slice(500, 1_000).content_range(SIZE) == "bytes 500-999/1000"
    assert Slice(500, 1_000).length == 500
    assert Unsatisfiable().content_range(SIZE) == "bytes */1000"


@given(
    st.lists(st.sampled_from(["bytes", "=", "-", "0", "7", "99", ",", " ", "\t", "x", "٣"]), max_size=12),
    st.integers(0, 200),
)
def test_a_slice_is_never_empty_and_never_outside(parts: list[str], size: int) -> None:
    answer = ranges.parse("bytes=" + "".join(parts), size)
    if isinstance(answer, Slice):
        assert 0 <= answer.start < answer.end <= size
    assert isinstance(ranges.parse("".join(parts), size), (Whole, Slice, Unsatisfiable))


@given(st.text(max_size=60), st.integers(0, 2**63))
def test_no_text_raises(text: str, size: int) -> None:
    assert isinstance(ranges.parse(text, size), (Whole, Slice, Unsatisfiable))
    assert applies(text, ETAG, DATE) == (text.strip(" \t") in (ETAG, DATE))


@given(st.binary(min_size=1, max_size=50), st.integers(0, 60), st.integers(0, 60))
def test_slices_are_the_bytes_that_were_asked_for(data: bytes, first: int, more: int) -> None:
    closed = ranges.parse(f"bytes={first}-{first + more}", len(data))
    suffix = ranges.parse(f"bytes=-{first}", len(data))
    if first < len(data):
        assert isinstance(closed, Slice)
        assert data[closed.start : closed.end] == data[first : first + more + 1]
    else:
        assert closed == Unsatisfiable()
    if first:
        assert isinstance(suffix, Slice)
        assert data[suffix.start : suffix.end] == data[-first:]


@pytest.mark.parametrize(
    ("if_range", "answer"),
    [
        (None, True),
        (ETAG, True),
        (f" {ETAG} ", True),
        (DATE, True),
        ('"other"', False),
        (f"W/{ETAG}", False),
        ("5a5a", False),
        ("*", False),
        ("", False),
        (f'{ETAG}, "x"', False),
        ("Tue, 14 Nov 2023 22:13:21 GMT", False),
        ("Tue Nov 14 22:13:20 2023", False),
    ],
)
def test_if_range(if_range: str | None, answer: bool) -> None:
    assert applies(if_range, ETAG, DATE) is answer


def test_a_weak_etag_of_ours_never_lets_a_range_apply() -> None:
    assert not applies(f"W/{ETAG}", f"W/{ETAG}", None)
    assert not applies(DATE, ETAG, None)
