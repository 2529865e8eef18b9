"""`pidex backup`: take a backup of catalogue, files and repositories, or read through one."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pidex.cli.calls import owned
from pidex.cli.options import settings_options
from pidex.cli.progress import progress
from pidex.config import Settings, data_dir, environment, load, settings_fields, shown
from pidex.core.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from pidex.backup import Backups

#: Missing files that are named; --json names all.
NAMED = 20


@click.command("backup")
@click.argument("target", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@settings_options("folders", "config", "data")
@click.option(
    "--keep", type=click.IntRange(min=0), default=0, help="Drop all but the newest N.  [default: all]"
)
@click.option("--link", is_flag=True, help="Link files on the same file system instead of copying them.")
@click.option("--check", is_flag=True, help="Take none: read every byte of the newest backup in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(target: Path, keep: int, link: bool, check: bool, as_json: bool, **flags: Any) -> int:
    """Take a backup into DIR, which shares its bytes with the earlier ones there.

    The server goes on meanwhile. `pidex restore DIR` puts the newest back. Exit code 3 where files were
    missing, or with --check damaged. Bytes are copied once, or their blocks shared where the file system can.
    --link takes no space on other file systems either, but guards against deleting alone, not against writing
    over, and has the server read each linked file once more.
    """
    if check:
        return _check(target, as_json)
    environ = environment()
    settings = load(flags, environ)
    data = data_dir(settings, environ, warn=lambda text: click.echo(text, err=True))
    if settings.catalogue is not None:
        raise ConfigError(
            "The catalogue is in PostgreSQL: back it up with pg_dump or its archive, as docs/cluster.md says."
        )
    if not (data / "catalogue.db").exists():
        raise NotFound(f"There is no catalogue in {data} yet: start `pidex serve` first, or name --data.")
    owned(data)
    from pidex.app import build

    with (
        closing(build(settings, environ, create=False)) as pidex,
        progress("Taking files", "Took {} of {} files.") as step,
    ):
        backups = _backups(pidex)
        config = [path for path in (settings.config, settings.passwords) if path is not None]
        taken = backups.take(
            target.absolute(),
            keep=keep,
            link=link,
            settings=_plain(settings),
            config=config,
            progress=step,
        )
    if as_json:
        click.echo(json.dumps(asdict(taken), indent=2))
    else:
        click.echo(f"Backup {taken.path}: {taken.files:,} files, {taken.bytes:,} bytes.")
        click.echo(f"New since the last one: {taken.fresh:,}; copied: {taken.copied:,} bytes.")
        if taken.objects:
            click.echo(f"Named, and not copied, in the bucket: {taken.objects:,}.")
        if taken.dropped:
            click.echo(f"Dropped: {', '.join(taken.dropped)}")
        for each in taken.missing[:NAMED]:
            click.echo(f"Missing: {each}", err=True)
        if len(taken.missing) > NAMED:
            click.echo(f"... and {len(taken.missing) - NAMED} more: --json names all", err=True)
    return 3 if taken.missing else 0


def _check(target: Path, as_json: bool) -> int:
    from pidex.backup import manifest
    from pidex.backup.restoring import check
    from pidex.core.errors import BadRequest

    found = manifest.find(target)
    if found is None:
        raise NotFound(f"There is no backup in {target}.")
    damage = ""
    with progress("Reading files", "Read {} of {} files.") as step:
        try:
            check(found, step)
        except BadRequest as error:
            damage = str(error)
    if as_json:
        click.echo(json.dumps({"backup": str(found), "sound": not damage, "damage": damage}, indent=2))
    elif damage:
        print(damage, file=sys.stderr)
    else:
        click.echo(f"The backup {found} is sound.")
    return 3 if damage else 0


def _backups(pidex: Any) -> Backups:
    from pidex.backup import Backups

    return Backups(
        pidex.data / "catalogue.db", pidex.storage, pidex.repositories(), data=pidex.data, clock=pidex.clock
    )


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings in force, to be looked at: nothing of them is put back."""
    return {each.name: shown(getattr(settings, each.name)) for each, _ in settings_fields()}
