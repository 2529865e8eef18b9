"""Real packages from PyPI, downloaded, put into a folder, served, and installed from there by pip and uv."""

from __future__ import annotations

import email.parser
import hashlib
import os
import re
import zipfile
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.clients.environments import CLIENTS, Unavailable, make
from tests.clients.installers import KINDS, Installer
from tests.walks.server import Offline, Server, fetch, run_online

pytestmark = [pytest.mark.network, pytest.mark.clients]

#: What is asked for; the dependencies come with them.
WHEELS = (
    "requests==2.32.5",
    "rich==14.2.0",
    "zope.interface==8.1",
    "ruamel.yaml==0.18.16",
    "jaraco.text==4.0.0",
)
SDISTS = ("six==1.17.0", "PyYAML==6.0.3", "docopt==0.6.2")
#: What builds docopt, which has no wheel: found in the same folder by the installers.
BUILDERS = ("setuptools==80.9.0", "wheel==0.45.1")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real packages. The test is skipped, with the reason, where no registry can be reached."""
    folder = tmp_path_factory.mktemp("real") / "packages"
    try:
        python = make(CLIENTS["pip"]) / "bin" / "python"
        download = (python, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", folder)
        quiet = {"PIP_FIND_LINKS": ""}
        run_online(*download, *WHEELS, *BUILDERS, environ=quiet)
        run_online(
            *download, "--no-deps", "--no-binary", ":all:", "--no-build-isolation", *SDISTS, environ=quiet
        )
    except (Offline, Unavailable) as reason:
        pytest.skip(str(reason))
    return folder


def test_every_real_file_is_listed_with_its_metadata(real: Path) -> None:
    with Server(real) as server:
        flat = server.get("/packages/").text
        for name in os.listdir(real):
            asked = f"{server.url}/packages/{name}"
            found = urljoin(asked, fetch(asked).headers["location"])
            assert fetch(found).body == (real / name).read_bytes()
            assert name in flat
            if name.endswith(".whl"):
                with zipfile.ZipFile(real / name) as archive:
                    (inside,) = (
                        n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)
                    )
                    data = archive.read(inside)
                served = fetch(f"{found}.metadata")
                assert served.status == 200
                assert hashlib.sha256(served.body).digest() == hashlib.sha256(data).digest()
                assert email.parser.BytesParser().parsebytes(data)["Name"]


@pytest.mark.parametrize("name", ["pip", "uv", "pip20"])
def test_real_packages_are_installed(real: Path, tmp_path: Path, name: str) -> None:
    try:
        make(CLIENTS[name])
    except Unavailable as reason:
        pytest.skip(str(reason))
    installer: Installer = KINDS[name](CLIENTS[name], tmp_path)
    with Server(real) as server:
        found = installer.install(server.index_url, *WHEELS)
        assert {requirement.partition("==")[0].lower().replace(".", "-") for requirement in WHEELS} <= set(
            found
        )
        assert {"urllib3", "certifi", "markdown-it-py", "pygments"} <= set(found)
        built = installer.install(server.index_url, "docopt")
        assert built["docopt"] == "0.6.2"
