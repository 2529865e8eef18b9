"""JSON pages of PyPI's kind: what files say is proven for all of them at once, and written in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from itertools import compress, repeat
from typing import Any, Final, NamedTuple

import msgspec

from pidex.core import names, simpleapi
from pidex.core.destinations import MAX_URL, is_plain
from pidex.core.errors import BadName, UpstreamFault
from pidex.core.limits import MAX_FILENAME, MAX_VERSION
from pidex.core.model import PackageType, Page, Status
from pidex.core.upstreams import UNKNOWN, UpstreamFile
from pidex.core.written import BASE, Written

#: Files of other kinds that a page may have, in parts of all: with more the long way is not longer.
ODD_PART: Final = 2
#: Characters of what URLs start with, and of the last folders of PyPI's form.
MAX_PREFIX: Final = 1_000
SPREAD: Final = 67
#: The largest size that is believed, in bytes.
MAX_SIZE: Final = 1 << 50

_URL: Final = re.compile(r"(https?://.*/)[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/?#]+", re.ASCII)
_SDIST: Final = ".tar.gz"
#: After a dash of an sdist's name, what versions start with.
_VERSION_START: Final = re.compile(r"-[0-9vV]")
_VERSION: Final = re.compile(r"[A-Za-z0-9._]+")
_SERVER: Final = re.compile(r"https://[A-Za-z0-9.-]+/")
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$'()*+,;=:%/-]+")
_HEX: Final = b"0123456789abcdef"
_NAMED: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
_ZEROS: Final = bytes.maketrans(b"123456789", b"0" * 9)
#: The form of a time, and of one without a fraction, which is one of 0.
_TIME: Final = b"0000-00-00T00:00:00.000000Z"
_SECOND: Final = b"0000-00-00T00:00:00Z"
_HOURS: Final = frozenset(f"{hour:02d}" for hour in range(24))
#: Versions as they are normalised: their order is that of their parts.
_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_PLAIN: Final = re.compile(
    rf"({_NUMBER}(?:\.{_NUMBER})*)(?:(a|b|rc)({_NUMBER}))?(?:\.post({_NUMBER}))?(?:\.dev({_NUMBER}))?"
)


class Line(msgspec.Struct, rename="kebab", gc=False):
    """A file of a JSON page, where everything has the type that the standard says."""

    filename: str
    url: str
    hashes: dict[str, str]
    requires_python: str | None = None
    core_metadata: bool | dict[str, str] | None = None
    dist_info_metadata: bool | dict[str, str] | None = None
    yanked: bool | str | None = None
    size: int | None = None
    upload_time: str | None = None
    provenance: str | None = None


#: How a line of another kind is read: None where it is left out.
Reader = Callable[[Line], UpstreamFile | None]


class Passed(NamedTuple):
    """The files of a page as our lines in JSON, by (version, filename), and what else is known of them.

    `last` is the project's name as its last file spells it; the others as in `written.Written`.
    """

    lines: bytes
    number: int
    last: str
    prefix: str
    versions: tuple[str, ...]
    yanked: Mapping[str, str]
    bare: tuple[str, ...]
    urls: Mapping[str, str]

    def written(self, project: str, status: Status, reason: str | None, serial: int | None) -> Written:
        """The files, with the page as we write it."""
        said = Page("", project, project, serial or 0, self.versions, (), status, reason, origin="+")
        return Written(
            simpleapi.around(simpleapi.page_json(said, file_base=BASE, lines=()), self.lines),
            self.number,
            prefix=self.prefix,
            versions=self.versions,
            yanked=self.yanked,
            bare=self.bare,
            urls=self.urls,
        )


class _Other(Exception):
    """The page is not of the kind that is read here."""


class _Named(NamedTuple):
    """Files, and what their names say: the version, and what comes after it (`_OF_SDIST` of an sdist)."""

    lines: Sequence[Line]
    names: list[str]
    versions: list[str]
    rests: list[str]


#: No name has it.
_OF_SDIST: Final = "/"


def passed(
    project: str, lines: Sequence[Line], *, text: Callable[[str], str | None], odd: Reader
) -> Passed | None:
    """The files of a page; None where they have to be read one by one.

    Whatever comes out, reading them one by one would have brought the same. `text` cleans what a page says
    for people, `odd` reads a line that is not named as most are.
    """
    try:
        return _passed(project, lines, text, odd)
    except (_Other, BadName, UpstreamFault, LookupError, TypeError, ValueError):
        return None


def _passed(project: str, lines: Sequence[Line], text: Callable[[str], str | None], odd: Reader) -> Passed:
    named, others = _sorted_out(project, lines)
    prefix = _prefix(named.lines[0].url)
    ours, yanked, bare = _ours(named, prefix, text)
    files, versions = named.names, named.versions
    last = lines[-1].filename
    urls: dict[str, str] = {}
    for line in others:
        file = odd(line)
        if file is None:
            _require(line is not lines[-1])
            continue
        files.append(file.filename)
        versions.append(_version_of(file))
        ours.append(simpleapi.line_of(file))
        if file.yanked is not None:
            yanked[file.filename] = file.url
        if file.metadata is None and file.filename.endswith(".whl"):
            bare.append(file.filename)
        urls[file.filename] = file.url
    _require(len(set(map(str.lower, files))) == len(files))
    ours, told = _ordered(ours, files, versions)
    written = simpleapi.lines_json(ours)
    name = names.parse(last).name
    return Passed(written, len(ours), name, prefix, told, yanked, (*bare,), urls)


def _require(right: bool) -> None:
    if not right:
        raise _Other


def _sorted_out(project: str, lines: Sequence[Line]) -> tuple[_Named, Sequence[Line]]:
    """The wheels and sdists that are named as nearly all are, and the files that are not.

    A name is right where its parts are, each by itself (see `familiar`), and parts are few.
    """
    length = len(project)
    files = [line.filename for line in lines]
    _require(bool(files) and max(map(len, files)) <= MAX_FILENAME)
    start = length + 1
    heads = {name[:start] for name in files}
    dashes = [name.find("-", start) for name in files]
    rests = [
        name[at + 1 :] if at > 0 else _OF_SDIST if name.endswith(_SDIST) else ""
        for name, at in zip(files, dashes, strict=True)
    ]
    # Of an sdist there is no dash: there its ending is cut off.
    ending = -len(_SDIST)
    versions = [name[start : at if at > 0 else ending] for name, at in zip(files, dashes, strict=True)]
    strange = {head for head in heads if not _is_head(head, project)}
    # What has a dash within may be an sdist's: there is one way to read that.
    dashed = {head for head in heads - strange if "-" in head[:-1]}
    wrong = {version for version in set(versions) if not _is_version(version)}
    bad = {rest for rest in set(rests) if rest != _OF_SDIST and not _is_rest(rest)}
    if not (strange or dashed or wrong or bad):
        return _Named(lines, files, versions, rests), ()
    kept = [
        head not in strange and version not in wrong and rest not in bad
        and (head not in dashed or rest == _OF_SDIST)
        for head, version, rest in zip((name[: length + 1] for name in files), versions, rests, strict=True)
    ]  # fmt: skip
    others = [line for line, keep in zip(lines, kept, strict=True) if not keep]
    _require(len(others) * ODD_PART <= len(files))
    every = [[*compress(each, kept)] for each in (lines, files, versions, rests)]
    return _Named(*every), others  # type: ignore[arg-type]


def _is_head(head: str, project: str) -> bool:
    """Whether the names of a project's files may start with this, and a dash."""
    name = head[:-1]
    right = head.endswith("-") and names.is_name(name) and names.normalize(name) == project
    return right and _VERSION_START.search(name) is None


