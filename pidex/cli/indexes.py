"""`pidex index`: indexes beside the default one, with folders, bases and upstreams of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.marks import HELP, shown
from pidex.cli.options import settings
from pidex.cli.users import as_json_option

#: What finds the data directory, for commands whose own arguments leave no room for folders.
Function = Any


def place(function: Function) -> Function:
    """`--folder`, `--config` and `--data`: the server that is meant."""
    text = "The folder that the server serves."
    function = click.option("--data", metavar="PATH", help="The data directory of the server.")(function)
    function = click.option("-c", "--config", metavar="PATH", help="The configuration file of the server.")(
        function
    )
    return click.option("--serves", "folders", multiple=True, type=click.Path(), help=text)(function)


@click.group("index", context_settings=HELP)
def command() -> None:
    """Indexes: each at /NAME/, with files of its own.

    An index has the contents of its bases and, for what nobody inside has, of its upstreams. SETTINGS are
    bases=, upstreams=, mutability=, challenge= and the switches of uploads; lists take += and -= too.
    """


@command.command("create", context_settings=HELP)
@click.argument("name")
@click.argument("edits", nargs=-1, metavar="[SETTINGS]...")
@click.option(
    "--folder",
    "own",
    multiple=True,
    type=click.Path(),
    help="Where its files lie. All nodes have to mount it.",
)
@place
def create(name: str, edits: Sequence[str], own: Sequence[str], **flags: Any) -> None:
    """Make an index. Without --folder its files lie in the bucket, where the server has one.

    Else a folder is made in the data directory; nodes of a cluster make it where all of them have it, in
    .pidex-NAME beside the first folder.

    \b
    pidex index create dev bases=main
    """
    args = {"name": name, "edits": [*edits], "folders": [os.path.abspath(each) for each in own]}
    _say(call(settings(flags), "indexing.create", args))


@command.command("set", context_settings=HELP)
@click.argument("name")
@click.argument("edits", nargs=-1, required=True, metavar="SETTINGS...")
@place
def set_(name: str, edits: Sequence[str], **flags: Any) -> None:
    """Change settings of an index.

    \b
    pidex index set dev bases+=team upstreams= challenge=yes
    """
    _say(call(settings(flags), "indexing.set_index", {"name": name, "edits": [*edits]}))


@command.command("list", context_settings=HELP)
@place
@as_json_option
def list_(as_json: bool, **flags: Any) -> None:
    """Show the indexes."""
    found = call(settings(flags), "indexing.list_indexes", {})
    if as_json:
        shown(found)
        return
    rows = [
        {
            "name": each["name"],
            "bases": ", ".join(each["bases"]),
            "upstreams": ", ".join(each["upstreams"]),
            "mutability": each["mutability"],
            "folders": ", ".join(each["folders"]),
        }
        for each in found
    ]
    columns = {
        "INDEX": "name",
        "BASES": "bases",
        "UPSTREAMS": "upstreams",
        "MUTABILITY": "mutability",
        "FOLDERS": "folders",
    }
    for line in tables.lines(rows, columns, "There is no index."):
        click.echo(line)


@command.command("remove", context_settings=HELP)
@click.argument("name")
@click.option("--force", is_flag=True, help="Although it lists files, which stay in their folders.")
@place
def remove(name: str, force: bool, **flags: Any) -> None:
    """Remove an index, with all that was decided about it."""
    gone = call(settings(flags), "indexing.remove_index", {"name": name, "force": force})
    click.echo(f"Removed the index {name}. Its files stay in {', '.join(gone['folders']) or 'no folder'}.")


@click.command("promote", context_settings=HELP)
@click.argument("spec", metavar="NAME==VERSION")
@click.option("--from", "source", required=True, metavar="INDEX", help="The index that has the release.")
@click.option("--to", "target", required=True, metavar="INDEX", help="The index that is to have it too.")
@click.option("--claim", is_flag=True, help="Take the name although an upstream of that index has it.")
@place
@as_json_option
def promote(spec: str, source: str, target: str, claim: bool, as_json: bool, **flags: Any) -> None:
    """Have a release of one index in another too: the same files, or none of them.

    With metadata, yanks and times, and without building anything anew.
    """
    project, found, version = spec.partition("==")
    if not found or not version.strip():
        raise click.UsageError(f"{spec} is no release: write NAME==VERSION.")
    args = {
        "source": source,
        "target": target,
        "project": project.strip(),
        "version": version.strip(),
        "claim": claim,
    }
    done = call(settings(flags), "indexing.promote", args)
    if as_json:
        shown(done)
        return
    for filename in done["files"]:
        click.echo(f"promoted: {filename}")
    for filename in done["there"]:
        click.echo(f"there already: {filename}")


def _say(view: dict[str, Any]) -> None:
    if not view["changed"]:
        click.echo(f"Index {view['name']} is so already.")
        return
    click.echo(
        f"Index {view['name']}: bases {', '.join(view['bases']) or 'none'}; "
        f"upstreams {', '.join(view['upstreams']) or 'none'}; {view['mutability']}; "
        f"files in {', '.join(view['folders']) or 'no folder'}."
    )
