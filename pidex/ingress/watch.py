"""Tells the reconciler where in the folders something happened, by notices or by asking often."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence

from pidex.core import names

#: Notices are gathered until none came for the first, and no longer than the second, in milliseconds.
STEP_MS, DEBOUNCE_MS = 40, 200
#: How often it is checked whether the roots are still the same folders, in seconds.
CHECK_SECONDS = 2.0
#: Without notices: seconds between two listings of everything (the reconciler spaces out long ones itself).
POLL_SECONDS = 3.0
#: Types of file systems on which other machines change files without this one getting notices.
REMOTE = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "afs", "ceph", "glusterfs", "lustre", "vboxsf")
)
_MOUNTS = "/proc/self/mountinfo"

#: What the notices lead to: (root, path below it) pairs to look at again, None for everything.
Nudge = Callable[[Iterable[tuple[int, str]] | None], None]

#: A folder's device and inode, None where there is none.
_Identity = tuple[int, int] | None


class _Begun:
    """Asked by a watch that has begun whether to stop: the first time, what came before it is listed."""

    def __init__(self, stop: threading.Event, nudge: Nudge) -> None:
        self._stop = stop
        self._nudge: Nudge | None = nudge

    def is_set(self) -> bool:
        if self._nudge is not None:
            self._nudge(None)
            self._nudge = None
        return self._stop.is_set()


class Watch:
    """Watches roots until told to stop; `run` in a thread of its own.

    `mode`: 'auto' takes the system's notices, and polls where there are none (network file systems, no more
    watches to be had); 'poll' always polls; 'off' does nothing, so that only the reconciler's own scans see
    changes. A notice is a place to look, never what happened: it may be lost, late, doubled or wrong.

    A root that is missing is no error: it is watched from when it is there, and again when it comes back.
    """

    def __init__(
        self,
        roots: Sequence[str | os.PathLike[str]],
        nudge: Nudge,
        *,
        mode: str = "auto",
        log: logging.Logger | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._roots = [os.fspath(root) for root in roots]
        self._nudge = nudge
        self._mode = mode
        self._log = log or logging.getLogger("pidex.watch")
        self._poll_seconds = poll_seconds

    def run(self, stop: threading.Event) -> None:
        """Nudge until `stop` is set."""
        if self._mode == "off":
            return
        polled = self._mode == "poll" or self._is_remote()
        missing: frozenset[str] = frozenset()
        while not stop.is_set() and not polled:
            before = self._identities()
            gone = frozenset(root for root, one in zip(self._roots, before, strict=True) if one is None)
            for root in sorted(gone - missing):
                self._log.warning("the folder %s is not there: it is followed from when it is", root)
            missing = gone
            polled = not self._follow(before, stop)
            # The roots changed under the watch, or none was there: what happened meanwhile nobody knows.
        while not stop.wait(self._poll_seconds):
            self._nudge(None)

    def _follow(self, before: Sequence[_Identity], stop: threading.Event) -> bool:
        """Pass on notices until the roots are others than before. False where there are no notices."""
        there = [root for root, one in zip(self._roots, before, strict=True) if one is not None]
        if not there:
            self._wait_for_change(before, stop)
            return True
        from watchfiles import watch  # noqa: PLC0415  only the process that watches pays for it

        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # a line for each notice is too much
        try:
            notices = watch(
                *there,
                watch_filter=None,
                step=STEP_MS,
                debounce=DEBOUNCE_MS,
                stop_event=_Begun(stop, self._nudge),
                rust_timeout=int(CHECK_SECONDS * 1000),
                yield_on_timeout=True,
                raise_interrupt=False,
                force_polling=False,
                ignore_permission_denied=True,
                recursive=True,
            )
            for changes in notices:
                places = self._places({path for _, path in changes})
                if places:
                    self._nudge(places)
                if self._identities() != before:
                    self._nudge(None)
                    return True
        except (OSError, RuntimeError) as error:
            if self._identities() != before:
                return True
            self._log.warning(
                "no notices of changes can be had (%s): the folders are listed every %.0f s instead. "
                "Raise fs.inotify.max_user_watches where it is the limit, or say --watch poll.",
                error, self._poll_seconds,
            )  # fmt: skip
            return False
        return True

    def _wait_for_change(self, before: Sequence[_Identity], stop: threading.Event) -> None:
        while not stop.wait(CHECK_SECONDS):
            if self._identities() != before:
                self._nudge(None)
                return

    def _places(self, paths: Iterable[str]) -> set[tuple[int, str]]:
        """Where to look, of paths as notices have them; without what is never seen."""
        found = set()
        bases = [(number, os.path.realpath(root)) for number, root in enumerate(self._roots)]
        bases += [(number, os.path.abspath(root)) for number, root in enumerate(self._roots)]
        for path in paths:
            for number, base in bases:
                if path == base:
                    found.add((number, ""))
                elif path.startswith(base + "/"):
                    below = path[len(base) + 1 :]
                    if is_seen(below):
                        found.add((number, below))
        return found

    def _identities(self) -> list[_Identity]:
        return [_identity(root) for root in self._roots]

    def _is_remote(self) -> bool:
        """Whether a root lies on a file system of another machine, where notices tell only half."""
        try:
            with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except OSError:
            return False
        for root in self._roots:
            kind = filesystem(mounts, os.path.realpath(root))
            if kind in REMOTE or kind.startswith("fuse."):
                self._log.info(
                    "%s lies on %s, which does not tell of others' changes: it is listed every %.0f s",
                    root, kind, self._poll_seconds,
                )  # fmt: skip
                return True
        return False


def is_seen(path: str) -> bool:
    """Whether a listing could show anything at a path below a root."""
    parts = path.split("/")
    return not any(part.startswith(".") for part in parts) and not names.is_temporary(parts[-1])


def filesystem(mounts: str, path: str) -> str:
    """The type of the file system that a path lies on, by the lines of mountinfo; '' if they do not say."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, after = line.partition(" - ")
        parts, kinds = fields.split(), after.split()
        if len(parts) < 5 or not kinds:
            continue
        point = parts[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= best:
            best, kind = len(point), kinds[0]
    return kind


def _identity(path: str) -> _Identity:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