def _is_version(version: str) -> bool:
    return _key(version) is not None or (
        _VERSION.fullmatch(version) is not None and names.is_version(version)
    )


@lru_cache(maxsize=8_192)
def _is_rest(rest: str) -> bool:
    """Whether this may come after the version in a wheel's name, whatever that is and whoever's."""
    try:
        return names.parse(f"x-1-{rest}").packagetype is PackageType.WHEEL
    except BadName:
        return False


def _prefix(url: str) -> str:
    """What the URLs of all files have to start with, by one of them."""
    found = _URL.fullmatch(url)
    _require(found is not None)
    assert found is not None
    # Server and folder, whole: what comes after them cannot make them another (as in `familiar`).
    _require(len(found[1]) <= MAX_PREFIX and found[1].count("/") >= 3 and is_plain(url))
    return found[1]


def _ours(
    named: _Named, prefix: str, text: Callable[[str], str | None]
) -> tuple[list[simpleapi.Line], dict[str, str], list[str]]:
    """Our lines, the URLs of yanked files by their names, and names of wheels without announced metadata."""
    lines, files, rests = named.lines, named.names, named.rests
    # Of an sdist there is none, whatever is said.
    metadata = [
        True if rest == _OF_SDIST else
        line.dist_info_metadata if line.core_metadata is None else line.core_metadata
        for line, rest in zip(lines, rests, strict=True)
    ]  # fmt: skip
    hashes = [line.hashes for line in lines]
    _prove_hashes(hashes)
    _prove_hashes([each for each in metadata if each.__class__ is dict])
    sizes = [line.size for line in lines]
    _require(None not in sizes and min(sizes) >= 0 and max(sizes) <= MAX_SIZE)  # type: ignore[type-var,operator]
    python, marks = [line.requires_python for line in lines], [line.yanked for line in lines]
    requires = {each: (each and text(each)) or None for each in {*python}}
    yanks = {each: _mark(each, text) for each in {*marks}}
    provenance: Iterable[str | msgspec.UnsetType] = repeat(msgspec.UNSET)
    if any(line.provenance for line in lines):
        _prove_urls([line.provenance for line in lines if line.provenance])
        provenance = [line.provenance or msgspec.UNSET for line in lines]
    found = [*map(
        simpleapi.Line,
        files,
        _addresses([line.url for line in lines], files, prefix),
        hashes,
        map(requires.__getitem__, python),
        [
            each if each.__class__ is dict else rest != _OF_SDIST
            for each, rest in zip(metadata, rests, strict=True)
        ],
        sizes,
        _times([line.upload_time or "" for line in lines]),
        map(yanks.__getitem__, marks),
        provenance,
    )]  # fmt: skip
    yanked = {}
    if any(each is not False for each in yanks.values()):
        yanked = {line.filename: line.url for line in lines if yanks[line.yanked] is not False}
    bare = [] if all(metadata) else [name for name, each in zip(files, metadata, strict=True) if not each]
    return found, yanked, bare


