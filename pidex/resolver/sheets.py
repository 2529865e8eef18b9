"""Pages of upstreams in our own words: converted once, and kept while the mirror holds the same page."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from typing import NamedTuple

from pidex.core import names, upstreampages
from pidex.core.errors import BadName
from pidex.core.model import Distribution, File, PackageType
from pidex.core.upstreams import UpstreamFile, UpstreamPage
from pidex.resolver.listing import ordered

#: Files of all pages that are kept converted: some 10 MB.
KEPT_FILES = 10_000

_PYPI_TAIL = re.compile(r"/([0-9a-f]{2})/([0-9a-f]{2})/([0-9a-f]{60})/[^/?#]+\Z")


class Sheet(NamedTuple):
    """A page of an upstream. `files` by (version, filename)."""

    page: UpstreamPage
    files: tuple[File, ...]


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
        converted = [_as_file(file, page.project, upstream, index) for file in page.files]
        sheet = Sheet(page, ordered([file for file in converted if file is not None]))
        with self._lock:
            self._drop(key)
            self._sheets[key] = sheet
            self._files += len(sheet.files)
            while self._files > self._limit and len(self._sheets) > 1:
                self._drop(next(iter(self._sheets)))
        return sheet

    def find_one(self, upstream: str, index: str, page: UpstreamPage, key: str) -> Sheet:
        """As `find`, with the file alone whose casefolded name is `key`: a page may have thousands."""
        with self._lock:
            sheet = self._sheets.get((upstream, index, page.project))
        if sheet is not None and sheet.page is page:
            return Sheet(page, tuple(file for file in sheet.files if file.filename.casefold() == key))
        found = (file for file in page.files if file.filename.casefold() == key)
        converted = (_as_file(file, page.project, upstream, index) for file in found)
        return Sheet(page, tuple(file for file in converted if file is not None)[:1])

    def _drop(self, key: tuple[str, str, str]) -> None:
        old = self._sheets.pop(key, None)
        if old is not None:
            self._files -= len(old.files)


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
        blake2b_256=_tail(file, upstream),
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


def _tail(file: UpstreamFile, upstream: str) -> str:
    """What its address here holds: the digest in an upstream's URL of PyPI's form, else one that we make."""
    found = _PYPI_TAIL.search(file.url)
    if found is not None:
        return "".join(found.groups())
    said = "\n".join([upstream, file.url, *(f"{name}={value}" for name, value in file.hashes)])
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest()
