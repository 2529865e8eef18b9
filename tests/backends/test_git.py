"""Repositories by the real git: made, read, committed to, locked, put aside; and CGI programs."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from faults.shim import Shim
from pidex.backends import cgi
from pidex.backends.git import Failed, Git, Missing, Repository
from pidex.backends.repositories import Repositories, follow_work_tree
from pidex.backends.running import await_end, process_of
from pidex.core.errors import BadRequest, Busy, NotFound
from pidex.core.pushes import REF, Moved, Record

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

NOW = 1_700_000_000.0


@pytest.fixture
def git() -> Git:
    return Git(os.environ.get("PATH", os.defpath))


@pytest.fixture
def repositories(tmp_path: Path, git: Git) -> Repositories:
    return Repositories(tmp_path / "git", git)


@pytest.fixture
def repository(repositories: Repositories) -> Repository:
    return repositories.create("main", ["true"])


def pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 1000):
        yield data[start : start + 1000]


def commit(repository: Repository, **files: bytes) -> None:
    named = [(name.replace("_", "."), len(data), pieces(data)) for name, data in files.items()]
    assert repository.commit_files(named, by="Ann <x>", message="first\n", now=NOW) == len(files)


def read(repository: Repository, oid: str) -> bytes:
    found = bytearray()
    with repository.blobs() as copy:
        size = copy(oid, found.extend)
    assert size == len(found)
    return bytes(found)


def test_a_fresh_repository_has_nothing(repository: Repository) -> None:
    assert repository.tip() is None
    assert repository.tree(None) == {}
    assert repository.remove(["x"], by="ann", message="m", now=NOW) is None


def test_files_are_committed_and_read_back_in_pieces(repository: Repository) -> None:
    big = os.urandom(3_000_000)
    commit(repository, a_whl=b"one", b_txt=b"", big_zip=big)
    tip = repository.tip()
    tree = repository.tree(tip, sizes=True)
    assert {path: node.size for path, node in tree.items()} == {"a.whl": 3, "b.txt": 0, "big.zip": len(big)}
    assert read(repository, tree["big.zip"].oid) == big
    assert read(repository, tree["b.txt"].oid) == b""
    assert repository.blob(tree["a.whl"].oid, 3) == b"one"
    with pytest.raises(Failed, match="longer than 2 bytes"):
        repository.blob(tree["a.whl"].oid, 2)


def test_names_of_every_kind_come_through(repository: Repository) -> None:
    names = ['q"uote', "back\\slash", "new\nline", "ünïcode", "spa ce", "-dash", "a/b/c"]
    repository.commit_files([(name, 1, iter([b"x"])) for name in names], by="a", message="m", now=NOW)
    assert sorted(repository.tree(repository.tip())) == sorted(names)
    made = repository.remove(names[:-1], by="a", message="m", now=NOW)
    assert list(repository.tree(made)) == names[-1:]


def test_a_writer_that_fails_leaves_the_next_blob_readable(repository: Repository) -> None:
    commit(repository, a_zip=b"x" * 1_000_000, b_zip=b"two")
    tree = repository.tree(repository.tip())

    def fail(data: bytes) -> None:
        raise Busy("no room")

    found = bytearray()
    with repository.blobs() as copy:
        with pytest.raises(Busy):
            copy(tree["a.zip"].oid, fail)
        with pytest.raises(Failed, match="no file"):
            copy("1" * 40, found.extend)
        copy(tree["b.zip"].oid, found.extend)
    assert found == b"two"


def test_a_removal_is_a_commit_by_who_removed(repository: Repository, git: Git) -> None:
    commit(repository, a_zip=b"1", b_zip=b"2")
    before = repository.tip()
    assert before is not None
    after = repository.remove(["a.zip", "nothing"], by="Ann\n<a@b>", message="Delete a\n\nold\n", now=NOW)
    assert repository.tip() == before != after
    assert after is not None
    repository.point(after, before)
    assert repository.tip() == after
    assert list(repository.tree(after)) == ["b.zip"]
    assert repository.is_ancestor(before, after)
    assert not repository.is_ancestor(after, before)
    said = git.run("log", "-1", "--format=%an|%ae|%ct|%B", environ=git.environ(repository.folder)).decode()
    assert said.strip() == "Anna@b|Anna@b@pidex.invalid|1700000000|Delete a\n\nold"
    assert repository.remove(["a.zip"], by="ann", message="m", now=NOW) is None


def test_files_that_end_too_early_make_no_commit(repository: Repository) -> None:
    with pytest.raises(Failed, match="fast-import"):
        repository.commit_files([("a.zip", 10, iter([b"x"]))], by="a", message="m", now=NOW)
    assert repository.tip() is None

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise Busy("it is being changed")

    with pytest.raises(Busy):
        repository.commit_files([("a.zip", 10, broken())], by="a", message="m", now=NOW)
    assert repository.tip() is None


def test_only_a_quarantine_inside_the_repository_is_one(
    repositories: Repositories, repository: Repository, tmp_path: Path
) -> None:
    inside = repository.folder / "objects" / "tmp_objdir-incoming-x"
    inside.mkdir()
    assert repositories.get("main", str(inside)).tip() is None
    for wrong in (tmp_path, repository.folder / "objects", inside / "deeper", inside / ".." / ".." / "refs"):
        with pytest.raises(BadRequest):
            repositories.get("main", str(wrong))


def test_a_record_is_kept_until_it_is_dropped(repository: Repository) -> None:
    assert repository.kept() is None
    record = Record(None, "a" * 40, 0, "ann", (1, "2"), (Moved("ü.whl", None, "b" * 40, "c" * 64, True),))
    repository.keep(record)
    assert repository.kept() == record
    repository.keep(None)
    repository.keep(None)
    assert repository.kept() is None


def test_hooks_and_configuration_are_ours_again_at_each_start(
    repositories: Repositories, repository: Repository, git: Git
) -> None:
    hook = repositories.folder / "hooks" / "main" / "pre-receive"
    assert hook.read_text().endswith("exec true\n")
    hook.write_text("#!/bin/sh\nexit 0\n")
    config = repository.folder / "config"
    config.write_text(config.read_text().replace(str(hook.parent), "/tmp/elsewhere"))
    repositories.prepare("main", ["pidex", "with space", "$HOME"])
    assert hook.read_text().endswith("exec pidex 'with space' '$HOME'\n")
    assert os.access(hook, os.X_OK)
    told = git.run("config", "core.hooksPath", environ=git.environ(repository.folder)).decode().strip()
    assert told == str(hook.parent)
    assert not hook.is_relative_to(repository.folder)


@pytest.mark.parametrize(
    ("service", "query"), [("git-receive-pack", ""), ("info/refs", "service=git-receive-pack")]
)
def test_no_push_is_taken_without_the_hook_that_looks_into_it(
    repositories: Repositories, tmp_path: Path, git: Git, service: str, query: str
) -> None:
    """As on a node of a cluster: another one has set the repository up, with hooks of its own."""
    Repositories(repositories.folder, git, hooks=tmp_path / "others").create("main", ["true"])

    async def nothing(*_: object) -> None:
        raise AssertionError("git was run")

    async def body() -> AsyncIterator[bytes]:
        yield b""

    with pytest.raises(Busy, match="not ready for pushes"):
        asyncio.run(
            repositories.answer(
                "main", service, request={"QUERY_STRING": query}, body=body(), start=nothing, piece=nothing
            )
        )


def test_a_push_is_on_the_disk_before_it_is_answered(repositories: Repositories, tmp_path: Path) -> None:
    """git syncs files and no folder: a power cut took answered pushes back (`scripts/faults power`)."""
    programs, told, work = tmp_path / "programs", tmp_path / "told", tmp_path / "work"
    programs.mkdir()
    (programs / "sync").write_text(f'#!/bin/sh\necho "$@" >>{told}\nexec /bin/sync "$@"\n')
    (programs / "sync").chmod(0o700)
    repositories.create("main", ["true"])
    git = Git(f"{programs}:{os.environ['PATH']}")
    told.unlink(missing_ok=True)
    git.run("init", "-q", "-b", "main", str(work))
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git.run(*identity, "commit", "-q", "--allow-empty", "-m", "a change", folder=work)
    git.run("push", "-q", str(repositories.path("main")), "main", folder=work)
    assert {"objects", "objects/pack", "refs/heads", "refs/heads/main"} <= set(told.read_text().split())


def test_a_repository_that_is_put_aside_comes_back_with_its_history(
    repositories: Repositories, repository: Repository
) -> None:
    commit(repository, a_zip=b"1")
    tip = repository.tip()
    aside = repositories.put_aside("main")
    assert not repositories.exists("main")
    assert repositories.list() == []
    assert Path(aside).is_dir()
    with pytest.raises(NotFound, match="pidex git enable"):
        repositories.get("main")
    assert repositories.create("main", ["true"]).tip() == tip
    assert repositories.list() == ["main"]


def test_one_at_a_time(repositories: Repositories, repository: Repository) -> None:
    with repositories.lock("main", seconds=1):
        with pytest.raises(Busy, match="under way"), repositories.lock("main", seconds=0):
            pass
        with repositories.lock("other", seconds=0):
            pass
    with repositories.lock("main", seconds=0):
        pass


def test_nobody_s_configuration_counts(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[core]\n\thooksPath = /evil\n[init]\n\tdefaultBranch = evil\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    told = repository.git.run("config", "core.hooksPath", environ=repository.git.environ(repository.folder))
    assert b"/evil" not in told
    assert (repository.folder / "HEAD").read_text() == f"ref: {REF}\n"


def test_who_prepares_at_the_same_time_waits(repositories: Repositories, repository: Repository) -> None:
    said: list[BaseException] = []

    def prepare(number: int) -> None:
        try:
            repositories.prepare("main", ["true", str(number)])
        except BaseException as error:
            said.append(error)

    config = repository.folder / "config"
    config.write_text("[core]\n\tbare = true\n")  # so that there is much to set
    threads = [threading.Thread(target=prepare, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == []
    assert "hooksPath" in config.read_text()


def test_what_a_git_locked_that_died_is_set_all_the_same(
    repositories: Repositories, repository: Repository
) -> None:
    config, left = repository.folder / "config", repository.folder / "config.lock"
    config.write_text("[core]\n\tbare = true\n")
    left.write_text("half")
    with pytest.raises(Failed, match="lock"):  # it may be a living one's
        repositories.prepare("main", ["true"])
    os.utime(left, (NOW, NOW))
    repositories.prepare("main", ["true"])
    assert "hooksPath" in config.read_text()
    assert not left.exists()


def test_a_missing_git_is_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="git is not installed"):
        _ = Git(str(tmp_path)).program
    fake = tmp_path / "git"
    fake.write_text(f"#!/bin/sh\necho {tmp_path}\n")
    fake.chmod(0o755)
    with pytest.raises(Missing, match="without its http-backend"):
        Repositories(tmp_path, Git(str(tmp_path))).check()


def test_a_folder_becomes_a_work_tree_and_names_what_is_in_the_way(git: Git, tmp_path: Path) -> None:
    (tmp_path / "demo-1.0.tar.gz").write_bytes(b"x")
    assert follow_work_tree(git, tmp_path) == ["?? demo-1.0.tar.gz"]
    assert follow_work_tree(git, tmp_path) == ["?? demo-1.0.tar.gz"]
    told = git.run("config", "receive.denyCurrentBranch", folder=tmp_path)
    assert told == b"updateInstead\n"


def test_the_end_of_a_process_is_noticed() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        running = process_of(child.pid)
        assert not await_end(running, 0.1)
        threading.Timer(0.1, child.stdin.close).start()
        assert await_end(running, 20)  # as a zombie, since nobody has waited for it
    assert await_end(running, 0)
    assert await_end((os.getpid(), "1"), 0), "the number is another process's now"


@pytest.mark.parametrize("told", [True, False])
def test_a_process_that_cannot_be_looked_at_has_not_ended(
    monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    if not told:  # by the system, which has no descriptor left for it
        monkeypatch.delattr(os, "pidfd_open")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        running = process_of(child.pid)
        with Shim("EIO", 1, lasting=True).standing():
            assert not await_end(running, 0.1)
            child.stdin.close()
            assert await_end(running, 20 if told else 0.1) is told
        assert await_end(running, 20)


def test_a_branch_that_git_cannot_tell_of_is_not_taken_for_none(git: Git, tmp_path: Path) -> None:
    repository = Repositories(tmp_path, git).create("main", ["true"])
    assert repository.tip() is None
    (repository.folder / "HEAD").unlink()
    with pytest.raises(Failed, match="not a git repository"):
        repository.tip()


# --- CGI ----------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self) -> None:
        self.status, self.headers, self.body, self.most = 0, list[tuple[str, str]](), bytearray(), 0

    async def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, headers

    async def piece(self, data: bytes) -> None:
        self.body += data
        self.most = max(self.most, len(data))


async def body(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def run(script: str, parts: AsyncIterator[bytes], answer: Answer) -> None:
    program = [sys.executable, "-c", script]
    asyncio.run(cgi.run(program, {"X": "1"}, parts, answer.start, answer.piece, folder="/"))


ECHO = "import sys, os; print('Status: 418 T\\r\\nX-Y: z\\r\\n\\r\\n', end='', flush=True); "


def test_a_program_answers_while_it_is_asked() -> None:
    answer = Answer()
    script = ECHO + "sys.stdout.buffer.write(sys.stdin.buffer.read())"
    run(script, body(*[b"x" * 100_000] * 50), answer)
    assert (answer.status, answer.headers) == (418, [("x-y", "z")])
    assert len(answer.body) == 5_000_000
    assert answer.most <= cgi.BLOCK_BYTES


def test_a_program_sees_nothing_but_what_it_is_given() -> None:
    answer = Answer()
    run(ECHO + "print(sorted(set(os.environ) - {'LC_CTYPE'}), os.getcwd())", body(), answer)
    assert answer.body == b"['X'] /\n"


def test_a_program_that_does_not_listen_still_answers() -> None:
    answer = Answer()
    run(ECHO + "os.close(0); print('enough')", body(*[b"x" * 100_000] * 50), answer)
    assert answer.body == b"enough\n"


def test_a_program_without_an_answer_is_silent() -> None:
    with pytest.raises(cgi.Silent, match="oh dear"):
        run("import sys; sys.exit('oh dear')", body(), Answer())


def test_who_leaves_in_the_middle_ends_the_program(tmp_path: Path) -> None:
    class Left(Exception):
        pass

    async def half() -> AsyncIterator[bytes]:
        yield b"x"
        raise Left

    script = f"import sys; n = len(sys.stdin.buffer.read()); open({str(tmp_path / 'n')!r}, 'w').write(str(n))"
    with pytest.raises(Left):
        run(script, half(), Answer())
    assert (tmp_path / "n").read_text() == "1"

    class Gone(Answer):
        async def piece(self, data: bytes) -> None:
            raise Left

    script = (
        ECHO + f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: print('x' * 999)"
    )
    with pytest.raises(Left):
        run(script, body(), Gone())
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()
