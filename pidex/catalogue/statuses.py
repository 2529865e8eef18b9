"""What people said of whole projects: active, deprecated, archived, quarantined (PEP 792)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, select

from pidex.catalogue import upserts
from pidex.catalogue.prepared import Prepared
from pidex.catalogue.tables import statuses
from pidex.core.model import Status


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """The status marker of a project. `at` in microseconds since 1970, UTC."""

    project: str
    status: Status
    reason: str | None
    by: str
    at: int


_COLUMNS = [statuses.c[name] for name in ProjectStatus.__dataclass_fields__]
_HERE = statuses.c.index_id == bindparam("of_index")
_LIST = select(*_COLUMNS).where(_HERE).order_by(statuses.c.project)
_FIND = Prepared(_LIST.where(statuses.c.project == bindparam("of_project")))
_DELETE = delete(statuses).where(_HERE, statuses.c.project == bindparam("of_project"))


def find(conn: Connection, index_id: int, project: str) -> ProjectStatus | None:
    """The marker of a project; None where nobody set one, which is to be read as active."""
    for project_, status, *rest in _FIND.all(conn, {"of_index": index_id, "of_project": project}):
        return ProjectStatus(project_, Status(status), *rest)
    return None


def list(conn: Connection, index_id: int) -> Sequence[ProjectStatus]:  # noqa: A001
    """All markers of an index, by project."""
    rows = conn.execute(_LIST, {"of_index": index_id})
    return [ProjectStatus(project, Status(status), *rest) for project, status, *rest in rows]


def put(conn: Connection, index_id: int, marker: ProjectStatus) -> None:
    """Set a marker."""
    row = {name: getattr(marker, name) for name in ProjectStatus.__dataclass_fields__}
    upserts.put(conn, statuses, [{"index_id": index_id, **row, "status": marker.status.value}])


def clear(conn: Connection, index_id: int, project: str) -> None:
    """Take the marker away."""
    conn.execute(_DELETE, {"of_index": index_id, "of_project": project})
