"""An index that is filled by git push: over HTTP and by path, by people with rights, through kills."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pidex.ingress import control
from tests.samples import Sample, wheel, write
from tests.walks.server import Server, environment, fetch, finish, until
from tests.walks.sshd import Sshd

pytestmark = [
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.timeout(300),
]

BIG = 30_000_000


def git(*arguments: str | Path, cwd: Path, **environ: str) -> tuple[int, str]:
    """Run git as nobody in particular; its status and what it said."""
    told = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.bigFileThreshold=1m")
    return finish(["git", *identity, *arguments], cwd, environment(**told, **environ))


class Clone:
    """A clone of the index's repository."""

    def __init__(self, url: str, folder: Path, *options: str) -> None:
        self.folder = folder
        status, said = git("clone", "-q", *options, url, folder, cwd=folder.parent)
        assert status == 0, said
        git("checkout", "-q", "-B", "main", cwd=folder)

    def write(self, sample: Sample, below: str = "") -> Sample:
        write(self.folder / below, sample)
        return sample

    def commit(self) -> None:
        git("add", "-A", cwd=self.folder)
        status, said = git("commit", "-q", "-m", "a change", cwd=self.folder)
        assert status == 0, said

    def push(self, *to: str) -> str:
        """Commit and push; what git said."""
        self.commit()
        status, said = git("push", *(to or ("origin",)), "main", cwd=self.folder)
        assert status == 0, said
        return said

    def refused(self, *to: str) -> str:
        """Commit, push and be refused; what git said. The commit is taken back, the files stay."""
        self.commit()
        status, said = git("push", *(to or ("origin",)), "main", cwd=self.folder)
        assert status != 0, said
        git("reset", "-q", "--mixed", "HEAD~1", cwd=self.folder)
        return said

    def pull(self) -> None:
        status, said = git("pull", "-q", "origin", "main", cwd=self.folder)
        assert status == 0, said

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*.whl"))


