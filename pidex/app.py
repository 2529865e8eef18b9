"""Builds pidex from its settings: the only module that names concrete classes; starts server and loops."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import ssl
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pidex import __version__, logs
from pidex.accounts import OPEN
from pidex.accounts import read as read_passwords
from pidex.config import Settings, data_dir, environment, load, served_folders
from pidex.core.errors import CannotStart, ConfigError, PidexError
from pidex.core.model import DEFAULT_INDEX, OPERATOR, File
from pidex.metrics import Metrics

# What opens the catalogue takes half a second to import. The main process does that after it has started the
# workers, which do the same meanwhile.
if TYPE_CHECKING:
    from pidex.accounts import Accounts
    from pidex.accounts.administration import Administration
    from pidex.backends.folder import Folder
    from pidex.backends.repositories import Repositories
    from pidex.backends.sandbox import Sandbox
    from pidex.catalogue.engine import Catalogue
    from pidex.catalogue.expendable import Expendable
    from pidex.core.model import Principal
    from pidex.core.permissions import Action, Visibility
    from pidex.curator import Curator
    from pidex.ingress.ftp import Ftp
    from pidex.ingress.git import Pushes
    from pidex.intake import Intake
    from pidex.reconciler import Reconciler
    from pidex.resolver import Resolver
    from pidex.web.options import Options
    from pidex.web.site import Site

#: Seconds between two looks whether the daily snapshot is due.
SNAPSHOT_SECONDS = 600.0
#: Seconds between two foldings of the numbers of workers that have ended.
FOLD_SECONDS = 5.0
#: Seconds between two looks of a starting worker whether the catalogue is ready.
READY_SECONDS = 0.02
#: Bytes of a signature, and of a welcome page.
SIGNATURE_BYTES, WELCOME_BYTES = 64 * 1024, 1024 * 1024
#: What only a restart changes.
_FIXED = ("host", "port", "socket", "workers", "data", "tls_cert", "tls_key", "grace", "ftp_port", "ftp_host")

log = logging.getLogger("pidex")


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from, so that each process can read them again: flags and the environment."""

    flags: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> Settings:
        """The settings in force now. Raises `ConfigError`."""
        return load(self.flags, self.environ)


