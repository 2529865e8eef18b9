"""`pidex remove`, `restore-file` and `prune`: files that go, come back, and are dropped for good."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.marks import HELP, count, index_option, named, project_of, shown
from pidex.cli.options import settings
from pidex.cli.users import PLACE, as_json_option

#: Files that a question names; --json names all.
NAMED = 20


@click.command("remove", context_settings=HELP)
@click.argument("subject")
@PLACE
@click.option("--reason", default="", help="Why: kept, and told by `pidex why`.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@index_option
@as_json_option
def remove(
    subject: str, *, reason: str, yes: bool, dry_run: bool, index: str, as_json: bool, **flags: Any
) -> int:
    """Delete SUBJECT: a project, a release (NAME==VERSION) or a file.

    The file names stay used: nothing of that name is listed again, wherever it comes from. For seven days
    `pidex restore-file` brings a file back. To have installers pass over a release, `pidex yank` it instead.
    """
    project, part = named(subject, whole=True)
    args: dict[str, object] = {"index": index, "project": project, **part}
    given = settings(flags)
    preview = call(given, "curator.delete", {**args, "dry_run": True})
    if dry_run:
        _told(preview, as_json=as_json, past="would be removed")
        return 0
    if not yes:
        _ask([preview])
    done = call(given, "curator.delete", {**args, "reason": reason})
    _told(done, as_json=as_json, past="removed")
    return 0


def _ask(removals: Sequence[dict[str, Any]]) -> None:
    """Show what goes, and go on only where somebody says yes. Raises `ClickException`."""
    files = [file for removal in removals for file in removal["files"]]
    click.echo(f"This removes {count(len(files), 'file')}:", err=True)
    for file in files[:NAMED]:
        lost = "" if file["restorable"] else ", which cannot be brought back: its bytes are kept nowhere else"
        click.echo(f"  {tables.cell(file['filename'])} ({file['size']:,} bytes{lost})", err=True)
    if len(files) > NAMED:
        click.echo(f"  ... and {len(files) - NAMED:,} more: --dry-run --json names all", err=True)
    click.echo("Their names stay used, and cannot be uploaded again.", err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody is there to ask. Say --yes to remove them.")
    if not click.confirm("Remove them?", err=True):
        raise click.ClickException("Nothing was removed.")


def _told(removal: dict[str, Any], *, as_json: bool, past: str) -> None:
    if as_json:
        shown(removal)
        return
    for file in removal["files"]:
        lost = "" if file["restorable"] else " (cannot be brought back)"
        click.echo(f"{past}: {tables.cell(file['filename'])}{lost}")
    for path in removal["left"]:
        click.echo(f"stays in the folder, withheld: {tables.cell(path)}")
    click.echo(f"{count(len(removal['files']), 'file')} of {removal['project']} {past}.")


@click.command("restore-file", context_settings=HELP)
@click.argument("filename", required=False)
@PLACE
@click.option("--sha256", metavar="HEX", help="The bytes that have this hash, or one that begins so.")
@click.option("--list", "project", metavar="PROJECT", help="Show what of a project can be brought back.")
@index_option
@as_json_option
def restore_file(
    filename: str | None, sha256: str | None, project: str | None, index: str, as_json: bool, **flags: Any
) -> None:
    """Bring back FILENAME, which was deleted or replaced in the last seven days.

    With --list PROJECT, the first argument is FOLDER.
    """
    if project is not None:
        folders = [each for each in (filename, *flags.pop("folders")) if each is not None]
        found = call(
            settings({**flags, "folders": tuple(folders)}),
            "curator.list_restorable",
            {"index": index, "project": project_of(project)},
        )
        if as_json:
            shown(found)
            return
        rows = [{**each, "replaced": tables.day(each["replaced"])} for each in found]
        columns = {"FILE": "filename", "SHA256": "sha256", "BYTES": "size", "SINCE": "replaced", "BY": "by"}
        for line in tables.lines(rows, columns, f"Nothing of {project} can be brought back."):
            click.echo(line)
        return
    if filename is None:
        raise click.UsageError("Name the file, or a project with --list.")
    args = {"index": index, "filename": filename, "sha256": sha256}
    done = call(settings(flags), "curator.restore_file", args)
    if as_json:
        shown(done)
    else:
        when = "is listed again" if done["listed"] else "is listed as soon as it has been read"
        click.echo(f"{done['filename']} {when}, from {tables.cell(done['path'])}.")


@click.command("prune", context_settings=HELP)
@PLACE
@click.option("--keep-latest", type=click.IntRange(min=1), metavar="N", help="Delete all but N releases.")
@click.option("--project", metavar="NAME", help="With --keep-latest: of this project alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@index_option
@as_json_option
def prune(
    *,
    keep_latest: int | None,
    project: str | None,
    yes: bool,
    dry_run: bool,
    index: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Drop for good what is kept of files that were deleted or replaced more than seven days ago.

    With --keep-latest, delete old releases instead, as `pidex remove` does: all but the newest N final
    releases and the newest N pre-releases of each project.
    """
    given = settings(flags)
    if keep_latest is None:
        if project is not None:
            raise click.UsageError("--project goes with --keep-latest.")
        pruned = call(given, "curator.prune", {"dry_run": dry_run})
        if as_json:
            shown(pruned)
        else:
            would = "would be dropped" if dry_run else "dropped"
            click.echo(f"{count(pruned['files'], 'kept file')}, {pruned['bytes']:,} bytes {would}.")
        return
    args = {"index": index, "keep_latest": keep_latest, "project": project and project_of(project)}
    removals = call(given, "curator.prune_releases", {**args, "dry_run": True})
    if removals and not dry_run:
        if not yes:
            _ask(removals)
        removals = call(given, "curator.prune_releases", {**args, "dry_run": False})
    if as_json:
        shown(removals)
        return
    past = "would be removed" if dry_run else "removed"
    for removal in removals:
        _told(removal, as_json=False, past=past)
    if not removals:
        click.echo("There is nothing to remove.")
