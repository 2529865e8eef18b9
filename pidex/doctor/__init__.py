"""Checks of a set-up: folders, data directory, catalogue, limits, certificates and whether we are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pidex.core.errors import PidexError
from pidex.core.sentences import said
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
    (said("folders"), machine.folders),
    (said("nesting"), machine.nesting),
    (said("data directory"), machine.data_directory),
    (said("file systems"), machine.file_systems),
    (said("hard links"), machine.hard_links),
    (said("space"), machine.space),
    (said("fsync"), machine.fsync),
    (said("clock"), machine.clocks),
    (said("watches"), machine.watches),
    (said("open files"), machine.open_files),
    (said("sqlite"), contents.sqlite),
    (said("catalogue"), contents.catalogue),
    (said("snapshots"), contents.snapshot),
    (said("files"), contents.files),
    (said("bucket"), bucket.bucket),
    (said("mirror"), contents.mirror),
    (said("passwords"), contents.passwords),
    (said("certificate"), reach.certificate),
    (said("port"), reach.port),
    (said("public URL"), reach.public_url),
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
            remedy = said("Run `pidex doctor` as the user that the server runs as.")
            yield Check(name, "fail", said("This could not be checked: %(error)s.", error=error), remedy)
