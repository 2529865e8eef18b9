"""Drop boxes: folders out of which packages are moved into an index, each as soon as it is whole."""

from __future__ import annotations

import logging
import os
import secrets
import stat as modes
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pidex.core.errors import Changing, PidexError
from pidex.core.folder import pause
from pidex.core.interfaces import Storage
from pidex.core.model import OPERATOR, Entry, Stat
from pidex.core.names import extension
from pidex.ingress.watch import Watch
from pidex.intake import Intake

#: How long a file has to lie as it is before it is looked into, in seconds; and one of a kind of which only
#: the beginning can be checked, so that nobody sees whether the rest is still to come.
SETTLE_SECONDS, SETTLE_UNSEEN_SECONDS = 1.0, 30.0
#: Seconds between two looks into the folder, and for how long one that was refused is left alone at least.
LOOK_SECONDS, REFUSED_SECONDS = 2.0, 4.0
#: What is written beside a refused file, and how files are called on their way out.
NOTE, TAKEN = ".refused.txt", ".pidex-taken-"
#: Bytes of a signature, and bytes read at once.
SIGNATURE_BYTES, BLOCK_BYTES = 64 * 1024, 1024 * 1024
#: Kinds of archives that say themselves whether they are whole.
_WHOLE = (".whl", ".zip", ".egg", ".gz", ".tgz", ".bz2", ".xz")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it lay there last, how often it was refused so, and when it is due again (monotonic)."""

    stat: Stat
    due: float
    refused: int = 0


class DropBox:
    """Moves packages out of a folder into an index; `run` in a thread of its own, on one node at a time.

    A file is received as an upload is: staged, looked into, announced, stored and listed. Only then does it
    leave the folder: a kill at any step leaves it there, and the next look finds that the index has it
    already. It leaves by being renamed first, and looked at once more: whoever replaces it at that moment has
    the new file lying there. What is refused stays, with a note beside it that says why.

    `box` is a storage over the folder alone. Two nodes that look at once for a moment do no harm.
    """

    def __init__(
        self, box: Storage, index: str, intake: Intake, *, watch: str, log: logging.Logger | None = None
    ) -> None:
        self._box, self._index, self._intake = box, index, intake
        self._mode, self._log = watch, log or logging.getLogger("pidex.drop")
        self._seen: dict[str, _Seen] = {}
        self._nameless: list[tuple[Path, Path]] = []  # on their way out, and wanted back under these names
        self._wake = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Move what comes until `stop`."""
        [folder] = self._box.folders.values()
        watch = Watch([folder], lambda _: self._wake.set(), mode=self._mode, log=self._log)
        watching = threading.Thread(target=watch.run, args=(stop,), name="pidex-drop", daemon=True)
        watching.start()
        self._put_back(Path(folder))
        while not stop.is_set():
            self._wake.clear()
            due = self.look()
            self._wake.wait(max(0.05, min(LOOK_SECONDS, due - time.monotonic())))
        watching.join()

    def look(self) -> float:
        """Look at everything that lies there, move what is whole; when the next look is due (monotonic)."""
        now, nameless, self._nameless = time.monotonic(), self._nameless, []
        for taken, wanted in nameless:
            self._give_back(taken, wanted)
        there = {entry.path: entry for root in self._box.folders for entry in self._list(root)}
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        for path, entry in there.items():
            seen = self._seen.get(path)
            if seen is None or seen.stat != entry.stat:
                settle = SETTLE_SECONDS if path.lower().endswith(_WHOLE) else SETTLE_UNSEEN_SECONDS
                self._seen[path] = _Seen(entry.stat, now + settle)
            elif seen.due <= now:
                self._seen[path] = self._try(entry, seen)
        return min((seen.due for seen in self._seen.values()), default=now + LOOK_SECONDS)

    def _list(self, root: int) -> Iterator[Entry]:
        for found in self._box.list(root):
            if isinstance(found, Entry) and extension(found.path) is not None:
                yield found

    def _try(self, entry: Entry, seen: _Seen) -> _Seen:
        """Move one file, or say why not; what is known of it then."""
        began = time.monotonic()
        try:
            self._move(entry)
        except (PidexError, OSError) as error:
            passing = isinstance(error, OSError) or error.retry_after is not None
            took = time.monotonic() - began
            if passing:
                self._log.warning("%s is tried again: %s", entry.path, error)
                return replace(seen, due=began + LOOK_SECONDS + took)
            if not seen.refused:
                self._log.warning("refused, and left where it lies: %s: %s", entry.path, error)
            self._note(entry, f"{error}\n")
            return replace(
                seen,
                due=time.monotonic() + max(REFUSED_SECONDS, pause(seen.refused + 1, took)),
                refused=seen.refused + 1,
            )
        return replace(seen, due=began + LOOK_SECONDS)

    def _move(self, entry: Entry) -> None:
        """Receive a file, then have it leave the folder."""
        path = Path(self._box.path(entry.root, entry.path))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file, self._intake.stage(self._index, size_hint=entry.stat.size) as stage:
            before = os.fstat(fd)
            if not modes.S_ISREG(before.st_mode):
                return
            while block := file.read(BLOCK_BYTES):
                stage.write(block)
            if _identity(os.fstat(fd)) != _identity(before) or stage.size != before.st_size:
                raise Changing(f"{entry.path} changed while it was read.", retry_after=1)
            receipt = self._intake.receive(
                self._index, stage, path.name, signature=_signature(path), how="folder", by=OPERATOR
            )
        self._log.info("moved into %s: %s (%s)", self._index, entry.path, receipt.status)
        self._take_away(path, _identity(before))

    def _take_away(self, path: Path, admitted: tuple[int, ...]) -> None:
        """Have what was admitted leave the folder, and nothing else that has its name by now."""
        taken = path.with_name(f"{TAKEN}{secrets.token_hex(4)}-{path.name}")
        try:
            path.rename(taken)
        except FileNotFoundError:
            return
        if _identity(taken.stat()) != admitted:
            self._give_back(taken, path)
            return
        taken.unlink()
        for beside in (_beside(path, ".asc"), _beside(path, NOTE)):
            with suppress(OSError):
                beside.unlink()

    def _put_back(self, folder: Path) -> None:
        """Give back their names to files that a kill left on their way out: the index has them or not."""
        for taken in folder.rglob(f"{TAKEN}*"):
            self._give_back(taken, taken.with_name(taken.name.removeprefix(TAKEN).partition("-")[2]))

    def _give_back(self, taken: Path, path: Path) -> None:
        """Give a file its name back; where another one has it by now, once that has gone."""
        try:
            os.link(taken, path)
            taken.unlink()
        except FileExistsError:
            self._nameless.append((taken, path))
        except OSError as error:
            self._log.warning("%s stays under the name %s: %s", path.name, taken.name, error)

    def _note(self, entry: Entry, text: str) -> None:
        """Say beside a file why it is refused, for who put it there and reads no log."""
        note = _beside(Path(self._box.path(entry.root, entry.path)), NOTE)
        with suppress(OSError):
            if not note.exists() or note.read_text(encoding="utf-8", errors="replace") != text:
                note.write_text(text, encoding="utf-8")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}{ending}")


def _signature(path: Path) -> bytes | None:
    """The signature that lies beside a file, if one does."""
    with suppress(OSError), _beside(path, ".asc").open("rb") as file:
        data = file.read(SIGNATURE_BYTES + 1)
        return data if 0 < len(data) <= SIGNATURE_BYTES else None
    return None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
