"""A recording of an index: what clients asked of it once, answered again with latency and limited bandwidth.

`python -m bench.recording STORE --port N [--record URL] [--latency S] [--bandwidth BYTES]`: with --record,
what is not there is asked of that index and kept. Only what clients ask for is ever asked; the list of names
has what is recorded. Pages announce the metadata of wheels as PyPI does, whether or not recorded ones did.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import re
import ssl
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import uvloop

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "text/html"


class Recording:
    """Answers by path and media type, as files in a folder; pages with the files' host replaced by us."""

    def __init__(self, store: Path, source: str | None) -> None:
        self.store, self.source = store, source
        store.mkdir(parents=True, exist_ok=True)
        self.hosts: dict[str, str] = {}
        self.origin = ""
        places = store / "hosts.json"
        if places.exists():
            self.hosts = json.loads(places.read_text())
        self.metadata: dict[Path, bytes] = {}
        self.finished: dict[tuple[str, str], tuple[int, dict[str, str], bytes]] = {}

    async def answer(self, path: str, accept: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        page = re.fullmatch(r"/simple/([^/]+)/", path)
        kind = JSON if JSON in accept else HTML
        if path == "/simple/":
            return 200, {"content-type": kind}, self._names(kind)
        if page is None and not path.startswith("/files/"):
            return 404, {}, b""
        if path.endswith(".metadata"):
            data = self._metadata(path.removesuffix(".metadata"))
            return (404, {}, b"") if data is None else (200, {"content-type": "text/plain"}, data)
        key = (path, kind if page else "")
        found = self.finished.get(key)
        if found is None:
            found = await asyncio.to_thread(self._recorded, path, kind if page else "")
            if page and found[0] == 200:
                # As PyPI's, URLs are absolute; that is the common case to be fast in.
                body = gzip.decompress(found[2]).replace(b'"/files/', f'"{self.origin}/files/'.encode())
                found = found[0], found[1], gzip.compress(body, 6, mtime=0)
                self.finished[key] = found
        return found

    def _names(self, kind: str) -> bytes:
        names = sorted({path.name.split("~")[1] for path in self.store.glob("page~*")})
        if kind == JSON:
            return json.dumps(
                {"meta": {"api-version": "1.4"}, "projects": [{"name": n} for n in names]}
            ).encode()
        return "".join(f'<a href="{name}/">{name}</a><br>' for name in names).encode()

    def _recorded(self, path: str, kind: str) -> tuple[int, dict[str, str], bytes]:
        if kind:
            ending = "json" if kind == JSON else "html"
            place = self.store / f"page~{unquote(path.split('/')[2])}~{ending}"
        else:
            place = self._place(path)
        missing = place.with_name(place.name + "~404")
        if missing.exists():
            return 404, {}, b""
        if not place.exists():
            data = self._ask(path, kind)
            if data is None:
                missing.touch()
                return 404, {}, b""
            place.write_bytes(data)
        body = place.read_bytes()
        if kind == JSON:
            body = self._announced(body)
        if not kind:
            return 200, {"content-type": "application/octet-stream"}, body
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {
            "content-type": kind,
            "etag": tag,
            "content-encoding": "gzip",
            "cache-control": "max-age=600",
        }
        return 200, headers, gzip.compress(body, 6, mtime=0)

    def _place(self, path: str) -> Path:
        return self.store / f"file~{hashlib.sha256(path.encode()).hexdigest()}"

    def _metadata(self, path: str) -> bytes | None:
        """The METADATA of a recorded wheel."""
        place = self._place(path)
        if place not in self.metadata:
            if not place.exists():
                return None
            with zipfile.ZipFile(place) as wheel:
                names = wheel.namelist()
                name = next(name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
                self.metadata[place] = wheel.read(name)
        return self.metadata[place]

    def _announced(self, body: bytes) -> bytes:
        """The page with the metadata of recorded wheels by hash, of others without."""
        page = json.loads(body)
        for file in page["files"]:
            if file["filename"].endswith(".whl"):
                data = self._metadata(quote(unquote(file["url"]), safe="/%+!~"))
                file["core-metadata"] = True if data is None else {"sha256": hashlib.sha256(data).hexdigest()}
        return json.dumps(page, separators=(",", ":")).encode()

    def _ask(self, path: str, kind: str) -> bytes | None:
        if self.source is None:
            return None
        if kind:
            url = self.source.rstrip("/") + path.removeprefix("/simple")
        else:
            number, _, rest = path.removeprefix("/files/").partition("/")
            url = f"https://{self.hosts[number]}/{rest}"
        request = urllib.request.Request(url, headers={"Accept": kind or "*/*", "User-Agent": "pidex-bench"})
        try:
            with urllib.request.urlopen(request, context=ssl.create_default_context(), timeout=60) as answer:
                data: bytes = answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return self._localised(data, kind) if kind else data

    def _localised(self, data: bytes, kind: str) -> bytes:
        """A page whose files are ours."""
        text = data.decode()
        urls = re.findall(r'"(https://[^"/]+)/', text)
        for origin in sorted(set(urls)):
            host = urlsplit(origin).netloc
            if f"{origin}/packages/" not in text:
                continue
            number = next((key for key, value in self.hosts.items() if value == host), str(len(self.hosts)))
            self.hosts[number] = host
            (self.store / "hosts.json").write_text(json.dumps(self.hosts))
            text = text.replace(f"{origin}/", f"/files/{number}/")
        return text.encode()


class Server:
    """HTTP/1.1, GET and HEAD, keep-alive, ranges; each answer after `latency` seconds."""

    def __init__(self, recording: Recording, latency: float, bandwidth: int | None) -> None:
        self.recording, self.latency, self.bandwidth = recording, latency, bandwidth
        self.log: list[str] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {
            line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in head[1:] if line
        }
        path = target.partition("?")[0]
        if self.latency:
            await asyncio.sleep(self.latency)
        if path == "/-/requests":
            status, told, body = 200, {"content-type": "application/json"}, json.dumps(self.log).encode()
        elif path == "/-/reset":
            self.log.clear()
            status, told, body = 200, {}, b""
        else:
            self.log.append(path)
            status, told, body = await self.recording.answer(
                quote(unquote(path), safe="/%+!~"), headers.get("accept", "")
            )
        if status == 200 and told.get("etag") and headers.get("if-none-match") == told["etag"]:
            status, body = 304, b""
        if told.get("content-encoding") == "gzip" and "gzip" not in headers.get("accept-encoding", ""):
            told, body = {k: v for k, v in told.items() if k != "content-encoding"}, gzip.decompress(body)
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", ""))
        if status == 200 and span and path.startswith("/files/"):
            start = int(span[1]) if span[1] else max(0, len(body) - int(span[2]))
            end = int(span[2]) + 1 if span[1] and span[2] else len(body)
            told = {**told, "content-range": f"bytes {start}-{min(end, len(body)) - 1}/{len(body)}"}
            status, body = 206, body[start:end]
        lines = [f"HTTP/1.1 {status} OK", f"content-length: {len(body)}", "accept-ranges: bytes"]
        writer.write("\r\n".join([*lines, *(f"{k}: {v}" for k, v in told.items()), "", ""]).encode())
        if method != "HEAD" and status != 304:
            await self._body(writer, body)
        await writer.drain()
        return headers.get("connection", "").lower() != "close"

    async def _body(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        if self.bandwidth is None or len(body) < 16_384:
            for at in range(0, len(body), 1 << 18):
                writer.write(body[at : at + (1 << 18)])
                await writer.drain()
            return
        piece = self.bandwidth // 50
        for at in range(0, len(body), piece):
            writer.write(body[at : at + piece])
            await writer.drain()
            await asyncio.sleep(len(body[at : at + piece]) / self.bandwidth)


async def serve(arguments: argparse.Namespace) -> None:
    server = Server(Recording(arguments.store, arguments.record), arguments.latency, arguments.bandwidth)
    server.recording.origin = f"http://127.0.0.1:{arguments.port}"
    async with await asyncio.start_server(
        server.connected, "127.0.0.1", arguments.port, limit=1 << 20, backlog=512
    ) as listening:
        await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--record")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--bandwidth", type=int)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
