"""What every installer does with an index: the same stories for pip of three ages, uv, poetry and pdm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.installers import Installer, Pip, Refused, Uv
from tests.walks.relay import Relay
from tests.walks.server import Server

pytestmark = pytest.mark.clients


def test_a_name_gets_the_newest_stable_version(installer: Installer, server: Server) -> None:
    assert installer.install(server.index_url, "demo") == {"demo": "1.1"}


def test_an_exact_version(installer: Installer, server: Server) -> None:
    assert installer.install(server.index_url, "demo==1.0") == {"demo": "1.0"}


def test_a_pre_release_on_demand(installer: Installer, server: Server) -> None:
    assert installer.install(server.index_url, "demo", pre=True) == {"demo": "2.0a1"}


def test_a_version_for_another_python_is_skipped(installer: Installer, server: Server) -> None:
    assert installer.install(server.index_url, "needy>=1") == {"needy": "1.0"}


def test_a_local_version(installer: Installer, server: Server) -> None:
    assert installer.install(server.index_url, "cuda-thing==1.0+cu118") == {"cuda-thing": "1.0+cu118"}


def test_an_epoch_counts_more_than_a_year(installer: Installer, server: Server) -> None:
    assert installer.install(server.index_url, "epochal") == {"epochal": "1!1.0"}


def test_an_extra_brings_its_dependency(installer: Installer, server: Server) -> None:
    found = installer.install(server.index_url, "extrasful[all]")
    assert found == {"extrasful": "1.0", "demo": "1.1"}


def test_dependencies_of_dependencies(installer: Installer, server: Server) -> None:
    found = installer.install(server.index_url, "tree")
    assert found == {"tree": "1.0", "branch": "1.0", "leaf": "1.0"}


@pytest.mark.parametrize("spelling", ["zope.odd_name", "ZOPE-ODD-NAME"])
def test_a_name_in_any_spelling(installer: Installer, server: Server, spelling: str) -> None:
    assert installer.install(server.index_url, spelling) == {"zope-odd-name": "1.0"}


def test_an_sdist_is_built(installer: Installer, server: Server) -> None:
    name = "classic" if installer.client.name == "pip19" else "sourceful"  # backend-path came with pip 20
    assert installer.install(server.index_url, name) == {name: "1.0"}


def test_an_unknown_name_is_not_found(installer: Installer, relay: Relay) -> None:
    with pytest.raises(Refused) as refused:
        installer.install(relay.index_url, "no-such-name")
    assert "no-such-name" in str(refused.value)
    assert relay.asked("/simple/no-such-name/")


@pytest.fixture(params=["pip", "pip19", "pip20", "uv"])
def hashing(request: pytest.FixtureRequest, have: object) -> Pip | Uv:
    assert callable(have)
    found = have(request.param)
    assert isinstance(found, Pip | Uv)
    return found


def install_locked(installer: Pip | Uv, server: Server, sha256: str) -> dict[str, str]:
    """Install demo 1.1 from a requirements file with this hash."""
    locked = Path(installer.home / "requirements.txt")
    locked.write_text(f"demo==1.1 --hash=sha256:{sha256}\n")
    return installer.install(server.index_url, "--require-hashes", "-r", str(locked))


def test_hashes_are_required(hashing: Pip | Uv, server: Server) -> None:
    listed = server.wait_for("demo", "demo-1.1-py3-none-any.whl")
    assert install_locked(hashing, server, listed.sha256) == {"demo": "1.1"}


def test_other_bytes_than_locked_are_refused(hashing: Pip | Uv, server: Server) -> None:
    with pytest.raises(Refused) as refused:
        install_locked(hashing, server, "0" * 64)
    assert "hash" in str(refused.value).lower()
