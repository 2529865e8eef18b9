"""A local upstream: an index in several shapes, with faults, latency, bandwidth and a log of requests."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import random
import re
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from pidex.core import archives, names
from pidex.core.errors import BadName, PidexError
from pidex.core.limits import Limits
from tests.samples import Sample

V1_JSON = "application/vnd.pypi.simple.v1+json"
V1_HTML = "application/vnd.pypi.simple.v1+html"
#: When files were uploaded and changed, unless it is said otherwise: microseconds and seconds since 1970.
UPLOADED = 1_704_164_646_000_000
MODIFIED = 1_704_164_646

#: json: all that PyPI has. html: PEP 503 with every attribute, no JSON. devpi: HTML, files below `+f/`.
#: pypiserver: HTML, hashes alone, no tags. bare: HTML without hashes. apache, nginx: one directory a project
#: as those programs list it. links: one page of all files. rootless: as json, and no list of projects.
SHAPES = ("json", "html", "devpi", "pypiserver", "bare", "apache", "nginx", "links", "rootless")

#: What can be wrong with an answer. Those after `flip` leave its status 200.
FAULTS = (
    "500", "503", "429", "403", "404", "reset", "stall", "redirect-private", "redirect-loop", "redirect-file",
    "flip", "truncate", "longer", "shorter", "empty", "garbage", "wrong-type", "encoding-lie", "bomb",
    "script", "strangers", "types", "bad-urls", "bad-hashes", "many", "huge", "drip", "deep", "bad-header",
)  # fmt: skip


class Request(NamedTuple):
    """One request as it came, and the status it was answered with (0: none)."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int


@dataclass
class Shelved:
    """One file that the upstream has, and what it says of it."""

    filename: str
    data: bytes
    project: str
    requires_python: str | None = None
    yanked: str | None = None
    upload_time: int | None = UPLOADED
    metadata: bytes | None = None
    provenance: str | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def tail(self) -> str:
        """Where it is below `packages/`, as PyPI has it."""
        digest = hashlib.blake2b(self.data, digest_size=32).hexdigest()
        return f"{digest[:2]}/{digest[2:4]}/{digest[4:]}/{quote(self.filename)}"


class Answer(NamedTuple):
    """A status, headers in lower case, and a body."""

    status: int
    headers: dict[str, str]
    body: bytes


