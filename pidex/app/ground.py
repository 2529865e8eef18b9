"""Where things of a server lie, and by which name a node is known: alone, or as one of a cluster."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.core.errors import CannotStart

if TYPE_CHECKING:
    from pidex.catalogue.engine import Catalogue
    from pidex.config import Settings


def catalogue_of(settings: Settings, data: Path) -> str | Path:
    """Where the catalogue is: a URL, or a file in the data directory."""
    return settings.catalogue or data / "catalogue.db"


def shared_dir(settings: Settings, data: Path, *, create: bool = False) -> Path:
    """Where that lies which all nodes need and which is in no database: kept copies, repositories.

    That is the data directory. Nodes of a cluster have one each, and use the place beside the first folder
    together. `create` makes it. Raises `CannotStart` where a node could not write there: its own directory
    instead would hide from the others what only they all together may have.
    """
    if settings.catalogue is None or not settings.folders:
        return data
    first = settings.folders[0].resolve()
    there = first.parent / f".pidex-{first.name or 'root'}"
    if there == data.resolve():
        return data
    if create:
        try:
            there.mkdir(mode=0o700, exist_ok=True)
            if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise CannotStart(
                f"{there} cannot be written ({error.strerror}). All nodes of a cluster keep kept copies,"
                " repositories and quarantined files there. Make it for the user that runs pidex:"
                f" `install -d -m 700 -o USER {there}`, on the file system that all nodes mount."
            ) from None
    return there


def identify(data: Path, catalogue: Catalogue) -> None:
    """Give the server a name that only it has, all nodes the same: `pidex doctor` asks its URL for it."""
    path = data / "instance"
    fresh = secrets.token_hex(16)
    if catalogue.path is None:
        from pidex.catalogue import leases  # noqa: PLC0415  # half a second, which workers have spent by now

        with catalogue.write() as conn:
            path.write_text(f"{leases.cluster(conn, fresh)}\n", encoding="ascii")
    elif not path.exists():
        path.write_text(f"{fresh}\n", encoding="ascii")


def identity(data: Path) -> str:
    """That name; '' before the first start."""
    try:
        return (data / "instance").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def node_of(data: Path) -> str:
    """The name of this node: the same after a restart, another one for a directory copied elsewhere."""
    told = f"{socket.gethostname()}\0{data.resolve()}\0{identity(data)}"
    return hashlib.blake2b(told.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def owner_of(settings: Settings, data: Path) -> str:
    """By which name this process announces what it publishes; '' where no other node could find it."""
    return "" if settings.catalogue is None else f"{node_of(data)}:{secrets.token_hex(4)}"


def address(settings: Settings) -> str:
    """The URL of the server as its settings have it, without a slash at its end."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    own = f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}{settings.prefix}"
    return settings.public_url or own
