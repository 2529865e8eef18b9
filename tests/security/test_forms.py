"""T16: forms as the advisories of other readers describe them are read or refused at a bounded price."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from pidex.core.errors import PidexError
from pidex.core.multipart import MultipartParser, boundary

#: Seconds of processor time and bytes of memory that a form may cost, and the bytes in which it comes.
SECONDS, MEMORY, PIECE = 1.0, 20 << 20, 64 << 10
MIB = 1 << 20
FIELD = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
END = b"\r\n--x--\r\n"


def again(piece: bytes, size: int = 16 * MIB) -> bytes:
    """A piece repeated to a size in bytes."""
    return piece * (size // len(piece))


FORMS: dict[str, Callable[[], bytes]] = {
    "a preamble without end": lambda: again(b"z"),
    "a preamble of line ends": lambda: again(b"\r\n"),
    "a preamble of all but the boundary": lambda: again(b"\r\n--y"),
    "line ends before a boundary": lambda: FIELD + again(b"\r") + END,
    "line feeds in a field": lambda: FIELD + again(b"\n") + END,
    "beginnings of the boundary": lambda: FIELD + again(b"\r\n--") + END,
    "a part with headers without end": lambda: b"--x\r\n" + again(b"A: b\r\n"),
    "a header without an end": lambda: b"--x\r\nA: " + again(b"b"),
    "headers without a name": lambda: b"--x\r\n" + again(b":\r\n"),
    "folded headers": lambda: b"--x\r\nContent-Disposition: form-data;\r\n" + again(b" \r\n"),
    "parameters without end": lambda: b"--x\r\nContent-Disposition: form-data" + again(b"; a=b", 8_000),
    "semicolons without end": lambda: b"--x\r\nContent-Disposition: form-data" + again(b";", 8_000) + END,
    "quotes that never close": lambda: (
        b'--x\r\nContent-Disposition: form-data; name="' + again(b'\\"', 8_000)
    ),
    "backslashes without end": lambda: b'--x\r\nContent-Disposition: form-data; name="' + again(b"\\", 8_000),
    "parts without end": lambda: again(FIELD + b"\r\n"),
    "empty parts": lambda: again(b"--x\r\n\r\n\r\n"),
    "an epilogue without end": lambda: FIELD + END + again(b"z"),
    "boundaries after the end": lambda: FIELD + END + again(FIELD),
    "a boundary that goes on": lambda: again(b"--xx\r\n"),
    "a boundary followed by blanks": lambda: b"--x" + again(b" "),
}


def read(data: bytes, piece: int) -> Iterator[object]:
    parser = MultipartParser(b"x")
    for at in range(0, len(data), piece):
        yield from parser.feed(data[at : at + piece])
    parser.close()


@pytest.mark.parametrize("kind", FORMS)
def test_a_hostile_form_costs_little(kind: str) -> None:
    data = FORMS[kind]()
    begin = time.thread_time()
    outcome = "read"
    try:
        for _ in read(data, PIECE):
            pass
    except PidexError as error:
        outcome = str(error)
        assert len(outcome) > 15
    took = time.thread_time() - begin
    print(f"{kind}: {len(data):,} bytes, {took * 1e3:.0f} ms: {outcome}")
    assert took <= SECONDS


@pytest.mark.parametrize("kind", FORMS)
def test_a_hostile_form_is_never_held(kind: str) -> None:
    """Slower, since each allocation is followed: a part of the form is enough."""
    data = FORMS[kind]()[: 2 * MIB]
    tracemalloc.start()
    try:
        for _ in read(data, PIECE):
            pass
    except PidexError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= MIB, "what is read is bounded by the pieces in which it comes, not by the form"


@pytest.mark.parametrize(
    "text", ["; a=b" * 1_500, ";" * 8_000, '; boundary="' + "\\" * 8_000, "; boundary=" + "x" * 8_000]
)
def test_a_hostile_content_type_costs_little(text: str) -> None:
    begin = time.thread_time()
    with pytest.raises(PidexError):
        boundary("multipart/form-data" + text)
    assert time.thread_time() - begin <= SECONDS
