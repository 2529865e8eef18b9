"""What names say: projects, versions and the file names of every kind of distribution."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

from packaging.version import InvalidVersion, Version

from pidex.core.errors import BadName
from pidex.core.limits import MAX_FILENAME, MAX_VERSION
from pidex.core.model import Distribution, PackageType


class Extension(NamedTuple):
    """One kind of file that an index lists. `archive` says how its wholeness is checked."""

    suffix: str  # lower case, with the dot
    packagetype: PackageType
    archive: str  # 'zip', 'gz', 'bz2', 'xz', 'exe', 'ole' or 'rpm'


#: Every kind in one table: a wheel with another extension (PEP 777 foresees them) is one more line.
EXTENSIONS: Final = (
    Extension(".whl", PackageType.WHEEL, "zip"),
    Extension(".tar.gz", PackageType.SDIST, "gz"),
    Extension(".tgz", PackageType.SDIST, "gz"),
    Extension(".tar.bz2", PackageType.SDIST, "bz2"),
    Extension(".tar.xz", PackageType.SDIST, "xz"),
    Extension(".zip", PackageType.SDIST, "zip"),
    Extension(".egg", PackageType.EGG, "zip"),
    Extension(".exe", PackageType.WININST, "exe"),
    Extension(".msi", PackageType.MSI, "ole"),
    Extension(".rpm", PackageType.RPM, "rpm"),
)

#: Names that transfers, editors, git and pidex itself use for what is not there yet or left over (S15, S20).
_TEMPORARY_STARTS: Final = (".", "~", "#")
_TEMPORARY_ENDS: Final = (
    "~", ".part", ".partial", ".filepart", ".tmp", ".temp", ".orig", ".rej", ".bak", ".swp", ".swo",
    ".crdownload", ".download", ".upload", ".uploading", ".aria2", ".lock",
)  # fmt: skip
_MERGE_LEFTOVER: Final = re.compile(r"_(?:BACKUP|BASE|LOCAL|REMOTE)_\d{2,}\.[a-z][a-z0-9.]*\Z")
_FILENAME: Final = re.compile(r"[\w.!+-]+", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)
_ALIKE: Final = str.maketrans({"-": None, "l": "1", "i": "1", "o": "0"})
_RUN: Final = re.compile(r"[-_.]+")
_LEGACY_VERSION: Final = re.compile(r"[a-z0-9](?:[a-z0-9._!+-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)
_LEGACY_PIECE: Final = re.compile(r"\d+|[a-z]+", re.ASCII)
#: A field between dashes that begins a version rather than going on with a name: `1.0`, `2013b`, `3!1`.
_VERSION_FIELD: Final = re.compile(r"v?\d+[._!+a-z]", re.ASCII | re.IGNORECASE)
_DOTTED_FIELD: Final = re.compile(r"\d+\.\d", re.ASCII)
_DUMB: Final = re.compile(r"\.((?:linux|macosx|win|cygwin|freebsd|solaris)[-\d][\w.-]*)\Z", re.ASCII)
_INSTALLER: Final = re.compile(
    r"(?P<head>.+)\.(?:win32|win-[a-z0-9]+|linux-\w+|macosx-[\d.]+-\w+)(?:-py(?P<python>\d+(?:\.\d+)?))?",
    re.ASCII | re.IGNORECASE,
)
_EGG: Final = re.compile(r"(?P<head>.+?)(?:-py(?P<python>\d+(?:\.\d+)?)(?:-[\w.-]+)?)?", re.ASCII)
_BUILD: Final = re.compile(r"\d[a-z0-9_.]*", re.ASCII | re.IGNORECASE)
_LABEL: Final = re.compile(r"[0-9a-z_.]+", re.ASCII)
_TAGS: Final = re.compile(r"\w+(?:\.\w+)*", re.ASCII)
_PYTHON_TAGS: Final = re.compile(r"[a-z_]\w*(?:\.[a-z_]\w*)*", re.ASCII | re.IGNORECASE)


def normalize(name: str) -> str:
    """The one spelling of a project name (PEP 503, NAM-2). Never fails; says nothing about validity."""
    return _normalize(name) if len(name) <= MAX_FILENAME else _RUN.sub("-", name).lower()


@lru_cache(maxsize=16_384)  # names of at most MAX_FILENAME characters: a few MB
def _normalize(name: str) -> str:
    return _RUN.sub("-", name).lower()


def look_alike(project: str) -> str:
    """Equal for normalised names that the eye takes for the same (NAM-4): `paypal`, `pay-pa1`, `paypa-i`."""
    return project.translate(_ALIKE)


@lru_cache(maxsize=4_096)
def is_name(name: str) -> bool:
    """Whether this may be a project's name (NAM-1: ASCII only, to the very end of the text)."""
    return _NAME.fullmatch(name) is not None


@lru_cache(maxsize=8_192)  # about a kilobyte each
def _parsed(version: str) -> Version | None:
    """A PEP 440 version, or None. Never raises (a number with thousands of digits makes `Version` do so)."""
    if len(version) > MAX_VERSION:
        return None
    try:
        return Version(version)
    except (InvalidVersion, ValueError):
        return None


