"""The simple repository API 1.4: project pages, project lists and the flat list of files as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote

import msgspec

from pidex.core.model import File, Page, ProjectName, Status
from pidex.core.upstreams import UpstreamFile
from pidex.core.written import BASE, LIST, Written

HTML = "text/html"
V1_HTML = "application/vnd.pypi.simple.v1+html"
V1_JSON = "application/vnd.pypi.simple.v1+json"
#: What is claimed in HTML for ever (PEP 833), and in JSON until namespaces are offered (APV-2).
API_VERSION = "1.4"

#: Bytes: the least size of a chunk of a streamed list, its last one excepted.
CHUNK_BYTES = 65_536

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND = 253_402_300_799_999_999  # the end of the year 9999
#: What HTML may not contain, even escaped: controls, non-characters, halves of surrogate pairs.
_NOT_HTML = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+").fullmatch

#: The hashes that readers take from a link, best first (HTM-2).
_FRAGMENTS = ("sha256", "sha384", "sha512", "md5")

#: The last folders of a file's address, in an upstream's URL of PyPI's form.
_SPREAD = re.compile(r"/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/")
_SPREAD_CHARACTERS = 68


def _text(value: object) -> str:
    """What no encoder knows: texts that are more than that, such as `Sentence`."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


_insertion_order = msgspec.json.Encoder(enc_hook=_text)
_sorted = msgspec.json.Encoder(order="sorted", enc_hook=_text)


def page_html(page: Page, *, file_base: str) -> bytes:
    """A project page as HTML (HTM-1 to HTM-13). `file_base` is relative and ends in `/`.

    One anchor a line, each a direct child of body, attributes always in the same order and never without a
    value: fragile readers of such pages exist. A quarantined project shows no file (4.7).
    """
    title = f"Links for {_html_text(page.name)}"
    meta = f'<meta name="pypi:project-status" content="{page.status.value}">\n'
    if page.status_reason and (reason := _html_text(page.status_reason)):
        meta += f'<meta name="pypi:project-status-reason" content="{reason}">\n'
    base = escape(file_base)
    parts = [_html_head(title, meta)]
    parts += [_anchor(file, base) for file in _offered(page)]
    parts.append(_html_tail(page.serial))
    return "".join(parts).encode()


def page_json(page: Page, *, file_base: str, lines: Sequence[UpstreamFile] | None = None) -> bytes:
    """A project page as JSON (JSN-1 to JSN-5), keys always in the same order, with a newline at the end.

    `lines`: the files in the place of the page's, as its upstream lists them: the same bytes, made faster.
    Where they are written already, and the page says nothing else, it is their `text`.
    """
    status: dict[str, str] = {"status": page.status.value}
    if page.status_reason and page.status_reason.strip():
        status["reason"] = page.status_reason
    offered = _offered(page) if lines is None else lines
    written = lines if isinstance(lines, Written) and file_base == BASE else None
    # From 1.1 on every file has a size (APV-3): where an upstream tells none, the page is one of 1.0.
    sized = not page.origin or written is not None or all(file.size >= 0 for file in offered)
    files: object
    if written is not None:
        files = ()
    elif lines is None:
        files = [
            _mirrored_json(file, file_base) if file.origin else _json_file(file, file_base)
            for file in _offered(page)
        ]
    else:
        files = [_json_line(file, page.origin, file_base) for file in lines]
    body = to_json(
        {
            "meta": {"api-version": API_VERSION if sized else "1.0", "_last-serial": page.serial},
            "name": page.project,
            "project-status": status,
            "versions": page.versions,
            "files": files,
        }
    )
    if written is None:
        return body
    return (
        written.text if written.begins(body[: body.index(LIST) + len(LIST)]) else around(body, written.lines)
    )


def around(body: bytes, lines: bytes) -> bytes:
    """A page that has no file, with a list of them in JSON."""
    start = body.index(LIST) + len(LIST) - 1
    return b"".join((body[:start], lines, body[start + 2 :]))


def line_of(file: UpstreamFile) -> Line:
    """A file of an upstream whose URL is of PyPI's form, as pages have it."""
    return _json_line(file, "", BASE)


def lines_json(lines: Sequence[Line]) -> bytes:
    """The files of a page as JSON."""
    return _insertion_order.encode(lines)


def names_html(names: Iterable[ProjectName], serial: int) -> Iterator[bytes]:
    """The project list as HTML in the order of `names`, chunks of `CHUNK_BYTES` and more (LST-1, LST-5)."""

    def lines() -> Iterator[str]:
        yield _html_head("Simple index")
        for project, name, _ in names:
            href = project if _PLAIN_NAME(project) else _path(project)
            text = name if _PLAIN_NAME(name) else _html_text(name)
            yield f'<a href="{href}/">{text}</a><br />\n'
        yield _html_tail(serial)

    return _chunks(lines())


