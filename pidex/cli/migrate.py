"""`pidex migrate`: a whole installation moved between folder and bucket, SQLite and PostgreSQL."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import click

from pidex.cli.calls import owned
from pidex.cli.options import settings_options
from pidex.cli.progress import progress
from pidex.config import data_dir, environment, load
from pidex.core.errors import ConfigError

#: What is said of each step, and how its progress is told.
STEPS = {
    "mirror": ("Carrying files of upstreams", ""),
    "copy": ("Carrying files while the server goes on", "Carried {} of {} files."),
    "stop": ("Waiting for uploads that are under way; no other one begins", ""),
    "rest": ("Nothing can be changed from now on. Carrying what came meanwhile", "Carried {} of {} files."),
    "rows": ("Copying and comparing rows", "Copied {} of {} rows."),
    "also": ("Carrying repositories, and what is held of upstreams", ""),
    "verify": ("Comparing both sides, and verifying the new one", ""),
    "switch": ("Leaving the old place", ""),
    "open": ("Opening the new place", ""),
}
#: Files that are named; --json names all.
NAMED = 20


@click.command("migrate")
@settings_options()
@click.option(
    "--to", "target", metavar="FILE.toml|URL|catalogue.db",
    help="The settings of the new place; or another place for the catalogue alone: postgresql://USER@HOST/NAME,"
    " or catalogue.db in a data directory.",
)  # fmt: skip
@click.option("--cancel", is_flag=True, help="Have this place take changes again, moved or not.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(target: str | None, cancel: bool, as_json: bool, **flags: Any) -> int:
    """Move the whole installation: from a folder into a bucket, from SQLite into PostgreSQL, or back.

    The server goes on meanwhile and can be read all the time; near the end it refuses changes for a moment
    (503 with Retry-After), and for good once it has been moved. Files, users, tokens, rights, yanks, claims,
    upload times, audit and statistics go along, pages and their ETags stay as they are. Cut at any moment, it
    can be run again, and the old place is whole. At the end both are compared and the new one is verified:
    exit code 3 where something is not right, and then the old one goes on.
    """
    from pidex import logs
    from pidex.app import moving

    environ = environment()
    settings = load(flags, environ)
    logs.configure(None, form="none", level="error")
    data = data_dir(settings, environ)
    if data.exists():
        owned(data)
    if cancel:
        taken = moving.cancel(settings)
        to = None if taken is None else taken.to
        said = "It was not being moved." if to is None else f"Its move to {to} is taken back."
        click.echo(json.dumps({"cancelled": to}) if as_json else f"This place takes changes. {said}")
        return 0
    if target is None:
        raise ConfigError("Where to? Name the settings of the new place: --to cluster.toml.")
    with _Shown() as shown:
        outcome = moving.move(
            settings, moving.settled(target, settings, environ), step=shown.step, progress=shown.progress
        )
    if as_json:
        click.echo(json.dumps(asdict(outcome), indent=2))
        return 0 if outcome.done else 3
    if not outcome.done:
        wrong = [*(f"Its bytes cannot be had: {name}" for name in outcome.missing), *outcome.different]
        for sentence in wrong[:NAMED]:
            click.echo(sentence, err=True)
        if len(wrong) > NAMED:
            click.echo(f"... and {len(wrong) - NAMED:,} more: --json names all", err=True)
        click.echo("It was not moved: this place goes on as before.", err=True)
        return 3
    if not outcome.rows:
        click.echo(f"Moved to {outcome.target} by an earlier run; that place is open now.")
        return 0
    click.echo(
        f"Moved, compared and verified: {outcome.files:,} files, {sum(outcome.rows.values()):,} rows,"
        f" to {outcome.target}. Nothing could be changed for {outcome.stopped:g} s."
    )
    if outcome.gone:
        click.echo(f"{outcome.gone:,} names that no folder has any more are earlier files there.")
    click.echo("Start the new place, send everybody there, and stop the old one, which can only be read now.")
    return 0


class _Shown:
    """Says which step is under way, and how far it is."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.tell: Callable[[int, int], None] = lambda _done, _all: None

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def step(self, name: str) -> None:
        """A step begins."""
        self._stack.close()
        title, line = STEPS[name]
        print(f"{title}.", file=sys.stderr, flush=True)
        self.tell = self._stack.enter_context(progress(title, line)) if line else lambda _done, _all: None

    def progress(self, done: int, total: int) -> None:
        """So far is it."""
        self.tell(done, total)
