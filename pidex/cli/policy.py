"""`pidex policy`: what of its contents an index shows, what is exempt from that, and what is kept back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.indexes import place
from pidex.cli.marks import HELP, index_option, named, shown
from pidex.cli.options import settings
from pidex.cli.users import as_json_option
from pidex.core.errors import BadRequest
from pidex.core.rulebook import KEYS

#: Bytes of a file that an edit names with @.
FILE_BYTES = 4 * 1024 * 1024


@click.group("policy", context_settings=HELP)
def command() -> None:
    """What of its contents an index shows: rules, exemptions from them, and quarantine."""


@command.command("show")
@place
@index_option
@as_json_option
def show(index: str, as_json: bool, **flags: Any) -> None:
    """Show the rules of an index, its exemptions, and what is in quarantine."""
    found = call(settings(flags), "curator.rules", {"index": index})
    if as_json:
        shown(found)
        return
    if not found["rules"]:
        click.echo(f"Index {index} has no rules: it shows everything that it has.")
    for key, value in found["rules"].items():
        click.echo(f"{key} = {' '.join(value) if isinstance(value, list) else value}")
    for each in found["exemptions"]:
        until = "for good" if each["until"] is None else f"until {tables.day(each['until'])}"
        click.echo(f"exempt: {each['subject']} {until}, by {each['by']}: {tables.cell(each['reason'])}")
    for each in found["holds"]:
        what = f"{each['project']} {each['target']}"
        click.echo(f"in quarantine: {tables.cell(what)}, by {each['by']}: {tables.cell(each['reason'])}")


@command.command("set", epilog="\b\n" + "\n".join(f"{key:<16} {line}" for key, line in KEYS.items()))
@click.argument("edits", nargs=-1, required=True, metavar="EDIT...")
@place
@index_option
@as_json_option
def set_(edits: tuple[str, ...], index: str, as_json: bool, **flags: Any) -> None:
    """Change the rules of an index: `pidex policy set min_age=3d deny+=pycrypto`.

    An EDIT is key=value, key+=value or key-=value for lists, and key= to ask for nothing any more. Lists are
    separated by spaces; key=@FILE takes the value from a file, as in constraints=@constraints.txt.
    """
    edits = tuple(map(_filled, edits))
    done = call(settings(flags), "curator.set_rules", {"index": index, "edits": edits})
    if as_json:
        shown(done)
        return
    click.echo(f"{'Changed' if done['changed'] else 'Nothing changed in'} the rules of index {index}.")
    for key, value in done["rules"].items():
        click.echo(f"{key} = {' '.join(value) if isinstance(value, list) else value}")


@command.command("exempt")
@click.argument("subject")
@place
@click.option("--reason", required=True, help="Why.")
@click.option("--until", metavar="TIME", help="When it ends: 2026-12-01, or 2026-12-01T12:00Z.")
@index_option
@as_json_option
def exempt(subject: str, reason: str, until: str | None, index: str, as_json: bool, **flags: Any) -> None:
    """Show SUBJECT ('name', 'name==1.0', 'acme-*') whatever the rules say. Quarantine is not lifted by it."""
    args = {"index": index, "subject": subject, "reason": reason, "until": until}
    done = call(settings(flags), "curator.exempt", args)
    if as_json:
        shown(done)
    else:
        ends = "" if done["until"] is None else f" until {tables.day(done['until'])}"
        click.echo(f"{done['subject']} is exempt from the rules of index {index}{ends}.")


@command.command("unexempt")
@click.argument("subject")
@place
@index_option
def unexempt(subject: str, index: str, **flags: Any) -> None:
    """Have the rules hold for SUBJECT again."""
    done = call(settings(flags), "curator.unexempt", {"index": index, "subject": subject})
    click.echo(f"The rules of index {index} hold for {done['subject']} again.")


@command.command("hold")
@click.argument("subject")
@place
@click.option("--reason", required=True, help="Why: whoever asks for the file is told it.")
@index_option
def hold(subject: str, reason: str, index: str, **flags: Any) -> None:
    """Keep SUBJECT back (quarantine): a release (NAME==VERSION) or a file, own or from an upstream.

    A whole project: `pidex status PROJECT quarantined`.
    """
    project, part = named(subject)
    args = {"index": index, "project": project, "reason": reason, **part}
    done = call(settings(flags), "curator.hold", args)
    click.echo(f"{tables.cell(subject)} is in quarantine{'' if done['changed'] else ' already'}.")


@command.command("unhold")
@click.argument("subject")
@place
@index_option
def unhold(subject: str, index: str, **flags: Any) -> None:
    """Let SUBJECT go that was kept back."""
    project, part = named(subject)
    call(settings(flags), "curator.unhold", {"index": index, "project": project, **part})
    click.echo(f"{tables.cell(subject)} is not in quarantine any more.")


def _filled(edit: str) -> str:
    """An edit, with the contents of the file that it names by @."""
    key, _, value = edit.partition("=")
    if not value.startswith("@"):
        return edit
    try:
        with Path(value[1:]).open("rb") as file:
            read = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise BadRequest(f"The file {value[1:]} cannot be read: {error.strerror}.") from None
    if len(read) > FILE_BYTES:
        raise BadRequest(f"The file {value[1:]} is larger than {FILE_BYTES:,} bytes.")
    return f"{key}={read.decode('utf-8', 'replace')}"
