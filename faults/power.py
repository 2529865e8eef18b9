"""Power cuts: an ext4 image is copied in one moment (reflink) under load; the copy is what a cut leaves."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench.ports import free_port
from faults import check
from faults.history import History, State
from faults.kills import ask_control, ftp_person
from faults.load import Clone, Load
from faults.server import Broken, pidex

#: Sizes of the file systems, in MiB: sparse files, of which only what is written takes space.
OUTER_MIB, INNER_MIB = 16_384, 3_072
#: Cuts of one file system, and seconds of load before each; every so many, a server runs on the copy.
CUTS_EACH, LOAD_SECONDS, SERVED_CUTS = 10, (0.1, 0.9), 10
CLIENTS = 4
ALL = frozenset(State)


def impossible() -> str | None:
    """Why no power can be cut here, or None."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in ("mkfs.btrfs", "mkfs.ext4", "losetup", "mount") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: btrfs-progs, e2fsprogs, mount)"
    if "btrfs" not in Path("/proc/filesystems").read_text():
        subprocess.run(["modprobe", "btrfs"], check=False, capture_output=True)
        if "btrfs" not in Path("/proc/filesystems").read_text():
            return "this kernel has no btrfs"
    return None if Path("/dev/loop-control").exists() else "there are no loop devices"


def _do(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """An image, mounted; unmounted and its loop device given back whatever happens."""
    place.mkdir(exist_ok=True)
    _do("mount", "-o", "loop", image, place)
    try:
        yield place
    finally:
        for _ in range(100):
            if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.1)
        else:
            _do("umount", "-l", place)


class Cuts:
    """Cuts under load; the figures."""

    def __init__(self, base: Path, seed: int) -> None:
        self.base, self.seed = base, seed
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.cuts = 0
        self.seconds: list[float] = []

    def run(self, cuts: int, seconds: float = 1e9) -> None:
        """So many cuts, or as many as begin within `seconds`. Raises `Broken`."""
        end = time.monotonic() + seconds
        outer = self.base / "outer.img"
        with outer.open("wb") as file:
            file.truncate(OUTER_MIB << 20)
        _do("mkfs.btrfs", "-q", outer)
        with mounted(outer, self.base / "outer") as top:
            series = 0
            while self.cuts < cuts and time.monotonic() < end:
                series += 1
                self._series(top, series, min(CUTS_EACH, cuts - self.cuts), end)
                (top / "live.img").unlink()

    def _series(self, top: Path, series: int, cuts: int, end: float) -> None:
        """A fresh file system, a server on it, and cuts while clients work."""
        image = top / "live.img"
        with image.open("wb") as file:
            file.truncate(INNER_MIB << 20)
        _do("mkfs.ext4", "-q", "-F", image)
        history = History()
        with mounted(image, self.base / "live") as live, ExitStack() as stack:
            folder, data = live / "packages", live / "data"
            folder.mkdir()
            ftp_port = free_port()
            server = pidex(folder, data, self.base / "server.log", "--ftp-port", str(ftp_port))
            stack.callback(server.kill)
            server.start()
            ask_control(data, "git.enable", index="main", empty=True)
            ftp = ftp_port, ftp_person(data)
            # The set-up is not what is tested: from here on only what was acknowledged counts.
            _do("sync", "-f", live)
            clone = Clone(self.base / f"clone-{series}")
            load = Load(server.port, history, self.seed, series, ftp=ftp, clone=clone)
            thread = threading.Thread(target=lambda: asyncio.run(load.run(CLIENTS, 0)), daemon=True)
            thread.start()
            try:
                for _ in range(cuts):
                    if time.monotonic() > end:
                        break
                    time.sleep(self.chance.uniform(*LOAD_SECONDS))
                    if not thread.is_alive():
                        raise Broken(f"the load ended by itself: {load.breaches} {server.tail()}")
                    self.cuts += 1
                    self._cut(top, history)
                    if self.cuts % 10 == 0:
                        checked = self.counts["acknowledged names checked"]
                        print(f"{self.cuts} cuts, {checked} acknowledged names checked", flush=True)
            finally:
                load.over.set()
                server.kill()
                clone.abandon()
                thread.join(30)
            self.counts.update(history.counts)

    def _cut(self, top: Path, history: History) -> None:
        image = top / "cut.img"
        before = _allowed(history)
        began = time.monotonic()
        _do("cp", "--reflink=always", top / "live.img", image)
        self.seconds.append(time.monotonic() - began)
        after = _allowed(history)
        allowed = {
            name: states if before.get(name, {State.ABSENT}) == states else ALL
            for name, states in after.items()
        }
        samples = {name: (each.sha256, each.group) for name, each in history.names.copy().items()}
        try:
            # The first mount replays ext4's own journal, as a machine does that comes back.
            with mounted(image, self.base / "cut") as place:
                self._hold(place, allowed, samples)
        except Broken as error:
            kept = self.base / "broken.img"
            shutil.copy(image, kept)
            raise Broken(f"cut {self.cuts}: {error}") from None
        finally:
            image.unlink()

    def _hold(
        self,
        place: Path,
        allowed: Mapping[str, frozenset[State]],
        samples: Mapping[str, tuple[str, frozenset[str]]],
    ) -> None:
        """What the copy lists after a start, against what may and must be there."""
        folder, data = place / "packages", place / "data"
        if self.cuts % SERVED_CUTS == 0:
            server = pidex(folder, data, self.base / "cut.log", workers=1)
            try:
                server.start()
                found = check.everything(server.port)
            finally:
                server.stop()
            self.counts["cuts with a server on the copy"] += 1
        else:
            found = listed(folder, data)
        for name, states in allowed.items():
            there = name in found
            if not there and states == {State.PRESENT}:
                raise Broken(f"LOST: {name} was acknowledged before the cut")
            if there and State.PRESENT not in states:
                raise Broken(f"{name} is listed, and was deleted before the cut")
            if there and found[name] != samples[name][0]:
                raise Broken(f"{name} is listed with other bytes")
            self.counts["acknowledged names checked"] += len(states) == 1
        for name, (_, group) in samples.items():
            if len({each in found for each in group}) > 1:
                raise Broken(f"of one push {sorted(group)} a part is there: {name in found}")
        check.at_rest(folder, data, found)
        check.catalogue(data, whole=True)
        check.verified(folder, data)
        self.counts["verified"] += 1
        self.counts["files whole"] += len(found)


