"""Servers under measurement: started on 127.0.0.1, waited for, weighed and stopped."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.parse
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from bench.ports import free_port

#: Seconds that a server may take to answer for the first time, and to look into a folder.
PATIENCE, SCAN_PATIENCE = 600, 3600


@dataclass(frozen=True)
class Answer:
    """What a server said to one GET."""

    status: int
    headers: dict[str, str]  # lower-case names
    body: bytes
    seconds: float


@dataclass
class Server:
    """One running server. `page_path` holds `{project}`."""

    name: str
    command: list[str]
    port: int
    page_path: str = "/simple/{project}/"
    log: Path = field(default=Path(os.devnull))
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; the clock (`time.perf_counter`) just before."""
        with self.log.open("ab") as log:
            before = time.perf_counter()
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, start_new_session=True)
        return before

    def stop(self) -> None:
        """TERM to it and its children, KILL where that does not help within 15 s."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def page(self, project: str) -> str:
        return self.page_path.format(project=project)

    def get(
        self, path: str, headers: dict[str, str] | None = None, method: str = "GET", body: bytes = b""
    ) -> Answer:
        """One request on a connection of its own. Raises OSError or HTTPException without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            before = time.perf_counter()
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            data = response.read()
            seconds = time.perf_counter() - before
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data, seconds)
        finally:
            connection.close()

    def await_ok(self, path: str, headers: dict[str, str] | None = None) -> float:
        """Poll until a path answers 200; the clock (`time.perf_counter`) then."""
        deadline = time.perf_counter() + PATIENCE
        while time.perf_counter() < deadline:
            try:
                if self.get(path, headers).status == 200:
                    return time.perf_counter()
            except (OSError, http.client.HTTPException):
                pass
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(0.005)
        tail = self.log.read_text(errors="replace")[-2000:] if self.log.is_file() else ""
        raise SystemExit(f"{self.name} does not answer {path}\n{tail}")

    def file(self, project: str, ending: str, headers: dict[str, str] | None = None) -> str:
        """The path of the first file of a project's page whose name ends so."""
        path = self.page(project)
        page = self.get(path, {"Accept": "text/html", **(headers or {})}).body.decode()
        for match in re.finditer(r'href="([^"#]+)', page):
            target = urllib.parse.urljoin(path, match[1])
            if target.endswith(ending):
                return str(urllib.parse.urlsplit(target).path)
        raise SystemExit(f"{self.name}: no file that ends with {ending} on {path}")

    def memory(self) -> list[int]:
        """Resident bytes of the process and each of its descendants, itself first."""
        assert self.process is not None
        return [_resident(pid) for pid in (self.process.pid, *_descendants(self.process.pid))]


def _descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found, todo = [], [pid]
    while todo:
        parent = todo.pop()
        children = sorted(child for child, of in parents.items() if of == parent)
        found += children
        todo += children
    return found


def _resident(pid: int) -> int:
    try:
        match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


def processor(server: Server) -> list[float]:
    """Seconds of processor time that the process and each of its descendants have used, itself first."""
    assert server.process is not None
    ticks = os.sysconf("SC_CLK_TCK")
    used = []
    for pid in (server.process.pid, *_descendants(server.process.pid)):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used.append((int(fields[11]) + int(fields[12])) / ticks)
    return used


def unread(data: Path) -> tuple[int, int]:
    """(places not looked into yet, places known) from the catalogue of a running pidex."""
    for catalogue in sorted(data.glob("*.db")):
        with closing(sqlite3.connect(f"file:{catalogue}?mode=ro", uri=True, timeout=30)) as connection:
            try:
                query = "select count(*) filter (where state = 'unread'), count(*) from places"
                waiting, seen = connection.execute(query).fetchone()
            except sqlite3.OperationalError:
                continue
            return waiting, seen
    return 0, 0


def at_rest(data: Path, files: int) -> float:
    """Wait until pidex has looked into all files; the clock (`time.perf_counter`) then."""
    deadline = time.perf_counter() + SCAN_PATIENCE
    while time.perf_counter() < deadline:
        waiting, seen = unread(data)
        if seen >= files and not waiting:
            return time.perf_counter()
        time.sleep(0.1)
    raise SystemExit(f"pidex has looked into {seen - waiting} of {files} files in {SCAN_PATIENCE} s")