def names_json(names: Iterable[ProjectName], serial: int) -> Iterator[bytes]:
    """The project list as JSON in the order of `names`, chunks of `CHUNK_BYTES` and more (LST-2, LST-3)."""

    def pieces() -> Iterator[str]:
        yield f'{{"meta":{{"api-version":"{API_VERSION}","_last-serial":{serial:d}}},"projects":['
        comma = ""
        for _, name, last_serial in names:
            text = f'"{name}"' if _PLAIN_NAME(name) else to_json(name).decode().rstrip()
            yield f'{comma}{{"name":{text},"_last-serial":{last_serial:d}}}'
            comma = ","
        yield "]}\n"

    return _chunks(pieces())


def flat_html(files: Iterable[File], *, file_base: str) -> Iterator[bytes]:
    """All files on one page, for find-links, in the order of `files`, chunks of `CHUNK_BYTES` and more."""

    def lines() -> Iterator[str]:
        base = escape(file_base)
        yield _html_head("All files")
        for file in files:
            yield _anchor(file, base)
        yield _html_tail()

    return _chunks(lines())


def file_path(file: File) -> str:
    """`<2>/<2>/<60 hex>/<filename>`, percent-encoded: where a file is, below `packages/` of its index.

    Encodes everything but unreserved characters and `!`; `+` too, since stores exist that read it as a space.
    """
    return _address(file.blake2b_256, file.filename)


def _address(digest: str, filename: str) -> str:
    return f"{digest[:2]}/{digest[2:4]}/{digest[4:]}/{_path(filename)}"


def upload_time_text(us: int) -> str:
    """Microseconds since 1970 as `YYYY-MM-DDThh:mm:ss.ffffffZ`.

    Always six digits: some readers insist on a fraction, and older Pythons read three or six digits only.
    Times before 1970 or after 9999 (folders hold such files) become the nearest that can be written.
    """
    minutes, rest = divmod(min(max(us, 0), _LAST_MICROSECOND), 60_000_000)
    digits = str(100_000_000 + rest)  # a leading 1, two digits of seconds, six of their fraction
    return f"{_minute_text(minutes)}{digits[1:3]}.{digits[3:]}Z"


def to_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """A value as JSON with a newline at the end. What UTF-8 cannot hold becomes U+FFFD, never an error."""
    encoder = _sorted if sort_keys else _insertion_order
    try:
        return encoder.encode(value) + b"\n"
    except UnicodeEncodeError:
        return encoder.encode(_encodable(value)) + b"\n"


def yanked_json(file: File) -> bool | str:
    """`yanked` as the simple API has it: false, true, or a reason that is not empty (PEP 592, PEP 691)."""
    if file.yanked is None:
        return False
    return file.yanked if file.yanked.strip() else True


@lru_cache(maxsize=4_096)  # files of a release share their minute
def _minute_text(minutes: int) -> str:
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:17]


def _offered(page: Page) -> tuple[File, ...]:
    return () if page.status is Status.QUARANTINED else page.files


