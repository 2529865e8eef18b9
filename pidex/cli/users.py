"""`pidex user`: who is known by name and password."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.options import settings, settings_options

#: What every command needs to find the data directory: the server's folder, its configuration, or --data.
PLACE = settings_options("folders", "config", "data")
#: Characters read of a password on standard input.
PASSWORD_CHARACTERS = 4096


def as_json_option(function: Any) -> Any:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@click.group("user", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Users: who may sign in. What they may do there, `pidex grant` decides.

    FOLDER is what the server serves; --config or --data name the data directory as well.
    """


@command.command("add")
@click.argument("name")
@PLACE
@click.option("--no-password", is_flag=True, help="Signs in by token, htpasswd file or proxy only.")
def add(name: str, no_password: bool, **flags: Any) -> None:
    """Make a user. The password is asked for, or read from standard input."""
    given = settings(flags)
    password = None if no_password else asked(name)
    made = call(given, "accounts.add_user", {"name": name, "password": password})
    click.echo(f"Made the user {made['display']}.")


@command.command("password")
@click.argument("name")
@PLACE
@click.option("--none", "no_password", is_flag=True, help="Take the password away.")
def password(name: str, no_password: bool, **flags: Any) -> None:
    """Change a password, and end the user's sessions. It is asked for, or read from standard input."""
    given = settings(flags)
    new = None if no_password else asked(name)
    call(given, "accounts.set_password", {"name": name, "password": new})
    click.echo(f"Changed the password of {name}." if new else f"{name} has no password any more.")


@command.command("disable")
@click.argument("name")
@PLACE
def disable(name: str, **flags: Any) -> None:
    """Lock a user out: password, tokens and sessions stop working, and stay."""
    call(settings(flags), "accounts.disable_user", {"name": name})
    click.echo(f"Locked {name} out.")


@command.command("enable")
@click.argument("name")
@PLACE
def enable(name: str, **flags: Any) -> None:
    """Let a locked-out user in again."""
    call(settings(flags), "accounts.enable_user", {"name": name})
    click.echo(f"{name} may sign in again.")


@command.command("remove")
@click.argument("name")
@PLACE
def remove(name: str, **flags: Any) -> None:
    """Remove a user with all tokens, memberships and grants."""
    call(settings(flags), "accounts.remove_user", {"name": name})
    click.echo(f"Removed the user {name}.")


@command.command("list")
@PLACE
@as_json_option
def list_(as_json: bool, **flags: Any) -> None:
    """Show all users."""
    found = call(settings(flags), "accounts.list_users", {})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [{**each, "created": tables.day(each["created"])} for each in found]
    columns = {
        "NAME": "display",
        "PASSWORD": "has_password",
        "LOCKED OUT": "disabled",
        "GROUPS": "groups",
        "MADE": "created",
    }
    for line in tables.lines(rows, columns, "There are no users. `pidex user add NAME` makes one."):
        click.echo(line)


def asked(name: str) -> str:
    """A password, typed twice at a terminal or read as one line; never from the command line."""
    if sys.stdin.isatty():
        return str(click.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True))
    line = sys.stdin.readline(PASSWORD_CHARACTERS)
    if not line.rstrip("\r\n"):
        raise click.UsageError("No password came on standard input; --help names the way without one.")
    return line.rstrip("\r\n")