def _prove_hashes(hashes: Sequence[Mapping[str, str]]) -> None:
    """That each has a SHA-256 and nothing else."""
    digests = [each["sha256"] for each in hashes]
    _require(sum(map(len, hashes)) == len(hashes) and {*map(len, digests)} <= {64})
    _require(not "".join(digests).encode().translate(None, _HEX))


def _addresses(urls: list[str], files: list[str], prefix: str) -> list[str]:
    """Where the files are, seen from our page. Their URLs are all of PyPI's form and start with `prefix`."""
    start = len(prefix)
    end = start + SPREAD
    _require(all(map(str.startswith, urls, repeat(prefix))) and [url[end:] for url in urls] == files)
    spread = "".join([url[start:end] for url in urls]).encode()
    slashes = b"/" * len(urls)
    _require(spread.translate(None, _HEX) == slashes * 3)
    _require(spread[2::SPREAD] == spread[5::SPREAD] == spread[SPREAD - 1 :: SPREAD] == slashes)
    return [BASE + url[start:] for url in urls]


def _times(times: list[str]) -> list[str]:
    """Times since 1970, all with six digits after the point."""
    if min(map(len, times)) < len(_TIME):
        times = [f"{time[:-1]}.000000Z" if len(time) == len(_SECOND) else time for time in times]
    joined = "".join(times).encode()
    length = len(_TIME)
    _require(joined.translate(_ZEROS) == _TIME * len(times))
    _require(not (joined[14::length] + joined[17::length]).translate(None, b"012345"))
    days = {time[:10] for time in times}
    _require(min(days) >= "1970" and {time[11:13] for time in times} <= _HOURS)
    for day in days:
        date.fromisoformat(day)
    return times


def _mark(said: bool | str | None, text: Callable[[str], str | None]) -> bool | str:
    """Our word for what a page says of a yank."""
    return (text(said) or True) if isinstance(said, str) else bool(said)


def _prove_urls(urls: Sequence[str]) -> None:
    """That these are used as they are: plain, of servers that may be."""
    joined = "".join(urls)
    _require(not joined or (_PATH.fullmatch(joined) is not None and "/." not in joined))
    _require(not urls or max(map(len, urls)) <= MAX_URL)
    for server in {url[: url.find("/", len("https://")) + 1] for url in urls}:
        _require(_SERVER.fullmatch(server) is not None and is_plain(server))


def _version_of(file: UpstreamFile) -> str:
    """The version of a file of another kind, which has to lie as the others do, and to lack nothing."""
    _require(UNKNOWN not in (file.size, file.upload_time) and _URL.fullmatch(file.url) is not None)
    version = names.parse(file.filename).version
    _require(names.is_version(version))
    return version


def _ordered(
    lines: list[simpleapi.Line], files: Sequence[str], versions: Sequence[str]
) -> tuple[list[simpleapi.Line], tuple[str, ...]]:
    """The lines by (version, filename), and the versions that are told: one a release (VER-2)."""
    distinct = [*dict.fromkeys(versions)]
    keys: list[Any] = [_key(version) for version in distinct]
    plain = None not in keys
    if not plain:
        keys = [names.version_key(version) for version in distinct]
    ranks = {key: f"{rank:06d}" for rank, key in enumerate(sorted({*keys}))}
    rank_of = {version: ranks[key] for version, key in zip(distinct, keys, strict=True)}
    places = [rank_of[version] + filename for version, filename in zip(versions, files, strict=True)]
    if (order := sorted(range(len(lines)), key=places.__getitem__)) != [*range(len(lines))]:
        lines, versions = [lines[at] for at in order], [versions[at] for at in order]
    told: dict[str, str] = {}
    for version in dict.fromkeys(versions):
        told.setdefault(rank_of[version], version)
    found: Iterable[str] = told.values()
    return lines, (*(found if plain else map(names.normalized_version, found)),)


@lru_cache(maxsize=8_192)  # asked twice of each release
def _key(version: str) -> tuple[object, ...] | None:
    """What orders a version that is written as it is normalised, as PEP 440 does; None for another."""
    found = _PLAIN.fullmatch(version)
    if found is None or len(version) > MAX_VERSION:
        return None
    said, letter, number, post, dev = found.groups()
    release = [*map(int, said.split("."))]
    while len(release) > 1 and not release[-1]:
        release.pop()
    if letter is not None:
        pre = ("abr".index(letter[0]), int(number))
    else:
        pre = (-1, 0) if dev is not None and post is None else (3, 0)
    return (*release,), pre, -1 if post is None else int(post), (1, 0) if dev is None else (0, int(dev))
