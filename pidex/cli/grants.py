"""`pidex grant`: who has which role on an index or on projects of it."""

from __future__ import annotations

import json
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.options import settings
from pidex.cli.users import PLACE, as_json_option
from pidex.core.permissions import Role

ROLES = click.Choice([role.value for role in Role])


def where(function: Any) -> Any:
    """What a grant is on."""
    glob = "On this project, or a pattern of names such as 'acme-*', alone."
    function = click.option("--project", default="*", metavar="NAME", help=glob)(function)
    return click.option("--index", metavar="NAME", help="On this index alone. Default: on all.")(function)


@click.group("grant", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Roles: who may do what. SUBJECT is user:NAME or group:NAME; a bare NAME is a user.

    \b
    reader      sees and downloads
    uploader    and uploads new files
    maintainer  and yanks, and overwrites where the index is volatile
    owner       and deletes, and decides about a project's status and owners
    admin       and administers the index; without --index the server
    """


@command.command("add")
@click.argument("subject")
@click.argument("role", type=ROLES)
@PLACE
@where
def add(subject: str, role: str, index: str | None, project: str, **flags: Any) -> None:
    """Give SUBJECT a role."""
    args = {"subject": full(subject), "role": role, "index": index, "project": project}
    made = call(settings(flags), "accounts.grant", args)
    click.echo(f"{made['subject']} is {made['role']} {on(made)}.")


@command.command("remove")
@click.argument("subject")
@click.argument("role", type=ROLES)
@PLACE
@where
def remove(subject: str, role: str, index: str | None, project: str, **flags: Any) -> None:
    """Take a role back, named as it was given."""
    args = {"subject": full(subject), "role": role, "index": index, "project": project}
    call(settings(flags), "accounts.ungrant", args)
    click.echo(f"{full(subject)} is no longer {role} {on(args)}.")


@command.command("list")
@PLACE
@click.option("--index", metavar="NAME", help="Only what reaches this index.")
@as_json_option
def list_(index: str | None, as_json: bool, **flags: Any) -> None:
    """Show who has which role."""
    found = call(settings(flags), "accounts.list_grants", {"index": index})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [{**each, "index": each["index"] or "(all)", "at": tables.day(each["at"])} for each in found]
    columns = {
        "SUBJECT": "subject",
        "ROLE": "role",
        "INDEX": "index",
        "PROJECT": "project",
        "BY": "by",
        "SINCE": "at",
    }
    for line in tables.lines(rows, columns, "Nothing is granted to anybody."):
        click.echo(line)


def full(subject: str) -> str:
    """A subject with its kind."""
    return subject if ":" in subject else f"user:{subject}"


def on(grant: dict[str, Any]) -> str:
    """What a grant is on, in words."""
    index = f"index {grant['index']}" if grant["index"] else "every index"
    return f"on {index}" if grant["project"] == "*" else f"on {grant['project']} in {index}"
