"""Files of an upstream's page that are kept as the text we answer with, and read where one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, overload

import msgspec

from pidex.core import names
from pidex.core.upstreams import UpstreamFile

#: What the URLs of files start with in that text: where files are, seen from a page.
BASE: Final = "../../packages/"
#: With what the list of files begins in it, and each of its lines.
LIST, LINE = b'"files":[', b'{"filename":"'
#: Files at the end of a page, where PyPI has the newest ones, among which the newest release is looked for.
LOOKED_AT: Final = 200

NO_URLS: Final[Mapping[str, str]] = {}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Line(msgspec.Struct, rename="kebab", gc=False):
    filename: str
    url: str
    hashes: dict[str, str]
    requires_python: str | None
    core_metadata: bool | dict[str, str]
    size: int
    upload_time: str
    yanked: bool | str
    provenance: str | None = None


_decode_line = msgspec.json.Decoder(_Line)
_decode_lines = msgspec.json.Decoder(list[_Line])


class Written(Sequence[UpstreamFile]):
    """The files of a page by (version, filename), all of PyPI's form, with all sizes and times known.

    `text` is the page as `simpleapi.page_json` writes it, `versions` are those that it tells, `prefix` is
    what the URLs of all files start with at their upstream. `urls` has those that do not, by file name;
    `yanked` those of all files that are yanked. `bare` names the wheels whose metadata is not announced.
    `packed`: `text` in zstd, where it was packed already.

    To look at all of them takes as long as reading the page would have taken.
    """

    __slots__ = ("_count", "_start", "bare", "packed", "prefix", "text", "urls", "versions", "yanked")

    def __init__(
        self,
        text: bytes,
        count: int,
        *,
        prefix: str,
        versions: tuple[str, ...],
        yanked: Mapping[str, str] = NO_URLS,
        bare: tuple[str, ...] = (),
        urls: Mapping[str, str] = NO_URLS,
        packed: bytes | None = None,
    ) -> None:
        self.text, self.prefix, self.versions = text, prefix, versions
        self.yanked, self.bare, self.urls, self.packed = yanked, bare, urls, packed
        self._count, self._start = count, text.index(LIST) + len(LIST)

    @property
    def lines(self) -> bytes:
        """The list of files as JSON."""
        return self.text[self._start - 1 : self.text.rindex(b"]") + 1]

    def begins(self, head: bytes) -> bool:
        """Whether the text has this before its files."""
        return len(head) == self._start and self.text.startswith(head)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> UpstreamFile: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[UpstreamFile, ...]: ...
    def __getitem__(self, at: int | slice) -> UpstreamFile | tuple[UpstreamFile, ...]:
        return tuple(self)[at]

    def __iter__(self) -> Iterator[UpstreamFile]:
        return map(self._file, _decode_lines.decode(self.lines))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (tuple, Written)) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self.text)

    def find(self, key: str) -> UpstreamFile | None:
        """The file whose casefolded name this is."""
        wanted = LINE + key.encode("utf-8", "replace") + b'"'
        at = self.text.find(wanted, self._start)
        if at < 0:
            at = self.text.lower().find(wanted, self._start)  # all of it is ASCII that a name may be in
        return None if at < 0 else self._at(at)

    def newest(self) -> UpstreamFile | None:
        """The only wheel of the newest final release among the last files; None where it has several."""
        at, found, version = len(self.text), -1, ""
        for _ in range(LOOKED_AT):
            at = self.text.rfind(LINE, self._start, at)
            if at < 0:
                break
            name = self.text[at + len(LINE) : self.text.index(b'"', at + len(LINE))].decode()
            if not name.endswith(".whl"):
                continue
            said = name.split("-", 2)[1]
            if said == version:
                return None
            if version:
                break
            if not names.is_prerelease(said):
                found, version = at, said
        return self._at(found) if version else None

    def _at(self, at: int) -> UpstreamFile:
        """The file whose line starts there."""
        end = self.text.find(b"," + LINE, at)
        return self._file(_decode_line.decode(self.text[at : end if end >= 0 else self.text.rindex(b"]")]))

    def _file(self, line: _Line) -> UpstreamFile:
        filename, said, yanked = line.filename, line.core_metadata, line.yanked
        metadata: str | None
        if isinstance(said, dict):
            metadata = said["sha256"]
        else:
            metadata = "" if said and not (self.bare and filename in self.bare) else None
        since = datetime.fromisoformat(line.upload_time) - _EPOCH
        return UpstreamFile(
            filename,
            self.urls.get(filename) or self.prefix + line.url[len(BASE) :],
            tuple(line.hashes.items()),
            line.size,
            (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds,
            "upstream",
            line.requires_python,
            yanked if isinstance(yanked, str) else "" if yanked else None,
            metadata,
            line.provenance,
        )
