"""Changes to what is there: yanks, deletions, what is brought back, status, owners, and what is dropped."""

from __future__ import annotations

from pidex.curator.advising import Advising
from pidex.curator.desk import Rights
from pidex.curator.marks import Marks
from pidex.curator.owners import Owners
from pidex.curator.removals import Removals
from pidex.curator.returns import Returns
from pidex.curator.ruling import Ruling

__all__ = ["Curator", "Rights"]


class Curator(Marks, Removals, Returns, Owners, Ruling, Advising):
    """Changes what an index says of its projects. Safe to use from threads and in several processes.

    Every change is one transaction, with its one row in the audit and its rows in the journal; a change that
    changes nothing writes nothing. All methods take who asks: `Unauthenticated` for strangers without the
    right, `NotFound` for what the caller may not know of or what is not there, `Forbidden` for what the
    caller may see and not change.
    """
