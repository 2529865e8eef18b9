"""The parts that every process has, from its settings: concrete classes are named here alone."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.app.bucket import holdings_of, located, storage_of
from pidex.app.ground import catalogue_of, identify, owner_of, shared_dir
from pidex.config import Settings, data_dir, load, served_folders
from pidex.core.errors import CannotStart
from pidex.core.model import DEFAULT_INDEX, File
from pidex.metrics import Counter, Metrics

# What opens the catalogue takes half a second to import. The main process does that after it has started the
# workers, which do the same meanwhile.
if TYPE_CHECKING:
    from pidex.accounts import Accounts
    from pidex.accounts.administration import Administration
    from pidex.backends.repositories import Repositories
    from pidex.backends.sandbox import Sandbox
    from pidex.catalogue.engine import Catalogue
    from pidex.catalogue.expendable import Expendable
    from pidex.core.interfaces import Storage
    from pidex.core.model import Principal
    from pidex.core.permissions import Action, Visibility
    from pidex.curator import Curator
    from pidex.doctor import Check
    from pidex.holdings import Holdings
    from pidex.indexing import Indexing
    from pidex.ingress.ftp import Ftp
    from pidex.ingress.git import Pushes
    from pidex.intake import Intake
    from pidex.interior import Interior
    from pidex.mirror import Mirror
    from pidex.overview import Overview
    from pidex.readme import Readmes
    from pidex.reconciler import Reconciler
    from pidex.resolver import Resolver
    from pidex.search import Search
    from pidex.statistics import Statistics
    from pidex.verify import Verifier

#: Bytes of a signature.
SIGNATURE_BYTES = 64 * 1024

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
    storage: Storage
    resolver: Resolver
    metrics: Metrics
    mirror: Mirror
    clock: Callable[[], float]
    shared: Path  # what all nodes of a cluster have together lies here; alone it is `data`
    owner: str = ""
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
            self.catalogue.probe(follows=True),
            settings.passwords,
            settings.guard,
            clock=self.clock,
            key=secrets.token_bytes(32),
            expendable=self.expendable,
            log=logging.getLogger("pidex.accounts").warning,
        )

    def lineages(self) -> dict[str, Sequence[str]]:
        """All indexes, the default one first, each with those that it has contents of.

        Their folders are known from now on.
        """
        from pidex.catalogue import indexes  # noqa: PLC0415  # see above
        from pidex.core.folder import first_root  # noqa: PLC0415
        from pidex.core.layers import order  # noqa: PLC0415

        with self.catalogue.read() as conn:
            every = indexes.list(conn)
        for each in every:
            start = first_root(each.name, each.id)
            self.storage.add(dict(enumerate(located(self.settings, each.folders), start)))
        bases = {each.name: each.bases for each in every}
        names = sorted(bases, key=lambda name: (name != DEFAULT_INDEX, name))
        return {name: order(name, bases)[1:] for name in names}

    def alarms(self) -> Counter:
        """Counts names of ours that an upstream turned out to have."""
        return self.metrics.counter("pidex_origin_alarms", "Names of ours that an upstream has too.")

    def intake(self, sandbox: Sandbox | None = None) -> Intake:
        """The door for files; what is sent is looked into by `sandbox`, or by children of its own."""
        from pidex.intake import Intake  # noqa: PLC0415  # commands that only read do without it

        return Intake(
            self.catalogue,
            self.storage,
            self.clock,
            sandbox or self.sandbox(),
            mirror=self.mirror,
            alarmed=self.alarms().add,
            owner=self.owner,
        )

    def sandbox(self) -> Sandbox:
        """Children that look into archives: none until there is one to look into."""
        from pidex.backends.sandbox import Sandbox  # noqa: PLC0415
        from pidex.core.limits import Limits  # noqa: PLC0415

        limits = replace(Limits(), seconds=self.settings.inspect_timeout)
        sandbox = Sandbox(children=self.settings.sandbox_children, limits=limits)
        self._closers.append(sandbox.close)
        return sandbox

    def search(self) -> Search:
        """What finds projects; its texts lie beside the catalogue, and are made from it."""
        from pidex.catalogue.fulltext import SharedTexts  # noqa: PLC0415
        from pidex.catalogue.search import Texts  # noqa: PLC0415
        from pidex.search import Search  # noqa: PLC0415

        own = Texts(self.data / "search.db")
        self._closers.append(own.close)
        # All nodes of a cluster have one.
        texts = SharedTexts(self.catalogue, own) if self.catalogue.dialect == "postgresql" else own
        return Search(self.catalogue, texts, self.resolver, self.clock)

    def statistics(self) -> Statistics:
        """What counts downloads."""
        from pidex.statistics import Statistics  # noqa: PLC0415

        def visibility(by: Principal, index: str, action: Action) -> Visibility:
            return self.accounts().visibility(by, index, action)

        return Statistics(self.catalogue, self.expendable, self.clock, visibility)

    def overview(self) -> Overview:
        """What who runs the server sees of it."""
        from pidex.backends.quarantine import Quarantine  # noqa: PLC0415
        from pidex.overview import Overview  # noqa: PLC0415
        from pidex.verify import scrub  # noqa: PLC0415

        return Overview(
            self.catalogue,
            self.storage,
            self.mirror,
            self.accounts(),
            self.clock,
            self.data,
            aside=Quarantine(self.shared / "quarantine").count,
            scrub=lambda: scrub.read(self.data / scrub.NAME),
        )

    def examine(self) -> Iterator[Check]:
        """What `pidex doctor` says of this server."""
        from pidex.doctor import Target, examine  # noqa: PLC0415

        named = [each.name for each in fields(Target) if each.name not in ("data", "shared")]
        taken = {name: getattr(self.settings, name) for name in named}
        return examine(Target(data=self.data, shared=self.shared, **taken), clock=self.clock)

    def verifier(self) -> Verifier:
        """What compares all that is kept."""
        from pidex.verify import Verifier  # noqa: PLC0415

        return Verifier(self.catalogue, self.storage, self.clock)

    def readings(self) -> tuple[Readmes, Interior]:
        """What shows READMEs and the insides of archives, by children of its own."""
        from pidex.backends.readings import Readings  # noqa: PLC0415
        from pidex.interior import Interior  # noqa: PLC0415
        from pidex.readme import Readmes  # noqa: PLC0415

        pool = Readings(children=self.settings.sandbox_children)
        self._closers.append(pool.close)
        return Readmes(pool), Interior(pool)

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

    def indexing(self, intake: Intake) -> Indexing:
        """Changes to indexes, upstreams, and whose names are whose."""
        from pidex.app.known import url_of  # noqa: PLC0415  # commands that only read do without it
        from pidex.indexing import Indexing  # noqa: PLC0415

        return Indexing(
            self.catalogue,
            self.storage,
            intake,
            self.accounts(),
            self.clock,
            self.data,
            mirror=self.mirror,
            known=url_of,
            home=self.shared,
        )

    def calls(self, pushes: Pushes | None = None) -> dict[str, Callable[..., object]]:
        """What commands and git's hooks may call, by name. For who holds the lock."""
        from pidex.ingress.handover import Handover  # noqa: PLC0415

        accounts, intake, kept = self.accounts(), self.intake(), self.holdings()
        return {
            **({} if kept is None else calls("holdings", kept)),
            **calls("accounts", self.administration()),
            **calls("curator", self.curator(intake, accounts)),
            **calls("indexing", self.indexing(intake)),
            **calls("intake", Handover(intake, accounts.require)),
            **calls("git", pushes or self.pushes()),
        }

    def holdings(self) -> Holdings | None:
        """What looks after the bucket, if there is one."""
        return holdings_of(self.catalogue, self.storage, self.accounts(), self.clock)

    def reconciler(self, index: str = DEFAULT_INDEX) -> Reconciler:
        """The loop over an index's folders, with children that look into archives. For who holds the lock."""
        from pidex.reconciler import Reconciler  # noqa: PLC0415  # workers need none

        settings, sandbox = self.settings, self.sandbox()
        return Reconciler(
            self.catalogue,
            self.expendable,
            self.storage,
            sandbox,
            self.intake(sandbox),
            self.clock,
            index=index,
            scan_interval=settings.scan_interval,
            check=settings.check,
            lookers=settings.sandbox_children,
            log=logging.getLogger("pidex.folder"),
        )

    def repositories(self) -> Repositories:
        """The git repositories of the indexes in folders."""
        from pidex.app import gits  # noqa: PLC0415  # see above

        return gits.repositories(self)

    def pushes(
        self,
        nudge: Callable[[Iterable[tuple[int, str]]], None] = lambda paths: None,
        leads: Callable[[], bool] = lambda: True,
    ) -> Pushes:
        """What takes pushes to indexes. For who holds the lock."""
        from pidex.app import gits  # noqa: PLC0415  # see above

        return gits.pushes(self, nudge, leads)

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
            certificate=certificate_of(settings),
        )
        services = Services(accounts, intake, self.resolver, curator, drafts, tuple(self.lineages()))
        return Ftp(listener, services, terms)

    def signature(self, file: File) -> bytes | None:
        """The `.asc` that lies beside a file in its folder; None where there is none."""
        path = f"{file.path}.asc"
        if file.root not in self.storage.folders:
            return self.storage.beside(file.root, path)
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
        self.mirror.close()
        self.expendable.close()
        self.catalogue.close()


