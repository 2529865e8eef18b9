"""Indexes made, set, listed and removed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pidex.catalogue import files, indexes, upstreams
from pidex.catalogue.engine import Connection
from pidex.core import estate, layers
from pidex.core.errors import BadRequest, Conflict, Forbidden
from pidex.core.estate import Manner
from pidex.core.folder import BUCKET, MOST_ROOTS, first_root
from pidex.core.model import DEFAULT_INDEX, Principal
from pidex.core.permissions import Action
from pidex.indexing.office import Office, index_of

#: Folders of indexes that name none lie here, in the data directory or in that which nodes share.
FOLDER = "indexes"


@dataclass(frozen=True, slots=True)
class IndexView:
    """An index as its administrators see it. `line`: itself and its bases, in the order they answer."""

    name: str
    mutability: str
    challenge: bool
    bases: tuple[str, ...]
    upstreams: tuple[str, ...]
    folders: tuple[str, ...]
    policy: dict[str, object]
    line: tuple[str, ...]
    heirs: tuple[str, ...]
    changed: bool = False


class Indexes(Office):
    """Indexes."""

    def create(
        self, name: str, edits: Sequence[str] = (), *, folders: Sequence[str] = (), by: Principal
    ) -> IndexView:
        """Make an index, with settings as `set_index` takes them.

        `folders` (absolute paths) hold its files; without any, the bucket of the settings does, or one is
        made in the data directory, of a cluster in that which its nodes share. Only who owns the machine says
        which: others could have any folder served. Raises `Conflict` where it is there.
        """
        self._administers(by)
        name = estate.check_index(name)
        if folders and by.via not in ("", "command"):
            raise Forbidden("Folders are named by command on the server's machine: `pidex index create`.")
        manner = estate.edited(Manner(), estate.edits(edits))
        with self._catalogue.read() as conn:
            self._free(conn, name)
            self._check(conn, name, manner)
            self._apart(conn, folders)
        chosen = tuple(folders) or (str(self._home / FOLDER / name),)
        if not folders and self._storage.bucket is not None:
            chosen = (BUCKET,)
        elif not folders:
            Path(chosen[0]).mkdir(parents=True, exist_ok=True)
        with self._catalogue.write() as conn:
            self._free(conn, name)
            self._check(conn, name, manner)
            number = indexes.ensure(conn, name, self._clock())
            indexes.set_folders(conn, number, chosen)
            here = index_of(conn, name)
            self._write(conn, here, manner)
            self._told(conn, by, "index.create", here, after={**_said(manner), "folders": [*chosen]})
            first = first_root(name, number)
            self._storage.add({first + at: folder for at, folder in enumerate(chosen)})
            return self._view(conn, index_of(conn, name), changed=True)

    def set_index(self, name: str, edits: Sequence[str], *, by: Principal) -> IndexView:
        """Change settings of an index: 'bases+=root', 'upstreams=pypi', 'mutability=volatile',
        'challenge=yes', switches of uploads. Raises `BadRequest`, and changes nothing, where one is wrong.
        """
        self._administers(by, name)
        changes = estate.edits(edits)
        with self._catalogue.write() as conn:
            here = index_of(conn, name)
            before = manner_of(here)
            manner = estate.edited(before, changes)
            self._check(conn, name, manner)
            if manner != before:
                self._write(conn, here, manner)
                self._told(conn, by, "index.set", here, before=_said(before), after=_said(manner))
            return self._view(conn, index_of(conn, name), changed=manner != before)

    def list_indexes(self, *, by: Principal) -> Sequence[IndexView]:
        """The indexes that somebody may see; folders only as the administrator of one."""
        with self._catalogue.read() as conn:
            found = [self._view(conn, each) for each in indexes.list(conn)]
        return [
            each if self._accounts.allows(by, Action.ADMIN, each.name) else _outside(each)
            for each in found
            if self._accounts.allows(by, Action.LIST, each.name)
        ]

    def remove_index(self, name: str, *, force: bool = False, by: Principal) -> IndexView:
        """Remove an index. Its files stay in their folders; those in a bucket are nobody's from then on.

        Raises `Conflict` while others have it among their bases, and without `force` while it lists files.
        """
        self._administers(by)
        with self._catalogue.write() as conn:
            here = index_of(conn, name)
            view = self._view(conn, here, changed=True)
            if name == DEFAULT_INDEX:
                raise Conflict(
                    "The default index cannot be removed: it is what the server serves at /simple/."
                )
            bearing = [each.name for each in indexes.list(conn) if name in each.bases]
            if bearing:
                raise Conflict(
                    f"Index {name} is a base of {', '.join(bearing)}: "
                    f"`pidex index set {bearing[0]} bases-={name}` first."
                )
            number = files.count(conn, here.id)
            if number and not force:
                in_bucket = BUCKET in here.folders
                raise Conflict(
                    f"Index {name} lists {number:,} files. With --force it goes all the same, with all "
                    "claims, marks and rights that are about it; the files "
                    + (
                        "are cleared out of the bucket a day later."
                        if in_bucket
                        else "stay in their folders."
                    )
                )
            self._told(conn, by, "index.remove", here, before={**_said(manner_of(here)), "files": number})
            indexes.remove(conn, here.id)
            indexes.announce(
                conn, index_of(conn, DEFAULT_INDEX).id, at=self._now(), by=by.name or "anonymous"
            )
            return view

    def _free(self, conn: Connection, name: str) -> None:
        if indexes.find(conn, name) is not None:
            raise Conflict(f"There is an index {name} already: `pidex index set {name} ...` changes it.")

    def _check(self, conn: Connection, name: str, manner: Manner) -> None:
        """Raise `BadRequest` for what is not there, and for loops."""
        every = {each.name: each.bases for each in indexes.list(conn)}
        for base in manner.bases:
            if base not in every and base != name:
                raise BadRequest(f"There is no index {base[:80]} that {name} could have as a base.")
        way = layers.loop(name, manner.bases, every)
        if way is not None:
            raise BadRequest(f"Indexes cannot have each other as bases: {' -> '.join(way)}.")
        for upstream in manner.upstreams:
            if upstreams.find(conn, upstream) is None:
                raise BadRequest(
                    f"There is no upstream {upstream[:80]}: `pidex upstream add {upstream[:80]} URL` "
                    "makes one."
                )

    def _apart(self, conn: Connection, folders: Sequence[str]) -> None:
        """Raise `BadRequest` for folders that are none, or lie within those of another index or the data."""
        taken = [Path(root).resolve() for root in self._storage.folders.values()]
        for at, text in enumerate(folders):
            path = Path(text)
            if not path.is_absolute() or not path.is_dir():
                raise BadRequest(f"The folder {text[:200]} does not exist. Make it, or name another one.")
            real = path.resolve()
            if any(real.is_relative_to(each.resolve()) for each in (self._data, self._home)):
                raise BadRequest(f"The folder {text} lies in the data directory. Name one outside of it.")
            others = [*taken, *(Path(each).resolve() for each in folders[:at])]
            for other in others:
                if real.is_relative_to(other) or other.is_relative_to(real):
                    raise BadRequest(f"The folder {text} and {other}, which is served, lie in each other.")
        if len(folders) > MOST_ROOTS:
            raise BadRequest(f"An index has {MOST_ROOTS:,} folders at most.")

    @staticmethod
    def _write(conn: Connection, here: indexes.Index, manner: Manner) -> None:
        before = manner_of(here)
        if manner.bases != before.bases:
            indexes.set_bases(conn, here.id, manner.bases)
        if manner.upstreams != before.upstreams:
            indexes.set_upstreams(conn, here.id, manner.upstreams)
        if manner.mutability != before.mutability:
            indexes.ensure(conn, here.name, 0.0, manner.mutability)
        if manner.challenge != before.challenge:
            indexes.set_challenge(conn, here.id, manner.challenge)
        if manner.policy != before.policy:
            indexes.set_policy(conn, here.id, dict(manner.policy) or None)

    def _view(self, conn: Connection, here: indexes.Index, *, changed: bool = False) -> IndexView:
        bases = {each.name: each.bases for each in indexes.list(conn)}
        folders = here.folders
        if here.name == DEFAULT_INDEX:
            roots = sorted(self._storage.roots.items())
            folders = tuple(path for root, path in roots if root < MOST_ROOTS)
        folders = tuple(self._storage.bucket or each if each == BUCKET else each for each in folders)
        return IndexView(
            here.name,
            here.mutability,
            here.challenge,
            here.bases,
            here.upstreams,
            folders,
            dict(manner_of(here).policy),
            layers.order(here.name, bases),
            tuple(sorted(layers.heirs([here.name], bases)[here.name])),
            changed,
        )


def manner_of(index: indexes.Index) -> Manner:
    """What is set of an index."""
    told = json.loads(index.policy) if index.policy else {}
    policy = tuple(sorted(told.items())) if isinstance(told, dict) else ()
    return Manner(index.bases, index.upstreams, index.mutability, index.challenge, policy)


def _said(manner: Manner) -> dict[str, object]:
    return {
        "bases": [*manner.bases],
        "upstreams": [*manner.upstreams],
        "mutability": manner.mutability,
        "challenge": manner.challenge,
        "policy": dict(manner.policy),
    }


def _outside(view: IndexView) -> IndexView:
    """What somebody sees of an index who does not administer it."""
    return IndexView(view.name, view.mutability, view.challenge, (), (), (), {}, (view.name,), ())
