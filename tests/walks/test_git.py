"""Scenarios S11, S12, S13 and S16: the folder is a git work tree that is pushed to while clients install."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.samples import wheel, write
from tests.walks.poller import Poller
from tests.walks.server import Server, run, until

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

#: Bytes of the file that pushes replace.
BIG = 30_000_000
#: Pushes in S12, polls over its whole run, and right answers for the big file among them, at least.
PUSHES, POLLS, BIG_POLLS = 5, 1_000, 100


class Work:
    """A clone whose commits are pushed into the served folder."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self.folder, self.clone = folder, clone
        self.git("init", "-q", "-b", "main", cwd=folder)
        self.git("config", "receive.denyCurrentBranch", "updateInstead", cwd=folder)
        self.git("config", "core.bigFileThreshold", "1m", cwd=folder)
        self.git("clone", "-q", str(folder), str(clone), cwd=folder.parent)
        self.git("checkout", "-q", "-B", "main")
        self.git("config", "core.bigFileThreshold", "1m")  # no search for deltas, which takes seconds
        self.git("config", "core.compression", "0")
        (clone / ".gitattributes").write_text("* binary\n")

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        return run("git", *identity, *arguments, cwd=cwd or self.clone, environ=quiet)

    def push(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        self.git("push", "-q", "origin", "main")


@pytest.fixture
def work(folder: Path, tmp_path: Path) -> Work:
    return Work(folder, tmp_path / "clone")


def big(seed: int) -> tuple[str, bytes]:
    """A wheel of BIG bytes and a little more: always the same name, other bytes for each seed."""
    return wheel("big", "1.0", files={"big.bin": random.Random(seed).randbytes(BIG)})


def test_s11_a_push_is_followed(work: Work, folder: Path) -> None:
    for version in ("1.0", "2.0"):
        write(work.clone, wheel("demo", version))
    write(work.clone, wheel("other", "1.0"))
    work.push("first")
    with Server(folder) as server:
        assert server.names("demo") == ["demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"]
        # One commit adds, replaces, renames and deletes.
        write(work.clone, wheel("added", "1.0"))
        new = wheel("demo", "2.0", files={"demo.py": b"answer = 43\n"})
        write(work.clone, new)
        (work.clone / "sub").mkdir()
        (work.clone / "demo-1.0-py3-none-any.whl").rename(work.clone / "sub" / "demo-1.0-py3-none-any.whl")
        (work.clone / "other-1.0-py3-none-any.whl").unlink()
        work.push("second")
        server.wait_for("added", "added-1.0-py3-none-any.whl")
        server.wait_for("demo", new[0], data=new[1])
        until(lambda: server.files("other") in (None, []), why="the deleted file is still listed")
        assert server.download("demo", new[0]) == new[1]
        assert server.names("demo") == ["demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"]


def small(number: int, seed: int = 0) -> tuple[str, bytes]:
    return wheel("small", f"{number}.0", files={"small.py": f"answer = {seed}\n".encode()})


@pytest.mark.timeout(400)
def test_s12_no_poll_during_pushes_ever_gets_other_bytes(work: Work, folder: Path) -> None:
    stay = [small(number)[0] for number in range(5)]
    write(work.clone, big(0))
    for number in range(5):
        write(work.clone, small(number))
    work.push("first")
    with Server(folder) as server:
        for number in range(5):
            server.wait_for("small", small(number)[0])
        server.wait_for("big", big(0)[0])
        turn, bigs = 0, [big(seed) for seed in range(3)]
        with Poller(server, "big", [bigs[0][0]]) as large, Poller(server, "small", stay) as little:

            def enough() -> bool:
                polls = large.polls + little.polls
                return turn >= PUSHES and polls >= POLLS and large.outcomes["right"] >= BIG_POLLS

            while not enough() and not large.faults and not little.faults:
                turn += 1
                going = small(99 + turn)[0], small(4)[0]
                little.going = frozenset(going)
                replaced = bigs[turn % 3]  # bytes come back too
                write(work.clone, replaced)  # replaced
                write(work.clone, small(1, seed=turn))  # replaced
                write(work.clone, small(100 + turn))  # added
                if turn > 1:
                    (work.clone / small(99 + turn)[0]).unlink()  # deleted
                moves = (work.clone / "sub" / small(4)[0], work.clone / small(4)[0])
                old, new = moves if turn % 2 == 0 else moves[::-1]
                new.parent.mkdir(exist_ok=True)
                old.rename(new)  # renamed
                work.push(f"push {turn}")
                server.wait_for("big", replaced[0], data=replaced[1], seconds=60)
        outcomes: Counter[str] = large.outcomes + little.outcomes
        print(f"S12: {turn} pushes, {outcomes.total()} polls: {dict(outcomes)}")
        print(f"S12: of the big file: {dict(large.outcomes)}")
        assert not large.faults + little.faults
        assert outcomes.total() >= POLLS
        # What is left is what was pushed last.
        assert server.download("big", replaced[0]) == replaced[1]


def test_s12_a_file_that_is_away_for_a_moment_stays_listed(folder: Path) -> None:
    """What git does on a busy machine: a tenth of a second between the unlinking and the creating."""
    path = write(folder, small(1))
    with Server(folder) as server:
        server.wait_for("small", path.name)
        with Poller(server, "small", [path.name]) as poller:
            for seed in range(1, 5):
                path.unlink()
                time.sleep(0.1)
                _, data = small(1, seed)
                path.write_bytes(data)
                server.wait_for("small", path.name, data=data)
        assert poller.outcomes["right"]
        assert not poller.faults
        path.unlink()
        until(lambda: not server.names("small"), why="the deleted file is still listed")


def test_s13_git_s_own_files_are_never_served(work: Work, folder: Path) -> None:
    write(work.clone, wheel("demo", "1.0"))
    write(work.clone / ".github", wheel("hidden", "1.0"))
    (work.clone / ".gitignore").write_text("*.pyc\n")
    work.push("first")
    write(folder / ".git", wheel("hidden", "2.0"))
    work.git("init", "-q", "--bare", "x.git", cwd=folder)
    with Server(folder) as server:
        server.wait_for("demo", "demo-1.0-py3-none-any.whl")
        assert server.files("hidden") is None
        assert "hidden" not in server.get("/simple/").text
        for page in ("/simple/", "/packages/"):
            assert "git" not in server.get(page).text.lower()
        for path in (".git/config", ".gitattributes", ".gitignore", "x.git/config", "x.git/HEAD"):
            assert server.get(f"/packages/{path}").status == 404
            for way in (path.replace("/", "%2f"), f"./{path}", f"sub/../{path}"):
                assert server.get(f"/packages/{way}").status in (400, 404)


def test_s16_the_history_does_not_matter(work: Work, folder: Path, tmp_path: Path) -> None:
    sample = wheel("demo", "1.0")
    write(work.clone, sample)
    work.push("first")
    write(work.clone, wheel("demo", "2.0"))
    work.push("second")
    shallow = tmp_path / "shallow"
    work.git("clone", "-q", "--depth", "1", f"file://{folder}", str(shallow), cwd=tmp_path)
    with Server(folder) as server, Server(shallow) as other:
        for each in (server, other):
            each.wait_for("demo", "demo-2.0-py3-none-any.whl")
        work.git("reflog", "expire", "--expire=now", "--all", cwd=folder)
        work.git("gc", "-q", "--prune=now", cwd=folder)
        assert server.download("demo", sample[0]) == other.download("demo", sample[0]) == sample[1]
