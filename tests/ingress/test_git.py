"""Pushes by the real git against the real catalogue: taken whole, refused whole, put back after a cut."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from pidex.app import Pidex, build
from pidex.backends.git import Git
from pidex.backends.repositories import Repositories
from pidex.backends.running import process_of
from pidex.catalogue import admissions, audit, indexes, intents, tombstones
from pidex.config import load
from pidex.core import pushes as values
from pidex.core.errors import Busy, Changing, Conflict, FileDeleted, Forbidden, NotFound
from pidex.core.hooks import PUSHER, principal_text
from pidex.core.interfaces import Staged
from pidex.core.model import OPERATOR, Entry, File, Principal, Stat
from pidex.core.permissions import Action
from pidex.core.pushes import Kind, Moved, Record
from pidex.ingress import git as ingress
from pidex.ingress import recorded
from pidex.ingress.control import Control
from pidex.ingress.git import Pushes
from pidex.intake.pushes import Arrivals
from tests.direct import DirectInspector
from tests.samples import sdist, wheel, write
from tests.walks.server import until

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

#: What the real hook does (`pidex git hook`), without what takes a second to start.
HOOK = """
import json, os, socket, sys
data, index = sys.argv[1:]
started = open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()[19]
args = {"index": index, "updates": sys.stdin.read(), "objects": os.environ.get("GIT_QUARANTINE_PATH"),
        "process": [os.getppid(), started], "pusher": os.environ.get("INDEX_PUSHER")}
connection = socket.socket(socket.AF_UNIX)
connection.connect(data + "/control.sock")
connection.sendall(json.dumps({"call": "git.receive", "args": args}).encode() + b"\\n")
told = json.loads(connection.makefile().readline())
if "error" in told:
    sys.exit(told["error"]["message"])
print(*told["result"]["lines"], sep="\\n", file=sys.stderr)
sys.exit(0 if told["result"]["accepted"] else 1)
"""


class Rights:
    """Everybody may do everything, but for what is taken away: (action, project)."""

    def __init__(self) -> None:
        self.denied: set[tuple[Action, str | None]] = set()

    def allows(self, by: Principal, action: Action, index: str | None, project: str | None = None) -> bool:
        return (action, project) not in self.denied


class Clone:
    """A clone of an index's repository, by its path."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench, self.folder = bench, bench.top / name
        bench.git("clone", "-q", str(bench.repository), str(self.folder), cwd=bench.top)
        self.git("checkout", "-q", "-B", "main")

    def git(self, *arguments: str, **environ: str) -> str:
        return self.bench.git(*arguments, cwd=self.folder, **environ)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")

    def push(self, *arguments: str, by: Principal | None = None) -> str:
        """Commit everything and push; what git said. `CalledProcessError` where it was refused."""
        self.commit()
        environ = {} if by is None else {PUSHER: principal_text(by)}
        return self.git("push", "origin", *(arguments or ("main",)), **environ)

    def refused(self, *arguments: str, by: Principal | None = None) -> list[str]:
        """The lines of a push that is refused, which changes nothing at all."""
        before = self.bench.everything()
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.push(*arguments, by=by)
        assert self.bench.everything() == before
        said = caught.value.stdout.splitlines()
        return [line.removeprefix("remote: ").strip() for line in said if line.startswith("remote: ")]


