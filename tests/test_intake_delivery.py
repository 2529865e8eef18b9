"""Receiving files: every refusal by its sentence, one winner of a race, and nothing half after any fault."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pidex.backends.folder import Folder
from pidex.backends.sandbox import Sandbox
from pidex.catalogue import (
    admissions,
    audit,
    files,
    grants,
    indexes,
    intents,
    journal,
    places,
    statuses,
    tombstones,
)
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import (
    BadRequest,
    Busy,
    FileDeleted,
    FileExists,
    Forbidden,
    InvalidFile,
    PidexError,
    StorageFull,
    TooLarge,
)
from pidex.core.interfaces import Staged
from pidex.core.model import OPERATOR, Entry, File, Look, PlaceState, Principal, Shelf, Stat, Status
from pidex.core.permissions import Grant, Role
from pidex.core.uploads import Form, UploadPolicy
from pidex.intake import Adoption, Intake, Receipt
from pidex.reconciler import Reconciler
from tests import samples

ANN = Principal("ann", frozenset({"anonymous", "authenticated"}), via="password", address="192.0.2.7")
NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    opened = Sandbox(children=2)
    yield opened
    opened.close()


class Door:
    """An index over one folder, and the door to it."""

    def __init__(self, place: Path, catalogue: Catalogue, sandbox: Sandbox, *roots: str) -> None:
        self.place, self.catalogue, self.sandbox = place, catalogue, sandbox
        self.roots = [place / root for root in roots or ("packages",)]
        for root in self.roots:
            root.mkdir(exist_ok=True)
        self.folder = self.roots[0]
        self.storage = Folder(self.roots, place / "kept")
        with catalogue.write() as conn:
            self.number = indexes.ensure(conn, "main", NOW)
        self.intake = self.another()

    def another(self, storage: Folder | None = None, clock: Callable[[], float] = lambda: NOW) -> Intake:
        return Intake(self.catalogue, storage or self.storage, clock, self.sandbox)

    def send(self, sample: samples.Sample, *, intake: Intake | None = None, **given: Any) -> Receipt:
        filename, data = sample
        intake = intake or self.intake
        with intake.stage("main", size_hint=len(data)) as stage:
            stage.write(data[: len(data) // 2])
            stage.write(data[len(data) // 2 :])
            return intake.receive("main", stage, filename, by=given.pop("by", ANN), **given)

    def scan(self) -> None:
        """Have the folder followed, from nothing that a process remembers."""
        reconciler = Reconciler(
            self.catalogue, None, self.storage, self.sandbox, self.intake, lambda: NOW, index="main"
        )
        reconciler.scan()

    def file(self, filename: str) -> File | None:
        with self.catalogue.read() as conn:
            return files.find_by_key(conn, self.number, filename.casefold())

    def listed(self) -> dict[str, str]:
        """File names that the index lists, with their hashes."""
        with self.catalogue.read() as conn:
            return {file.filename: file.sha256 for file in files.list_all(conn, self.number)}

    def live(self) -> Sequence[intents.Intent]:
        with self.catalogue.read() as conn:
            return intents.list(conn, self.number)

    def set(self, **policy: object) -> None:
        with self.catalogue.write() as conn:
            indexes.set_policy(conn, self.number, policy)

    def mutable(self, how: str) -> None:
        with self.catalogue.write() as conn:
            indexes.ensure(conn, "main", NOW, how)

    def at_rest(self) -> None:
        """Nothing is left of anything on its way."""
        assert self.live() == []
        assert [path.name for root in self.roots for path in root.iterdir() if path.name[0] == "."] == []


@pytest.fixture
def door(tmp_path: Path, catalogue: Catalogue, sandbox: Sandbox) -> Door:
    return Door(tmp_path, catalogue, sandbox)


DEMO = samples.wheel("demo", "1.0")
OTHER = samples.wheel("demo", "1.0", files={"demo.py": b"answer = 43\n"})
SDIST = samples.sdist("demo", "1.0")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_received_file_is_there_in_every_respect(door: Door) -> None:
    receipt = door.send(DEMO)
    assert (receipt.status, receipt.project, receipt.version) == ("stored", "demo", "1.0")
    assert receipt.sha256 == sha256(DEMO[1])
    path = door.folder / DEMO[0]
    assert path.read_bytes() == DEMO[1]
    found = path.stat()
    assert found.st_nlink == 2, "its second name"
    file = door.file(DEMO[0])
    assert file is not None
    assert (file.sha256, file.blake2b_256, file.shelf) == (receipt.sha256, receipt.blake2b_256, Shelf.KEPT)
    assert file.upload_time == int(NOW * 1_000_000)
    assert file.stat.ctime_ns == found.st_ctime_ns, "served without hashing it again"
    handle = door.storage.open(file, wait=False)
    assert handle.read(0, len(DEMO[1])) == DEMO[1]
    handle.close()
    with door.catalogue.read() as conn:
        admission = admissions.find(conn, door.number, DEMO[0].casefold())
        assert admission is not None
        assert (admission.by, admission.how, admission.source) == ("ann", "upload", "upload")
        place = places.find(conn, door.number, 0, DEMO[0])
        assert place is not None
        assert (place.state, place.sha256, place.stat.ctime_ns) == (
            PlaceState.WHOLE, receipt.sha256, found.st_ctime_ns,
        )  # fmt: skip
        told = [(line.action, line.by) for line in journal.since(conn, 0, 10) if line.project]
        assert told == [("create", "ann"), ("new release", "ann"), (f"add py3 file {DEMO[0]}", "ann")]
        rows = {row.action: row for row in audit.list(conn, limit=10)}
        added = rows["file.add"]
        assert (added.actor, added.via, added.address, added.project, added.subject) == (
            "ann", "password", "192.0.2.7", "demo", DEMO[0],
        )  # fmt: skip
        assert json.loads(added.after or "")["sha256"] == receipt.sha256
    door.at_rest()


def test_who_sends_the_first_file_of_a_project_owns_it(door: Door) -> None:
    bob = ANN._replace(name="bob")
    door.send(DEMO)
    door.send(SDIST, by=bob)
    door.send(samples.wheel("other", "1"), by=OPERATOR)
    with door.catalogue.read() as conn:
        assert grants.list_of_user(conn, "ann") == [Grant("user:ann", Role.OWNER, "main", "demo")]
        assert grants.list_of_user(conn, "bob") == []
        assert [row.action for row in audit.list(conn, limit=9)].count("grant.add") == 1


@pytest.mark.parametrize(
    "sample",
    [
        SDIST,
        samples.sdist("demo", "1.0", "zip"),
        samples.sdist("demo", "1.0", "bztar"),
        samples.egg("demo", "1.0"),
        samples.wininst("demo", "1.0"),
        samples.msi("demo", "1.0"),
        samples.rpm("demo", "1.0"),
        samples.wheel("demo", "1.0+local.2", tag="cp311-cp311-linux_x86_64"),
    ],
    ids=lambda sample: sample[0],
)
def test_every_kind_is_taken(door: Door, sample: samples.Sample) -> None:
    assert door.send(sample).status == "stored"
    assert door.listed() == {sample[0]: sha256(sample[1])}


def test_the_same_again_is_no_error_and_no_change(door: Door) -> None:
    door.send(DEMO)
    before = (door.folder / DEMO[0]).stat()
    with door.catalogue.read() as conn:
        serial, rows = journal.serial(conn), len(audit.list(conn, limit=99))
    assert door.send(DEMO).status == "identical"
    assert (door.folder / DEMO[0]).stat() == before
    with door.catalogue.read() as conn:
        assert (journal.serial(conn), len(audit.list(conn, limit=99))) == (serial, rows)
    door.at_rest()


def test_other_bytes_under_a_name_that_is_there(door: Door) -> None:
    receipt = door.send(DEMO)
    with pytest.raises(FileExists) as refused:
        door.send(OTHER)
    assert refused.value.status == 400
    start = f"File already exists ('{DEMO[0]}', with blake2_256 hash '{receipt.blake2b_256}')."
    assert str(refused.value).startswith(start)
    shout = (DEMO[0].replace("demo", "DEMO"), OTHER[1])
    with pytest.raises(FileExists, match="File already exists"):
        door.send(shout)
    assert door.listed() == {DEMO[0]: receipt.sha256}
    door.at_rest()


def test_the_same_bytes_under_another_name_are_taken(door: Door) -> None:
    door.send(DEMO)
    again = samples.wheel("demo", "1.0", tag="py2.py3-none-any")
    retagged = (DEMO[0].replace("py3", "py2.py3"), DEMO[1])
    assert again[0] == retagged[0]
    assert door.send(retagged).status == "stored"
    assert set(door.listed()) == {DEMO[0], retagged[0]}


def test_a_deleted_name_stays_burnt(door: Door) -> None:
    with door.catalogue.write() as conn:
        tombstones.put(conn, door.number, tombstones.Tombstone(DEMO[0], "0" * 64, 1, "ann"))
    with pytest.raises(FileDeleted, match="This filename was previously used by a file that has since"):
        door.send(DEMO)
    assert not (door.folder / DEMO[0]).exists()
    door.at_rest()


@pytest.mark.parametrize("status", [Status.ARCHIVED, Status.QUARANTINED])
def test_a_closed_project_takes_nothing(door: Door, status: Status) -> None:
    with door.catalogue.write() as conn:
        statuses.put(conn, door.number, statuses.ProjectStatus("demo", status, None, "ann", 1))
    sentence = f"Project 'demo' is {status.value} and does not accept new files."
    with pytest.raises(Forbidden, match=sentence):
        door.send(DEMO)
    with pytest.raises(Forbidden, match=sentence):
        door.intake.check_project("main", "demo")
    door.intake.check_project("main", "other")


def test_a_file_that_was_removed_from_the_folder_may_come_back_otherwise(door: Door) -> None:
    door.send(DEMO)
    (door.folder / DEMO[0]).unlink()
    door.scan()
    assert door.listed() == {}
    assert door.send(OTHER).status == "stored"
    assert door.listed() == {DEMO[0]: sha256(OTHER[1])}


def test_an_immutable_index_remembers_what_was_removed_from_the_folder(door: Door) -> None:
    door.mutable("immutable")
    door.send(DEMO)
    (door.folder / DEMO[0]).unlink()
    door.scan()
    with pytest.raises(FileExists, match="with blake2_256 hash"):
        door.send(OTHER)
    assert door.send(DEMO).status == "stored"


def test_a_volatile_index_lets_itself_be_overwritten(door: Door) -> None:
    door.mutable("volatile")
    door.send(DEMO)
    with pytest.raises(FileExists):
        door.send(OTHER)
    assert door.send(OTHER, overwrite=True).status == "replaced"
    assert (door.folder / DEMO[0]).read_bytes() == OTHER[1]
    assert door.listed() == {DEMO[0]: sha256(OTHER[1])}
    with door.catalogue.read() as conn:
        (former,) = admissions.list_superseded(conn, door.number, DEMO[0])
    assert (former.sha256, former.how) == (sha256(DEMO[1]), "upload")
    assert door.storage.sound(sha256(DEMO[1])) is not None, "the last good version stays"
    door.scan()
    assert door.listed() == {DEMO[0]: sha256(OTHER[1])}
    door.at_rest()


def test_a_file_of_that_name_that_is_not_listed_is_named_with_its_reason(door: Door) -> None:
    (door.folder / DEMO[0]).write_bytes(b"no zip at all")
    door.scan()
    with pytest.raises(FileExists, match="lies in the folder and is not listed, because"):
        door.send(DEMO)
    assert (door.folder / DEMO[0]).read_bytes() == b"no zip at all"


def test_a_file_that_came_into_the_folder_just_now_is_left_alone(door: Door) -> None:
    (door.folder / DEMO[0]).write_bytes(OTHER[1])
    with pytest.raises(Busy):
        door.send(DEMO)
    assert (door.folder / DEMO[0]).read_bytes() == OTHER[1]
    door.at_rest()
    (door.folder / SDIST[0]).mkdir()
    with pytest.raises(FileExists, match="something that is no file"):
        door.send(SDIST)
    door.at_rest()
    door.intake.announce("main", [_entry(door.storage, 0, DEMO[0])])
    with pytest.raises(Busy, match="lies in the folder and is being read"):
        door.send(DEMO)
    door.at_rest()


def form(**changes: Any) -> Form:
    given = {"action": "file_upload", "name": "demo", "version": "1.0", "filetype": None, "pyversion": None}
    return Form(**{**given, **changes})


def test_the_form_must_agree_with_the_file(door: Door) -> None:
    for wrong in (form(name="other"), form(version="1.1"), form(filetype="sdist")):
        with pytest.raises(BadRequest):
            door.send(DEMO, form=wrong)
    with pytest.raises(BadRequest, match="The digest supplied does not match"):
        door.send(DEMO, form=form(digests={"md5": "0" * 32}))
    renamed = (DEMO[0].replace("demo", "other"), DEMO[1])
    with pytest.raises(InvalidFile, match="name says other"):
        door.send(renamed, form=form(name="other"))
    newer = (SDIST[0].replace("1.0", "1.1"), SDIST[1])
    with pytest.raises(InvalidFile):
        door.send(newer)
    foreign = (SDIST[0].replace("demo", "other"), SDIST[1])
    with pytest.raises(InvalidFile):
        door.send(foreign)
    digests = {"md5": hashlib.md5(DEMO[1]).hexdigest(), "sha256": sha256(DEMO[1])}
    assert door.send(DEMO, form=form(version="1.0.0", digests=digests)).status == "stored"


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        ((DEMO[0], DEMO[1][:-40]), "Invalid distribution file"),
        ((DEMO[0], b""), "Invalid distribution file"),
        ((SDIST[0], SDIST[1][:-10]), "Invalid distribution file"),
        ((SDIST[0], b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), "LFS"),
        (("demo-1.0.tar.Z", b"x"), "is invalid"),
        (("../demo-1.0.tar.gz", b"x"), "'/' or"),
        ((".demo-1.0.tar.gz", b"x"), "dot"),
        (("demo-1.0.tar.gz\n", b"x"), "non-printable"),
    ],
    ids=range(8),
)
def test_what_is_no_package_leaves_nothing(door: Door, sample: samples.Sample, sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence):
        door.send(sample)
    assert list(door.folder.iterdir()) == []
    door.at_rest()


def test_the_policy_decides_on_framing(door: Door) -> None:
    trailing = (DEMO[0], b"MZ" + DEMO[1])
    with pytest.raises(InvalidFile):
        door.send(trailing)
    bare = samples.zipped(
        [("demo/__init__.py", b""), ("demo-1.0.dist-info/METADATA", samples.core_metadata("demo", "1.0"))]
    )
    with pytest.raises(InvalidFile, match=r"RECORD|WHEEL"):
        door.send((DEMO[0], bare))
    door.set(framing="warn")
    receipt = door.send((DEMO[0], bare))
    assert receipt.status == "stored"
    assert any("RECORD" in warning for warning in receipt.warnings)


def test_the_policy_decides_on_metadata_and_sdists_and_size(door: Door) -> None:
    bad = samples.wheel(
        "demo", "1.0", metadata=samples.core_metadata("demo", "1.0", extra="Requires-Dist: 1 2\n")
    )
    with pytest.raises(BadRequest, match="Invalid metadata in the archive"):
        door.send(bad)
    door.set(metadata="warn", one_sdist=True, file_limit=100_000)
    assert door.send(bad).warnings
    door.send(SDIST)
    with pytest.raises(BadRequest, match="Only one sdist may be uploaded per release"):
        door.send(samples.sdist("demo", "1.0", "zip"))
    with pytest.raises(TooLarge, match=r"File too large. Limit for project 'demo' is"):
        door.send(("demo-2.0.tar.gz", b"x" * 100_001))
    with door.intake.stage("main", limit=10) as stage, pytest.raises(TooLarge):
        stage.write(b"x" * 11)


def test_a_signature_lies_beside_its_file_and_is_never_listed(door: Door) -> None:
    door.send(DEMO, signature=b"-----BEGIN PGP SIGNATURE-----\n")
    assert (door.folder / f"{DEMO[0]}.asc").read_bytes().startswith(b"-----BEGIN")
    door.scan()
    assert set(door.listed()) == {DEMO[0]}


# --- folders -----------------------------------------------------------------------------------------------


def test_files_go_into_the_first_folder_that_takes_them(
    tmp_path: Path, catalogue: Catalogue, sandbox: Sandbox
) -> None:
    door = Door(tmp_path, catalogue, sandbox, "tree", "missing", "packages")
    (door.roots[0] / ".git").mkdir()
    door.roots[1].rmdir()
    door.send(DEMO)
    assert (door.roots[2] / DEMO[0]).exists()
    with catalogue.read() as conn:
        assert places.find(conn, door.number, 2, DEMO[0]) is not None


def test_no_folder_takes_files_and_each_says_why(
    tmp_path: Path, catalogue: Catalogue, sandbox: Sandbox
) -> None:
    door = Door(tmp_path, catalogue, sandbox, "tree", "missing")
    (door.roots[0] / ".git").write_text("gitdir: elsewhere\n")
    door.roots[1].rmdir()
    with pytest.raises(Forbidden) as refused:
        door.send(DEMO)
    assert "git work tree" in str(refused.value)
    assert "No such file or directory" in str(refused.value)


# --- races -------------------------------------------------------------------------------------------------


def test_of_many_at_once_exactly_one_wins(door: Door) -> None:
    """T30, with a door of its own for each client, as workers have."""
    clients, rounds = 16, 3
    for turn in range(rounds):
        name = f"race-{turn}"
        sent = [
            samples.wheel(name, "1.0", files={"a.py": str(number // 2).encode()}) for number in range(clients)
        ]
        together = threading.Barrier(clients)

        def client(sample: samples.Sample, together: threading.Barrier = together) -> str:
            together.wait()
            try:
                return door.send(sample, intake=door.another()).status
            except FileExists as refused:
                return str(refused).partition(" (")[0]

        with ThreadPoolExecutor(clients) as pool:
            outcomes = list(pool.map(client, sent))
        assert outcomes.count("stored") == 1, outcomes
        winner = sent[outcomes.index("stored")]
        for sample, outcome in zip(sent, outcomes, strict=True):
            expected = ("stored", "identical") if sample[1] == winner[1] else ("File already exists",)
            assert outcome in expected, outcomes
        assert door.listed()[winner[0]] == sha256(winner[1])
        assert (door.folder / winner[0]).read_bytes() == winner[1]
    door.at_rest()


def test_the_reconciler_leaves_alone_what_is_being_received(door: Door) -> None:
    seen: list[object] = []

    class Between(Folder):
        def put(self, staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
            found = super().put(staged, root, path, sync=sync)
            looks = [door.sandbox.inspect(self.path(root, path), _entry(self, root, path), "whole")]
            seen.append(door.intake.adopt("main", looks))
            seen.append(door.listed())
            seen.append(door.intake.received("main", None).coming)
            return found

    door.send(DEMO, intake=door.another(Between(door.roots, door.place / "kept")))
    adoption, listed, coming = seen
    assert isinstance(adoption, Adoption)
    assert adoption.changed == ((0, DEMO[0]),)
    assert listed == {}
    assert coming == {(0, DEMO[0])}
    assert door.listed() == {DEMO[0]: sha256(DEMO[1])}
    with door.catalogue.read() as conn:
        admission = admissions.find(conn, door.number, DEMO[0])
    assert admission is not None
    assert admission.how == "upload"


def _entry(storage: Folder, root: int, path: str) -> Any:
    found = storage.stat(root, path)
    return Entry(root, path, found or Stat(0, 0, 0, 0, 0))


def test_what_was_received_is_told_by_marks(door: Door) -> None:
    mark = door.intake.received("main", None).mark
    assert door.intake.received("main", mark) == (door.intake.received("main", None))
    door.send(DEMO)
    told = door.intake.received("main", mark)
    assert [place.path for place in told.places] == [DEMO[0]]
    assert door.intake.received("main", told.mark).places == ()


class Counting(Sandbox):
    """Counts the files of the folder that are looked into."""

    looks = 0

    def inspect(self, path: str, entry: Entry, check: str) -> Look:
        self.looks += 1
        return super().inspect(path, entry, check)


def test_a_running_loop_hears_of_what_is_received_and_of_its_removal(door: Door) -> None:
    counting = Counting(children=1)
    loop = Reconciler(door.catalogue, None, door.storage, counting, door.intake, lambda: NOW, index="main")
    loop.scan()
    door.send(DEMO)
    loop.nudge([(0, DEMO[0])])
    loop.catch_up()
    door.send(SDIST)
    (door.folder / SDIST[0]).unlink()  # before anything was heard of it
    loop.nudge([(0, SDIST[0])])
    loop.catch_up()
    assert counting.looks == 0, "what a receiver has read is not read again"
    assert set(door.listed()) == {DEMO[0]}
    door.send(samples.wheel("demo", "2.0"))
    (door.folder / samples.wheel("demo", "2.0")[0]).unlink()
    loop.scan()
    assert set(door.listed()) == {DEMO[0]}
    counting.close()


def test_a_loop_waits_for_who_receives_and_then_does_what_is_left(door: Door) -> None:
    counting = Counting(children=1)
    loop = Reconciler(door.catalogue, None, door.storage, counting, door.intake, lambda: NOW, index="main")
    loop.scan()
    samples.write(door.folder, DEMO)
    intent = intents.Intent(DEMO[0], 0, DEMO[0], sha256(DEMO[1]), len(DEMO[1]), "ann", 77)
    with door.catalogue.write() as conn:
        intents.put(conn, door.number, intent)
    loop.nudge([(0, DEMO[0])])
    timer = threading.Timer(0.5, lambda: door.intake.recover("main"))
    timer.start()
    loop.catch_up()
    timer.join()
    assert counting.looks == 1
    assert door.listed() == {DEMO[0]: sha256(DEMO[1])}
    counting.close()


# --- faults ------------------------------------------------------------------------------------------------


class Fault(Exception):
    """What a faulty storage raises."""


class Faulty(Folder):
    """Fails when a method of it is called for the n-th time; before or after doing it."""

    def __init__(self, door: Door, method: str, *, after: bool) -> None:
        super().__init__(door.roots, door.place / "kept")
        original = getattr(self, method)

        def fail(*args: Any, **kwargs: Any) -> Any:
            if after:
                original(*args, **kwargs)
            raise Fault(method)

        setattr(self, method, fail)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["stage", "put", "sync", "keep"])
def test_a_fault_at_any_step_leaves_nothing(door: Door, method: str, after: bool) -> None:
    broken = door.another(Faulty(door, method, after=after))
    with pytest.raises(Fault):
        door.send(DEMO, intake=broken)
    assert list(door.folder.iterdir()) == []
    assert door.live() == []
    assert door.send(DEMO).status == "stored"
    door.at_rest()


def test_no_space_is_said_and_leaves_nothing(door: Door) -> None:
    full = Folder(door.roots, door.place / "kept", reserve=1 << 60)
    with pytest.raises(StorageFull, match="no space left for uploads"):
        door.send(DEMO, intake=door.another(full))
    assert list(door.folder.iterdir()) == []


def test_an_intent_without_its_file_is_undone(door: Door) -> None:
    with door.catalogue.write() as conn:
        intents.put(conn, door.number, intents.Intent(DEMO[0], 0, DEMO[0], "0" * 64, 3, "ann", 1))
    assert door.intake.recover("main", older=NOW) == (0, 0)
    assert door.intake.recover("main") == (0, 1)
    assert door.send(DEMO).status == "stored"


def test_an_intent_with_its_file_is_finished(door: Door) -> None:
    samples.write(door.folder, DEMO)
    with door.catalogue.write() as conn:
        intent = intents.Intent(DEMO[0], 0, DEMO[0], sha256(DEMO[1]), len(DEMO[1]), "ann", 77)
        intents.put(conn, door.number, intent)
    assert door.intake.recover("main") == (1, 0)
    door.scan()
    file = door.file(DEMO[0])
    assert file is not None
    assert file.upload_time == 77
    with door.catalogue.read() as conn:
        admission = admissions.find(conn, door.number, DEMO[0])
        assert admission is not None
        assert (admission.by, admission.how) == ("ann", "upload")
        assert grants.list_of_user(conn, "ann") == [Grant("user:ann", Role.OWNER, "main", "demo")]
    assert door.send(DEMO).status == "identical"


def test_an_upload_waits_for_another_of_the_name_and_gives_up(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pidex.intake.delivery.WAIT_SECONDS", 0.05)
    with door.catalogue.write() as conn:
        intents.put(conn, door.number, intents.Intent(DEMO[0], 0, DEMO[0], "0" * 64, 3, "bob", 1))
    with pytest.raises(Busy, match="Another upload of"):
        door.send(DEMO)
    assert [intent.by for intent in door.live()] == ["bob"]


def test_refusals_have_codes_of_their_own() -> None:
    kinds: list[type[PidexError]] = [FileExists, FileDeleted, InvalidFile, TooLarge]
    assert [(kind.code, kind.status) for kind in kinds] == [
        ("file-exists", 400), ("file-deleted", 400), ("invalid-file", 400), ("too-large", 413),
    ]  # fmt: skip
    assert UploadPolicy().framing == "error"
