"""easy_install of setuptools 65: eggs, which no other installer takes, and old sdists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.environments import version_of
from tests.clients.installers import Installer
from tests.samples import egg, write
from tests.walks.server import Server, run

pytestmark = pytest.mark.clients

SETUP = "from setuptools import setup\nsetup(name='consumer', version='0', py_modules=[])\n"


@pytest.fixture
def easy(have: Callable[[str], Installer], tmp_path: Path) -> Callable[..., list[str]]:
    """`setup.py easy_install` into an empty folder; says what lies there then."""
    client = have("easy-install").client
    (tmp_path / "setup.py").write_text(SETUP)
    target = tmp_path / "target"
    target.mkdir()

    def easy_install(*arguments: str) -> list[str]:
        run(
            client.program("python"), "setup.py", "easy_install", "--install-dir", target, *arguments,
            cwd=tmp_path, environ={"HOME": str(tmp_path), "PYTHONPATH": str(target)},
        )  # fmt: skip
        return sorted(path.name for path in target.iterdir())

    return easy_install


def test_an_egg_is_installed(easy: Callable[..., list[str]], have: object, tmp_path: Path) -> None:
    from tests.clients.environments import CLIENTS

    version = version_of(str(CLIENTS["easy-install"].program("python")))
    assert version is not None
    sample = egg("eggs-only", "1.0", python=f"{version[0]}.{version[1]}")
    write(tmp_path / "packages", sample)
    with Server(tmp_path / "packages") as server:
        assert sample[0] in easy("--index-url", server.index_url, "eggs-only")


def test_an_sdist_is_built(easy: Callable[..., list[str]], server: Server) -> None:
    assert any(name.startswith("zipped-1.0") for name in easy("--index-url", server.index_url, "zipped"))


def test_the_flat_page_serves_find_links(easy: Callable[..., list[str]], server: Server) -> None:
    found = easy("--find-links", f"{server.url}/packages/", "--allow-hosts=127.0.0.1*", "classic")
    assert any(name.startswith("classic-1.0") for name in found)