class Bench:
    """An index with a repository, a control socket, and no server around it."""

    def __init__(self, top: Path, mutability: str) -> None:
        self.top, self.packages = top, top / "packages"
        self.packages.mkdir()
        hook = top / "hook.py"
        hook.write_text(HOOK)
        self.pidex: Pidex = build(
            load({"folders": (str(self.packages),), "mutability": mutability}, {}), create=True
        )
        self.pidex.reconciler().scan()
        self.rights = Rights()
        self.repositories = Repositories(self.pidex.data / "git", Git(os.environ.get("PATH", os.defpath)))
        self.arrivals = Arrivals(
            self.pidex.catalogue, self.pidex.storage, self.pidex.clock, DirectInspector()
        )
        self.pushes = Pushes(
            self.repositories,
            self.arrivals,
            self.pidex.storage,
            self.pidex.resolver,
            self.rights,
            command=lambda index: [sys.executable, "-S", str(hook), str(self.pidex.data), index],
            url="http://127.0.0.1:1",
            clock=self.pidex.clock,
        )
        self.stop = threading.Event()
        control = Control(self.pidex.data, {"git.receive": self.pushes.receive})
        self.thread = threading.Thread(target=control.run, args=(self.stop,))

    @property
    def repository(self) -> Path:
        return self.repositories.path("main")

    def git(self, *arguments: str, cwd: Path, **environ: str) -> str:
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always")
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=cwd, env=quiet | environ, check=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.stdout

    def files(self) -> dict[str, File]:
        return {file.filename: file for file in self.pidex.resolver.files("main", by=OPERATOR)}

    def lying(self) -> dict[str, bytes]:
        found = self.packages.rglob("*")
        return {str(each.relative_to(self.packages)): each.read_bytes() for each in found if each.is_file()}

    def tip(self) -> str | None:
        return self.repositories.get("main").tip()

    def everything(self) -> tuple[object, ...]:
        return self.tip(), self.lying(), self.files()

    def rest(self) -> None:
        """Wait until the push that was taken last has ended."""
        with self.repositories.lock("main", seconds=30):
            assert self.repositories.get("main").kept() is None

    def agrees(self) -> None:
        """What the branch has is what is listed and what lies there."""
        self.rest()
        repository = self.repositories.get("main")
        tree = values.packages(repository.tree(repository.tip()))
        assert set(self.lying()) == set(tree)
        assert {file.path for file in self.files().values()} == set(tree)
        for path, node in tree.items():
            assert self.lying()[path] == repository.blob(node.oid, 100_000_000)


@pytest.fixture
def mutability() -> str:
    return "folder"


@pytest.fixture
def bench(tmp_path: Path, mutability: str) -> Iterator[Bench]:
    made = Bench(tmp_path, mutability)
    made.thread.start()
    try:
        made.pushes.enable("main", empty=True, by=OPERATOR)
        yield made
        made.rest()
    finally:
        made.stop.set()
        made.thread.join()
        made.pidex.close()


ANN = Principal("ann", frozenset({"authenticated"}), via="password", address="10.0.0.9")


