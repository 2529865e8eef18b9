"""Indexes, their upstreams, whose names are whose, and releases that go from one index to another."""

from __future__ import annotations

from pidex.indexing.claims import Claims
from pidex.indexing.indexes import Indexes
from pidex.indexing.promotion import Promotion
from pidex.indexing.upstreams import Upstreams

__all__ = ["Indexing"]


class Indexing(Indexes, Upstreams, Claims, Promotion):
    """Changes to what indexes there are and what they answer for. Safe to use from threads and processes.

    Every change is one transaction, with its one row in the audit; a change that changes nothing writes
    nothing. All methods take who asks: `Unauthenticated` for strangers without the right, `NotFound` for what
    the caller may not know of or what is not there, `Forbidden` for what the caller may see and not change.
    """
