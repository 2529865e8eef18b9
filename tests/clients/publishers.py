"""The upload tools behind one interface: make a package, send it to a server, say what was printed."""

from __future__ import annotations

import json
from pathlib import Path

from tests import samples
from tests.clients.installers import Installer


class Publisher:
    """One upload tool at work in a folder of its own; `url` is where it uploads to."""

    #: Sends the archive that it is given. flit sends only what it has just built.
    sends_files = True
    #: The statuses with which it prints the server's sentence; with others, the status and its phrase alone.
    says_why = frozenset({400, 401, 403, 413})

    #: What it prints where other bytes have the name.
    conflict = "File already exists"

    def __init__(self, installer: Installer, base: str, name: str) -> None:
        self.installer, self.base, self.name = installer, base, name

    @property
    def url(self) -> str:
        return f"{self.base}/legacy/"

    @property
    def project(self) -> Path:
        return self.installer.home / "project"

    def make(self, name: str, payload: bytes = b"") -> list[Path]:
        """Version 1.0 of a project as wheel and sdist, in a folder that holds nothing else."""
        metadata = samples.core_metadata(
            name, "1.0", metadata_version="2.1", extra="Description-Content-Type: text/plain\n"
        )
        dist = self.project / "dist"
        dist.mkdir(parents=True, exist_ok=True)
        for old in dist.iterdir():
            old.unlink()
        (self.project / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
        )
        return [
            samples.write(dist, samples.wheel(name, "1.0", metadata=metadata, files={"a": payload})),
            samples.write(dist, samples.sdist(name, "1.0", metadata=metadata, files={"a": payload})),
        ]

    def publish(self, paths: list[Path], user: str, password: str) -> str:
        """Send what `make` made; what the tool printed. Raises Refused."""
        raise NotImplementedError


class Twine(Publisher):
    """`--verbose`, without which twine prints nothing of an answer but its status."""

    def publish(self, paths: list[Path], user: str, password: str) -> str:
        return self.installer.run(
            "twine", "upload", "--non-interactive", "--disable-progress-bar", "--verbose",
            "--repository-url", self.url, "-u", user, "-p", password, *paths,
        )  # fmt: skip


class UvPublish(Publisher):
    """`uv publish`."""

    options: tuple[str, ...] = ()

    def publish(self, paths: list[Path], user: str, password: str) -> str:
        return self.installer.run(
            "uv", "publish", "--trusted-publishing", "never", "--publish-url", self.url, *self.options,
            "-u", user, "-p", password, *paths,
        )  # fmt: skip


class UvCheck(UvPublish):
    """`uv publish --check-url`, which looks first what is there."""

    conflict = "do not match"

    @property
    def options(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("--check-url", f"{self.base}/simple/")


class PoetryPublish(Publisher):
    """`poetry publish` of what lies in dist/."""

    def publish(self, paths: list[Path], user: str, password: str) -> str:
        self.installer.run("poetry", "config", "repositories.here", self.url, cwd=self.project)
        return self.installer.run(
            "poetry", "publish", "-n", "-r", "here", "-u", user, "-p", password, cwd=self.project
        )


class PdmPublish(Publisher):
    """`pdm publish --no-build` of what lies in dist/."""

    says_why = frozenset[int]()

    def publish(self, paths: list[Path], user: str, password: str) -> str:
        return self.installer.run(
            "pdm", "publish", "--no-build", "-r", self.url, "-u", user, "-P", password, cwd=self.project
        )


class HatchPublish(Publisher):
    """`hatch publish` of the files that it is given."""

    says_why = frozenset[int]()

    def publish(self, paths: list[Path], user: str, password: str) -> str:
        return self.installer.run(
            "hatch", "publish", "-n", "-r", self.url, "-u", user, "-a", password, *paths, cwd=self.project
        )


class FlitPublish(Publisher):
    """`flit publish`: builds a module's wheel and sdist, then sends them."""

    sends_files = False
    says_why = frozenset({400})

    def make(self, name: str, payload: bytes = b"") -> list[Path]:
        module = name.replace("-", "_")
        self.project.mkdir(exist_ok=True)
        (self.project / f"{module}.py").write_text(
            f'"""A sample."""\n\n__version__ = "1.0"\nPAYLOAD = {json.dumps(payload.hex())}\n'
        )
        (self.project / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["flit_core"]\nbuild-backend = "flit_core.buildapi"\n\n'
            f'[project]\nname = "{name}"\nversion = "1.0"\ndescription = "A sample"\n'
            f'[tool.flit.module]\nname = "{module}"\n'
        )
        return []

    def publish(self, paths: list[Path], user: str, password: str) -> str:
        pypirc = self.installer.home / "pypirc"
        pypirc.write_text(
            f"[distutils]\nindex-servers =\n    here\n\n[here]\nrepository = {self.url}\n"
            f"username = {user}\npassword = {password}\n"
        )
        return self.installer.run(
            "flit", "publish", "--no-use-vcs", "--pypirc", pypirc, "--repository", "here", cwd=self.project
        )


#: By the name of the row: the environment of the client, and how it is used.
TOOLS: dict[str, tuple[str, type[Publisher]]] = {
    "twine": ("twine", Twine),
    "twine38": ("twine38", Twine),
    "uv": ("uv", UvPublish),
    "uv-check": ("uv", UvCheck),
    "poetry": ("poetry", PoetryPublish),
    "pdm": ("pdm", PdmPublish),
    "hatch": ("hatch", HatchPublish),
    "flit": ("flit", FlitPublish),
}
