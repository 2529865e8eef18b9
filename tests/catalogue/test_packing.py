"""What is packed for cache.db comes back as it was, or not at all."""

from __future__ import annotations

import random
import struct

import pytest
import zstandard

from pidex.catalogue.packing import MAX_BYTES, packed, unpacked

PAGE = b'{"filename":"demo-1.0-py3-none-any.whl","size":7},' * 2_000


@pytest.mark.parametrize("body", [b"", b"x", PAGE, random.Random(1).randbytes(100_000)])
def test_what_was_packed_comes_back(body: bytes) -> None:
    small = packed(body)
    assert unpacked(small) == body
    assert packed(body) == small


def test_pages_become_small() -> None:
    assert len(packed(PAGE)) < len(PAGE) / 50


@pytest.mark.parametrize("seed", range(20))
def test_damage_is_noticed(seed: int) -> None:
    chance = random.Random(seed)
    body = bytearray(packed(PAGE + chance.randbytes(1_000)))
    body[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    assert unpacked(bytes(body)) in (None, unpacked(packed(PAGE + random.Random(seed).randbytes(1_000))))


@pytest.mark.parametrize("end", [0, 1, 4, 20, -1])
def test_a_part_is_nothing(end: int) -> None:
    assert unpacked(packed(PAGE)[:end]) is None


def test_none_other_codings_and_claims_beyond_reason_are_nothing() -> None:
    assert unpacked(None) is None
    assert unpacked(b"x\x9c\x03\x00\x00\x00\x00\x01") is None
    # A frame that says it has more than anything that is ever packed, and no byte of it.
    huge = zstandard.MAGIC_NUMBER.to_bytes(4, "little") + b"\xe0" + struct.pack("<Q", MAX_BYTES + 1)
    assert unpacked(huge) is None