@dataclass(slots=True)
class Pidex:
    """The parts that every process of a server has, over one data directory. Close it."""

    settings: Settings
    data: Path
    catalogue: Catalogue
    expendable: Expendable
    storage: Folder
    resolver: Resolver
    metrics: Metrics
    clock: Callable[[], float]
    _closers: list[Callable[[], None]] = field(default_factory=list)
    _accounts: Accounts | None = None

    def accounts(self) -> Accounts:
        """Who asks, and what they may: one for all faces of a process."""
        found = self._accounts
        if found is None:
            found = self._accounts = self._make_accounts()
        return found

    def _make_accounts(self) -> Accounts:
        from pidex.accounts.signing import Accounts  # noqa: PLC0415  # see above

        settings = self.settings
        return Accounts(
            self.catalogue,
            self.catalogue.probe(),
            settings.passwords,
            settings.guard,
            clock=self.clock,
            key=secrets.token_bytes(32),
            expendable=self.expendable,
            log=logging.getLogger("pidex.accounts").warning,
        )

    def intake(self, sandbox: Sandbox | None = None) -> Intake:
        """The door for files; what is sent is looked into by `sandbox`, or by children of its own."""
        from pidex.intake import Intake  # noqa: PLC0415  # commands that only read do without it

        return Intake(self.catalogue, self.storage, self.clock, sandbox or self.sandbox())

    def sandbox(self) -> Sandbox:
        """Children that look into archives: none until there is one to look into."""
        from pidex.backends.sandbox import Sandbox  # noqa: PLC0415
        from pidex.core.limits import Limits  # noqa: PLC0415

        limits = replace(Limits(), seconds=self.settings.inspect_timeout)
        sandbox = Sandbox(children=self.settings.sandbox_children, limits=limits)
        self._closers.append(sandbox.close)
        return sandbox

    def administration(self) -> Administration:
        """Changes to people and rights."""
        from pidex.accounts.administration import Administration  # noqa: PLC0415

        return Administration(
            self.catalogue,
            self.accounts(),
            clock=self.clock,
            random=secrets.token_bytes,
            expendable=self.expendable,
        )

    def curator(self, intake: Intake, accounts: Accounts) -> Curator:
        """Changes to what is there."""
        from pidex.curator import Curator  # noqa: PLC0415  # commands that only read do without it

        return Curator(self.catalogue, self.storage, intake, accounts, self.clock)

    def calls(self, pushes: Pushes | None = None) -> dict[str, Callable[..., object]]:
        """What commands and git's hooks may call, by name. For who holds the lock."""
        from pidex.ingress.handover import Handover  # noqa: PLC0415

        accounts, intake = self.accounts(), self.intake()
        return {
            **calls("accounts", self.administration()),
            **calls("curator", self.curator(intake, accounts)),
            **calls("intake", Handover(intake, accounts.require)),
            **calls("git", pushes or self.pushes()),
        }

    def reconciler(self) -> Reconciler:
        """The loop over the folders, with the children that look into archives. For who holds the lock."""
        from pidex.reconciler import Reconciler  # noqa: PLC0415  # workers need none

        settings, sandbox = self.settings, self.sandbox()
        return Reconciler(
            self.catalogue,
            self.expendable,
            self.storage,
            sandbox,
            self.intake(sandbox),
            self.clock,
            index=DEFAULT_INDEX,
            scan_interval=settings.scan_interval,
            check=settings.check,
            lookers=settings.sandbox_children,
            log=logging.getLogger("pidex.folder"),
        )

    def repositories(self) -> Repositories:
        """The git repositories of the indexes."""
        from pidex.backends.git import Git  # noqa: PLC0415  # see above
        from pidex.backends.repositories import Repositories  # noqa: PLC0415

        return Repositories(self.data / "git", Git(environment().get("PATH", os.defpath)))

    def pushes(self, nudge: Callable[[Iterable[tuple[int, str]]], None] = lambda paths: None) -> Pushes:
        """What takes pushes to them. For who holds the lock."""
        from pidex.ingress.git import Pushes  # noqa: PLC0415  # see above
        from pidex.intake.pushes import Arrivals  # noqa: PLC0415

        return Pushes(
            self.repositories(),
            Arrivals(self.catalogue, self.storage, self.clock, self.sandbox()),
            self.storage,
            self.resolver,
            self.accounts(),
            command=self._hook,
            url=_address(self.settings),
            nudge=nudge,
            clock=self.clock,
            lookers=self.settings.sandbox_children,
        )

    def _hook(self, index: str) -> list[str]:
        """What the hooks of an index's repository run: for the server, or where none runs, instead of it."""
        config = [] if self.settings.config is None else ["--config", str(self.settings.config)]
        place = ["--index", index, "--data", str(self.data), *config, *map(str, self.settings.folders)]
        return [sys.executable, "-P", "-m", "pidex", "git", "hook", "pre-receive", *place]

    def ftp(self, listener: socket.socket) -> Ftp:
        """The FTP server over a listening socket."""
        from pidex.core.addresses import port_range  # noqa: PLC0415
        from pidex.ingress.drafts import Drafts  # noqa: PLC0415
        from pidex.ingress.ftp import Ftp, Terms  # noqa: PLC0415  # an extra
        from pidex.ingress.visit import Services  # noqa: PLC0415

        settings, accounts, intake = self.settings, self.accounts(), self.intake()
        curator, drafts = self.curator(intake, accounts), Drafts(self.clock)
        ports = settings.ftp_passive_ports
        terms = Terms(
            passive_ports=None if ports is None else port_range(ports),
            masquerade=settings.ftp_masquerade,
            tls=settings.ftp_tls,
            certificate=_certificate(settings),
        )
        services = Services(accounts, intake, self.resolver, curator, drafts, (DEFAULT_INDEX,))
        return Ftp(listener, services, terms)

    def signature(self, file: File) -> bytes | None:
        """The `.asc` that lies beside a file in its folder; None where there is none."""
        path = f"{file.path}.asc"
        found = self.storage.stat(file.root, path)
        if found is None or found.size > SIGNATURE_BYTES:
            return None
        try:
            fd = os.open(self.storage.path(file.root, path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as opened:
            return opened.read(SIGNATURE_BYTES) if stat.S_ISREG(os.fstat(fd).st_mode) else None

    def close(self) -> None:
        """Close what is open."""
        while self._closers:
            self._closers.pop()()
        self.expendable.close()
        self.catalogue.close()


def build(settings: Settings, environ: Mapping[str, str] | None = None, *, create: bool = False) -> Pidex:
    """The parts over the settings' data directory. Raises `ConfigError` or `CatalogueError`.

    `create` makes the data directory and the catalogue, or migrates them: for who holds the `DataLock` only.
    """
    from pidex.backends.folder import Folder  # noqa: PLC0415  # see above
    from pidex.catalogue import indexes  # noqa: PLC0415
    from pidex.catalogue.engine import Catalogue  # noqa: PLC0415
    from pidex.catalogue.expendable import Expendable  # noqa: PLC0415
    from pidex.resolver import Resolver  # noqa: PLC0415

    folders = served_folders(settings)
    data = data_dir(settings, environ, create=create, warn=log.warning if create else lambda _: None)
    catalogue = Catalogue.open(data / "catalogue.db", create=create)
    if create:
        with catalogue.write() as conn:
            indexes.ensure(conn, DEFAULT_INDEX, time.time(), settings.mutability)
        _identify(data)
    storage = Folder(folders, data / "kept")

    def visibility(by: Principal, index: str, action: Action) -> Visibility:
        # Made when somebody asks who is not the operator: commands need no password file.
        return pidex.accounts().visibility(by, index, action)

    pidex = Pidex(
        settings=settings,
        data=data,
        catalogue=catalogue,
        expendable=Expendable(data / "cache.db"),
        storage=storage,
        resolver=Resolver(catalogue, storage, time.time, visibility),
        metrics=Metrics(data / "metrics"),
        clock=time.time,
    )
    return pidex


@contextmanager
def administration(settings: Settings, data: Path, *, create: bool) -> Iterator[Administration]:
    """Changes to people and rights over a data directory, without a server and without its folders.

    `create` makes or migrates the catalogue: for who holds the `DataLock` only. For the operator: nobody of
    the password file is known.
    """
    from pidex.accounts.administration import Administration  # noqa: PLC0415  # see above
    from pidex.accounts.signing import Accounts  # noqa: PLC0415
    from pidex.catalogue import indexes  # noqa: PLC0415
    from pidex.catalogue.engine import Catalogue  # noqa: PLC0415
    from pidex.catalogue.expendable import Expendable  # noqa: PLC0415

    catalogue = Catalogue.open(data / "catalogue.db", create=create)
    expendable = Expendable(data / "cache.db")
    try:
        if create:
            with catalogue.write() as conn:
                indexes.ensure(conn, DEFAULT_INDEX, time.time())
        accounts = Accounts(
            catalogue, catalogue.probe(), None, settings.guard, clock=time.time, key=secrets.token_bytes(32)
        )
        yield Administration(
            catalogue, accounts, clock=time.time, random=secrets.token_bytes, expendable=expendable
        )
    finally:
        expendable.close()
        catalogue.close()


def calls(prefix: str, service: object) -> dict[str, Callable[..., object]]:
    """A service's public methods by the names under which commands call them: 'accounts.add_user'."""
    public = [name for name in dir(type(service)) if not name.startswith("_")]
    return {f"{prefix}.{name}": getattr(service, name) for name in public if callable(getattr(service, name))}


def _identify(data: Path) -> None:
    """Give the data directory a name that only it has: `pidex doctor` asks the public URL for it."""
    path = data / "instance"
    if not path.exists():
        path.write_text(f"{secrets.token_hex(16)}\n", encoding="ascii")


def _identity(data: Path) -> str:
    try:
        return (data / "instance").read_text(encoding="ascii").strip()
    except OSError:
        return ""


# --- a worker -----------------------------------------------------------------------------------------------


def worker(source: Source, number: int = 1, parent: int | None = None) -> Site:
    """The application of worker `number`, in its own process.

    With `parent`, it waits until that process has the catalogue ready, and dies with it.
    """
    if parent is not None:
        from pidex.processes import die_with  # noqa: PLC0415  # only workers of a server have it loaded
        from pidex.web import asgi  # noqa: F401, PLC0415  # while the main process is busy, too

        die_with(parent)
    settings = source.settings()
    sink = logs.open_sink(settings.log, settings.log_file)
    logs.configure(sink, form=settings.log, level=settings.log_level)
    try:
        if parent is not None:
            _await(data_dir(settings, source.environ) / "ready", parent)
        return site(build(settings, source.environ), sink, number)
    except PidexError as error:
        if parent is None:
            raise
        log.error("Worker %d cannot start: %s", number, error)
        sys.exit(1)


def _await(ready: Path, parent: int) -> None:
    """Wait until the main process has written its number into a file."""
    while True:
        try:
            if ready.read_text(encoding="ascii") == str(parent):
                return
        except OSError:
            pass
        time.sleep(READY_SECONDS)


def site(pidex: Pidex, sink: logs.Sink | None, number: int = 1) -> Site:
    """The web face over the parts."""
    from pidex.accounts.sessions import Sessions  # noqa: PLC0415  # commands do without it
    from pidex.web.asgi import application  # noqa: PLC0415
    from pidex.web.ledger import Ledger  # noqa: PLC0415

    settings = pidex.settings
    accounts, intake = pidex.accounts(), pidex.intake()
    ledger = Ledger(sink if settings.access_log else None, settings.log, pidex.metrics, worker=number)
    return application(
        pidex.resolver,
        pidex.catalogue.probe(),
        accounts,
        _options(settings, number, _identity(pidex.data)),
        clock=pidex.clock,
        want=pidex.expendable.want,
        signature=pidex.signature,
        ledger=ledger,
        metrics=pidex.metrics,
        intake=intake,
        curator=pidex.curator(intake, accounts),
        administration=pidex.administration(),
        repositories=pidex.repositories(),
        sessions=Sessions(pidex.catalogue, clock=pidex.clock, random=secrets.token_bytes),
    )


def _options(settings: Settings, number: int, instance: str) -> Options:
    from pidex.web.options import Options  # noqa: PLC0415

    return Options(
        host=settings.host,
        port=settings.port,
        prefix=settings.prefix,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
        indexes=(DEFAULT_INDEX,),
        login_header=settings.login_header,
        page_wait=settings.page_wait,
        page_cache=settings.page_cache * 1024 * 1024,
        unmatched_accept=settings.unmatched_accept,
        max_age=settings.max_age,
        file_cache_control=settings.file_cache_control,
        hash_fragment=settings.hash_fragment,
        fallback_url=settings.fallback_url,
        welcome=_welcome(settings.welcome),
        health_path=settings.health_path,
        worker=number,
        instance=instance,
        unix=settings.socket is not None,
    )


def _welcome(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(WELCOME_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"The welcome page {path} cannot be read: {error.strerror}. Set welcome.") from None


# --- the main process ---------------------------------------------------------------------------------------


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
        certificate = _certificate(settings)
        if settings.passwords is not None:
            read_passwords(settings.passwords)
        _welcome(settings.welcome)
        served_folders(settings)
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
        _restart(pidex)
        self._stop_loops = _start_loops(pidex, self._ftp)
        self._ready.write_text(str(os.getpid()), encoding="ascii")
        log.info("%s", _start_line(self._settings, self._pidex.data, getattr(self, "_port", 0)))
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
            kept = {name: getattr(self._settings, name) for name in _FIXED}
            changed = [name for name, value in kept.items() if getattr(settings, name) != value]
            settings = replace(settings, **kept)
            sink = logs.open_sink(settings.log, settings.log_file)
            if settings.passwords is not None:
                read_passwords(settings.passwords)
            _welcome(settings.welcome)
            _certificate(settings)
            pidex = build(settings, self._source.environ, create=True)
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


def _restart(pidex: Pidex) -> None:
    """Note that nobody knows what was put into the folders meanwhile: no 404 before the first listing.

    Deletions and uploads that were cut off are finished or undone: no worker takes any yet.
    """
    from pidex.catalogue import indexes, scans  # noqa: PLC0415  # see above

    with pidex.catalogue.write() as conn:
        scans.restart(conn, indexes.ensure(conn, DEFAULT_INDEX, pidex.clock()))
    pidex.storage.sweep()
    intake = pidex.intake()
    left = pidex.curator(intake, pidex.accounts()).finish(DEFAULT_INDEX, by=OPERATOR)
    if left:
        log.warning("Deletions that the last stop cut off: %d files removed.", left)
    finished, undone = intake.recover(DEFAULT_INDEX)
    if finished or undone:
        log.warning("Uploads that the last stop cut off: %d finished, %d undone.", finished, undone)


def _start_loops(pidex: Pidex, ftp: socket.socket | None) -> Callable[[], None]:
    """Start reconciler, watch, snapshots and bookkeeping; returns what stops them."""
    from pidex.ingress.control import Control  # noqa: PLC0415
    from pidex.ingress.watch import Watch  # noqa: PLC0415
    from pidex.processes import Loops  # noqa: PLC0415

    settings = pidex.settings
    reconciler = pidex.reconciler()
    pushes = pidex.pushes(reconciler.nudge)
    watch = Watch(
        pidex.storage.roots, reconciler.nudge, mode=settings.watch, log=logging.getLogger("pidex.watch")
    )
    loops: dict[str, Callable[[threading.Event], None]] = {
        "reconciler": reconciler.run,
        "watch": watch.run,
        "metrics": lambda stop: _fold(pidex.metrics, stop),
        "control": Control(pidex.data, pidex.calls(pushes)).run,
        "git": pushes.run,
    }
    if ftp is not None:
        loops["ftp"] = lambda stop: pidex.ftp(ftp).run(stop)
    if settings.snapshots:
        loops["snapshots"] = lambda stop: _snapshots(pidex, stop)
    running = Loops(loops)
    running.start()
    return running.stop


def _snapshots(pidex: Pidex, stop: threading.Event) -> None:
    from pidex.catalogue import snapshots  # noqa: PLC0415  # see above

    catalogue = pidex.data / "catalogue.db"
    folder = snapshots.folder_of(catalogue)
    while not stop.wait(SNAPSHOT_SECONDS):
        if snapshots.due(folder, pidex.clock()):
            snapshots.take(catalogue, folder, pidex.clock(), keep=pidex.settings.snapshots)
            log.info("Took the daily snapshot of the catalogue.")


def _fold(metrics: Metrics, stop: threading.Event) -> None:
    while not stop.wait(FOLD_SECONDS):
        metrics.fold()
        metrics.flush()


def _certificate(settings: Settings) -> tuple[Path, Path] | None:
    """The certificate and its key, which fit. Raises `CannotStart`."""
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return None
    for path, name in ((cert, "certificate"), (key, "key")):
        try:
            path.open("rb").close()
        except OSError as error:
            raise CannotStart(f"The TLS {name} {path} cannot be read: {error.strerror}.") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")  # never ask the terminal for a passphrase
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CannotStart(f"The key {key} does not belong to the certificate {cert}.") from None
        raise CannotStart(
            f"The TLS certificate {cert} and its key {key} cannot be used ({error.reason or 'no PEM'})."
            " Both have to be PEM files, the key without a passphrase."
        ) from None
    return cert, key


def _address(settings: Settings) -> str:
    """The URL of the server as its settings have it, without a slash at its end."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    own = f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.port}{settings.prefix}"
    return settings.public_url or own


def _start_line(settings: Settings, data: Path, port: int) -> str:
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