def pidex(folder: Path, data: Path, *flags: str, workers: int = 2) -> Server:
    """pidex over a folder."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "pidex"), "serve", str(folder), "--data", str(data)]
    command += ["--port", str(port), "--workers", str(workers), "--no-access-log", *flags]
    if "--upstream" not in flags:
        command.append("--no-upstream")
    return Server("pidex", command, port, log=data.parent / f"{data.name}.log")


def pypiserver(folder: Path, home: Path, *, cached: bool) -> Server:
    """pypiserver with its default server; `cached`: with its `cache` extra at work."""
    port = free_port()
    backend = "cached-dir" if cached else "simple-dir"
    command = [
        str(peers.environment("pypiserver") / "pypi-server"),
        "run",
        "-i",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    command += ["--disable-fallback", "--log-stream", "none", "--backend", backend, str(folder)]
    name = "pypiserver, cached" if cached else "pypiserver"
    return Server(name, command, port, log=home / f"{backend}.log")


def devpi(home: Path, *, offline: bool = True) -> Server:
    """devpi-server without indexes; `offline`: it asks nobody."""
    programs = peers.environment("devpi")
    state = home / "devpi"
    command = [str(programs / "devpi-init"), "--serverdir", str(state), "--no-root-pypi"]
    subprocess.run([*command, "--root-passwd", "bench"], check=True, capture_output=True)
    port = free_port()
    command = [
        str(programs / "devpi-server"),
        "--serverdir",
        str(state),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--enable-core-metadata", *["--offline-mode"] * offline]
    return Server("devpi", command, port, "/root/bench/+simple/{project}/", home / "devpi.log")


def open_devpi(server: Server) -> dict[str, str]:
    """Make the index root/bench; the headers that let one in."""
    return devpi_index(server, "bench", {"type": "stage", "bases": [], "volatile": True})


def devpi_index(server: Server, name: str, settings: dict[str, object]) -> dict[str, str]:
    """Make an index of root's; the headers that let one in."""
    login = json.dumps({"user": "root", "password": "bench"}).encode()
    answer = server.get("/+login", {"Content-Type": "application/json"}, "POST", login)
    token = json.loads(answer.body)["result"]["password"]
    auth = {"X-Devpi-Auth": base64.b64encode(f"root:{token}".encode()).decode(), "Accept": "application/json"}
    body = json.dumps(settings).encode()
    made = server.get(f"/root/{name}", {**auth, "Content-Type": "application/json"}, "PUT", body)
    if made.status not in (200, 201):
        raise SystemExit(f"devpi: no index: {made.body[:300]!r}")
    return auth


def fill_devpi(server: Server, files: list[Path]) -> None:
    """Make the index and upload files to it."""
    auth = open_devpi(server)
    for path in files:
        name, version = path.name.split("-")[:2]
        fields = {":action": "file_upload", "name": name, "version": version, "filetype": "bdist_wheel"}
        fields |= {"pyversion": "py3", "metadata_version": "2.1"}
        body, kind = form(fields, path.name, path.read_bytes())
        done = server.get("/root/bench/", {**auth, "Content-Type": kind}, "POST", body)
        if done.status != 200:
            raise SystemExit(f"devpi: {path.name}: {done.status} {done.body[:300]!r}")


def form(fields: dict[str, str], filename: str, data: bytes) -> tuple[bytes, str]:
    """The body of an upload and its content type."""
    boundary = "bench-boundary-5c1b"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    body = b"".join([*parts, head.encode(), data, f"\r\n--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


#: Headers that nginx makes itself.
OWN = {
    "date",
    "server",
    "content-length",
    "transfer-encoding",
    "connection",
    "etag",
    "last-modified",
    "accept-ranges",
}
NGINX = """
worker_processes 2;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log crit;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    types {{ }}
    default_type application/octet-stream;
    client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
    uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
    server {{
        listen 127.0.0.1:{port} reuseport;
        location /files/ {{ alias {folder}/; }}
{locations}
    }}
}}
"""


def nginx(folder: Path, home: Path, answers: dict[str, Answer]) -> Server:
    """nginx over the same files, and at /answers/<name> over the very bytes and headers of pidex."""
    state = home / "nginx"
    state.mkdir()
    locations = []
    for name, answer in answers.items():
        (state / name).write_bytes(answer.body)
        lines = [
            f"alias {state / name};",
            f'default_type "{answer.headers.get("content-type", "text/plain")}";',
        ]
        for header, value in answer.headers.items():
            if header not in OWN and header != "content-type":
                escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "")
                lines.append(f'add_header {header} "{escaped}";')
        locations.append(f"        location = /answers/{name} {{ {' '.join(lines)} }}")
    port = free_port()
    config = state / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    text = NGINX.format(home=state, user=user, port=port, folder=folder, locations="\n".join(locations))
    config.write_text(text)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return Server(
        "nginx", [program, "-c", str(config), "-e", str(state / "error.log")], port, log=home / "nginx.log"
    )
