"""Uploads to the real program: workers that agree, large bodies in constant memory, kills at every step."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import samples
from tests.walks.server import TOP, Answer, Server, environment, fetch, until
from tests.web.driver import House, file_url, listed
from tests.web.test_upload import MULTIPART, Client, fields_of, packed

#: Bytes of the large upload, and how much the memory of all processes may grow by it, in KiB.
LARGE, GROWTH_KIB = 300 << 20, 60 << 10


def send(server: Server, sample: samples.Sample) -> Answer:
    """Upload on a connection of its own, so that any worker may get it."""
    return fetch(
        f"{server.url}/legacy/", {"Content-Type": MULTIPART}, method="POST", body=packed(fields_of(sample))
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("upload") / "packages"
    folder.mkdir()
    with Server(folder, options=["--workers", "2", "--guard", ""]) as running:
        yield running


def test_the_next_request_to_any_worker_sees_an_upload(server: Server) -> None:
    names = []
    for number in range(10):
        sample = samples.wheel("fresh", f"1.{number}")
        answer = send(server, sample)
        assert answer.status == 200, answer.text
        names.append(sample[0])
        for _ in range(4):
            assert sorted(server.names("fresh")) == sorted(names)


def test_of_clients_at_once_one_wins(server: Server) -> None:
    race(server, 3)


def race(server: Server, rounds: int, clients: int = 16) -> None:
    """Send as many different files of one name at once as there are clients: one wins, each time.

    `python -m tests.walks.race` does so 200 times.
    """
    for turn in range(rounds):
        sent = [
            samples.wheel(f"race{turn}", "1", files={"a": str(number).encode()}) for number in range(clients)
        ]
        with ThreadPoolExecutor(clients) as pool:
            answers = list(pool.map(lambda sample: send(server, sample), sent))
        assert sorted(answer.status for answer in answers) == [200] + [400] * (clients - 1)
        winner = next(sample for sample, answer in zip(sent, answers, strict=True) if answer.status == 200)
        losers = [answer.text for answer in answers if answer.status == 400]
        hashed = hashlib.blake2b(winner[1], digest_size=32).hexdigest()
        start = f"File already exists ('{winner[0]}', with blake2_256 hash '{hashed}')."
        assert [text for text in losers if not text.startswith(start)] == []
        assert server.download(f"race{turn}", winner[0]) == winner[1]


def resident(group: int) -> int:
    """KiB of memory of all processes of a group, at their highest."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                lines = (entry / "status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        except OSError:
            continue
    return total


class Huge:
    """A form with a stored wheel of many bytes, made while it is sent."""

    def __init__(self, size: int) -> None:
        self.filename = "huge-1.0-py3-none-any.whl"
        noise = os.urandom(1 << 20)
        self.noise, self.blocks = noise, size >> 20

    def write(self, path: Path) -> None:
        """The wheel, on the disk of the client."""
        listed = ["huge.bin", *(f"huge-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD"))]
        with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            info = zipfile.ZipInfo("huge.bin", samples.WHEN)
            info.file_size = self.blocks << 20
            with archive.open(info, "w") as member:
                for _ in range(self.blocks):
                    member.write(self.noise)
            inside = {
                "METADATA": samples.core_metadata("huge", "1.0"),
                "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
                "RECORD": "".join(f"{name},,\n" for name in listed).encode(),
            }
            for name, data in inside.items():
                archive.writestr(zipfile.ZipInfo(f"huge-1.0.dist-info/{name}", samples.WHEN), data)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_upload_takes_constant_memory(server: Server, tmp_path: Path) -> None:
    """Also chunked, without a length: as uv sends through some proxies."""
    huge = Huge(LARGE)
    path = tmp_path / huge.filename
    huge.write(path)
    send(server, samples.wheel("warm", "1"))
    before = resident(server.pid)
    head, tail = packed(
        [*fields_of((huge.filename, b""))[:2], (":action", "file_upload"), ("content", huge.filename, b"@@")]
    ).split(b"@@")

    def body() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block
        yield tail

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request(
        "POST",
        "/legacy/",
        body(),
        {"Content-Type": MULTIPART, "Transfer-Encoding": "chunked"},
        encode_chunked=True,
    )
    response = connection.getresponse()
    said = response.read().decode()
    connection.close()
    assert (response.status, said) == (200, f"{huge.filename}: stored\n")
    assert (server.folders[0] / huge.filename).stat().st_size == path.stat().st_size
    grown = resident(server.pid) - before
    assert grown < GROWTH_KIB, f"{grown} KiB"


def head_of(length: int) -> bytes:
    """The head of an upload, but for its end."""
    lines = ["POST /legacy/ HTTP/1.1", "Host: x", f"Content-Type: {MULTIPART}", f"Content-Length: {length}"]
    return "".join(f"{line}\r\n" for line in lines).encode()


