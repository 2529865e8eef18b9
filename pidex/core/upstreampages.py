"""Pages of other indexes read: JSON (PEP 691), HTML (PEP 503), lists of links and bare directory listings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from pidex.core import anchors, names, passage
from pidex.core.answers import Body, document, is_json, json_bytes
from pidex.core.destinations import cleaned, place, shown
from pidex.core.errors import BadName, UpstreamFault
from pidex.core.familiar import Familiar
from pidex.core.limits import MAX_FILENAME
from pidex.core.model import Status
from pidex.core.passage import Line
from pidex.core.upstreams import UNKNOWN, UpstreamFile, UpstreamPage

#: Files of a page, and what is noted of things left out.
MAX_FILES: Final = 1_000_000
#: Files of a page that is read at once; PyPI's longest have some 20,000, and each takes a kilobyte meanwhile.
MAX_USUAL_FILES: Final = 50_000
MAX_NOTES: Final = 20
#: Characters of a text that a page says of a file.
MAX_TEXT: Final = 2_000

#: Hexadecimal digits of the hashes whose length is known.
DIGITS: Final = {
    "md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128,
    "sha3_256": 64, "sha3_384": 96, "sha3_512": 128, "blake2b_256": 64,
}  # fmt: skip
_STRONG: Final = frozenset(DIGITS) - {"md5", "sha1"}
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){4,128}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ALGORITHM: Final = re.compile(r"[a-z][a-z0-9_-]{1,30}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_VARIANTS: Final = "-variants.json"


class _Names(msgspec.Struct):
    projects: list[_Name]


class _Name(msgspec.Struct, gc=False):
    name: str


_decode_line = msgspec.json.Decoder(Line, strict=True)


class _Whole(msgspec.Struct, rename="kebab"):
    """A JSON page in which every file has what the standard says."""

    files: list[Line]
    name: Any = None
    meta: Any = None
    project_status: Any = None


class _Envelope(msgspec.Struct, rename="kebab"):
    """A JSON page; each file is read by itself, so that a bad one costs itself alone."""

    files: list[msgspec.Raw]
    name: Any = None
    meta: Any = None
    project_status: Any = None


@dataclass(slots=True)
class Notes:
    """What was left out of a page and why, at most `MAX_NOTES` sentences; `count` of all."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.lines) < MAX_NOTES:
            self.lines.append(_CONTROLS.sub("?", text)[:300])


class _Where(NamedTuple):
    """What the files of a page have in common. `base`: what links start from; `project` None: of any."""

    base: str
    secure: bool
    project: str | None
    notes: Notes
    familiar: Familiar | None = None


class Links(NamedTuple):
    """A page of links: its files by normalised project, and its folders by the project they may be of."""

    files: dict[str, list[UpstreamFile]]
    folders: dict[str, str]
    simple: bool  # it says that it is an index's list of projects


def identity(filename: str) -> tuple[str, str]:
    """The normalised project and the version of a file name, for kinds too that we only pass on (MIR-6).

    Raises `BadName`.
    """
    if len(filename) <= MAX_FILENAME and filename.endswith(_VARIANTS):
        name, _, version = filename.removesuffix(_VARIANTS).partition("-")
        if names.is_name(name) and names.is_version(version):
            return names.normalize(name), version
    known = filename.removesuffix("x") if filename.endswith(".whlx") else filename
    named = names.parse(known)
    return named.project, named.version


def page(project: str, body: Body, notes: Notes) -> UpstreamPage:
    """A project's page. Raises `UpstreamFault` for nonsense; a bad file is left out and noted."""
    if is_json(body):
        return _json_page(project, body, notes)
    linked = document(body)
    metas = linked.metas
    _check_version(metas.get("pypi:repository-version"))
    files = list(_linked(body.url, linked, notes, project))
    if not files and linked.interactive:
        raise UpstreamFault(f"{shown(body.url)} is no page of an index: a form or script, and no file.")
    return UpstreamPage(
        project=project,
        name=_name_of(project, files),
        files=unique(files, notes),
        status=_status(metas.get("pypi:project-status")),
        status_reason=_text(metas.get("pypi:project-status-reason")),
    )


