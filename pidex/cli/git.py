"""`pidex git`: repositories for indexes, and what their hooks run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from pidex.cli.calls import call
from pidex.cli.options import settings, settings_options
from pidex.config import ENV_PREFIX, environment, load
from pidex.core.errors import PidexError
from pidex.core.hooks import PUSHER
from pidex.core.model import DEFAULT_INDEX

#: What every command needs to find the data directory and, where no server runs, the folders.
PLACE = settings_options("folders", "config", "data")
#: What is said of a repository in place of its path.
IN_BUCKET = "in the bucket"
#: Paths that `git status` and `git enable --here` name of one kind.
NAMED = 20


@click.group("git", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Fill an index by git push.

    FOLDER is what the server serves; --config or --data name the data directory as well.
    """


def index_option(function: Any) -> Any:
    """`--index`."""
    text = "The index."
    return click.option("--index", default=DEFAULT_INDEX, show_default=True, help=text)(function)


@command.command("enable")
@PLACE
@index_option
@click.option("--empty", is_flag=True, help="Begin without the files that the index has now.")
@click.option("--here", metavar="FOLDER", help="Set a served folder up as a work tree to push to, instead.")
def enable(index: str, empty: bool, here: str | None, **flags: Any) -> None:
    """Make a repository for an index, with the files that it has as the first commit."""
    if here is not None:
        _here(Path(here))
        return
    made = call(settings(flags), "git.enable", {"index": index, "empty": empty})
    count = made["imported"]
    click.echo(f"The repository of the index {index}: {made['repository'] or IN_BUCKET}")
    if count:
        click.echo(f"Its first commit has the {count} files of the index." if count > 1 else "It has 1 file.")
    click.echo(f"Clone it:  git clone {made['url']}")
    if made["repository"] is not None:  # of one in the bucket there are only copies here
        click.echo(f"or, as the user that runs pidex:  git clone USER@HOST:{made['repository']}")
    click.echo("Push to the branch main; whoever pushes needs the role uploader (`pidex grant add`).")


def _here(folder: Path) -> None:
    """The plain way: the folder itself is pushed to, and watched."""
    from pidex.backends.git import Git
    from pidex.backends.repositories import follow_work_tree

    if not folder.is_dir():
        raise click.UsageError(f"{folder} is no folder.")
    found = follow_work_tree(Git(environment().get("PATH", os.defpath)), folder.absolute())
    click.echo(f"{folder} takes pushes to the branch that is checked out, and follows them.")
    click.echo(f"Clone it:  git clone USER@HOST:{folder.absolute()}")
    if found:
        click.echo("These files are not committed as they lie there; a push that touches one is refused:")
        for line in found[:NAMED]:
            click.echo(f"  {line}")
        if len(found) > NAMED:
            click.echo(f"  and {len(found) - NAMED} more")
        click.echo(f"Commit them:  git -C {folder.absolute()} add -A && git -C {folder.absolute()} commit")


@command.command("disable")
@PLACE
@index_option
def disable(index: str, **flags: Any) -> None:
    """Take an index's repository out of reach. Its files stay in the index; `git enable` brings it back."""
    done = call(settings(flags), "git.disable", {"index": index})
    click.echo(f"The index {index} takes no pushes any more. Its history is at {done['aside']}")


@command.command("status")
@PLACE
@index_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(index: str, as_json: bool, **flags: Any) -> int:
    """Compare an index with its repository. Exit code 3 where they differ."""
    state = call(settings(flags), "git.status", {"index": index})
    if as_json:
        click.echo(json.dumps(state, indent=2))
    else:
        click.echo(f"{state['repository'] or IN_BUCKET}: branch main at {state['tip'] or 'no commit yet'}")
        click.echo(f"{state['packages']} packages in the branch, {state['others']} others in the index.")
        _some("In the branch, and not listed", state["missing"])
        _some("Listed with other bytes than in the branch", state["differing"])
        if state["unfinished"]:
            click.echo("A push is under way, or was cut: the server puts it back at its next start or push.")
    if state["missing"] or state["differing"]:
        if not as_json:
            click.echo("`pidex git repair` places what the branch has.")
        return 3
    return 0


@command.command("repair")
@PLACE
@index_option
def repair(index: str, **flags: Any) -> None:
    """Place again what the branch has and the index lacks, or has with other bytes."""
    done = call(settings(flags), "git.repair", {"index": index})
    click.echo(f"Placed {done['placed']} files of the branch.")


def _some(title: str, paths: list[str]) -> None:
    if paths:
        click.echo(f"{title}: {len(paths)}")
        for path in paths[:NAMED]:
            click.echo(f"  {path}")
        if len(paths) > NAMED:
            click.echo(f"  and {len(paths) - NAMED} more: --json names all")


@command.group("hook", hidden=True)
def hook() -> None:
    """What git runs."""


@hook.command("pre-receive")
@PLACE
@index_option
def pre_receive(index: str, **flags: Any) -> int:
    """Take or refuse a push: git's hook of that name. Its lines are seen by who pushes."""
    environ = environment()
    # Settings come with the flags, as they were when the server started: not from whoever pushes.
    given = load(flags, {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)})
    try:
        told = _asked(given, index, environ)
    except PidexError as error:
        _say(f"{error}", "Nothing was changed.")
        return 1
    _say(*told["lines"])
    if not told["accepted"]:
        _say("Nothing was changed.")
        return 1
    return 0


def _asked(given: Any, index: str, environ: Mapping[str, str]) -> Mapping[str, Any]:
    from pidex.backends.running import process_of

    args = {
        "index": index,
        "updates": sys.stdin.buffer.read().decode("utf-8", "surrogateescape"),
        "objects": environ.get("GIT_QUARANTINE_PATH"),
        "process": process_of(os.getppid()),
        "pusher": environ.get(PUSHER),
    }
    answer: Mapping[str, Any] = call(given, "git.receive", args)
    return answer


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)
