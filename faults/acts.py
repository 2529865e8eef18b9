"""What is done to an index in this process while calls fail: each act, and how it is seen to be done."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.wheels import wheel
from faults.client import MULTIPART, form
from faults.load import API, JSON
from faults.server import Broken
from faults.shim import Shim
from tests.upstreams import LocalUpstream

#: What `download` and `fetch` say of bytes that are not the file's.
WRONG = 299
#: Seconds in which what goes on beside an answer has to end: the rest of a file on its way, a push's end.
REST_SECONDS = 20.0
_REF = "refs/heads/main"


@dataclass(frozen=True)
class Reply:
    """What the site answered."""

    status: int
    body: bytes


class House:
    """A folder, its repository, an upstream on this machine, and the site over them in this process."""

    def __init__(self, place: Path) -> None:
        from pidex import app
        from pidex.app.known import settle
        from pidex.core.model import OPERATOR

        self.folder, self.data = place / "packages", place / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.upstream = LocalUpstream()
        self.upstream.start()
        flags = {
            "folders": (str(self.folder),), "data": str(self.data), "guard": "", "page_wait": "0.2",
            "upstream": self.upstream.url,
        }  # fmt: skip
        self.pidex = app.build(app.Source(flags, {}).settings(), {}, create=True)
        settle(self.pidex.catalogue, self.pidex.settings, self.pidex.clock)
        self.site = app.site(self.pidex, None)
        self.loop = asyncio.new_event_loop()
        self.reconciler = self.pidex.reconciler()
        self.intake = self.pidex.intake()
        self.pushes = self.pidex.pushes()
        self.repository = self.data / "git" / "main.git"
        if shutil.which("git"):
            self.pushes.enable("main", empty=True, by=OPERATOR)
            self.repository = self.pidex.repositories().path("main")
        self.reconciler.scan()

    def close(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))
        self.site.close()
        self.pidex.close()
        self.loop.close()
        self.upstream.stop()

    def rest(self) -> None:
        """Let what goes on beside answers go on for a moment; no file is kept open for the next who asks."""
        self.site.files.drop_project(None, None)
        self.loop.run_until_complete(asyncio.sleep(0.02))

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

    def download(self, project: str, data: bytes) -> int:
        """The status of a project's page and its file; `WRONG` where that is answered with other bytes."""
        page = self.ask("GET", f"/simple/{project}/", accept=JSON)
        if page.status != 200:
            return page.status
        reply = self.ask("GET", json.loads(page.body)["files"][0]["url"].removeprefix("../.."))
        if reply.status == 200 and reply.body != data:
            # An answer that is cut has announced a length: the client sees that it is not whole.
            return 503 if data.startswith(reply.body) else WRONG
        return reply.status

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """git on the index's repository, without its hooks."""
        identity = {f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environ = {"PATH": os.environ["PATH"], "GIT_DIR": str(self.repository), "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments], input=stdin, capture_output=True, check=True,
            env=environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull},
        )  # fmt: skip
        return done.stdout.decode().strip()

    def call(self, name: str, **args: object) -> dict[str, Any]:
        """What the server's control socket answers to a call."""
        from pidex.core.model import OPERATOR
        from pidex.ingress.control import Control

        control = Control(self.data, {"git.receive": self.pushes.receive})
        ours, theirs = socket.socketpair()
        with ours, theirs:
            line = json.dumps({"call": name, "args": args}).encode() + b"\n"
            control._answer(theirs, line, [], OPERATOR)
            answer: dict[str, Any] = json.loads(ours.makefile("rb").readline())
        return answer

    def branch(self) -> tuple[str, list[str]]:
        """The newest commit ('' where there is none) and the paths in it."""
        tip = self.git("for-each-ref", "--format=%(objectname)", _REF)
        return tip, self.git("ls-tree", "-r", "--name-only", tip).split() if tip else []

    def end_pushes(self) -> None:
        """What a start does with pushes that were cut, once none is under way."""
        stop = threading.Event()
        stop.set()
        self.pushes.run(stop)

    def open_files(self) -> Counter[str]:
        """Open files below the folder, and of those that come from upstreams."""
        found: Counter[str] = Counter()
        below = (str(self.folder), str(self.data / "mirror"))
        for entry in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{entry}")
                found[target] += target.startswith(below)
        return +found

    def litter(self) -> list[str]:
        """Names of what is still on its way, in the folder, the mirror and the repository."""
        arriving = self.data / "mirror" / "arriving"
        found = [path.name for path in self.folder.iterdir() if path.name.startswith(".")]
        found += [path.name for path in arriving.iterdir()] if arriving.exists() else []
        return found + [path.name for path in self.repository.glob("pidex-*")]


