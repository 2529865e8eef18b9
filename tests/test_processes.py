"""Processes as their users meet them: signals, kills, workers that agree, ports, sockets and TLS."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.ports import free_port
from pidex.core.errors import CannotStart, StorageFull
from pidex.processes import DataLock, Loops, Workers, listen, listen_unix
from tests import samples
from tests.walks.server import Server, fetch, until
from tests.web.driver import heard

WHEEL = samples.wheel("demo", "1.0")
BIG = samples.wheel("big", "1.0", files={"big/data": os.urandom(40_000_000)})
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


def alive(group: int) -> list[int]:
    """The processes of a group that still run, whoever their parent is by now."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            if os.getpgid(pid) == group and state not in "ZX":
                found.append(pid)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "packages"
    place.mkdir()
    samples.write(place, WHEEL)
    return place


def workers_of(server: Server) -> list[int]:
    """The processes below the main one that answer requests."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_bytes()
            if int(fields[1]) == server.pid and b"spawn_main" in command:
                found.append(int(status.parent.name))
    return sorted(found)


def health(server: Server) -> dict[str, object]:
    answer = fetch(f"{server.url}/-/health")
    assert answer.status == 200
    return answer.json()


def test_two_workers_agree_after_a_change(folder: Path) -> None:
    """A new connection for each request; who answered is in the log. Both must have, after the change too."""
    with Server(folder, options=["--workers", "2", "--log", "json"]) as server:

        def answered(when: str) -> set[int]:
            assert server.get("/simple/demo/", {**JSON, "User-Agent": when}).status == 200
            lines = [json.loads(line) for line in server.log().splitlines() if '"agent": "' in line]
            return {line["worker"] for line in lines if line["agent"].startswith(when)}

        until(lambda: answered("before") == {1, 2}, why="one worker answers all")
        samples.write(folder, samples.wheel("demo", "2.0"))
        server.wait_for("demo", "demo-2.0-py3-none-any.whl")
        pages = set()
        for number in range(120):
            pages.add(server.get("/simple/demo/", {**JSON, "User-Agent": f"after-{number}"}).body)
        assert len(pages) == 1, "one worker shows an older page"
        assert len(json.loads(pages.pop())["files"]) == 2
        until(lambda: answered("after") == {1, 2}, why="after the change one worker answers all")


def test_the_first_answer_waits_for_one_worker_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first loads while the main process makes itself ready, the others when it is."""
    order: list[str] = []

    class Spawned:
        def __init__(self, idx: int, **_: object) -> None:
            self.name = f"worker {idx + 1}"

        def start(self) -> None:
            order.append(self.name)

    with listen("127.0.0.1", 0) as listener:
        server = Workers(
            listener,
            lambda number, parent: None,
            workers=3,
            grace=1,
            certificate=None,
            reread=lambda: False,
            started=lambda: order.append("ready"),
            stopped=lambda: None,
        )
        monkeypatch.setattr(server, "_spawn_worker", Spawned)
        server._spawn_workers(None, None)
        gc.unfreeze()
    assert order == ["worker 1", "ready", "worker 2", "worker 3"]
    assert (server.workers, len(server.wrks)) == (3, 3)


def test_a_killed_worker_is_replaced_and_no_request_is_lost(folder: Path) -> None:
    with Server(folder, options=["--workers", "2"]) as server:
        for _ in range(2):
            before = workers_of(server)
            assert len(before) == 2
            os.kill(before[0], signal.SIGKILL)
            for _ in range(50):
                with contextlib.suppress(
                    ConnectionError, http.client.HTTPException
                ):  # one it held when it died
                    assert health(server)["status"] == "ok"
            until(lambda: len(set(workers_of(server)) - {before[0]}) == 2, why="no new worker")  # noqa: B023
            until(
                lambda: len({health(server)["pid"] for _ in range(20)}) == 2,
                why="it is silent",
            )
        assert "ended unexpectedly" in server.log()


