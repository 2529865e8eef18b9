"""`pidex upload`: files put into the index of this machine, through the door that every upload takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.marks import HELP, count, index_option, shown
from pidex.cli.options import settings
from pidex.cli.users import as_json_option
from pidex.core.names import is_package
from pidex.ingress.control import MOST_FILES

#: Beside packages, what people name along with them: left out in silence.
SIDECARS = (".asc", ".metadata", ".provenance", ".publish.attestation")


@click.command("upload", context_settings=HELP)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--folder", "folders", multiple=True, type=click.Path(), help="The folder that is served.")
@click.option("-c", "--config", metavar="PATH", help="The configuration file of the server.")
@click.option("--data", metavar="PATH", help="The data directory of the server.")
@index_option
@click.option("--claim", is_flag=True, help="Take names that an upstream has: from now on they are yours.")
@as_json_option
def command(files: Sequence[str], index: str, claim: bool, as_json: bool, **flags: Any) -> int:
    """Put FILES into the index that --folder, --config or --data name, on this machine.

    Each is checked as an upload over the network is. From other machines use twine, uv publish and the like.
    Exit code 1 where a file is refused.
    """
    wanted = [path for path in files if not path.endswith(SIDECARS)]
    for path in wanted:
        if not is_package(os.path.basename(path)):
            raise click.UsageError(f"{path} is no package by its name.")
    given = settings(flags)
    handed: list[dict[str, Any]] = []
    for start in range(0, len(wanted), MOST_FILES):
        batch = wanted[start : start + MOST_FILES]
        with ExitStack() as stack:
            opened = [stack.enter_context(open(path, "rb")) for path in batch]
            args = {
                "index": index,
                "filenames": [os.path.basename(path) for path in batch],
                "claim": claim,
            }
            handed += call(given, "intake.upload", args, files=opened)
    refused = [one for one in handed if one["receipt"] is None]
    if as_json:
        shown(handed)
    else:
        for one in handed:
            if one["receipt"] is None:
                click.echo(f"refused: {one['filename']}: {one['message']}", err=True)
            else:
                click.echo(f"{one['receipt']['status']}: {one['filename']}")
                for warning in one["receipt"]["warnings"]:
                    click.echo(f"  {tables.cell(warning)}", err=True)
        click.echo(f"{count(len(handed) - len(refused), 'file')} stored.")
    return 1 if refused else 0