def links(body: Body, notes: Notes) -> Links:
    """A page of links to files of many projects, or a directory that has one folder a project."""
    linked = document(body)
    found: dict[str, list[UpstreamFile]] = {}
    for file in _linked(body.url, linked, notes, None):
        found.setdefault(_owner(file), []).append(file)
    folders: dict[str, str] = {}
    start = body.url.partition("?")[0].rpartition("/")[0] + "/"
    for anchor in linked.anchors:
        href = anchor.href
        if not href.endswith("/") or "?" in href:
            continue
        try:
            url = cleaned(linked.base or body.url, href)
        except UpstreamFault:
            continue
        name = unquote(url[len(start) : -1]) if url.startswith(start) else ""
        if names.is_name(name):
            folders.setdefault(names.normalize(name), url)
    simple = "pypi:repository-version" in linked.metas
    return Links(found, folders, simple)


def project_names(body: Body) -> Iterator[str]:
    """The names of an index's list of projects, as it spells them. Raises `UpstreamFault` for nonsense."""
    if is_json(body):
        try:
            listed = msgspec.json.decode(json_bytes(body), type=_Names)
        except (msgspec.MsgspecError, RecursionError):
            raise UpstreamFault(f"{shown(body.url)} is no list of projects.") from None
        return (each.name for each in listed.projects if names.is_name(each.name))
    linked = document(body)
    if linked.interactive and not linked.anchors:
        raise UpstreamFault(f"{shown(body.url)} is no list of projects.")
    return (name for anchor in linked.anchors if (name := _listed_name(body.url, linked, anchor)))


def _listed_name(url: str, linked: anchors.Document, anchor: anchors.Anchor) -> str:
    """The name that a link of a list stands for: its text, or its last folder; '' for none."""
    href = anchor.href.partition("#")[0].partition("?")[0].rstrip("/")
    last = unquote(href.rpartition("/")[2])
    if not names.is_name(last) or "?" in anchor.href:
        return ""
    if names.is_name(anchor.text) and names.normalize(anchor.text) == names.normalize(last):
        return anchor.text
    return last if anchor.href.endswith("/") and not anchor.href.startswith("..") and "/" not in href else ""


def _json_page(project: str, body: Body, notes: Notes) -> UpstreamPage:
    whole = _whole(body)
    if len(whole.files) > MAX_FILES:
        raise UpstreamFault(f"{shown(body.url)} lists more than {MAX_FILES:,} files.")
    meta = whole.meta if isinstance(whole.meta, dict) else {}
    _check_version(meta.get("api-version"))
    if isinstance(whole.name, str) and names.normalize(whole.name) != project:
        raise UpstreamFault(f"{shown(body.url)} is the page of another project.")
    where = _Where(body.url, place(body.url).scheme == "https", project, notes, Familiar(project))
    status = whole.project_status if isinstance(whole.project_status, dict) else {}
    serial = meta.get("_last-serial")
    serial = serial if isinstance(serial, int) and 0 <= serial < 1 << 62 else None
    marks = _status(status.get("status")), _text(status.get("reason"))
    if isinstance(whole, _Whole):
        beside = where._replace(notes=Notes())
        quick = passage.passed(project, whole.files, text=_one_line, odd=lambda line: _read(line, beside))
        if quick is not None:
            notes.lines += beside.notes.lines
            notes.count += beside.notes.count
            return UpstreamPage(project, quick.last, quick.written(project, *marks, serial), *marks, serial)
    read = [_read(each, where) for each in whole.files]
    files = [file for file in read if file is not None]
    return UpstreamPage(project, _name_of(project, files), unique(files, notes), *marks, serial)


def _read(each: Line | msgspec.Raw, where: _Where) -> UpstreamFile | None:
    line = each if isinstance(each, Line) else _line_of(each)
    if line is None:
        where.notes.add("a file is left out: its line has no name, URL and hashes")
        return None
    return _file_of_line(line, where)


def _whole(body: Body) -> _Whole | _Envelope:
    """A JSON page: its files read, or to be read one by one where any of them is not as it should be."""
    data = json_bytes(body)
    try:
        if data.count(b'"filename"') <= MAX_USUAL_FILES:
            return msgspec.json.decode(data, type=_Whole)
    except (msgspec.MsgspecError, RecursionError):
        pass
    try:
        return msgspec.json.decode(data, type=_Envelope)
    except (msgspec.MsgspecError, RecursionError):
        raise UpstreamFault(f"{shown(body.url)} is no page of an index: its JSON cannot be read.") from None


def _line_of(raw: msgspec.Raw) -> Line | None:
    try:
        return _decode_line.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return _mended(raw)