def test_no_worker_outlives_a_killed_main_process(folder: Path) -> None:
    server = Server(folder, options=["--workers", "2"])
    server.start()
    try:
        until(lambda: len(workers_of(server)) == 2, why="there is no second worker")
        os.kill(server.pid, signal.SIGKILL)
        assert server.process is not None
        server.process.wait()
        until(lambda: not alive(server.pid), why=f"left behind: {alive(server.pid)}")
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port))
    finally:
        server.kill()
    with Server(folder, port=server.port) as again:
        assert again.names("demo"), "a new one takes over at once"


def test_sigterm_closes_the_port_and_lets_downloads_end(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    samples.write(folder, BIG)
    server = Server(folder, options=["--grace", "20"])
    server.start()
    listed = server.wait_for("big", BIG[0])
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", listed.url.partition(str(server.port))[2])
    response = connection.getresponse()
    first = response.read(100_000)
    assert server.process is not None
    server.process.terminate()
    until(lambda: refused(server.port), why="the port is still open")
    data = first + response.read()
    assert hashlib.sha256(data).hexdigest() == listed.sha256
    connection.close()
    server.stop()
    assert "Traceback" not in server.log()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_grace_ends(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    samples.write(folder, BIG)
    server = Server(folder, options=["--grace", "0.5"])
    server.start()
    listed = server.wait_for("big", BIG[0])
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", listed.url.partition(str(server.port))[2])
    response = connection.getresponse()
    response.read(1000)
    server.stop()  # fails where it takes too long
    got = 1000
    with contextlib.suppress(OSError, http.client.HTTPException):
        while piece := response.read(1_000_000):
            got += len(piece)
    assert got < len(BIG[1]), "the download went on to its end"


def test_a_client_that_does_not_read_costs_no_memory(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    samples.write(folder, BIG)
    with Server(folder) as server:
        listed = server.wait_for("big", BIG[0])
        path = listed.url.partition(str(server.port))[2]
        (worker,) = workers_of(server)
        before = resident(worker)
        stalled = []
        for _ in range(4):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
            stalled.append(connection)
        # Others are answered meanwhile, for long enough that all of it would have been read.
        for _ in range(200):
            assert server.get("/simple/big/").status == 200
        assert resident(worker) - before < len(BIG[1])
        for connection in stalled:
            connection.close()
        until(lambda: server.log().count(path) == 4, why="their downloads go on")


def resident(process: int) -> int:
    """Bytes of memory that a process has to itself."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    lines = (
        line.split() for line in rollup.splitlines() if line.startswith(("Private_Dirty", "Private_Clean"))
    )
    return sum(int(fields[1]) for fields in lines) * 1024


def test_sighup_reads_the_settings_again_and_keeps_the_old_ones_where_they_are_wrong(folder: Path) -> None:
    file = folder.parent / "pidex.toml"
    file.write_text('max_age = 5\nlog = "json"\n')
    with Server(folder, options=["--config", str(file)]) as server:
        server.wait_for("demo", WHEEL[0])

        def control() -> str:
            return server.get("/simple/demo/").headers["cache-control"]

        assert control() == "max-age=5, must-revalidate"
        file.write_text("max_age = -1\n")
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: "the old ones stay" in server.log(), why="nothing was said")
        assert control() == "max-age=5, must-revalidate"
        before = workers_of(server)
        file.write_text("max_age = 7\nport = 1\n")
        stop = threading.Event()
        failures = hammer(server, stop)
        os.kill(server.pid, signal.SIGHUP)
        until(lambda: control() == "max-age=7, must-revalidate", why="the old setting stays")
        until(lambda: not set(before) & set(workers_of(server)), why="the old worker stays")
        stop.set()
        # A connection that the old worker takes in the moment it stops is hung up on: clients try again.
        met = failures()
        assert len(met) <= 1
        assert all("RemoteDisconnected" in each or "ConnectionReset" in each for each in met)
        samples.write(folder, samples.wheel("demo", "2.0"))
        server.wait_for("demo", "demo-2.0-py3-none-any.whl")


def hammer(server: Server, stop: threading.Event) -> Callable[[], list[str]]:
    """Ask again and again in a thread; what went wrong."""
    wrong: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                status = server.get("/simple/demo/").status
            except (OSError, http.client.HTTPException) as error:
                wrong.append(repr(error))
            else:
                if status != 200:
                    wrong.append(str(status))

    thread = threading.Thread(target=ask)
    thread.start()

    def ended() -> list[str]:
        thread.join(20)
        return wrong

    return ended


# --- what keeps a server from starting ----------------------------------------------------------------------


def refusal(*arguments: object, command: tuple[str, ...] = (sys.executable, "-m", "pidex", "serve")) -> str:
    """What a server says that does not start: one line. Nothing else may be left of it."""
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode in (1, 2), done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_taken_port_is_said(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refusal(folder, "-p", port)
    assert f"Port {port}" in line
    assert "-p" in line


def test_a_data_directory_in_use_names_its_owner(folder: Path) -> None:
    with Server(folder) as server:
        line = refusal(folder, "-p", free_port())
        assert f"process {server.pid}" in line
        assert health(server)["status"] == "ok"


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    assert str(tmp_path / "missing") in refusal(tmp_path / "missing")


def test_a_data_directory_that_is_a_file_is_said(folder: Path) -> None:
    (folder.parent / "data").touch()
    assert str(folder.parent / "data") in refusal(folder, "--data", folder.parent / "data")


def test_a_damaged_catalogue_is_said(folder: Path) -> None:
    data = folder.parent / "data"
    data.mkdir()
    (data / "catalogue.db").write_bytes(b"not a database" * 1000)
    assert "pidex restore --latest" in refusal(folder, "--data", data, "-p", 0)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None or shutil.which("curl") is None:
        pytest.skip("NOT TESTED: openssl or curl is not installed (Debian's packages of these names)")
    place = tmp_path_factory.mktemp("tls")
    for name in "ab":
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-keyout", place / f"{name}.key", "-out", place / f"{name}.crt", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
            check=True, capture_output=True,
        )  # fmt: skip
    return place


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [
        ("a.crt", "b.key", "does not belong"),
        ("a.crt", "no.key", "no.key"),
        ("a.key", "a.key", "cannot be used"),
    ],
)
def test_tls_files_that_do_not_work_are_said(
    folder: Path, certificates: Path, cert: str, key: str, said: str
) -> None:
    line = refusal(folder, "--tls-cert", certificates / cert, "--tls-key", certificates / key)
    assert said in line


# --- ways to listen -----------------------------------------------------------------------------------------


def test_https_and_http2(folder: Path, certificates: Path) -> None:
    port = free_port()
    options = ["--tls-cert", certificates / "a.crt", "--tls-key", certificates / "a.key", "-p", port]
    with started(folder, *options, ready=lambda: tls(port, certificates)[0] == "http/1.1"):
        context = ssl.create_default_context(cafile=str(certificates / "a.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
        connection.request("GET", "/")
        assert f"https://127.0.0.1:{port}/simple/" in connection.getresponse().read().decode()
        connection.close()
        assert tls(port, certificates, "h2", "http/1.1") == ("h2", "TLSv1.3")
        curl = ["curl", "-sS", "--http2", "--cacert", str(certificates / "a.crt"), "-w", "%{http_version}"]
        url = f"https://127.0.0.1:{port}/simple/demo/"
        done = subprocess.run([*curl, "-o", os.devnull, url], capture_output=True, text=True, check=True)
        assert done.stdout == "2"
        welcome = subprocess.run(
            [*curl, f"https://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
        )
        assert f"https://127.0.0.1:{port}/simple/" in welcome.stdout, "HTTP/2 names its host elsewhere"


def tls(port: int, certificates: Path, *protocols: str) -> tuple[str | None, str | None]:
    context = ssl.create_default_context(cafile=str(certificates / "a.crt"))
    context.set_alpn_protocols(list(protocols) or ["http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        return sock.selected_alpn_protocol(), sock.version()


def test_a_unix_socket(folder: Path) -> None:
    path = folder.parent / "pidex.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with started(folder, "--socket", path, ready=lambda: b"200 OK" in over(path)):
        assert b'"status":"ok"' in over(path)
        assert str(path) in refusal(folder, "--socket", path, "--data", folder.parent / "other")
    assert not path.exists()


def over(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /-/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        found = b""
        while data := connection.recv(65536):
            found += data
        return found


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_ipv6_and_ipv4_at_once(folder: Path) -> None:
    port = free_port()
    with started(folder, "-i", "::", "-p", port, ready=lambda: not refused(port)):
        for host in ("::1", "127.0.0.1"):
            connection = http.client.HTTPConnection(host, port, timeout=60)
            connection.request("GET", "/-/health")
            assert connection.getresponse().status == 200
            connection.close()


def test_port_0_takes_a_free_one_and_says_it(folder: Path) -> None:
    log = folder.parent / "log"

    def url() -> str | None:
        found = [word for word in log.read_text().split() if word.startswith("http://127.0.0.1:")]
        return found[0] if found else None

    with started(folder, "-p", "0", ready=lambda: url() is not None, log=log):
        said = url()
        assert said is not None
        assert not said.endswith(":0/")
        until(lambda: fetch(f"{said}-/health").status == 200, why="no answer there")
        start = next(line for line in log.read_text().splitlines() if said in line)
        assert str(folder) in start
        assert "-i 0.0.0.0" in start


@contextlib.contextmanager
def started(
    *arguments: object, ready: Callable[[], bool], log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`pidex serve` with these arguments, stopped at the end."""
    command = [sys.executable, "-m", "pidex", "serve", *map(str, arguments)]
    with (log or Path(os.devnull)).open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def is_ready() -> bool:
        assert process.poll() is None, "it ended"
        try:
            return ready()
        except (OSError, http.client.HTTPException):
            return False

    try:
        until(is_ready, why="no answer")
        yield process
        process.terminate()
        assert process.wait(60) == 0
        until(lambda: not alive(process.pid), why="something was left behind")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# --- the parts ----------------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    first, second = DataLock(tmp_path), DataLock(tmp_path)
    assert first.holder() is None
    first.acquire()
    assert second.holder() == os.getpid()
    with pytest.raises(CannotStart, match=f"process {os.getpid()}"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert first.holder() is None


def test_a_loop_that_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pidex.processes.REST_SECONDS", (0.01, 0.02))
    runs = []
    again = threading.Event()

    def loop(stop: threading.Event) -> None:
        runs.append(1)
        if len(runs) < 4:
            raise RuntimeError("dies")
        again.set()
        stop.wait()

    with heard("pidex.processes") as records:
        loops = Loops({"test": loop})
        loops.start()
        assert again.wait(10)
        loops.stop()
    assert len(runs) == 4
    assert len([record for record in records if record.exc_info]) == 3


def test_a_loop_that_meets_what_a_sentence_says_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pidex.processes.REST_SECONDS", (0.01, 0.02))
    again = threading.Event()
    failures = [StorageFull("There is no space left.")]

    def loop(stop: threading.Event) -> None:
        if failures:
            raise failures.pop()
        again.set()
        stop.wait()

    with heard("pidex.processes") as records:
        loops = Loops({"test": loop})
        loops.start()
        assert again.wait(10)
        loops.stop()
    (record,) = records
    assert record.exc_info is None
    assert record.getMessage() == "The loop test starts again in 0.01 s: There is no space left."


@pytest.mark.parametrize("host", ["no such host", "192.0.2.77", "a" * 300])
def test_an_address_that_is_not_ours_is_said(host: str) -> None:
    with pytest.raises(CannotStart, match="-i"):
        listen(host, 0)


def test_a_socket_path_that_cannot_be_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "s", tmp_path / ("x" * 200), tmp_path):
        with pytest.raises(CannotStart, match="socket"):
            listen_unix(path)
