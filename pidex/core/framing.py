"""The strict rules on archives: one reading for all readers, and the parts that wheels and sdists have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, product
from typing import BinaryIO

from pidex.core import contents, records, tarballs, zips
from pidex.core.errors import BadName, Damaged, Unsound
from pidex.core.limits import MIB, Limits
from pidex.core.metadata import parse as parse_metadata
from pidex.core.model import Distribution, Framing, PackageType
from pidex.core.names import extension, parse

#: Sentences of each severity at most.
MAX_FINDINGS = 20
#: Names that one sentence gives as examples.
_EXAMPLES = 3
#: ARC-2: expanded over packed size of a zip, looked at above so many bytes.
_RATIO, _RATIO_FROM = 50, 64 * MIB
#: Signatures of RECORD, which cannot list themselves.
_UNLISTED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_SCRIPT_GROUPS = ("console_scripts", "gui_scripts")
_OBJECT = re.compile(r"[A-Za-z_][\w.]*(?:\s*:\s*[A-Za-z_][\w.]*)?(?:\s*\[[^\[\]]*\])?")
#: Characters of a line of entry_points.txt.
_MAX_LINE = 4096


def check(file: BinaryIO, filename: str, *, limits: Limits) -> Framing:
    """Check a file against ARC-1 to ARC-12 by its name's kind. Reads all of it, in bounded memory.

    Errors are what PyPI refuses or should; warnings are what it only mentions. A file that cannot be read is
    an error too. Installers (exe, msi, rpm) have no rules. Never raises for what the file contains.
    """
    size = file.seek(0, 2)
    try:
        distribution = parse(filename)
        kind = extension(filename)
        archive = kind.archive if kind else ""
        if archive == "zip":
            where = zips.directory(file, size, limits)
            loose = zips.verify(file, where)
            return of_zip(file, size, where, loose, distribution=distribution, limits=limits)
        if archive in ("gz", "bz2", "xz"):
            inside = contents.Contents(limits)
            found = tarballs.Tarball(watch=inside.add)
            tarballs.walk(file, size, archive, limits, age=0, found=found)
            return of_tar(file, size, found, inside, distribution=distribution)
    except (BadName, Unsound) as error:
        return Framing((f"{error}.",))
    return Framing()


def of_zip(
    file: BinaryIO,
    size: int,
    where: zips.Directory,
    loose: Iterable[bytes],
    *,
    distribution: Distribution,
    limits: Limits,
    metadata: bytes | None = None,
) -> Framing:
    """The findings on a zip that was read already: `where` is its directory, `loose` is from `verify`."""
    errors = [f"ZIP archive not accepted: {why}." for why in _zip_faults(file, size, where, loose, limits)]
    file.seek(0)
    if tarballs.seems_one(file.read(512)):
        errors.insert(0, "File is both a zip and a tar file.")
    warnings: list[str] = []
    if distribution.packagetype is PackageType.WHEEL:
        wheel = _Wheel(file, where, distribution.filename, limits)
        errors += wheel.errors()
        errors += _unlicensed(metadata, distribution.filename, wheel.licences, wheel.holds)
        warnings += wheel.warnings()
    elif distribution.packagetype is PackageType.SDIST:
        inside = contents.Contents(limits)
        for member in where.members:
            inside.add(tarballs.TarMember(member.name, b"5" if member.name.endswith("/") else b"0"))
        errors += inside.shape_faults()
        errors += _unlicensed(metadata, distribution.filename, inside.top, inside.holds)
        warnings += inside.warnings(distribution)
    return _framing(errors, warnings)


def of_tar(
    file: BinaryIO,
    size: int,
    found: tarballs.Tarball,
    inside: contents.Contents,
    *,
    distribution: Distribution,
    metadata: bytes | None = None,
) -> Framing:
    """The findings on a compressed tar that was walked already, with `inside` watching."""
    errors = []
    if zips.seems_in(file, size):
        errors.append("File is both a zip and a tar file.")
    if found.streams > 1:
        errors.append(
            "Tar archive not accepted: it is compressed in several streams, of which some readers see only "
            "the first."
        )
    if found.tail:
        errors.append("Tar archive not accepted: something follows its end mark.")
    errors += [f"Tar archive not accepted: {why}." for why in inside.faults()]
    errors += inside.shape_faults()
    errors += _unlicensed(metadata, distribution.filename, inside.top, inside.holds)
    return _framing(errors, inside.warnings(distribution))


def _unlicensed(
    metadata: bytes | None, filename: str, below: str, holds: Callable[[str], bool]
) -> Iterator[str]:
    """Licences that the metadata names and the archive lacks (CMD-1); version 2.4 defined the field."""
    stated = parse_metadata(metadata or b"")
    version = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", stated.metadata_version or "")
    if version is None or (int(version[1]), int(version[2])) < (2, 4):
        return
    for path in stated.license_files:
        if not holds(path):
            yield (
                f"License-File {path[:200]} does not exist in distribution file {filename} "
                f"at {below}/{path[:200]}."
            )


def _framing(errors: Iterable[str], warnings: Iterable[str]) -> Framing:
    """No sentence twice, none with characters that a terminal obeys or that are no text."""
    return Framing(
        tuple(islice(dict.fromkeys(_printable(text) for text in errors), MAX_FINDINGS)),
        tuple(islice(dict.fromkeys(_printable(text) for text in warnings), MAX_FINDINGS)),
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:1000])


def _zip_faults(
    file: BinaryIO, size: int, where: zips.Directory, loose: Iterable[bytes], limits: Limits
) -> Iterator[str]:
    expanded = sum(member.size for member in where.members)
    if expanded > _RATIO_FROM and expanded > _RATIO * size:
        yield f"it expands to more than {_RATIO} times its size"
    yield from islice(records.faults(file, size, where), MAX_FINDINGS)
    for raw in islice(loose, MAX_FINDINGS):
        yield f"bytes follow the compressed content of {raw.decode('utf-8', 'replace')!r}"
    for member in where.members:
        if len(member.raw) > limits.path_bytes:
            yield f"a path in it is longer than {limits.path_bytes:,} bytes"
            return


class _Wheel:
    """What a wheel must hold (ARC-4, ARC-7 to ARC-9), its .dist-info folder spelled as its file name is."""

    def __init__(self, file: BinaryIO, where: zips.Directory, filename: str, limits: Limits) -> None:
        self._file, self._where, self._filename, self._limits = file, where, filename, limits
        self._members = {member.name: member for member in where.members}
        self._folder = "-".join(filename.split("-")[:2]) + ".dist-info"

    @property
    def licences(self) -> str:
        """Where a wheel has the files that License-File names (PEP 639)."""
        return f"{self._folder}/licenses"

    def holds(self, path: str) -> bool:
        """Whether a licence is there."""
        return f"{self.licences}/{path}" in self._members

    def errors(self) -> Iterator[str]:
        folders = {name.partition("/")[0] for name in self._members if "/" in name}
        infos = sorted(folder for folder in folders if folder.endswith(".dist-info"))
        if len(infos) > 1:
            yield f"Wheel {self._filename!r} has {len(infos)} .dist-info folders, it must have one."
        missing = [name for name in ("METADATA", "WHEEL", "RECORD") if not self._has(name)]
        for name in missing:
            yield (
                f"Wheel {self._filename!r} does not contain the required {name} file: {self._folder}/{name}."
            )
        if "WHEEL" not in missing:
            yield from self._version_faults()
        if self._has("entry_points.txt"):
            yield from self._entry_point_faults()

    def warnings(self) -> Iterator[str]:
        if self._has("WHEEL"):
            yield from self._tag_differences()
        if self._has("RECORD"):
            yield from self._record_differences()

    def _has(self, name: str) -> bool:
        return f"{self._folder}/{name}" in self._members

    def _text(self, name: str, limit: int) -> str:
        """A file of the .dist-info folder. Raises `Damaged` where it is too long."""
        member = self._members[f"{self._folder}/{name}"]
        return zips.read(self._file, self._where, member, limit).decode("utf-8", "replace")

    def _wheel_lines(self, key: str) -> list[str]:
        try:
            text = self._text("WHEEL", self._limits.metadata_bytes)
        except Damaged:
            return []
        pairs = (line.partition(":") for line in text.splitlines())
        return [value.strip() for name, _, value in pairs if name.strip().lower() == key]

    def _version_faults(self) -> Iterator[str]:
        versions = self._wheel_lines("wheel-version")
        if len(versions) != 1:
            yield f"Wheel {self._filename!r} has no Wheel-Version, or more than one, in its WHEEL file."
        elif versions[0].partition(".")[0] != "1":
            yield (
                f"Wheel {self._filename!r} has Wheel-Version {versions[0][:20]!r}, installers know version 1."
            )

    def _tag_differences(self) -> Iterator[str]:
        fields = self._filename.removesuffix(".whl").split("-")[2:]
        if fields[0][:1].isdigit():  # a build number
            fields = fields[1:]
        named = {"-".join(tag) for tag in product(*(field.split(".") for field in fields[:3]))}
        stated = set(self._wheel_lines("tag"))
        if stated and {tag.lower() for tag in stated} != {tag.lower() for tag in named}:
            yield (
                f"The tags in the WHEEL file ({_some(sorted(stated))}) are not those in the file name "
                f"({_some(sorted(named))})."
            )

    def _entry_point_faults(self) -> Iterator[str]:
        try:
            fault = _entry_points_fault(self._text("entry_points.txt", self._limits.metadata_bytes))
        except Damaged as error:
            fault = str(error)
        if fault:
            yield f"Wheel {self._filename!r} has invalid entry points: {fault}."

    def _record_differences(self) -> Iterator[str]:
        try:
            listed = contents.record(self._text("RECORD", self._limits.record_bytes))
        except (Damaged, ValueError) as error:
            yield f"RECORD cannot be read: {error}."
            return
        unlisted = {f"{self._folder}/{name}" for name in _UNLISTED}
        files = {name: member for name, member in self._members.items() if not name.endswith("/")}
        absent = sorted(name for name in files if name not in listed and name not in unlisted)
        if absent:
            yield f"RECORD does not list {_some(absent)}."
        extra = sorted(name for name in listed if name not in files)
        if extra:
            yield f"RECORD lists {_some(extra)}, which is not in the wheel."
        other = sorted(
            name
            for name, size in listed.items()
            if size is not None and name in files and files[name].size != size
        )
        if other:
            yield f"RECORD has another size for {_some(other)}."


def _entry_points_fault(text: str) -> str | None:
    """Why installers cannot use an entry_points.txt; None where they can."""
    group: str | None = None
    names: set[tuple[str, str]] = set()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if len(line) > _MAX_LINE:
            return f"line {number} is longer than {_MAX_LINE:,} characters"
        if stripped[0] == "[":
            if not stripped.endswith("]") or not stripped[1:-1].strip():
                return f"line {number} begins a group and names none"
            group = stripped[1:-1].strip()
            continue
        if line[0].isspace() and names:
            continue  # goes on from the line before, as in any such file
        if group is None:
            return f"line {number} is in no group"
        name, equals, value = (part.strip() for part in stripped.partition("="))
        if not name or not equals:
            return f"line {number} has no name and value"
        if (group, name) in names:
            return f"{name!r} is twice in group {group!r}"
        names.add((group, name))
        value = value.partition(" #")[0].strip()
        if group in _SCRIPT_GROUPS and not _OBJECT.fullmatch(value):
            return f"{name!r} in group {group!r} names no object in a module"
    return None


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_EXAMPLES])
    return f"{shown} and {len(names) - _EXAMPLES:,} more" if len(names) > _EXAMPLES else shown