def build(settings: Settings, environ: Mapping[str, str] | None = None, *, create: bool = False) -> Pidex:
    """The parts over the settings' data directory. Raises `ConfigError` or `CatalogueError`.

    `create` makes the data directory and the catalogue, or migrates them: for who holds the `DataLock` only.
    """
    from pidex.app.upstream import mirror_of  # noqa: PLC0415  # see above
    from pidex.catalogue import indexes  # noqa: PLC0415
    from pidex.catalogue.engine import Catalogue  # noqa: PLC0415
    from pidex.catalogue.expendable import Expendable  # noqa: PLC0415
    from pidex.resolver import Resolver  # noqa: PLC0415

    if create:
        go_on(data_dir(settings, environ))
    served_folders(settings)
    data = data_dir(settings, environ, create=create, warn=log.warning if create else lambda _: None)
    catalogue = Catalogue.open(catalogue_of(settings, data), create=create)
    if create:
        with catalogue.write() as conn:
            indexes.ensure(conn, DEFAULT_INDEX, time.time(), settings.mutability)
        identify(data, catalogue)
    shared = shared_dir(settings, data, create=create)
    storage = storage_of(settings, data, shared / "kept", catalogue)

    def visibility(by: Principal, index: str, action: Action) -> Visibility:
        # Made when somebody asks who is not the operator: commands need no password file.
        return pidex.accounts().visibility(by, index, action)

    expendable = Expendable(data / "cache.db")
    metrics = Metrics(data / "metrics")
    mirror = mirror_of(
        settings,
        data,
        catalogue,
        expendable,
        inspector=lambda: pidex.sandbox(),  # noqa: PLW0108
        metrics=metrics,
    )
    pidex = Pidex(
        settings=settings,
        data=data,
        catalogue=catalogue,
        expendable=expendable,
        storage=storage,
        resolver=Resolver(catalogue, storage, time.time, visibility, mirror),
        metrics=metrics,
        mirror=mirror,
        clock=time.time,
        shared=shared,
        owner=owner_of(settings, data),
    )
    pidex._closers.append(storage.close)
    pidex.lineages()
    return pidex


def go_on(data: Path) -> None:
    """Go on with a restore that was cut, or drop what it staged. For who holds the `DataLock`."""
    if any(data.glob("restoring*")):
        from pidex.backup.restoring import resume  # noqa: PLC0415  # rare

        resume(data)


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

    if create:
        go_on(data)
    catalogue = Catalogue.open(catalogue_of(settings, data), create=create)
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


def certificate_of(settings: Settings) -> tuple[Path, Path] | None:
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
