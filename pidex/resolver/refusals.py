"""Why there is no answer: nothing of that name, not yet, or no longer."""

from __future__ import annotations

from pidex.catalogue import files, indexes, places, scans, tombstones
from pidex.catalogue.engine import Connection
from pidex.core.errors import Busy, NotFound
from pidex.core.model import PlaceState
from pidex.core.permissions import Visibility
from pidex.history import RETRY_SECONDS
from pidex.resolver.listing import is_of


def no_such(index: indexes.Index, filename: str) -> NotFound:
    return NotFound(f"Index {index.name} has no file {filename}.")


def other(filename: str) -> NotFound:
    return NotFound(f"{filename} has other bytes here: take its URL from the project's page.")


def absent(conn: Connection, index: indexes.Index, project: str) -> Busy | NotFound:
    """Why there is no page."""
    if index.watched and not scans.find(conn, index.id).listed:
        return busy("The folders are being listed.")
    waiting = places.list_project(conn, index.id, project, unfinished=True)
    if not waiting:
        return no_project(index, project)
    states = " and ".join(sorted({place.state.value for place in waiting}))
    return NotFound(
        f"Index {index.name} lists no file of project {project}; what it has of it is {states}. "
        f"`pidex why {project}` tells more."
    )


def no_project(index: indexes.Index, project: str) -> NotFound:
    return NotFound(f"Index {index.name} has no project {project}.")


def no_file(conn: Connection, index: indexes.Index, filename: str, visible: Visibility) -> Busy | NotFound:
    """Why a file cannot be had that the index does not list with those bytes."""
    if not (visible.everything or is_of(visible, filename)):
        return no_such(index, filename)
    key = filename.casefold()
    here = places.find_by_keys(conn, index.id, [key]).get(key, ())
    if any(place.state is PlaceState.UNREAD for place in here):
        return busy(f"{filename} is still being read.")
    if not here and not scans.find(conn, index.id).listed:
        return busy("The folders are being listed.")
    if files.find_by_key(conn, index.id, key) is not None:
        return NotFound(f"{filename} has other bytes now: take its URL from the project's page.")
    if tombstones.find(conn, index.id, key) is not None:
        return NotFound(f"{filename} was deleted.")
    if here:
        return NotFound(f"{filename} is not listed: it is {here[0].state.value}. `pidex why` tells more.")
    return no_such(index, filename)


def busy(text: str) -> Busy:
    return Busy(f"{text} Try again in {RETRY_SECONDS} s.", retry_after=RETRY_SECONDS)
