"""What pip alone does: download, versions, find-links, metadata without wheels, ranges, resumed downloads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from tests.clients.installers import Installer, Pip, installed
from tests.clients.shelf import DAY, LARGE
from tests.walks.relay import Relay, Scissors
from tests.walks.server import Server

pytestmark = pytest.mark.clients


def test_download_leaves_the_bytes_of_the_page(any_pip: Pip, server: Server) -> None:
    any_pip.pip("download", "-i", server.index_url, "-d", any_pip.target, "demo==1.0")
    (path,) = any_pip.target.iterdir()
    listed = server.wait_for("demo", path.name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == listed.sha256


def test_versions_of_a_project(pip: Pip, server: Server) -> None:
    said = pip.pip("index", "versions", "-i", server.index_url, "demo", "--json")
    assert json.loads(said)["versions"] == ["1.1", "1.0"]


def test_files_before_a_day(pip: Pip, server: Server) -> None:
    """`--uploaded-prior-to` refuses a file without upload-time; the first scan takes it from the file."""
    assert pip.install(server.index_url, f"--uploaded-prior-to={DAY}", "dated") == {"dated": "1.0"}


def test_resolving_reads_metadata_and_no_wheel(pip: Pip, relay: Relay) -> None:
    report = pip.pip(
        "install", "-i", relay.index_url, "--dry-run", "--target", pip.target, "--report", "-", "-q", "tree"
    )
    chosen = {each["metadata"]["name"] for each in json.loads(report)["install"]}
    assert chosen == {"tree", "branch", "leaf"}
    assert len(relay.asked(".whl.metadata")) == 3
    assert relay.asked(".whl") == []


def test_a_wheel_is_read_by_ranges(have: Callable[[str], Installer], relay: Relay) -> None:
    """pip 20 knows no `.metadata`; its fast-deps reads the directory of whale 2.0 and passes on to 1.0."""
    pip20 = have("pip20")
    assert isinstance(pip20, Pip)
    found = pip20.install(relay.index_url, "--use-feature=2020-resolver", "--use-feature=fast-deps", "tree")
    assert found == {"tree": "1.0", "branch": "1.0", "leaf": "1.0"}
    probes = relay.asked(".whl", method="HEAD")
    assert {probe.filename.partition("-")[0] for probe in probes} == {"tree", "branch", "leaf"}
    relay.requests.clear()
    pip20.pip("download", "-i", relay.index_url, "--use-feature=fast-deps", "-d", pip20.home / "d", "whale<2")
    parts = [each for each in relay.asked("whale-1.0-py3-none-any.whl") if "range" in each.headers]
    assert parts, relay.requests


def test_a_cut_download_is_resumed(pip: Pip, server: Server) -> None:
    """The socket is cut after a third; pip asks for the rest by Range with If-Range and has it whole."""
    name = "whale-1.0-py3-none-any.whl"
    with Relay(server.port, Scissors(name, LARGE // 3)) as relay:
        found = pip.install(relay.index_url, "--no-deps", "--resume-retries=3", "whale==1.0")
        assert found == {"whale": "1.0"}
        first, second = relay.asked(name, method="GET")
    assert relay.scissors is not None
    assert relay.scissors.done.is_set()
    assert "range" not in first.headers
    assert second.headers["range"].startswith("bytes=")
    assert int(second.headers["range"].removeprefix("bytes=").rstrip("-")) > 0
    assert "if-range" in second.headers


def test_the_flat_page_serves_find_links(any_pip: Pip, server: Server) -> None:
    page = f"{server.url}/packages/"
    any_pip.pip("install", "--no-index", "--find-links", page, "--target", any_pip.target, "tree", "demo<1.1")
    found = installed(any_pip.target)
    assert found == {"tree": "1.0", "branch": "1.0", "leaf": "1.0", "demo": "1.0"}


def test_the_root_serves_as_an_index(any_pip: Pip, server: Server) -> None:
    """pypiserver's users write `-i http://host:port/`: `/<name>/` leads to `/simple/<name>/`."""
    assert any_pip.install(f"{server.url}/", "demo") == {"demo": "1.1"}


def test_an_old_style_sdist_is_built(any_pip: Pip, server: Server) -> None:
    options = ["--no-build-isolation"] if any_pip.client.name != "pip19" else []
    assert any_pip.install(server.index_url, *options, "classic", "zipped") == {
        "classic": "1.0",
        "zipped": "1.0",
    }
