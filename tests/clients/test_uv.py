"""What uv alone does: resolve without wheels, older than a day, lock and sync a project, find-links."""

from __future__ import annotations

import tomllib

import pytest

from tests.clients.installers import Uv, installed
from tests.clients.shelf import DAY
from tests.walks.relay import Relay
from tests.walks.server import Server

pytestmark = pytest.mark.clients

PROJECT = """\
[project]
name = "consumer"
version = "0"
requires-python = ">=3.11"
dependencies = ["tree", "sourceful"]

[[tool.uv.index]]
name = "here"
url = "{url}"
default = true
"""


def test_resolving_reads_metadata_and_no_wheel(uv: Uv, relay: Relay) -> None:
    (uv.home / "requirements.in").write_text("tree\nwhale\n")
    uv.uv("pip", "compile", "--default-index", relay.index_url, "-o", "requirements.txt", "requirements.in")
    pins = (uv.home / "requirements.txt").read_text()
    assert all(pin in pins for pin in ("tree==1.0", "branch==1.0", "leaf==1.0", "whale==1.0"))
    assert len(relay.asked(".whl.metadata")) >= 4
    assert relay.asked(".whl") == []


def test_files_before_a_day(uv: Uv, server: Server) -> None:
    """`--exclude-newer` passes over a file without upload-time; the first scan takes it from the file."""
    assert uv.install(server.index_url, "--exclude-newer", DAY, "dated") == {"dated": "1.0"}


def test_a_project_is_locked_and_synced(uv: Uv, server: Server) -> None:
    project = uv.home / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT.format(url=server.index_url))
    uv.uv("sync", cwd=project)
    lock = tomllib.loads((project / "uv.lock").read_text())
    wheels = {p["name"]: p["wheels"][0] for p in lock["package"] if "wheels" in p}
    assert set(wheels) == {"tree", "branch", "leaf"}
    for name, one in wheels.items():
        listed = server.wait_for(name, f"{name}-1.0-py3-none-any.whl")
        assert one["hash"] == f"sha256:{listed.sha256}"
        assert one["url"] == listed.url
        assert one["size"] > 0
        assert "upload-time" in one
    (site,) = (project / ".venv" / "lib").glob("python*/site-packages")
    assert set(installed(site)) == {"tree", "branch", "leaf", "sourceful"}


def test_the_flat_page_serves_find_links(uv: Uv, server: Server) -> None:
    uv.uv(
        "pip",
        "install",
        "--no-index",
        "--find-links",
        f"{server.url}/packages/",
        "--target",
        uv.target,
        "tree",
    )
    assert installed(uv.target) == {"tree": "1.0", "branch": "1.0", "leaf": "1.0"}
