"""`pidex origin`: whose a name is, ours or an upstream's."""

from __future__ import annotations

from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.indexes import place
from pidex.cli.marks import HELP, index_option, shown
from pidex.cli.options import settings
from pidex.cli.users import as_json_option

REASON = click.option("--reason", default="", help="Why. People read it.")


@click.group("origin", context_settings=HELP)
def command() -> None:
    """Whose names are whose (the origin lock).

    A name is ours from its first file on, for good: no upstream is asked for it any more, not even whether
    it has it.
    """


@command.command("show", context_settings=HELP)
@click.argument("name")
@index_option
@place
@as_json_option
def show(name: str, index: str, as_json: bool, **flags: Any) -> None:
    """Say whose NAME is, and who answers for it, and why."""
    found = call(settings(flags), "indexing.origin", {"index": index, "project": name})
    if as_json:
        shown(found)
        return
    _say(found)


def _verb(name: str, text: str) -> None:
    @command.command(name, context_settings=HELP, help=text)
    @click.argument("project", metavar="NAME")
    @REASON
    @index_option
    @place
    def act(project: str, reason: str, index: str, **flags: Any) -> None:
        args = {"index": index, "project": project, "reason": reason}
        _say(call(settings(flags), f"indexing.{name}", args))


_verb("claim", "Make NAME ours: no upstream is asked for it, with files of it here or without.")
_verb("merge", "Show files of ours and of upstreams together under NAME. Own file names win.")
_verb("block", "Show nothing under NAME, neither ours nor anybody's.")


@command.command("release", context_settings=HELP)
@click.argument("name")
@click.option("--to", metavar="UPSTREAM", help="It is this upstream's, and no other's.")
@REASON
@index_option
@place
def release(name: str, to: str | None, reason: str, index: str, **flags: Any) -> None:
    """Give NAME up. While files of it lie here they are still shown alone; else upstreams are asked."""
    args = {"index": index, "project": name, "to": to, "reason": reason}
    _say(call(settings(flags), "indexing.release", args))


@command.command("reserve", context_settings=HELP)
@click.argument("pattern")
@REASON
@index_option
@place
def reserve(pattern: str, reason: str, index: str, **flags: Any) -> None:
    """Keep all names that match PATTERN ('acme-*') for this installation."""
    args = {"index": index, "pattern": pattern, "reason": reason}
    _list(call(settings(flags), "indexing.reserve", args))


@command.command("unreserve", context_settings=HELP)
@click.argument("pattern")
@index_option
@place
def unreserve(pattern: str, index: str, **flags: Any) -> None:
    """Let the names of PATTERN go again."""
    _list(call(settings(flags), "indexing.unreserve", {"index": index, "pattern": pattern}))


@command.command("list", context_settings=HELP)
@index_option
@place
@as_json_option
def list_(index: str, as_json: bool, **flags: Any) -> None:
    """Show what was decided of names, and which are reserved."""
    given = settings(flags)
    claims = call(given, "indexing.list_origins", {"index": index})
    reserved = call(given, "indexing.list_reservations", {"index": index})
    if as_json:
        shown({"claims": claims, "reservations": reserved})
        return
    rows = [{**each, "upstream": each["upstream"] or "", "at": tables.day(each["at"])} for each in claims]
    columns = {"NAME": "project", "ORIGIN": "origin", "UPSTREAM": "upstream", "BY": "by", "SINCE": "at"}
    for line in tables.lines(rows, columns, "Nothing was decided of any name."):
        click.echo(line)
    _list(reserved)


def _say(found: dict[str, Any]) -> None:
    click.echo(
        f"{found['project']} in index {found['index']}: {found['answer']}, because {found['because']}."
    )
    for each in found["claims"]:
        to = f" of {each['upstream']}" if each["upstream"] else ""
        why = f": {each['reason']}" if each["reason"] else ""
        day = tables.day(each["at"])
        click.echo(f"  {each['origin']}{to} in {each['index']} since {day}, by {each['by']}{why}")
    for each in found["reservations"]:
        click.echo(f"  reserved in {each['index']} by {each['pattern']}")
    if found["upstreams"]:
        have = "has" if len(found["upstreams"]) == 1 else "have"
        click.echo(f"  {', '.join(found['upstreams'])} {have} a project of that name")


def _list(reserved: list[dict[str, Any]]) -> None:
    rows = [{**each, "reason": each["reason"] or "", "at": tables.day(each["at"])} for each in reserved]
    columns = {"RESERVED": "pattern", "REASON": "reason", "BY": "by", "SINCE": "at"}
    for line in tables.lines(rows, columns, "No names are reserved."):
        click.echo(line)
