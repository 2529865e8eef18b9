"""`pypi-server update`: what is newer upstream, and the commands that fetch it."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pidex.cli import pypiserver
from pidex.cli.update import JSON, newest
from tests import samples

UPSTREAM: dict[str, list[tuple[str, bool | str]]] = {
    "alpha": [
        ("alpha-1.0.tar.gz", False),
        ("alpha-1.2-py3-none-any.whl", False),
        ("alpha-1.10.tar.gz", False),
        ("alpha-2.0rc1.tar.gz", False),
        ("alpha-3.0.tar.gz", "broken"),
        ("alpha-3.1.tar.gz", True),
        ("README", False),
    ],
    "beta": [("beta-1.0.tar.gz", False)],
    "gone": [],
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        name = self.path.strip("/").split("/")[-1]
        assert self.headers["Accept"] == JSON
        files = [{"filename": filename, "yanked": yanked} for filename, yanked in UPSTREAM.get(name, [])]
        status, body = 200, json.dumps({"files": files}).encode()
        if name not in UPSTREAM:
            status = 404
        if name == "odd":
            status, body = 200, b"<html>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/simple/"
        monkeypatch.setenv("PIDEX_FALLBACK_URL", url)
        yield url
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    packages = tmp_path / "packages"
    (packages / "sub").mkdir(parents=True)
    samples.write(packages, samples.wheel("alpha", "1.0"))
    samples.write(packages / "sub", samples.wheel("Alpha", "1.2"))
    samples.write(packages, samples.sdist("beta", "1.0"))
    samples.write(packages, samples.sdist("missing", "1.0"))
    samples.write(packages, samples.sdist("gone", "1.0"))
    return packages


def test_the_newest_of_each_project(folder: Path) -> None:
    (folder / "1.0.zip").write_text("")
    (folder / "link-9.zip").symlink_to("/nonexistent")
    assert [(each.project, each.version) for each in newest([folder])] == [
        ("alpha", "1.2"),
        ("beta", "1.0"),
        ("gone", "1.0"),
        ("missing", "1.0"),
    ]
    assert newest([folder])[0].folder == str(folder / "sub")


@pytest.mark.parametrize(
    ("flags", "version", "where"),
    [
        ([], "1.10", "sub"),
        (["-u"], "2.0rc1", "sub"),
        (["-d", "/elsewhere"], "1.10", None),
        (["-U"], "1.10", "sub"),
    ],
)
def test_commands_are_printed(
    upstream: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    version: str,
    where: str | None,
) -> None:
    line = [*flags, str(folder)] if "-U" in flags else ["update", *flags, str(folder)]
    assert pypiserver.act(line) == 0
    out = capsys.readouterr().out
    target = folder / where if where else "/elsewhere"
    assert out.startswith("u..e\n# missing: not found\n")
    assert f"# update alpha from 1.2 to {version}\n" in out
    assert f"pip -q download --no-deps -i {upstream} -d {target} alpha=={version}\n" in out
    assert out.count("pip ") == 1


def test_names_can_be_left_alone(
    upstream: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ignore = tmp_path / "ignore"
    ignore.write_text("# names\nALPHA  # ours\n\nmissing\n")
    assert pypiserver.act(["update", "--blacklist-file", str(ignore), str(folder)]) == 0
    assert capsys.readouterr().out == "..\n"


def test_an_answer_that_is_no_page_is_an_error_of_that_project(
    upstream: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples.write(tmp_path, samples.sdist("odd", "1.0"))
    assert pypiserver.act(["update", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("e\n# odd: Expecting value")


def test_commands_are_run(upstream: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(words: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        ran.append(words[1:])
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(subprocess, "run", run)
    assert pypiserver.act(["update", "-x", str(folder)]) == 1
    assert [words[-1] for words in ran] == ["alpha==1.10"]
