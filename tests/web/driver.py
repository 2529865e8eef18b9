"""The web face in this process: a folder, the parts over it, and requests as a server would send them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pidex import app
from pidex.catalogue.engine import Catalogue
from pidex.web.site import Site
from tests import samples

JSON = "application/vnd.pypi.simple.v1+json"


class Answer:
    """One answer. `complete`: whether its body was ended, and not cut."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.names: list[str] = []
        self.cookies: list[str] = []
        self.body = b""
        self.complete = False

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@cache
def _empty() -> bytes:
    """A catalogue with the tables in it: to make them takes longer than most tests."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "catalogue.db"
        Catalogue.open(path).close()
        return path.read_bytes()


def _furnish(data: Path) -> None:
    """Put an empty catalogue into a data directory that is not there yet."""
    if not data.exists():
        data.mkdir(mode=0o700)
        path = data / "catalogue.db"
        path.touch(mode=0o600)
        path.write_bytes(_empty())


class House:
    """A folder and the site over it. One event loop for all requests; close it."""

    def __init__(self, place: Path, *packages: samples.Sample, **flags: object) -> None:
        self.folder = place / "packages"
        self.folder.mkdir(exist_ok=True)
        for package in packages:
            samples.write(self.folder, package)
        given = {
            "folders": (str(self.folder),),
            "data": str(place / "data"),
            "page_wait": "0.2",
            "sandbox_children": "1",
        }
        self.source = app.Source({**given, **flags}, {})
        if not {"data", "database"} & flags.keys():
            _furnish(place / "data")
        self.pidex = app.build(self.source.settings(), {}, create=True)
        self.loop = asyncio.new_event_loop()
        self.site: Site = app.site(self.pidex, None)
        self._reconciler = self.pidex.reconciler()
        self.closed_to_changes = False
        self.scan()

    def scan(self) -> None:
        """Have the catalogue equal the folder."""
        self._reconciler.scan()

    def add(self, package: samples.Sample) -> Path:
        """Put a package into the folder and have it listed."""
        assert not self.closed_to_changes, "other tests read this house: ask for one of your own"
        path = samples.write(self.folder, package)
        self.scan()
        return path

    def close(self) -> None:
        self.site.close()
        self.pidex.close()
        self.loop.close()

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *coroutines: Any) -> list[Any]:
        """Run coroutines at the same time."""

        async def together() -> list[Any]:
            return list(await asyncio.gather(*coroutines))

        return self.loop.run_until_complete(together())

    def get(self, target: str, accept: str | None = None, method: str = "GET", **headers: str) -> Answer:
        """One request; header names with `_` for `-`."""
        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if accept is not None:
            given.append(("accept", accept))
        answer: Answer = self.run(self.ask(target, given, method=method))[0]
        return answer

    def head(self, target: str, accept: str | None = None, **headers: str) -> Answer:
        return self.get(target, accept, "HEAD", **headers)

    async def ask(
        self,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        method: str = "GET",
        body: bytes = b"",
        pieces: Sequence[bytes] | None = None,
        stalls: bool = False,
        client: tuple[str, int] | None = ("127.0.0.1", 40000),
        scheme: str = "http",
        site: Any = None,
        **scope: object,
    ) -> Answer:
        """One request with everything that a server could say of it. `stalls`: its body never ends."""
        path, _, query = target.partition("?")
        given: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": unquote(path, errors="replace"),
            "raw_path": path.encode("utf-8", "replace"),
            "query_string": query.encode("latin-1", "replace"),
            "root_path": "",
            "headers": [(b"host", b"index.test:8080")] * ("host" not in dict(headers))
            + [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            "client": client,
            "server": ("127.0.0.1", 3141),
            **scope,
        }
        answer = Answer()
        every = [body] if pieces is None else pieces
        sent = iter(
            [
                {"type": "http.request", "body": piece, "more_body": stalls or number < len(every)}
                for number, piece in enumerate(every, 1)
            ]
        )

        async def receive() -> MutableMapping[str, Any]:
            message = next(sent, None)
            if message is None:
                await asyncio.Event().wait()
            assert message is not None
            return message

        async def send(message: Mapping[str, Any]) -> None:
            await asyncio.sleep(0)
            if message["type"] == "http.response.start":
                assert answer.status == 0, "two answers"
                answer.status = message["status"]
                pairs = [
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
                ]
                assert all(name == name.lower() for name, _ in pairs)
                answer.headers, answer.names = dict(pairs), [name for name, _ in pairs]
                answer.cookies = [value for name, value in pairs if name == "set-cookie"]
            else:
                assert not answer.complete, "more after the end"
                answer.body += message.get("body", b"")
                answer.complete = not message.get("more_body", False)

        await (site or self.site)(given, receive, send)
        if answer.complete and method != "HEAD" and answer.status not in (204, 304):
            assert answer.headers.get("content-length") == str(len(answer.body))
        once = [name for name in answer.names if name != "set-cookie"]
        assert len(once) == len(set(once)), "a header twice"
        return answer


@contextlib.contextmanager
def heard(name: str) -> Iterator[list[logging.LogRecord]]:
    """What is logged under a name, whatever else is set up for it."""
    records: list[logging.LogRecord] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    ear = Ear()
    logger = logging.getLogger(name)
    logger.addHandler(ear)
    try:
        yield records
    finally:
        logger.removeHandler(ear)


def listed(house: House, project: str, **headers: str) -> list[str]:
    """The file names on a project's page."""
    answer = house.get(f"/simple/{project}/", JSON, **headers)
    assert answer.status == 200, answer.text
    return [file["filename"] for file in answer.json()["files"]]


def file_url(house: House, project: str, number: int = 0) -> str:
    """The path of a project's file."""
    answer = house.get(f"/simple/{project}/", JSON)
    url: str = answer.json()["files"][number]["url"]
    return url.removeprefix("../..")