def _html_head(title: str, meta: str = "") -> str:
    """Everything before the first anchor. `title` and `meta` are HTML already."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="pypi:repository-version" content="{API_VERSION}">\n{meta}'
        f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )


def _html_tail(serial: int | None = None) -> str:
    comment = "" if serial is None else f"<!--SERIAL {serial:d}-->\n"
    return f"</body>\n</html>\n{comment}"


def _anchor(file: File, base: str) -> str:
    if file.origin:
        return _mirrored_anchor(file, base)
    attributes = f'href="{base}{file_path(file)}#sha256={file.sha256}"'
    if file.requires_python and (requires := _html_text(file.requires_python)):
        attributes += f' data-requires-python="{requires}"'
    if file.metadata_sha256:
        attributes += (
            f' data-dist-info-metadata="sha256={file.metadata_sha256}"'
            f' data-core-metadata="sha256={file.metadata_sha256}"'
        )
    if file.yanked is not None:
        attributes += f' data-yanked="{_html_text(file.yanked)}"'
    return f"<a {attributes}>{_html_text(file.filename)}</a><br />\n"


def _json_file(file: File, base: str) -> dict[str, object]:
    requires = file.requires_python
    return {
        "filename": file.filename,
        "url": base + file_path(file),
        "hashes": {"sha256": file.sha256},
        "requires-python": requires if requires and requires.strip() else None,
        "core-metadata": {"sha256": file.metadata_sha256} if file.metadata_sha256 else False,
        "size": file.size,
        "upload-time": upload_time_text(file.upload_time),
        "yanked": yanked_json(file),
    }


def _mirrored_anchor(file: File, base: str) -> str:
    """A file of an upstream: as that says it (MIR-1), with the best hash that all readers take (HTM-2)."""
    hashes = _hashes(file)
    best = next((f"#{name}={hashes[name]}" for name in _FRAGMENTS if name in hashes), "")
    attributes = f'href="{base}{file_path(file)}{best}"'
    if file.requires_python and (requires := _html_text(file.requires_python)):
        attributes += f' data-requires-python="{requires}"'
    if file.announced or file.metadata_sha256:
        said = f"sha256={file.metadata_sha256}" if file.metadata_sha256 else "true"
        attributes += f' data-dist-info-metadata="{said}" data-core-metadata="{said}"'
    if file.yanked is not None:
        attributes += f' data-yanked="{_html_text(file.yanked)}"'
    if file.provenance:
        attributes += f' data-provenance="{_html_text(file.provenance)}"'
    return f"<a {attributes}>{_html_text(file.filename)}</a><br />\n"


def _mirrored_json(file: File, base: str) -> dict[str, object]:
    """A file of an upstream: as that says it (MIR-1). What nobody knows is left out, never null."""
    line = _json_file(file, base)
    line["hashes"] = _hashes(file)
    if file.announced and not file.metadata_sha256:
        line["core-metadata"] = True
    if file.size < 0:
        del line["size"]
    if file.upload_time < 0:
        del line["upload-time"]
    if file.provenance:
        line["provenance"] = file.provenance
    return line


class Line(msgspec.Struct, rename="kebab", gc=False):
    """A file of an upstream in a page."""

    filename: str
    url: str
    hashes: dict[str, str]
    requires_python: str | None
    core_metadata: dict[str, str] | bool
    size: int | msgspec.UnsetType
    upload_time: str | msgspec.UnsetType
    yanked: bool | str
    provenance: str | msgspec.UnsetType


def _json_line(file: UpstreamFile, upstream: str, base: str) -> Line:
    """As `_mirrored_json` of the same file."""
    filename, url = file.filename, file.url
    cut = len(url) - len(filename)
    if (
        cut > _SPREAD_CHARACTERS
        and url.endswith(filename)
        and _SPREAD.fullmatch(url, cut - _SPREAD_CHARACTERS, cut) is not None
        and _PLAIN_NAME(filename)
    ):
        address = url[cut - _SPREAD_CHARACTERS + 1 :]
    else:
        address = _address(file.digest(upstream), filename)
    metadata, requires, yanked = file.metadata, file.requires_python, file.yanked
    return Line(
        filename,
        base + address,
        dict(file.hashes),
        requires if requires and requires.strip() else None,
        {"sha256": metadata} if metadata else metadata is not None or filename.endswith((".whl", ".whlx")),
        file.size if file.size >= 0 else msgspec.UNSET,
        upload_time_text(file.upload_time) if file.upload_time >= 0 else msgspec.UNSET,
        False if yanked is None else yanked if yanked.strip() else True,
        file.provenance or msgspec.UNSET,
    )


def _hashes(file: File) -> dict[str, str]:
    """What is known of a mirrored file's bytes: what its upstream said, and the SHA-256 where it is known."""
    hashes = dict(file.hashes)
    if file.sha256:
        hashes["sha256"] = file.sha256
    return hashes


def _html_text(text: str) -> str:
    """Text for HTML, between tags or in double quotes; on one line, and without what HTML cannot hold."""
    if not text.isprintable():
        text = " ".join(_NOT_HTML.sub("\ufffd", " ".join(text.split())).split())
    return escape(text.strip())


def _path(segment: str) -> str:
    """One segment of a URL's path. Bytes that are no UTF-8 (from file names) come out as they went in."""
    if _PLAIN_NAME(segment):
        return segment
    try:
        return quote(segment, safe="!", errors="surrogateescape")
    except UnicodeEncodeError:
        return quote(_SURROGATE.sub("\ufffd", segment), safe="!")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(item) for item in value]
    return value


def _chunks(pieces: Iterable[str]) -> Iterator[bytes]:
    """Joined pieces, encoded, each chunk but the last of at least `CHUNK_BYTES`."""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)  # characters; never more than bytes
        if size >= CHUNK_BYTES:
            yield "".join(waiting).encode()
            waiting.clear()
            size = 0
    if waiting:
        yield "".join(waiting).encode()
