"""Pages with several forms to one address: the field `do` says which change, after the right to any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from pidex.core.errors import BadRequest, Forbidden, PidexError, Unauthenticated
from pidex.core.permissions import Action
from pidex.web.ui.frame import Handler, Parts
from pidex.web.ui.visit import Moved, Outcome, Visit

#: Makes a change, and returns the word by which the next page tells of it.
Deed = Callable[[Parts, Visit], str]
Show = Callable[[Parts, Visit, PidexError | None], Outcome]
Gate = Callable[[Parts, Visit], None]


def pages(gate: Gate, show: Show, deeds: Mapping[str, Deed], path: str) -> tuple[Handler, Handler]:
    """What answers GET and POST of a page at `path` (with its query's beginning, where it needs one)."""

    def get(parts: Parts, visit: Visit) -> Outcome:
        gate(parts, visit)
        return show(parts, visit, None)

    def post(parts: Parts, visit: Visit) -> Outcome:
        gate(parts, visit)
        try:
            deed = deeds.get(visit.value("do"))
            if deed is None:
                raise BadRequest("This page makes no such change.")
            done = deed(parts, visit)
        except PidexError as error:
            if error.status >= 500 or isinstance(error, Unauthenticated | Forbidden):
                raise
            return show(parts, visit, error)
        return Moved(f"{path.format(**_quoted(visit))}done={done}")

    return get, post


def of_index(parts: Parts, visit: Visit) -> None:
    """Only for administrators of the index."""
    parts.site.accounts.require(visit.by, Action.ADMIN, visit.index)


def of_server(parts: Parts, visit: Visit) -> None:
    """Only for administrators of the server."""
    parts.overview.require(visit.by)


def typed(visit: Visit, name: str) -> str:
    """A name that was typed once more, for what cannot be taken back. Raises `BadRequest`."""
    if not name or visit.value("typed") != name:
        raise BadRequest(f"Type the name, {name[:100]}, to confirm that it goes.")
    return name


def _quoted(visit: Visit) -> Mapping[str, str]:
    return {"user": quote(visit.value("user"), safe="")}