def _mended(raw: msgspec.Raw) -> Line | None:
    """A file of which something optional has a wrong type: without that. None where more is wrong."""
    try:
        given = msgspec.json.decode(raw)
        if not isinstance(given, dict):
            return None
        required = {key: given.get(key) for key in ("filename", "url", "hashes")}
        line = msgspec.convert(required, Line)
    except (msgspec.MsgspecError, RecursionError):
        return None
    for key in (
        "requires-python",
        "core-metadata",
        "dist-info-metadata",
        "yanked",
        "size",
        "upload-time",
        "provenance",
    ):
        try:
            one = msgspec.convert({**required, key: given.get(key)}, Line)
        except msgspec.ValidationError:
            if key == "yanked":  # something was said: better believed than lost
                line.yanked = True
            continue
        setattr(line, key.replace("-", "_"), getattr(one, key.replace("-", "_")))
    return line


def _file_of_line(line: Line, where: _Where) -> UpstreamFile | None:
    announced = line.core_metadata if line.core_metadata is not None else line.dist_info_metadata
    metadata: str | None
    if isinstance(announced, dict):
        metadata = announced.get("sha256", "")
        if _SHA256.fullmatch(metadata) is None:
            metadata = metadata.lower() if _is_digest("sha256", metadata.lower()) else ""
    else:
        metadata = "" if announced else None
    filename, url, yanked, size = line.filename, line.url, line.yanked, line.size
    size = size if size is not None and 0 <= size <= passage.MAX_SIZE else UNKNOWN
    time = moment(line.upload_time)
    requires = None if line.requires_python is None else _one_line(line.requires_python)
    reason = (_one_line(yanked) or "") if isinstance(yanked, str) else "" if yanked else None
    provenance = None if line.provenance is None else _secure(line.provenance)
    sha256, familiar = line.hashes.get("sha256"), where.familiar
    if (
        familiar is not None
        and sha256 is not None
        and len(line.hashes) == 1
        and _SHA256.fullmatch(sha256) is not None
        and familiar.has_name(filename)
        and familiar.has_place(url, filename)
    ):
        if not filename.endswith(".whl"):
            metadata = None
        hashes = (("sha256", sha256),)
        return UpstreamFile(
            filename, url, hashes, size, time, "upstream", requires, reason, metadata, provenance
        )
    return _checked(
        filename, url, line.hashes, where, size=size, upload_time=time, requires_python=requires,
        yanked=reason, metadata=metadata, provenance=provenance,
    )  # fmt: skip


def _linked(url: str, linked: anchors.Document, notes: Notes, project: str | None) -> Iterator[UpstreamFile]:
    """The files that an HTML page links to."""
    base, secure = url, place(url).scheme == "https"
    if linked.base:
        try:
            base = cleaned(url, linked.base)
        except UpstreamFault:
            notes.add("the page's <base> is left out: it is no URL")
    where = _Where(base, secure, project, notes)
    for anchor in linked.anchors:
        href = anchor.href
        if not href or href.endswith("/") or href[0] in "?#":
            continue
        reference, _, fragment = href.partition("#")
        filename = unquote(reference.partition("?")[0].rpartition("/")[2])
        if not _is_kind(filename):
            filename = anchor.text
            if not _is_kind(filename):
                continue
        said = anchor.attributes
        announced = said.get("data-core-metadata", said.get("data-dist-info-metadata"))
        file = _checked(
            filename, reference, _fragments(fragment), where,
            size=_number(said.get("data-size")),
            upload_time=moment(said.get("data-upload-time")),
            requires_python=_text(said.get("data-requires-python")),
            yanked=None if (yanked := said.get("data-yanked")) is None else _text(yanked) or "",
            metadata=_announcement(announced),
            provenance=_secure(said.get("data-provenance")),
        )  # fmt: skip
        if file is not None:
            yield file


def _checked(
    filename: str, reference: str, hashes: dict[str, str], where: _Where, **said: Any
) -> UpstreamFile | None:
    """A file whose name, URL and hashes may be believed, or None and a note why not."""
    try:
        owner, _ = identity(filename)
        if where.project not in (None, owner):
            raise BadName(f"{filename[:80]!r} is no file of {where.project}")
        url = cleaned(where.base, reference)
        checked = _hashes(hashes)
    except (BadName, UpstreamFault, ValueError) as error:
        where.notes.add(f"{filename[:80]!r} is left out: {error}")
        return None
    if where.secure and url[:5] == "http:" and not any(name in _STRONG for name, _ in checked):
        where.notes.add(f"{filename[:80]!r} is left out: it is reached by plain http, and has no hash")
        return None
    if not filename.endswith((".whl", ".whlx")):
        said["metadata"] = None
    return UpstreamFile(filename, url, checked, **said)


