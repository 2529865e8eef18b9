"""Decisions about what an index shows: its rules, exemptions from them, and what is kept back by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pidex.catalogue import audit, exemptions, holds, indexes
from pidex.core import changes, names, rulebook
from pidex.core.errors import BadRequest, NotFound
from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.core.terms import term_of
from pidex.curator.desk import Desk, index_of, name_of


class Ruling(Desk):
    """Rules, exemptions and holds. Everybody's next request sees a change of them."""

    def rules(self, index: str, *, by: Principal) -> dict[str, Any]:
        """What the index shows: its rules as they were written, its exemptions and its holds."""
        self._accounts.require(by, Action.ADMIN, index)
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            return {
                "index": index,
                "rules": dict(rulebook.described(here.rules)),
                "exemptions": [asdict(each) for each in exemptions.list(conn, here.id)],
                "holds": [asdict(each) for each in holds.list(conn, here.id)],
            }

    def set_rules(self, index: str, edits: Sequence[str], *, by: Principal) -> dict[str, Any]:
        """Change the rules by edits: 'min_age=3d', 'deny+=pycrypto', 'deny-=x', 'min_age='.

        Returns what they are then, and whether that is something else. Raises `BadRequest`, and changes
        nothing where one of the edits is wrong.
        """
        self._accounts.require(by, Action.ADMIN, index)
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            text = rulebook.edited(here.rules, edits)
            if text != here.rules:
                now = self._now()
                indexes.set_rules(conn, here.id, text)
                indexes.announce(conn, here.id, at=now, by=name_of(by))
                audit.record(
                    conn, by, "index.rules", index=index, at=now,
                    before=dict(rulebook.described(here.rules)), after=dict(rulebook.described(text)),
                )  # fmt: skip
            return {"index": index, "rules": dict(rulebook.described(text)), "changed": text != here.rules}

    def exempt(
        self, index: str, subject: str, *, reason: str, until: str | None = None, by: Principal
    ) -> dict[str, Any]:
        """Show what a term names ('name', 'name==1.0') whatever the rules say, until a time or for good."""
        self._accounts.require(by, Action.ADMIN, index)
        term = str(term_of(subject))
        reason = changes.sentence(reason, "reason")
        if not reason:
            raise BadRequest(
                "An exemption needs a reason: whoever finds it later has to know why it is there."
            )
        ends = None if until is None else rulebook.moment_of("until", until)
        now = self._now()
        if ends is not None and ends <= now:
            raise BadRequest(f"The exemption would have ended before it began: {until} is past.")
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            before = {each.subject: each for each in exemptions.list(conn, here.id)}.get(term)
            found = exemptions.Exemption(term, ends, reason, name_of(by), now)
            changed = before is None or (before.until, before.reason) != (ends, reason)
            if changed:
                exemptions.put(conn, here.id, found)
                indexes.announce(conn, here.id, at=now, by=name_of(by))
                audit.record(
                    conn, by, "index.exempt", index=index, subject=term, at=now,
                    before=None if before is None else {"until": before.until, "reason": before.reason},
                    after={"until": ends, "reason": reason},
                )  # fmt: skip
            return {"index": index, "subject": term, "until": ends, "reason": reason, "changed": changed}

    def unexempt(self, index: str, subject: str, *, by: Principal) -> dict[str, Any]:
        """Have the rules hold again for what a term names."""
        self._accounts.require(by, Action.ADMIN, index)
        term = str(term_of(subject))
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            if not exemptions.drop(conn, here.id, term):
                raise NotFound(f"Index {index} has no exemption for {term}.")
            now = self._now()
            indexes.announce(conn, here.id, at=now, by=name_of(by))
            audit.record(conn, by, "index.unexempt", index=index, subject=term, at=now)
            return {"index": index, "subject": term, "changed": True}

    def hold(
        self,
        index: str,
        project: str,
        *,
        version: str | None = None,
        filename: str | None = None,
        reason: str,
        by: Principal,
    ) -> dict[str, Any]:
        """Keep a release or a file back (quarantine), whoever it comes from and whether it is there yet."""
        reason = changes.sentence(reason, "reason")
        if not reason:
            raise BadRequest(
                "A quarantine needs a reason: it is what everybody is told who asks for the file."
            )
        return self._hold(index, project, reason, version=version, filename=filename, by=by)

    def unhold(
        self,
        index: str,
        project: str,
        *,
        version: str | None = None,
        filename: str | None = None,
        by: Principal,
    ) -> dict[str, Any]:
        """Let a release or a file go that was kept back."""
        return self._hold(index, project, None, version=version, filename=filename, by=by)

    def _hold(
        self,
        index: str,
        project: str,
        reason: str | None,
        *,
        version: str | None,
        filename: str | None,
        by: Principal,
    ) -> dict[str, Any]:
        if (version is None) == (filename is None):
            raise BadRequest("Name a release (NAME==VERSION) or one file of the project.")
        if not names.is_name(project):
            raise BadRequest(f"{project[:100]!r} cannot be the name of a project.")
        self._accounts.require(by, Action.ADMIN, index)
        project = names.normalize(project)
        scope: holds.Scope = "release" if version is not None else "file"
        target = changes.release(version) if version is not None else str(filename).casefold()
        with self._catalogue.write() as conn:
            here = index_of(conn, index)
            known = {(each.scope, each.target): each for each in holds.list_project(conn, here.id, project)}
            before = known.get((scope, target))
            if reason is None and before is None:
                raise NotFound(f"{target} of {project} is not in quarantine in index {index}.")
            changed = (before.reason if before else None) != reason
            if changed:
                now = self._now()
                if reason is None:
                    holds.lift(conn, here.id, project, scope, target)
                else:
                    holds.put(conn, here.id, holds.Hold(project, scope, target, reason, name_of(by), now))
                indexes.announce(conn, here.id, at=now, by=name_of(by))
                audit.record(
                    conn, by, f"{scope}.{'unhold' if reason is None else 'hold'}", index=index,
                    project=project, subject=target, at=now,
                    before=None if before is None else {"reason": before.reason},
                    after=None if reason is None else {"reason": reason},
                )  # fmt: skip
            return {"index": index, "project": project, "scope": scope, "target": target, "changed": changed}
