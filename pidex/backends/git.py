"""The system's git, without anybody's configuration; a bare repository, read in pieces and committed to."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from pidex.core import pushes
from pidex.core.errors import BadRequest, CannotStart, Conflict, StorageFull
from pidex.core.pushes import REF, Record, Tree

#: Bytes copied at once.
BLOCK_BYTES = 256 * 1024
#: Seconds that git may take for a question about a repository.
ASK_SECONDS = 120.0


class Missing(CannotStart):
    """git, or a part of it, is not on this machine."""

    code, status, title = "git-missing", 503, "git is missing"


class Failed(Conflict):
    """git refused what it was asked for. The text is its own."""

    code, status, title = "git-failed", 409, "git failed"

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Git:
    """The system's git, found on a search path, run without anybody's configuration."""

    def __init__(self, search: str) -> None:
        self._search = search

    @cached_property
    def program(self) -> str:
        """Where git is. Raises `Missing`."""
        found = shutil.which("git", path=self._search)
        if found is None:
            raise Missing(
                "git is not installed on this machine: install it (Debian, Ubuntu: apt install git)."
            )
        return found

    @cached_property
    def http_backend(self) -> str:
        """Where `git http-backend` is. Raises `Missing`."""
        found = Path(self.run("--exec-path").decode().strip()) / "git-http-backend"
        if not os.access(found, os.X_OK):
            raise Missing(
                f"git is installed without its http-backend ({found} is missing), so repositories cannot be"
                " reached by HTTP: install all of git. ssh and paths work without."
            )
        return str(found)

    def environ(self, repository: Path | None = None, **more: str) -> dict[str, str]:
        """Everything that git is told: no configuration of users or the system, no questions asked."""
        told = {
            "PATH": self._search,
            "LC_ALL": "C",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
        }
        if repository is not None:
            told["GIT_DIR"] = str(repository)
        return told | more

    def run(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        folder: Path | None = None,
        seconds: float = ASK_SECONDS,
    ) -> bytes:
        """Run git to its end and return what it printed. Raises `Failed` with what it complained of."""
        done = subprocess.run(  # noqa: S603  # arguments of ours; names from outside are object names or paths
            [self.program, *arguments],
            env=dict(environ) if environ is not None else self.environ(),
            input=stdin, capture_output=True, cwd=folder, timeout=seconds, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
            raise Failed(f"git {arguments[0]} failed: {said}", done.returncode)
        return done.stdout


class Repository:
    """A bare repository. `quarantine`: where git has the objects of a push that is not accepted yet."""

    def __init__(self, git: Git, folder: Path, quarantine: str | None = None) -> None:
        self.git, self.folder = git, folder
        self._environ = git.environ(folder)
        self._quarantine = quarantine
        if quarantine is not None:
            held, objects = Path(quarantine).resolve(), (folder / "objects").resolve()
            if held.parent != objects or not held.is_dir():
                raise BadRequest("The objects of the push are not where git puts them.")
            self._environ |= {
                "GIT_OBJECT_DIRECTORY": str(held),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
                "GIT_QUARANTINE_PATH": str(held),
            }

    def _run(self, *arguments: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
        return self.git.run(*arguments, environ=self._environ | dict(more or {}), stdin=stdin)

    def tip(self) -> str | None:
        """The commit of the branch; None where there is none yet. Raises `Failed` where git cannot say."""
        try:
            return self._run("rev-parse", "--verify", "--quiet", f"{REF}^{{commit}}").decode().strip()
        except Failed as error:
            if error.exit_code == 1:  # that it is not there; git itself fails by other numbers
                return None
            raise

    def tree(self, commit: str | None, *, sizes: bool = False) -> Tree:
        """The files of a commit. Raises `Failed` for what is none."""
        if commit is None:
            return {}
        options = ("-r", "-z", "--full-tree", *(("-l",) if sizes else ()))
        try:
            return pushes.tree(self._run("ls-tree", *options, f"{commit}^{{tree}}"))
        except ValueError as error:
            raise Failed(f"{error} cannot be an index.") from None

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit is the other or lies before it."""
        try:
            self._run("merge-base", "--is-ancestor", older, newer)
        except Failed:
            return False
        return True

    @contextlib.contextmanager
    def blobs(self) -> Iterator[Callable[[str, Callable[[bytes], object]], int]]:
        """A function that copies a blob to a writer, in pieces, and returns its size in bytes."""
        command = [self.git.program, "cat-file", "--batch"]
        with subprocess.Popen(  # noqa: S603  # see above
            command, env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            asked, told = process.stdin, process.stdout
            assert asked is not None
            assert told is not None
            try:
                yield lambda oid, write: _copy(asked, told, oid, write)
            finally:
                process.kill()

    def blob(self, oid: str, most: int) -> bytes:
        """A small blob. Raises `Failed` beyond `most` bytes."""
        found = bytearray()

        def take(data: bytes) -> None:
            found.extend(data)
            if len(found) > most:
                raise Failed(f"{oid} is longer than {most} bytes.")

        with self.blobs() as copy:
            copy(oid, take)
        return bytes(found)

    def remove(self, paths: Iterable[str], *, by: str, message: str, now: float) -> str | None:
        """Make a commit in which these files are gone; None where none of them was there.

        The branch stays where it is: `point` moves it.
        """
        tip = self.tip()
        if tip is None:
            return None
        there = self.tree(tip)
        listed = [f"0 {'0' * len(tip)}\t{path}" for path in paths if path in there]
        if not listed:
            return None
        index = self.folder / f"pidex-{secrets.token_hex(8)}.index"
        try:
            own = {"GIT_INDEX_FILE": str(index)}
            self._run("read-tree", tip, more=own)
            entries = "".join(f"{line}\0" for line in listed).encode("utf-8", "surrogateescape")
            self._run("update-index", "-z", "--index-info", stdin=entries, more=own)
            made = self._run("write-tree", more=own).decode().strip()
        finally:
            index.unlink(missing_ok=True)
        return self._commit(made, [tip], by=by, message=message, now=now)

    def fence(self, tip: str | None, *, by: str, now: float) -> None:
        """Move the branch on from `tip` by a commit that changes nothing: nobody else moves it from there."""
        same = self._run("mktree") if tip is None else self._run("rev-parse", f"{tip}^{{tree}}")
        message = "A push that was cut is put back\n"
        parents = [] if tip is None else [tip]
        made = self._commit(same.decode().strip(), parents, by=by, message=message, now=now)
        with contextlib.suppress(Failed):  # it moved in this moment
            self.point(made, tip)

    def point(self, commit: str | None, old: str | None) -> None:
        """Move the branch, which has to stand at `old`; None: it is not there. Raises `Failed`."""
        if commit is None:
            self._run("update-ref", "-d", REF, *([] if old is None else [old]))
        else:
            self._run("update-ref", "-m", "pidex", REF, commit, old or "0" * len(commit))

    def _commit(self, tree: str, parents: Sequence[str], *, by: str, message: str, now: float) -> str:
        who = _person(by)
        named = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (
                ("NAME", who),
                ("EMAIL", f"{who}@pidex.invalid"),
                ("DATE", f"@{int(now)} +0000"),
            )
        }
        options = [option for parent in parents for option in ("-p", parent)]
        made = self._run("commit-tree", tree, *options, stdin=message.encode(), more=named)
        return made.decode().strip()

    def commit_files(
        self, files: Iterable[tuple[str, int, Iterator[bytes]]], *, by: str, message: str, now: float
    ) -> int:
        """Make the first commit, of files given as (path, size, pieces); how many. Memory stays constant."""
        who, count, names = _person(by), 0, []
        with subprocess.Popen(  # noqa: S603  # see above
            [self.git.program, "fast-import", "--quiet", "--done"],
            env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stderr is not None
            try:
                for path, size, pieces in files:
                    count += 1
                    process.stdin.write(b"blob\nmark :%d\ndata %d\n" % (count, size))
                    for piece in pieces:
                        process.stdin.write(piece)
                    process.stdin.write(b"\n")
                    names.append(path)
                text = message.encode()
                head = f"commit {REF}\ncommitter {who} <{who}@pidex.invalid> {int(now)} +0000\n"
                process.stdin.write(head.encode() + b"data %d\n%s\n" % (len(text), text))
                for number, path in enumerate(names, 1):
                    process.stdin.write(b"M 100644 :%d %s\n" % (number, _quoted(path)))
                process.stdin.write(b"\ndone\n")
                process.stdin.close()
            except BrokenPipeError:
                pass
            except BaseException:
                process.kill()
                raise
            complaint = process.stderr.read(BLOCK_BYTES).decode("utf-8", "replace")
        if process.returncode != 0:
            raise Failed(f"git fast-import failed: {complaint.strip()}")
        return count

    # --- packs ----------------------------------------------------------------------------------------------

    def incoming(self) -> list[Path]:
        """The packs that the push under way brought, each complete in itself."""
        return [] if self._quarantine is None else sorted(Path(self._quarantine).glob("pack/*.pack"))

    @contextlib.contextmanager
    def packed(self, old: str | None, new: str) -> Iterator[Path]:
        """What leads from one commit to another as a pack, for as long as the block runs."""
        path = self.folder / f"pidex-{secrets.token_hex(8)}.pack"
        wanted = f"{new}\n" + (f"^{old}\n" if old is not None else "")
        try:
            with path.open("wb") as file:
                self._stream("pack-objects", "--revs", "--stdout", "-q", told=wanted.encode(), out=file)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def take(self, pieces: Iterable[bytes], sha256: str) -> None:
        """Have the objects of a pack, whose bytes have this hash. Raises `Failed`."""
        path, digest = self.folder / f"pidex-{secrets.token_hex(8)}.pack", hashlib.sha256()
        try:
            with path.open("wb") as file:
                for piece in pieces:
                    digest.update(piece)
                    file.write(piece)
            if digest.hexdigest() != sha256:
                raise Failed(f"The pack {sha256} has other bytes.")
            with path.open("rb") as file:
                self._stream("index-pack", "--stdin", taken=file)
        finally:
            path.unlink(missing_ok=True)

    def _stream(
        self, *arguments: str, told: bytes | None = None, taken: IO[bytes] | None = None, out: object = None
    ) -> None:
        """Run git over files, however large."""
        done = subprocess.run(  # noqa: S603  # see above
            [self.git.program, *arguments], env=self._environ, check=False, stderr=subprocess.PIPE,
            stdout=out or subprocess.DEVNULL, **({"input": told} if taken is None else {"stdin": taken}),
        )  # type: ignore[call-overload]  # fmt: skip
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()
            raise Failed(f"git {arguments[0]} failed: {said}")

    @property
    def mark(self) -> str:
        """What was noted of this copy of a repository; '' where nothing was."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return (self.folder / "pidex-mark").read_text(encoding="ascii")
        return ""

    @mark.setter
    def mark(self, text: str) -> None:
        fresh = self.folder / "pidex-mark.new"
        fresh.write_text(text, encoding="ascii")
        fresh.rename(self.folder / "pidex-mark")

    # --- the push under way ---------------------------------------------------------------------------------

    @property
    def _record(self) -> Path:
        return self.folder / "pidex-push"

    def keep(self, record: Record | None) -> None:
        """Write down, for good, what a push is about to place; None: it has come to its end."""
        try:
            if record is None:
                self._record.unlink(missing_ok=True)
            else:
                self._write(record)
            self._sync()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"There is no space left for pushes to {self.folder.stem}.") from None
            raise

    def _write(self, record: Record) -> None:
        fresh = self._record.with_suffix(".new")
        try:
            with fresh.open("w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(record.text())
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(self._record)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise

    def _sync(self) -> None:
        """Have the names in the repository on the disk."""
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sweep(self) -> None:
        """Unlink what a kill left of records and commits on their way. For who holds the lock."""
        for pattern in ("pidex-push.new", "pidex-*.index", "pidex-*.index.lock", "pidex-*.pack"):
            for left in self.folder.glob(pattern):
                left.unlink(missing_ok=True)

    def kept(self) -> Record | None:
        """The push that was under way and never came to its end, or None."""
        try:
            return pushes.record(self._record.read_text(encoding="utf-8", errors="surrogateescape"))
        except FileNotFoundError:
            return None


def _copy(asked: IO[bytes], told: IO[bytes], oid: str, write: Callable[[bytes], object]) -> int:
    asked.write(f"{oid}\n".encode())
    asked.flush()
    head = told.readline().decode("ascii", "replace").split()
    if len(head) != 3 or head[1] != "blob":
        raise Failed(f"The repository has no file {oid}.")
    size = left = int(head[2])
    failure: Exception | None = None
    while left:
        data = told.read(min(left, BLOCK_BYTES))
        if not data:
            raise Failed(f"The repository's file {oid} cannot be read to its end.")
        left -= len(data)
        if failure is None:
            try:
                write(data)
            except Exception as error:
                failure = error  # the rest is read all the same: the next blob comes after it
    told.read(1)
    if failure is not None:
        raise failure
    return size


def _person(name: str) -> str:
    """A name as git takes it in the line of an author."""
    return "".join(c for c in name if c.isprintable() and c not in '<>"\\').strip(" .,:;'") or "pidex"


def _quoted(path: str) -> bytes:
    """A path as fast-import reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'.encode("utf-8", "surrogateescape")