@dataclass
class Try:
    """One act on files of its own: each a fresh one, and an old one that is there."""

    house: House
    number: int

    def __post_init__(self) -> None:
        self.old = wheel(f"old{self.number}", "1.0")
        self.new = wheel(f"new{self.number}", "1.0", b"x" * 3_000)
        self.dropped = wheel(f"dropped{self.number}", "1.0")
        self.pushed_ones = [wheel(f"pushed{self.number}", f"1.{turn}", b"y" * 9_000) for turn in range(2)]
        self.far = wheel(f"far{self.number}", "1.0", b"z" * 9_000)
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
        return self.house.download(f"old{self.number}", self.old[1])

    def whole(self) -> bool:
        return self.download() == 200

    def fetch(self) -> int:
        """A file that an upstream has: its page, and its bytes."""
        project = f"far{self.number}"
        if project not in self.house.upstream.files:
            self.house.upstream.add(self.far)
        return self.house.download(project, self.far[1])

    def fetched(self) -> bool:
        """It lies here: it can be had without the upstream."""
        faults = self.house.upstream
        faults.fault("500")
        try:
            return self.house.download(f"far{self.number}", self.far[1]) == 200
        finally:
            faults.heal()

    def push(self) -> int:
        """What git's hook and git itself do: ask, then move the branch where the answer is yes."""
        house = self.house
        with Shim.unguarded():
            old, new = self._commit()
            git = subprocess.Popen(["sleep", "600"])
            started = Path(f"/proc/{git.pid}/stat").read_text().rpartition(")")[2].split()[19]
        told = f"{old or '0' * 40} {new} {_REF}\n"
        try:
            said = house.call(
                "git.receive", index="main", updates=told, objects=None, process=[git.pid, started]
            )
            if "error" in said:
                return {"storage-full": 507, "error": 500}.get(said["error"]["code"], 503)
            if said["result"]["accepted"]:
                house.git("update-ref", _REF, new, old)
                return 200
            # Each file of a push is refused by a line of its own.
            return 507 if "no space left" in " ".join(said["result"]["lines"]) else 403
        finally:
            git.kill()
            git.wait()

    def _commit(self) -> tuple[str, str]:
        """The branch's newest commit, and one after it that has the files of this try."""
        git, (old, _) = self.house.git, self.house.branch()
        listing = git("ls-tree", old) + "\n" if old else ""
        for filename, data in self.pushed_ones:
            listing += f"100644 blob {git('hash-object', '-w', '--stdin', stdin=data)}\t{filename}\n"
        tree = git("mktree", stdin="".join(sorted(set(listing.splitlines(keepends=True)))).encode())
        parents = ("-p", old) if old else ()
        return old, git("commit-tree", tree, *parents, "-m", f"try {self.number}")

    def pushed(self) -> bool:
        """Index and branch have both files. Raises `Broken` where they differ, or a part is there."""
        house = self.house
        end = time.monotonic() + REST_SECONDS
        while any(house.repository.glob("pidex-push")) and time.monotonic() < end:
            house.end_pushes()
        wanted = {name for name, _ in self.pushed_ones}
        there, (_, branch) = set(house.listed(f"pushed{self.number}")), house.branch()
        if there != wanted & set(branch) or there not in (wanted, set()):
            raise Broken(f"the branch has {sorted(wanted & set(branch))}, the index {sorted(there)}")
        return there == wanted


#: What is done, and how it is seen that it is done.
ACTS: dict[str, tuple[Callable[[Try], int], Callable[[Try], bool]]] = {
    "upload": (Try.upload, Try.uploaded),
    "delete": (Try.delete, Try.deleted),
    "yank": (Try.yank, Try.yanked),
    "adopt": (Try.adopt, Try.adopted),
    "push": (Try.push, Try.pushed),
    "fetch": (Try.fetch, Try.fetched),
    "download": (Try.download, Try.whole),
    "snapshot": (Try.snapshot, Try.copied),
}
