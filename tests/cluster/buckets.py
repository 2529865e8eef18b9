"""The real program over a bucket, on SQLite: its settings, its people, and uploads that are cut."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from faults.lanes import Lanes
from pidex.accounts import hashing
from pidex.backends.objects.bucket import Place
from pidex.catalogue import grants, indexes, users
from pidex.catalogue.engine import Catalogue
from pidex.core.permissions import Grant, Role
from tests import samples
from tests.cluster.nodes import HONEST, OWNER, PASSWORD, Sent, basic, listing, of, send, sha256
from tests.cluster.seaweed import Seaweed
from tests.walks.server import Answer, Server, family, fetch, run, until


class Bucketed(Server):
    """`pidex serve --config x.toml` with a bucket and no folder."""

    def __init__(self, home: Path, bucket: Place, *, options: Sequence[str] = (), more: str = "") -> None:
        self.home, self.data, self.settings = home, home / "data", home / "pidex.toml"
        self.settings.write_text(
            f"{of(bucket)}data = {json.dumps(str(self.data))}\naccess_log = false\nno_upstream = true\n{more}"
        )
        super().__init__(log=home / "server.log", options=("--config", str(self.settings), *options))
        if not self.data.exists():
            self.data.mkdir()
            self.people()

    def __enter__(self) -> Bucketed:
        self.start()
        return self

    def people(self) -> None:
        """The index, and who may do everything."""
        with closing(Catalogue.open(self.data / "catalogue.db")) as catalogue, catalogue.write() as conn:
            indexes.ensure(conn, "main", time.time())
            users.add(conn, OWNER, hashing.hashed(PASSWORD), at=1)
            grants.add(conn, Grant(f"user:{OWNER}", Role.ADMIN, None, "*"), by="test", at=1)

    def pidex(self, *words: str | Path) -> str:
        """A command for this server; what it said."""
        return run(sys.executable, "-m", "pidex", *words, "--config", self.settings)


def have(url: str, sent: Sequence[Sent]) -> list[str]:
    """What of confirmed uploads is not to be had with its bytes, asked of their pages."""
    lost, pages = [], dict[str, dict[str, dict[str, object]]]()
    for each in sent:
        if each.project not in pages:
            pages[each.project] = {str(file["filename"]): file for file in listing(url, each.project)[1]}
        file = pages[each.project].get(each.filename)
        if file is None:
            lost.append(each.filename)
            continue
        answer = fetch(urljoin(f"{url}/simple/{each.project}/", str(file["url"])))
        if answer.status != 200 or sha256(answer.body) != each.sha256:
            lost.append(f"{each.filename}: {answer.status}, {len(answer.body)} bytes")
    return lost


def partial(url: str) -> list[str]:
    """Listed files whose bytes are not those that their page announces."""
    wrong = []
    text = fetch(f"{url}/simple/", {"Accept": "application/vnd.pypi.simple.v1+json"}).json()
    for project in text["projects"]:  # type: ignore[attr-defined]
        for file in listing(url, project["name"])[1]:
            answer = fetch(urljoin(f"{url}/simple/{project['name']}/", str(file["url"])))
            if answer.status != 200 or sha256(answer.body) != file["hashes"]["sha256"]:  # type: ignore[index]
                wrong.append(str(file["filename"]))
    return wrong


class Uploads(Lanes):
    """Uploads in the background until it is left: what was confirmed, and what was answered oddly."""

    def __init__(self, url: str, prefix: str, lanes: int = 3) -> None:
        super().__init__(lanes)
        self._url, self._prefix = url, prefix
        self.sent: list[Sent] = []
        self.odd: list[str] = []
        self.refused = 0

    def work(self, lane: int) -> None:
        number, project = 0, f"{self._prefix}{lane}"
        while not self.stopped.is_set():
            number += 1
            sample = samples.wheel(project, f"1.{number}", files={"a": bytes([number % 256]) * 50_000})
            answer: Answer | None = None
            with contextlib.suppress(OSError, http.client.HTTPException):
                answer = send(self._url, sample)
            if answer is not None and answer.status == 200:
                self.sent.append(Sent(project, sample[0], sha256(sample[1])))
            else:
                self.refused += 1
                if answer is not None and answer.status not in HONEST:
                    self.odd.append(f"{answer.status} {answer.text[:300]}")
                self.stopped.wait(0.05)


def confirmed(load: Uploads, least: int) -> Callable[[], bool]:
    """Whether so many uploads were confirmed."""
    return lambda: len(load.sent) >= least


def cut(server: Bucketed, rounds: int, *, least: int = 3) -> Iterator[tuple[int, list[str], list[str]]]:
    """`kill -9` in the middle of uploads, and a start, `rounds` times over.

    Each time: how many were confirmed by then, what is lost of all of them, and what is there in part.
    """
    every: list[Sent] = []
    server.start()
    for number in range(rounds):
        with Uploads(server.url, f"cut{number}x") as load:
            until(confirmed(load, least + number % 5))
            time.sleep((number * 37 % 100) / 1000)  # at any step of those that are under way
            server.kill()
        assert not load.odd, load.odd
        every += load.sent
        server.start()
        yield len(load.sent), have(server.url, every[-200:]), partial(server.url)
    server.stop()


# --- long forms ---------------------------------------------------------------------------------------------


def peak(server: Server) -> int:
    """The most memory that each process of a server ever had, in MiB, added up."""
    total = 0
    for each in family(server.pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each.pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return total // 1024


def large(home: Path, megabytes: int) -> Path:
    """A wheel of random bytes."""
    name, small = samples.wheel("large", "1.0")
    path = home / name
    path.write_bytes(small)
    with zipfile.ZipFile(path, "a") as archive, archive.open("large/data", "w", force_zip64=True) as inside:
        for _ in range(megabytes):
            inside.write(os.urandom(1 << 20))
    return path


def sent(url: str, path: Path) -> int:
    """Upload a file without holding it; the status."""
    mark = "mark-of-the-parts"
    fields = {":action": "file_upload", "name": "large", "version": "1.0", "filetype": "bdist_wheel",
              "pyversion": "py3", "metadata_version": "2.1"}  # fmt: skip
    form = "Content-Disposition: form-data; name="
    head = "".join(f'--{mark}\r\n{form}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    head += f'--{mark}\r\n{form}"content"; filename="{path.name}"\r\n\r\n'
    tail = f"\r\n--{mark}--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=600)
    headers = {"Content-Type": f"multipart/form-data; boundary={mark}", "Authorization": basic(OWNER)}
    headers["Content-Length"] = str(len(head) + path.stat().st_size + len(tail))

    def blocks() -> Iterator[bytes]:
        yield head.encode()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block
        yield tail.encode()

    with contextlib.closing(connection):
        connection.request("POST", "/legacy/", body=blocks(), headers=headers)
        return connection.getresponse().status


def got(url: str) -> tuple[int, str]:
    """Download it without holding it; its size and hash."""
    address = urlsplit(urljoin(f"{url}/simple/large/", str(listing(url, "large")[1][0]["url"])))
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=600)
    digest, size = hashlib.sha256(), 0
    with contextlib.closing(connection):
        connection.request("GET", address.path)
        answer = connection.getresponse()
        while block := answer.read(1 << 20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def memory(home: Path, bucket: Place, megabytes: int) -> None:
    """Upload and download a large wheel, and say what that took."""
    path = large(home, megabytes)
    with path.open("rb") as file:
        expected = hashlib.file_digest(file, "sha256").hexdigest()
    size = path.stat().st_size
    with Bucketed(home, bucket) as server:
        assert send(server.url, samples.wheel("small", "1.0")).status == 200
        at_rest, began = peak(server), time.monotonic()
        assert sent(server.url, path) == 200
        up, stored = time.monotonic() - began, peak(server)
        path.unlink()
        shutil.rmtree(server.data / "objects")
        began = time.monotonic()
        assert got(server.url) == (size, expected)
        first, fetched = time.monotonic() - began, peak(server)
        began = time.monotonic()
        assert got(server.url) == (size, expected)
        again = time.monotonic() - began
        print(f"{size / 1e6:.0f} MB: up {up:.1f} s, down {first:.1f} s, from the cache {again:.1f} s")
        print(f"most memory of all processes: at rest {at_rest}, up {stored}, down {fetched} MiB")


def kills(home: Path, bucket: Place, rounds: int) -> None:
    """The loop of `cut`, and what it came to."""
    stored = lost = part = 0
    server = Bucketed(home, bucket)
    try:
        for number, (count, gone, halves) in enumerate(cut(server, rounds), 1):
            stored, lost, part = stored + count, lost + len(gone), part + len(halves)
            print(f"{number}: {stored} confirmed, {lost} lost, {part} in part", flush=True)
    finally:
        server.kill()
    print(server.pidex("verify", "--deep"))


def main(words: Sequence[str]) -> None:
    """`kills ROUNDS` or `memory MEGABYTES`, with a server of objects of its own."""
    what, number = words
    with contextlib.closing(Seaweed()) as seaweed, tempfile.TemporaryDirectory() as home:
        place = seaweed.place("long")
        {"kills": kills, "memory": memory}[what](Path(home), place, int(number))


if __name__ == "__main__":
    main(sys.argv[1:])
