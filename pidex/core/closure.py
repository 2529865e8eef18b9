"""A closed set of files: what requirements need on some Pythons and platforms, and all that needs in turn."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from packaging import tags
from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from pidex.core import names
from pidex.core.errors import BadRequest
from pidex.core.model import File, PackageType

#: Projects that a set may grow to.
MAX_PROJECTS = 5_000
#: The newest glibc and musl that wheels are taken for, as their second number.
GLIBC, MUSL = 40, 2
_PLATFORM = re.compile(r"(linux|musllinux|macosx|win)_([a-z0-9_]+)")
_PYTHON = re.compile(r"3\.\d{1,2}")


class Target(NamedTuple):
    """Where the set is to be installed: a Python ('3.12'), and a platform ('linux_x86_64')."""

    python: str
    platform: str


def target_of(python: str, platform: str) -> Target:
    """Read a Python and a platform. Raises `BadRequest`."""
    if not _PYTHON.fullmatch(python):
        raise BadRequest(f"{python[:20]!r} is no Python that is known here: write 3.12, for example.")
    found = _PLATFORM.fullmatch(platform)
    if found is None:
        raise BadRequest(
            f"{platform[:40]!r} is no platform: write linux_x86_64, linux_aarch64, musllinux_x86_64,"
            " macosx_arm64, macosx_x86_64 or win_amd64."
        )
    return Target(python, platform)


def environment_of(target: Target) -> Mapping[str, str]:
    """What markers (PEP 508) ask about a target."""
    kind, machine = target.platform.partition("_")[::2]
    system = {"macosx": "Darwin", "win": "Windows"}.get(kind, "Linux")
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{target.python}.0",
        "os_name": "nt" if kind == "win" else "posix",
        "platform_machine": machine.upper() if kind == "win" else machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": system,
        "platform_version": "",
        "python_full_version": f"{target.python}.0",
        "python_version": target.python,
        "sys_platform": {"macosx": "darwin", "win": "win32"}.get(kind, "linux"),
    }


def tags_of(target: Target) -> Mapping[tags.Tag, int]:
    """The tags of wheels that run on a target, the best first, as their ranks."""
    python = tuple(int(part) for part in target.python.split("."))
    platforms = list(_platforms(target.platform))
    found = [
        *tags.cpython_tags(python, platforms=platforms),
        *tags.compatible_tags(python, f"cp{python[0]}{python[1]}", platforms),
    ]
    return {tag: rank for rank, tag in enumerate(dict.fromkeys(found))}


def _platforms(platform: str) -> Iterator[str]:
    kind, machine = platform.partition("_")[::2]
    if kind == "linux":
        for minor in range(GLIBC, 4, -1):
            yield f"manylinux_2_{minor}_{machine}"
            old = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}.get(minor)
            if old:
                yield f"{old}_{machine}"
    elif kind == "musllinux":
        for minor in range(MUSL, -1, -1):
            yield f"musllinux_1_{minor}_{machine}"
    elif kind == "macosx":
        yield from tags.mac_platforms((26, 0), machine)
    yield platform.replace("musllinux", "linux")


class Edge(NamedTuple):
    """What somebody needs of a project."""

    project: str
    extras: frozenset[str]
    specifier: str


class Closure:
    """Grows by what it is told: ask `todo` for a project, give its files to `choose`, and the metadata of
    what that chose to `learn`, until nothing is left to do.

    Of each thing that is asked for, the `latest` newest releases are taken that meet it, and those that meet
    all that is asked for of the project: a resolver finds a solution there, unless it has to go further back.
    """

    def __init__(self, targets: Sequence[Target], latest: int) -> None:
        self._targets = [(environment_of(target), tags_of(target)) for target in targets]
        self._latest = latest
        self._edges: dict[str, dict[Edge, None]] = {}
        self._done: dict[str, tuple[Edge, ...]] = {}
        self._extras: dict[str, set[str]] = {}
        self._learnt: set[tuple[str, frozenset[str]]] = set()
        #: Chosen files by name.
        self.files: dict[str, File] = {}
        #: What is asked for and nothing meets, in sentences.
        self.unmet: dict[str, None] = {}

    def require(self, text: str) -> None:
        """Ask for what a line of a requirements file asks for. Raises `BadRequest`."""
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise BadRequest(f"{text[:80]!r} is no requirement: {str(error).splitlines()[0]}.") from None
        if wanted.url:
            raise BadRequest(f"{text[:80]!r} names a URL: only what an index has can be fetched.")
        if any(_applies(wanted.marker, environment, {""}) for environment, _ in self._targets):
            self._add(wanted)

    def todo(self) -> str | None:
        """A project of which more is asked for than was chosen; None: the set is closed."""
        return next(
            (name for name, edges in self._edges.items() if self._done.get(name) != tuple(edges)), None
        )

    def choose(self, project: str, files: Iterable[File]) -> Sequence[File]:
        """Choose files of a project, all of them given; those whose metadata is to be learnt."""
        edges = tuple(self._edges[project])
        self._done[project] = edges
        releases: dict[Version, list[File]] = {}
        for file in files:
            try:
                releases.setdefault(Version(file.version), []).append(file)
            except InvalidVersion:
                continue
        ordered = sorted(releases, reverse=True)
        every = SpecifierSet(",".join(edge.specifier for edge in edges if edge.specifier))
        found: dict[str, File] = {}
        for wanted in [*(SpecifierSet(edge.specifier) for edge in edges), every]:
            for environment, ranks in self._targets:
                chosen = self._newest(ordered, releases, wanted, environment["python_version"], ranks)
                if not chosen and wanted is not every:
                    self.unmet[f"{project}{wanted} for Python {environment['python_version']}"] = None
                found |= {file.filename: file for file in chosen}
        self.files |= found
        extras = frozenset(self._extras[project])
        fresh = [file for file in found.values() if (file.filename, extras) not in self._learnt]
        self._learnt |= {(file.filename, extras) for file in fresh}
        return fresh

    def skip(self, project: str) -> None:
        """A project that cannot be had: nothing of it is chosen."""
        self._done[project] = tuple(self._edges[project])

    def learn(self, file: File, requires: Iterable[str]) -> None:
        """Ask for what a chosen file needs (Requires-Dist)."""
        extras = {"", *self._extras[file.project]}
        for text in requires:
            try:
                wanted = Requirement(text)
            except InvalidRequirement:
                continue
            if not wanted.url and any(_applies(wanted.marker, env, extras) for env, _ in self._targets):
                self._add(wanted)

    def __len__(self) -> int:
        return len(self._edges)

    def _add(self, wanted: Requirement) -> None:
        project = names.normalize(wanted.name)
        if project not in self._edges and len(self._edges) >= MAX_PROJECTS:
            raise BadRequest(f"The set has more than {MAX_PROJECTS:,} projects.")
        extras = frozenset(map(names.normalize, wanted.extras))
        self._extras.setdefault(project, set()).update(extras)
        self._edges.setdefault(project, {})[Edge(project, extras, str(wanted.specifier))] = None

    def _newest(
        self,
        ordered: Sequence[Version],
        releases: Mapping[Version, Sequence[File]],
        wanted: SpecifierSet,
        python: str,
        ranks: Mapping[tags.Tag, int],
    ) -> Sequence[File]:
        """The best file of each of the newest releases that meet a specifier, on one target."""
        found: list[File] = []
        pinned = any(spec.operator in ("==", "===") and "*" not in spec.version for spec in wanted)
        # Pre-releases where they are asked for, or where there is nothing else.
        for prereleases in (bool(wanted.prereleases), True):
            for version in ordered:
                if not wanted.contains(version, prereleases=prereleases):
                    continue
                fitting = [
                    file
                    for file in releases[version]
                    if (file.yanked is None or pinned) and _takes(file.requires_python, python)
                ]
                best = min(fitting, key=lambda file: _rank(file, ranks), default=None)
                if best is not None and _rank(best, ranks) < _UNFIT:
                    found.append(best)
                    if len(found) == self._latest:
                        return found
            if found:
                break
        return found


_SOURCE, _UNFIT = 1 << 30, 1 << 31


def _rank(file: File, ranks: Mapping[tags.Tag, int]) -> int:
    """How well a file fits: the best wheel first, then source, nothing else."""
    if file.packagetype is PackageType.SDIST:
        return _SOURCE
    if file.packagetype is not PackageType.WHEEL:
        return _UNFIT
    try:
        found = tags.parse_tag("-".join(file.filename[:-4].split("-")[-3:]))
    except ValueError:
        return _UNFIT
    return min((ranks[tag] for tag in found if tag in ranks), default=_UNFIT)


def _takes(requires_python: str | None, python: str) -> bool:
    try:
        return not requires_python or any(
            SpecifierSet(requires_python).contains(f"{python}.{patch}") for patch in (99, 0)
        )
    except ValueError:
        return True


def _applies(marker: Marker | None, environment: Mapping[str, str], extras: Iterable[str]) -> bool:
    if marker is None:
        return True
    try:
        return any(marker.evaluate({**environment, "extra": extra}) for extra in extras)
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion):
        return True