def _hashes(given: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Hashes in lower case, by name. Raises `ValueError` where one of a known kind is malformed."""
    if len(given) == 1 and (only := given.get("sha256")) is not None and _SHA256.fullmatch(only):
        return (("sha256", only),)
    found: dict[str, str] = {}
    for name, value in given.items():
        algorithm, digest = name.lower(), value.lower()
        if algorithm in DIGITS:
            if not _is_digest(algorithm, digest):
                raise ValueError(f"its {algorithm} is no such hash")
            found[algorithm] = digest
        elif len(found) < 20 and _ALGORITHM.fullmatch(algorithm) and _HEX.fullmatch(digest):
            found[algorithm] = digest
    return tuple(sorted(found.items()))


def _is_digest(algorithm: str, digest: str) -> bool:
    return len(digest) == DIGITS[algorithm] and _HEX.fullmatch(digest) is not None


def _fragments(fragment: str) -> dict[str, str]:
    """The hashes of a link's fragment, which may have other things in it (`egg=`, `subdirectory=`)."""
    pairs = (piece.partition("=") for piece in fragment.split("&")[:20])
    return {name.lower(): value for name, _, value in pairs if name.lower() in DIGITS}


def _announcement(text: str | None) -> str | None:
    """What `data-core-metadata` says: a SHA-256, '' for no more than that it is there, or None."""
    if text is None or text.lower() == "false":
        return None
    algorithm, _, digest = text.lower().partition("=")
    return digest if algorithm == "sha256" and _is_digest("sha256", digest) else ""


def _owner(file: UpstreamFile) -> str:
    return identity(file.filename)[0]


def _is_kind(filename: str) -> bool:
    return names.is_package(filename) or filename.endswith((".whlx", _VARIANTS))


def unique(files: list[UpstreamFile], notes: Notes | None = None) -> tuple[UpstreamFile, ...]:
    """Each name once, the first one."""
    if len({file.filename.casefold() for file in files}) == len(files):
        return tuple(files)
    found: dict[str, UpstreamFile] = {}
    for file in files:
        known = found.setdefault(file.filename.casefold(), file)
        if notes is not None and known.hashes != file.hashes:
            notes.add(f"{file.filename[:80]!r} is there twice with other hashes: the first one is taken")
    return tuple(found.values())


def _name_of(project: str, files: list[UpstreamFile]) -> str:
    """The project's name as its last file spells it."""
    for file in reversed(files):
        if names.is_package(file.filename):
            return names.parse(file.filename).name
    return project


def _status(text: object) -> Status:
    try:
        return Status(str(text).lower())
    except ValueError:
        return Status.ACTIVE  # STA-3


def _text(text: object) -> str | None:
    """A text for people or specifiers, on one line and bounded; None for none."""
    return _one_line(text) if isinstance(text, str) else None


@lru_cache(maxsize=1_024)  # the files of a project say the same of Pythons
def _one_line(text: str) -> str | None:
    return " ".join(_CONTROLS.sub(" ", text).split())[:MAX_TEXT] or None


def _secure(url: object) -> str | None:
    """An absolute https URL, as provenance must be (HTM-7)."""
    if not isinstance(url, str) or not url.startswith("https://"):
        return None
    try:
        return cleaned(url, url)
    except UpstreamFault:
        return None


def _number(text: str | None) -> int:
    if text is None or not re.fullmatch(r"[0-9]{1,16}", text):
        return UNKNOWN
    return min(int(text), passage.MAX_SIZE)


def moment(text: str | None) -> int:
    """A time as pages have it, in microseconds since 1970; `UNKNOWN` for what is none."""
    if not text or len(text) > 40:
        return UNKNOWN
    try:
        when = datetime.fromisoformat(text)
        since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return UNKNOWN
    return max(UNKNOWN, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def _check_version(version: object) -> None:
    """Only a version 1 of the simple API can be read (APV-4); none at all means 1.0."""
    if version is not None and not re.match(r"1(\.|$)", str(version)):
        raise UpstreamFault(
            f"The upstream speaks version {str(version)[:20]!a} of the simple API, we read 1."
        )
