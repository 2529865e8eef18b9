"""Old addresses of indexes, as other servers have them, answered as our own (devpi, Nexus, Artifactory)."""

from __future__ import annotations

from collections.abc import Container

#: What stands before an index's name, and the segments behind it that lead to its pages.
_PLACES = {
    ("root",): ("+simple", "simple"),
    ("repository",): ("simple",),
    ("api", "pypi"): ("simple",),
}
#: The first segments of such addresses.
FIRST = frozenset(before[0] for before in _PLACES)
#: The name under which devpi has its mirror of PyPI.
_MIRROR = "pypi"


def place(path: str, indexes: Container[str], default: str) -> tuple[str, int, str] | None:
    """The index of an old address, how many segments name it, and the path below it as ours is.

    `/root/<x>/+simple/...`, `/repository/<x>/simple/...` and `/api/pypi/<x>/simple/...`, each with the files
    that its pages link to (`.../packages/...`). None for what is none. devpi's `root/pypi` is the default
    index. Answered without a redirect: clients drop credentials on one.
    """
    segments = path[1:].split("/")
    for before, words in _PLACES.items():
        at = len(before)
        if tuple(segments[:at]) != before or len(segments) < at + 2:
            continue
        name, word, rest = segments[at], segments[at + 1], segments[at + 2 :]
        index = name if name in indexes else default if before == ("root",) and name == _MIRROR else None
        if index is None:
            return None
        if word in words:
            return index, at + 1, "/".join(["", "simple", *rest])
        return (index, at + 1, "/".join(["", word, *rest])) if word == "packages" else None
    return None
