"""What a bucket holds: uploads into it, garbage in two phases, and whose manifest is believed."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pytest

from pidex.accounts import Accounts
from pidex.app.bucket import Decided, bucket_of
from pidex.backends.folder import Folder
from pidex.backends.git import Git
from pidex.backends.objects.beside import Beside
from pidex.backends.objects.bucket import Bucket, Place
from pidex.backends.objects.storage import Objects, key_of
from pidex.backends.repositories import Repositories
from pidex.backends.sandbox import Sandbox
from pidex.catalogue import admissions, audit, branches, files, garbage, indexes, intents, places
from pidex.catalogue.engine import Catalogue
from pidex.config import Settings
from pidex.core.errors import (
    BadRequest,
    Busy,
    CannotStart,
    ConfigError,
    Conflict,
    Forbidden,
    NotFound,
    StorageDown,
    Unauthenticated,
)
from pidex.core.folder import BUCKET
from pidex.core.model import ANONYMOUS, OPERATOR, Principal
from pidex.curator import Curator
from pidex.holdings import GRACE_SECONDS, KEPT_SECONDS, Holdings
from pidex.intake import Intake, Receipt
from pidex.intake import delivery as deliveries
from pidex.intake.branches import Branches
from pidex.reconciler import Reconciler
from tests import samples

ANN = Principal("ann", frozenset({"anonymous", "authenticated"}), via="password")
NOW = 1_800_000_000.0
DEMO = samples.wheel("demo", "1.0")
OTHER = samples.wheel("demo", "1.0", files={"demo.py": b"answer = 43\n"})


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(children=1)
    yield opened
    opened.close()


class Store:
    """An index in a bucket, and what looks after it. `now` is what its clock says."""

    def __init__(self, place: Path, catalogue: Catalogue, sandbox: Sandbox) -> None:
        self.catalogue, self.sandbox, self.now = catalogue, sandbox, NOW
        with catalogue.write() as conn:
            self.number = indexes.ensure(conn, "main", NOW)
        self.bucket = Bucket(Place(f"file://{place}/bucket"))
        self.objects = Objects(self.bucket, place / "cache", Decided(catalogue), cache=1 << 30)
        self.storage = Beside(Folder([], place / "kept"), self.objects)
        self.storage.add({0: BUCKET})
        self.intake = Intake(catalogue, self.storage, self.clock, sandbox)
        self.accounts = Accounts(
            catalogue, catalogue.probe(), None, frozenset(), clock=self.clock, key=bytes(32)
        )
        self.holdings = Holdings(catalogue, self.objects, self.accounts, self.clock)

    def clock(self) -> float:
        return self.now

    def send(self, sample: samples.Sample, *, overwrite: bool = False) -> Receipt:
        with self.intake.stage("main", size_hint=len(sample[1])) as stage:
            stage.write(sample[1])
            return self.intake.receive("main", stage, sample[0], by=ANN, overwrite=overwrite)

    def scan(self) -> None:
        """Have the index followed, from nothing that a process remembers."""
        Reconciler(
            self.catalogue, None, self.storage, self.sandbox, self.intake, self.clock, index="main"
        ).scan()

    def listed(self) -> dict[str, str]:
        with self.catalogue.read() as conn:
            return {file.filename: file.sha256 for file in files.list_all(conn, self.number)}

    def stored(self) -> set[str]:
        return {item.key for item in self.bucket.list("blobs/")}

    def pack(self, text: bytes) -> branches.Pack:
        """Have a pack in the bucket as a push brings it, which moves no branch yet."""
        place = self.objects.reader.cache.folder.parent / "one.pack"
        place.write_bytes(text)
        copies = Repositories(place.parent / "copies", Git(""))
        pushes = Branches(
            self.catalogue, self.storage, copies, self.objects.packs, command=lambda _: [], clock=self.clock
        )
        [found] = pushes.store([place])
        return found

    def move(self, pack: branches.Pack, *, number: int = 0) -> None:
        """Have the branch of an index stand where a pack leads."""
        with self.catalogue.write() as conn:
            index = number or self.number
            branches.enable(conn, index)
            there = branches.find(conn, index)
            assert there is not None
            assert branches.move(conn, index, there.tip, pack.sha256[:40], [pack], by="ann", at=1)

    def packed(self) -> set[str]:
        return {pack.sha256 for pack in self.objects.packs.list()}

    def read(self, filename: str) -> bytes:
        with self.catalogue.read() as conn:
            file = files.find_by_key(conn, self.number, filename.casefold())
        assert file is not None
        with closing(self.storage.open(file)) as handle:
            return handle.read(0, file.size)


@pytest.fixture
def store(tmp_path: Path, catalogue: Catalogue, sandbox: Sandbox) -> Iterator[Store]:
    made = Store(tmp_path, catalogue, sandbox)
    yield made
    made.storage.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_upload_is_one_object_and_one_place(store: Store) -> None:
    assert store.send(DEMO).status == "stored"
    assert store.send(DEMO).status == "identical"
    assert store.stored() == {key_of(sha256(DEMO[1]))}
    assert store.read(DEMO[0]) == DEMO[1]
    before = store.listed()
    store.scan()
    assert store.listed() == before


def test_a_replaced_file_leaves_no_second_place(store: Store) -> None:
    with store.catalogue.write() as conn:
        indexes.ensure(conn, "main", NOW, "volatile")
    store.send(DEMO)
    assert store.send(OTHER, overwrite=True).status == "replaced"
    assert store.listed() == {DEMO[0]: sha256(OTHER[1])}
    with store.catalogue.read() as conn:
        there = places.find_by_keys(conn, store.number, [DEMO[0].casefold()])[DEMO[0].casefold()]
    assert [place.sha256 for place in there] == [sha256(OTHER[1])]
    curator = Curator(store.catalogue, store.storage, store.intake, store.accounts, store.clock)
    curator.restore_file("main", DEMO[0], sha256=sha256(DEMO[1]), by=OPERATOR)
    assert store.listed() == {DEMO[0]: sha256(DEMO[1])}
    store.scan()
    assert store.listed() == {DEMO[0]: sha256(DEMO[1])}
    assert store.read(DEMO[0]) == DEMO[1]


def test_what_a_kill_cut_off_is_finished_or_undone(store: Store) -> None:
    one, two = samples.wheel("one", "1.0"), samples.wheel("two", "1.0")
    with store.catalogue.write() as conn:
        for name, data in (one, two):
            path = store.storage.place(0, name, sha256(data))
            intents.put(
                conn,
                store.number,
                intents.Intent(name, 0, path, sha256(data), len(data), "ann", int(NOW * 1e6)),
            )
    source = store.objects.reader.cache.folder.parent / "one"
    source.write_bytes(one[1])
    store.objects.fill(source, sha256(one[1]))
    assert store.intake.recover("main") == (1, 1)
    store.scan()
    assert store.listed() == {one[0]: sha256(one[1])}


def test_garbage_is_noted_first_and_deleted_when_that_stays_so(store: Store) -> None:
    store.send(DEMO)
    stray = store.objects.reader.cache.folder.parent / "stray"
    stray.write_bytes(b"nobody's")
    store.objects.fill(stray, sha256(b"nobody's"))
    told = store.holdings.collect(by=OPERATOR)
    assert (told.marked, told.dropped, told.waiting) == (1, 0, 1)
    store.now += GRACE_SECONDS / 2
    assert store.holdings.collect(by=OPERATOR).dropped == 0
    store.now += GRACE_SECONDS
    assert store.holdings.collect(by=OPERATOR).dropped == 1
    assert store.stored() == {key_of(sha256(DEMO[1]))}


def test_noted_bytes_that_get_a_name_stay(store: Store) -> None:
    source = store.objects.reader.cache.folder.parent / "early"
    source.write_bytes(DEMO[1])
    store.objects.fill(source, sha256(DEMO[1]))
    assert store.holdings.collect(by=OPERATOR).marked == 1
    store.send(DEMO)
    store.now += 2 * GRACE_SECONDS
    told = store.holdings.collect(by=OPERATOR)
    assert (told.dropped, told.waiting) == (0, 0)
    assert store.read(DEMO[0]) == DEMO[1]


def test_deleted_files_keep_their_bytes_for_a_week(store: Store) -> None:
    store.send(DEMO)
    curator = Curator(store.catalogue, store.storage, store.intake, store.accounts, store.clock)
    curator.delete("main", "demo", by=OPERATOR)
    store.holdings.collect(by=OPERATOR)
    store.now += KEPT_SECONDS - 10
    assert store.holdings.collect(by=OPERATOR).marked == 0
    assert [kept.sha256 for kept in curator.list_restorable("main", "demo", by=OPERATOR)] == [sha256(DEMO[1])]
    store.now += 20
    assert store.holdings.collect(by=OPERATOR).marked == 1
    store.now += GRACE_SECONDS + 1
    assert store.holdings.collect(by=OPERATOR).dropped == 1
    assert curator.list_restorable("main", "demo", by=OPERATOR) == []


def test_nobody_counts_on_bytes_that_are_being_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "WAIT_SECONDS", 0.1)
    digest = sha256(DEMO[1])
    with store.catalogue.write() as conn:
        garbage.mark(conn, [digest], at=1)
        claimed = garbage.claim(conn, marked=2, begun=0, since=0, at=int(NOW * 1e6), limit=10)
    assert claimed == [digest]
    with pytest.raises(Busy):
        store.send(DEMO)
    store.objects.drop(claimed)
    with store.catalogue.write() as conn:
        garbage.unmark(conn, claimed)
    assert store.send(DEMO).status == "stored"
    assert store.read(DEMO[0]) == DEMO[1]
    assert key_of(digest) in store.stored()


def test_a_claim_is_one_collectors_until_it_is_abandoned(store: Store) -> None:
    with store.catalogue.write() as conn:
        garbage.mark(conn, ["a" * 64], at=1)

    def claim(at: int, begun: int) -> list[str]:
        with store.catalogue.write() as conn:
            return [*garbage.claim(conn, marked=2, begun=begun, since=0, at=at, limit=10)]

    assert claim(100, 0) == ["a" * 64]
    assert claim(200, 99) == []
    assert claim(300, 100) == ["a" * 64]


def test_packs_that_lead_to_no_branch_go_after_a_week(store: Store) -> None:
    with store.catalogue.write() as conn:
        team = indexes.ensure(conn, "team", NOW)
        indexes.set_folders(conn, team, [BUCKET])
    stays, cut, both, gone = (store.pack(text) for text in (b"stays", b"cut", b"both", b"gone"))
    for pack in (stays, both):
        store.move(pack)
    for pack in (both, gone):
        store.move(pack, number=team)
    with store.catalogue.write() as conn:
        branches.enable(conn, store.number, enabled=False)  # put aside: it can be had back
        indexes.remove(conn, team)
    told = store.holdings.survey(by=OPERATOR)
    assert (told.packs, told.surplus_packs, told.surplus_pack_bytes) == (4, 2, cut.size + gone.size)
    assert (told.missing, told.objects) == ((), 0)
    assert store.holdings.collect(grace=0, by=OPERATOR).marked == 2
    store.now += KEPT_SECONDS - 10
    told_cleared = store.holdings.collect(grace=0, by=OPERATOR)
    assert (told_cleared.dropped, told_cleared.waiting) == (0, 2)
    store.now += 20
    assert store.holdings.collect(grace=0, by=OPERATOR).dropped == 2
    assert store.packed() == {stays.sha256, both.sha256}
    assert store.holdings.collect(grace=0, by=OPERATOR).waiting == 0


def test_a_pack_that_is_pushed_again_stays(store: Store) -> None:
    """What a cut push left, almost a week ago."""
    cut = store.pack(b"cut")
    store.holdings.collect(by=OPERATOR)
    store.now += KEPT_SECONDS + 10
    again = store.pack(b"cut")
    assert store.holdings.collect(by=OPERATOR).dropped == 0, "no branch leads to it yet"
    store.move(again)
    store.now += 2 * KEPT_SECONDS
    told = store.holdings.collect(by=OPERATOR)
    assert (told.dropped, told.waiting) == (0, 0)
    assert store.packed() == {cut.sha256}


def test_nobody_counts_on_a_pack_that_is_being_deleted(store: Store) -> None:
    pack = store.pack(b"cut")
    with store.catalogue.write() as conn:
        garbage.mark(conn, [garbage.pack(pack.sha256), "a" * 64], at=1)
        for kind, noted in ((garbage.PACKS, garbage.pack(pack.sha256)), (garbage.BLOBS, "a" * 64)):
            at = int(NOW * 1e6)
            assert garbage.claim(conn, kind, marked=2, begun=0, since=0, at=at, limit=10) == [noted]
    with pytest.raises(Busy, match="Push again"):
        store.pack(b"cut")
    store.objects.packs.drop([pack.sha256])
    with store.catalogue.write() as conn:
        garbage.unmark(conn, [garbage.pack(pack.sha256)])
    assert store.pack(b"cut") == pack
    assert store.packed() == {pack.sha256}


def test_branches_come_back_with_their_packs(store: Store, tmp_path: Path, sandbox: Sandbox) -> None:
    every = [store.pack(f"pack {number}".encode()) for number in range(250)]
    for pack in every:
        store.move(pack)
    with store.catalogue.write() as conn:
        branches.enable(conn, indexes.ensure(conn, "elsewhere", NOW))  # in a folder: not the bucket's
        branches.enable(conn, store.number, enabled=False)
    store.holdings.write_manifest(by=OPERATOR)
    with closing(Catalogue.open(tmp_path / "another.db")) as catalogue:
        other = Store(tmp_path, catalogue, sandbox)
        lacking = every[7].sha256
        store.objects.packs.drop([lacking])
        said = f"the pack {lacking} of main.git"
        assert store.holdings.survey(by=OPERATOR).missing == (said,)
        told = other.holdings.rebuild(dry_run=True, by=OPERATOR)
        assert (told.branches, told.missing) == (0, (said,))
        assert store.pack(b"pack 7") == every[7]
        assert other.holdings.rebuild(dry_run=True, by=OPERATOR).branches == 1
        with catalogue.read() as conn:
            assert branches.list_all(conn) == {}
        assert other.holdings.rebuild(by=OPERATOR).branches == 1
        with catalogue.read() as conn, store.catalogue.read() as before:
            assert branches.find(conn, other.number) == branches.find(before, store.number)
            found = branches.list_brought(conn, other.number)
            assert found == branches.list_brought(before, store.number)
        assert [each.sha256 for each in found] == [each.sha256 for each in every]
        assert other.holdings.rebuild(by=OPERATOR).branches == 0, "it is known"
        other.storage.close()


def test_a_catalogue_made_anew_clears_nothing_away(store: Store, tmp_path: Path, sandbox: Sandbox) -> None:
    store.send(DEMO)
    store.holdings.write_manifest(by=OPERATOR)
    with closing(Catalogue.open(tmp_path / "another.db")) as catalogue:
        with catalogue.write() as conn:
            indexes.ensure(conn, "main", NOW + 5)
        other = Store(tmp_path, catalogue, sandbox)
        for refused in (other.holdings.collect, other.holdings.write_manifest):
            with pytest.raises(Conflict, match="pidex bucket rebuild"):
                refused(by=OPERATOR)
        told = other.holdings.survey(by=OPERATOR)
        assert (told.objects, told.surplus, told.missing) == (1, 1, ())
        assert other.holdings.rebuild(dry_run=True, by=OPERATOR).files == 1
        assert other.listed() == {}
        assert other.holdings.rebuild(by=OPERATOR).files == 1
        assert other.holdings.collect(by=OPERATOR).marked == 0
        other.scan()
        assert other.listed() == store.listed()
        with catalogue.read() as conn:
            again = admissions.find(conn, other.number, DEMO[0].casefold())
            assert "bucket.rebuild" in {row.action for row in audit.search(conn, {}, limit=10)}
        with store.catalogue.read() as conn:
            assert admissions.find(conn, store.number, DEMO[0].casefold()) == again
        other.storage.close()


def test_manifests_are_kept_in_a_small_number(store: Store) -> None:
    names = []
    for _ in range(4):
        names.append(store.holdings.write_manifest(keep=3, by=OPERATOR))
        store.now += 1
    assert [*store.holdings.list_manifests(by=OPERATOR)] == names[1:]
    assert not store.holdings.due(60)
    store.now += 61
    assert store.holdings.due(60)


def test_what_is_no_manifest_is_said(store: Store) -> None:
    name, good = "manifests/20991231T000000Z.jsonl.gz", gzip.compress(b'{"format": 1}\n')
    bad = {
        "nonsense": b"nonsense",
        "cut": good[:-1],
        "empty": gzip.compress(b""),
        "no head": gzip.compress(b"[]\n"),
        "no branch": gzip.compress(
            b'{"format": 1}\n{"index": "main", "mutability": "folder", "packs": [1]}\n'
        ),
        "not a file": gzip.compress(b'{"format": 1}\n{"in": "main"}\n'),
        "a bad name": gzip.compress(
            b'{"format": 1}\n' + json.dumps({"in": "main", **asdict_of("no package")}).encode() + b"\n"
        ),
    }
    for data in bad.values():
        store.bucket.put(name, BytesIO(data))
        with pytest.raises(BadRequest, match="manifest"):
            store.holdings.rebuild(by=OPERATOR)
    store.bucket.put(name, BytesIO(gzip.compress(b'{"format": 2, "program": "9.9"}\n')))
    with pytest.raises(BadRequest, match=r"newer pidex \(9.9\)"):
        store.holdings.rebuild(by=OPERATOR)
    with pytest.raises(NotFound):
        store.holdings.rebuild("manifests/19990101T000000Z.jsonl.gz", by=OPERATOR)
    assert store.listed() == {}


def asdict_of(filename: str) -> dict[str, object]:
    return {
        "filename": filename, "sha256": "0" * 64, "size": 1, "first_seen": 1, "source": "upload", "by": "ann",
        "how": "upload",
    }  # fmt: skip


def test_administrators_alone_look_after_it(store: Store) -> None:
    for by, refusal in ((ANONYMOUS, Unauthenticated), (ANN, Forbidden)):
        for method in (
            store.holdings.collect, store.holdings.survey, store.holdings.rebuild,
            store.holdings.write_manifest, store.holdings.list_manifests,
        ):  # fmt: skip
            with pytest.raises(refusal):
                method(by=by)


def test_a_missing_library_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "pidex.backends.objects.bucket")
    with pytest.raises(CannotStart, match=r"pip install 'pidex\[s3\]'"):
        bucket_of(Settings(storage="s3://packages"))


def test_wrong_settings_of_a_bucket_are_said(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    cases = {
        "cannot be read": None,
        "are not TOML": "aws_access_key_id = ",
        "must be lines such as": "aws_access_key_id = 5",
        "cannot be used": 'no_such_key = "x"',
        "chmod 600": "open",
    }
    for sentence, text in cases.items():
        if text is not None:
            keys.write_text(text)
            keys.chmod(0o644 if text == "open" else 0o600)
        with pytest.raises(ConfigError, match=sentence):
            bucket_of(Settings(storage="s3://packages", storage_credentials=keys))
    with pytest.raises(ConfigError, match="cannot be read"):
        bucket_of(Settings(storage="s3://packages", storage_ca=tmp_path / "no.pem"))


def test_a_server_that_is_not_there_is_said_within_a_bound(tmp_path: Path) -> None:
    with socket.socket() as taken:  # listens to nobody
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        keys = tmp_path / "keys.toml"
        keys.write_text('aws_access_key_id = "a"\naws_secret_access_key = "b"\n')
        keys.chmod(0o600)
        bucket = Bucket(Place("s3://packages/x", endpoint, credentials=keys, timeout=1))
        for ask in (
            lambda: bucket.size("blobs/a"),
            lambda: [*bucket.read("blobs/a")],
            lambda: [*bucket.list("blobs/")],
            lambda: bucket.delete(["blobs/a"]),
            lambda: bucket.put("blobs/a", BytesIO(b"x")),
        ):
            with pytest.raises(StorageDown, match="does not answer") as told:
                ask()
            assert told.value.retry_after
            assert "Signature" not in str(told.value)
        signed = bucket.sign("blobs/a", 60)
        assert signed is not None
        assert signed.startswith(f"{endpoint}/packages/x/blobs/a?")
