"""Deletions: names are burnt, files leave the folder; and what is dropped for good."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain

from pidex.catalogue import admissions, audit, files, places, projects, tombstones
from pidex.catalogue.engine import Connection
from pidex.core import changes
from pidex.core.changes import Pruning, Removal, Removed
from pidex.core.errors import BadRequest, Forbidden, Unauthenticated
from pidex.core.folder import expired, same, same_but_ctime
from pidex.core.model import File, Place, PlaceState, Principal, Shelf
from pidex.core.permissions import Action
from pidex.curator.desk import Desk, Target, index_of, name_of
from pidex.intake import KEPT_BYTES, KEPT_SECONDS


class Removals(Desk):
    """Deletes files, releases and projects, and drops what was kept of them."""

    def delete(
        self,
        index: str,
        project: str,
        *,
        version: str | None = None,
        filename: str | None = None,
        reason: str = "",
        dry_run: bool = False,
        by: Principal,
    ) -> Removal:
        """Delete a project, a release or a file. The file names stay burnt, against the folder too (DEL-1).

        The files leave the folder, but only where they still have the bytes that were listed: what else
        lies under such a name stays there and is withheld. What had a second name in the data directory can
        be brought back for seven days, within a limit in bytes (`restore_file`). Yanks, status and owners
        stay, so that nobody else takes the project over. `dry_run`: say what would go, and do nothing.

        Raises `Forbidden` where the folder cannot be written, before anything is changed.

        A kill at any step is harmless. The transaction comes first: after it, the names are burnt and
        nothing lists or serves the files, whether they lie in the folder or not. What a kill left of them
        in the folder has times of before the tombstone (a file that is put there later has a later ctime,
        which nobody can set), and by that `finish` knows it at the next start. Before the transaction,
        nothing has happened.
        """
        reason = changes.sentence(reason, "reason")
        project = self._allowed(by, Action.DELETE, index, project)
        with self._catalogue.read() as conn:
            target = self._target(conn, index, project, version, filename)
            lying = self._lying(conn, target)
        self._refuse_fixed(lying)
        removed = tuple(
            Removed(file.filename, file.version, file.size, self._kept(file)) for file in target.files
        )
        if dry_run:
            return Removal(index, project, removed, ())
        with self._catalogue.write() as conn:
            # Asked again: only now does nobody else write.
            target = self._target(conn, index, project, version, filename)
            lying = self._lying(conn, target)
            self._bury(conn, target, reason, by)
        left = self._clear(index, lying, by)
        known = {one.filename: one for one in removed}
        gone = tuple(
            known.get(file.filename) or Removed(file.filename, file.version, file.size, self._kept(file))
            for file in target.files
        )
        return Removal(index, project, gone, left)

    def finish(self, index: str, *, by: Principal) -> int:
        """Remove from the folder what deletions that were cut left there (see `delete`); how many files."""
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            stones = {stone.key: stone for stone in tombstones.list(conn, here.id)}
            lying = places.find_by_keys(conn, here.id, stones)
        old = [
            place
            for key, found in lying.items()
            for place in found
            if place.sha256 == stones[key].sha256 and place.stat.ctime_ns // 1000 <= stones[key].at
        ]
        return len(old) - len(self._clear(index, old, by)) if old else 0

    def _bury(self, conn: Connection, target: Target, reason: str, by: Principal) -> None:
        """Burn the names, end the admissions, unlist the files, and tell of it."""
        number, now = target.index.id, self._now()
        keys = [file.filename.casefold() for file in target.files]
        admitted = admissions.find_many(conn, number, keys)
        for file in target.files:
            stone = tombstones.Tombstone(
                file.filename, file.sha256, now, name_of(by), reason or None, file.root, file.path
            )
            tombstones.put(conn, number, stone)
        admissions.supersede(conn, number, admitted.values(), replaced=now, by=name_of(by), how="delete")
        admissions.delete_many(conn, number, admitted)
        self._settle(conn, target.index.name, keys, by)
        what = "file" if target.filename else "release" if target.version else "project"
        audit.record(
            conn, by, f"{what}.delete", index=target.index.name, project=target.project, at=now,
            subject=target.filename or target.version,
            before={"files": [{"filename": file.filename, "sha256": file.sha256} for file in target.files]},
            after={"reason": reason} if reason else None,
        )  # fmt: skip

    def _lying(self, conn: Connection, target: Target) -> list[Place]:
        """Where the bytes of files lie in the folders."""
        hashes = {file.filename.casefold(): file.sha256 for file in target.files}
        found = places.find_by_keys(conn, target.index.id, hashes)
        return [
            place
            for place in chain.from_iterable(found.values())
            if place.state is PlaceState.WHOLE and place.sha256 == hashes[place.key]
        ]

    def _refuse_fixed(self, lying: Iterable[Place]) -> None:
        for place in lying:
            refusal = self._storage.fixed(place.root, place.path)
            if refusal is not None:
                raise Forbidden(f"{place.filename} cannot be removed: {refusal}.")

    def _clear(self, index: str, lying: Collection[Place], by: Principal) -> tuple[str, ...]:
        """Unlink files that are as they were when they were read; the paths of those that stay."""
        gone, left = [], []
        for place in lying:
            if place.root not in self._storage.folders:
                gone.append((place.root, place.path))  # a bucket keeps the bytes, for whoever has them too
                continue
            now = self._storage.stat(place.root, place.path)
            if now is not None and same_but_ctime(now, place.stat):
                try:
                    self._storage.delete(place.root, place.path)
                except (Forbidden, OSError):
                    left.append(place.path)
                    continue
            elif now is not None:
                left.append(place.path)
                continue
            gone.append((place.root, place.path))
        self._intake.forget(index, gone, by=by)
        return tuple(left)

    def _kept(self, file: File) -> bool:
        """Whether the bytes of a listed file will outlive its deletion."""
        kept = self._storage.kept(file.sha256)
        if kept is not None and file.shelf is Shelf.KEPT and same(kept, file.stat):
            return True
        return kept is not None and self._storage.sound(file.sha256) is not None

    def prune(self, *, dry_run: bool = False, by: Principal) -> Pruning:
        """Drop kept bytes of deleted and replaced files that are past their seven days or bytes.

        They are then gone for good. For who holds the data directory. `dry_run`: only say which.
        """
        if not self._accounts.allows(by, Action.ADMIN, None):
            if by.name is None:
                raise Unauthenticated("Sign in to administer this server.")
            raise Forbidden(f"{by.name} may not drop kept files: that takes the role admin on every index.")
        with self._catalogue.read() as conn:
            listed = files.sha256s(conn)
        sizes = {kept.sha256: kept.stat.size for kept in self._storage.list_kept()}
        drop = expired(
            self._storage.list_kept(), listed, now=self._clock(), seconds=KEPT_SECONDS, most_bytes=KEPT_BYTES
        )
        pruning = Pruning(len(drop), sum(sizes.get(sha256, 0) for sha256 in drop), tuple(drop))
        if drop and not dry_run:
            with self._catalogue.write() as conn:
                audit.record(
                    conn,
                    by,
                    "kept.prune",
                    at=self._now(),
                    after={"files": pruning.files, "bytes": pruning.bytes},
                )
            self._storage.release(drop)
        return pruning

    def prune_releases(
        self,
        index: str,
        *,
        keep_latest: int,
        project: str | None = None,
        dry_run: bool = True,
        by: Principal,
    ) -> Sequence[Removal]:
        """Delete old releases of a project, or of every project: all but the newest `keep_latest`.

        Final releases and pre-releases are counted apart. `dry_run`: only say what would go.
        """
        if keep_latest < 1:
            raise BadRequest("At least one release has to be kept. To delete a whole project, name it.")
        if project is not None:
            chosen = [self._allowed(by, Action.DELETE, index, project)]
        else:
            self._accounts.require(by, Action.ADMIN, index)
            with self._catalogue.read() as conn:
                chosen = [
                    line.project for line in projects.list(conn, index_of(conn, index).id, withheld=True)
                ]
        found = []
        for each in chosen:
            with self._catalogue.read() as conn:
                there = files.list_project(conn, index_of(conn, index).id, each)
            for version in changes.outdated([file.version for file in there], keep_latest):
                reason = f"pruned: the newest {keep_latest} are kept"
                found.append(self.delete(index, each, version=version, reason=reason, dry_run=dry_run, by=by))
        return found
