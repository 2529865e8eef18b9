"""Is a file the whole package its name says, and what is in it: hashes, metadata, and a reason where not."""

from __future__ import annotations

import contextlib
import hashlib
from typing import BinaryIO

from pidex.core import contents, framing, symptoms, tarballs, zips
from pidex.core.errors import BadName, Damaged, Incomplete, Unsound
from pidex.core.installers import expected_size
from pidex.core.limits import MIB, Limits
from pidex.core.metadata import Identity, identify
from pidex.core.model import Distribution, Facts, Framing, PackageType
from pidex.core.names import (
    Extension,
    canonical_version,
    extension,
    is_version,
    normalize,
    parse,
    unescaped,
)


def inspect(file: BinaryIO, filename: str, *, limits: Limits, check: str = "whole", age: float) -> Facts:
    """Read a file from first to last byte and say what it is.

    `age` is the time in seconds since the file last changed: it decides for kinds known by their header, for
    padding, and for end marks that some writers leave out. `check` 'whole' raises `BadName`, `Incomplete`
    (the end may still come) or `Damaged` (waiting will not help), each with a reason for people and a
    `reason_code`; 'strict' does the same and notes what `core.framing` finds. With 'none' every file is taken
    as it is: hashes always, metadata where it can be had.
    """
    size = file.seek(0, 2)
    if check == "none":
        return _facts(file, _attempt(file, size, filename, limits))
    distribution = parse(filename)
    kind = extension(filename)
    if kind is None:  # `parse` refuses these
        raise BadName(f"{filename!r} is no package")
    symptoms.beginning(file, size, kind.archive, shebang=kind.packagetype is PackageType.EGG)
    try:
        data, found = _read(file, size, distribution, kind, limits=limits, age=age, strict=check == "strict")
    except Unsound as error:
        raise symptoms.explained(file, size, error, limits, age=age) from None
    return _facts(file, _agreed(data, distribution), found)


def metadata(file: BinaryIO, size: int, filename: str, limits: Limits) -> bytes:
    """The METADATA of a wheel, read alone. Raises `BadName`, `Incomplete` or `Damaged`."""
    distribution = parse(filename)
    where = zips.directory(file, size, limits)
    member = _metadata_member(where, distribution)
    if distribution.packagetype is not PackageType.WHEEL or member is None:
        raise BadName(f"{filename!r} is no wheel")
    return agreed(zips.read(file, where, member, limits.metadata_bytes), filename)


def agreed(data: bytes, filename: str) -> bytes:
    """A wheel's METADATA, where it names the project and version of the file name; else `Damaged`."""
    _agreed(data, parse(filename))
    return data


def _read(
    file: BinaryIO,
    size: int,
    distribution: Distribution,
    kind: Extension,
    *,
    limits: Limits,
    age: float,
    strict: bool,
) -> tuple[bytes | None, Framing | None]:
    """Check wholeness; the metadata's bytes where the file has any, and the strict findings where asked for.

    Both from one pass over the content.
    """
    noted: Framing | None = Framing() if strict else None
    if kind.archive == "zip":
        where = zips.directory(file, size, limits)
        member = _metadata_member(where, distribution)
        loose = zips.verify(file, where)
        data = zips.read(file, where, member, limits.metadata_bytes) if member else None
        if strict:
            noted = framing.of_zip(
                file, size, where, loose, distribution=distribution, limits=limits, metadata=data
            )
        return data, noted
    if kind.archive in ("gz", "bz2", "xz"):
        inside = contents.Contents(limits)
        found = tarballs.Tarball(watch=inside.add if strict else None)
        tarballs.walk(file, size, kind.archive, limits, age=age, found=found)
        data = _metadata_of(found, distribution.filename, kind)
        if strict:
            noted = framing.of_tar(file, size, found, inside, distribution=distribution, metadata=data)
        return data, noted
    _still(file, size, kind.archive, limits=limits, age=age)
    return None, noted


def _still(file: BinaryIO, size: int, archive: str, *, limits: Limits, age: float) -> None:
    """Installers have no end mark of their own: their header or a zip at their end, and rest, must do."""
    if age < limits.still_seconds:
        raise Incomplete(f"it changed less than {limits.still_seconds:g} s ago", code="moving")
    if archive == "exe":
        if age < limits.settled_seconds and not zips.ends_here(file, size):
            raise Incomplete(
                f"there is no zip at its end: it is truncated or still being written "
                f"(taken as it is when it has not changed for {limits.settled_seconds:g} s)",
                code="truncated",
            )
        return
    expected = expected_size(archive, file, size)
    if expected is None:
        if age < limits.settled_seconds:
            raise Incomplete(
                f"its header does not say how long it is: waiting until it has not changed for "
                f"{limits.settled_seconds:g} s",
                code="moving",
            )
    elif size < expected:
        raise Incomplete(f"its header says at least {expected:,} bytes, {size:,} are there", code="truncated")


def _metadata_member(where: zips.Directory, distribution: Distribution) -> zips.Member | None:
    """The one member that holds the metadata. Wheels must have it (WHN-8), others may."""
    if distribution.packagetype is PackageType.WHEEL:
        path = f"{_dist_info(where, distribution)}/METADATA"
    elif distribution.packagetype is PackageType.EGG:
        path = "EGG-INFO/PKG-INFO"
    else:
        tops = {member.name for member in where.members if _is_top_metadata(member.name)}
        path = _chosen(tops, distribution.filename, ".zip")
    members = [member for member in where.members if member.name == path]
    if len(members) > 1:
        raise Damaged(f"{path!r} is in the zip {len(members)} times", code="duplicate-metadata")
    if not members and distribution.packagetype is PackageType.WHEEL:
        raise Damaged(f"there is no {path!r} in it: not a wheel", code="no-metadata")
    return members[0] if members else None


