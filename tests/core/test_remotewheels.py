"""The METADATA of a wheel elsewhere, by ranges: few of them, each checked, and never without end."""

from __future__ import annotations

import random

import pytest

from pidex.core import remotewheels
from pidex.core.errors import PidexError, UpstreamFault
from pidex.core.remotewheels import MAX_RANGES, STEP, TAIL, reading
from tests import samples

PAYLOAD = random.Random(1).randbytes(700_000)
METADATA = samples.core_metadata("demo", "1.0", summary="Far away")


def asked(filename: str, data: bytes, tail: int = TAIL) -> tuple[bytes, list[tuple[int, int]]]:
    """The METADATA, and the ranges that were asked for after the tail."""
    reads = reading(filename, len(data), data[-tail:])
    ranges = []
    try:
        wanted = next(reads)
        while True:
            ranges.append(wanted)
            offset, length = wanted
            wanted = reads.send(data[offset : offset + length])
    except StopIteration as end:
        return end.value, ranges


def test_a_wheel_whose_metadata_is_in_its_end_needs_no_more() -> None:
    filename, data = samples.wheel("demo", "1.0", files={"demo.bin": PAYLOAD}, metadata=METADATA)
    found, ranges = asked(filename, data)
    assert found == METADATA
    assert ranges == []


@pytest.mark.parametrize("tail", [10, 30, 200, 2_000])
def test_what_is_missing_is_asked_for(tail: int) -> None:
    filename, data = samples.wheel("demo", "1.0", files={"demo.bin": PAYLOAD}, metadata=METADATA)
    found, ranges = asked(filename, data, tail)
    assert found == METADATA
    assert 0 < len(ranges) <= MAX_RANGES
    assert all(offset >= 0 and offset + length <= len(data) for offset, length in ranges)
    assert sum(length for _, length in ranges) < len(data) / 2


def test_metadata_at_the_beginning_is_one_more_range() -> None:
    data = samples.zipped([
        ("demo-1.0.dist-info/METADATA", METADATA),
        ("demo.bin", PAYLOAD),
        ("demo-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\n"),
        ("demo-1.0.dist-info/RECORD", b""),
    ])  # fmt: skip
    found, ranges = asked("demo-1.0-py3-none-any.whl", data)
    assert found == METADATA
    assert len(ranges) <= 2
    assert ranges[0][0] < STEP


def test_a_piece_that_is_cut_is_the_upstreams_fault() -> None:
    filename, data = samples.wheel("demo", "1.0", files={"demo.bin": PAYLOAD}, metadata=METADATA)
    reads = reading(filename, len(data), data[-10:])
    offset, length = next(reads)
    with pytest.raises(UpstreamFault, match="sent"):
        reads.send(data[offset : offset + length - 1])


def test_other_bytes_than_a_wheels_are_refused() -> None:
    with pytest.raises(PidexError):
        asked("demo-1.0-py3-none-any.whl", b"no zip at all" * 100, 200)


def test_ranges_and_their_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    filename, data = samples.wheel("demo", "1.0", files={"demo.bin": PAYLOAD}, metadata=METADATA)
    monkeypatch.setattr(remotewheels, "MAX_BYTES", 10)
    with pytest.raises(UpstreamFault, match="too many places"):
        asked(filename, data, 10)
