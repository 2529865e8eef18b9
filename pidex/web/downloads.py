"""Files and what lies beside them: bytes, core metadata, signatures, and redirects from plain file names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial

from pidex.core import names
from pidex.core.errors import Changing, NotFound, PidexError
from pidex.core.interfaces import Handle
from pidex.core.model import File
from pidex.core.negotiation import encoding, etag_matches
from pidex.core.simpleapi import file_path
from pidex.mirror import Mirror
from pidex.web.call import Call
from pidex.web.files import OpenFile, answer, check, file_headers, pump
from pidex.web.listings import send
from pidex.web.pages import Address, Built
from pidex.web.replies import Reply, redirect, reply
from pidex.web.site import Site

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIDECARS = (".metadata", ".asc")
#: Seconds for which a mirrored file is served without asking its page again whether it may be had.
KEPT_SECONDS = 10.0
#: Bytes of core metadata that are packed on the loop: in 0.3 ms.
QUICK_BYTES = 32 * 1024


async def download(site: Site, call: Call) -> None:
    """`/packages/<2>/<2>/<60 hex>/<filename>`: a file, its `.metadata`, or its `.asc` (5.1, 4.8)."""
    one, two, rest = (call.params[part] for part in ("one", "two", "rest"))
    digest, filename = one + two + rest, call.params["filename"]
    if len(one) != 2 or len(two) != 2 or not _DIGEST.fullmatch(digest):
        await find(site, call)
        return
    suffix = next((end for end in _SIDECARS if filename.endswith(end)), "")
    await site.admit(call, "download", _project(filename.removesuffix(suffix)))
    if filename.endswith(".metadata"):
        await _metadata(site, call, digest, filename.removesuffix(".metadata"))
    elif filename.endswith(".asc"):
        await _signature(site, call, digest, filename.removesuffix(".asc"))
    else:
        call.kind = "file"
        await _file(site, call, digest, filename)


async def find(site: Site, call: Call) -> None:
    """`/packages/<filename>`, or pypiserver's `/packages/<folder>/<filename>`: to the file's lasting URL."""
    path = call.rest.removeprefix("/packages/")
    suffix = next((end for end in _SIDECARS if path.endswith(end)), "")
    path = path.removesuffix(suffix)
    filename = path.rpartition("/")[2]
    await site.admit(call, "download", _project(filename))

    def look() -> File | None:
        return site.resolver.find(call.index, filename, by=call.by)

    found = await site.pages.patiently(look, call.index, _project(filename)) if filename else None
    if found is None or path not in (filename, found.path):
        raise NotFound(f"There is no file {path} here.")
    target = f"{call.up}packages/{file_path(found)}{suffix}"
    await call.reply(redirect(302, target, call.query, private=call.audience.private))


async def _file(site: Site, call: Call, digest: str, filename: str) -> None:
    opened = site.files.find(call.path)
    if opened is not None and opened.until is not None and site.clock() >= opened.until:
        site.files.drop(call.path, opened)
        opened = None
    # Opened for somebody who may have it: others are told by the resolver what there is for them.
    if opened is not None and site.gate.sees(call.by, call.index, "download", opened.file.project):
        try:
            with opened:
                await _serve(site, call, opened)
                return
        except Changing:
            if call.status:
                raise
            site.files.drop(call.path, opened)
    found = await _open(site, call, digest, filename)
    if isinstance(found, str):
        # For this caller, for some minutes: the lasting URL is ours.
        target = Reply(302, [("location", found), ("cache-control", "no-store"), ("content-length", "0")])
        await call.reply(target)
        return
    with found:
        await _serve(site, call, found)


async def _open(site: Site, call: Call, digest: str, filename: str) -> OpenFile | str:
    """Find and open a file, or say at which URL a bucket hands it out (to GET alone, for which it is signed).

    Raises `NotFound`, `Changing`, or `Busy` while its project is being read.
    """

    def locate() -> tuple[File, Handle | str | None]:
        file = site.resolver.locate(call.index, digest, filename, by=call.by, epoch=seen)
        call.audience = site.gate.audience(call.by, call.index, "download", file.project)
        if file.origin:
            return file, None
        link = None if call.head else site.resolver.link(file)
        return file, link or site.resolver.open(file)

    seen = site.pages.changes
    file, handle = await site.pages.patiently(locate, call.index, _project(filename))
    if isinstance(handle, str):
        return handle
    if handle is None:
        handle = await mirror_of(site).open(file)
    opened = OpenFile(call.index, file, handle, _headers(site, call), private=call.audience.private)
    if file.origin:
        opened.until = site.clock() + KEPT_SECONDS
    # Else it may be gone from the index since it was found; what is on its way is gone when it has come.
    if seen == site.pages.changes and opened.reach is None:
        site.files.put(call.path, opened)
    return opened


async def serve_once(site: Site, call: Call, project: str, locate: Callable[[], File]) -> None:
    """Send the file that `locate` finds, and keep nothing open."""

    def find_() -> tuple[File, Handle | None]:
        file = locate()
        call.audience = site.gate.audience(call.by, call.index, "download", file.project)
        return file, None if file.origin else site.resolver.open(file)

    file, handle = await site.pages.patiently(find_, call.index, project)
    if handle is None:
        handle = await mirror_of(site).open(file)
    headers = {**_headers(site, call), "cache-control": "no-store"}
    with OpenFile(call.index, file, handle, headers, private=call.audience.private) as opened:
        await _serve(site, call, opened)


def mirror_of(site: Site) -> Mirror:
    """What a mirrored file is read from."""
    assert site.mirror is not None, "no mirror lists mirrored files"
    return site.mirror


async def _serve(site: Site, call: Call, opened: OpenFile) -> None:
    handle = opened.handle
    await check(handle, site.readers)
    told, span = answer(opened, call.headers, head=call.head)
    if span is None:
        await call.reply(told)
        return
    if opened.reach is not None and span[0] < span[1]:
        await opened.reach(*span)  # what the upstream says instead is still an answer of its own
    data = opened.small() if told is opened.whole else None
    if data is not None:
        await call.reply(told, data)
        return
    if span[0] >= span[1]:
        await call.reply(told)
        return
    await call.start(told)
    call.sent, whole = await pump(opened, span, call.send, call.receive, site.readers)
    if not whole:
        site.cut.add()
        site.files.drop(call.path, opened)


async def _metadata(site: Site, call: Call, digest: str, filename: str) -> None:
    """The wheel's METADATA, byte for byte (MET-1), compressed where asked for (MET-5)."""
    call.kind = "metadata"
    project = _project(filename)
    if project is None:
        raise NotFound(f"There is no file {filename} here.")

    located: list[File] = []  # not looked for again when its metadata has been fetched

    def build(*, wait: bool = True) -> Built:
        if not located:
            epoch = site.pages.changes
            located.append(
                site.resolver.locate(call.index, digest, filename, by=call.by, epoch=epoch, wait=wait)
            )
        file = located[0]
        if file.metadata_sha256 is None and not file.announced:
            raise NotFound(f"{filename} has no .metadata beside it.")
        data = site.resolver.metadata(call.index, file, by=call.by, wait=wait)
        if not wait and len(data) > QUICK_BYTES:
            raise BlockingIOError
        return Built((data,), "application/octet-stream", _headers(site, call)["cache-control"])

    address = Address(call.path, call.index, project, "download", "metadata", False, call.audience)
    slot = (None, encoding(call.headers.get("accept-encoding")))
    quick = partial(build, wait=False) if slot[1] != "gzip" else None
    await send(call, await site.pages.get(address, slot, build, by=call.by, quick=quick))


async def _signature(site: Site, call: Call, digest: str, filename: str) -> None:
    """The detached signature that lies beside a file in its folder, and is never listed."""

    def read() -> bytes | None:
        file = site.resolver.locate(call.index, digest, filename, by=call.by)
        return None if file.origin else site.signature(file)

    data = await site.pages.patiently(read, call.index, _project(filename))
    if data is None:
        raise NotFound(f"{filename} has no .asc beside it.")
    # Another signature may replace it at any time.
    headers = {
        **_headers(site, call),
        "etag": f'"{hashlib.sha256(data).hexdigest()}"',
        "cache-control": call.audience.control("no-cache"),
    }
    del headers["accept-ranges"]
    asked = call.headers.get("if-none-match")
    if asked is not None and etag_matches(asked, headers["etag"]):
        await call.reply(Reply(304, [(name, headers[name]) for name in ("etag", "cache-control")]))
        return
    await call.reply(reply(200, headers, data, head=call.head))


def _headers(site: Site, call: Call) -> dict[str, str]:
    return file_headers(site.options.file_cache_control, call.audience)


def _project(filename: str) -> str | None:
    """The project that a file name speaks of, or None."""
    try:
        return names.parse(filename).project
    except PidexError:
        return None
