"""Pages of upstreams in our own words: in our order, and converted where more than a page is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from pidex.core import names, upstreampages
from pidex.core.errors import BadName
from pidex.core.model import Distribution, File, PackageType
from pidex.core.upstreams import UpstreamFile, UpstreamPage
from pidex.core.written import Written

#: Files of all pages that are kept converted, and those pages: some 10 MB.
KEPT_FILES = 10_000

_filename = attrgetter("filename")


class Sheet(NamedTuple):
    """A page of an upstream. `files` by (version, filename)."""

    page: UpstreamPage
    files: tuple[File, ...]


class Lines(NamedTuple):
    """The files of a page of an upstream by (version, filename), as it says them, and their versions."""

    files: Sequence[UpstreamFile]
    versions: tuple[str, ...]


class Sheets:
    """Converted pages, the least recently used dropped. Thread-safe."""

    def __init__(self, limit: int = KEPT_FILES) -> None:
        self._limit = limit
        self._sheets: OrderedDict[tuple[str, str, str], Sheet] = OrderedDict()
        self._files = 0
        self._lock = threading.Lock()

    def find(self, upstream: str, index: str, page: UpstreamPage) -> Sheet:
        """The page as we speak of it. `index`: the one whose rights its files have, '' for who asks."""
        key = (upstream, index, page.project)
        with self._lock:
            sheet = self._sheets.get(key)
            if sheet is not None and sheet.page is page:
                self._sheets.move_to_end(key)
                return sheet
        converted = (_as_file(file, page.project, upstream, index) for file in lines_of(page).files)
        sheet = Sheet(page, tuple(file for file in converted if file is not None))
        with self._lock:
            self._drop(key)
            self._sheets[key] = sheet
            self._files += 1 + len(sheet.files)
            while self._files > self._limit and len(self._sheets) > 1:
                self._drop(next(iter(self._sheets)))
        return sheet

    def find_one(self, upstream: str, index: str, page: UpstreamPage, key: str) -> Sheet:
        """As `find`, with the file alone whose casefolded name is `key`: a page may have thousands."""
        with self._lock:
            sheet = self._sheets.get((upstream, index, page.project))
        if sheet is not None and sheet.page is page:
            return Sheet(page, tuple(file for file in sheet.files if file.filename.casefold() == key))
        length = len(key)
        found: list[UpstreamFile]
        if isinstance(page.files, Written):
            only = page.files.find(key)
            found = [] if only is None else [only]
        else:
            # No other length: what casefolding makes longer is no character of a package's name.
            likely = (file for file in page.files if len(file.filename) == length)
            found = [file for file in likely if file.filename.casefold() == key]
        converted = (_as_file(file, page.project, upstream, index) for file in found)
        return Sheet(page, tuple(file for file in converted if file is not None)[:1])

    def _drop(self, key: tuple[str, str, str]) -> None:
        old = self._sheets.pop(key, None)
        if old is not None:
            self._files -= 1 + len(old.files)


def lines_of(page: UpstreamPage) -> Lines:
    """The files of a page in our order, without those whose names are no package's or another project's."""
    known: set[str] = set()  # names as wheels of the project have them
    found: dict[str, list[UpstreamFile]] = {}  # by version
    for file in page.files:
        filename = file.filename
        name = ""
        if filename.endswith(".whl"):
            name, _, rest = filename.partition("-")
            version = rest.partition("-")[0]
            if name in known and names.is_version(version):
                same = found.get(version)
                if same is None:
                    found[version] = [file]
                else:
                    same.append(file)
                continue
        told = _version_of(filename, page.project)
        if told is not None:
            found.setdefault(told, []).append(file)
            if name:
                known.add(name)
    return _sorted(found)


def _sorted(found: dict[str, list[UpstreamFile]]) -> Lines:
    """Files by (version, filename), from those of each spelling of a version (1.0 and 1.0.0 are the same)."""
    spellings: dict[tuple[object, ...], list[str]] = {}
    for version in found:
        spellings.setdefault(names.version_key(version), []).append(version)
    every: list[UpstreamFile] = []
    order: list[str] = []
    for key in sorted(spellings):
        same = spellings[key]
        if len(same) == 1:
            every += sorted(found[same[0]], key=_filename)
            order += same
        else:
            pairs = sorted((file.filename, version, file) for version in same for file in found[version])
            every += [file for _, _, file in pairs]
            order += dict.fromkeys(version for _, version, _ in pairs)
    return Lines(every, _told(order))


def _told(versions: Iterable[str]) -> tuple[str, ...]:
    """One line a release (VER-2), as `listing.versions_of` says them."""
    told: dict[str, str] = {}
    for version in versions:
        told.setdefault(names.canonical_version(version), version)
    return tuple(names.normalized_version(version) for version in told.values())


def _version_of(filename: str, project: str) -> str | None:
    """The version that a file of a project has; None where it is none of that."""
    try:
        named = _named(filename)
    except BadName:
        return None
    return named.version if named.project == project else None


def _as_file(file: UpstreamFile, project: str, upstream: str, index: str) -> File | None:
    """The file as we list it; None for one whose name is no package's, or another project's."""
    try:
        named = _named(file.filename)
    except BadName:
        return None
    if named.project != project:
        return None
    hashes = dict(file.hashes)
    return File(
        filename=file.filename,
        project=project,
        name=named.name,
        version=named.version,
        packagetype=named.packagetype,
        python_version=named.python_version,
        sha256=hashes.get("sha256", ""),
        blake2b_256=file.digest(upstream),
        md5=hashes.get("md5", ""),
        size=file.size,
        upload_time=file.upload_time,
        requires_python=file.requires_python,
        metadata_sha256=file.metadata or None,
        yanked=file.yanked,
        index=index,
        origin=upstream,
        url=file.url,
        hashes=file.hashes,
        announced=file.metadata is not None or named.packagetype is PackageType.WHEEL,
        provenance=file.provenance,
    )


def _named(filename: str) -> Distribution:
    """What a file name says, of kinds too that we only pass on (MIR-6)."""
    try:
        return names.parse(filename)
    except BadName:
        project, version = upstreampages.identity(filename)
    if filename.endswith(".whlx"):
        return names.parse(filename.removesuffix("x"))
    # What describes a release's wheels has no kind of its own, and installers that do not know it skip it.
    return Distribution(filename, project, project, version, PackageType.SDIST, "source")
