"""The way from a command to a service: through the running server, or here where none runs."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from pidex.config import Settings, data_dir, environment
from pidex.core.errors import CannotStart

#: What is called 'accounts.add_user' and the like by every command, whoever does it in the end.
Result = Any


def call(settings: Settings, name: str, args: Mapping[str, object]) -> Result:
    """Call a service's method by name ('accounts.add_user'); its result as JSON has it.

    The server that holds the data directory does it. Without one, this process takes the directory's lock
    and does it itself, as the operator. Raises what the service raises, and `CannotStart` for who does not
    own the directory.
    """
    from pidex.ingress import control

    data = data_dir(settings, environment(), create=True, warn=lambda text: click.echo(text, err=True))
    _owned(data)
    try:
        return control.ask(data, name, args)
    except (ConnectionError, FileNotFoundError):
        return _here(settings, data, name, args)


def _here(settings: Settings, data: Path, name: str, args: Mapping[str, object]) -> Result:
    from pidex import logs
    from pidex.app import administration, calls
    from pidex.ingress import control
    from pidex.processes import DataLock

    logs.configure(None, form="none", level="error")
    lock = DataLock(data)
    # A server that is starting, or is older than its socket: both work on the catalogue, one at a time.
    serving = lock.holder() is not None
    if not serving:
        lock.acquire()
    try:
        with administration(settings, data, create=not serving) as service:
            known: dict[str, Callable[..., object]] = calls("accounts", service)
            by = control.operator(os.geteuid())
            return control.plain(control.invoke(known[name], args, (), lambda _done, _all: None, by=by))
    finally:
        lock.release()


def _owned(data: Path) -> None:
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
