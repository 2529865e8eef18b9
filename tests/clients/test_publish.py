"""Upload tools against the real program: what they send arrives, what they print says why not."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pidex import app
from pidex.accounts import hashing
from pidex.catalogue import grants, indexes, statuses, tokens, users
from pidex.core.model import Status
from pidex.core.permissions import Grant, Role
from pidex.core.tokens import TokenScope, digest, hint, text
from tests import samples
from tests.clients.installers import Installer, Refused
from tests.clients.publishers import TOOLS, Publisher, Twine, UvCheck
from tests.walks.server import Server

PASSWORD = "correct horse"
Have = Callable[[str], Installer]

#: Bytes that a file may have on the server of these tests.
LIMIT = 1_000_000
EXPIRED = text(b"e" * 32)

#: What stands beside a status: the server's phrase, or that of the tool's own table.
PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    413: "Payload Too Large|Request Entity Too Large|Content Too Large",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with ann, who may upload, and bob, who may not; the project `closed` is archived."""
    place = tmp_path_factory.mktemp("publish")
    folder, data = place / "packages", place / "data"
    folder.mkdir()
    settings = app.Source({"folders": (str(folder),), "data": str(data)}, {}).settings()
    pidex = app.build(settings, {}, create=True)
    with pidex.catalogue.write() as conn:
        number = indexes.ensure(conn, "main", 1)
        indexes.set_policy(conn, number, {"file_limit": LIMIT})
        ann = users.add(conn, "ann", hashing.hashed(PASSWORD), at=1)
        users.add(conn, "bob", hashing.hashed(PASSWORD), at=1)
        grants.add(conn, Grant("user:ann", Role.UPLOADER, "main"), by="test", at=1)
        scope = TokenScope(0, expires=time.time() - 60)
        tokens.add(conn, ann.id, scope, digest=digest(EXPIRED), hint=hint(EXPIRED), comment="", at=1)
        marker = statuses.ProjectStatus("closed", Status.ARCHIVED, None, "test", 1)
        statuses.put(conn, number, marker)
    pidex.close()
    samples.write(folder, samples.wheel("closed", "0.1"))
    with Server(folder, options=["--data", str(data), "--workers", "2"]) as running:
        yield running


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, have: Have, server: Server) -> Publisher:
    environment, kind = TOOLS[request.param]
    return kind(have(environment), server.url, request.param)


def publish(tool: Publisher, paths: list[Path], user: str = "ann", password: str = PASSWORD) -> str:
    """Publish; what was printed, in one line."""
    return " ".join(tool.publish(paths, user, password).split())


def refused(tool: Publisher, paths: list[Path], user: str = "ann", password: str = PASSWORD) -> str:
    """Publish and be refused; what was printed, in one line."""
    with pytest.raises(Refused) as error:
        tool.publish(paths, user, password)
    said = " ".join(str(error.value).split())
    print(f"{tool.name}: {said[-700:]}")
    return said


def told(tool: Publisher, said: str, status: int, sentence: str) -> None:
    """The tool printed the server's sentence or, where it never prints any, the status with its phrase."""
    if status in tool.says_why:
        assert sentence in said
    else:
        assert re.search(rf"{status} (Client Error: )?({PHRASES[status]})", said)


def test_success_and_again_and_conflict(tool: Publisher, server: Server) -> None:
    name = f"by-{tool.name}"
    paths = tool.make(name)
    publish(tool, paths)
    listed = {file.filename: file.sha256 for file in server.files(name) or []}
    assert len(listed) == 2
    for path in paths:
        assert server.download(name, path.name) == path.read_bytes()
    publish(tool, paths)
    paths = tool.make(name, b"other bytes")
    told(tool, refused(tool, paths), 400, tool.conflict)
    assert {file.filename: file.sha256 for file in server.files(name) or []} == listed


def test_uv_passes_over_what_is_there(have: Have, server: Server) -> None:
    tool = UvCheck(have("uv"), server.url, "uv-check")
    paths = tool.make("by-check")
    publish(tool, paths)
    assert "already exists, skipping" in publish(tool, paths)


@pytest.mark.parametrize("user", ["ann", "__token__"])
def test_wrong_credentials(tool: Publisher, server: Server, user: str) -> None:
    name = f"stranger-{tool.name}"
    sentence = "The user name or the password is wrong" if user == "ann" else "token"
    told(tool, refused(tool, tool.make(name), user, "wrong"), 401, sentence)
    assert server.names(name) == []


def test_an_expired_token(tool: Publisher, server: Server) -> None:
    name = f"expired-{tool.name}"
    told(tool, refused(tool, tool.make(name), "__token__", EXPIRED), 401, "expired on")
    assert server.names(name) == []


def test_no_right(tool: Publisher, server: Server) -> None:
    name = f"unheard-{tool.name}"
    told(tool, refused(tool, tool.make(name), "bob"), 403, "bob may not upload")
    assert server.names(name) == []
    told(tool, refused(tool, tool.make("closed")), 403, "archived and does not accept new files")


def test_too_large(tool: Publisher, server: Server) -> None:
    name = f"large-{tool.name}"
    large = tool.make(name, random.Random(0).randbytes(LIMIT))
    told(tool, refused(tool, large), 413, "File too large")
    assert server.names(name) == []


def test_a_damaged_archive(tool: Publisher, server: Server) -> None:
    if not tool.sends_files:
        pytest.skip(f"NOT TESTED: {tool.name} sends only what it has just built")
    name = f"damaged-{tool.name}"
    wheel = tool.make(name, b"payload")[0]
    data = bytearray(wheel.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 16] ^= 0xFF  # the checksum of the first member
    wheel.write_bytes(data)
    for other in wheel.parent.iterdir():
        if other != wheel:
            other.unlink()
    told(tool, refused(tool, [wheel]), 400, "Invalid distribution file")
    assert server.names(name) == []


def test_an_egg_by_the_last_twine_that_knows_eggs(have: Have, server: Server, tmp_path: Path) -> None:
    tool = Twine(have("twine38"), server.url, "twine38")
    egg = samples.write(tmp_path, samples.egg("hatched", "1.0"))
    publish(tool, [egg])
    assert server.download("hatched", egg.name) == egg.read_bytes()
