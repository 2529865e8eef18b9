"""`pidex advisories`: known malware and vulnerabilities, taken in from OSV's files."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.indexes import place
from pidex.cli.marks import HELP, shown
from pidex.cli.options import settings
from pidex.cli.progress import progress
from pidex.cli.users import as_json_option
from pidex.core.errors import BadRequest

#: Bytes of a dump, of one record in it, and seconds without a byte from a server.
DUMP_BYTES, RECORD_BYTES, SECONDS = 4 * 1024**3, 4 * 1024 * 1024, 60.0


@click.group("advisories", context_settings=HELP)
def command() -> None:
    """Known malware and vulnerabilities of public packages, as OSV tells of them.

    Malware is kept back everywhere; what becomes of vulnerable releases the rules of an index say:
    `pidex policy set vulnerable=critical`.
    """


@command.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@place
@as_json_option
def import_(sources: tuple[str, ...], as_json: bool, **flags: Any) -> int:
    """Take records in: OSV's dump (all.zip), a folder of JSON files, one file, or a URL of these.

    Again and again: only what is new or has changed is written, and what was withdrawn is forgotten. Records
    of other ecosystems are passed over. Exit code 3 where records cannot be read.
    """
    with tempfile.TemporaryFile() as lines:
        count = 0
        for source in sources:
            with _opened(source) as path:
                count += sum(_copy(lines, record) for record in _records(path))
        if not count:
            raise BadRequest(f"There are no records in {', '.join(sources)}: OSV's are JSON files.")
        lines.seek(0)
        with progress("Taking advisories in", "Took {} of {} records in.") as step:
            args = {"records_expected": count}
            done = call(settings(flags), "curator.take_advisories", args, files=[lines], progress=step)
    if as_json:
        shown(done)
    else:
        click.echo(
            f"{done['read']:,} records: {done['changed']:,} new or changed, {done['dropped']:,} withdrawn,"
            f" {done['refused']:,} refused. {done['held']:,} are known, of {done['projects']:,} projects."
        )
        for reason in done["reasons"]:
            click.echo(reason, err=True)
    return 3 if done["refused"] else 0


@command.command("show")
@click.argument("project")
@place
@as_json_option
def show(project: str, as_json: bool, **flags: Any) -> None:
    """Show what is known of the public PROJECT."""
    found = call(settings(flags), "curator.advisories", {"project": project})
    if as_json:
        shown(found)
        return
    if not found:
        click.echo(f"Nothing is known of {tables.cell(project)}.")
    for each in found:
        kind = "malware" if each["malware"] else each["severity"] or "not rated"
        fixed = f"; fixed in {', '.join(each['fixed_in'])}" if each["fixed_in"] else ""
        click.echo(tables.cell(f"{each['id']} ({kind}): {each['summary']}{fixed}"))


@command.command("drop")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@place
@as_json_option
def drop(ids: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Forget advisories. The next import brings back what its source still tells."""
    done = call(settings(flags), "curator.drop_advisories", {"ids": ids})
    if as_json:
        shown(done)
    else:
        click.echo(f"{done['dropped']:,} forgotten.")


@contextmanager
def _opened(source: str) -> Iterator[Path]:
    """A source as a path: what a URL has is fetched first."""
    if not source.startswith(("https://", "http://")):
        path = Path(source)
        if not path.exists():
            raise BadRequest(f"{source} is not there. Name a file, a folder, or a URL.")
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=Path(urlsplit(source).path).suffix) as file:
        try:
            with urllib.request.urlopen(source, timeout=SECONDS) as answer:  # noqa: S310  # looked at above
                while block := answer.read(1 << 20):
                    file.write(block)
                    if file.tell() > DUMP_BYTES:
                        raise BadRequest(f"{source} has more than {DUMP_BYTES:,} bytes.")
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise BadRequest(f"{source} cannot be fetched: {reason}.") from None
        file.flush()
        yield Path(file.name)


def _records(path: Path) -> Iterator[bytes]:
    """The JSON files in a zip or a folder, or what one file has: a record, or one on each line."""
    try:
        if path.is_dir():
            for each in sorted(path.rglob("*.json")):
                yield each.read_bytes()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as dump:
                for member in dump.infolist():
                    if member.filename.endswith(".json"):
                        if member.file_size > RECORD_BYTES:
                            raise BadRequest(
                                f"{member.filename} in {path} is larger than {RECORD_BYTES:,} bytes."
                            )
                        yield dump.read(member)
        else:
            data = path.read_bytes()
            yield from data.splitlines() if path.suffix in (".jsonl", ".ndjson") else [data]
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise BadRequest(f"{path} cannot be read: {error}.") from None


def _copy(lines: IO[bytes], record: bytes) -> int:
    """Write a record on a line of its own; how many lines that are."""
    if not record.strip():
        return 0
    try:
        record = json.dumps(json.loads(record)).encode()
    except (ValueError, RecursionError):
        record = b" ".join(record.split())  # whoever takes it in refuses it, and says why
    return lines.write(record[:RECORD_BYTES] + b"\n") and 1
