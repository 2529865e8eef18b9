"""The main process: it checks, locks, listens, runs the loops, and starts the workers."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pidex import __version__, logs
from pidex.accounts import OPEN
from pidex.accounts import read as read_passwords
from pidex.app import dropping, nodes, upkeep
from pidex.app.bucket import bucket_of
from pidex.app.faces import welcome_text, worker
from pidex.app.houses import Houses, restart
from pidex.app.known import settle
from pidex.app.parts import Pidex, Source, build, certificate_of, go_on
from pidex.config import Settings, data_dir, drop_boxes, served_folders
from pidex.core.errors import PidexError
from pidex.metrics import Metrics

# What opens the catalogue takes half a second to import. The main process does that after it has started the
# workers, which do the same meanwhile.
if TYPE_CHECKING:
    pass

#: Seconds between two looks whether the daily snapshot is due.
SNAPSHOT_SECONDS = 600.0
#: Seconds between two foldings of the numbers of workers that have ended.
FOLD_SECONDS = 5.0
#: Seconds between two looks whether there is something new to be searched; a search looks itself, too.
FOLLOW_SECONDS = 2.0
#: Seconds between two times that counted downloads are added to their sums.
SETTLE_SECONDS = 60.0
#: What only a restart changes.
FIXED = (
    "host", "port", "socket", "workers", "data", "catalogue", "storage", "tls_cert", "tls_key", "grace",
    "ftp_port", "ftp_host",
)  # fmt: skip

log = logging.getLogger("pidex")


def serve(source: Source) -> int:
    """Serve until told to stop; the exit code. Raises `PidexError` with one sentence where it cannot start.

    The main process holds the data directory and runs the loops; workers answer. SIGTERM and SIGINT end it,
    SIGHUP reads the settings again.
    """
    return _Main(source).run()


class _Main:
    """The main process of a server."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._settings = source.settings()
        self._pidex: Pidex | None = None
        self._stop_loops: Callable[[], None] = lambda: None
        self._ftp: socket.socket | None = None

    def run(self) -> int:
        """Check, lock, listen, migrate, serve."""
        from functools import partial  # noqa: PLC0415

        from pidex import processes  # noqa: PLC0415  # loads the HTTP server

        settings = self._settings
        sink = logs.open_sink(settings.log, settings.log_file)
        logs.configure(sink, form=settings.log, level=settings.log_level)
        certificate = certificate_of(settings)
        if settings.passwords is not None:
            read_passwords(settings.passwords)
        welcome_text(settings.welcome)
        bucket_of(settings)
        _recover(data_dir(settings, self._source.environ))
        served_folders(settings)
        drop_boxes(settings)
        data = data_dir(settings, self._source.environ, create=True)
        lock = processes.DataLock(data)
        lock.acquire()
        listener: socket.socket | None = None
        try:
            if settings.socket is not None:
                listener = processes.listen_unix(settings.socket)
            else:
                listener = processes.listen(settings.host, settings.port)
                self._port = listener.getsockname()[1]
            if settings.ftp_port:
                from pidex.ingress import ftp  # noqa: F401, PLC0415  # an extra: missed now, not later

                self._ftp = processes.listen(
                    settings.ftp_host or settings.host, settings.ftp_port, by=("ftp_port", "ftp_host")
                )
            self._ready = data / "ready"
            self._ready.unlink(missing_ok=True)
            Metrics(data / "metrics").clear()
            processes.raise_file_limit()
            processes.few_arenas()
            server = processes.Workers(
                listener,
                partial(worker, self._source),
                workers=settings.workers,
                grace=settings.grace,
                certificate=certificate,
                reread=self._reread,
                started=self._started,
                stopped=self._stopped,
            )
            # The HTTP server has set logging up its own way by now.
            logs.configure(sink, form=settings.log, level=settings.log_level)
            return server.run()
        finally:
            self._stopped()
            for each in (listener, self._ftp):
                if each is not None:
                    each.close()
            if settings.socket is not None and listener is not None:
                settings.socket.unlink(missing_ok=True)
            lock.release()

    def _started(self) -> None:
        """Make the catalogue ready, start the loops, and let the workers answer."""
        self._pidex = pidex = build(self._settings, self._source.environ, create=True)
        restart(pidex, alone=not self._settings.catalogue or nodes.join(pidex))
        settle(pidex.catalogue, pidex.settings, pidex.clock)
        self._stop_loops = _start_loops(pidex, self._ftp)
        self._ready.write_text(str(os.getpid()), encoding="ascii")
        log.info("%s", start_line(self._settings, self._pidex.data, getattr(self, "_port", 0)))
        if self._ftp is not None:
            host, port = self._ftp.getsockname()[:2]
            log.info("FTP at ftp://%s:%d/, TLS: %s", host, port, self._settings.ftp_tls)
        if not self._settings.guard:
            log.warning("%s", OPEN)

    def _stopped(self) -> None:
        stop, self._stop_loops = self._stop_loops, lambda: None
        stop()
        pidex, self._pidex = self._pidex, None
        if pidex is not None:
            pidex.close()
            log.info("Stopped.")

    def _reread(self) -> bool:
        """Take new settings over, or say why not and keep the old ones."""
        try:
            settings = self._source.settings()
            kept = {name: getattr(self._settings, name) for name in FIXED}
            changed = [name for name, value in kept.items() if getattr(settings, name) != value]
            settings = replace(settings, **kept)
            sink = logs.open_sink(settings.log, settings.log_file)
            if settings.passwords is not None:
                read_passwords(settings.passwords)
            welcome_text(settings.welcome)
            certificate_of(settings)
            pidex = build(settings, self._source.environ, create=True)
            settle(pidex.catalogue, pidex.settings, pidex.clock)
        except PidexError as error:
            log.error("The settings were not read again, the old ones stay: %s", error)
            return False
        logs.configure(sink, form=settings.log, level=settings.log_level)
        if changed:
            log.warning("Only a restart changes: %s.", ", ".join(changed))
        self._stop_loops()
        old, self._pidex, self._settings = self._pidex, pidex, settings
        if old is not None:
            old.close()
        self._stop_loops = _start_loops(pidex, self._ftp)
        log.info("The settings were read again.")
        return True


