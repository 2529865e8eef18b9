"""`pidex verify`: compare all that is kept, and mend what can be mended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from pidex.cli.options import settings_options
from pidex.cli.progress import progress
from pidex.config import Settings, data_dir, environment, load
from pidex.core.errors import Conflict
from pidex.core.model import OPERATOR

if TYPE_CHECKING:
    from pidex.app import Pidex
    from pidex.verify import Difference, Healer, Report, Verifier

#: Differences that are named; --json names all.
NAMED = 50
_MB = 1_000_000


@click.command("verify")
@settings_options("folders", "config", "data", "check", "sandbox_children", "inspect_timeout")
@click.option("--deep", is_flag=True, help="Hash every file again, from the disk.")
@click.option(
    "--rate", type=click.FloatRange(min=0), default=0.0, metavar="MB/S",
    help="Read no faster than this with --deep. 0: as fast as the disk gives.",
)  # fmt: skip
@click.option("--repair", is_flag=True, help="Make derived rows again; put damaged bytes aside.")
@click.option("--accept", is_flag=True, help="Take the tables of decisions for right as they are now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(deep: bool, rate: float, repair: bool, accept: bool, as_json: bool, **flags: Any) -> int:
    """Compare rows, files, hashes, what is derived, the journal and the audit; exit code 3 on a difference.

    It reads, also beside a running server. --repair needs the data directory alone: it reads files again
    whose rows are wrong, moves damaged bytes into the data directory's quarantine (nothing is deleted), and
    brings sound ones back where there are any. What other nodes of a cluster are publishing is left to them.
    What people decided is never made up: for that there are backups, and --accept, once you have looked.
    """
    from pidex.verify import Pace

    settings = load(flags, environment())
    with _opened(settings, alone=repair or accept) as (pidex, serving):
        verifier, healer = parts(pidex)
        if accept:
            healer.accept(by=OPERATOR)
        with progress("Hashing files", "{} of {} bytes hashed.") as step:
            report = verifier.verify(deep=deep, pace=Pace(rate * _MB), progress=step, by=OPERATOR)
        if serving:
            report = verifier.confirmed(report, by=OPERATOR)
        if repair and report.differences:
            report = mended(pidex, verifier, healer, report)
    if as_json:
        click.echo(json.dumps({**asdict(report), "sound": not report.open}, indent=2, default=str))
    else:
        for line in lines(report, repair=repair):
            click.echo(line)
    return 3 if report.open else 0


def parts(pidex: Pidex) -> tuple[Verifier, Healer]:
    """What verifies, and what mends."""
    from pidex.app import upkeep

    return upkeep.verifier(pidex), upkeep.healer(pidex, fetch=True)


def mended(pidex: Pidex, verifier: Verifier, healer: Healer, report: Report) -> Report:
    """Mend what can be mended, and look again."""
    from pidex.app import nodes
    from pidex.catalogue import indexes
    from pidex.verify import Repair

    said: list[str] = []
    kinds = {each.repair for each in report.differences}
    if Repair.START in kinds:
        nodes.settle(pidex)
        said.append("What was cut off is finished or undone.")
    bytes_ = (Repair.BYTES, Repair.MIRROR)
    said += [healer.heal(each, by=OPERATOR) for each in report.differences if each.repair in bytes_]
    said += healer.forget([*report.differences], by=OPERATOR)
    with pidex.catalogue.read() as conn:
        watched = [each.name for each in indexes.list(conn) if each.watched]
    for name in watched if kinds - {Repair.NONE, Repair.MIRROR} else ():
        with progress("Reading files", "Read {} of {} files.") as step:
            pidex.reconciler(name).scan(step)
    healer.seal({each.subject for each in report.differences if each.repair is Repair.SCAN})
    left = verifier.verify(by=OPERATOR).differences
    return replace(report, repaired=tuple(said), left=left, mended=True)


@contextmanager
def _opened(settings: Settings, *, alone: bool) -> Iterator[tuple[Pidex, bool]]:
    """The parts over the data directory, and whether a server has it."""
    from pidex import logs
    from pidex.app import build
    from pidex.processes import DataLock

    logs.configure(None, form="none", level="error")
    data = data_dir(settings, environment(), create=True, warn=lambda text: click.echo(text, err=True))
    lock = DataLock(data)
    serving = lock.holder() is not None
    if serving and alone:
        raise Conflict("A server is running, and repairing needs the data directory alone. Stop it first.")
    if not serving:
        lock.acquire()
    try:
        with closing(build(settings, environment(), create=not serving)) as pidex:
            yield pidex, serving
    finally:
        lock.release()


def lines(report: Report, *, repair: bool) -> Iterator[str]:
    """The report as people read it."""
    what = "hashed" if report.deep else "compared"
    yield f"{report.files:,} listed files ({report.bytes:,} bytes) {what}."
    if not report.differences:
        yield "Everything agrees."
        return
    yield f"Differences: {len(report.differences)}"
    yield from _named(report.differences)
    if report.mended:
        yield from (f"Repaired: {each}" for each in report.repaired)
        yield f"Left: {len(report.left)}" if report.left else "Now everything agrees."
        yield from _named(report.left)
    elif not repair and any(each.repair for each in report.differences):
        yield "Stop the server and run `pidex verify --repair` to mend what can be mended."


def _named(found: tuple[Difference, ...]) -> Iterator[str]:
    for each in found[:NAMED]:
        yield f"  {each.code}: {each.sentence}"
    if len(found) > NAMED:
        kinds = Counter(each.code for each in found[NAMED:])
        yield "  ... and " + ", ".join(f"{count} of {code}" for code, count in kinds.items())