@lru_cache(maxsize=16_384)  # asked several times for each file of a page
def canonical_version(version: str) -> str:
    """Equal for versions that are the same release (VER-2): normalised, trailing zeros stripped.

    A text that is no PEP 440 version is its own canonical form, stripped and in lower case.
    """
    parsed = _parsed(version)
    if parsed is None:
        return version.strip().lower()
    text = str(parsed)
    release = ".".join(map(str, parsed.release))
    start = text.index("!") + 1 if parsed.epoch else 0
    kept = list(parsed.release)
    while len(kept) > 1 and kept[-1] == 0:
        kept.pop()
    return text[:start] + ".".join(map(str, kept)) + text[start + len(release) :]


@lru_cache(maxsize=4_096)
def normalized_version(version: str) -> str:
    """The PEP 440 spelling with its zeros kept (VER-1); any other text comes back stripped."""
    parsed = _parsed(version)
    return version.strip() if parsed is None else str(parsed)


def is_version(version: str) -> bool:
    """Whether this is a PEP 440 version (epochs and local versions are, VER-4 and VER-5)."""
    return _parsed(version) is not None


def version_key(version: str) -> tuple[Any, ...]:
    """Sort key of a version (VER-6): texts that PEP 440 does not know come first, compared piece by piece."""
    parsed = _parsed(version)
    if parsed is not None:
        return (1, parsed)
    pieces = _LEGACY_PIECE.findall(version.lower())
    return (0, tuple((1, len(p), p) if p.isdigit() else (0, 0, p) for p in map(_unpadded, pieces)), version)


def _unpadded(piece: str) -> str:
    return piece.lstrip("0") or "0" if piece.isdigit() else piece


def is_prerelease(version: str) -> bool:
    """Whether installers pass over this version unless asked. True for texts that PEP 440 does not know."""
    parsed = _parsed(version)
    return parsed is None or parsed.is_prerelease


def is_temporary(filename: str) -> bool:
    """Whether this is the name of something on its way, left over, or hidden: never seen, never reported."""
    return (
        filename.startswith(_TEMPORARY_STARTS)
        or filename.lower().endswith(_TEMPORARY_ENDS)
        or _MERGE_LEFTOVER.search(filename) is not None
    )


def extension(filename: str) -> Extension | None:
    """The kind of file this is by its extension, in any case; None where it is no package."""
    if filename.endswith(".whl"):
        return EXTENSIONS[0]
    lower = filename.casefold()
    for kind in EXTENSIONS:
        if lower.endswith(kind.suffix):
            return kind
    return None


def is_package(filename: str) -> bool:
    """Whether the extension is a package's. Sidecars (`.asc`, `.metadata`, `.sha256`) are not."""
    return extension(filename) is not None


@lru_cache(maxsize=8_192)  # a page of an upstream is read, and written, and asked for its files: 5 MB
def parse(filename: str) -> Distribution:
    """What a file name says (protocol 3.1 to 3.4, heritage 7.4). Raises `BadName` with the reason.

    New names by the rules of today; names of old sdists, where several readings are possible, by the
    likeliest: see `split`. Compatibility tags are looked at and never multiplied out.
    """
    kind = extension(filename)
    if len(filename) > MAX_FILENAME:
        raise BadName(f"{filename[:60]!a}... is longer than {MAX_FILENAME} characters: shorten it")
    if not _FILENAME.fullmatch(filename):
        raise BadName(f"{filename!a} has characters that no package's file name has: rename it")
    if kind is None:
        known = " ".join(each.suffix for each in EXTENSIONS)
        raise BadName(f"{filename!r} is no package: its extension is none of {known}")
    stem = filename[: -len(kind.suffix)]
    if kind.packagetype is PackageType.WHEEL:
        return _wheel(filename, stem)
    if kind.packagetype is PackageType.EGG:
        return _egg(filename, stem)
    if kind.packagetype is PackageType.RPM:
        return _rpm(filename, stem)
    if kind.packagetype is PackageType.SDIST:
        return _sdist(filename, stem)
    return _installer(filename, stem, kind)


def split(stem: str) -> tuple[str, str] | None:
    """Name and version of `name-version`, where both may hold dashes; None where no version can be seen.

    One reading with a PEP 440 version is taken (`ABC12-34_V1X-1.2.3`). Of several, the one whose version
    starts like one (`foo-1.0-1` is 1.0.post1 of foo), else the last (`foo-123-20000101`). Without any, what
    looks like a version starts it (`foo-0.5-brainbot-1`: legacy).
    """
    fields = stem.split("-")
    readings = [("-".join(fields[:at]), "-".join(fields[at:])) for at in range(1, len(fields))]
    readings = [reading for reading in readings if is_name(reading[0])]
    modern = [reading for reading in readings if _parsed(reading[1]) is not None]
    if len(modern) == 1:
        return modern[0]
    for reading in modern:
        if _VERSION_FIELD.match(reading[1]):
            return reading
    legacy = [reading for reading in readings if _LEGACY_VERSION.fullmatch(reading[1])]
    for reading in legacy:
        if _DOTTED_FIELD.match(reading[1]):
            return reading
    if modern:
        return modern[-1]
    for reading in legacy:
        if _VERSION_FIELD.match(reading[1]):
            return reading
    return None


