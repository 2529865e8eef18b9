"""`pidex restore`: put a backup back, or a snapshot of the catalogue."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from pidex.catalogue import snapshots
from pidex.cli.options import settings_options
from pidex.config import data_dir, environment, load
from pidex.core.errors import ConfigError, NotFound


@click.command("restore")
@settings_options("folders", "config", "data")
@click.option("--latest", is_flag=True, help="Restore the newest snapshot of the catalogue.")
@click.option("--snapshot", "name", help="Restore the snapshot of this file name.")
@click.option(
    "--folder", "moved", multiple=True, metavar="ROOT=DIR",
    help="Put the files of a folder of the backup into another one. Any number of times.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(latest: bool, name: str | None, moved: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Put a backup back, or a snapshot of the catalogue; or list the snapshots. Stop the server first.

    `pidex restore BACKUP` takes a backup, or a folder of backups and in it the newest. All of it is checked
    before anything is changed; then catalogue, files and repositories change in one step, to where they lay,
    or into the folders that are named after BACKUP, and below --data. What was there is kept beside it.

    `pidex restore --latest FOLDER` takes the newest daily snapshot of the catalogue alone; run `pidex scan`
    afterwards, so that what the folders hold by now is listed.
    """
    from pidex.backup import manifest

    if load({**flags, "folders": ()}, environment()).catalogue is not None:
        raise ConfigError(
            "The catalogue is in PostgreSQL: put it back by PostgreSQL's own means, as docs/cluster.md says."
        )
    given: Sequence[str] = flags["folders"]
    backup = manifest.find(Path(given[0])) if given and not latest and name is None else None
    if backup is not None:
        _backup(backup, {**flags, "folders": given[1:]}, moved, as_json)
        return
    if moved:
        raise NotFound(f"--folder is for backups, and {given[0] if given else 'nothing'} is none.")
    _snapshot(latest, name, as_json, flags)


def _backup(backup: Path, flags: Mapping[str, Any], moved: Sequence[str], as_json: bool) -> None:
    from pidex.backup import manifest
    from pidex.backup.restoring import Restore
    from pidex.cli.progress import progress
    from pidex.ingress.control import operator
    from pidex.processes import DataLock

    found, environ = manifest.read(backup), environment()
    folders = {number: Path(path) for number, path in enumerate(flags["folders"])}
    for number, path in _moved(moved, found.roots):
        folders[number] = path
    if unknown := sorted(set(folders) - set(found.roots)):
        raise ConfigError(f"The backup has {len(found.roots)} folders, and none of the number {unknown[0]}.")
    if flags["data"] is not None or flags["folders"]:
        for path in flags["folders"]:  # where the data directory is follows from folders that are there
            os.makedirs(path, exist_ok=True)
        data = data_dir(load(flags, environ), environ)
    else:
        data = Path(found.data_dir)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = DataLock(data)
    lock.acquire()
    try:
        with progress("Checking", "Checked {} of {} files.") as step:
            by = operator(os.geteuid())
            done = Restore(backup, data, folders, clock=time.time, by=by).run(step)
    finally:
        lock.release()
    if as_json:
        click.echo(json.dumps(asdict(done), indent=2))
        return
    where = f"{', '.join(done.folders)}, and {done.data}" if done.folders else done.data
    click.echo(f"Restored {done.files:,} files of {backup} into {where}.")
    if done.burnt:
        click.echo(f"File names that were deleted since and stay burnt: {done.burnt}.")
    for each in done.replaced:
        click.echo(f"What was there before is kept as {each}.")


def _moved(moved: Sequence[str], roots: Mapping[int, str]) -> list[tuple[int, Path]]:
    """The folders of --folder, by number: ROOT is a number, or the path as it was."""
    found = []
    numbers = {path: number for number, path in roots.items()} | {str(number): number for number in roots}
    for each in moved:
        root, equals, path = each.rpartition("=")
        if not equals or not path:
            raise ConfigError(f"--folder is ROOT=DIR, not {each!r}.")
        number = numbers.get(root, numbers.get(os.path.abspath(root)))
        if number is None:
            raise ConfigError(f"The backup has no folder {root}: it has {', '.join(roots.values())}.")
        found.append((number, Path(path)))
    return found


def _snapshot(latest: bool, name: str | None, as_json: bool, flags: Mapping[str, Any]) -> None:
    from pidex.backup.restoring import resume
    from pidex.processes import DataLock

    environ = environment()
    data = data_dir(load(flags, environ), environ)
    catalogue = data / "catalogue.db"
    found = snapshots.list(snapshots.folder_of(catalogue))
    if not latest and name is None:
        _print(found, as_json)
        return
    chosen = next((each for each in found if name is None or each.path.name == name), None)
    if chosen is None:
        what = f"There is no snapshot {name}" if name else "There are no snapshots yet"
        raise NotFound(f"{what} in {snapshots.folder_of(catalogue)}. `pidex restore` lists what there is.")
    lock = DataLock(data)
    lock.acquire()
    try:
        resume(data)
        aside = snapshots.restore(catalogue, chosen.path, time.time())
    finally:
        lock.release()
    if as_json:
        click.echo(json.dumps({"restored": chosen.path.name, "replaced": str(aside) if aside else None}))
        return
    click.echo(f"Restored {chosen.path.name}, taken {_said(chosen.taken)}. Now run `pidex scan`.")
    if aside is not None:
        click.echo(f"The catalogue that was there is kept as {aside}.")


def _print(found: Sequence[snapshots.Snapshot], as_json: bool) -> None:
    if as_json:
        rows = [{"name": each.path.name, "taken": each.taken, "size": each.size} for each in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for each in found:
        click.echo(f"{each.path.name}  taken {_said(each.taken)}, {each.size:,} bytes")
    click.echo("Restore one with --latest or --snapshot NAME." if found else "There are no snapshots yet.")


def _said(taken: float) -> str:
    return f"{datetime.fromtimestamp(taken, UTC):%Y-%m-%d %H:%M:%S} UTC"
