"""twine and `uv publish` against the real program: what they send arrives, what they print says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pidex import app
from pidex.accounts import hashing
from pidex.catalogue import grants, indexes, statuses, users
from pidex.core.model import Status
from pidex.core.permissions import Grant, Role
from tests import samples
from tests.clients.installers import Installer, Refused
from tests.walks.server import Server

PASSWORD = "correct horse"
Have = Callable[[str], Installer]


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
        for name in ("ann", "bob"):
            users.add(conn, name, hashing.hashed(PASSWORD), at=1)
        grants.add(conn, Grant("user:ann", Role.UPLOADER, "main"), by="test", at=1)
        marker = statuses.ProjectStatus("closed", Status.ARCHIVED, None, "test", 1)
        statuses.put(conn, number, marker)
    pidex.close()
    with Server(folder, options=["--data", str(data), "--workers", "2"]) as running:
        yield running


class Publisher:
    """An upload tool at work."""

    def __init__(self, installer: Installer, server: Server) -> None:
        self.installer, self.server = installer, server

    def publish(
        self, *paths: Path | str, user: str = "ann", password: str = PASSWORD, verbose: bool = False
    ) -> str:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"{self.server.url}/legacy/"


class Twine(Publisher):
    def publish(
        self, *paths: Path | str, user: str = "ann", password: str = PASSWORD, verbose: bool = False
    ) -> str:
        return self.installer.run(
            "twine", "upload", "--non-interactive", "--disable-progress-bar", *["--verbose"] * verbose,
            "--repository-url", self.url, "-u", user, "-p", password, *paths,
        )  # fmt: skip


class UvPublish(Publisher):
    def publish(
        self, *paths: Path | str, user: str = "ann", password: str = PASSWORD, verbose: bool = False
    ) -> str:
        return self.installer.run(
            "uv", "publish", "--trusted-publishing", "never", "--publish-url", self.url,
            "-u", user, "-p", password, *paths,
        )  # fmt: skip


@pytest.fixture(params=["twine", "uv"])
def tool(request: pytest.FixtureRequest, have: Have, server: Server) -> Publisher:
    kind = {"twine": Twine, "uv": UvPublish}[request.param]
    return kind(have(request.param), server)


def refused(tool: Publisher, *paths: Path, **given: str) -> str:
    """What the tool says of a refusal, as it says it when asked to say everything."""
    with pytest.raises(Refused) as told:
        tool.publish(*paths, verbose=True, **given)  # type: ignore[arg-type]
    return " ".join(str(told.value).split())


def test_publish(tool: Publisher, tmp_path: Path) -> None:
    name = f"by-{type(tool).__name__.lower()}"
    metadata = samples.core_metadata(
        name, "1.0", metadata_version="2.4", extra="Description-Content-Type: text/plain\n"
    )
    wheel = samples.write(tmp_path, samples.wheel(name, "1.0", metadata=metadata))
    sdist = samples.write(tmp_path, samples.sdist(name, "1.0", metadata=metadata))
    tool.publish(wheel, sdist)
    assert sorted(tool.server.names(name)) == sorted([wheel.name, sdist.name])
    assert tool.server.download(name, wheel.name) == wheel.read_bytes()
    tool.publish(wheel, sdist)
    wheel.write_bytes(samples.wheel(name, "1.0", metadata=metadata, files={"a": b"1"})[1])
    assert "File already exists" in refused(tool, wheel)


def test_uv_passes_over_what_is_there(have: Have, server: Server, tmp_path: Path) -> None:
    tool = UvPublish(have("uv"), server)
    wheel = samples.write(tmp_path, samples.wheel("by-check", "1.0"))
    tool.publish(wheel)
    assert "already exists" in tool.publish(wheel, "--check-url", server.index_url)
    wheel.write_bytes(samples.wheel("by-check", "1.0", files={"a": b"1"})[1])
    with pytest.raises(Refused, match="do not match"):
        tool.publish(wheel, "--check-url", server.index_url)


def test_refusals(tool: Publisher, tmp_path: Path) -> None:
    name = f"bad-{type(tool).__name__.lower()}"
    wheel = samples.write(tmp_path, samples.wheel(name, "1.0"))
    assert "The user name or the password is wrong" in refused(tool, wheel, password="wrong")
    assert "bob may not upload" in refused(tool, wheel, user="bob")
    closed = samples.write(tmp_path, samples.wheel("closed", "1.0"))
    assert "archived and does not accept new files" in refused(tool, closed)
    assert tool.server.names(name) == []
    unread = tmp_path / wheel.name
    data = bytearray(wheel.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 16] ^= 0xFF  # the checksum of the first member
    unread.write_bytes(data)
    assert "Invalid distribution file" in refused(tool, unread)
    assert tool.server.names(name) == []
