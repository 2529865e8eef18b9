"""`pidex mirror`: what is held of upstreams: fetched ahead, listed, counted and dropped."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pidex.cli import tables
from pidex.cli.indexes import place
from pidex.cli.marks import HELP, shown
from pidex.cli.options import settings
from pidex.cli.progress import progress
from pidex.cli.users import as_json_option
from pidex.config import environment
from pidex.core.errors import BadRequest, NotFound, PidexError
from pidex.core.model import DEFAULT_INDEX, OPERATOR, File
from pidex.core.names import normalize

if TYPE_CHECKING:
    from pidex.app import Pidex
    from pidex.core.closure import Closure

#: Files that are fetched at the same time.
AT_ONCE = 8
#: Characters of a requirements file.
REQUIREMENTS_CHARACTERS = 1024 * 1024


@click.group("mirror", context_settings=HELP)
def command() -> None:
    """What is held of upstreams, beside the files that are yours."""


@command.command("add", context_settings=HELP)
@click.argument("requirements", nargs=-1)
@click.option("-r", "files", multiple=True, type=click.Path(), help="Read them here.")
@click.option(
    "--python", "pythons", metavar="X.Y,...", help="For these Pythons. Default: the one that runs this."
)
@click.option(
    "--platform", "platforms", metavar="NAME,...", help="linux_x86_64, macosx_arm64, win_amd64, ..."
)
@click.option(
    "--latest", type=click.IntRange(1, 100), default=1, help="Releases of each project. Default: 1."
)
@click.option("--index", default=DEFAULT_INDEX, help="By the rules of this index.")
@place
@as_json_option
def add(requirements: tuple[str, ...], files: tuple[str, ...], *, pythons: str | None, platforms: str | None,
        latest: int, index: str, as_json: bool, **flags: Any) -> int:  # fmt: skip
    """Fetch ahead what REQUIREMENTS need, with all that needs in turn, for use without a network."""
    from pidex.core.closure import Closure, target_of

    targets = [
        target_of(python, name)
        for python in _words(pythons) or [f"3.{sys.version_info.minor}"]
        for name in _words(platforms) or [f"linux_{platform.machine().lower()}"]
    ]
    closure = Closure(targets, latest)
    lines = [*requirements, *(line for path in files for line in _lines(Path(path)))]
    if not lines:
        raise click.UsageError("Name requirements, or a file of them with -r.")
    for line in lines:
        closure.require(line)
    with _opened(flags) as pidex:
        told = pidex.mirror.run(lambda: _Fetching(pidex, index).run(closure))
    if as_json:
        shown(told)
    else:
        for text in told["failed"]:
            click.echo(f"not fetched: {tables.cell(text)}", err=True)
        for text in told["unmet"]:
            click.echo(f"nothing meets {tables.cell(text)}", err=True)
        click.echo(
            f"{told['files']:,} files of {told['projects']:,} projects are here, {told['bytes']:,} bytes."
        )
    return 1 if told["failed"] or told["unmet"] else 0


class _Fetching:
    """Fetches a closed set through an index: not what is ours, nor what rules keep back."""

    def __init__(self, pidex: Pidex, index: str) -> None:
        self._pidex, self._index, self._mirror = pidex, index, pidex.mirror
        self._failed: dict[str, None] = {}

    async def run(self, closure: Closure) -> Mapping[str, Any]:
        with progress("Resolving", "{} of {} projects") as step:
            done = 0
            while (project := closure.todo()) is not None:
                await self._project(closure, project)
                done += 1
                step(min(done, len(closure)), len(closure))
        chosen = [file for file in closure.files.values() if file.origin]
        with progress("Fetching", "{} of {} files") as step:
            free, done = asyncio.Semaphore(AT_ONCE), 0

            async def one(file: File) -> int:
                nonlocal done
                async with free:
                    size = await self._file(file)
                done += 1
                step(done, len(chosen))
                return size

            sizes = await asyncio.gather(*map(one, chosen))
        return {
            "projects": len(closure), "files": sum(size >= 0 for size in sizes),
            "bytes": sum(size for size in sizes if size > 0),
            "failed": sorted(self._failed), "unmet": sorted(closure.unmet),
        }  # fmt: skip

    async def _project(self, closure: Closure, project: str) -> None:
        from pidex.core import metadata

        resolver = self._pidex.resolver
        try:
            page = await self._mirror.resolved(lambda: resolver.page(self._index, project, by=OPERATOR))
        except PidexError as error:
            self._failed[f"{project}: {error}"] = None
            closure.skip(project)
            return
        wheels = closure.choose(project, page.files)

        async def told(file: File) -> tuple[File, Sequence[str]]:
            try:
                data = await self._mirror.resolved(lambda: resolver.metadata(self._index, file, by=OPERATOR))
            except NotFound:
                return file, ()  # a source distribution: what it needs is known when it is built
            except PidexError as error:
                self._failed[f"the metadata of {file.filename}: {error}"] = None
                return file, ()
            return file, metadata.parse(data).requires_dist

        for file, requires in await asyncio.gather(*map(told, wheels)):
            closure.learn(file, requires)

    async def _file(self, file: File) -> int:
        """The size of a file that is here now; -1 where it cannot be had."""
        try:
            opened = await self._mirror.files.fetch(file)
        except PidexError as error:
            self._failed[f"{file.filename}: {error}"] = None
            return -1
        opened.close()
        return opened.size


@command.command("list", context_settings=HELP)
@place
@as_json_option
def list_(as_json: bool, **flags: Any) -> None:
    """Show the files that are held, those unused for longest first."""
    with _opened(flags) as pidex:
        rows = [
            {"file": row.filename or row.sha256, "bytes": row.size, "from": row.upstream, "used": row.used}
            for row in pidex.mirror.list_files()
        ]
    if as_json:
        shown(rows)
        return
    lines = [{**row, "used": tables.day(int(row["used"] * 1_000_000))} for row in rows]  # type: ignore[operator]
    columns = {"FILE": "file", "BYTES": "bytes", "FROM": "from", "LAST USED": "used"}
    for line in tables.lines(lines, columns, "No file of an upstream is held."):
        click.echo(line)


@command.command("remove", context_settings=HELP)
@click.argument("project")
@place
def remove(project: str, **flags: Any) -> None:
    """Drop what is held of PROJECT: pages and files. What is asked for again is fetched again."""
    name = normalize(project)
    with _opened(flags) as pidex:
        files, pages = pidex.mirror.forget(name)
    click.echo(f"Dropped {files:,} files and {pages:,} pages of {name}.")


@command.command("status", context_settings=HELP)
@place
@as_json_option
def status(as_json: bool, **flags: Any) -> None:
    """Count what is held, and show files that were not what their upstream declared."""
    with _opened(flags) as pidex:
        totals, wrong = pidex.mirror.totals(), pidex.mirror.files.wrong()
        lists = pidex.mirror.store.lists()
    if as_json:
        names = {row.upstream: row.names for row in lists}
        shown({**totals._asdict(), "wrong": [dict(note) for note in wrong], "names": names})
        return
    click.echo(f"{totals.pages:,} pages, {totals.metadata:,} metadata, {totals.files:,} files.")
    click.echo(f"The files have {totals.bytes:,} bytes.")
    for row in lists:
        click.echo(f"Upstream {row.upstream}: a list of {row.names:,} names.")
    for note in wrong:
        click.echo(
            f"put away: {tables.cell(str(note.get('filename')))}: {tables.cell(str(note.get('reason')))}"
        )


@contextmanager
def _opened(flags: dict[str, Any]) -> Iterator[Pidex]:
    """The parts over the data directory. What is held may be used by a server at the same time."""
    from pidex import logs
    from pidex.app import build

    logs.configure(None, form="none", level="error")
    with closing(build(settings(flags), environment())) as pidex:
        yield pidex


def _words(text: str | None) -> Sequence[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _lines(path: Path) -> Iterator[str]:
    """The requirements of a file: without comments, hashes and options."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(REQUIREMENTS_CHARACTERS + 1).replace("\\\n", " ")
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}.") from None
    if len(text) > REQUIREMENTS_CHARACTERS:
        raise BadRequest(f"{path} is longer than {REQUIREMENTS_CHARACTERS:,} characters.")
    for line in text.splitlines():
        stripped = line.partition(" #")[0].partition(" --hash")[0].strip()
        if stripped.startswith(("-r ", "--requirement", "-c ", "--constraint", "-e ")):
            raise BadRequest(f"{path}: {stripped[:60]!r} is not followed: name that file with -r, too.")
        if stripped and not stripped.startswith(("#", "-")):
            yield stripped
