"""Terms that name projects and versions of them: 'requests', 'acme-*', 'django>=4,<6'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion

from pidex.core import names
from pidex.core.errors import BadRequest
from pidex.core.limits import MAX_FILENAME, MAX_VERSION

_TERM = re.compile(r"([A-Za-z0-9._*?-]+)\s*(\[[^\]]*\])?\s*((?:[<>=!~]=?|===).*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Term:
    """`pattern`: a normalised name, or a pattern of them with `*` and `?`. `versions`: a specifier, or ''."""

    pattern: str
    versions: str = ""

    def __str__(self) -> str:
        return f"{self.pattern}{self.versions}"

    @property
    def is_whole(self) -> bool:
        """Whether all versions of a project are meant."""
        return not self.versions

    def names(self, project: str) -> bool:
        """Whether a project, by its normalised name, is meant, whatever the version."""
        return project == self.pattern or (_is_glob(self.pattern) and fnmatchcase(project, self.pattern))

    def covers(self, project: str, version: str) -> bool:
        """Whether a release is meant; a version that PEP 440 does not know only by its exact text."""
        return self.names(project) and (not self.versions or _contains(self.versions, version))


def term_of(text: str) -> Term:
    """Read a term. Raises `BadRequest` where it is none; extras in brackets say nothing here."""
    found = _TERM.fullmatch(text.strip()) if len(text) <= MAX_FILENAME + MAX_VERSION else None
    if found is None:
        raise BadRequest(
            f"{text[:80]!r} names no project: write a name ('requests'), a pattern ('acme-*'), "
            "or one with versions ('django>=4,<6')."
        )
    name, _, versions = found.groups()
    pattern = name.lower() if _is_glob(name) else names.normalize(name)
    try:
        specifier = _specifier((versions or "").strip())
    except (InvalidSpecifier, InvalidVersion, ValueError):
        raise BadRequest(
            f"{text[:80]!r} has versions that cannot be read: write '>=4,<6' or '==1.0'."
        ) from None
    return Term(re.sub(r"[-_.]+", "-", pattern), str(specifier))


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


@lru_cache(maxsize=2_048)
def _specifier(text: str) -> SpecifierSet:
    return SpecifierSet(text)


@lru_cache(maxsize=16_384)
def _contains(versions: str, version: str) -> bool:
    if not names.is_version(version):
        return version.strip().lower() == versions.removeprefix("===").lower()
    return _specifier(versions).contains(version, prereleases=True)