def _sdist(filename: str, stem: str) -> Distribution:
    dumb = _DUMB.search(stem)
    found = split(stem)
    if dumb and (found is None or _parsed(found[1]) is None):
        raise BadName(f"{filename!r} is a bdist_dumb archive for {dumb[1]}: no installer can use it")
    if found is None:
        raise _no_version(filename, "name-version")
    return _distribution(filename, *found, PackageType.SDIST, "source")


def _wheel(filename: str, stem: str) -> Distribution:
    """From both ends (WHN-3): a third field that starts with a digit is a build tag, a last one a variant."""
    if not filename.endswith(".whl"):
        raise BadName(f"{filename!r}: installers know wheels only by '.whl' in lower case: rename it")
    fields = stem.split("-")
    build = variant = None
    if len(fields) in (6, 7) and fields[2][:1].isdigit():
        build = fields.pop(2)
    if len(fields) == 6:
        variant = fields.pop()
    if len(fields) != 5:
        raise BadName(
            f"{filename!r} is no wheel's name: name-version-python-abi-platform.whl, "
            "with '_' for any '-' inside a part"
        )
    name, version, python, abi, platform = fields
    if not is_name(name):
        raise BadName(f"{filename!r}: {name!r} is no project name")
    if build is not None and not _BUILD.fullmatch(build):
        raise BadName(f"{filename!r}: {build!r} is no build tag")
    if variant is not None and not _LABEL.fullmatch(variant):
        raise BadName(f"{filename!r}: {variant!r} is no variant label (a-z, 0-9, '_' and '.')")
    if not _are_tags(python, abi, platform):
        raise BadName(f"{filename!r}: '{python}-{abi}-{platform}' are no compatibility tags")
    version = unescaped(version)
    if _parsed(version) is None and not (version[:1].isdigit() and _LEGACY_VERSION.fullmatch(version)):
        raise BadName(f"{filename!r}: {version!r} is no version")
    return _distribution(filename, name, version, PackageType.WHEEL, python, build=build, variant=variant)


@lru_cache(maxsize=4_096)  # the releases of a project have the same ones
def _are_tags(python: str, abi: str, platform: str) -> bool:
    tags = _TAGS.fullmatch
    return _PYTHON_TAGS.fullmatch(python) is not None and bool(tags(abi)) and bool(tags(platform))


def _egg(filename: str, stem: str) -> Distribution:
    matched = _EGG.fullmatch(stem)
    head = matched["head"] if matched else stem
    name, dash, version = head.partition("-")
    if dash and "-" not in version and is_name(name):
        version = unescaped(version)
        if _parsed(version) is None and not (version[:1].isdigit() and _LEGACY_VERSION.fullmatch(version)):
            raise _no_version(filename, "name-version-pyX.Y")
        found: tuple[str, str] | None = (name, version)
    else:
        found = split(head)
    if found is None:
        raise _no_version(filename, "name-version-pyX.Y")
    python = (matched["python"] if matched else None) or "any"
    return _distribution(filename, *found, PackageType.EGG, python)


def _installer(filename: str, stem: str, kind: Extension) -> Distribution:
    """bdist_wininst and bdist_msi: name-version.platform, with -pyX.Y where it holds compiled code."""
    matched = _INSTALLER.fullmatch(stem)
    found = split(matched["head"]) if matched else None
    if matched is None or found is None:
        raise _no_version(filename, f"name-version.win32-pyX.Y{kind.suffix}")
    return _distribution(filename, *found, kind.packagetype, matched["python"] or "any")


def _rpm(filename: str, stem: str) -> Distribution:
    """name-version-release.arch; rpm writes '_' for '-' in versions."""
    head, _, arch = stem.rpartition(".")
    fields = head.rsplit("-", 2)
    if len(fields) != 3 or not arch or not fields[2] or not is_name(fields[0]):
        raise _no_version(filename, "name-version-release.arch")
    version = unescaped(fields[1])
    if not version[:1].isdigit() or not _LEGACY_VERSION.fullmatch(version):
        raise _no_version(filename, "name-version-release.arch")
    return _distribution(filename, fields[0], version, PackageType.RPM, "any")


def unescaped(version: str) -> str:
    """A version as it was before '-' was written '_' for a wheel's, egg's or rpm's file name."""
    return version if _parsed(version) is not None else version.replace("_", "-")


def _no_version(filename: str, form: str) -> BadName:
    return BadName(f"{filename!r} is no package's name: no version can be read from it, expected {form}")


def _distribution(
    filename: str,
    name: str,
    version: str,
    packagetype: PackageType,
    python_version: str,
    *,
    build: str | None = None,
    variant: str | None = None,
) -> Distribution:
    return Distribution(
        filename=filename,
        name=name,
        project=normalize(name),
        version=version,
        packagetype=packagetype,
        python_version=python_version,
        build=build,
        variant=variant,
    )
