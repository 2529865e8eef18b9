"""PostgreSQL put back as it was between two uploads, over a bucket that nobody put back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pidex.backends.objects.bucket import Bucket, Place
from pidex.backends.objects.storage import BLOBS, key_of
from tests import samples
from tests.cluster.buckets import partial
from tests.cluster.moving import in_bucket, people
from tests.cluster.nodes import Database, listing, names, send, sha256
from tests.conftest import POSTGRES_USER
from tests.walks.server import until

pytestmark = pytest.mark.postgres

#: What of PostgreSQL's own is written into the copy that is put back.
BACK = """
restore_command = 'cp {archive}/%f %p'
recovery_target_time = '{moment}'
recovery_target_action = 'promote'
"""


class Archived(Database):
    """A PostgreSQL whose log is archived: it can be had back as it was at any moment after `save`."""

    def __init__(self, programs: Path) -> None:
        super().__init__(programs)
        self.archive = self.folder / "archive"
        self.archive.mkdir()
        self._give(self.archive)
        self.server.command("alter system set archive_mode = on")
        part = self.archive / "part"  # there as a whole, or not at all
        command = f"cp %p {part} && mv {part} {self.archive}/%f"
        self.server.command(f"alter system set archive_command = '{command}'")
        self.stop()
        self.start()

    def asked(self, question: str) -> Any:
        """The only value of an answer."""
        import psycopg

        with psycopg.connect(self.server.url("postgres"), autocommit=True) as conn:
            [value] = conn.execute(question.encode()).fetchone() or [None]
        return value

    def save(self) -> None:
        """A base backup."""
        where = ("-h", self.folder, "-U", POSTGRES_USER)
        self.server._run("pg_basebackup", *where, "-D", self.folder / "base", "-c", "fast")

    def lose(self) -> None:
        """Have all that was written by now in the archive, and lose the rest."""
        last = self.asked("select pg_walfile_name(pg_current_wal_lsn())")
        self.asked("select pg_switch_wal()")
        until((self.archive / last).exists, why="the log is not archived")
        self.stop("immediate")
        (self.folder / "data").rename(self.folder / "lost")

    def put_back(self, moment: str) -> None:
        """The base backup and the archive, up to a moment."""
        data = (self.folder / "base").rename(self.folder / "data")
        shutil.copy(self.folder / "lost" / "postmaster.opts", data)
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(BACK.format(archive=self.archive, moment=moment))
        (data / "recovery.signal").touch()
        for name in ("recovery.signal", "postmaster.opts"):
            self._give(data / name)
        self.start()
        until(lambda: self.asked("select not pg_is_in_recovery()"), why="it is not put back")

    def _give(self, path: Path) -> None:
        """To whom the server runs as."""
        owner = self.folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


@pytest.fixture
def database(postgres_programs: Path) -> Iterator[Archived]:
    with closing(Archived(postgres_programs)) as made:
        yield made


def test_a_moment_between_two_uploads(tmp_path: Path, bucket: Place, database: Archived) -> None:
    before, after = samples.wheel("moment", "1.0"), samples.wheel("moment", "1.1")
    server = in_bucket(tmp_path / "node", bucket, database.url)
    people(server)
    database.save()
    with server:
        assert send(server.url, before).status == 200
        page = listing(server.url, "moment")
        moment = str(database.asked("select clock_timestamp()"))
        assert send(server.url, after).status == 200
        server.pidex("bucket", "manifest")
    there = {item.key for item in Bucket(bucket).list(BLOBS)}
    assert {key_of(sha256(data)) for _, data in (before, after)} == there
    database.lose()
    database.put_back(moment)
    assert "Everything agrees" in server.pidex("verify", "--deep")
    found = json.loads(server.pidex("bucket", "check", "--json"))
    assert (found["missing"], found["surplus"]) == ([], 1)
    status, said = server.tried("bucket", "clear", "--grace", "0")
    assert (status, "a later state of this one" in said) == (1, True), said
    with server:
        assert listing(server.url, "moment") == page
        assert partial(server.url) == []
        assert send(server.url, after).status == 200
        assert names(server.url, "moment") == [before[0], after[0]]
    assert {item.key for item in Bucket(bucket).list(BLOBS)} == there
    assert "Everything agrees" in server.pidex("verify", "--deep")
