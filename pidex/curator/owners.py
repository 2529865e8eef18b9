"""Owners: who has been granted more than reading on one project."""

from __future__ import annotations

from collections.abc import Sequence

from pidex.catalogue import audit, grants, journal, rights
from pidex.catalogue.engine import Connection
from pidex.core import changes
from pidex.core.changes import Change, Owner
from pidex.core.errors import BadRequest, Conflict
from pidex.core.model import Principal
from pidex.core.permissions import Action, Grant, Role
from pidex.curator.desk import Desk, Target, index_of, known, name_of, outcome

#: Roles that make somebody known as one of a project's people.
_ROLES = (Role.UPLOADER, Role.MAINTAINER, Role.OWNER)


class Owners(Desk):
    """Grants on single projects, as their people see them."""

    def list_owners(self, index: str, project: str, *, by: Principal) -> Sequence[Owner]:
        """Who has been granted more than reading on exactly this project."""
        project = self._allowed(by, Action.LIST, index, project)
        with self._catalogue.read() as conn:
            known(conn, index_of(conn, index), project)
            return [
                Owner(one.grant.subject, one.grant.role.value, one.by, one.at)
                for one in grants.list(conn)
                if (one.grant.index, one.grant.project) == (index, project) and one.grant.role in _ROLES
            ]

    def add_owner(
        self, index: str, project: str, subject: str, *, role: str = "owner", by: Principal
    ) -> Change:
        """Grant 'user:NAME' or 'group:NAME' a role on one project: uploader, maintainer or owner."""
        return self._own(index, project, subject, role, by, add=True)

    def remove_owner(
        self, index: str, project: str, subject: str, *, role: str = "owner", by: Principal
    ) -> Change:
        """Take such a grant back. The last owner of a project can only be removed by an admin."""
        return self._own(index, project, subject, role, by, add=False)

    def _own(self, index: str, project: str, subject: str, role: str, by: Principal, *, add: bool) -> Change:
        if role not in _ROLES:
            raise BadRequest(f"There is no role {role!r} on a project: it is one of {', '.join(_ROLES)}.")
        subject = changes.subject(subject)
        project = self._allowed(by, Action.MANAGE, index, project)
        grant = Grant(subject, Role(role), index, project)
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            known(conn, here, project)
            target, now = Target(here, project, None, None, ()), self._now()
            if add:
                changed = grants.add(conn, grant, by=name_of(by), at=now)
            else:
                changed = grants.remove(conn, grant)
                if changed and grant.role is Role.OWNER:
                    self._keep_an_owner(conn, index, project, by)
            if changed:
                rights.announce(conn, here.id, at=now, by=name_of(by))
                told = f"{'add' if add else 'remove'} {role.capitalize()} {subject.partition(':')[2]}"
                self._tell(conn, target, by, [journal.Event(project, told)])
                row = {"subject": subject, "role": role}
                audit.record(
                    conn, by, "owner.add" if add else "owner.remove", index=index, project=project,
                    subject=subject, before=None if add else row, after=row if add else None, at=now,
                )  # fmt: skip
            return outcome(target, changed)

    def _keep_an_owner(self, conn: Connection, index: str, project: str, by: Principal) -> None:
        left = any(
            one.grant.role is Role.OWNER and (one.grant.index, one.grant.project) == (index, project)
            for one in grants.list(conn)
        )
        if not left and not self._accounts.allows(by, Action.ADMIN, index):
            raise Conflict(f"Project {project} would be left without an owner: add another one first.")
