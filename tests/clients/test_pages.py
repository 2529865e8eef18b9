"""The pages of the ways in, block by block: what they print is typed into a shell, with the real clients.

docs/blocks.toml names the blocks (`run = true`). A page's blocks run in their order, in one home, against one
server. What is put in for the addresses and names of the pages is in `Place.filled`; nothing else is changed.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ports import free_port
from tests import samples
from tests.clients.environments import CLIENTS, Unavailable, make
from tests.test_docs import ROOT, blocks, entries
from tests.walks.server import Server, environment, finish

PASSWORD = "correct horse"
#: The clients' programs that the pages call, and the environments they come from.
PROGRAMS = {name: name for name in ("pip", "uv", "twine", "poetry", "pdm", "hatch", "flit")}
#: Seconds after which a copied file is certainly listed, on a machine that has much else to do.
PATIENCE = 60.0

#: Builds without anything from outside: the archives lie ready in the project.
BACKEND = """\
import shutil


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    shutil.copy("ready/{wheel}", wheel_directory)
    return "{wheel}"


def build_sdist(sdist_directory, config_settings=None):
    shutil.copy("ready/{sdist}", sdist_directory)
    return "{sdist}"
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "demo"
version = "1.0"
requires-python = ">=3.11,<4"
"""
FLIT = """\
[build-system]
requires = ["flit_core"]
build-backend = "flit_core.buildapi"

