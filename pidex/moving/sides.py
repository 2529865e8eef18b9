"""The two sides of a move, and the way of each index from the one to the other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.catalogue.engine import Catalogue
from pidex.catalogue.indexes import Index
from pidex.core.folder import BUCKET, first_root, roots_of
from pidex.core.interfaces import Storage
from pidex.core.model import DEFAULT_INDEX

if TYPE_CHECKING:  # the library for buckets is an extra
    from pidex.backends.objects.storage import Objects


@dataclass(frozen=True, slots=True)
class Side:
    """An installation: its catalogue, and where its files lie.

    `data` is its data directory, `shared` what all nodes have of it; `home`: where indexes lie that are made
    without a folder. `objects`: the part of `storage` that is in a bucket.
    """

    catalogue: Catalogue
    storage: Storage
    objects: Objects | None
    data: Path
    shared: Path
    home: Path

    @property
    def name(self) -> str:
        return self.catalogue.name

    def roots(self, index: Index) -> Sequence[int]:
        """The numbers of an index's folders."""
        return roots_of(self.storage.roots, index.name, index.id)

    def in_bucket(self, root: int) -> bool:
        """Whether that is the bucket."""
        return self.objects is not None and root in self.objects.roots


class Way(Enum):
    """What becomes of the files of an index."""

    STAYS = "stays"  # where they are; their rows are right as they are
    LINKS = "links"  # where they are, with their second names in another data directory
    BUCKET = "bucket"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Route:
    """The way of an index. `root` is its first one at the target, `folders` what it has of its own there.

    `paths`: where its git branch has files, by their casefolded names.
    """

    index: Index
    way: Way
    root: int
    folders: tuple[str, ...]
    paths: Mapping[str, str]

    def path(self, key: str, filename: str, sha256: str, before: str, *, from_bucket: bool) -> str:
        """Where a file lies at the target, that lay at `before`."""
        if self.way is Way.BUCKET:
            return f"{sha256}/{filename}"
        if not from_bucket:
            return before
        return self.paths.get(key, filename)


def routes(
    source: Side, target: Side, every: Sequence[Index], paths: Mapping[str, Mapping[str, str]]
) -> Sequence[Route]:
    """The way of each index. The default one lies where the settings of each side say.

    All others go into the bucket of a target without folders, out of it to a target without a bucket, and
    stay otherwise; what lay in the data directory goes with it. `paths`: of indexes with a git branch. The
    target knows the folders from then on.
    """
    found = []
    for index in every:
        first = first_root(index.name, index.id)
        if index.name == DEFAULT_INDEX:
            folders: tuple[str, ...] = ()
            to = {root: target.storage.roots[root] for root in target.roots(index)}
        else:
            folders = _folders(index, source, target)
            to = dict(enumerate(folders, first))
            target.storage.add(to)
            to = {root: target.storage.roots[root] for root in to}
        here = {root: source.storage.roots[root] for root in source.roots(index)}
        found.append(Route(index, _way(source, target, here, to), first, folders, paths.get(index.name, {})))
    return found


def _folders(index: Index, source: Side, target: Side) -> tuple[str, ...]:
    if BUCKET in index.folders:
        return index.folders if target.objects is not None else (str(target.home / index.name),)
    if index.folders and target.objects is not None and not target.storage.folders:
        return (BUCKET,)
    return tuple(_along(folder, source, target) for folder in index.folders)


def _along(folder: str, source: Side, target: Side) -> str:
    """Where a folder of an index is at the target, that was made in a directory of the source's own."""
    path = Path(folder).resolve()
    for home in (source.shared.resolve(), source.data.resolve()):
        if path.is_relative_to(home):
            return str(target.shared / path.relative_to(home))
    return folder


def _way(source: Side, target: Side, here: Mapping[int, str], to: Mapping[int, str]) -> Way:
    if not to or not here:
        return Way.STAYS
    if target.in_bucket(min(to)):
        return Way.STAYS if here == to else Way.BUCKET
    if {root: os.path.realpath(path) for root, path in here.items()} != {
        root: os.path.realpath(path) for root, path in to.items()
    }:
        return Way.FOLDER
    return Way.STAYS if source.shared.resolve() == target.shared.resolve() else Way.LINKS
