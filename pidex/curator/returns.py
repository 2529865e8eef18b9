"""What was deleted or replaced and is still kept: which files, and how they come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pidex.catalogue import admissions, audit, contents, files, garbage, indexes, places, tombstones
from pidex.catalogue.engine import Connection
from pidex.core import names
from pidex.core.changes import Kept, Restored
from pidex.core.errors import Conflict, NotFound
from pidex.core.folder import roots_of
from pidex.core.model import Admission, Entry, Look, PlaceState, Principal
from pidex.core.permissions import Action
from pidex.curator.desk import Desk, index_of, name_of


class Returns(Desk):
    """Brings files back."""

    def list_restorable(self, index: str, project: str, *, by: Principal) -> Sequence[Kept]:
        """The bytes of a project's deleted and replaced files that are still kept, newest first."""
        project = self._allowed(by, Action.DELETE, index, project)
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            found = [
                old
                for old in reversed(admissions.list_superseded(conn, here.id))
                if places.project_of(old.filename) == project
            ]
            listed = files.find_by_keys(conn, here.id, {old.filename.casefold() for old in found})
        kept: dict[tuple[str, str], Kept] = {}
        for old in found:
            key = old.filename.casefold()
            now = listed.get(key)
            if (now is None or now.sha256 != old.sha256) and self._storage.kept(old.sha256) is not None:
                kept.setdefault(
                    (key, old.sha256), Kept(old.filename, old.sha256, old.size, old.replaced, old.by, old.how)
                )
        return list(kept.values())

    def restore_file(
        self, index: str, filename: str, *, sha256: str | None = None, by: Principal
    ) -> Restored:
        """Bring back a file that was deleted, or removed from the folder, with the bytes it had last.

        `sha256` (its first digits will do) chooses among earlier bytes, which then also take the place of
        those that are listed now. The file goes to where it lay, and is listed at once, since when and by
        whom it was first.

        A kill at any step is harmless: the file is first linked into the folder, where its tombstone
        withholds it; then one transaction lifts that, admits and lists it. In between, calling again goes
        on: the path is taken by the very same bytes.

        Raises `NotFound` where nothing is kept, `Conflict` where the name is listed or its path is taken.
        """
        project = self._allowed(by, Action.DELETE, index, names.parse(filename).project)
        key = filename.casefold()
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            former = self._former(conn, here, filename, sha256)
            stone = tombstones.find(conn, here.id, key)
            row = files.find_by_key(conn, here.id, key)
            facts = contents.find(conn, former.sha256, names.parse(former.filename).packagetype)
        if row is not None and here.mutability == "immutable":
            raise Conflict(f"{row.filename} is listed, and this index is immutable: it keeps its bytes.")
        root, path = min(roots_of(self._storage.roots, here.name, here.id), default=0), former.filename
        if row is not None:
            root, path = row.root, row.path
        elif stone is not None and stone.path is not None and stone.root in self._storage.roots:
            root, path = stone.root, stone.path
        instead = None
        if root not in self._storage.folders:
            path, instead = self._storage.place(root, former.filename, former.sha256), row
        stat = self._storage.restore(former.sha256, root, path, over=row is not None)
        look = None if facts is None else Look(Entry(root, path, stat), PlaceState.WHOLE, facts)
        with self._catalogue.write() as conn:
            gone = garbage.dropping(conn, [former.sha256])
            if gone or (root not in self._storage.folders and self._storage.kept(former.sha256) is None):
                raise NotFound(f"The bytes of {former.filename} are gone for good by now.")
            now = self._now()
            current = admissions.find(conn, here.id, key)
            if current is not None and current.sha256 != former.sha256:
                admissions.supersede(conn, here.id, [current], replaced=now, by=name_of(by), how="restore")
            tombstones.lift(conn, here.id, key)
            admissions.put(conn, here.id, former)
            left = [] if instead is None or instead.path == path else [(instead.root, instead.path)]
            self._settle(conn, index, [key], by, look=look, gone=left)
            audit.record(
                conn, by, "file.restore", index=index, project=project, at=now, subject=former.filename,
                before=None if current is None else {"sha256": current.sha256},
                after={"sha256": former.sha256},
            )  # fmt: skip
            listed = files.find_by_key(conn, here.id, key) is not None
        return Restored(index, project, former.filename, former.sha256, former.size, path, listed)

    def _former(self, conn: Connection, index: indexes.Index, filename: str, sha256: str | None) -> Admission:
        """The membership to bring back. Raises `NotFound` or `Conflict`."""
        key, asked = filename.casefold(), (sha256 or "").lower()
        row = files.find_by_key(conn, index.id, key)
        if row is not None and row.sha256.startswith(asked):
            raise Conflict(
                f"{row.filename} is listed. To have earlier bytes of it, name the beginning of their sha256."
            )
        current = admissions.find(conn, index.id, key)
        found = [] if current is None else [current]
        found += [
            Admission(old.filename, old.sha256, old.size, old.first_seen, old.source, old.by, old.how)
            for old in reversed(admissions.list_superseded(conn, index.id, key))
        ]
        fitting = {one.sha256: one for one in reversed(found) if one.sha256.startswith(asked)}
        if asked and len(fitting) > 1:
            raise Conflict(f"More than one has a sha256 that begins with {asked}: name more of it.")
        for one in found:
            if one.sha256 in fitting and self._storage.sound(one.sha256) is not None:
                how = current.how if current is not None and current.sha256 == one.sha256 else "restore"
                return replace(one, how=how)
        if fitting:
            raise NotFound(f"The bytes of {filename} are no longer kept: nothing can be brought back.")
        raise NotFound(f"Index {index.name} never had a file {filename} that could be brought back.")
