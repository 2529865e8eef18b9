"""Checks of the machine: folders, data directory, file systems, space, limits and clock."""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from pidex.core.sentences import said
from pidex.doctor.finding import Clock, Findings, Target, fail, ok, warn

#: Free space where data directory and folders lie: bytes and inodes, what warns and what fails.
BYTES_WARN, BYTES_FAIL = 1 << 30, 100 << 20
INODES_WARN, INODES_FAIL = 10_000, 1_000
#: An fsync above this many seconds makes every change slow.
FSYNC_SLOW = 0.05
#: Files that a process should be allowed to have open.
OPEN_FILES = 1024
#: Seconds that a file may seem to come from the future.
FUTURE_SECONDS = 120
#: A clock before this time (2025-01-01) was never set.
BEFORE_PIDEX = 1_735_689_600
NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "afs",
)
INOTIFY = Path("/proc/sys/fs/inotify/max_user_watches")
MOUNTS = Path("/proc/self/mountinfo")


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _kind(path: Path) -> str:
    """The type of the file system that a path lies in, '' where it is not known."""
    real, best, kind = os.path.realpath(_existing(path)), "", ""
    if not MOUNTS.exists():
        return ""
    for line in MOUNTS.read_text(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        mount = fields[4].encode().decode("unicode_escape")
        if (real + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def folders(target: Target, _: Clock) -> Findings:
    """Each folder is there and can be read."""
    for folder in target.folders:
        if not folder.is_dir():
            yield fail(
                said("The folder %(folder)s does not exist.", folder=folder),
                said("Create it: mkdir -p %(folder)s", folder=folder),
            )
        elif not os.access(folder, os.R_OK | os.X_OK):
            yield fail(
                said("The folder %(folder)s cannot be read by this user.", folder=folder),
                said("Allow it: chmod o+rx %(folder)s", folder=folder),
            )
        else:
            yield ok(said("The folder %(folder)s can be read.", folder=folder))


def nesting(target: Target, _: Clock) -> Findings:
    """No folder lies in another, and the data directory in none."""
    real = [each.resolve() for each in target.folders]
    for inner, one in zip(target.folders, real, strict=True):
        for outer, other in zip(target.folders, real, strict=True):
            if inner != outer and one.is_relative_to(other):
                yield warn(
                    said(
                        "The folder %(inner)s lies in the folder %(outer)s: its files are found twice.",
                        inner=inner,
                        outer=outer,
                    ),
                    said("Name %(outer)s alone; sub-folders are served too.", outer=outer),
                )
    for folder, one in zip(target.folders, real, strict=True):
        if target.data.resolve().is_relative_to(one):
            yield fail(
                said(
                    "The data directory %(data)s lies in the folder %(folder)s, where others write.",
                    data=target.data,
                    folder=folder,
                ),
                said("Name one outside it with --data."),
            )


def data_directory(target: Target, _: Clock) -> Findings:
    """The data directory belongs to us, and to nobody else; so does what nodes of a cluster share of it."""
    for data in dict.fromkeys((target.data, target.shared or target.data)):
        yield from _own(data, target)


def _own(data: Path, target: Target) -> Findings:
    if not data.exists():
        parent = next(each for each in data.parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok(
                said("The data directory %(data)s does not exist yet: `pidex serve` makes it.", data=data)
            )
        else:
            yield fail(
                said(
                    "The data directory %(data)s cannot be made: %(parent)s is not writable.",
                    data=data,
                    parent=parent,
                ),
                said("Name another one with --data.")
                if data == target.data
                else said("chown it: chown -R $USER %(data)s", data=parent),
            )
        return
    found = data.stat()
    if not os.access(data, os.W_OK | os.X_OK):
        yield fail(
            said("The data directory %(data)s cannot be written by this user.", data=data),
            said("chown it: chown -R $USER %(data)s", data=data),
        )
    elif found.st_uid != os.geteuid():
        yield warn(
            said(
                "The data directory %(data)s belongs to user %(owner)s, not to you (%(user)s).",
                data=data,
                owner=found.st_uid,
                user=os.geteuid(),
            ),
            said("Run `pidex doctor` as the server's user."),
        )
    if found.st_mode & 0o077:
        yield warn(
            said(
                "The data directory %(data)s is open to other users (mode %(mode)s).",
                data=data,
                mode=f"{found.st_mode & 511:o}",
            ),
            said("Close it: chmod 700 %(data)s", data=data),
        )
    else:
        yield ok(
            said(
                "The data directory %(data)s is private (mode %(mode)s).",
                data=data,
                mode=f"{found.st_mode & 511:o}",
            )
        )


def file_systems(target: Target, _: Clock) -> Findings:
    """The file systems can do what they are asked for."""
    kind = _kind(target.data)
    if kind in NETWORK:
        yield fail(
            said(
                "The data directory is on a network file system (%(kind)s), where SQLite's locks fail.",
                kind=kind,
            ),
            said("Name a local directory with --data."),
        )
    elif kind in ("tmpfs", "ramfs", "devtmpfs"):
        yield warn(
            said(
                "The data directory is in memory (%(kind)s): a restart of the machine forgets it.", kind=kind
            ),
            said("Name a directory on a disk with --data."),
        )
    elif kind == "overlay":
        yield warn(
            said("The data directory is in a container's own layer (overlay): it goes with the container."),
            said("Mount a volume and name it with --data."),
        )
    else:
        yield ok(
            said("The data directory is on %(kind)s.", kind=kind or said("a file system of unknown type"))
        )
    for folder in target.folders:
        kind = _kind(folder)
        if kind in NETWORK and target.watch == "auto":
            yield warn(
                said(
                    "The folder %(folder)s is on a network file system (%(kind)s), which gives no notices.",
                    folder=folder,
                    kind=kind,
                ),
                said("Set watch to poll, or rely on scan_interval."),
            )


def hard_links(target: Target, _: Clock) -> Findings:
    """The last good version of a file can be kept by a hard link."""
    kept = target.shared or target.data
    data = _existing(kept)
    for folder in target.folders:
        if folder.is_dir() and folder.stat().st_dev != data.stat().st_dev:
            yield warn(
                said(
                    "The folder %(folder)s is on another file system than the data directory %(data)s:"
                    " a replaced file's last good version cannot be kept.",
                    folder=folder,
                    data=kept,
                ),
                said("Name a data directory on the folder's file system with --data."),
            )
            return
    yield ok(said("Folders and data directory are on one file system: last good versions are kept."))


def space(target: Target, _: Clock) -> Findings:
    """There is space for bytes and names."""
    seen = set()
    for path in (target.data, *target.folders):
        place = _existing(path)
        if place.stat().st_dev in seen:
            continue
        seen.add(place.stat().st_dev)
        found = os.statvfs(place)
        free = found.f_bavail * found.f_frsize
        if free < BYTES_WARN:
            say = fail if free < BYTES_FAIL else warn
            yield say(
                said("%(free)s MiB are free where %(path)s lies.", free=free >> 20, path=path),
                said("Make space, or use a larger disk."),
            )
        if found.f_files and found.f_favail < INODES_WARN:
            say = fail if found.f_favail < INODES_FAIL else warn
            yield say(
                said("%(free)s inodes are free where %(path)s lies.", free=found.f_favail, path=path),
                said("Remove small files there."),
            )
        if free >= BYTES_WARN and (not found.f_files or found.f_favail >= INODES_WARN):
            yield ok(said("%(free)s GiB are free where %(path)s lies.", free=free >> 30, path=path))


def fsync(target: Target, _: Clock) -> Findings:
    """The disk takes writes in good time."""
    if not os.access(target.data, os.W_OK):
        return
    took = []
    with tempfile.TemporaryFile(dir=target.data) as file:
        for _each in range(5):
            file.write(bytes(4096))
            file.flush()
            start = perf_counter()
            os.fsync(file.fileno())
            took.append(perf_counter() - start)
    median = statistics.median(took)
    if median > FSYNC_SLOW:
        yield warn(
            said(
                "An fsync in the data directory takes %(took)s ms, and every change waits for it.",
                took=f"{median * 1000:.0f}",
            ),
            said("Use a faster disk for the data directory."),
        )
    else:
        yield ok(said("An fsync in the data directory takes %(took)s ms.", took=f"{median * 1000:.1f}"))


def clocks(target: Target, clock: Clock) -> Findings:
    """The clock is set, and no file comes from the future."""
    now = clock()
    if now < BEFORE_PIDEX:
        yield fail(said("The system's clock is years behind."), said("Set it, and keep it by NTP."))
        return
    late = [
        path for _, path, stat in _walk(target) if stat is not None and stat.st_mtime > now + FUTURE_SECONDS
    ]
    if late:
        yield warn(
            said(
                "%(number)s files were changed in the future, such as %(path)s.",
                number=len(late),
                path=late[0],
            ),
            said("Set the clock of whoever copies them, or `touch` them."),
        )
    else:
        yield ok(said("The clock is set, and no file comes from the future."))


def _walk(target: Target) -> Iterator[tuple[bool, str, os.stat_result | None]]:
    """(is it a folder, path, stat of a file) of all that is not hidden below the folders."""
    waiting = [str(folder) for folder in target.folders if os.access(folder, os.R_OK | os.X_OK)]
    while waiting:
        folder = waiting.pop()
        yield True, folder, None
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield False, entry.path, entry.stat(follow_symlinks=False)
        except OSError:
            continue


def watches(target: Target, _: Clock) -> Findings:
    """The system gives notices for as many folders as there are."""
    if target.watch != "auto" or not INOTIFY.exists():
        return
    limit = int(INOTIFY.read_text())
    count = sum(1 for is_folder, _path, _stat in _walk(target) if is_folder)
    if count > limit * 0.9:
        yield warn(
            said(
                "%(count)s folders are to be watched, and the system watches %(limit)s for a user.",
                count=count,
                limit=limit,
            ),
            said(
                "Raise it: sysctl fs.inotify.max_user_watches=%(count)s, or set watch to poll.",
                count=max(count * 2, 524288),
            ),
        )
    else:
        yield ok(said("%(count)s of %(limit)s watched folders are used.", count=count, limit=limit))


def open_files(target: Target, _: Clock) -> Findings:
    """Enough files may be open at once."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES:
        yield warn(
            said("A process may have %(soft)s files open; each download takes two.", soft=soft),
            said("Raise it: `ulimit -n 65536`, or LimitNOFILE= in the systemd unit."),
        )
    else:
        yield ok(said("A process may have %(soft)s files open.", soft=soft))