class Index:
    """A server, its data directory, and the people who know it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.data = folder.parent / f".pidex-{folder.name}"
        self.repository = self.data / "git" / "main.git"
        self.tokens: dict[str, str] = {}

    def call(self, method: str, /, **args: object) -> dict[str, object]:
        answer = control.ask(self.data, method, args)
        return answer if isinstance(answer, dict) else {}

    def person(self, name: str, role: str | None, *scopes: str, project: str = "*") -> str:
        """A user with a role and a token; the URL with which git pushes as that user."""
        self.call("accounts.add_user", name=name)
        if role is not None:
            self.call("accounts.grant", subject=f"user:{name}", role=role, index="main", project=project)
        made = self.call("accounts.create_token", user=name, scopes=scopes or ("read", "upload", "delete"))
        self.tokens[name] = str(made["text"])
        return self.url(name)

    def url(self, name: str | None = None) -> str:
        who = f"{name}:{self.tokens[name]}@" if name else ""
        return f"http://{who}127.0.0.1:{self.server.port}/main.git"

    def close_reading(self) -> None:
        self.call("accounts.ungrant", subject="group:anonymous", role="reader", index="main", project="*")

    def sha256(self, project: str, filename: str) -> str | None:
        found = [file for file in self.server.files(project) or [] if file.filename == filename]
        return found[0].sha256 if found else None


@pytest.fixture
def index(folder: Path) -> Iterator[Index]:
    with Server(folder) as server:
        made = Index(server, folder)
        made.call("git.enable", index="main", empty=True)
        yield made


def is_listed_now(index: Index, project: str, sample: Sample) -> bool:
    """Without any waiting: the next request after the push sees it."""
    return index.sha256(project, sample[0]) == hashlib.sha256(sample[1]).hexdigest()


def test_a_push_over_http_is_listed_when_it_returns(index: Index, tmp_path: Path) -> None:
    ann = index.person("ann", "owner")
    clone, other = Clone(ann, tmp_path / "clone"), Clone(index.url(), tmp_path / "other")
    first = clone.write(wheel("demo", "1.0"))
    second = clone.write(wheel("demo", "2.0"))
    big = clone.write(wheel("big", "1.0", files={"big.bin": random.Random(0).randbytes(BIG)}))
    said = clone.push()
    assert "remote: main: 3 added" in said
    for project, sample in (("demo", first), ("demo", second), ("big", big)):
        assert is_listed_now(index, project, sample)
    # Replaced, renamed, deleted, added.
    big = clone.write(wheel("big", "1.0", files={"big.bin": random.Random(1).randbytes(BIG)}))
    (clone.folder / "sub").mkdir()
    git("mv", first[0], "sub", cwd=clone.folder)
    git("rm", "-q", second[0], cwd=clone.folder)
    added = clone.write(wheel("added", "1.0"))
    assert "remote: main: 1 added, 1 replaced, 1 moved, 1 removed" in clone.push()
    assert is_listed_now(index, "big", big)
    assert is_listed_now(index, "added", added)
    assert index.server.names("demo") == [first[0]]
    assert index.server.download("big", big[0]) == big[1]
    other.pull()
    assert other.names() == clone.names() == sorted((first[0], big[0], added[0]))
    # And it stays so when the notices of the folder have come.
    time.sleep(1.0)
    assert is_listed_now(index, "big", big)
    assert index.server.names("demo") == [first[0]]


def test_a_push_by_path_is_the_operators(index: Index, tmp_path: Path) -> None:
    clone = Clone(str(index.repository), tmp_path / "clone")
    demo = clone.write(wheel("demo", "1.0"))
    clone.push()
    assert is_listed_now(index, "demo", demo)
    (clone.folder / demo[0]).write_bytes(demo[1][:-20])
    assert f"remote: {demo[0]}: " in clone.refused()
    assert is_listed_now(index, "demo", demo)
    Clone(index.url(), tmp_path / "by-http")


def test_a_push_over_ssh_is_the_operators(index: Index, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as sshd:
        ssh = f"core.sshCommand={sshd.command}"
        clone = Clone(sshd.url(index.repository), tmp_path / "clone", "-c", ssh)
        demo = clone.write(wheel("demo", "1.0"))
        assert "remote: main: 1 added" in clone.push()
        assert is_listed_now(index, "demo", demo)
        (clone.folder / demo[0]).write_bytes(demo[1][:-20])
        assert f"remote: {demo[0]}: " in clone.refused()
        assert is_listed_now(index, "demo", demo)
    assert "Could not read from remote repository" in clone.refused()


def test_what_is_refused_says_so_over_http(index: Index, tmp_path: Path) -> None:
    ann = index.person("ann", "owner")
    clone = Clone(ann, tmp_path / "clone")
    clone.write(wheel("good", "1.0"))
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 1\n"
    clone.write(("lfs-1.0-py3-none-any.whl", lfs))
    name, data = wheel("cut", "1.0")
    clone.write((name, data[:-30]))
    said = clone.refused()
    assert "remote: lfs-1.0-py3-none-any.whl: it is a git-LFS pointer" in said
    assert f"remote: {name}: " in said
    assert "remote: Nothing was changed." in said
    assert "good-1.0" not in said
    assert index.server.files("good") is None
    assert not list(index.folder.rglob("*.whl"))


def test_who_may_clone_and_who_may_push(index: Index, tmp_path: Path) -> None:
    demo = wheel("demo", "1.0")
    operator = Clone(str(index.repository), tmp_path / "operator")
    operator.write(demo)
    operator.push()
    people = {
        "reader": index.person("reader", "reader"),
        "uploader": index.person("uploader", "uploader"),
        "maintainer": index.person("maintainer", "maintainer"),
        "owner": index.person("owner", "owner"),
        "half": index.person("half", "owner", project="ha*"),
        "narrow": index.person("narrow", "owner", "read"),
        "stranger": index.person("stranger", None),
    }
    clone = Clone(index.url(), tmp_path / "clone")

    def tried(who: str) -> dict[str, bool]:
        """Which kinds of change go through: an addition, a replacement, a deletion."""
        url, found = people[who], {}
        for kind in ("add", "replace", "delete"):
            git("fetch", "-q", str(index.repository), "main", cwd=clone.folder)
            git("reset", "-q", "--hard", "FETCH_HEAD", cwd=clone.folder)
            if kind == "delete":
                git("rm", "-q", demo[0], cwd=clone.folder)
            elif kind == "add":
                clone.write(wheel("demo", f"2.{len(people)}.{who}".replace(who, str(len(who)))))
                (clone.folder / "who").write_text(who)
            else:
                clone.write(wheel("demo", "1.0", files={"who.py": who.encode()}))
            git("add", "-A", cwd=clone.folder)
            git("commit", "-q", "-m", kind, cwd=clone.folder)
            found[kind] = git("push", url, "main", cwd=clone.folder)[0] == 0
            if found[kind] and kind == "delete":
                operator.pull()
                operator.write(demo)
                operator.push()
        return found

    nothing = {"add": False, "replace": False, "delete": False}
    assert tried("reader") == nothing
    assert tried("stranger") == nothing
    assert tried("narrow") == nothing
    assert tried("half") == nothing
    assert tried("uploader") == {"add": True, "replace": False, "delete": False}
    assert tried("maintainer") == {"add": True, "replace": True, "delete": False}
    assert tried("owner") == {"add": True, "replace": True, "delete": True}

    # Nobody, a wrong token, and no right at all are three different answers.
    plain = f"{index.server.url}/main.git/info/refs?service=git-receive-pack"
    assert fetch(plain).status == 401
    assert fetch(plain).headers["www-authenticate"].startswith("Basic")
    index.close_reading()
    assert git("ls-remote", index.url(), cwd=tmp_path)[0] != 0
    read = f"{index.server.url}/main.git/info/refs?service=git-upload-pack"
    assert fetch(read).status == 401
    assert fetch(read.replace("main.git", "nowhere.git")).status == 401
    assert git("ls-remote", people["reader"], cwd=tmp_path)[0] == 0
    for who, status in (("stranger", "not found"), ("half", "403"), ("reader", "")):
        code, said = git("ls-remote", people[who], cwd=tmp_path)
        assert (code == 0) is (status == "")
        assert status in said.lower()


def test_only_the_smart_protocol_is_spoken(index: Index) -> None:
    for path in ("HEAD", "config", "objects/info/packs", "hooks/pre-receive", "", "../git/main.git/HEAD"):
        assert index.server.get(f"/main.git/{path}").status in (400, 404), path
    assert index.server.get("/main.git/info/refs").status == 403
    assert index.server.get("/main.git/info/refs?service=git-upload-archive").status == 403
    assert index.server.get("/other.git/info/refs?service=git-upload-pack").status in (401, 404)
    assert index.server.get("/main.git/git-upload-pack").status == 405
    wrong = fetch(f"{index.server.url}/main.git/git-upload-pack", method="POST", body=b"junk")
    assert wrong.status in (400, 415)
    assert fetch(f"{index.server.url}/main.git/info/refs", method="POST", body=b"x").status == 405


def test_a_deletion_by_command_is_a_commit(index: Index, tmp_path: Path) -> None:
    clone = Clone(str(index.repository), tmp_path / "clone")
    demo = clone.write(wheel("demo", "1.0"))
    stays = clone.write(wheel("demo", "2.0"))
    clone.push()
    index.call("curator.delete", index="main", project="demo", version="1.0", reason="oops")

    def is_committed() -> bool:
        clone.pull()
        return clone.names() == [stays[0]]

    until(is_committed)
    assert not (index.folder / demo[0]).exists()
    clone.write(demo)
    assert "its name stays burnt" in clone.refused()


def test_uploads_and_pushes_share_an_index(index: Index, tmp_path: Path) -> None:
    clone = Clone(str(index.repository), tmp_path / "clone")
    copied = wheel("copied", "1.0")
    write(index.folder, copied)
    index.server.wait_for("copied", copied[0])
    demo = clone.write(wheel("demo", "1.0"))
    clone.push()
    assert is_listed_now(index, "demo", demo)
    assert is_listed_now(index, "copied", copied)
    clone.pull()
    assert clone.names() == [demo[0]], "what did not come by git is not in it"
    clone.write(wheel("copied", "1.0", files={"other.py": b"1"}))
    assert "File already exists" in clone.refused()
    state = index.call("git.status", index="main")
    assert (state["packages"], state["others"], state["missing"]) == (1, 1, [])


#: When the server is killed: while git has the objects, when it is written down what will be done, and later.
MOMENTS: dict[str, Callable[[Index], object]] = {
    "receiving": lambda index: [*index.repository.glob("objects/tmp_objdir*/pack/*.pack")],
    "recorded": lambda index: (index.repository / "pidex-push").exists(),
    "placing": lambda index: len([*index.folder.glob("big-*")]) > 4,
    "placed": lambda index: len([*index.folder.glob("big-*")]) == BIGS,
}
#: Files of 3 MB in the push that is cut.
BIGS = 12


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_server_that_is_killed_during_a_push_leaves_no_half(
    folder: Path, tmp_path: Path, moment: str
) -> None:
    server = Server(folder)
    server.start()
    index = Index(server, folder)
    index.call("git.enable", index="main", empty=True)
    clone = Clone(str(index.repository), tmp_path / "clone")
    kept = clone.write(wheel("kept", "1.0"))
    clone.push()
    for number in range(BIGS):
        data = random.Random(number).randbytes(3_000_000)
        clone.write(wheel("big", f"{number}.0", files={"big.bin": data}))
    clone.write(wheel("kept", "1.0", files={"x.py": b"1"}))
    clone.commit()
    outcome: list[int] = []
    pusher = threading.Thread(
        target=lambda: outcome.append(git("push", "-q", "origin", "main", cwd=clone.folder)[0])
    )
    pusher.start()
    while pusher.is_alive() and not MOMENTS[moment](index):
        time.sleep(0.001)
    os.kill(server.pid, signal.SIGKILL)
    server.kill()
    pusher.join()
    with Server(folder, port=server.port, log=server.log_path) as again:
        index.server = again

        def is_whole() -> bool:
            with contextlib.suppress(Exception):
                state = index.call("git.status", index="main")
                listed = len(again.files("big") or [])
                return not state["unfinished"] and not state["missing"] and listed in (0, BIGS)
            return False

        until(is_whole)
        tree = git("ls-tree", "-r", "--name-only", "main", cwd=index.repository)[1].split()
        names = sorted(file.filename for project in ("big", "kept") for file in again.files(project) or [])
        assert names == sorted(tree)
        assert sorted(path.name for path in folder.rglob("*.whl")) == names
        if len(tree) == 1:
            assert outcome[0] != 0
            assert again.download("kept", kept[0]) == kept[1]
        print(f"killed while {moment}: {len(tree)} files, git said {outcome[0]}")
        # And the next push goes through whatever happened.
        assert git("push", "-q", "origin", "main", cwd=clone.folder)[0] == 0
        assert len(again.files("big") or []) == BIGS


def test_a_push_without_a_server_is_listed_by_the_next(folder: Path, tmp_path: Path) -> None:
    with Server(folder) as server:
        index = Index(server, folder)
        index.call("git.enable", index="main", empty=True)
    clone = Clone(str(index.repository), tmp_path / "clone")
    demo = clone.write(wheel("demo", "1.0"))
    clone.push()
    clone.write(("broken-1.0-py3-none-any.whl", b"junk"))
    assert "remote: broken-1.0-py3-none-any.whl: " in clone.refused()
    with Server(folder) as server:
        index.server = server
        until(lambda: is_listed_now(index, "demo", demo))
        until(lambda: not index.call("git.status", index="main")["unfinished"])


def test_a_missing_git_is_told_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    with Server(folder) as server:
        Index(server, folder).call("git.enable", index="main", empty=True)
    with Server(folder, environ={"PATH": str(empty)}) as server:
        answer = server.get("/main.git/info/refs?service=git-upload-pack")
        assert answer.status == 503
        assert "git is not installed" in answer.text
        assert "\n" not in answer.text.strip()
        assert server.get("/simple/").status == 200


def test_commands_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    def pidex(*arguments: str | Path) -> tuple[int, str]:
        return finish([sys.executable, "-m", "pidex", *arguments], None, environment())

    write(folder, wheel("demo", "1.0"))
    with Server(folder) as server:
        server.wait_for("demo", "demo-1.0-py3-none-any.whl")
        status, said = pidex("git", "enable", folder)
        assert status == 0, said
        repository = folder.parent / f".pidex-{folder.name}" / "git" / "main.git"
        assert f"git clone USER@HOST:{repository}" in said
        clone = Clone(str(repository), tmp_path / "clone")
        assert clone.names() == ["demo-1.0-py3-none-any.whl"]
        status, said = pidex("git", "status", folder)
        assert (status, "1 packages in the branch, 0 others" in said) == (0, True), said
        (folder / "demo-1.0-py3-none-any.whl").unlink()
        until(lambda: not server.files("demo"))
        status, said = pidex("git", "status", folder)
        assert status == 3
        assert "demo-1.0-py3-none-any.whl" in said
        assert pidex("git", "repair", folder)[0] == 0
        assert server.names("demo") == ["demo-1.0-py3-none-any.whl"]
        status, said = pidex("git", "disable", folder)
        assert status == 0
        assert server.get("/main.git/info/refs?service=git-upload-pack").status == 404
        assert server.names("demo") == ["demo-1.0-py3-none-any.whl"]


def test_the_plain_way_is_set_up_and_followed(folder: Path, tmp_path: Path) -> None:
    write(folder, wheel("demo", "1.0"))
    command = [sys.executable, "-m", "pidex", "git", "enable", "--here", str(folder)]
    status, said = finish(command, None, environment())
    assert status == 0, said
    assert "?? demo-1.0-py3-none-any.whl" in said
    git("add", "-A", cwd=folder)
    git("commit", "-q", "-m", "first", cwd=folder)
    with Server(folder) as server:
        clone = Clone(str(folder), tmp_path / "clone")
        new = clone.write(wheel("demo", "2.0"))
        clone.push()
        server.wait_for("demo", new[0], data=new[1])
