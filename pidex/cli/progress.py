"""How far long work is, on stderr: a bar on a terminal, and now and then a line elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import click

#: Seconds between two lines of progress.
LINE_SECONDS = 5.0

Progress = Callable[[int, int], None]


@contextlib.contextmanager
def progress(title: str, line: str) -> Iterator[Progress]:
    """Shows work of a number of steps; `line` has two places, for those that are done and for all."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn(title), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            click.echo(line.format(f"{done:,}", f"{total:,}"), err=True)

    yield say
