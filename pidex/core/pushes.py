"""What a push means for an index: two trees compared, what to place and take away, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import NamedTuple

from pidex.core import names
from pidex.core.errors import BadName
from pidex.core.folder import filename_key, is_sidecar

#: The one branch that an index follows.
BRANCH = "main"
REF = f"refs/heads/{BRANCH}"
#: Entries of a tree, and characters of a refused name that are shown.
TREE_ENTRIES, SHOWN_CHARS = 200_000, 300
#: Bytes of one name in a path, and of a path below a folder.
NAME_BYTES, PATH_BYTES = 255, 2_048
#: Levels of folders that a link is followed through before it counts as leaving the tree.
LINK_BYTES = 4_096

_LINK, _SUBMODULE = "120000", "160000"


class Node(NamedTuple):
    """A file of a tree: git's mode, the name of its blob, and its size in bytes where that was asked for."""

    mode: str
    oid: str
    size: int = -1


Tree = Mapping[str, Node]


class Update(NamedTuple):
    """One line of a push: a ref and what it was and is to be; None: it did not or will not exist."""

    old: str | None
    new: str | None
    ref: str


class Kind(StrEnum):
    """What a push does to a file name."""

    ADDED = "added"
    REPLACED = "replaced"
    MOVED = "moved"  # the same bytes at another path, or under another spelling


class Put(NamedTuple):
    """A package that a push brings to a path."""

    path: str
    oid: str
    kind: Kind

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def key(self) -> str:
        return filename_key(self.path)