def test_a_push_adds_replaces_moves_and_deletes(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    for version in ("1.0", "2.0", "3.0"):
        write(clone.folder, wheel("demo", version))
    write(clone.folder / "sub", sdist("other", "1.0"))
    (clone.folder / "README").write_text("no package\n")
    (clone.folder / ".gitattributes").write_text("* binary\n")
    assert "remote: main: 4 added" in clone.push(by=ANN)
    bench.agrees()
    assert len(bench.files()) == 4

    big = wheel("demo", "2.0", files={"big.bin": random.Random(1).randbytes(30_000_000)})
    write(clone.folder, big)
    write(clone.folder, wheel("added", "1.0"))
    (clone.folder / "demo-1.0-py3-none-any.whl").rename(clone.folder / "sub" / "demo-1.0-py3-none-any.whl")
    (clone.folder / "demo-3.0-py3-none-any.whl").unlink()
    assert "remote: main: 1 added, 1 replaced, 1 moved, 1 removed" in clone.push(by=ANN)
    bench.agrees()
    assert (bench.packages / big[0]).read_bytes() == big[1]
    assert "demo-3.0-py3-none-any.whl" not in bench.files()
    with bench.pidex.catalogue.read() as conn:
        rows = audit.list(conn, limit=100)
    told = {(row.action, row.subject, row.actor, row.address) for row in rows}
    assert ("file.add", big[0], "ann", "10.0.0.9") in told
    assert ("file.remove", "demo-3.0-py3-none-any.whl", "ann", "10.0.0.9") in told
    other = Clone(bench, "other")
    assert (other.folder / big[0]).read_bytes() == big[1]


def test_what_is_pushed_is_listed_as_by_who_pushed(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    name, data = wheel("demo", "1.0")
    write(clone.folder, (name, data))
    clone.push(by=ANN)
    with bench.pidex.catalogue.read() as conn:
        index = indexes.find(conn, "main")
        assert index is not None
        found = admissions.find(conn, index.id, name)
    assert found is not None
    assert (found.by, found.how) == ("ann", "git")


def test_a_push_of_other_files_changes_nothing_in_the_index(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    (clone.folder / "README").write_text("hello\n")
    (clone.folder / "hooks").mkdir()
    (clone.folder / "hooks" / "pre-receive").write_text("#!/bin/sh\nexit 0\n")
    (clone.folder / "config").write_text("[core]\n\thooksPath = hooks\n")
    write(clone.folder / ".github", wheel("hidden", "1.0"))
    before = (bench.repository / "config").read_text()
    clone.push()
    bench.rest()
    assert bench.files() == {}
    assert bench.lying() == {}
    assert (bench.repository / "config").read_text() == before
    assert not (bench.repository / "hooks").exists()
    write(clone.folder, ("broken-1.0-py3-none-any.whl", b"no zip"))
    assert clone.refused()[0].startswith("broken-1.0-py3-none-any.whl:"), "the hook still runs"


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


def test_everything_that_is_wrong_has_its_line_and_nothing_is_taken(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("good", "1.0"))
    name, data = wheel("cut", "1.0")
    write(clone.folder, (name, data[:-30]))
    write(clone.folder, ("pointer-1.0-py3-none-any.whl", LFS))
    write(clone.folder, wheel("inside", "1.0", filename="outside-1.0-py3-none-any.whl"))
    write(clone.folder, ("zeros-1.0.tar.gz", bytes(5000)))
    lines = clone.refused(by=ANN)
    told = {line.partition(": ")[0]: line.partition(": ")[2] for line in lines}
    assert set(told) == {
        "cut-1.0-py3-none-any.whl",
        "pointer-1.0-py3-none-any.whl",
        "outside-1.0-py3-none-any.whl",
        "zeros-1.0.tar.gz",
    }
    assert "git-LFS pointer" in told["pointer-1.0-py3-none-any.whl"]
    assert "git lfs untrack" in told["pointer-1.0-py3-none-any.whl"]
    assert "inside" in told["outside-1.0-py3-none-any.whl"]
    # Without them it is taken.
    for path in told:
        (clone.folder / path).unlink()
    clone.push()
    bench.agrees()
    assert list(bench.files()) == ["good-1.0-py3-none-any.whl"]


def test_trees_that_no_index_can_hold(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder / "a", wheel("demo", "1.0"))
    write(clone.folder / "b", wheel("Demo", "1.0"))
    write(clone.folder, ("misnamed.whl", b"x"))
    (clone.folder / "out").symlink_to("../../etc/passwd")
    (clone.folder / "in").symlink_to("a")
    (clone.folder / "link-1.0.tar.gz").symlink_to("a/demo-1.0-py3-none-any.whl")
    bench.git("init", "-q", str(clone.folder / "sub"), cwd=bench.top)
    bench.git("commit", "-q", "--allow-empty", "-m", "x", cwd=clone.folder / "sub")
    lines = "\n".join(clone.refused())
    for path, reason in (
        ("b/Demo-1.0-py3-none-any.whl", "a/demo-1.0-py3-none-any.whl has it too"),
        ("misnamed.whl", ""),
        ("out", "symbolic link that leads out"),
        ("link-1.0.tar.gz", "symbolic link: push the package"),
        ("sub", "submodule"),
    ):
        assert any(line.startswith(f"{path}: ") and reason in line for line in lines.splitlines()), lines
    assert len(lines.splitlines()) == 5


def test_only_main_is_followed(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    assert "refs/heads/dev: an index follows the branch main only" in clone.refused("main:dev")[0]
    clone.git("tag", "v1")
    assert clone.refused("main", "v1")[0].startswith("refs/tags/v1: ")
    clone.push()
    bench.agrees()
    before = bench.everything()
    with pytest.raises(subprocess.CalledProcessError):
        clone.git("push", "origin", ":main")
    assert bench.everything() == before


def test_history_is_rewritten_by_administrators_only(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    clone.push()
    write(clone.folder, wheel("demo", "2.0"))
    clone.push()
    clone.git("reset", "-q", "--hard", "HEAD~1")
    write(clone.folder, wheel("demo", "3.0"))
    bench.rights.denied.add((Action.ADMIN, None))
    assert "rewrites history" in clone.refused("+main", by=ANN)[0]
    bench.rights.denied.clear()
    clone.push("+main", by=ANN)
    bench.agrees()
    assert sorted(file.version for file in bench.files().values()) == ["1.0", "3.0"]


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (Action.UPLOAD, {"new-1.0-py3-none-any.whl": "may not upload to project new"}),
        (Action.OVERWRITE, {"new-2.0-py3-none-any.whl": "may not change files of project new"}),
        (Action.DELETE, {"new-3.0-py3-none-any.whl": "may not delete files of project new"}),
    ],
)
def test_each_change_takes_its_right_on_the_project(
    bench: Bench, action: Action, says: Mapping[str, str]
) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("new", "2.0"))
    write(clone.folder, wheel("new", "3.0"))
    write(clone.folder, wheel("other", "1.0"))
    clone.push()
    write(clone.folder, wheel("new", "1.0"))
    write(clone.folder, wheel("new", "2.0", files={"x.py": b"1"}))
    (clone.folder / "new-3.0-py3-none-any.whl").unlink()
    (clone.folder / "other-1.0-py3-none-any.whl").unlink()
    bench.rest()
    bench.rights.denied.add((action, "new"))
    told = clone.refused(by=ANN)
    if action is Action.UPLOAD:  # who may not upload may not replace either
        assert told.pop(1).startswith("new-2.0-py3-none-any.whl: ann may not upload")
    assert [line.partition(": ")[0] for line in told if ": " in line] == list(says)
    for line, (path, reason) in zip(told, says.items(), strict=False):
        assert line.startswith(f"{path}: ann {reason}")
    # A rename alone needs no right to delete.
    if action is Action.DELETE:
        clone.git("reset", "-q", "--hard", "origin/main")
        (clone.folder / "sub").mkdir()
        clone.git("mv", "new-3.0-py3-none-any.whl", "sub")
        clone.push(by=ANN)
        bench.agrees()


@pytest.mark.parametrize("mutability", ["immutable"])
def test_bytes_do_not_change_in_an_immutable_index(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    name = write(clone.folder, wheel("demo", "1.0")).name
    clone.push()
    bench.rest()
    write(clone.folder, wheel("demo", "1.0", files={"x.py": b"1"}))
    assert clone.refused()[0].startswith(f"{name}: The bytes of a name do not change here")
    # Not by way of deleting and adding either.
    clone.git("reset", "-q", "--hard", "origin/main")
    clone.git("rm", "-q", name)
    clone.push()
    bench.agrees()
    write(clone.folder, wheel("demo", "1.0", files={"x.py": b"1"}))
    assert "already exists" in clone.refused()[0]
    write(clone.folder, wheel("demo", "1.0"))
    clone.push()
    bench.agrees()


def bury(bench: Bench, file: File, reason: str = "secret inside") -> None:
    """What deleting by API or command does (the curator's transaction)."""
    with bench.pidex.catalogue.write() as conn:
        index = indexes.find(conn, "main")
        assert index is not None
        tombstones.put(conn, index.id, tombstones.Tombstone(file.filename, file.sha256, 1, "bob", reason))
    (bench.packages / file.path).unlink()
    bench.arrivals.place("main", 0, [], [file.path], by=OPERATOR)


def test_a_deletion_by_api_is_a_commit_and_its_name_stays_burnt(bench: Bench) -> None:
    clone, late = Clone(bench, "clone"), Clone(bench, "late")
    write(clone.folder, wheel("demo", "1.0"))
    write(clone.folder, wheel("demo", "2.0"))
    clone.push()
    bench.rest()
    late.git("pull", "-q", "origin", "main")
    bury(bench, bench.files()["demo-1.0-py3-none-any.whl"])
    bench.pushes.follow("main")
    bench.agrees()
    clone.git("pull", "-q", "origin", "main")
    assert [path.name for path in clone.folder.glob("*.whl")] == ["demo-2.0-py3-none-any.whl"]
    assert "bob" in clone.git("log", "-1", "--format=%an %B")
    assert "secret inside" in clone.git("log", "-1", "--format=%an %B")
    tip = bench.tip()
    bench.pushes.follow("main")
    assert bench.tip() == tip
    # Who has not fetched is told to; who brings the name back is refused.
    write(late.folder, wheel("demo", "3.0"))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        late.push()
    assert "fetch first" in caught.value.stdout
    write(clone.folder, wheel("demo", "1.0"))
    refused = "demo-1.0-py3-none-any.whl: it was deleted by bob, and its name stays burnt"
    assert clone.refused()[0] == refused


def test_a_name_that_did_not_come_by_git_is_not_overwritten(bench: Bench) -> None:
    name, data = wheel("demo", "1.0")
    with bench.arrivals.stage("main") as stage:
        stage.write(data)
        arrival = bench.arrivals.examine("main", values.Put(name, "", Kind.ADDED), stage, by=ANN)
        bench.arrivals.place("main", 0, [arrival], [], by=ANN)
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0", files={"x.py": b"1"}))
    assert "File already exists" in clone.refused()[0]
    write(clone.folder, (name, data))
    clone.push()
    bench.agrees()
    # Taken away by git, it stays where else it lies, and the pusher is told.
    write(bench.packages / "elsewhere", (name, data))
    stat = bench.pidex.storage.stat(0, f"elsewhere/{name}")
    assert stat is not None
    look = DirectInspector().inspect(
        str(bench.packages / "elsewhere" / name), Entry(0, f"elsewhere/{name}", stat), "whole"
    )
    bench.pidex.intake().adopt("main", [look])
    clone.git("rm", "-q", name)
    assert f"{name}: still listed, since it also lies at elsewhere/{name}" in clone.push()


def test_what_changes_in_the_folder_during_a_push_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = wheel("demo", "1.0")
    put = bench.pidex.storage.put

    def race(staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
        found = put(staged, root, path, sync=sync)
        (bench.packages / path).unlink()
        if others is not None:
            (bench.packages / path).write_bytes(others)
        return found

    monkeypatch.setattr(bench.pidex.storage, "put", race)
    for others in (None, wheel("demo", "1.0", files={"x.py": b"1"})[1]):
        with bench.arrivals.stage("main") as stage:
            stage.write(data)
            arrival = bench.arrivals.examine("main", values.Put(name, "", Kind.ADDED), stage, by=ANN)
            with pytest.raises(Changing, match="was changed in the folder while it was pushed"):
                bench.arrivals.place("main", 0, [arrival], [], by=ANN)
        assert bench.files() == {}
        assert bench.lying() == ({} if others is None else {name: others})
        assert bench.pidex.intake().recover("main") == (0, 0), "nothing is under way any more"


def test_a_name_that_is_on_its_way_or_was_burnt_is_not_taken_by_a_push(bench: Bench) -> None:
    name, data = wheel("demo", "1.0")
    clone = Clone(bench, "clone")
    write(clone.folder, (name, data))
    with bench.pidex.catalogue.write() as conn:
        index = indexes.find(conn, "main")
        assert index is not None
        intents.put(conn, index.id, intents.Intent(name, 0, name, "0" * 64, 3, "bob", 77))
    assert f"An upload of {name} is under way" in clone.refused()[0]
    with bench.pidex.catalogue.write() as conn:
        intents.done(conn, index.id, name)
    clone.push()
    bury(bench, bench.files()[name])
    for kind in (Kind.REPLACED, Kind.MOVED):
        with bench.arrivals.stage("main") as stage:
            stage.write(wheel("demo", "1.0", files={"x.py": b"1"})[1])
            with pytest.raises(FileDeleted, match="deleted by bob"):
                bench.arrivals.examine("main", values.Put(name, "", kind), stage, by=ANN)


# --- cut in the middle --------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Path], bool]) -> None:
    """The system has no descriptor left for some files that are read as a whole."""
    read = Path.read_text

    def reading(path: Path, *arguments: str, **named: str) -> str:
        if fails(path):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", reading)


@pytest.mark.parametrize("failures", [0, 2])
def test_a_push_that_git_refuses_after_us_is_put_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """Also where the first looks at it fail."""
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    write(clone.folder, wheel("demo", "2.0"))
    clone.push()
    bench.agrees()
    update = bench.pidex.data / "git" / "hooks" / "main" / "update"
    update.write_text("#!/bin/sh\nexit 1\n")
    update.chmod(0o755)
    before, left = bench.lying(), ["pidex-push"] * failures
    monkeypatch.setattr(ingress, "FINISH_PAUSES", (0.0,) * (failures + 1))
    failing(monkeypatch, lambda path: path.name in left and path.exists() and bool(left.pop()))
    write(clone.folder, wheel("demo", "2.0", files={"x.py": b"1"}))
    write(clone.folder / "sub", wheel("demo", "3.0"))
    (clone.folder / "demo-1.0-py3-none-any.whl").unlink()
    with pytest.raises(subprocess.CalledProcessError):
        clone.push()
    bench.agrees()
    assert (bench.lying(), left) == (before, [])
    update.unlink()
    clone.push()
    bench.agrees()
    assert bench.lying() != before


#: A process that has ended: its number is another one's now.
GONE = (os.getpid(), "1")


def cut(bench: Bench, clone: Clone, *, process: tuple[int, str] | None = GONE, node: str = "") -> None:
    """What a kill between placing and the branch leaves: files placed, a record, and the old tip."""
    clone.commit()
    new = clone.git("rev-parse", "HEAD").strip()
    old = bench.tip()
    repository = bench.repositories.get("main")
    bench.git("fetch", "-q", str(clone.folder), "main", cwd=bench.repository)  # the objects, for us to place
    plan = values.plan(repository.tree(old), repository.tree(new))
    before = values.packages(repository.tree(old))
    with contextlib.ExitStack() as stages, repository.blobs() as copy:
        arrivals = []
        for put in plan.put:
            stage = stages.enter_context(bench.arrivals.stage("main"))
            copy(put.oid, stage.write)
            arrivals.append(bench.arrivals.examine("main", put, stage, by=ANN))
        moved = [
            Moved(
                each.put.path,
                before[each.put.path].oid if each.put.path in before else None,
                each.put.oid,
                each.sha256,
                not (bench.packages / each.put.path).exists(),
            )
            for each in arrivals
        ]
        moved += [Moved(path, before[path].oid, None) for path in plan.gone]
        repository.keep(Record(old, new, 0, "ann", process, tuple(moved), node))
        bench.arrivals.place("main", 0, arrivals, plan.gone, by=ANN)


def test_what_a_kill_left_is_put_back_by_the_next_start(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    clone.push()
    bench.agrees()
    before = bench.lying()
    write(clone.folder, wheel("demo", "1.0", files={"x.py": b"1"}))
    write(clone.folder, wheel("demo", "2.0"))
    cut(bench, clone)
    assert bench.lying() != before
    assert bench.pushes.status("main", by=OPERATOR).unfinished
    stop = threading.Event()
    stop.set()
    bench.pushes.run(stop)
    assert not bench.pushes.status("main", by=OPERATOR).unfinished
    assert bench.lying() == before
    bench.agrees()


def test_what_a_kill_left_is_put_back_by_the_next_push(bench: Bench) -> None:
    clone, other = Clone(bench, "clone"), Clone(bench, "other")
    write(clone.folder, wheel("demo", "1.0"))
    cut(bench, clone)
    write(other.folder, wheel("other", "1.0"))
    other.push()
    bench.agrees()
    assert list(bench.lying()) == ["other-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("process", "node"), [(GONE, "elsewhere"), (None, "")])
def test_a_push_by_a_git_that_nobody_sees_is_put_back_and_it_comes_too_late(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, process: tuple[int, str] | None, node: str, first: bool
) -> None:
    monkeypatch.setattr(recorded, "END_WAIT", 0.1)
    clone = Clone(bench, "clone")
    if not first:
        write(clone.folder, wheel("demo", "1.0"))
        clone.push()
        bench.agrees()
    old, before = bench.tip(), bench.lying()
    write(clone.folder, wheel("demo", "2.0"))
    cut(bench, clone, process=process, node=node)
    assert bench.pushes.repair("main", by=OPERATOR)["placed"] == 0
    assert bench.lying() == before
    bench.agrees()
    # What that git does once its hook has said yes:
    with pytest.raises(subprocess.CalledProcessError):
        bench.git("update-ref", "refs/heads/main", "FETCH_HEAD", old or "0" * 40, cwd=bench.repository)
    bench.agrees()
    said = bench.git("log", "--format=%an: %s", "-1", "main", cwd=bench.repository)
    assert said.strip() == "ann: A push that was cut is put back"


def test_a_git_that_cannot_be_looked_at_has_not_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "END_WAIT", 0.1)
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as git:
        cut(bench, clone, process=process_of(git.pid))
        with monkeypatch.context() as patched:
            failing(patched, lambda path: path.parent.parent == Path("/proc"))
            with pytest.raises(Busy, match="still under way"):
                bench.pushes.repair("main", by=OPERATOR)
        bench.git("update-ref", "refs/heads/main", "FETCH_HEAD", cwd=bench.repository)
        git.communicate()
    bench.pushes.repair("main", by=OPERATOR)
    bench.agrees()
    assert list(bench.lying()) == ["demo-1.0-py3-none-any.whl"]


def test_a_repository_that_another_node_makes_gets_hooks_of_this_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pidex.ingress.git.FOLLOW_SECONDS", 0.01)
    with bench.pidex.catalogue.write() as conn:
        indexes.ensure(conn, "dev", 1.0)
    stop, mine = threading.Event(), bench.pidex.data / "git" / "hooks"
    thread = threading.Thread(target=bench.pushes.run, args=(stop,))
    thread.start()
    try:
        until((mine / "main" / "pre-receive").exists)
        theirs = Repositories(bench.repositories.folder, bench.repositories.git, hooks=bench.top / "others")
        theirs.create("dev", ["true"])
        until((mine / "dev" / "pre-receive").exists)
    finally:
        stop.set()
        thread.join()


def test_a_branch_that_moved_needs_no_putting_back(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    cut(bench, clone)
    bench.git("update-ref", "refs/heads/main", "FETCH_HEAD", cwd=bench.repository)
    assert not bench.pushes.status("main", by=OPERATOR).unfinished
    stop = threading.Event()
    stop.set()
    bench.pushes.run(stop)
    bench.agrees()
    assert list(bench.lying()) == ["demo-1.0-py3-none-any.whl"]


def test_of_two_pushes_at_once_one_wins_and_the_index_is_the_branch(bench: Bench) -> None:
    clones = [Clone(bench, f"clone{number}") for number in range(4)]
    won: list[int] = []

    def push(number: int) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            clones[number].git("push", "origin", "main")
            won.append(number)

    for number, clone in enumerate(clones):
        write(clone.folder, wheel(f"demo{number}", "1.0"))
        write(clone.folder, wheel("same", "1.0", files={"x.py": str(number).encode()}))
        clone.commit()
    threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    bench.agrees()
    assert f"demo{won[0]}-1.0-py3-none-any.whl" in bench.files()


# --- commands -----------------------------------------------------------------------------------------------


def test_enabling_imports_what_is_listed(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    write(clone.folder / "sub", sdist("demo", "1.0"))
    clone.push()
    bench.agrees()
    aside = bench.pushes.disable("main", by=OPERATOR)["aside"]
    with pytest.raises(NotFound):
        bench.pushes.status("main", by=OPERATOR)
    assert len(bench.files()) == 2
    shutil.rmtree(str(aside))
    made = bench.pushes.enable("main", by=OPERATOR)
    assert made == {"repository": str(bench.repository), "imported": 2, "url": "http://127.0.0.1:1/main.git"}
    bench.agrees()
    assert bench.pushes.enable("main", by=OPERATOR)["imported"] == 0
    again = Clone(bench, "again")
    write(again.folder, wheel("demo", "2.0"))
    again.push()
    bench.agrees()


def test_differences_are_named_and_repaired(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    write(clone.folder, wheel("demo", "2.0"))
    clone.push()
    bench.agrees()
    before = bench.lying()
    name = "demo-1.0-py3-none-any.whl"
    (bench.packages / name).unlink()
    bench.pidex.intake().forget("main", [(0, name)])
    state = bench.pushes.status("main", by=OPERATOR)
    assert (state.packages, state.missing, state.differing, state.others) == (2, (name,), (), 0)
    assert bench.pushes.repair("main", by=OPERATOR)["placed"] == 1
    assert bench.lying() == before
    bench.agrees()


def test_commands_take_the_right_to_administer(bench: Bench) -> None:
    bench.rights.denied.add((Action.ADMIN, None))
    for act in (bench.pushes.enable, bench.pushes.disable, bench.pushes.status, bench.pushes.repair):
        with pytest.raises(Conflict, match="administer"):
            act("main", by=ANN)


def test_a_folder_that_takes_nothing_is_named(bench: Bench) -> None:
    (bench.packages / ".git").mkdir()
    with pytest.raises(Forbidden, match="work tree"):
        bench.pushes.enable("main", by=OPERATOR)


def test_a_push_with_too_many_files_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "PUSH_FILES", 1)
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    write(clone.folder, wheel("demo", "2.0"))
    assert "one push may change 1" in clone.refused()[0]


def test_whoever_meets_a_push_is_told_to_try_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "PUSH_WAIT", 0.1)
    clone = Clone(bench, "clone")
    write(clone.folder, wheel("demo", "1.0"))
    with bench.repositories.lock("main", seconds=1):
        assert "Another push to main is under way" in clone.refused()[0]
        with pytest.raises(Busy):
            bench.pushes.disable("main", by=OPERATOR)


def test_a_shallow_or_renewed_history_does_not_matter(bench: Bench) -> None:
    clone = Clone(bench, "clone")
    for version in ("1.0", "2.0"):
        write(clone.folder, wheel("demo", version))
        clone.push()
    shallow = bench.top / "shallow"
    bench.git("clone", "-q", "--depth", "1", f"file://{bench.repository}", str(shallow), cwd=bench.top)
    write(shallow, wheel("demo", "3.0"))
    bench.git("add", "-A", cwd=shallow)
    bench.git("commit", "-q", "-m", "third", cwd=shallow)
    bench.git("push", "-q", "origin", "main", cwd=shallow)
    bench.agrees()
    clone.git("pull", "-q", "origin", "main")
    before = bench.lying()
    clone.git("checkout", "-q", "--orphan", "fresh")
    clone.git("commit", "-q", "-m", "fresh start")
    clone.git("branch", "-q", "-M", "fresh", "main")
    clone.git("push", "-q", "--force", "origin", "main")
    bench.agrees()
    assert bench.lying() == before
    bench.git("reflog", "expire", "--expire=now", "--all", cwd=bench.repository)
    bench.git("gc", "-q", "--prune=now", cwd=bench.repository)
    assert clone.git("rev-list", "--count", "main").strip() == "1"
    write(clone.folder, wheel("demo", "4.0"))
    clone.push()
    bench.agrees()
