"""Checks of a set-up: folders, data directory, catalogue, limits, certificates and whether we are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pidex.core.errors import PidexError
from pidex.doctor import bucket, contents, machine, reach
from pidex.doctor.finding import Clock, Findings, Target

__all__ = ["Check", "Target", "examine"]


class Check(NamedTuple):
    """One finding of one check. `state` is 'ok', 'warn' or 'fail'; `remedy` says what to do about it."""

    name: str
    state: str
    sentence: str
    remedy: str = ""


CHECKS: tuple[tuple[str, Callable[[Target, Clock], Findings]], ...] = (
    ("folders", machine.folders),
    ("nesting", machine.nesting),
    ("data directory", machine.data_directory),
    ("file systems", machine.file_systems),
    ("hard links", machine.hard_links),
    ("space", machine.space),
    ("fsync", machine.fsync),
    ("clock", machine.clocks),
    ("watches", machine.watches),
    ("open files", machine.open_files),
    ("sqlite", contents.sqlite),
    ("catalogue", contents.catalogue),
    ("snapshots", contents.snapshot),
    ("files", contents.files),
    ("bucket", bucket.bucket),
    ("mirror", contents.mirror),
    ("passwords", contents.passwords),
    ("certificate", reach.certificate),
    ("port", reach.port),
    ("public URL", reach.public_url),
)


def examine(target: Target, *, clock: Clock) -> Iterator[Check]:
    """Every check, in order. Leaves nothing behind, and goes on where one of them cannot be made."""
    for name, check in CHECKS:
        try:
            for state, sentence, remedy in check(target, clock):
                yield Check(name, state, sentence, remedy)
        except PidexError as error:
            yield Check(name, "fail", str(error))
        except OSError as error:
            remedy = "Run `pidex doctor` as the user that the server runs as."
            yield Check(name, "fail", f"This could not be checked: {error}.", remedy)
