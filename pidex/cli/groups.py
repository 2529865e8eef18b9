"""`pidex group`: groups of users."""

from __future__ import annotations

import json
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.options import settings
from pidex.cli.users import PLACE, as_json_option


@click.group("group", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Groups of users, which can be granted roles as one.

    'anonymous' is everybody, and 'authenticated' is whoever signed in: both are always there.
    """


@command.command("add")
@click.argument("name")
@PLACE
def add(name: str, **flags: Any) -> None:
    """Make a group."""
    call(settings(flags), "accounts.add_group", {"name": name})
    click.echo(f"Made the group {name}.")


@command.command("remove")
@click.argument("name")
@PLACE
def remove(name: str, **flags: Any) -> None:
    """Remove a group, with what was granted to it."""
    call(settings(flags), "accounts.remove_group", {"name": name})
    click.echo(f"Removed the group {name}.")


@command.command("join")
@click.argument("group")
@click.argument("user")
@PLACE
def join(group: str, user: str, **flags: Any) -> None:
    """Make USER a member of GROUP."""
    call(settings(flags), "accounts.join_group", {"group": group, "user": user})
    click.echo(f"{user} is a member of {group}.")


@command.command("leave")
@click.argument("group")
@click.argument("user")
@PLACE
def leave(group: str, user: str, **flags: Any) -> None:
    """End USER's membership of GROUP."""
    call(settings(flags), "accounts.leave_group", {"group": group, "user": user})
    click.echo(f"{user} is no member of {group} any more.")


@command.command("list")
@PLACE
@as_json_option
def list_(as_json: bool, **flags: Any) -> None:
    """Show all groups and their members."""
    found = call(settings(flags), "accounts.list_groups", {})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for line in tables.lines(found, {"GROUP": "name", "MEMBERS": "members"}, "There are no groups."):
        click.echo(line)