[project]
name = "flitted"
version = "1.0"
description = "A sample"
"""


def run_blocks(page: str) -> list[str]:
    """The blocks of a page that are typed, in order."""
    listed = entries()
    return [text for text in blocks(ROOT / "docs" / page) if "run" in listed[page, text.splitlines()[0]]]


PAGES = sorted({page for (page, _), entry in entries().items() if "run" in entry})


class Place:
    """A home with `packages` in it, a project in the working folder, and the clients on the path."""

    def __init__(self, home: Path) -> None:
        self.home, self.work, self.folder = home, home / "work", home / "packages"
        self.port, self.ftp_port = free_port(), free_port()
        self.server: Server | None = None
        for made in (self.work, self.folder, home / "bin"):
            made.mkdir(parents=True)
        for program, client in PROGRAMS.items():
            try:
                (home / "bin" / program).symlink_to(make(CLIENTS[client]) / "bin" / program)
            except Unavailable as reason:
                pytest.skip(str(reason))
        pidex = home / "bin" / "pidex"
        pidex.write_text(f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && exec {sys.executable} -m pidex "$@"\n')
        pidex.chmod(0o755)
        self.project()
        (home / ".gitconfig").write_text(
            "[user]\nname = Ann\nemail = ann@example.org\n[init]\ndefaultBranch = main\n"
            f"[credential]\nhelper = store --file={home}/credentials\n"
        )
        (home / "credentials").write_text(
            f"http://ann:{PASSWORD.replace(' ', '%20')}@127.0.0.1%3a{self.port}\n"
        )

    def project(self) -> None:
        """A project that builds from its own backend, with its archives in dist/, and one for flit."""
        metadata = samples.core_metadata(
            "demo", "1.0", metadata_version="2.1", extra="Description-Content-Type: text/plain\n"
        )
        wheel = samples.wheel("demo", "1.0", metadata=metadata)
        backend = BACKEND.format(wheel=wheel[0], sdist="demo-1.0.tar.gz")
        built = {
            "pyproject.toml": PYPROJECT.encode(),
            "backend.py": backend.encode(),
            f"ready/{wheel[0]}": wheel[1],
        }
        sdist = samples.sdist("demo", "1.0", metadata=metadata, files=built)  # pdm builds the wheel from it
        for folder in (self.work / "dist", self.work / "ready"):
            samples.write(folder, wheel)
            samples.write(folder, sdist)
        samples.write(self.work, wheel)
        (self.work / "pyproject.toml").write_text(PYPROJECT)
        (self.work / "backend.py").write_text(backend)
        flitted = self.home / "flitted"
        flitted.mkdir()
        (flitted / "pyproject.toml").write_text(FLIT)
        (flitted / "flitted.py").write_text('"""A sample."""\n')

    @property
    def environ(self) -> dict[str, str]:
        """Credentials in each tool's own variables, as docs/upload.md says."""
        names = {
            "TWINE_USERNAME": "ann", "TWINE_PASSWORD": PASSWORD, "TWINE_NON_INTERACTIVE": "1",
            "UV_PUBLISH_USERNAME": "ann", "UV_PUBLISH_PASSWORD": PASSWORD,
            "POETRY_HTTP_BASIC_HERE_USERNAME": "ann", "POETRY_HTTP_BASIC_HERE_PASSWORD": PASSWORD,
            "SOURCE_DATE_EPOCH": "1700000000", "FLIT_USERNAME": "ann", "FLIT_PASSWORD": PASSWORD,
            "HATCH_INDEX_USER": "ann", "HATCH_INDEX_AUTH": PASSWORD,
            "PDM_PUBLISH_USERNAME": "ann", "PDM_PUBLISH_PASSWORD": PASSWORD,
        }  # fmt: skip
        return environment() | names | {
            "HOME": str(self.home),
            "PATH": f"{self.home}/bin{os.pathsep}{os.environ['PATH']}",
            "PIP_TARGET": str(self.home / "target"),
            "UV_PYTHON": str(CLIENTS["uv"].program("python")),
            "UV_TARGET": str(self.home / "target"),
            "POETRY_KEYRING_ENABLED": "false", "POETRY_NO_INTERACTION": "1", "PDM_CHECK_UPDATE": "0",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
        }  # fmt: skip

    def filled(self, line: str) -> str:
        """A line of a page with this place's addresses and names in it."""
        for ours, theirs in (
            ("127.0.0.1:3141", f"127.0.0.1:{self.port}"),
            ("HOST:3141", f"127.0.0.1:{self.port}"),
            ("index.example.org:2121", f"127.0.0.1:{self.ftp_port}"),
            ("--ftp-port 2121", f"--ftp-port {self.ftp_port}"),
            ("--user ann", f"--user {shlex.quote(f'ann:{PASSWORD}')}"),
            ("some-package", "demo"),
        ):
            line = line.replace(ours, theirs)
        if line.startswith("uv pip"):  # uv has no variable for it
            line += f" --target {self.home}/target"
        return line

    def type(self, line: str) -> None:
        """Run one line in a shell, where the line before has left it; it must succeed."""
        serve = re.fullmatch(r"pidex serve ~/packages *(.*)", self.filled(line))
        if serve:
            self.serve(*shlex.split(serve[1]))
            return
        if self.server is None:
            self.serve()
        where = self.home / "flitted" if "flit publish" in line else self.work
        end = time.monotonic() + PATIENCE
        while True:
            script = f"set -e\n{self.filled(line)}\npwd >{self.home}/where"
            status, said = finish(["bash", "-c", script], where, self.environ)
            # A copied file is there about a second later (docs/folder.md): who installs at once asks again.
            if status == 0 or "install" not in line or time.monotonic() > end:
                break
            time.sleep(0.5)
        print(f"$ {line}\n{said}")
        assert status == 0, f"{line} ended with {status}:\n{said}"
        if where == self.work:
            self.work = Path((self.home / "where").read_text().strip())

    def serve(self, *options: str) -> None:
        """Start the server, with ann, who may do everything."""
        if self.server is not None:
            self.server.stop()
        self.server = Server(self.folder, port=self.port, options=options).start()
        if "ann" not in self.pidex("user", "list"):
            self.pidex("user", "add", "ann", stdin=f"{PASSWORD}\n")
            self.pidex("grant", "add", "user:ann", "owner")

    def pidex(self, *words: str, stdin: str = "") -> str:
        command = shlex.join([sys.executable, "-m", "pidex", *words, str(self.folder)])
        status, said = finish(
            ["sh", "-c", f"printf %s {shlex.quote(stdin)} | {command}"], ROOT, environment()
        )
        assert status == 0, said
        return said


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "home")
    try:
        yield made
    finally:
        if made.server is not None:
            made.server.stop()


@pytest.mark.clients
@pytest.mark.timeout(420)
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_prints_works(page: str, place: Place) -> None:
    if page == "clients.md":  # it installs what others have published
        samples.write(place.folder, samples.wheel("demo", "1.0"))
    for block in run_blocks(page):
        for line in block.replace("\\\n", "").splitlines():
            if line.strip() and not line.startswith("#"):
                place.type(line)
    assert place.server is not None
    name = "demo-1.0-py3-none-any.whl"
    assert name in place.server.names("demo")
    if page == "upload.md":
        assert len(place.server.names("flitted")) == 2
    assert "Traceback" not in place.server.log()
