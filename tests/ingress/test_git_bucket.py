"""Pushes to an index in a bucket by the real git, through two nodes that have copies of its repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pidex.app import Pidex, build
from pidex.backends.git import Git
from pidex.backends.objects.beside import Beside
from pidex.backends.objects.packs import Packs
from pidex.backends.repositories import Repositories
from pidex.catalogue import admissions, branches, garbage, indexes
from pidex.catalogue.engine import Connection
from pidex.config import load
from pidex.core import pushes as values
from pidex.core.errors import CatalogueError, Conflict, PidexError
from pidex.core.model import OPERATOR, File
from pidex.core.permissions import Action
from pidex.ingress.control import Control
from pidex.ingress.git import Pushes
from pidex.intake.branches import Branches
from pidex.intake.pushes import Arrivals
from tests.direct import DirectInspector
from tests.ingress.test_git import HOOK, Rights
from tests.samples import sdist, wheel, write
from tests.walks.server import until

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
WHO = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")


def git(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        ["git", *WHO, *arguments], cwd=cwd, env=QUIET, check=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.stdout


class Node:
    """What one node has for itself: copies of repositories, and a socket that their hooks speak to."""

    def __init__(self, pidex: Pidex, folder: Path) -> None:
        folder.mkdir()
        hook = folder / "hook.py"
        hook.write_text(HOOK)
        assert isinstance(pidex.storage, Beside)
        self.rights, self.leads = Rights(), True
        self.copies = Repositories(folder / "copies", Git(os.environ["PATH"]))

        def command(index: str) -> list[str]:
            return [sys.executable, "-S", str(hook), str(folder), index]

        self.branches = Branches(
            pidex.catalogue, pidex.storage, self.copies, Packs(pidex.storage.objects.store),
            command=command, clock=pidex.clock,
        )  # fmt: skip
        self.arrivals = Arrivals(pidex.catalogue, pidex.storage, pidex.clock, DirectInspector())
        self.pushes = Pushes(
            Repositories(folder / "git", Git(os.environ["PATH"])), self.arrivals, pidex.storage,
            pidex.resolver, self.rights, branches=self.branches, command=command, clock=pidex.clock,
            leads=lambda: self.leads,
        )  # fmt: skip
        self.socket = Control(folder, {"git.receive": self.pushes.receive})

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Take pushes while the block runs."""
        stop = threading.Event()
        thread = threading.Thread(target=self.socket.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def clone(self, folder: Path) -> Path:
        """A clone through this node, as a client over HTTP gets it."""
        self.branches.refresh("main")
        git("clone", "-q", str(self.copies.path("main")), str(folder), cwd=folder.parent)
        git("checkout", "-q", "-B", "main", cwd=folder)
        return folder

    def push(self, clone: Path, *words: str) -> str:
        """Commit everything and push it to this node."""
        self.branches.refresh("main")
        git("add", "-A", cwd=clone)
        git("commit", "-q", "--allow-empty", "-m", "a change", cwd=clone)
        return git("push", *words, str(self.copies.path("main")), "main", cwd=clone)

    def refused(self, clone: Path, *words: str) -> str:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.push(clone, *words)
        return str(caught.value.stdout)

    def rest(self) -> None:
        """Wait until the push that was taken last has ended here."""
        with self.copies.lock("main", seconds=30):
            pass


class Pair:
    """Two nodes over one catalogue and one bucket."""

    def __init__(self, top: Path) -> None:
        self.top, self.storage = top, f"file://{top}/bucket"
        self.pidex = build(load({"storage": self.storage, "data": str(top / "data")}, {}), create=True)
        self.pidex.reconciler().scan()
        self.one, self.other = Node(self.pidex, top / "one"), Node(self.pidex, top / "other")

    def files(self) -> dict[str, File]:
        return {file.filename: file for file in self.pidex.resolver.files("main", by=OPERATOR)}

    def rescan(self) -> None:
        """What the loop makes of the bucket: nothing else than is there."""
        before = self.files()
        self.pidex.reconciler().scan()
        assert self.files() == before

    def agree(self) -> None:
        """The index has the files of the branch, with their bytes, and so has each node's copy."""
        tips = set()
        for node in (self.one, self.other):
            node.rest()
            repository = node.branches.refresh("main")
            tips.add(repository.tip())
            tree = values.packages(repository.tree(repository.tip()))
            listed = self.files()
            assert {path.rpartition("/")[2] for path in tree} == set(listed)
            for path, blob in tree.items():
                handle = self.pidex.storage.open(listed[path.rpartition("/")[2]])
                assert handle.read(0, handle.size) == repository.blob(blob.oid, 100_000_000)
                handle.close()
        assert tips == {self.one.branches.tip("main")}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    with ExitStack() as running:
        running.callback(made.pidex.close)
        for node in (made.one, made.other):
            running.enter_context(node.answering())
        made.one.pushes.enable("main", empty=True, by=OPERATOR)
        yield made
        made.one.rest()
        made.other.rest()


def test_a_push_to_one_node_is_the_truth_for_the_other(pair: Pair) -> None:
    clone = pair.one.clone(pair.top / "clone")
    for version in ("1.0", "2.0", "3.0"):
        write(clone, wheel("demo", version))
    write(clone / "sub", sdist("other", "1.0"))
    (clone / "README").write_text("no package\n")
    assert "remote: main: 4 added" in pair.one.push(clone)
    pair.agree()
    elsewhere = pair.other.clone(pair.top / "elsewhere")
    write(elsewhere, big := wheel("demo", "2.0", files={"big.bin": os.urandom(200_000)}))
    (elsewhere / "demo-1.0-py3-none-any.whl").rename(elsewhere / "sub" / "demo-1.0-py3-none-any.whl")
    (elsewhere / "demo-3.0-py3-none-any.whl").unlink()
    assert "remote: main: 1 replaced, 1 moved, 1 removed" in pair.other.push(elsewhere)
    pair.agree()
    assert "demo-3.0-py3-none-any.whl" not in pair.files()
    assert (pair.one.clone(pair.top / "third") / big[0]).read_bytes() == big[1]
    pair.rescan()
    # A name that git took away may come back.
    write(elsewhere, wheel("demo", "3.0"))
    pair.other.push(elsewhere)
    pair.agree()


def test_a_clone_that_missed_a_push_to_another_node_fetches_first(pair: Pair) -> None:
    clones = [node.clone(pair.top / f"clone{n}") for n, node in enumerate((pair.one, pair.other))]
    write(clones[0], wheel("first", "1.0"))
    pair.one.push(clones[0])
    write(clones[1], wheel("second", "1.0"))
    pair.other.refused(clones[1])
    pair.agree()
    assert set(pair.files()) == {"first-1.0-py3-none-any.whl"}


def test_of_pushes_through_two_nodes_at_once_one_wins(pair: Pair) -> None:
    nodes, told = (pair.one, pair.other), list[bool]()
    clones = [node.clone(pair.top / f"clone{number}") for number, node in enumerate(nodes)]
    for number, clone in enumerate(clones):
        write(clone, wheel(f"demo{number}", "1.0"))
        write(clone, wheel("same", "1.0", files={"x.py": str(number).encode()}))
        git("add", "-A", cwd=clone)
        git("commit", "-q", "-m", "mine", cwd=clone)

    def push(node: Node, clone: Path) -> None:
        words = ["git", *WHO, "push", str(node.copies.path("main")), "main"]
        done = subprocess.run(words, cwd=clone, env=QUIET, capture_output=True, check=False)
        told.append(done.returncode == 0)

    threads = [threading.Thread(target=push, args=both) for both in zip(nodes, clones, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False, True]
    pair.agree()
    assert len(pair.files()) == 2


def test_a_push_is_refused_whole(pair: Pair) -> None:
    clone = pair.one.clone(pair.top / "clone")
    write(clone, wheel("demo", "1.0"))
    pair.one.push(clone)
    pair.agree()
    before = pair.files(), pair.one.branches.tip("main")
    pair.one.rights.denied = {(Action.UPLOAD, "kept")}
    write(clone, wheel("good", "1.0"))
    write(clone, wheel("kept", "1.0"))
    assert "may not upload to project kept" in pair.one.refused(clone)
    pair.one.rights.denied = set()
    (clone / "kept-1.0-py3-none-any.whl").write_bytes(b"PK cut")
    assert "kept-1.0-py3-none-any.whl: " in pair.one.refused(clone)
    assert (pair.files(), pair.one.branches.tip("main")) == before


def stop_at(pair: Pair, monkeypatch: pytest.MonkeyPatch, method: str, *, after: bool) -> None:
    """Have the node that takes the next push fail, as if it had been killed, before or after a step."""
    whole = getattr(pair.one.arrivals, method)

    def cut(*arguments: object, **more: object) -> None:
        if after:
            whole(*arguments, **more)
        raise Conflict("killed")

    monkeypatch.setattr(pair.one.arrivals, method, cut)


@pytest.mark.parametrize("method", ["send", "place_with"])
def test_a_push_that_is_cut_before_its_transaction_never_was(
    pair: Pair, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = pair.one.clone(pair.top / "clone")
    write(clone, sample := wheel("demo", "1.0"))
    with monkeypatch.context() as patched:
        stop_at(pair, patched, method, after=False)
        assert "killed" in pair.one.refused(clone)
    pair.agree()
    assert pair.files() == {}
    assert pair.other.branches.tip("main") is None
    pair.one.push(clone)
    pair.agree()
    assert set(pair.files()) == {sample[0]}


def test_a_push_that_is_cut_after_its_transaction_is_there(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = pair.one.clone(pair.top / "clone")
    write(clone, sample := wheel("demo", "1.0"))
    with monkeypatch.context() as patched:
        stop_at(pair, patched, "place_with", after=True)
        assert "killed" in pair.one.refused(clone)
    pair.agree()
    assert set(pair.files()) == {sample[0]}
    # Who was told no pushes again, and it is there already.
    assert "Everything up-to-date" in git("push", str(pair.one.copies.path("main")), "main", cwd=clone)


@pytest.mark.parametrize("done", [True, False])
def test_a_push_whose_commit_nobody_answered_is_what_became_of_it(
    pair: Pair, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = pair.one.clone(pair.top / "clone")
    write(clone, sample := wheel("demo", "1.0"))
    arrivals, catalogue = pair.one.arrivals, pair.pidex.catalogue
    whole = arrivals.place_with

    class Losing:
        """Loses the answer to a commit that was made, or not."""

        read = staticmethod(catalogue.read)

        @contextmanager
        def write(self) -> Iterator[Connection]:
            with catalogue.write() as conn:
                yield conn
                if not done:
                    raise CatalogueError("the answer was lost", retry_after=1)
            raise CatalogueError("the answer was lost", retry_after=1)

    def place_with(*arguments: Any, **more: Any) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(arrivals, "_catalogue", Losing())
            whole(*arguments, **more)

    monkeypatch.setattr(arrivals, "place_with", place_with)
    if done:
        pair.one.push(clone)
    else:
        assert "the answer was lost" in pair.one.refused(clone)
    pair.agree()
    assert set(pair.files()) == ({sample[0]} if done else set())


def test_bytes_that_are_being_cleared_away_are_not_counted_on(pair: Pair) -> None:
    clone = pair.one.clone(pair.top / "clone")
    write(clone, sample := wheel("demo", "1.0"))
    digest = hashlib.sha256(sample[1]).hexdigest()
    with pair.pidex.catalogue.write() as conn:
        garbage.mark(conn, [digest], at=1)
        assert garbage.claim(conn, marked=2, begun=0, since=0, at=3, limit=10) == [digest]
    assert "about to be without some of these bytes" in pair.one.refused(clone)
    assert pair.files() == {}
    with pair.pidex.catalogue.write() as conn:
        garbage.unmark(conn, [digest])
    pair.one.push(clone)
    pair.agree()
    assert set(pair.files()) == {sample[0]}


def test_a_copy_that_is_lost_damaged_or_of_another_time_is_made_anew(pair: Pair) -> None:
    clone = pair.one.clone(pair.top / "clone")
    for version in ("1.0", "2.0"):
        write(clone, wheel("demo", version))
        pair.one.push(clone)
        pair.agree()
    repository = pair.other.branches.refresh("main")
    for pack in repository.folder.glob("objects/pack/*"):
        pack.unlink()
    repository.mark = ""
    pair.agree()
    shutil.rmtree(pair.other.copies.path("main"))
    pair.agree()
    pair.other.branches.refresh("main").mark = "7:9:"
    pair.agree()


def test_a_pack_with_other_bytes_is_not_taken(pair: Pair) -> None:
    clone = pair.one.clone(pair.top / "clone")
    write(clone, wheel("demo", "1.0"))
    pair.one.push(clone)
    pair.one.rest()
    [pack] = (pair.top / "bucket" / "packs").glob("*/*")
    whole = pack.read_bytes()
    pack.write_bytes(whole[:-30] + bytes(30))
    with pytest.raises(PidexError, match="other bytes"):
        pair.other.branches.refresh("main")
    pack.unlink()
    with pytest.raises(Conflict, match="lacks the pack"):
        pair.other.branches.refresh("main")
    pack.write_bytes(whole)
    pair.agree()


def test_a_deletion_by_api_is_a_commit_that_every_node_has(pair: Pair) -> None:
    clone = pair.one.clone(pair.top / "clone")
    gone, stays = wheel("demo", "1.0"), wheel("demo", "2.0")
    for sample in (gone, stays):
        write(clone, sample)
    pair.one.push(clone)
    pair.one.rest()
    intake, accounts = pair.pidex.intake(), pair.pidex.accounts()
    pair.pidex.curator(intake, accounts).delete("main", "demo", filename=gone[0], by=OPERATOR)
    pair.other.pushes.follow("main")
    pair.agree()
    assert set(pair.files()) == {stays[0]}
    assert "stays burnt" in pair.one.refused(clone, "--force")
    git("pull", "-q", "--rebase", str(pair.other.copies.path("main")), "main", cwd=clone)
    assert not (clone / gone[0]).exists()


def test_who_leads_later_follows_what_was_deleted_before(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pidex.ingress.git.FOLLOW_SECONDS", 0.01)
    clone, node, looks = pair.one.clone(pair.top / "clone"), pair.other, list[int]()
    write(clone, sample := wheel("demo", "1.0"))
    pair.one.push(clone)
    pair.one.rest()
    curator = pair.pidex.curator(pair.pidex.intake(), pair.pidex.accounts())
    curator.delete("main", "demo", filename=sample[0], by=OPERATOR)
    serial, before, node.leads = node.arrivals.serial, node.branches.tip("main"), False

    def counted() -> int:
        looks.append(serial())
        return looks[-1]

    monkeypatch.setattr(node.arrivals, "serial", counted)
    stop = threading.Event()
    thread = threading.Thread(target=node.pushes.run, args=(stop,))
    thread.start()
    try:
        until(lambda: len(looks) > 3)
        assert node.branches.tip("main") == before
        node.leads = True  # and nothing else changes
        until(lambda: node.branches.tip("main") != before)
    finally:
        stop.set()
        thread.join()
    pair.agree()


def test_enabling_imports_what_is_listed_and_disabling_keeps_it(pair: Pair) -> None:
    pair.one.pushes.disable("main", by=OPERATOR)
    assert not pair.other.branches.exists("main")
    assert pair.other.branches.list() == []
    sample = wheel("sent", "1.0")
    intake = pair.pidex.intake()
    with intake.stage("main") as stage:
        stage.write(sample[1])
        intake.receive("main", stage, sample[0], by=OPERATOR)
    assert pair.other.pushes.enable("main", by=OPERATOR)["imported"] == 1
    pair.agree()
    state = pair.one.pushes.status("main", by=OPERATOR)
    assert (state.packages, state.missing, state.differing, state.others) == (1, (), (), 0)
    # What the index lost is placed again out of the branch.
    with pair.pidex.catalogue.write() as conn:
        here = indexes.find(conn, "main")
        assert here is not None
        admissions.delete_many(conn, here.id, [sample[0].casefold()])
    pair.pidex.reconciler().scan()
    assert pair.files() == {}
    assert pair.other.pushes.repair("main", by=OPERATOR)["placed"] == 1
    pair.agree()
    with pair.pidex.catalogue.read() as conn:
        found = branches.find(conn, 1)
    assert found is not None
    assert found.packs == 1


def test_what_does_not_fit_into_one_transaction_is_refused(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = pair.one.clone(pair.top / "clone")
    for version in range(3):
        write(clone, wheel("demo", str(version)))
    monkeypatch.setattr("pidex.ingress.decided.Decided.most", 2)
    assert "one push may change 2" in pair.one.refused(clone)
    assert pair.files() == {}
