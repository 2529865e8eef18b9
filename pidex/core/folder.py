"""What a listing of folders means: what to look at and when, what to forget, which file a name stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import NamedTuple

from pidex.core.interfaces import KeptFile
from pidex.core.model import DEFAULT_INDEX, Admission, Entry, Place, PlaceState, Problem, Stat
from pidex.core.sentences import said

#: A path of an index's folders: which root, and where below it. What a listing is compared by.
Key = tuple[int, str]

#: What an index has among its folders whose files lie in the bucket that the settings name.
BUCKET = "bucket"

#: Folders that an index may have: they are numbered from this many times the index's own number on.
MOST_ROOTS = 1_000


def first_root(index: str, number: int) -> int:
    """The number of an index's first folder; the default index's folders are 0, 1, ..."""
    return 0 if index == DEFAULT_INDEX else MOST_ROOTS * number


def roots_of(roots: Iterable[int], index: str, number: int) -> list[int]:
    """Those of all folders' numbers that are an index's, in order. `number`: that of the index."""
    first = first_root(index, number)
    return sorted(root for root in roots if first <= root < first + MOST_ROOTS)


#: What decides whether a file must be read again: size, mtime, ctime and inode (see `mark`), in 32 bytes,
#: since one is held for every file.
Mark = bytes

#: The mark of a path that was found and never looked into: equal to no file's.
UNREAD: Mark = b""
_MARK = Struct("<qqqQ").pack

#: A look starts no sooner than this after its stat was first seen, in seconds. Clocks of file systems tick
#: (4 ms and 10 ms are common): bytes written in the tick in which a stat was taken leave no trace in it.
#: Where the stat is older than a tick when the reading starts, a later write shows.
SETTLE_SECONDS = 0.03
#: The same for file systems whose times are whole seconds (FAT: two).
SETTLE_COARSE_SECONDS = 2.1
#: Files whose times lie further back than this, in seconds, are at rest and looked at without waiting.
AT_REST_SECONDS = 5.0

#: Pauses between the looks at a file that is not whole, in seconds.
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 60.0
#: A file is not looked at again sooner than this many times what its last look took.
PAUSE_PER_LOOK = 2.0


#: Files that belong to a package beside them: never listed, and nothing to report.
SIDECARS = (
    ".asc", ".sig", ".sigstore", ".metadata", ".provenance", ".attestation",
    ".md5", ".sha1", ".sha256", ".sha512", ".md5sum", ".sha256sum", ".blake2b",
)  # fmt: skip


def is_sidecar(filename: str) -> bool:
    """Whether this is the signature, checksum or metadata of another file."""
    return filename.lower().endswith(SIDECARS)


def mark(stat: Stat) -> Mark:
    """What of a stat decides whether bytes changed: all but the device.

    Device numbers of network and bind mounts change from one boot to the next, and with them nothing else; a
    different file of the same inode, size and both times to the nanosecond does not come about by a mount.
    """
    return _MARK(*stat[:4])


def same(one: Stat, other: Stat) -> bool:
    """Whether two stats are of the same unchanged file."""
    return one[:4] == other[:4]


def same_but_ctime(one: Stat, other: Stat) -> bool:
    """Whether only ctime differs: a link, an unlink, a rename or a chmod; or a writer that set mtime back."""
    return one.size == other.size and one.mtime_ns == other.mtime_ns and one.inode == other.inode


# --- listings ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """What a listing asks for. Unchanged files ask for nothing."""

    look: tuple[Entry, ...] = ()  # new or changed: to be read
    forget: tuple[Key, ...] = ()  # known, and no longer there
    problems: tuple[Problem, ...] = ()
    seen: int = 0  # files in the listing


def difference(
    listing: Iterable[Entry | Problem], known: Mapping[Key, Mark], scope: Iterable[Key] | None = None
) -> Difference:
    """Compare a listing with what is known.

    `known` has a mark for each path with a place, and `UNREAD` where none of its looks ever ended. `scope`
    says which of them the listing would have shown; all of them by default.

    A path below a folder that could not be listed is not forgotten: not seen is not gone. So a root that is
    unmounted, a folder that answers EIO, or one that a chmod has shut keeps its last state, is reported, and
    its files answer as far as their bytes can be had.
    """
    look: list[Entry] = []
    problems: list[Problem] = []
    seen: set[Key] = set()
    blind: list[tuple[int, str]] = []
    for item in listing:
        if isinstance(item, Problem):
            problems.append(item)
            if item.code in HIDES:
                blind.append((item.root, item.path + "/" if item.path else ""))
            continue
        key = (item.root, item.path)
        seen.add(key)
        if known.get(key) != _MARK(*item.stat[:4]):
            look.append(item)
    candidates = known if scope is None else scope
    forget = [key for key in candidates if key not in seen and not _hidden(key, blind)]
    return Difference(tuple(look), tuple(forget), tuple(problems), len(seen))


#: Codes of problems that hide what lies below a folder, so that nothing can be concluded from not seeing it.
HIDES = frozenset({"root-missing", "folder-unreadable"})


def _hidden(key: Key, blind: Sequence[Key]) -> bool:
    return any(key[0] == root and key[1].startswith(prefix) for root, prefix in blind)


def settle_pause(stat: Stat, now: float) -> float:
    """How long to wait, in seconds, before a file that was first seen with this stat *now* may be looked at.

    The wait counts from when the stat was seen and so needs no agreement between our clock and the file
    server's; the clock is asked only to let files through that have not changed for long.
    """
    newest = max(stat.mtime_ns, stat.ctime_ns) / 1e9
    if newest < now - AT_REST_SECONDS:
        return 0.0
    coarse = stat.mtime_ns % 1_000_000_000 == 0 and stat.ctime_ns % 1_000_000_000 == 0
    return SETTLE_COARSE_SECONDS if coarse else SETTLE_SECONDS


def pause(looks: int, took: float) -> float:
    """Seconds until the next look at a file that `looks` looks found not whole; the last one took `took`.

    Doubling from a quarter of a second to a minute, and never less than twice what a look costs, so that a
    slow upload of a large file takes a third of one child at most.
    """
    doubled = FIRST_PAUSE_SECONDS * 2.0 ** min(max(looks - 1, 0), 16)
    return max(min(doubled, LONGEST_PAUSE_SECONDS), PAUSE_PER_LOOK * took)


def scope(known: Collection[Key], paths: Collection[Key], there: Collection[Key]) -> set[Key]:
    """Which known paths lie at or below `paths`. `there`: those of them that a listing showed to be files."""
    found = {key for key in paths if key in known}
    folders = {key for key in paths if key not in there and key not in found}
    if folders:
        found |= {key for key in known if within(key, folders)}
    return found


def within(key: Key, folders: Collection[Key]) -> bool:
    """Whether a path lies below any of these folders ('' is the root)."""
    root, path = key
    while path:
        path = path.rpartition("/")[0]
        if (root, path) in folders:
            return True
    return False


def filename_key(path: str) -> str:
    """The name under which an index holds the file at a path: casefolded."""
    return path.rpartition("/")[2].casefold()


def expired(
    kept: Iterable[KeptFile], listed: Collection[str], *, now: float, seconds: float, most_bytes: int
) -> list[str]:
    """Which kept bytes to drop: those that are not listed, have no other name, and are old or too many.

    An inode's last change is when the name in the folder went. Bytes that have a name there cost nothing.
    """
    left = [item for item in kept if item.links == 1 and item.sha256 not in listed]
    left.sort(key=lambda item: item.stat.ctime_ns, reverse=True)
    total, found = 0, []
    for item in left:
        total += item.stat.size
        if total > most_bytes or item.stat.ctime_ns / 1e9 < now - seconds:
            found.append(item.sha256)
    return found


# --- elections ----------------------------------------------------------------------------------------------


class Source(StrEnum):
    """Where the bytes of an elected file come from."""

    PLACE = "place"  # they lie at the elected place
    KEPT = "kept"  # only the kept link has them: the last good version
    HELD = "held"  # nowhere: written over in place. The row stays, and its bytes answer "changing"


class Withholding(NamedTuple):
    """A whole place that is not served, and why."""

    place: Place
    reason: str


@dataclass(frozen=True, slots=True)
class Election:
    """What one file name of an index stands for.

    `place` gives the name as spelled and the path; None: the name is not listed. `admits`: the bytes are not
    those of the admission, so that a new one is due and an old one becomes superseded.
    """

    place: Place | None = None
    sha256: str | None = None
    source: Source = Source.PLACE
    admits: bool = False
    shadowed: tuple[Place, ...] = ()
    withheld: tuple[Withholding, ...] = ()


def rank(place: Place) -> tuple[int, int, str]:
    """Which place of a name comes first: first root, then fewest folders, then path."""
    return place.root, place.path.count("/"), place.path


def elect(
    places: Iterable[Place],
    admission: Admission | None,
    *,
    good: bool = False,
    held: bool = False,
    mutability: str = "folder",
    burnt: str | None = None,
) -> Election:
    """Decide what the places of one casefolded file name make of it.

    `good`: the kept link has the bytes of the admission. `held`: a listed row has its sha256. `burnt`: why
    the name may not come back (its tombstone), or None.

    * No place: not listed. In a folder, a file is in the index because it lies there; the admission stays.
    * Burnt: every whole place is withheld.
    * The first place by `rank` is whole: it is the file, whatever others say. Where the index is immutable,
      bytes other than the admission's are withheld and the admission's stay, if they can still be had.
    * It is not whole (new and growing, damaged, refused): the bytes of the admission stay, from another place
      that has them or from the kept link. That is what makes a replacement by git or FTP invisible until
      it is complete. Only where they are gone does the next whole place take the name.
    * All of them are gone and something is still growing: the row is held and its bytes answer "changing",
      until the file is whole or refused.

    Electing again after acting on an election changes nothing, so the result depends on the folder, the
    decided rows and the kept bytes alone, not on the order of events (held rows apart: their bytes are gone,
    so an empty catalogue could not tell what they were).
    """
    ranked = sorted(places, key=rank)
    if not ranked:
        return Election()
    whole = [place for place in ranked if place.state is PlaceState.WHOLE]
    if burnt is not None:
        return Election(withheld=tuple(Withholding(place, burnt) for place in whole))
    first = ranked[0]
    fixed = mutability == "immutable" and admission is not None
    admitted = [place for place in whole if admission is not None and place.sha256 == admission.sha256]
    if first.state is PlaceState.WHOLE and not fixed:
        return _elected(first, Source.PLACE, whole, admission)
    if first.state is PlaceState.WHOLE and first in admitted:
        return _elected(first, Source.PLACE, whole, admission, fixed)
    if admitted:
        return _elected(admitted[0], Source.PLACE, whole, admission, fixed)
    if admission is not None and good:
        return _elected(first, Source.KEPT, whole, admission, fixed)
    if whole and not fixed:
        return _elected(whole[0], Source.PLACE, whole, admission)
    growing = any(place.state in (PlaceState.PENDING, PlaceState.UNREAD) for place in ranked)
    if admission is not None and held and growing:
        return _elected(first, Source.HELD, whole, admission, fixed)
    return Election(withheld=_fixed(whole, admission) if fixed else ())


def _elected(
    place: Place, source: Source, whole: Sequence[Place], admission: Admission | None, fixed: bool = False
) -> Election:
    sha256 = place.sha256 if source is Source.PLACE else admission.sha256 if admission else None
    others = tuple(other for other in whole if other.sha256 != sha256)
    return Election(
        place=place,
        sha256=sha256,
        source=source,
        admits=admission is None or admission.sha256 != sha256,
        shadowed=() if fixed else others,
        withheld=_fixed(others, admission) if fixed else (),
    )


def _fixed(places: Sequence[Place], admission: Admission | None) -> tuple[Withholding, ...]:
    if admission is None:
        return ()
    reason = said(
        "this index is immutable and %(filename)s was admitted with other bytes (sha256 %(sha256)s...):"
        " give the new bytes a new version",
        filename=admission.filename,
        sha256=admission.sha256[:12],
    )
    return tuple(Withholding(place, reason) for place in places if place.sha256 != admission.sha256)
