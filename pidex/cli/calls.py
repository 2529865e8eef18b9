"""The way from a command to a service: through the running server, or here where none runs."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from pidex.config import Settings, data_dir, environment
from pidex.core.errors import CannotStart

#: Told of what takes long: done, and to do in all.
Progress = Callable[[int, int], None]
#: What is called 'accounts.add_user' and the like by every command, whoever does it in the end.
Result = Any


def call(
    settings: Settings,
    name: str,
    args: Mapping[str, object],
    *,
    files: Sequence[BinaryIO] = (),
    progress: Progress = lambda _done, _all: None,
) -> Result:
    """Call a service's method by name ('curator.yank'); its result as JSON has it.

    The server that holds the data directory does it. Without one, this process takes the directory's lock
    and does it itself, as the operator. `files` go to methods that take open files. Raises what the service
    raises, and `CannotStart` for who does not own the directory.
    """
    from pidex.ingress import control

    there = data_dir(settings, environment())
    if os.path.exists(there):
        owned(there)  # who may not even write there is told whose it is
    data = data_dir(settings, environment(), create=True, warn=lambda text: click.echo(text, err=True))
    try:
        return control.ask(data, name, args, files=files, progress=progress)
    except (ConnectionError, FileNotFoundError):
        by = control.operator(os.geteuid())
        with _here(settings, data, name) as known:
            return control.plain(control.invoke(known[name], args, files, progress, by=by))


@contextmanager
def _here(settings: Settings, data: Path, name: str) -> Iterator[Mapping[str, Callable[..., object]]]:
    """The services in this process. People and rights need a data directory alone, all else the folders."""
    from pidex import logs
    from pidex.app import administration, build, calls
    from pidex.processes import DataLock

    logs.configure(None, form="none", level="error")
    lock = DataLock(data)
    # A server that is starting, or is older than its socket: both work on the catalogue, one at a time.
    serving = lock.holder() is not None
    if not serving:
        lock.acquire()
    try:
        if name.startswith("accounts."):
            with administration(settings, data, create=not serving) as service:
                yield calls("accounts", service)
        else:
            with closing(build(settings, environment(), create=not serving)) as pidex:
                yield pidex.calls()
    finally:
        lock.release()


def owned(data: Path) -> None:
    """Raise `CannotStart` for who does not own the data directory: their files would lock the owner out."""
    owner = data.stat().st_uid
    if owner == os.geteuid():
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    raise CannotStart(
        f"The data directory {data} belongs to {name}: run this command as {name}, by"
        f" `sudo -u {name} pidex ...`."
    )
