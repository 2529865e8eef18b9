"""Files of a page that are named and lie as others of it do: what they share is looked at once."""

from __future__ import annotations

import re
from typing import Final

from pidex.core import names
from pidex.core.destinations import is_plain
from pidex.core.errors import BadName, UpstreamFault
from pidex.core.limits import MAX_FILENAME
from pidex.core.model import PackageType

#: The last folders of a URL of PyPI's form, and how many characters they are.
_SPREAD: Final = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/")
_SPREAD_CHARACTERS: Final = 67
#: What file names have of a version that has no dash.
_VERSION: Final = re.compile(r"[\w.!+]+", re.ASCII)
#: Characters of a URL before them.
_MAX_PLACE: Final = 1_000
_SDIST: Final = ".tar.gz"


class Familiar:
    """What is known to be right of the files of one page of `project`.

    A wheel's name is right where its three parts (name, version, all the rest) are, each by itself: the rules
    in `core.names` never look at two of them together. So a part that was right in one name is right in all.
    An answer of False says nothing: what is not familiar has to be looked at as a whole.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._names: set[str] = set()
        self._versions: set[str] = set()
        self._rests: set[str] = set()
        self._places: set[str] = set()

    def has_name(self, filename: str) -> bool:
        """Whether it is the name of a wheel or an sdist of the project. What is asked for is remembered."""
        name, _, tail = filename.partition("-")
        if name in self._names and len(filename) <= MAX_FILENAME:
            version, _, rest = tail.partition("-")
            if rest:
                if rest in self._rests and self._has_version(version):
                    return True
            elif tail.endswith(_SDIST) and self._has_version(tail[: -len(_SDIST)]):
                return True  # one dash alone, so there is one way to read it
        return self._learn(filename)

    def _has_version(self, version: str) -> bool:
        """Whether it is one of PEP 440, as file names may have it. Legacy versions are never familiar: they
        are read differently in wheels and sdists.
        """
        if version in self._versions:
            return True
        if _VERSION.fullmatch(version) is None or not names.is_version(version):
            return False
        self._versions.add(version)
        return True

    def has_place(self, url: str, filename: str) -> bool:
        """Whether a file's URL is absolute, harmless and of PyPI's form. `filename` is a right one."""
        cut = len(url) - len(filename)
        start = cut - _SPREAD_CHARACTERS
        if start <= 0 or not url.endswith(filename) or _SPREAD.fullmatch(url, start, cut) is None:
            return False
        place = url[:start]
        if place in self._places:
            return True
        # Server and folder, whole: what comes after them cannot make them another.
        if start > _MAX_PLACE or place[-1] != "/" or place.count("/") < 3:
            return False
        try:
            right = is_plain(url)
        except UpstreamFault:
            return False
        if right:
            self._places.add(place)
        return right

    def _learn(self, filename: str) -> bool:
        try:
            named = names.parse(filename)
        except BadName:
            return False
        if named.project != self._project:
            return False
        name, _, rest = filename.partition("-")
        if named.packagetype is PackageType.WHEEL:
            self._names.add(name)
            self._rests.add(rest.partition("-")[2])
        elif named.name == name:
            self._names.add(name)
        return True
