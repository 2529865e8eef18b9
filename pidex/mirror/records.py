"""Pages of upstreams as bytes and back, and what is added to them: sizes, times, and when yanks were seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec
from msgspec import structs

from pidex.catalogue.packing import packed, unpacked
from pidex.core.model import Status
from pidex.core.upstreams import UNKNOWN, UpstreamFile, UpstreamPage
from pidex.core.written import Written
from pidex.mirror.ahead import key_of


class Sighting(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a file beside what its upstream says. Times in microseconds since 1970, 0: never.

    `seen`: when it was first seen there; `yanked`: when it was first seen yanked, as it is still. `size` and
    `time` are what a HEAD told of `url`; `asked`: whether that was tried.
    """

    seen: int
    yanked: int = 0
    url: str = ""
    size: int = UNKNOWN
    time: int = UNKNOWN
    asked: bool = False


class _Written(msgspec.Struct, array_like=True):
    """What is kept of `Written` files; `packed` is the page as it is answered."""

    packed: bytes
    count: int
    prefix: str
    versions: tuple[str, ...]
    yanked: dict[str, str]
    bare: tuple[str, ...]
    urls: dict[str, str]


class _Page(msgspec.Struct):
    """A page: with its files, or as it is written."""

    project: str
    name: str
    files: tuple[UpstreamFile, ...] = ()
    status: Status = Status.ACTIVE
    status_reason: str | None = None
    serial: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    written: _Written | None = None


class _Head(msgspec.Struct):
    """What of a page its upstream is asked with."""

    project: str
    name: str
    etag: str | None = None
    last_modified: str | None = None


Sightings = Mapping[str, Sighting]

_decode_page = msgspec.msgpack.Decoder(_Page)
_decode_head = msgspec.msgpack.Decoder(_Head)
_decode_seen = msgspec.msgpack.Decoder(dict[str, Sighting])


def pack(page: UpstreamPage) -> tuple[bytes, bytes]:
    """The page as bytes, and their digest. What it is answered with is packed by then."""
    files, written = page.files, None
    if isinstance(files, Written):
        ready(page)
        text = files.packed or b""
        more = (files.prefix, files.versions, dict(files.yanked), files.bare, dict(files.urls))
        files, written = (), _Written(text, len(files), *more)
    said = (page.status, page.status_reason, page.serial, page.etag, page.last_modified)
    body = msgspec.msgpack.encode(_Page(page.project, page.name, tuple(files), *said, written))
    return hashlib.blake2b(body, digest_size=16).digest(), body


def ready(page: UpstreamPage) -> None:
    """Pack what a page is answered with: in the thread that has read it, so that nobody else has to."""
    if isinstance(page.files, Written):
        page.files.packed = page.files.packed or packed(page.files.text)


def unpack(body: bytes) -> UpstreamPage | None:
    """The page; None where these bytes are none (any more)."""
    try:
        page = _decode_page.decode(body)
        files: Sequence[UpstreamFile] | None = page.files
        if page.written is not None:
            files = _files(page.written)
    except (msgspec.MsgspecError, ValueError):
        return None
    said = (page.status, page.status_reason, page.serial, page.etag, page.last_modified)
    return None if files is None else UpstreamPage(page.project, page.name, files, *said)


def _files(kept: _Written) -> Written | None:
    """The files of a page that was kept as it is written; None where that is damaged."""
    text = unpacked(kept.packed)
    if text is None:
        return None
    return Written(
        text,
        kept.count,
        prefix=kept.prefix,
        versions=kept.versions,
        yanked=kept.yanked,
        bare=kept.bare,
        urls=kept.urls,
        packed=kept.packed,
    )


def head(body: bytes) -> UpstreamPage | None:
    """The page without its files, for asking whether it has changed; None as `unpack`."""
    try:
        said = _decode_head.decode(body)
    except (msgspec.MsgspecError, ValueError):
        return None
    return UpstreamPage(said.project, said.name, etag=said.etag, last_modified=said.last_modified)