def _start_loops(pidex: Pidex, ftp: socket.socket | None) -> Callable[[], None]:
    """Start reconciler, watch, snapshots and bookkeeping; returns what stops them."""
    from pidex.app import mirroring  # noqa: PLC0415  # see above
    from pidex.ingress.control import Control  # noqa: PLC0415
    from pidex.processes import Loops, give_back  # noqa: PLC0415

    settings = pidex.settings
    # What one node does for all.
    once: dict[str, Callable[[threading.Event], None]] = {"search": lambda stop: _follow(pidex, stop)}
    if settings.scrub_days:
        once["scrub"] = lambda stop: upkeep.scrub(pidex, stop)
    if settings.storage is not None:
        once["bucket"] = lambda stop: upkeep.bucket(pidex, stop)
    boxes = dropping.boxes(pidex)
    follower = nodes.Node(pidex, once, boxes) if settings.catalogue else Houses(pidex)
    pushes = pidex.pushes(follower.nudge, follower.leads)
    loops: dict[str, Callable[[threading.Event], None]] = {
        "indexes": follower.run,
        "metrics": lambda stop: _fold(pidex.metrics, stop),
        "control": Control(pidex.data, pidex.calls(pushes)).run,
        "git": pushes.run,
        "statistics": lambda stop: _settle(pidex, stop),
        "mirror": lambda stop: mirroring.run(pidex, stop),
        "ballast": lambda stop: upkeep.ballast(pidex, stop),
        "memory": give_back,
    }
    if ftp is not None:
        loops["ftp"] = lambda stop: pidex.ftp(ftp).run(stop)
    if settings.catalogue is None:
        loops |= once
        loops |= {box.name: box.run for box in boxes}
    if settings.snapshots and settings.catalogue is None:
        loops["snapshots"] = lambda stop: _snapshots(pidex, stop)
    running = Loops(loops)
    running.start()
    return running.stop


def _recover(data: Path) -> None:
    """Go on with a restore that was cut: before that a folder may be missing."""
    from pidex.processes import DataLock  # noqa: PLC0415

    if any(data.glob("restoring*")):
        lock = DataLock(data)
        lock.acquire()
        try:
            go_on(data)
        finally:
            lock.release()


def _snapshots(pidex: Pidex, stop: threading.Event) -> None:
    from pidex.catalogue import snapshots  # noqa: PLC0415  # see above

    catalogue = pidex.data / "catalogue.db"
    folder = snapshots.folder_of(catalogue)
    while not stop.wait(SNAPSHOT_SECONDS):
        if snapshots.due(folder, pidex.clock()):
            snapshots.take(catalogue, folder, pidex.clock(), keep=pidex.settings.snapshots)
            log.info("Took the daily snapshot of the catalogue.")


def _follow(pidex: Pidex, stop: threading.Event) -> None:
    """Keep what searches look through in step with the catalogue."""
    search, probe = pidex.search(), pidex.catalogue.probe()
    while not stop.wait(FOLLOW_SECONDS):
        if probe.changed():
            search.follow(stop.is_set)


def _settle(pidex: Pidex, stop: threading.Event) -> None:
    """Take over what workers counted."""
    statistics = pidex.statistics()
    while not stop.wait(SETTLE_SECONDS):
        statistics.settle()


def _fold(metrics: Metrics, stop: threading.Event) -> None:
    while not stop.wait(FOLD_SECONDS):
        metrics.fold()
        metrics.flush()


def start_line(settings: Settings, data: Path, port: int) -> str:
    from pidex.web.operations import is_loopback  # noqa: PLC0415

    folders = ", ".join(map(str, settings.folders))
    if settings.socket is not None:
        where = f"at the Unix socket {settings.socket}"
    else:
        scheme = "https" if settings.tls_cert else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        where = f"at {scheme}://{host}:{port}{settings.prefix}/"
        if is_loopback(settings.host):
            where += " (this machine only: -i 0.0.0.0 lets others in)"
    return f"pidex {__version__} serves {folders} {where}, data directory {data}"
