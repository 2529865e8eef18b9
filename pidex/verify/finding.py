"""What verifying finds: one difference, where it is, and what repairing can do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Repair(StrEnum):
    """What `--repair` does about a difference."""

    NONE = ""  # a person has to decide: a backup, or `--accept`
    READ = "read"  # the places of the file name are read again
    CONTENTS = "contents"  # so are the bytes of a hash
    PROJECT = "project"  # the line of the project list is made again
    MIRROR = "mirror"  # damaged bytes of an upstream are dropped, and fetched again
    BYTES = "bytes"  # damaged bytes are put aside, and sound ones brought back
    SCAN = "scan"  # the next scan makes the rows again
    START = "start"  # what was cut off is finished or undone, as each start does


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `code` is stable; `subject` is a path, a hash, a project or a table."""

    code: str
    subject: str
    sentence: str
    repair: Repair = Repair.NONE
    index: str = ""
    root: int = 0
    path: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared, and what was found. `repaired` are sentences; `left` is what is still to be done."""

    deep: bool
    files: int
    bytes: int
    differences: tuple[Difference, ...]
    repaired: tuple[str, ...] = ()
    left: tuple[Difference, ...] = ()
    mended: bool = False

    @property
    def open(self) -> tuple[Difference, ...]:
        """What is not as it should be, after mending where there was any."""
        return self.left if self.mended else self.differences


Differences = Iterator[Difference]
