"""`pidex bucket`: what the bucket holds beside the catalogue, manifests, rebuilding, and clearing away."""

from __future__ import annotations

from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import Result, call
from pidex.cli.marks import HELP, count, shown
from pidex.cli.options import settings, settings_options
from pidex.cli.users import as_json_option
from pidex.core.errors import ConfigError

#: Which server is meant, and which bucket.
WHERE = settings_options(
    "config", "data", "storage", "storage_endpoint", "storage_region", "storage_credentials", "storage_ca"
)
#: Files that are told of by name.
NAMED = 20


@click.group("bucket", context_settings=HELP)
def command() -> None:
    """The bucket that has the files of indexes (`--storage`)."""


@command.command("check", context_settings=HELP)
@WHERE
@as_json_option
def check(*, as_json: bool, **flags: Any) -> int:
    """Compare the bucket's listing with the catalogue. Exit code 3 where something is missing.

    Files and packs of git are looked for; `pidex verify --deep` reads the bytes of files, too.
    """
    found = _call(flags, "survey")
    if as_json:
        shown(found)
    else:
        click.echo(f"{count(found['objects'], 'object')}, {found['bytes']:,} bytes.")
        click.echo(f"{found['surplus']:,} of them, {found['surplus_bytes']:,} bytes, are nobody's.")
        if found["packs"]:
            click.echo(f"{count(found['packs'], 'pack')} of git, {found['pack_bytes']:,} bytes.")
            lost = f"{found['surplus_packs']:,} of them, {found['surplus_pack_bytes']:,} bytes,"
            click.echo(f"{lost} lead to no branch.")
        _missing(found["missing"])
    return 3 if found["missing"] else 0


@command.command("clear", context_settings=HELP)
@click.option(
    "--grace", type=click.FloatRange(0), default=24.0, help="Hours that an object has to be nobody's. 24."
)
@WHERE
@as_json_option
def clear(*, grace: float, as_json: bool, **flags: Any) -> None:
    """Note the objects that are nobody's, and delete those of which that was noted a day ago.

    The server does this once a day. What was deleted or replaced in the last seven days is somebody's still.
    Packs of git that lead to no branch go after seven days, whatever --grace says.
    """
    found = _call(flags, "collect", grace=grace * 3600)
    if as_json:
        shown(found)
    else:
        click.echo(
            f"{count(found['dropped'], 'object')} deleted, {found['marked']:,} newly noted,"
            f" {found['waiting']:,} waiting."
        )


@command.command("manifest", context_settings=HELP)
@click.option("--list", "listed", is_flag=True, help="Show those that there are instead.")
@click.option("--over", is_flag=True, help="Also where the newest one is another catalogue's.")
@WHERE
@as_json_option
def manifest(*, listed: bool, over: bool, as_json: bool, **flags: Any) -> None:
    """Write into the bucket which files each index has. The server does this once a day, and keeps seven."""
    found = _call(flags, "list_manifests") if listed else _call(flags, "write_manifest", over=over)
    if as_json:
        shown(found)
    elif listed:
        for name in found:
            click.echo(tables.cell(name))
    else:
        click.echo(f"Wrote {tables.cell(found)}.")


@command.command("rebuild", context_settings=HELP)
@click.option("--manifest", "name", metavar="NAME", help="Not the newest one, but this.")
@click.option("--dry-run", is_flag=True, help="Only say what would come back.")
@WHERE
@as_json_option
def rebuild(*, name: str | None, dry_run: bool, as_json: bool, **flags: Any) -> int:
    """Admit the files that a manifest names and the bucket has: for when the catalogue is lost.

    Branches of git come back whose packs are all there. Exit code 3 where something is missing.

    What is known already stays as it is. People, rights and yanks are in backups and snapshots of the
    catalogue alone: restore one of those first, where there is one.
    """
    found = _call(flags, "rebuild", name=name, dry_run=dry_run)
    if as_json:
        shown(found)
    else:
        would = "would come" if dry_run else "come"
        click.echo(f"{tables.cell(found['manifest'])}: {count(found['files'], 'file')} {would} back.")
        click.echo(f"{found['there']:,} were known, {found['burnt']:,} names stay burnt.")
        if found["branches"]:
            several = "branch" if found["branches"] == 1 else "branches"
            click.echo(f"{found['branches']:,} {several} of git {would} back.")
        _missing(found["missing"])
        if found["files"] and not dry_run:
            click.echo("They are listed as soon as they have been read: `pidex scan` waits for that.")
    return 3 if found["missing"] else 0


def _missing(names: list[str]) -> None:
    for name in names[:NAMED]:
        click.echo(f"missing from the bucket: {tables.cell(name)}", err=True)
    if len(names) > NAMED:
        click.echo(f"... and {len(names) - NAMED:,} more", err=True)


def _call(flags: dict[str, Any], method: str, **args: object) -> Result:
    """Have the server, or else this process, do it. Raises `ConfigError` where there is no bucket."""
    given = settings(flags)
    if given.storage is None:
        raise ConfigError("No bucket is set: name it with --storage, PIDEX_STORAGE or storage in the file.")
    return call(given, f"holdings.{method}", args)