def test_who_asks_before_sending_is_refused_before_sending(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    with Server(tmp_path / "packages") as closed:
        for expect in (True, False):
            with socket.create_connection(("127.0.0.1", closed.port), timeout=30) as client:
                client.sendall(head_of(10_000_000) + b"Expect: 100-continue\r\n" * expect + b"\r\n")
                if not expect:
                    client.sendall(b"x" * 10_000_000)
                said = client.recv(65_536)
                assert said.startswith(b"HTTP/1.1 401 Unauthorized\r\n"), said


def test_a_continue_is_given_to_who_may_upload(server: Server) -> None:
    body = packed(fields_of(samples.wheel("patient", "1")))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head_of(len(body)) + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 100 Continue\r\n")
        client.sendall(body)
        said = b""
        while piece := client.recv(65_536):
            said += piece
    assert b"HTTP/1.1 200 OK" in said


def test_a_client_that_leaves_in_an_upload_leaves_nothing(server: Server) -> None:
    body = packed(fields_of(samples.wheel("cut", "1", files={"x": os.urandom(200_000)})))
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(head_of(len(body)) + b"\r\n" + body[:-1000])
    client.close()
    assert server.names("cut") == []
    assert [
        path.name for path in server.folders[0].iterdir() if "cut" in path.name or path.name[0] == "."
    ] == []


# --- kills at every step -----------------------------------------------------------------------------------

#: A process that receives a file and kills itself before or after one of the steps.
RECEIVER = """
import os, signal, sys, time
from pathlib import Path
from pidex import app
from pidex.core.model import Principal
from pidex.intake import delivery
from tests import samples

folder, data, step, when = sys.argv[1:5]
pidex = app.build(app.Source({"folders": (folder,), "data": data}, {}).settings(), {}, create=True)
original = getattr(delivery.Deliveries, step)

def stop():
    os.kill(os.getpid(), signal.SIGKILL)

def dies(*args, **kwargs):
    if when == "before":
        stop()
    original(*args, **kwargs)
    stop()

setattr(delivery.Deliveries, step, dies)
intake = pidex.intake()
name, content = samples.wheel("demo", "1.0")
with intake.stage("main") as stage:
    stage.write(content)
    intake.receive("main", stage, name, by=Principal("ann", frozenset({"authenticated"})), signature=b"sig")
"""


def kill_at(step: str, when: str, folder: Path, data: Path) -> None:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RECEIVER, folder, data, step, when],
        cwd=TOP, env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr


PLACED = {
    ("_place", "after"),
    ("_sign", "before"),
    ("_sign", "after"),
    ("_admit", "before"),
    ("_admit", "after"),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["_inspect", "_announce", "_place", "_sign", "_admit"])
def test_a_kill_at_any_step_leaves_all_or_nothing(tmp_path: Path, step: str, when: str) -> None:
    filename, content = samples.wheel("demo", "1.0")
    folder = tmp_path / "packages"
    kill_at(step, when, folder, tmp_path / "data")
    placed = (step, when) in PLACED
    assert (folder / filename).exists() == placed
    with House(tmp_path, guard="") as house:
        if placed:
            assert listed(house, "demo") == [filename]
            assert house.get(file_url(house, "demo")).body == content
        else:
            assert house.get("/simple/demo/").status == 404
        answer = Client(house, None).send((filename, content))
        assert (answer.status, answer.text) == (200, f"{filename}: {'identical' if placed else 'stored'}\n")
        assert house.get(file_url(house, "demo")).body == content
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("step", "when", "told"),
    [("_announce", "after", "0 finished, 1 undone"), ("_admit", "before", "1 finished, 0 undone")],
)
def test_a_start_finishes_or_undoes_what_a_kill_cut_off(
    tmp_path: Path, step: str, when: str, told: str
) -> None:
    filename, content = samples.wheel("demo", "1.0")
    folder, data = tmp_path / "packages", tmp_path / "data"
    kill_at(step, when, folder, data)
    with Server(folder, options=["--data", str(data), "--guard", ""]) as server:
        assert told in server.log()
        if (step, when) in PLACED:
            assert server.wait_for("demo", filename, data=content)
        assert send(server, (filename, content)).status == 200
        assert server.download("demo", filename) == content


def test_a_worker_that_is_killed_while_clients_upload_loses_nothing_answered(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    answered: list[samples.Sample] = []
    with Server(folder, options=["--workers", "2", "--guard", ""]) as server:
        stop = threading.Event()

        def client(number: int) -> None:
            for turn in range(40):
                if stop.is_set():
                    return
                sample = samples.wheel(f"kill{number}", f"1.{turn}")
                try:
                    if send(server, sample).status == 200:
                        answered.append(sample)
                except (OSError, http.client.HTTPException):
                    continue

        threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(answered) > 5)
        os.killpg(server.pid, signal.SIGKILL)
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        server.start()
        for filename, data in answered:
            server.wait_for(filename.partition("-")[0], filename, data=data)
        here = {path.name for path in folder.iterdir()}
        assert {name for name in here if name.startswith(".")} == set()
        listed = {name for number in range(4) for name in server.names(f"kill{number}")}
        assert listed == here