class LocalUpstream:
    """An upstream on 127.0.0.1, served from a thread of its own. Use as a context manager, or start and stop.

    `latency`: seconds before each answer. `bandwidth`: bytes a second of each connection. `announce`: what is
    said of `.metadata` ('hash', 'true', 'no'); `sidecars`: whether it can be had. `ranges`, `heads`: whether
    those are understood. `sizes`, `times`, `tags`: whether pages have sizes and upload times, and answers
    ETags. `login`: an Authorization header that is asked for.
    """

    def __init__(
        self, shape: str = "json", *, latency: float = 0.0, bandwidth: int | None = None,
        announce: str = "hash", sidecars: bool = True, ranges: bool = True, heads: bool = True,
        sizes: bool = True, times: bool = True, tags: bool = True, login: str | None = None,
        tls: ssl.SSLContext | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        assert shape in SHAPES
        self.shape, self.latency, self.bandwidth = shape, latency, bandwidth
        self.announce, self.sidecars, self.ranges, self.heads = announce, sidecars, ranges, heads
        self.sizes, self.times, self.tags, self.login, self.tls = sizes, times, tags, login, tls
        self.files: dict[str, list[Shelved]] = {}
        self.statuses: dict[str, tuple[str, str | None]] = {}
        self.log: list[Request] = []
        self.connections = 0
        self.random = random.Random(seed)
        self.port = 0
        self.retry_after = "0"
        self._faults: list[list[Any]] = []
        self._aliases: dict[str, str] = {}
        self._by_path: dict[str, Shelved] = {}
        self._sidecars: dict[str, bytes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # What it has.

    def add(self, sample: Sample, *, project: str | None = None, **said: Any) -> Shelved:
        """Have a file. `project`: where it is listed; `said`: fields of `Shelved`."""
        filename, data = sample
        if project is None:
            project = names.parse(filename).project
        shelved = Shelved(filename, data, project, **said)
        if not shelved.hashes:
            shelved.hashes = {"sha256": hashlib.sha256(data).hexdigest()}
        if shelved.metadata is None and filename.endswith(".whl"):
            shelved.metadata = metadata_of(sample)
        self.files.setdefault(project, []).append(shelved)
        self._by_path[self.path_of(shelved)] = shelved
        if shelved.metadata is not None:
            self._sidecars[f"{self.path_of(shelved)}.metadata"] = shelved.metadata
        return shelved

    def remove(self, project: str, filename: str | None = None) -> None:
        """Have a file, or a whole project, no more."""
        kept = [each for each in self.files.get(project, ()) if filename not in (None, each.filename)]
        self.files[project] = kept
        if not kept:
            del self.files[project]
        self._by_path = {self.path_of(each): each for many in self.files.values() for each in many}

    def fault(
        self, kind: str, path: str = "", *, times: int | None = None, method: str | None = None
    ) -> None:
        """Do something wrong on paths that contain `path`, `times` times (None: always)."""
        assert kind in FAULTS, kind
        self._faults.append([kind, path, times, method])

    def heal(self) -> None:
        """Nothing is wrong any more."""
        self._faults.clear()

    # What was asked.

    def requests(self, path: str = "", method: str | None = None) -> list[Request]:
        """The requests so far whose path contains `path`."""
        return [each for each in list(self.log) if path in each.path and method in (None, each.method)]

    def asked(self) -> set[str]:
        """The names of projects whose pages were asked for."""
        pages = (
            re.fullmatch(re.escape(self.prefix) + r"([^/?]+)/?(?:\?.*)?", each.path)
            for each in list(self.log)
        )
        return {names.normalize(unquote(match[1])) for match in pages if match}

    @property
    def prefix(self) -> str:
        return "/root/pypi/+simple/" if self.shape == "devpi" else "/simple/"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{self.prefix}"

    def path_of(self, shelved: Shelved) -> str:
        """The path of a file's URL."""
        if self.shape in ("apache", "nginx"):
            return f"{self.prefix}{shelved.project}/{quote(shelved.filename)}"
        if self.shape == "links":
            return f"{self.prefix}{quote(shelved.filename)}"
        if self.shape == "devpi":
            digest = hashlib.sha256(shelved.data).hexdigest()
            return f"/root/pypi/+f/{digest[:3]}/{digest[3:16]}/{quote(shelved.filename)}"
        if self.shape == "pypiserver":
            return f"/packages/{quote(shelved.filename)}"
        return f"/packages/{shelved.tail}"

    # Its life.

    def __enter__(self) -> LocalUpstream:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen: at first on a free port, after a stop on the same one."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="upstream", daemon=True)
        self._thread.start()
        assert ready.wait(10), "the local upstream did not start"

    def stop(self) -> None:
        """Close the port and every connection."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)
            self._loop = self._thread = None

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(
            self._accepted, "127.0.0.1", self.port, limit=1 << 20, ssl=self.tls, backlog=512
        )
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopping.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while await self._one(reader, writer):
                    pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read and answer one request; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {}
        for line in head[1:]:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.lower()] = value.strip()
        if self.latency:
            await asyncio.sleep(self.latency)
        fault = self._fault_for(method, target)
        number = len(self.log)
        self.log.append(Request(method, target, headers, 0))
        answer = self.answer(method, target, headers, fault)
        self.log[number] = self.log[number]._replace(status=answer.status if answer else 0)
        if answer is None:
            if fault == "stall":
                await asyncio.sleep(3600)
            return False
        return await self._send(writer, method, answer, fault)

    async def _send(
        self, writer: asyncio.StreamWriter, method: str, answer: Answer, fault: str | None
    ) -> bool:
        body, length = answer.body, len(answer.body)
        if fault == "truncate":
            body = body[: length // 2]
        elif fault == "longer":
            length = max(0, length - 5)
        elif fault == "shorter":
            length += 7
        fields = {"content-length": str(length), "date": formatdate(MODIFIED, usegmt=True), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} Status"] + [f"{name}: {value}" for name, value in fields.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("utf-8"))
        if method != "HEAD" and answer.status != 304:
            await self._body(writer, body, fault)
        await writer.drain()
        return fault not in ("truncate", "longer", "shorter")

    async def _body(self, writer: asyncio.StreamWriter, body: bytes, fault: str | None) -> None:
        if fault == "drip":
            for at in range(min(len(body), 5)):
                writer.write(body[at : at + 1])
                await asyncio.sleep(0.01)
            body = body[5:]
        if self.bandwidth is None:
            writer.write(body)
            return
        piece = max(1, self.bandwidth // 50)
        for at in range(0, len(body), piece):
            writer.write(body[at : at + piece])
            await writer.drain()
            await asyncio.sleep(len(body[at : at + piece]) / self.bandwidth)

    def _fault_for(self, method: str, target: str) -> str | None:
        for each in self._faults:
            kind, path, times, only = each
            if path in unquote(target) and times != 0 and only in (None, method):
                if times is not None:
                    each[2] -= 1
                return str(kind)
        return None

    # Its answers.

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], fault: str | None = None
    ) -> Answer | None:
        """What one request is answered with; None: nothing."""
        if fault in ("reset", "stall"):
            return None
        if self.login is not None and headers.get("authorization") != self.login:
            return Answer(401, {"www-authenticate": "Basic"}, b"who are you?")
        if fault in ("500", "503", "429", "403", "404"):
            return Answer(int(fault), {"retry-after": self.retry_after}, b"no")
        if fault in _REDIRECTS:
            location = target if fault == "redirect-loop" else _REDIRECTS[fault]
            return Answer(302, {"location": location}, b"")
        if method == "HEAD" and not self.heads:
            return Answer(405, {}, b"")
        path = target.partition("?")[0]
        page = self._page(path, headers.get("accept", ""), fault)
        if page is not None:
            return _spoiled(self._finished(page, headers), fault, self.random)
        shelved = self._by_path.get(path)
        if shelved is None and path.endswith(".metadata") and self.sidecars and path in self._sidecars:
            return _spoiled(
                Answer(200, {"content-type": "text/plain"}, self._sidecars[path]), fault, self.random
            )
        if shelved is None:
            return Answer(404, {}, b"not here")
        return self._file(shelved, headers, fault)

    def _file(self, shelved: Shelved, headers: Mapping[str, str], fault: str | None) -> Answer:
        said = {
            "content-type": "application/octet-stream",
            "last-modified": formatdate(MODIFIED, usegmt=True),
        }
        whole = _spoiled(Answer(200, said, shelved.data), fault, self.random)
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
        if not self.ranges or match is None:
            return whole
        size = len(whole.body)
        first, last = match[1], match[2]
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if start >= size:
            return Answer(416, {"content-range": f"bytes */{size}"}, b"")
        whole.headers.update({"content-range": f"bytes {start}-{end - 1}/{size}", "accept-ranges": "bytes"})
        return Answer(206, whole.headers, whole.body[start:end])

    def _finished(self, page: Answer, headers: Mapping[str, str]) -> Answer:
        """With its tag, 304 where that is what the client has, and compressed where it asks for that."""
        if page.status != 200:
            return page
        if self.tags:
            tag = f'"{hashlib.sha256(page.body).hexdigest()[:16]}"'
            page.headers["etag"] = tag
            if headers.get("if-none-match") == tag:
                return Answer(304, {"etag": tag}, b"")
        if "gzip" in headers.get("accept-encoding", "") and self.shape in ("json", "html", "rootless"):
            page.headers["content-encoding"] = "gzip"
            return page._replace(body=gzip.compress(page.body, 1, mtime=0))
        return page

    def _page(self, path: str, accept: str, fault: str | None) -> Answer | None:
        if not path.startswith(self.prefix) or path in self._by_path or path.endswith(".metadata"):
            return None
        name = unquote(path.removeprefix(self.prefix)).strip("/")
        as_json = self.shape in ("json", "rootless") and V1_JSON in accept
        if not name:
            return self._root(as_json)
        found = self.files.get(name)
        if self.shape == "links" or found is None:
            return Answer(404, {}, b"no such project")
        if fault == "many":
            line = f'{{"filename":"{name}-1.tar.gz","url":"x.tar.gz","hashes":{{}}}},'.encode()
            many = b'{"meta":{},"files":[' + line * 1_000_000 + line[:-1] + b"]}"
            return Answer(200, {"content-type": V1_JSON}, many)
        if fault == "huge":
            return Answer(200, {"content-type": V1_JSON}, b'{"files": [' + b" " * (100 << 20) + b"]}")
        if fault == "deep":
            return Answer(200, {"content-type": V1_JSON}, b'{"files":' + b"[" * 100_000)
        if as_json or fault in _JSON_FAULTS:
            return Answer(200, {"content-type": V1_JSON}, self._json(name, found, fault))
        if self.shape in ("apache", "nginx"):
            return Answer(200, {"content-type": "text/html;charset=UTF-8"}, self._listing(path, found))
        return Answer(200, {"content-type": "text/html; charset=utf-8"}, self._html(name, found, fault))

    def _root(self, as_json: bool) -> Answer:
        if self.shape == "rootless":
            return Answer(404, {}, b"")
        if self.shape == "links":
            files = [each for many in self.files.values() for each in many]
            lines = "".join(self._anchor(each) for each in files)
            return Answer(200, {"content-type": "text/html"}, f"<html><body>{lines}</body></html>".encode())
        if as_json:
            listed = [{"name": name} for name in sorted(self.files)]
            data = json.dumps({"meta": {"api-version": "1.4"}, "projects": listed}).encode()
            return Answer(200, {"content-type": V1_JSON}, data)
        title = "Index of /simple/" if self.shape in ("apache", "nginx") else "Simple index"
        lines = "".join(f'<a href="{name}/">{name}</a><br/>\n' for name in sorted(self.files))
        text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1>{lines}</body></html>"
        return Answer(200, {"content-type": "text/html"}, text.encode())

    def _json(self, name: str, found: Iterable[Shelved], fault: str | None) -> bytes:
        files: list[Any] = [self._json_file(each) for each in found]
        if fault in _JSON_FAULTS:
            files = list(_wrong(fault, name, files))
        status, reason = self.statuses.get(name, ("active", None))
        page: dict[str, Any] = {
            "meta": {"api-version": "1.4", "_last-serial": 7},
            "name": name,
            "project-status": {"status": status} | ({"reason": reason} if reason else {}),
            "versions": sorted({names.parse(each.filename).version for each in found}),
            "files": files,
        }
        return json.dumps(page).encode()

    def _json_file(self, each: Shelved) -> dict[str, Any]:
        line: dict[str, Any] = {
            "filename": each.filename,
            "url": f"..{'/..' * self.prefix.count('/', 2)}{self.path_of(each)}",
            "hashes": each.hashes,
            "requires-python": each.requires_python,
            "yanked": False if each.yanked is None else each.yanked or True,
            "core-metadata": False,
        }
        if each.metadata is not None and self.announce != "no":
            digest = hashlib.sha256(each.metadata).hexdigest()
            line["core-metadata"] = {"sha256": digest} if self.announce == "hash" else True
        if self.sizes:
            line["size"] = len(each.data)
        if self.times and each.upload_time is not None:
            line["upload-time"] = formatted(each.upload_time)
        if each.provenance:
            line["provenance"] = each.provenance
        return line

    def _html(self, name: str, found: Iterable[Shelved], fault: str | None) -> bytes:
        lines = "".join(self._anchor(each) for each in found)
        if fault == "script":
            lines += (
                "<script>document.write('<a href=\"evil-1.0.tar.gz\">evil</a>')</script><!-- <a href='x'> "
            )
        meta = '<meta name="pypi:repository-version" content="1.4">' if self.shape == "html" else ""
        head = f"<!DOCTYPE html>\n<html><head>{meta}<title>Links for {name}</title></head>"
        return f"{head}<body><h1>Links for {name}</h1>\n{lines}</body></html>".encode()

    def _anchor(self, each: Shelved) -> str:
        href = self.path_of(each)
        if self.shape == "links":
            href = quote(each.filename)
        elif self.shape == "devpi":
            href = f"../../{href.removeprefix('/root/pypi/')}"
        if each.hashes and self.shape not in ("bare", "links"):
            algorithm, digest = next(iter(each.hashes.items()))
            href += f"#{algorithm}={digest}"
        attributes = f'href="{escape(href)}"'
        if each.requires_python and self.shape in ("html", "json", "rootless", "devpi"):
            attributes += f' data-requires-python="{escape(each.requires_python)}"'
        if each.yanked is not None and self.shape in ("html", "json", "rootless", "devpi"):
            attributes += f' data-yanked="{escape(each.yanked)}"'
        if each.metadata is not None and self.announce != "no" and self.shape in ("html", "json", "rootless"):
            digest = hashlib.sha256(each.metadata).hexdigest()
            value = f"sha256={digest}" if self.announce == "hash" else "true"
            attributes += f' data-dist-info-metadata="{value}" data-core-metadata="{value}"'
        return f"<a {attributes}>{escape(each.filename)}</a><br/>\n"

    def _listing(self, path: str, found: Iterable[Shelved]) -> bytes:
        """A directory as Apache or nginx list one, with the links that such pages have beside files."""
        if self.shape == "nginx":
            lines = "".join(
                f'<a href="{quote(each.filename)}">{each.filename[:47]}..&gt;</a>'
                f" 02-Jan-2024 03:04  {len(each.data)}\n"
                for each in found
            )
            text = (
                f'<html><head><title>Index of {path}</title></head><body><pre><a href="../">../</a>\n{lines}'
            )
            return f"{text}</pre></body></html>".encode()
        rows = "".join(
            f'<tr><td><img src="/icons/unknown.gif" alt="[   ]"></td><td><a href="{quote(each.filename)}">'
            f"{each.filename[:20]}..&gt;</a></td><td>2024-01-02 03:04</td><td>{len(each.data)}</td></tr>\n"
            for each in found
        )
        return (
            '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n'
            f"<html><head><title>Index of {path}</title></head><body><table>"
            '<tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>'
            f'<tr><td><a href="/simple/">Parent Directory</a></td></tr>\n{rows}</table></body></html>'
        ).encode()


_REDIRECTS = {
    "redirect-private": "http://169.254.169.254/latest/meta-data/",
    "redirect-file": "file:///etc/passwd",
    "redirect-loop": "",
}
_BAD_URLS = (
    "file:///etc/passwd", "javascript:alert(1)", "http://", "//[", "a\nb", "http://u:p@127.0.0.1:1/x.tar.gz",
    "http://169.254.169.254/x.tar.gz", "ftp://x/y.tar.gz", "http://2130706433/x.tar.gz", "http://x:99999/x",
)  # fmt: skip
_JSON_FAULTS = ("strangers", "types", "bad-urls", "bad-hashes")


def formatted(microseconds: int) -> str:
    """A time as PyPI's pages have it."""
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def metadata_of(sample: Sample) -> bytes | None:
    """The METADATA of a wheel, where it is one."""
    import io

    try:
        facts = archives.inspect(io.BytesIO(sample[1]), sample[0], limits=Limits(), age=1e9)
    except (PidexError, BadName):
        return None
    return facts.metadata


def _wrong(fault: str, name: str, files: Iterable[dict[str, Any]]) -> Iterator[Any]:
    """The files of a page, and others beside them that must not be believed."""
    for line in files:
        yield line
        if fault == "strangers":
            yield line | {"filename": f"evil-{name}-9.9.tar.gz", "url": "evil-9.9.tar.gz"}
            yield line | {"filename": "../../etc/passwd", "url": "passwd"}
            yield line | {"filename": f"{name}-9.9.tar.gz\n", "url": "x.tar.gz"}
        elif fault == "types":
            yield from (None, 7, "file", [], {}, {"filename": 3, "url": []}, {"filename": f"{name}-9.tar.gz"})
            yield line | {"filename": f"{name}-9.1.tar.gz", "size": "many", "yanked": 3, "hashes": []}
            yield line | {"filename": f"{name}-9.2.tar.gz", "upload-time": "yesterday", "size": -4}
        elif fault == "bad-urls":
            for number, url in enumerate(_BAD_URLS):
                yield line | {"filename": f"{name}-9.{number}.tar.gz", "url": url}
        else:
            for number, digest in enumerate(("", "zz" * 32, "a" * 63, 7, None)):
                yield line | {"filename": f"{name}-9.{number}.tar.gz", "hashes": {"sha256": digest}}


def _spoiled(answer: Answer, fault: str | None, chance: random.Random) -> Answer:
    """An answer with the fault in its headers or its body."""
    status, headers, body = answer.status, dict(answer.headers), answer.body
    if status != 200 or fault is None:
        return answer
    if fault == "flip" and body:
        at = chance.randrange(len(body))
        body = body[:at] + bytes([body[at] ^ (1 << chance.randrange(8))]) + body[at + 1 :]
    elif fault == "empty":
        body = b""
    elif fault == "garbage":
        body = chance.randbytes(len(body) + 1)
        headers.pop("content-encoding", None)
    elif fault == "wrong-type":
        headers["content-type"] = chance.choice(
            ["text/plain", "application/octet-stream", "image/png", "x", V1_HTML]
        )
    elif fault == "encoding-lie":
        headers["content-encoding"] = chance.choice(
            ["gzip", "deflate", "br", "zstd", "gzip, gzip", "nonsense"]
        )
    elif fault == "bomb":
        headers["content-encoding"], body = "gzip", gzip.compress(b"\0" * (80 << 20), 1)
    elif fault == "bad-header":
        headers["etag"] = '"' + "x" * 9_000 + '"'
    return Answer(status, headers, body)


@contextmanager
def local_upstream(*samples: Sample, shape: str = "json", **how: Any) -> Iterator[LocalUpstream]:
    """A started upstream that has these files."""
    upstream = LocalUpstream(shape, **how)
    for sample in samples:
        upstream.add(sample)
    with upstream:
        yield upstream