def _dist_info(where: zips.Directory, distribution: Distribution) -> str:
    """The name of the wheel's only .dist-info folder, which names project and version as the file does."""
    folders = {member.name.partition("/")[0] for member in where.members if "/" in member.name}
    infos = sorted(folder for folder in folders if folder.endswith(".dist-info"))
    if not infos:
        raise Damaged("there is no .dist-info folder in it: not a wheel", code="no-metadata")
    if len(infos) > 1:
        raise Damaged(
            f"there are {len(infos)} .dist-info folders in it, a wheel has one", code="duplicate-metadata"
        )
    name, _, version = infos[0].removesuffix(".dist-info").partition("-")
    if normalize(name) != distribution.project or not _same_version(version, distribution.version):
        raise Damaged(
            f"the folder inside is {infos[0]!r}, the file's name says "
            f"{distribution.name} {distribution.version}",
            code="name-mismatch",
        )
    return infos[0]


def _is_top_metadata(path: str) -> bool:
    return path.count("/") == 1 and path.endswith("/PKG-INFO")


def _chosen(candidates: set[str], filename: str, suffix: str) -> str:
    """Of several top-level PKG-INFO the one in the folder that the file is named after; of one, that."""
    stem = filename[: -len(suffix)]
    named = sorted(path for path in candidates if path.partition("/")[0] == stem)
    if named:
        return named[0]
    return next(iter(candidates)) if len(candidates) == 1 else ""


def _metadata_of(found: tarballs.Tarball, filename: str, kind: Extension) -> bytes | None:
    chosen = _chosen({f"{folder}/PKG-INFO" for folder in found.metadata}, filename, kind.suffix)
    return found.metadata.get(chosen.partition("/")[0]) if chosen else None


def _same_version(inside: str, outside: str) -> bool:
    """Equal as releases (VER-2); texts that PEP 440 does not know, by their letters."""
    if canonical_version(unescaped(inside)) == canonical_version(outside):
        return True
    if is_version(inside) and is_version(outside):
        return False
    return inside.lower().replace("-", "_") == outside.lower().replace("-", "_")


def _agreed(data: bytes | None, distribution: Distribution) -> tuple[bytes, Identity] | None:
    """The metadata and its main lines, where it speaks of this project.

    A wheel's must name the project and version of the file's name, since installers give up otherwise. Old
    sdists and eggs decide by their file name: metadata of another project is as if there were none, another
    spelling or number of the version is let pass.
    """
    if data is None:
        return None
    inside = identify(data)
    same = inside.name is not None and normalize(inside.name) == distribution.project
    if distribution.packagetype is not PackageType.WHEEL:
        return (data, inside) if same else None
    if not same or inside.version is None or not _same_version(inside.version, distribution.version):
        raise Damaged(
            f"METADATA says {inside.name} {inside.version}, the file's name says "
            f"{distribution.name} {distribution.version}",
            code="name-mismatch",
        )
    return data, inside


def _attempt(file: BinaryIO, size: int, filename: str, limits: Limits) -> tuple[bytes, Identity] | None:
    """Metadata of a file that is taken as it is."""
    try:
        distribution = parse(filename)
        kind = extension(filename)
        if kind is None:
            return None
        if kind.archive == "zip":
            where = zips.directory(file, size, limits)
            member = _metadata_member(where, distribution)
            return (
                _agreed(zips.read(file, where, member, limits.metadata_bytes), distribution)
                if member
                else None
            )
        if kind.archive in ("gz", "bz2", "xz"):
            return _agreed(_any_metadata(file, size, kind, filename, limits), distribution)
    except (Unsound, BadName):
        pass
    return None


def _any_metadata(file: BinaryIO, size: int, kind: Extension, filename: str, limits: Limits) -> bytes | None:
    found = tarballs.Tarball()
    with contextlib.suppress(Unsound):  # what was found before the fault will do
        tarballs.walk(file, size, kind.archive, limits, age=limits.settled_seconds, found=found)
    return _metadata_of(found, filename, kind)


def _facts(file: BinaryIO, found: tuple[bytes, Identity] | None, noted: Framing | None = None) -> Facts:
    """Hash all bytes; one pass, constant memory."""
    sha256, blake2b, md5 = (
        hashlib.sha256(),
        hashlib.blake2b(digest_size=32),
        hashlib.md5(usedforsecurity=False),
    )
    size = 0
    file.seek(0)
    while data := file.read(MIB):
        size += len(data)
        sha256.update(data)
        blake2b.update(data)
        md5.update(data)
    metadata, inside = found or (None, None)
    return Facts(
        sha256=sha256.hexdigest(),
        blake2b_256=blake2b.hexdigest(),
        md5=md5.hexdigest(),
        size=size,
        metadata=metadata,
        name=inside.name if inside else None,
        version=inside.version if inside else None,
        requires_python=inside.requires_python if inside else None,
        summary=inside.summary if inside else None,
        framing=noted,
    )