def _allowed(history: History) -> dict[str, frozenset[State]]:
    return {filename: frozenset(name.states) for filename, name in history.names.copy().items()}


def listed(folder: Path, data: Path) -> dict[str, str]:
    """What an index lists after what a start of the server does: file name to sha256, of bytes read now."""
    from pidex import app
    from pidex.app import main
    from pidex.core.model import OPERATOR

    source = app.Source({"folders": (str(folder),), "data": str(data), "guard": ""}, {})
    pidex = app.build(source.settings(), {}, create=True)
    try:
        main.__dict__["restart"](pidex)  # what every start does first, wherever it is written
        stop = threading.Event()
        stop.set()
        pidex.pushes(lambda paths: None).run(stop)
        pidex.reconciler().scan()
        found = {}
        for file in pidex.resolver.files("main", by=OPERATOR):
            handle = pidex.storage.open(file)
            try:
                handle.check()
                data_read = b"".join(handle.read(at, 1 << 20) for at in range(0, handle.size, 1 << 20))
            finally:
                handle.close()
            found[file.filename] = hashlib.sha256(data_read).hexdigest()
            if found[file.filename] != file.sha256:
                raise Broken(f"{file.filename} is served with other bytes than its line says")
        return found
    finally:
        pidex.close()


def run(cuts: int, seed: int, seconds: float = 1e9) -> dict[str, object]:
    """Power cuts; the figures. Raises `Broken`; the image is then kept and named."""
    base = Path(tempfile.mkdtemp(prefix="pidex-power-"))
    work = Cuts(base, seed)
    try:
        work.run(cuts, seconds)
    except Broken as error:
        raise Broken(f"seed {seed}: {error} (kept: {base})") from None
    except BaseException:
        shutil.rmtree(base, ignore_errors=True)
        raise
    shutil.rmtree(base, ignore_errors=True)
    most = round(statistics.median(work.seconds) * 1000, 1) if work.seconds else None
    return {"cuts": work.cuts, "seed": seed, "copy_ms": most, **work.counts}