def pack_sightings(sightings: Sightings) -> bytes | None:
    return msgspec.msgpack.encode(sightings) if sightings else None


def unpack_sightings(body: bytes | None) -> Sightings:
    """The sightings; none where these bytes are none (any more)."""
    try:
        return {} if body is None else _decode_seen.decode(body)
    except (msgspec.MsgspecError, ValueError):
        return {}


def sight(page: UpstreamPage, before: Sightings, now: int) -> Sightings:
    """What is known of the files of a page beside what it says, at a time in microseconds since 1970.

    Only of those of which it does not say everything, or that are yanked: of most there is nothing to know.
    """
    found = {}
    for filename, url, is_yanked in _remarkable(page):
        old = before.get(filename)
        yanked = 0 if not is_yanked else (old.yanked if old and old.yanked else now)
        if old is not None and old.url == url:
            found[filename] = structs.replace(old, yanked=yanked)
        else:
            found[filename] = Sighting(now if old is None else old.seen, yanked, url)
    return found


def _remarkable(page: UpstreamPage) -> Iterable[tuple[str, str, bool]]:
    """Names and URLs of the files that are yanked, or of which the page does not say all."""
    if isinstance(page.files, Written):
        return ((filename, url, True) for filename, url in page.files.yanked.items())
    return (
        (file.filename, file.url, file.yanked is not None)
        for file in page.files
        if file.yanked is not None or UNKNOWN in (file.size, file.upload_time)
    )


def repaired(page: UpstreamPage, sightings: Sightings) -> UpstreamPage:
    """The page with sizes and times where it left them out (MIR-1: where a time is from is recorded)."""
    if not sightings or isinstance(page.files, Written):
        return page
    files = tuple(
        file if (known := sightings.get(file.filename)) is None else _repaired(file, known)
        for file in page.files
    )
    return replace(page, files=files)


def lacking(page: UpstreamPage, upstream: str) -> Mapping[str, UpstreamFile]:
    """The wheels without `requires-python`, by the keys of their metadata.

    None of a page that was not looked at file by file: an index that writes such pages leaves nothing out.
    """
    if isinstance(page.files, Written):
        return {}
    wheels = (file for file in page.files if not file.requires_python and file.filename.endswith(".whl"))
    return {key_of(upstream, file): file for file in wheels}


def completed(page: UpstreamPage, upstream: str, pythons: Mapping[str, str]) -> UpstreamPage:
    """The page with the Requires-Python of wheels, by their metadata's keys, where it leaves that out."""
    lacks = {file.filename: pythons[key] for key, file in lacking(page, upstream).items() if key in pythons}
    if not lacks:
        return page
    files = (
        structs.replace(file, requires_python=lacks[file.filename]) if file.filename in lacks else file
        for file in page.files
    )
    return replace(page, files=tuple(files))


def vague(page: UpstreamPage, sightings: Sightings) -> Sequence[UpstreamFile]:
    """The files whose size or time the upstream may still tell when it is asked for each."""
    if isinstance(page.files, Written):
        return ()
    return [
        file
        for file in page.files
        if (known := sightings.get(file.filename)) is not None
        and not known.asked
        and UNKNOWN in (file.size, file.upload_time)
    ]


def described(sightings: Sightings, told: Sequence[UpstreamFile]) -> Sightings:
    """The sightings with what HEADs told."""
    found = dict(sightings)
    for file in told:
        known = found[file.filename]
        time = file.upload_time if file.time_source == "last-modified" else UNKNOWN
        found[file.filename] = structs.replace(known, size=file.size, time=time, asked=True)
    return found


def _repaired(file: UpstreamFile, known: Sighting) -> UpstreamFile:
    size = known.size if file.size == UNKNOWN else file.size
    if file.upload_time != UNKNOWN:
        return file if size == file.size else structs.replace(file, size=size)
    if known.time != UNKNOWN:
        return structs.replace(file, size=size, upload_time=known.time, time_source="last-modified")
    return structs.replace(file, size=size, upload_time=known.seen, time_source="seen")
