"""The installers behind one interface: install from an index into an empty place, say what is there now."""

from __future__ import annotations

import importlib.metadata
import json
import re
import venv
from pathlib import Path

from tests.clients.environments import Client
from tests.walks.server import run


class Refused(Exception):
    """The installer ended with an error; the text is what it said."""


def installed(folder: Path) -> dict[str, str]:
    """What is installed below a folder: versions by normalised name."""
    found = importlib.metadata.distributions(path=[str(folder)])
    return {re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(): each.version for each in found}


class Installer:
    """One client at work in a folder of its own. `said` is what it printed last."""

    def __init__(self, client: Client, home: Path) -> None:
        self.client, self.home, self.said = client, home, ""
        self.patience: dict[str, str] = {}  # environment variables of this run alone
        self.target = home / "target"

    def run(self, program: str, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run a program of the client's environment. Raises Refused."""
        temporary = self.home / "tmp"
        temporary.mkdir(exist_ok=True)
        try:
            self.said = run(
                self.client.program(program),
                *arguments,
                cwd=cwd or self.home,
                environ={
                    "HOME": str(self.home),
                    "XDG_CACHE_HOME": str(self.home / "cache"),
                    "XDG_CONFIG_HOME": str(self.home / "config"),
                    "TMPDIR": str(temporary),
                    **self.settings,
                    **self.patience,
                },
            )
        except AssertionError as error:
            raise Refused(str(error)) from None
        return self.said

    @property
    def settings(self) -> dict[str, str]:
        """The client's own environment variables."""
        return {}

    def install(self, index_url: str, *requirements: str, pre: bool = False) -> dict[str, str]:
        """Install; versions by name. Raises Refused."""
        raise NotImplementedError


class Pip(Installer):
    """pip of any age; packages go to an empty folder."""

    @property
    def settings(self) -> dict[str, str]:
        return {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_RETRIES": "3"}

    def pip(self, *arguments: str | Path) -> str:
        return self.run("python", "-m", "pip", *arguments)

    def install(self, index_url: str, *requirements: str, pre: bool = False) -> dict[str, str]:
        options = ["--pre"] if pre else []
        self.pip("install", "-i", index_url, "--target", self.target, *options, *requirements)
        return installed(self.target)


class Uv(Installer):
    """uv's pip interface; packages go to an empty folder."""

    @property
    def settings(self) -> dict[str, str]:
        return {
            "UV_CACHE_DIR": str(self.home / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_PYTHON": str(self.client.program("python")),
            "UV_LINK_MODE": "copy",
        }

    def uv(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        return self.run("uv", *arguments, cwd=cwd)

    def install(self, index_url: str, *requirements: str, pre: bool = False) -> dict[str, str]:
        options = ["--prerelease", "allow"] if pre else []
        self.uv(
            "pip", "install", "--default-index", index_url, "--target", self.target, *options, *requirements
        )
        return installed(self.target)


class Project(Installer):
    """A client that works on a project with a pyproject.toml and a .venv."""

    table = ""  # the pyproject.toml's part that names the index

    @property
    def project(self) -> Path:
        return self.home / "project"

    def create(self, index_url: str) -> None:
        """Write an empty project whose only index is this one."""
        self.project.mkdir()
        (self.project / "pyproject.toml").write_text(
            '[project]\nname = "consumer"\nversion = "0"\nrequires-python = ">=3.11,<4"\n'
            + "dependencies = []\n\n"
            + self.table.format(url=json.dumps(index_url))
        )
        venv.create(self.project / ".venv", with_pip=False, symlinks=True)

    @property
    def site_packages(self) -> Path:
        return next((self.project / ".venv" / "lib").glob("python*/site-packages"))

    def add(self, *requirements: str, pre: bool) -> None:
        raise NotImplementedError

    def install(self, index_url: str, *requirements: str, pre: bool = False) -> dict[str, str]:
        self.create(index_url)
        self.add(*requirements, pre=pre)
        return installed(self.site_packages)


class Poetry(Project):
    """poetry add, with the index as primary source."""

    table = (
        '[tool.poetry]\npackage-mode = false\n\n[[tool.poetry.source]]\nname = "here"\nurl = {url}\n'
        'priority = "primary"\n'
    )

    @property
    def settings(self) -> dict[str, str]:
        return {
            "POETRY_CACHE_DIR": str(self.home / "cache"),
            "POETRY_CONFIG_DIR": str(self.home / "config"),
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "POETRY_KEYRING_ENABLED": "false",
            "POETRY_NO_INTERACTION": "1",
        }

    def add(self, *requirements: str, pre: bool) -> None:
        options = ["--allow-prereleases"] if pre else []
        self.run("poetry", "add", *options, *requirements, cwd=self.project)


class Pdm(Project):
    """pdm add, with the index in place of PyPI."""

    table = '[tool.pdm]\ndistribution = false\n\n[[tool.pdm.source]]\nname = "pypi"\nurl = {url}\n'

    @property
    def settings(self) -> dict[str, str]:
        return {
            "PDM_CHECK_UPDATE": "0",
            "PDM_CACHE_DIR": str(self.home / "cache"),
            "PDM_CONFIG_FILE": str(self.home / "config.toml"),
            "PDM_NON_INTERACTIVE": "1",
        }

    def add(self, *requirements: str, pre: bool) -> None:
        options = ["--prerelease"] if pre else []
        self.run("pdm", "add", *options, *requirements, cwd=self.project)


class Flit(Installer):
    """flit: the same sources are the same bytes in every build."""

    @property
    def settings(self) -> dict[str, str]:
        return {"SOURCE_DATE_EPOCH": "1700000000"}


class Hatch(Installer):
    """hatch, which keeps its caches in the home that it is given."""

    @property
    def settings(self) -> dict[str, str]:
        return {"HATCH_DATA_DIR": str(self.home / "data"), "HATCH_CACHE_DIR": str(self.home / "cache")}


KINDS: dict[str, type[Installer]] = {
    "pip": Pip,
    "pip19": Pip,
    "pip20": Pip,
    "uv": Uv,
    "twine": Installer,
    "twine38": Installer,
    "flit": Flit,
    "hatch": Hatch,
    "poetry": Poetry,
    "pdm": Pdm,
    "easy-install": Installer,
}
