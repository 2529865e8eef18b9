"""`pidex token`: API tokens, printed once with the lines that put them to use."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.options import settings, settings_options
from pidex.cli.users import PLACE, as_json_option
from pidex.config import Settings
from pidex.core.model import DEFAULT_INDEX

#: Seconds in the units of --expires.
UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104  # recognised, not listened on


@click.group("token", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """API tokens: what scripts and upload tools sign in with. A token never does more than its user may."""


@command.command("create")
@click.argument("user")
@settings_options("folders", "config", "data", "host", "port", "prefix", "public_url", "tls_cert", "tls_key")
@click.option("--upload", is_flag=True, help="May upload, too. Without such options it may only read.")
@click.option("--delete", is_flag=True, help="May yank and delete, too.")
@click.option("--admin", is_flag=True, help="May administer what its user administers, too.")
@click.option("--index", "indexes", multiple=True, metavar="NAME", help="Only there. May be given again.")
@click.option(
    "--project", "projects", multiple=True, metavar="NAME",
    help="Only for this project or pattern such as 'acme-*'. May be given again.",
)  # fmt: skip
@click.option("--expires", metavar="WHEN", help="After 12h, 90d, 6w or 1y, or on 2027-01-31. Default: never.")
@click.option("--comment", default="", help="What it is for.")
@as_json_option
def create(
    user: str,
    *,
    upload: bool,
    delete: bool,
    admin: bool,
    indexes: tuple[str, ...],
    projects: tuple[str, ...],
    expires: str | None,
    comment: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Make a token of USER and print it once, with ready lines for twine, uv, pip and netrc."""
    given = settings(flags)
    wanted = {"read": True, "upload": upload, "delete": delete, "admin": admin}
    args = {
        "user": user,
        "comment": comment,
        "scopes": [scope for scope, on in wanted.items() if on],
        "indexes": list(indexes) or ["*"],
        "projects": list(projects) or ["*"],
        "expires": None if expires is None else moment(expires, time.time()),
    }
    made = call(given, "accounts.create_token", args)
    base = address(given, indexes)
    if as_json:
        urls = {"index_url": f"{base}/simple/", "upload_url": f"{base}/legacy/"}
        click.echo(json.dumps({**made, **urls}, indent=2))
        return
    for line in ready(made["text"], made["token"], base):
        click.echo(line)


@command.command("revoke")
@click.argument("number", type=int)
@PLACE
def revoke(number: int, **flags: Any) -> None:
    """End the token of that NUMBER, at once and for good."""
    ended = call(settings(flags), "accounts.revoke_token", {"token_id": number})
    click.echo(f"Revoked token {ended['id']} ({ended['hint']}) of {ended['user']}.")


@command.command("list")
@PLACE
@click.option("--user", metavar="NAME", help="Only this user's.")
@as_json_option
def list_(user: str | None, as_json: bool, **flags: Any) -> None:
    """Show tokens: whose, what for, how far, and when they were last used."""
    found = call(settings(flags), "accounts.list_tokens", {"user": user})
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    times = ("created", "expires", "used")
    rows = [{**each, **{name: tables.day(each[name]) for name in times}} for each in found]
    columns = {
        "NUMBER": "id",
        "TOKEN": "hint",
        "USER": "user",
        "STATE": "state",
        "MAY": "scopes",
        "INDEXES": "indexes",
        "PROJECTS": "projects",
        "EXPIRES": "expires",
        "LAST USED": "used",
        "COMMENT": "comment",
    }
    for line in tables.lines(rows, columns, "There are no tokens. `pidex token create USER` makes one."):
        click.echo(line)


def moment(when: str, now: float) -> float:
    """A time to come, in Unix seconds: '90d' from now, or a day (its end, UTC). Raises `click.UsageError`."""
    found = re.fullmatch(r"([0-9]{1,5})([hdwy])", when.strip())
    if found:
        return now + int(found[1]) * UNITS[found[2]]
    try:
        day = datetime.strptime(when.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise click.UsageError(
            f"--expires takes 12h, 90d, 6w, 1y or a day such as 2027-01-31, not {when!r}."
        ) from None
    return day.timestamp() + UNITS["d"]


def address(given: Settings, indexes: tuple[str, ...] = ()) -> str:
    """The URL under which the server's index is reached, as far as the settings say."""
    if given.public_url:
        base = given.public_url
    else:
        host = socket.gethostname() if given.host in WILDCARDS else given.host
        scheme = "https" if given.tls_cert else "http"
        shown = f"[{host}]" if ":" in host else host
        base = f"{scheme}://{shown}:{given.port}{given.prefix}"
    one = indexes[0] if len(indexes) == 1 else DEFAULT_INDEX
    return base if one == DEFAULT_INDEX or set(one) & set("*?[") else f"{base}/{one}"


def ready(text: str, token: dict[str, Any], base: str) -> Iterator[str]:
    """The token and the lines that put it to use. No URL holds it."""
    from pidex.web.welcome import trusted_host

    until = f", until {tables.day(token['expires'])} UTC" if token["expires"] else ""
    may = " and ".join(token["scopes"])
    yield f"Token {token['id']} of {token['user']}, which may {may}{until}. It is shown this once:"
    yield f"\n  {text}\n"
    simple, legacy = f"{base}/simple/", f"{base}/legacy/"
    if "upload" in token["scopes"]:
        yield "~/.pypirc (chmod 600), then `twine upload --repository pidex dist/*`:\n"
        yield "  [distutils]\n  index-servers =\n      pidex\n"
        yield f"  [pidex]\n  repository = {legacy}\n  username = __token__\n  password = {text}\n"
        yield "uv:\n"
        yield f"  export UV_PUBLISH_TOKEN={text}"
        yield f"  uv publish --publish-url {legacy} --check-url {simple}\n"
    host = trusted_host(base)
    trusted = f" --trusted-host {host}" if host else ""
    yield "~/.netrc (chmod 600), which pip and uv read:\n"
    yield f"  machine {urlsplit(base).hostname} login __token__ password {text}\n"
    yield f"  pip install --index-url {simple}{trusted} SOME-PACKAGE"
    yield f"  uv pip install --default-index {simple} SOME-PACKAGE"
