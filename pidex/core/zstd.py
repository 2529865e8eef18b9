"""Zstandard as Python itself has it, from 3.14 on."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache  # to look in vain for what is not there takes longer than to pack a page
def library() -> Any:
    """The standard library's module; None before Python 3.14, where `zstandard` does the same."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        return None
    return zstd
