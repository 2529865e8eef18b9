"""`pidex yank`, `unyank`, `status` and `owner`: what is said of releases and projects that are there."""

from __future__ import annotations

import json
from typing import Any

import click

from pidex.cli import tables
from pidex.cli.calls import call
from pidex.cli.options import settings
from pidex.cli.users import PLACE, as_json_option
from pidex.core.model import DEFAULT_INDEX, Status
from pidex.core.reasons import Subject, subject_of

HELP = {"help_option_names": ["-h", "--help"]}
ROLES = click.Choice(["uploader", "maintainer", "owner"])


def index_option(function: Any) -> Any:
    """`--index`."""
    return click.option("--index", default=DEFAULT_INDEX, metavar="NAME", help="In this index.")(function)


def named(text: str, *, whole: bool = False) -> tuple[str, dict[str, str]]:
    """The project, and the release or file of it, that SUBJECT names. `whole`: a project alone will do."""
    subject = subject_of(text)
    if subject is None or subject.project is None:
        raise click.UsageError(
            f"{text} is no project, no release (NAME==VERSION) and no package's file name."
        )
    if subject.filename is not None:
        return subject.project, {"filename": subject.filename}
    if subject.version is not None:
        return subject.project, {"version": subject.version}
    if not whole:
        raise click.UsageError(f"{text} is a whole project: name a release ({text}==VERSION) or a file.")
    return subject.project, {}


def project_of(text: str) -> str:
    """The project that an argument names."""
    subject: Subject | None = subject_of(text)
    if subject is None or subject.project is None or subject.version is not None:
        raise click.UsageError(f"{text} is not the name of a project.")
    return subject.project


def count(number: int, what: str) -> str:
    """'1 file', '2 files'."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _files(done: Any) -> str:
    """How many files of ours a mark is about; what upstreams have is not counted."""
    return count(len(done["files"]), "file") if done["files"] else "of an upstream"


def shown(value: object) -> None:
    """Print JSON."""
    click.echo(json.dumps(value, indent=2))


@click.command("yank", context_settings=HELP)
@click.argument("subject")
@PLACE
@click.option("--reason", default="", help="Why: installers show it.")
@index_option
@as_json_option
def yank(subject: str, reason: str, index: str, as_json: bool, **flags: Any) -> None:
    """Have installers pass over SUBJECT, a release (NAME==VERSION) or a file, unless it is pinned.

    It stays where it is and can be downloaded. What an upstream has is yanked in this index. FOLDER is what
    the server serves; --config or --data name the data directory as well.
    """
    project, part = named(subject)
    done = call(
        settings(flags), "curator.yank", {"index": index, "project": project, "reason": reason, **part}
    )
    if as_json:
        shown(done)
    elif done["changed"]:
        click.echo(f"Yanked {tables.cell(subject)} ({_files(done)}).")
    else:
        click.echo(f"{tables.cell(subject)} is yanked already, for this reason.")


@click.command("unyank", context_settings=HELP)
@click.argument("subject")
@PLACE
@index_option
@as_json_option
def unyank(subject: str, index: str, as_json: bool, **flags: Any) -> None:
    """Offer SUBJECT, a yanked release (NAME==VERSION) or file, again."""
    project, part = named(subject)
    done = call(settings(flags), "curator.unyank", {"index": index, "project": project, **part})
    if as_json:
        shown(done)
    elif done["changed"]:
        click.echo(f"{tables.cell(subject)} is offered again ({_files(done)}).")
    else:
        click.echo(f"{tables.cell(subject)} is not yanked.")


@click.command("status", context_settings=HELP)
@click.argument("project")
@click.argument("status", type=click.Choice([status.value for status in Status]))
@PLACE
@click.option("--reason", default="", help="Why: shown on the project's page.")
@index_option
@as_json_option
def status(project: str, status: str, reason: str, index: str, as_json: bool, **flags: Any) -> None:
    """Set what is said of a whole PROJECT.

    \b
    active       nothing special
    deprecated   it should not be used any more
    archived     no new files are taken
    quarantined  none of its files is offered
    """
    args = {"index": index, "project": project_of(project), "status": status, "reason": reason}
    done = call(settings(flags), "curator.set_status", args)
    if as_json:
        shown(done)
    else:
        click.echo(f"{done['project']} is {status}{'' if done['changed'] else ' already'}.")


@click.group("owner", context_settings=HELP)
def owner() -> None:
    """Who looks after a project: its owners, maintainers and uploaders."""


@owner.command("list")
@click.argument("project")
@PLACE
@index_option
@as_json_option
def list_(project: str, index: str, as_json: bool, **flags: Any) -> None:
    """Show who has been granted what on PROJECT alone."""
    found = call(settings(flags), "curator.list_owners", {"index": index, "project": project_of(project)})
    if as_json:
        shown(found)
        return
    rows = [{**each, "at": tables.day(each["at"])} for each in found]
    columns = {"SUBJECT": "subject", "ROLE": "role", "BY": "by", "SINCE": "at"}
    for line in tables.lines(rows, columns, f"{project} has no owner of its own."):
        click.echo(line)


@owner.command("add")
@click.argument("project")
@click.argument("subject")
@PLACE
@click.option("--role", type=ROLES, default="owner", show_default=True, help="As what.")
@index_option
def add(project: str, subject: str, role: str, index: str, **flags: Any) -> None:
    """Make SUBJECT (a user, user:NAME or group:NAME) an owner of PROJECT."""
    args = {"index": index, "project": project_of(project), "subject": subject, "role": role}
    done = call(settings(flags), "curator.add_owner", args)
    click.echo(f"{subject} is {role} of {done['project']}{'' if done['changed'] else ' already'}.")


@owner.command("remove")
@click.argument("project")
@click.argument("subject")
@PLACE
@click.option("--role", type=ROLES, default="owner", show_default=True, help="As what.")
@index_option
def remove(project: str, subject: str, role: str, index: str, **flags: Any) -> None:
    """Take that back."""
    args = {"index": index, "project": project_of(project), "subject": subject, "role": role}
    done = call(settings(flags), "curator.remove_owner", args)
    was = "no longer" if done["changed"] else "not"
    click.echo(f"{subject} is {was} {role} of {done['project']}.")
