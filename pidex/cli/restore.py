"""`pidex restore`: put a snapshot of the catalogue in its place."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from pidex.catalogue import snapshots
from pidex.cli.options import settings_options
from pidex.config import data_dir, environment, load
from pidex.core.errors import NotFound


@click.command("restore")
@settings_options("folders", "config", "data")
@click.option("--latest", is_flag=True, help="Restore the newest snapshot.")
@click.option("--snapshot", "name", help="Restore the snapshot of this file name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(latest: bool, name: str | None, as_json: bool, **flags: Any) -> None:
    """List the snapshots of the catalogue, or put one in its place.

    The catalogue that was there is kept beside it. Stop the server first; run `pidex scan` afterwards, so
    that what the folders hold by now is listed.
    """
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
