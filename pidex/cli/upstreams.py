"""`pidex upstream`: other indexes, and how they are reached."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.indexes import place
from pidex.cli.marks import HELP, shown
from pidex.cli.options import settings
from pidex.cli.users import as_json_option
from pidex.core.errors import BadRequest

#: Characters read of a secret.
SECRET_CHARACTERS = 8_192


def reached(function: Any) -> Any:
    """How an upstream is reached."""
    by_file = "Read the secret from here (- is standard input): USER:PASSWORD, or a token."
    for option in (
        click.option("--max-age", type=float, metavar="SECONDS", help="Pages are asked for again after it."),
        click.option("--ca", type=click.Path(), help="Certificates that it is checked with (PEM)."),
        click.option("--proxy", metavar="URL", help="A proxy to go by."),
        click.option("--private/--no-private", default=None, help="Private addresses are allowed."),
        click.option("--netrc", type=click.Path(), help="The netrc file of --auth netrc."),
        click.option("--secret-file", type=click.Path(allow_dash=True), help=by_file),
        click.option(
            "--auth", type=click.Choice(["none", "basic", "bearer", "netrc"]), help="How to sign in."
        ),
        click.option("--kind", type=click.Choice(["auto", "simple", "links"]), help="An index, or one page."),
    ):
        function = option(function)
    return function


@click.group("upstream", context_settings=HELP)
def command() -> None:
    """Upstreams: indexes that are asked for what nobody here has.

    An index asks those that it names: `pidex index set main upstreams+=NAME`.
    """


@command.command("add", context_settings=HELP)
@click.argument("name")
@click.argument("url", required=False)
@reached
@place
def add(name: str, url: str | None, **flags: Any) -> None:
    """Make an upstream. The URL of `pypi` is known."""
    given = _given(flags)
    made = call(settings(flags), "indexing.add_upstream", {"name": name, "url": url, "settings": given})
    click.echo(f"Upstream {made['name']} is {made['url']}. No index names it yet.")


@command.command("set", context_settings=HELP)
@click.argument("name")
@click.option("--url", metavar="URL", help="Where it is.")
@reached
@place
def set_(name: str, url: str | None, **flags: Any) -> None:
    """Change how an upstream is reached."""
    given = _given(flags) | ({} if url is None else {"url": url})
    made = call(settings(flags), "indexing.set_upstream", {"name": name, "settings": given})
    click.echo(f"Upstream {name} is {made['url']}." if made["changed"] else f"Upstream {name} is so already.")


@command.command("list", context_settings=HELP)
@place
@as_json_option
def list_(as_json: bool, **flags: Any) -> None:
    """Show the upstreams, without their secrets."""
    found = call(settings(flags), "indexing.list_upstreams", {})
    if as_json:
        shown(found)
        return
    rows = [{**each, "used_by": ", ".join(each["used_by"]) or "nobody"} for each in found]
    columns = {"UPSTREAM": "name", "URL": "url", "KIND": "kind", "AUTH": "auth", "USED BY": "used_by"}
    for line in tables.lines(rows, columns, "There is no upstream."):
        click.echo(line)


@command.command("remove", context_settings=HELP)
@click.argument("name")
@click.option("--force", is_flag=True, help="Although indexes name it, which then no longer do.")
@place
def remove(name: str, force: bool, **flags: Any) -> None:
    """Forget an upstream."""
    call(settings(flags), "indexing.remove_upstream", {"name": name, "force": force})
    click.echo(f"Removed the upstream {name}.")


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    """What was said of how it is reached, taken out of the flags."""
    names = ("kind", "auth", "secret_file", "netrc", "private", "proxy", "ca", "max_age")
    given = {name: value for name in names if (value := flags.pop(name)) is not None}
    for name in ("netrc", "ca"):
        if name in given:
            given[name] = os.path.abspath(given[name])
    source = given.pop("secret_file", None)
    if source is not None:
        given["secret"] = _secret(source)
    elif given.get("auth") in ("basic", "bearer") and sys.stdin.isatty():
        what = "USER:PASSWORD" if given["auth"] == "basic" else "Token"
        given["secret"] = click.prompt(what, hide_input=True)
    return given


def _secret(source: str) -> str:
    try:
        with click.open_file(source, encoding="utf-8") as file:
            return str(file.read(SECRET_CHARACTERS).strip())
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"The secret cannot be read from {source}: {error}.") from None
