"""One server over the shelf for all clients, a relay before it for each test, and the installers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients import shelf
from tests.clients.environments import CLIENTS, Unavailable, make
from tests.clients.installers import KINDS, Installer, Pip, Uv
from tests.walks.relay import Relay
from tests.walks.server import Server

#: Every client that installs by requirement.
EVERY = ("pip", "pip19", "pip20", "uv", "poetry", "pdm")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("shelf") / "packages"
    shelf.fill(folder)
    with Server(folder) as running:
        yield running


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with Relay(server.port) as between:
        yield between


@pytest.fixture
def have(tmp_path: Path) -> Callable[[str], Installer]:
    """An installer by its name; the test is skipped where this machine cannot have it."""

    def installer(name: str) -> Installer:
        try:
            make(CLIENTS[name])
        except Unavailable as reason:
            pytest.skip(str(reason))
        home = tmp_path / name
        home.mkdir()
        return KINDS[name](CLIENTS[name], home)

    return installer


@pytest.fixture(params=EVERY)
def installer(request: pytest.FixtureRequest, have: Callable[[str], Installer]) -> Installer:
    return have(request.param)


@pytest.fixture(params=["pip", "pip19", "pip20"])
def any_pip(request: pytest.FixtureRequest, have: Callable[[str], Installer]) -> Pip:
    found = have(request.param)
    assert isinstance(found, Pip)
    return found


@pytest.fixture
def pip(have: Callable[[str], Installer]) -> Pip:
    found = have("pip")
    assert isinstance(found, Pip)
    return found


@pytest.fixture
def uv(have: Callable[[str], Installer]) -> Uv:
    found = have("uv")
    assert isinstance(found, Uv)
    return found
