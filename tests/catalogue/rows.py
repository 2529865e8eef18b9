"""Builders of values to put into a catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pidex.catalogue import contents, files, indexes, journal, places, projects, scans
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.fulltext import SharedTexts
from pidex.catalogue.search import Texts
from pidex.core import names
from pidex.core.model import DEFAULT_INDEX, Facts, File, PackageType, Place, PlaceState, Shelf, Stat

#: 2024-01-02 03:04:05 UTC in seconds and microseconds.
NOW = 1_704_164_645.0
NOW_US = 1_704_164_645_000_000


def facts(data: bytes, metadata: bytes | None = None, **known: Any) -> Facts:
    """What reading `data` says."""
    return Facts(
        sha256=hashlib.sha256(data).hexdigest(),
        blake2b_256=hashlib.blake2b(data, digest_size=32).hexdigest(),
        md5=hashlib.md5(data).hexdigest(),
        size=len(data),
        metadata=metadata,
        **known,
    )


def file(filename: str, data: bytes | None = None, **changes: Any) -> File:
    """A listed file whose bytes are, unless given, its name."""
    found = names.parse(filename)
    read = facts(filename.encode() if data is None else data)
    listed = File(
        filename=filename,
        project=found.project,
        name=found.name,
        version=found.version,
        packagetype=found.packagetype,
        python_version=found.python_version,
        sha256=read.sha256,
        blake2b_256=read.blake2b_256,
        md5=read.md5,
        size=read.size,
        upload_time=NOW_US,
        metadata_sha256="0" * 64 if found.packagetype is PackageType.WHEEL else None,
        shelf=Shelf.KEPT,
        path=filename,
        stat=Stat(read.size, 1, 2, 3, 4),
    )
    return replace(listed, **changes)


def place(path: str, state: PlaceState = PlaceState.WHOLE, **known: Any) -> Place:
    """A place; a whole one has the bytes of `file`."""
    data = path.rpartition("/")[2].encode()
    if state is PlaceState.WHOLE and "sha256" not in known:
        known["sha256"] = hashlib.sha256(data).hexdigest()
    stat = known.pop("stat", Stat(len(data), 1, 2, 3, 4))
    return Place(known.pop("root", 0), path, stat, state, **known)


def index(catalogue: Catalogue, name: str = DEFAULT_INDEX, mutability: str | None = None) -> int:
    """The number of an index that is there afterwards."""
    with catalogue.write() as conn:
        return indexes.ensure(conn, name, NOW, mutability)


def listed(catalogue: Catalogue, found: Iterable[File], *, name: str = DEFAULT_INDEX, **scan: Any) -> int:
    """List files as a finished scan would, each with its place; the number of the index."""
    index_id = index(catalogue, name)
    found = [*found]
    with catalogue.write() as conn:
        files.replace_many(conn, index_id, {one.filename.casefold(): one for one in found})
        whole = [place(one.path, sha256=one.sha256, stat=one.stat, root=one.root) for one in found]
        places.upsert_many(conn, index_id, whole)
        contents.put_many(conn, [(facts_of(one), one.packagetype) for one in found])
        events = [journal.Event(one.project, "add", one.version, one.filename) for one in found]
        journal.record_many(conn, index_id, events, at=NOW_US, by="pidex")
        projects.refresh(conn, index_id, {one.project for one in found})
        scans.put(conn, index_id, scans.Scan(**{"listed": True, "finished": NOW_US, **scan}))
    return index_id


def facts_of(one: File) -> Facts:
    """What reading a listed file said."""
    metadata = f"Name: {one.name}\nVersion: {one.version}\n".encode() if one.metadata_sha256 else None
    return Facts(one.sha256, one.blake2b_256, one.md5, one.size, metadata)


def texts(catalogue: Catalogue, place: Path) -> Texts | SharedTexts:
    """What searches look through, as the program has it beside a catalogue of this engine."""
    own = Texts(place / "search.db")
    return SharedTexts(catalogue, own) if catalogue.dialect == "postgresql" else own
