"""The real program as a process: started on a free port, watched, stopped, and nothing of it left."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from bench.ports import free_port

TOP = Path(__file__).resolve().parents[2]

#: Seconds: to the first answer, for one exchange, from SIGTERM to the end.
START, EXCHANGE, END = 60.0, 60.0, 60.0

T = TypeVar("T")

#: Pauses of `until`, in seconds.
PAUSE = 0.05


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True)
class Listed:
    """One file as a project page lists it."""

    filename: str
    url: str  # absolute
    sha256: str


class Anchors(HTMLParser):
    """The anchors of a page: (href, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.href: str | None = None
        self.inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.href, self.inside = dict(attrs).get("href"), []

    def handle_data(self, data: str) -> None:
        self.inside.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self.href is not None:
            self.found.append((self.href, "".join(self.inside).strip()))
            self.href = None


def anchors(page: str) -> list[tuple[str, str]]:
    """Every anchor of an HTML page as (href, text)."""
    parser = Anchors()
    parser.feed(page)
    return parser.found


def fetch(
    url: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
) -> Answer:
    """One exchange on a connection of its own; never follows a redirect.

    Raises http.client.IncompleteRead or another HTTPException, or OSError, when the answer is cut.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=EXCHANGE)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        data = response.read()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
    finally:
        connection.close()


def environment(**extra: str) -> dict[str, str]:
    """An environment without any setting of ours or of an installer's from outside."""
    ours = re.compile(
        r"PIDEX_|PIP_|UV_|POETRY_|PDM_|PYTHON|VIRTUAL_ENV|GIT_|.*_(INDEX|PROXY)(_|$)", re.IGNORECASE
    )
    kept = {name: value for name, value in os.environ.items() if not ours.match(name)}
    kept["PIDEX_NO_UPSTREAM"] = "yes"  # a flag says which, where one is meant
    return kept | {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "*"} | extra


def until(what: Callable[[], T], *, seconds: float = 60.0, why: str = "") -> T:
    """Wait till `what()` is true and return that; an assertion fails when it never is."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < end, why or f"not within {seconds} s"
        time.sleep(PAUSE)


@dataclass(frozen=True)
class Process:
    """A process that was seen in /proc (Linux). `started` tells it from a later one of the same pid."""

    pid: int
    parent: int
    started: int
    state: str

    @property
    def alive(self) -> bool:
        """Does it still run?"""
        now = process(self.pid)
        return now is not None and now.started == self.started and now.state not in "ZX"


def process(pid: int) -> Process | None:
    """What runs under a pid now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), int(fields[19]), fields[0])


def family(pid: int) -> list[Process]:
    """A process and all that descend from it, whatever group or session they are in."""
    everything = [p for p in map(process, map(int, filter(str.isdigit, os.listdir("/proc")))) if p]
    found = [p for p in everything if p.pid == pid]
    for parent in found:
        found += [p for p in everything if p.parent == parent.pid]
    return found


