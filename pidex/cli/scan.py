"""`pidex scan`: look through the folders now, and say what is listed and what is not."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pidex.catalogue import indexes, scans
from pidex.cli.marks import index_option
from pidex.cli.options import settings_options
from pidex.cli.progress import progress
from pidex.config import Settings, data_dir, environment, load
from pidex.core.errors import BadRequest, CannotStart, Conflict, NotFound
from pidex.core.model import DEFAULT_INDEX, OPERATOR, FolderReport, Place

if TYPE_CHECKING:
    from pidex.app import Pidex
    from pidex.processes import DataLock

#: Seconds between two looks whether the server has finished.
POLL_SECONDS = 0.1
#: Files of one kind that are named; --json names all.
NAMED = 50


@click.command("scan")
@settings_options("folders", "config", "data", "check", "mutability", "sandbox_children", "inspect_timeout")
@index_option
@click.option("--rebuild", is_flag=True, help="Read every file again, and make all that is derived anew.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(index: str, rebuild: bool, as_json: bool, **flags: Any) -> int:
    """Look through the folders of an index now, and say what is listed and what is not, and why.

    A running server does the looking; without one, this command does. Exit code 3 where files are refused
    or cannot be served.
    """
    environ = environment()
    settings = load(flags, environ)
    with scanned(settings, environ, index=index, rebuild=rebuild) as (pidex, report):
        projects, _ = pidex.resolver.count(index, by=OPERATOR)
        if as_json:
            click.echo(json.dumps({"projects": projects, **asdict(report)}, indent=2, default=str))
        else:
            for line in lines(report, projects, pidex.storage.roots):
                click.echo(line)
    return 3 if report.refused or report.problems else 0


@contextlib.contextmanager
def scanned(
    settings: Settings, environ: dict[str, str], *, index: str = DEFAULT_INDEX, rebuild: bool
) -> Iterator[tuple[Pidex, FolderReport]]:
    """The parts and the report after a scan, by the running server or by this process."""
    from pidex import logs
    from pidex.app import build
    from pidex.processes import DataLock

    logs.configure(None, form="none", level="error")
    data = data_dir(settings, environ, create=True, warn=lambda text: click.echo(text, err=True))
    lock = DataLock(data)
    serving = lock.holder() is not None
    if serving and rebuild:
        raise Conflict(
            "A server is running, and --rebuild needs the data directory alone. Stop the server first."
        )
    if not serving:
        lock.acquire()
    try:
        with contextlib.closing(build(settings, environ, create=not serving)) as pidex:
            _require_folders(pidex, index)
            if serving:
                yield pidex, ask(pidex, lock, index)
            else:
                with progress("Reading files", "Read {} of {} files.") as step:
                    report = pidex.reconciler(index).scan(step, rebuild=rebuild)
                yield pidex, report
    finally:
        lock.release()


def _require_folders(pidex: Pidex, index: str) -> None:
    """Raise `NotFound` or `BadRequest` for an index in whose folders there can be nothing."""
    with pidex.catalogue.read() as conn:
        found = indexes.find(conn, index)
    if found is None:
        raise NotFound(f"There is no index {index}: `pidex index list` shows those that there are.")
    if not found.watched:
        raise BadRequest(f"Index {index} has no folders of its own: there is nothing to look through.")


def ask(pidex: Pidex, lock: DataLock, name: str = DEFAULT_INDEX) -> FolderReport:
    """Have the running server scan, and wait until it has. Raises `CannotStart` where it ends meanwhile."""
    before = _finished(pidex, name)
    pidex.expendable.want(name, None)
    while _finished(pidex, name) == before:
        if lock.holder() is None:
            raise CannotStart("The server ended before it had scanned. Run `pidex scan` again.")
        time.sleep(POLL_SECONDS)
    return pidex.resolver.report(name, by=OPERATOR)


def _finished(pidex: Pidex, name: str) -> int | None:
    with pidex.catalogue.read() as conn:
        index = indexes.find(conn, name)
        return None if index is None else scans.find(conn, index.id).finished


def lines(report: FolderReport, projects: int, roots: Mapping[int, str]) -> Iterator[str]:
    """The report as people read it."""
    yield f"Listed: {_count(report.listed, 'file')} of {_count(projects, 'project')}."

    def path(place: Place) -> str:
        return f"{roots[place.root]}/{place.path}" if place.root in roots else place.path

    yield from _some(
        "Not whole yet", [f"{path(each)}: {each.reason or 'not read yet'}" for each in report.pending]
    )
    yield from _some("Refused", [f"{path(each)}: {each.reason}" for each in report.refused])
    yield from _some("Shadowed", [f"{lost}: {served} is served" for lost, served in report.shadowed])
    yield from _some("Withheld", [f"{each}: {reason}" for each, reason in report.withheld])
    yield from _some("Problems", [f"{each.path or '.'}: {each.reason}" for each in report.problems])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _some(title: str, entries: Sequence[str]) -> Iterator[str]:
    if entries:
        yield f"{title}: {len(entries)}"
        for each in entries[:NAMED]:
            yield f"  {each}"
        if len(entries) > NAMED:
            yield f"  ... and {len(entries) - NAMED} more: --json names all"
