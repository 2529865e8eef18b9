"""Every storage call may fail: the N-th one, for every N, by every way a disk has to refuse."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import errno
import gc
import io
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from bench.wheels import wheel
from faults.client import MULTIPART, form
from faults.load import API, JSON
from faults.server import Broken

_CREATES = frozenset(
    {"open", "write", "pwrite", "fsync", "fdatasync", "link", "rename", "replace", "mkdir", "ftruncate"}
)
_READS = frozenset({"read", "pread", "preadv", "fstat", "stat", "lstat", "scandir", "statvfs", "fstatvfs"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
#: Which calls fail so, by the name of the error.
KINDS: dict[str, frozenset[str]] = {
    "ENOSPC": _CREATES,
    "EDQUOT": _CREATES,
    "EIO": _CREATES | _READS | {"unlink"},
    "EROFS": frozenset({"open", "link", "rename", "replace", "unlink", "mkdir", "ftruncate"}),
    "EMFILE": frozenset({"open", "scandir"}),
    "short write": frozenset({"write", "pwrite"}),
}
_ALL = _CREATES | _READS | {"unlink"}
#: Seconds in which a next try has to succeed where it is told to come back.
AGAIN_SECONDS = 5.0
#: Modules through which pidex makes its calls.
_BETWEEN = ("pathlib", "shutil", "contextlib", "tempfile", "genericpath", "posixpath", "os", "faults.calls")


class Shim:
    """Stands before the calls that pidex makes of `os`; the N-th fails, and with `lasting` all after it.

    Calls of others (the HTTP server, asyncio, this harness) pass. SQLite makes its own: see `faults.sqlite`.
    """

    _passing = False

    def __init__(self, kind: str, number: int, *, lasting: bool = False) -> None:
        self._kind, self._number, self._lasting = kind, number, lasting
        self.seen = 0
        self.where = ""
        self._lock = threading.Lock()

    @staticmethod
    @contextlib.contextmanager
    def unguarded() -> Iterator[None]:
        """The harness's own calls, which succeed."""
        Shim._passing = True
        try:
            yield
        finally:
            Shim._passing = False

    @contextlib.contextmanager
    def standing(self) -> Iterator[Shim]:
        """In force within the block."""
        kept = {name: getattr(os, name) for name in _ALL}
        opened = builtins.open
        for name, call in kept.items():
            setattr(os, name, self._guard(name, call))
        builtins.open = io.open = self._guard("open", opened)
        try:
            yield self
        finally:
            for name, call in kept.items():
                setattr(os, name, call)
            builtins.open = io.open = opened

    def _guard(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self._due(name, args):
                if self._kind != "short write":
                    code = getattr(errno, self._kind)
                    raise OSError(code, os.strerror(code))
                if len(args[1]) > 1:
                    return call(args[0], args[1][: len(args[1]) // 2], *args[2:], **kwargs)
            return call(*args, **kwargs)

        return guarded

    def _due(self, name: str, args: tuple[Any, ...]) -> bool:
        if self._passing or name not in KINDS[self._kind] or not _ours(sys._getframe(2)):
            return False
        if name == "open" and self._kind in ("ENOSPC", "EDQUOT", "EROFS") and not _writes(args):
            return False
        with self._lock:
            self.seen += 1
            due = self.seen == self._number or (self._lasting and self.seen > self._number)
            if self.seen == self._number:
                self.where = f"{name} in {_caller(sys._getframe(2))}"
        return due


def _writes(args: tuple[Any, ...]) -> bool:
    how = args[1] if len(args) > 1 else "r"
    return bool(how & _WRITING) if isinstance(how, int) else any(letter in str(how) for letter in "wax+")


def _ours(frame: FrameType | None) -> bool:
    """Whether a call comes from pidex' own modules, by way of the library's or not."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] not in _BETWEEN and module not in _BETWEEN:
            return bool(module.startswith("pidex."))
        frame = frame.f_back
    return False


def _caller(frame: FrameType | None) -> str:
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith("pidex."):
            return f"{frame.f_globals['__name__']}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


# --- an index in this process -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """What the site answered."""

    status: int
    body: bytes


class House:
    """A folder, and the site over it in this process."""

    def __init__(self, place: Path) -> None:
        from pidex import app

        self.folder, self.data = place / "packages", place / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = {"folders": (str(self.folder),), "data": str(self.data), "guard": "", "page_wait": "0.2"}
        self.pidex = app.build(app.Source(flags, {}).settings(), {}, create=True)
        self.site = app.site(self.pidex, None)
        self.loop = asyncio.new_event_loop()
        self.reconciler = self.pidex.reconciler()
        self.intake = self.pidex.intake()
        self.reconciler.scan()

    def close(self) -> None:
        self.site.close()
        self.pidex.close()
        self.loop.close()

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        """One request."""
        return self.loop.run_until_complete(self._ask(method, target, body, headers))

    async def _ask(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Reply:
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": target, "raw_path": target.encode(), "query_string": b"",
            "root_path": "", "client": ("127.0.0.1", 40000), "server": ("127.0.0.1", 3141),
            "headers": [(b"host", b"index.test"), (b"content-length", str(len(body)).encode()), *given],
        }  # fmt: skip
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])
        status, said = 0, b""

        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                await asyncio.Event().wait()
            return message

        async def send(message: Any) -> None:
            nonlocal status, said
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                said += message.get("body", b"")

        await self.site(scope, receive, send)
        return Reply(status, said)

    def upload(self, sample: tuple[str, bytes]) -> Reply:
        return self.ask("POST", "/legacy/", form(*sample), content_type=MULTIPART)

    def listed(self, project: str) -> dict[str, str]:
        """File name to sha256."""
        reply = self.ask("GET", f"/simple/{project}/", accept=JSON)
        files = json.loads(reply.body)["files"] if reply.status == 200 else []
        return {file["filename"]: file["hashes"]["sha256"] for file in files}


@dataclass
class Try:
    """One act on files of its own: a fresh one to send, an old one to change, one to drop into the folder."""

    house: House
    number: int

    def __post_init__(self) -> None:
        self.old = wheel(f"old{self.number}", "1.0")
        self.new = wheel(f"new{self.number}", "1.0", b"x" * 3_000)
        self.dropped = wheel(f"dropped{self.number}", "1.0")
        self.file = f"{API}/old{self.number}/files/{self.old[0]}"
        if self.house.upload(self.old).status != 200:
            raise Broken("the set-up failed")

    def upload(self) -> int:
        return self.house.upload(self.new).status

    def uploaded(self) -> bool:
        return self.new[0] in self.house.listed(f"new{self.number}")

    def delete(self) -> int:
        return self.house.ask("DELETE", self.file).status

    def deleted(self) -> bool:
        return self.old[0] not in self.house.listed(f"old{self.number}")

    def yank(self) -> int:
        return self.house.ask("PUT", f"{self.file}/yank", b"{}", content_type="application/json").status

    def yanked(self) -> bool:
        reply = self.house.ask("GET", f"/simple/old{self.number}/", accept=JSON)
        return any(file["yanked"] for file in json.loads(reply.body)["files"])

    def adopt(self) -> int:
        """A file comes into the folder, and the loop looks; it goes on whatever happens."""
        path = self.house.folder / self.dropped[0]
        with Shim.unguarded():
            if not path.exists():
                path.write_bytes(self.dropped[1])
        try:
            self.house.reconciler.scan()
        except Exception:
            return 503  # as `Loops` has it: logged, and started again
        return 200 if self.adopted() else 503

    def adopted(self) -> bool:
        return self.dropped[0] in self.house.listed(f"dropped{self.number}")

    def snapshot(self) -> int:
        from pidex.catalogue import snapshots

        path = self.house.data / "catalogue.db"
        try:
            snapshots.take(path, snapshots.folder_of(path), 1_900_000_000.0 + self.number, why="daily")
        except Exception:
            return 503
        return 200

    def copied(self) -> bool:
        """No snapshot is half, and none is left on its way."""
        folder = self.house.data / "snapshots"
        for path in folder.iterdir() if folder.exists() else ():
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                if connection.execute("pragma quick_check").fetchone()[0] != "ok":
                    return False
        return True

    def download(self) -> int:
        page = self.house.ask("GET", f"/simple/old{self.number}/", accept=JSON)
        if page.status != 200:
            return page.status
        reply = self.house.ask("GET", json.loads(page.body)["files"][0]["url"].removeprefix("../.."))
        if reply.status == 200 and reply.body != self.old[1]:
            # An answer that is cut has announced a length: the client sees that it is not whole.
            return 503 if self.old[1].startswith(reply.body) else WRONG
        return reply.status

    def whole(self) -> bool:
        return self.download() == 200


#: What `download` says of bytes that are not the file's.
WRONG = 299
#: What is done, and how it is seen that it is done.
ACTS: dict[str, tuple[Callable[[Try], int], Callable[[Try], bool]]] = {
    "upload": (Try.upload, Try.uploaded),
    "delete": (Try.delete, Try.deleted),
    "yank": (Try.yank, Try.yanked),
    "adopt": (Try.adopt, Try.adopted),
    "download": (Try.download, Try.whole),
    "snapshot": (Try.snapshot, Try.copied),
}
_FULL = frozenset({"ENOSPC", "EDQUOT"})


class Series:
    """All calls of some acts, failing one after the other; counts what came of it."""

    def __init__(self, place: Path) -> None:
        self.house = House(place)
        self.number = 0
        self.counts: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def run(self, act: str, kind: str, *, lasting: bool = False, every: int = 1) -> None:
        """The first, second, ... call of an act fails, until it makes no more calls. Raises `Broken`."""
        call = 1
        while self._fail(act, kind, call, lasting=lasting):
            call += every

    def _fail(self, act: str, kind: str, call: int, *, lasting: bool) -> bool:
        house, do = self.house, ACTS[act][0]
        self.number += 1
        one = Try(house, self.number)
        before = _descriptors(house.folder)
        with Shim(kind, call, lasting=lasting).standing() as shim:
            status = do(one)
        if shim.seen < call:
            return False
        what = f"{act}, {kind} at call {call} ({shim.where}){', lasting' if lasting else ''}"
        self.counts[act] += 1
        self.notes[f"{act} {kind}: {status}"] += 1
        if status not in (200, 403, 500, 503, 507):
            raise Broken(f"{what}: answered {status}")
        if kind in _FULL and status not in (200, 503, 507) and act in ("upload", "delete", "yank"):
            raise Broken(f"{what}: a full disk answered {status}")
        gc.collect()
        if left := _descriptors(house.folder) - before:
            raise Broken(f"{what}: descriptors are left: {left}")
        self._look(one, what, status, act)
        return True

    def _look(self, one: Try, what: str, status: int, act: str) -> None:
        """Nothing half, nothing left, and the next try does it."""
        house, (do, done) = self.house, ACTS[act]
        if status == 200 and not done(one):
            raise Broken(f"{what}: answered 200, and it is not so")
        # What a minute later, or a start, does with what could not be undone at once.
        house.intake.recover("main")
        litter = [path.name for path in house.folder.iterdir() if path.name.startswith(".")]
        if litter:
            raise Broken(f"{what}: left in the folder: {litter}")
        if status != 200:
            if act == "delete" and done(one):
                self.counts["deleted, and told of a failure"] += 1
            elif (again := once_more(one, do)) != 200:
                raise Broken(f"{what}: the next try answered {again}")
        if not done(one):
            raise Broken(f"{what}: the next try did not do it")
        house.reconciler.scan()
        if not done(one):
            raise Broken(f"{what}: undone by the next scan")
        if act != "delete" and one.old[0] not in house.listed(f"old{one.number}"):
            raise Broken(f"{what}: another file is not listed any more")
        whole = dict((one.old, one.new, one.dropped))
        for path in house.folder.iterdir():
            if path.name in whole and path.read_bytes() != whole[path.name]:
                raise Broken(f"{what}: {path.name} is partial")


def once_more(one: Try, do: Callable[[Try], int]) -> int:
    """The next try, and those after it while it is told to come back: the loop over the folder goes on."""
    end = time.monotonic() + AGAIN_SECONDS
    while (status := do(one)) == 503 and time.monotonic() < end:
        time.sleep(0.1)
        one.house.reconciler.scan()
    return status


def _descriptors(folder: Path) -> Counter[str]:
    """Open files of the folder."""
    found: Counter[str] = Counter()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{entry}")
            found[target] += target.startswith(str(folder))
    return +found


def run(
    acts: tuple[str, ...] = tuple(ACTS), kinds: tuple[str, ...] = tuple(KINDS), every: int = 1
) -> dict[str, object]:
    """Every call of acts, by each kind, once and lasting; the figures. Raises `Broken`."""
    place = Path(tempfile.mkdtemp(prefix="pidex-calls-"))
    try:
        series = Series(place)
        try:
            for act in acts:
                for kind in kinds:
                    for lasting in (False, True):
                        series.run(act, kind, lasting=lasting, every=every)
        finally:
            series.house.close()
        return {
            "faults": sum(series.counts[act] for act in acts),
            **series.counts,
            "answers": dict(series.notes),
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)
