"""`pidex migrate`: the catalogue of a stopped server, copied into PostgreSQL or out of it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from pidex.cli.calls import owned
from pidex.cli.options import settings_options
from pidex.cli.progress import progress
from pidex.config import data_dir, environment, load
from pidex.core.errors import ConfigError, Conflict, NotFound


@click.command("migrate")
@settings_options()
@click.option(
    "--to", "target", required=True, metavar="URL|FILE",
    help="Where the catalogue goes: postgresql://USER@HOST/NAME, or a file that is not there yet.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(target: str, as_json: bool, **flags: Any) -> None:
    """Copy the whole catalogue to another place: from a file into PostgreSQL, or back.

    Stop the server first, or all nodes. Users, tokens, rights, yanks, claims, upload times, audit and
    statistics go along; files stay where they are. It is one transaction, at whose end every row is compared:
    all of it is there or nothing, and it can be made again. What it is copied from stays as it is. Then serve
    with the new place: --catalogue URL, or the file as catalogue.db in the data directory.
    """
    from pidex.catalogue.copying import copy
    from pidex.catalogue.engine import Catalogue
    from pidex.processes import DataLock

    environ = environment()
    settings = load(flags, environ)
    data = data_dir(settings, environ)
    source = settings.catalogue or data / "catalogue.db"
    if isinstance(source, Path) and not source.exists():
        raise NotFound(f"There is no catalogue in {data} yet: start `pidex serve` first, or name --data.")
    if "://" not in target and Path(target).exists():
        raise Conflict(f"{target} is there already. Name a file that is not.")
    if target == str(source):
        raise ConfigError("The catalogue is there already: name another place with --to.")
    if data.exists():
        owned(data)
    lock = DataLock(data)
    lock.acquire()
    try:
        with (
            closing(Catalogue.open(source, create=False)) as old,
            closing(Catalogue.open(target)) as new,
            progress("Copying rows", "Copied {} of {} rows.") as step,
        ):
            counted = copy(old, new, step)
            name = new.name
    finally:
        lock.release()
    if as_json:
        click.echo(json.dumps({"catalogue": name, "rows": counted}, indent=2))
        return
    click.echo(f"Copied and compared: {sum(counted.values()):,} rows, into {name}.")
    for table, rows in counted.items():
        if rows:
            click.echo(f"  {table}: {rows:,}")
