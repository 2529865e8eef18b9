"""Changes to a project by its people: yanks, status, owners, and deletion by its typed name."""

from __future__ import annotations

from typing import Any

from pidex.core.changes import Removal
from pidex.core.errors import BadRequest, PidexError
from pidex.core.model import Status
from pidex.core.names import normalize
from pidex.core.permissions import Action
from pidex.web.ui import projects
from pidex.web.ui.frame import Handler, Parts
from pidex.web.ui.visit import WRITES, Moved, Outcome, Shown, Visit

#: Roles that may be given on a project.
ROLES = ("uploader", "maintainer", "owner")


def manage(parts: Parts, visit: Visit) -> Outcome:
    """`/project/<name>/-/manage/`: what of a project may be changed by who asks."""
    name, accounts = normalize(visit.params["name"]), parts.site.accounts
    may = {action for action in WRITES if accounts.allows(visit.by, action, visit.index, name)}
    if not may:
        accounts.require(visit.by, Action.YANK, visit.index, name)
    return _shown(parts, visit, None)


def _shown(parts: Parts, visit: Visit, error: PidexError | None, **more: object) -> Shown:
    name = normalize(visit.params["name"])
    # A quarantined project shows no files, and is managed all the same.
    found = projects.sheet(parts, visit)
    owners = parts.curator.list_owners(visit.index, name, by=visit.by)
    kept = []
    if parts.site.accounts.allows(visit.by, Action.DELETE, visit.index, name):
        kept = [*parts.curator.list_restorable(visit.index, name, by=visit.by)]
    return Shown(
        "manage.html",
        {
            **projects.head(parts, visit, found, "manage"),
            "owners": owners,
            "kept": kept,
            "statuses": [each.value for each in Status],
            "roles": ROLES,
            "error": error,
            "removal": None,
            "typed": "",
            "users": (),
            **more,
        },
        error.status if error else 200,
    )


def _changing(change: Any, done: str) -> Handler:
    """A handler that makes a change and leads back; a refusal is told on the page it came from."""

    def handle(parts: Parts, visit: Visit) -> Outcome:
        name = normalize(visit.params["name"])
        try:
            change(parts, visit, name)
        except PidexError as error:
            # Who may not see the project, or not change it, learns no more than that.
            if not isinstance(error, BadRequest) and error.status not in (409,):
                raise
            return _shown(parts, visit, error)
        return Moved(f"project/{name}/-/manage/?done={done}")

    return handle


def _target(visit: Visit) -> dict[str, Any]:
    """The release or the file that a form names."""
    version, filename = visit.value("version"), visit.value("filename")
    return {"version": version or None, "filename": filename or None}


def _yank(parts: Parts, visit: Visit, name: str) -> None:
    reason = visit.value("reason")
    parts.curator.yank(visit.index, name, **_target(visit), reason=reason, by=visit.by)


def _unyank(parts: Parts, visit: Visit, name: str) -> None:
    parts.curator.unyank(visit.index, name, **_target(visit), by=visit.by)


def _status(parts: Parts, visit: Visit, name: str) -> None:
    status, reason = visit.value("status"), visit.value("reason")
    parts.curator.set_status(visit.index, name, status, reason=reason, by=visit.by)


def _owners(parts: Parts, visit: Visit, name: str) -> None:
    subject, role = visit.value("subject"), visit.value("role") or "owner"
    change = parts.curator.remove_owner if visit.value("remove") else parts.curator.add_owner
    change(visit.index, name, subject, role=role, by=visit.by)


def _restore(parts: Parts, visit: Visit, name: str) -> None:
    filename, sha256 = visit.value("filename"), visit.value("sha256")
    if not any(
        kept.filename == filename for kept in parts.curator.list_restorable(visit.index, name, by=visit.by)
    ):
        raise BadRequest(f"{filename[:200]} is no file of {name} that could be brought back.")
    parts.curator.restore_file(visit.index, filename, sha256=sha256 or None, by=visit.by)


yank = _changing(_yank, "yanked")
unyank = _changing(_unyank, "unyanked")
status = _changing(_status, "status")
owners = _changing(_owners, "owners")
restore = _changing(_restore, "restored")


def delete(parts: Parts, visit: Visit) -> Outcome:
    """POST `/project/<name>/-/delete`: first what would go; its name typed, it goes."""
    name, target = normalize(visit.params["name"]), _target(visit)
    try:
        removal: Removal = parts.curator.delete(visit.index, name, **target, dry_run=True, by=visit.by)
        wanted = target["filename"] or (f"{name}=={target['version']}" if target["version"] else name)
        typed = visit.value("typed")
        if typed != wanted:
            users = parts.search.needed_by(visit.index, name, by=visit.by)
            error = BadRequest("That is not the name.") if typed else None
            return _shown(parts, visit, error, removal=removal, typed=wanted, users=users, target=target)
        removal = parts.curator.delete(visit.index, name, **target, reason=visit.value("reason"), by=visit.by)
    except BadRequest as error:
        return _shown(parts, visit, error)
    page = f"project/{name}/-/manage/" if target["version"] or target["filename"] else ""
    return Moved(f"{page}?done=deleted")