class Server:
    """`pidex serve FOLDER ...` (or any command that serves) in a process group of its own.

    Use as a context manager. Leaving it stops the server and fails when it left a process behind or logged a
    traceback.
    """

    def __init__(
        self,
        *folders: Path,
        log: Path | None = None,
        options: Sequence[str] = (),
        command: Sequence[str] = (sys.executable, "-m", "pidex", "serve"),
        environ: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.folders = folders
        self.port = port or free_port()
        self.log_path = log or folders[0].parent / f"server-{self.port}.log"
        self.command = [*command, "-p", str(self.port), *options, *map(str, folders)]
        self.environ = environment(**(environ or {}))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def index_url(self) -> str:
        return f"{self.url}/simple/"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        """Everything that was written to stdout and stderr."""
        return self.log_path.read_text(errors="replace")

    def start(self) -> Server:
        """Start and wait for the first answer."""
        with self.log_path.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.environ,
                cwd=TOP,
                start_new_session=True,
            )
        try:
            until(self.answers, seconds=START, why="no answer from the server")
        except BaseException:
            self.kill()
            print(self.log())
            raise
        return self

    def answers(self) -> bool:
        """Does the server answer? Fails at once when its process has ended."""
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"the server ended with {status}:\n{self.log()}"
        try:
            return fetch(f"{self.url}/-/health").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """SIGTERM to the main process; none that descends from it may be left."""
        if self.process is None:
            return
        before = family(self.pid)
        try:
            if self.process.poll() is None:
                self.process.terminate()
            self.process.wait(END)
            until(lambda: not any(each.alive for each in before), why=f"left behind: {before}")
        finally:
            self.kill()
            self.process = None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self.log()[-8000:])
        self.stop()
        assert "Traceback (most recent call last)" not in self.log(), self.log()[-8000:]

    def why(self, subject: str) -> str:
        """What `pidex why` says of a file or project of this server's folders."""
        command = [sys.executable, "-m", "pidex", "why", subject, *map(str, self.folders)]
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def get(self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET") -> Answer:
        return fetch(self.url + path, headers, method=method)

    def files(self, project: str) -> list[Listed] | None:
        """What the project's page lists now: None for 404 or a redirect elsewhere. Raises Unready on 503."""
        url = f"{self.index_url}{project}/"
        answer = fetch(url, {"Accept": "application/vnd.pypi.simple.v1+json"})
        if answer.status in (303, 404):
            return None
        if answer.status == 503:
            assert "retry-after" in answer.headers, "503 without Retry-After"
            raise Unready(url)
        assert answer.status == 200, (answer.status, answer.body)
        return [
            Listed(file["filename"], urljoin(url, file["url"]), file["hashes"]["sha256"])
            for file in json.loads(answer.body)["files"]
        ]

    def names(self, project: str) -> list[str]:
        """The file names that the project's page lists, once it is ready; empty for 404."""
        return [file.filename for file in patiently(lambda: self.files(project)) or []]

    def wait_for(
        self, project: str, filename: str, *, data: bytes | None = None, seconds: float = 60.0
    ) -> Listed:
        """Wait till a file is listed (with the hash of `data`)."""
        wanted = None if data is None else hashlib.sha256(data).hexdigest()

        def listed() -> Listed | None:
            try:
                found = next((f for f in self.files(project) or [] if f.filename == filename), None)
            except Unready:
                return None
            return found if found and wanted in (None, found.sha256) else None

        found = until(listed, seconds=seconds, why=f"{filename} was not listed (so)")
        assert found is not None
        return found

    def download(self, project: str, filename: str) -> bytes:
        """A listed file's bytes, which must be those that the page announces."""

        def once() -> bytes:
            listed = next(f for f in self.files(project) or [] if f.filename == filename)
            answer = fetch(listed.url)
            if answer.status == 503:
                raise Unready(listed.url)
            assert answer.status == 200, (answer.status, answer.body[:200])
            assert hashlib.sha256(answer.body).hexdigest() == listed.sha256
            return answer.body

        return patiently(once)


class Unready(Exception):
    """503 with Retry-After: trying again helps."""


def patiently(what: Callable[[], T], *, seconds: float = 60.0) -> T:
    """Call till it is not Unready."""
    end = time.monotonic() + seconds
    while True:
        try:
            return what()
        except Unready:
            assert time.monotonic() < end, f"503 for {seconds} s"
            time.sleep(PAUSE)


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    seconds: float = 150,
) -> str:
    """Run a command in a clean environment and these variables; stdout and stderr. It must succeed."""
    status, said = finish(command, cwd, environment(**(environ or {})), seconds)
    assert status == 0, f"{command} ended with {status}:\n{said}"
    return said


class Offline(Exception):
    """The machine's package registry cannot be reached."""


def run_online(
    *command: str | Path, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> str:
    """As `run`, with the machine's own settings, which lead to a package registry. Raises Offline."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIDEX_", "PYTHON"))}
    status, said = finish(command, cwd, kept | dict(environ or {}))
    signs = ("NewConnectionError", "NameResolutionError", "Network is unreachable", "Connection refused")
    if status != 0 and any(sign in said for sign in signs):
        raise Offline(f"no package registry can be reached: {said[-500:]}")
    assert status == 0, f"{command} ended with {status}:\n{said}"
    return said


def finish(
    command: Sequence[str | Path], cwd: Path | None, environ: Mapping[str, str], seconds: float = 150
) -> tuple[int, str]:
    """Run a command to its end: its status and what it said."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
    )
    return done.returncode, done.stdout


def flat_files(server: Server) -> Iterator[Listed]:
    """What /packages/ lists."""
    url = f"{server.url}/packages/"
    for href, text in anchors(fetch(url).text):
        bare, _, fragment = urljoin(url, href).partition("#sha256=")
        yield Listed(text or unquote(bare.rpartition("/")[2]), bare, fragment)
