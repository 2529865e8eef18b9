"""Cached files of upstreams, for who verifies: listed to be hashed, dropped where damaged, fetched again."""

from __future__ import annotations

from collections.abc import Iterator

from pidex.catalogue.mirrored import FileRow
from pidex.core.errors import PidexError
from pidex.core.model import File
from pidex.mirror import Mirror
from pidex.resolver.sheets import Sheets


class Stock:
    """What the mirror holds. `fetch`: what is dropped is fetched at once, else when somebody asks for it.

    Fetching needs the mirror for itself: in a server, its workers do that.
    """

    def __init__(self, mirror: Mirror, *, fetch: bool) -> None:
        self._mirror, self._fetch = mirror, fetch

    def list(self) -> Iterator[tuple[str, int]]:
        """The SHA-256 and the size of each file that lies there."""
        return ((each.sha256, each.stat.size) for each in self._mirror.files.cache.list())

    def path(self, sha256: str) -> str:
        """Where a file lies."""
        return str(self._mirror.files.cache.path(sha256))

    def name(self, sha256: str) -> str:
        """What a file is called, or its hash where nobody knows."""
        row = self._mirror.store.find_file(sha256)
        return sha256 if row is None or not row.filename else f"{row.filename} of upstream {row.upstream}"

    def renew(self, sha256: str) -> bool:
        """Drop a file, and fetch it where that may be; whether sound bytes lie there now."""
        row = self._mirror.store.find_file(sha256)
        self._mirror.files.cache.delete(sha256)
        self._mirror.store.drop_files([sha256])
        if row is None or not self._fetch or self._mirror.offline:
            return False
        try:
            file = self._listed(row)
            if file is None:
                return False
            self._mirror.run(lambda: self._mirror.files.fetch(file)).close()
        except PidexError:
            return False
        return True

    def _listed(self, row: FileRow) -> File | None:
        """The file as its upstream's page has it, as far as that is held."""
        held = self._mirror.find_page(row.upstream, row.project, confirm=False)
        if held is None or held.page is None:
            return None
        found = Sheets().find_one(row.upstream, "", held.page, row.filename.casefold()).files
        return found[0] if found else None
