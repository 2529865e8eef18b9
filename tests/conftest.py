"""What tests of several folders need: a catalogue on each engine, and a throw-away PostgreSQL."""

from __future__ import annotations

import itertools
import logging
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pidex.catalogue.engine import Catalogue

# A slow machine is no failure.
settings.register_profile("pidex", deadline=None)
settings.load_profile("pidex")

#: No server of a test asks an index out there: those that have upstreams say which.
os.environ.setdefault("PIDEX_NO_UPSTREAM", "yes")

POSTGRES_USER = "postgres"
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """What commands that run in the process of the tests do to logging ends with the test."""
    loggers = [logging.getLogger(name) for name in ("pidex", "_granian")]
    kept = [([*each.handlers], each.propagate, each.level, each.disabled) for each in loggers]
    yield
    for each, (handlers, propagate, level, disabled) in zip(loggers, kept, strict=True):
        each.handlers[:], each.propagate, each.disabled = handlers, propagate, disabled
        each.setLevel(level)


class Postgres:
    """A cluster that listens on a Unix socket only. Its programs refuse to be run by root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.before: list[str] = []
        if os.getuid() == 0:
            accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
            account = accounts.get(POSTGRES_USER) or accounts["nobody"]
            os.chown(folder, account.pw_uid, account.pw_gid)
            self.before = [
                "setpriv",
                f"--reuid={account.pw_uid}",
                f"--regid={account.pw_gid}",
                "--clear-groups",
                "--inh-caps=-all",
            ]

    def url(self, database: str) -> str:
        return f"postgresql://{POSTGRES_USER}@/{database}?host={self.folder}"

    def start(self) -> None:
        data = self.folder / "data"
        cluster = ["-D", str(data), "-U", POSTGRES_USER, "-A", "trust", "-E", "UTF8", "--no-sync"]
        plain = ["--locale=C.UTF-8"]
        try:
            # Sorted as people read, unlike SQLite: what must be in the order of bytes has to ask for it.
            self._run("initdb", *cluster, *plain, "--locale-provider=icu", "--icu-locale=en-US")
        except RuntimeError:  # older than 15, or built without ICU
            self._run("initdb", *cluster, *plain)
        # Nobody needs these data after a crash of the machine; commits stay in order all the same.
        options = (
            f"-c listen_addresses='' -k {self.folder} -c fsync=off -c full_page_writes=off -c autovacuum=off"
        )
        self._run("pg_ctl", "-D", data, "-l", self.folder / "log", "-w", "-t", "60", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")

    def command(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def copy(self, template: str, name: str) -> None:
        """A new database like another one."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            # The quickest way where nothing is synced; older servers have no other and no word for it.
            how = "strategy file_copy" if connection.info.server_version >= 150000 else ""
            connection.execute(f"create database {name} template {template} {how}".encode())

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self.before, str(self.programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program}: {done.stderr}{log.read_text() if log.exists() else done.stdout}")


def server_programs() -> Path | None:
    """Where PostgreSQL's server programs lie: Debian's place, newest first, else on the path."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    beside = shutil.which("initdb")
    return Path(beside).resolve().parent if beside else None


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """Where PostgreSQL's server programs lie; a skip with its reason where it cannot be used."""
    programs = server_programs()
    if programs is None:
        pytest.skip("NOT TESTED on PostgreSQL: no initdb in /usr/lib/postgresql/*/bin (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="NOT TESTED on PostgreSQL: psycopg is not installed")
    return programs


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[Postgres]:
    """One cluster for the whole run."""
    # A socket's path may not be longer than 107 bytes: pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="pidex-pg-", dir="/tmp"))
    cluster = Postgres(postgres_programs, folder)
    try:
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _empty_postgres(postgres: Postgres) -> str:
    """A database with the tables in it, to be copied."""
    postgres.command("create database pidex_empty")
    Catalogue.open(postgres.url("pidex_empty")).close()
    return "pidex_empty"


@pytest.fixture(scope="session")
def _empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue file with the tables in it, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "catalogue.db"
    Catalogue.open(path).close()
    return path


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """A database of the test's own, without tables."""
    name = f"pidex_{next(_numbers)}"
    postgres.command(f"create database {name}")
    yield postgres.url(name)
    postgres.command(f"drop database {name} with (force)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Where a catalogue can be made: a path without a file, or the URL of a database without tables."""
    if request.param == "sqlite":
        return tmp_path / "catalogue.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Path]:
    """Where an empty catalogue is."""
    if request.param == "sqlite":
        yield Path(shutil.copy(request.getfixturevalue("_empty_sqlite"), tmp_path / "catalogue.db"))
        return
    template = request.getfixturevalue("_empty_postgres")
    cluster: Postgres = request.getfixturevalue("postgres")
    name = f"pidex_{next(_numbers)}"
    cluster.copy(template, name)
    yield cluster.url(name)
    cluster.command(f"drop database {name} with (force)")


@pytest.fixture
def catalogue(address: str | Path) -> Iterator[Catalogue]:
    """An empty catalogue on each engine."""
    opened = Catalogue.open(address, create=False)
    yield opened
    opened.close()