class Refusal(NamedTuple):
    """A path, or ref, that may not be pushed so, and why."""

    path: str
    reason: str

    def line(self) -> str:
        """As the pusher's terminal shows it: one line, without control characters."""
        return spoken(f"{self.path}: {self.reason}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push asks for. `gone` are paths, `removed` those of them whose names leave the index."""

    put: tuple[Put, ...] = ()
    gone: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (path, blob) of new links, to be held to `leaves`
    refused: tuple[Refusal, ...] = ()


def updates(text: str) -> list[Update]:
    """The lines that git gives to a pre-receive hook. Raises `ValueError`."""
    found = []
    for line in text.splitlines():
        old, new, ref = line.split(" ", 2)
        found.append(Update(_oid(old), _oid(new), ref))
    return found


def _oid(text: str) -> str | None:
    """A commit's name; None for zeros. Raises `ValueError` for what is no name."""
    if len(text) not in (40, 64) or not set(text) <= set("0123456789abcdef"):
        raise ValueError(text)
    return text if set(text) != {"0"} else None


def tree(listing: bytes) -> dict[str, Node]:
    """What `git ls-tree -r -z --full-tree [-l]` printed. Raises `ValueError` where it is too long."""
    found: dict[str, Node] = {}
    for record in listing.split(b"\0"):
        if record:
            head, _, path = record.partition(b"\t")
            fields = head.decode("ascii").split()
            size = int(fields[3]) if len(fields) > 3 and fields[3].isdigit() else -1
            found[path.decode("utf-8", "surrogateescape")] = Node(fields[0], fields[2], size)
            if len(found) > TREE_ENTRIES:
                raise ValueError(f"a commit of more than {TREE_ENTRIES:,} files")
    return found


def is_listed(path: str) -> bool:
    """Whether a path names what an index lists: a package that lies in no dot folder."""
    *folders, filename = path.split("/")
    if any(folder.startswith(".") for folder in folders) or filename.startswith("."):
        return False
    return names.is_package(filename) and not names.is_temporary(filename) and not is_sidecar(filename)


def packages(of: Tree) -> dict[str, Node]:
    """The packages of a tree."""
    return {path: node for path, node in of.items() if is_listed(path)}


def plan(old: Tree, new: Tree) -> Plan:
    """Compare what the branch has with what it is to have.

    Files that are no packages are kept in the history and nowhere else. A file name is known by its casefold
    over all folders, so a package that moves is not removed and added.
    """
    refused: list[Refusal] = []
    links: list[tuple[str, str]] = []
    before, after = packages(old), packages(new)
    changed = {path for path, node in new.items() if (known := old.get(path)) is None or known != node}
    for path in sorted(changed):
        node = new[path]
        reason = _refusal(path, node, listed=path in after)
        if reason is not None:
            refused.append(Refusal(path, reason))
        elif node.mode == _LINK:
            links.append((path, node.oid))
    former = {filename_key(path): node.oid for path, node in before.items()}
    wanted: dict[str, list[str]] = {}
    for path in after:
        wanted.setdefault(filename_key(path), []).append(path)
    for paths in wanted.values():
        if len(paths) > 1 and not changed.isdisjoint(paths):
            first, *others = sorted(paths)
            reason = f"an index holds a file name once, whatever its case and folder, and {first} has it too"
            refused += [Refusal(path, reason) for path in others]
    put = []
    for path in sorted((changed & after.keys()) - {refusal.path for refusal in refused}):
        oid, was = after[path].oid, former.get(filename_key(path))
        if path in before and before[path].oid == oid:
            continue  # only its mode changed
        kind = Kind.ADDED if was is None else Kind.MOVED if was == oid else Kind.REPLACED
        put.append(Put(path, oid, kind))
    gone = tuple(sorted(before.keys() - after.keys()))
    removed = tuple(path for path in gone if filename_key(path) not in wanted)
    return Plan(tuple(put), gone, removed, tuple(links), tuple(refused))


def _refusal(path: str, node: Node, *, listed: bool) -> str | None:
    """Why a tree may not have this file, whatever it contains."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8: rename it" if listed else None
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") or part.casefold() == ".git" for part in parts):
        return "no path of a repository may hold this"
    if node.mode == _SUBMODULE:
        return "it is a submodule, which an index cannot hold: push the packages themselves"
    if not listed:
        return None
    if node.mode == _LINK:
        return "it is a symbolic link: push the package itself"
    if len(encoded) > PATH_BYTES or any(len(part.encode()) > NAME_BYTES for part in parts):
        return f"its path exceeds {PATH_BYTES} bytes, or a name in it {NAME_BYTES}"
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "its name holds control characters: rename it"
    try:
        names.parse(parts[-1])
    except BadName as error:
        return str(error)
    return None


def leaves(path: str, target: bytes) -> bool:
    """Whether a link at `path` with this text leads out of the tree."""
    if len(target) > LINK_BYTES or target.startswith(b"/"):
        return True
    depth = path.count("/")
    for part in target.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in (b"", b"."):
            depth += 1
    return False


def spoken(text: str) -> str:
    """A line for a terminal that is not ours: printable characters, and not too many."""
    plain = "".join(character if character.isprintable() else "?" for character in text)
    return plain if len(plain) <= SHOWN_CHARS + 500 else plain[:SHOWN_CHARS] + " ..."


# --- the record of a push under way -------------------------------------------------------------------------


class Moved(NamedTuple):
    """A path that a push changes: what the branch had and is to have there, and what was placed.

    `old` and `new` are blobs; `sha256` is that of the new bytes. `fresh`: nothing lay there before.
    """

    path: str
    old: str | None
    new: str | None
    sha256: str | None = None
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A push between the first file that is placed and the branch that moves. `root` is the folder's number.

    `process` is that of `git receive-pack`, with when it started, as the system counts; `node` is where it
    runs, '' where there is one machine.
    """

    old: str | None
    new: str | None
    root: int
    by: str
    process: tuple[int, str] | None
    files: tuple[Moved, ...]
    node: str = ""

    def text(self) -> str:
        return json.dumps({**asdict(self), "files": [list(file) for file in self.files]})


def record(text: str) -> Record:
    """A record as `Record.text` wrote it. Raises `ValueError`."""
    try:
        told = json.loads(text)
        files = tuple(Moved(*file) for file in told["files"])
        process = tuple(told["process"]) if told["process"] else None
        node = told.get("node", "")
        return Record(told["old"], told["new"], told["root"], told["by"], process, files, node)
    except (KeyError, TypeError) as error:
        raise ValueError("no record of a push") from error


def undo(kept: Record, tip: str | None) -> tuple[Moved, ...]:
    """Which of a record's files have to go back to what the branch has: none where it moved as announced."""
    return () if tip == kept.new else kept.files


def lines(refusals: Iterable[Refusal], most: int) -> list[str]:
    """One line for each refusal, up to a number of them."""
    found = [refusal.line() for refusal in refusals]
    if len(found) > most:
        found[most:] = [f"and {len(found) - most} more"]
    return found
