"""The set-up pages, client by client: what they print for this server is done, with the real clients."""

from __future__ import annotations

import base64
import configparser
import html
import json
import netrc
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pidex.core.setups import CLIENTS, TOKEN, Block, Client, Where, install_lines
from pidex.web import welcome
from tests import samples
from tests.clients.test_pages import PASSWORD, PATIENCE, Place
from tests.walks.server import fetch, finish

#: Where the files lie that the pages name, below the home; those of CI services and Docker need these.
FILES = {
    "pip.conf": ".config/pip/pip.conf",
    "uv.toml": ".config/uv/uv.toml",
    "hatch config.toml": ".config/hatch/config.toml",
    "~/.pypirc": ".pypirc",
    "~/.netrc": ".netrc",
}
TYPED = ("pip", "uv", "hatch", "twine", "netrc")
#: Those that read, and so differ where reading needs credentials. Of Poetry and PDM, which take their time,
#: the texts without credentials are a part of those.
READERS = ("pip", "uv", "poetry", "pdm")
POETRY = """\
[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"

[project]
name = "demo"
version = "1.0"
requires-python = ">=3.11,<4"
"""
ANN = {"authorization": "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()}


def served(home: Path, *options: str) -> Place:
    made = Place(home)
    samples.write(made.folder, samples.wheel("base", "1.0"))
    made.serve(*options)
    made.token = json.loads(made.pidex("token", "create", "ann", "--upload", "--json"))["text"]  # type: ignore[attr-defined]
    return made


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = served(tmp_path / "home", *getattr(request, "param", ()))
    yield made
    assert made.server is not None
    made.server.stop()


#: Of which nobody reads anything without credentials.
GUARDED = ["--guard", "list,download,update"]


def where_of(place: Place, *, guarded: bool = False) -> Where:
    url = f"http://127.0.0.1:{place.port}"
    return Where(url, welcome.trusted_host(url), guarded, "base")


def page(place: Place, path: str) -> str:
    """The text of a page, once it knows what is in the folder."""
    end = time.monotonic() + PATIENCE
    while True:
        answer = fetch(f"http://127.0.0.1:{place.port}/{path}", {"accept": "text/html", **ANN})
        text = html.unescape(answer.body.decode())
        if answer.status == 200 and (" base" in text or "client=p" not in path or time.monotonic() > end):
            return text
        assert time.monotonic() < end, answer.status
        time.sleep(0.2)


def put(place: Place, block: Block, token: str) -> None:
    """Save a text where the page says; a project's file has something in it already."""
    text = block.text.replace(TOKEN, token) + "\n"
    path = place.work / block.file if block.file == "pyproject.toml" else place.home / FILES[block.file]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)
    if block.file == "~/.netrc":  # as the page of netrc says; PDM insists on it
        path.chmod(0o600)


def environ(place: Place, token: str) -> dict[str, str]:
    """What the pages say comes from variables, or is asked for."""
    told = {
        "TWINE_PASSWORD": token, "HATCH_INDEX_AUTH": token, "PDM_PUBLISH_PASSWORD": token,
        "UV_PUBLISH_USERNAME": "__token__", "UV_PUBLISH_PASSWORD": token, TOKEN: token,
        "PYTHONPATH": str(place.work),  # hatch does not look for a backend where backend-path says
    }  # fmt: skip
    asked = {
        "TWINE_USERNAME", "HATCH_INDEX_USER", "PDM_PUBLISH_USERNAME", "PIP_TARGET", "UV_TARGET",
        "PIP_CONFIG_FILE", "XDG_CONFIG_HOME", "UV_NO_CONFIG", "HATCH_CONFIG", "NETRC",
    }  # fmt: skip
    return {name: value for name, value in place.environ.items() if name not in asked} | told


def client_of(key: str) -> Client:
    return next(each for each in CLIENTS if each.key == key)


def typed(place: Place, key: str, *, guarded: bool) -> None:
    """Do what the page of a client says, from its first line to its last."""
    token: str = place.token  # type: ignore[attr-defined]
    if key == "poetry":  # which builds with others' backends only where it can fetch things for that,
        shutil.rmtree(place.work / "dist")  # and asks what to do where something is built already
        (place.work / "pyproject.toml").write_text(POETRY)
        (place.work / "demo.py").write_text('"""A sample."""\n')
    blocks = client_of(key).blocks(where_of(place, guarded=guarded))
    shown = page(place, f"-/setup?client={key}")
    assert all(block.text in shown for block in blocks), "the page prints something else"
    for block in blocks:
        if block.file:
            put(place, block, token)
    lines = [block.text for block in blocks if not block.file]
    script = "\n".join(lines)
    # The one thing that is asked for on the terminal: Poetry takes it behind the name, too.
    script = script.replace("http-basic.pidex __token__", f"http-basic.pidex __token__ {token}")
    done = subprocess.run(
        ["bash", "-ec", script], cwd=place.work, env=environ(place, token), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\nended with {done.returncode}:\n{done.stdout}"
    assert place.server is not None
    assert "Traceback" not in place.server.log()


@pytest.mark.clients
@pytest.mark.timeout(300)
@pytest.mark.parametrize("key", TYPED)
def test_what_is_printed_works(key: str, place: Place) -> None:
    typed(place, key, guarded=False)
    blocks = client_of(key).blocks(where_of(place))
    if any("upload" in block.text or "publish" in block.text for block in blocks):
        assert place.server is not None
        assert "demo-1.0-py3-none-any.whl" in place.server.names("demo")


@pytest.mark.clients
@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", [GUARDED], indirect=True, ids=["guarded"])
@pytest.mark.parametrize("key", READERS)
def test_what_is_printed_works_where_reading_needs_credentials(key: str, place: Place) -> None:
    typed(place, key, guarded=True)
    if key in ("poetry", "pdm"):
        sent = fetch(f"http://127.0.0.1:{place.port}/simple/demo/", ANN)
        assert b"demo-1.0-py3-none-any.whl" in sent.body


@pytest.mark.clients
@pytest.mark.timeout(200)
def test_what_a_project_page_prints_works(place: Place) -> None:
    page(place, "-/setup?client=pip")
    where, name = where_of(place), "base-1.0-py3-none-any.whl"
    shown = page(place, "project/base/")
    assert place.server is not None
    lines = [line for _, line in install_lines(where, "base")]
    assert all(line in shown for line in lines)
    hashed = shown.partition("base==1.0 \\")[2].partition("</code>")[0]
    assert hashed
    (place.work / "requirements.txt").write_text(f"base==1.0 \\{hashed}\n")
    lines.append(f"pip install --require-hashes -r requirements.txt --index-url {where.simple}")
    for line in lines:
        target = f" --target {place.home}/{'uv' if line.startswith('uv') else 'pip'}-{len(line)}"
        status, said = finish(["bash", "-ec", line + target], place.work, environ(place, ""))
        assert status == 0, f"{line}\n{said}"
    assert name in place.server.names("base")


@pytest.mark.clients
@pytest.mark.timeout(200)
def test_what_the_first_page_of_an_empty_index_prints_works(tmp_path: Path) -> None:
    made = Place(tmp_path / "home")
    made.serve()
    assert made.server is not None
    try:
        commands: list[str] = []
        end = time.monotonic() + PATIENCE
        while not commands:
            assert time.monotonic() < end, "it never says how to begin"
            shown = fetch(f"{made.server.url}/", {"accept": "text/html"}).body.decode()
            commands = [
                line for line in html.unescape(shown).splitlines() if "pidex" in line and "~/" in line
            ]
            commands = [line.rpartition("<code>")[2].partition("</code>")[0] for line in commands]
            commands = [line for line in commands if line.startswith("pidex ")]
            time.sleep(0.2)
        assert len(commands) == 2
        for line in commands:
            asked = f"printf '%s\\n' '{PASSWORD}' | {line}"
            status, said = finish(["bash", "-ec", asked], made.work, made.environ)
            assert status == 0, f"{line}\n{said}"
        secret = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        answer = fetch(
            f"{made.server.url}/-/admin", {"accept": "text/html", "authorization": f"Basic {secret}"}
        )
        assert answer.status == 200, "me runs the server now"
    finally:
        made.server.stop()


# --- what cannot be run here is read ------------------------------------------------------------------------

SEEN = (
    Where("http://127.0.0.1:3141", None, project="base"),
    Where(
        "http://index.example:8080/team",
        "index.example:8080",
        guarded=True,
        project="base",
        name="pidex-team",
    ),
    Where("https://index.example", None, True, "base"),
)


def texts(key: str, where: Where) -> Sequence[str]:
    return [block.text for block in client_of(key).blocks(where)]


@pytest.mark.parametrize("where", SEEN, ids=lambda where: where.url)
def test_every_text_names_this_index_and_no_other(where: Where) -> None:
    for client in CLIENTS:
        whole = "\n".join(texts(client.key, where))
        assert where.host in whole or where.url in whole or client.key == "netrc"
        assert "extra-index-url" not in whole.lower().replace("_", "-")
        assert "@" not in whole.replace("pidex@", ""), "credentials in a URL"
        urls = [word.strip("\"'") for word in whole.replace("=", " ").split() if "://" in word]
        assert all(url.startswith(where.url) for url in urls), client.key


@pytest.mark.parametrize("where", SEEN, ids=lambda where: where.url)
def test_workflows_of_ci_services_are_read(where: Where) -> None:
    install, publish = (yaml.safe_load(text) for text in texts("github", where))
    assert install["env"]["PIP_INDEX_URL"] == install["env"]["UV_DEFAULT_INDEX"] == where.simple
    assert install["env"].get("PIP_TRUSTED_HOST") == where.trusted_host
    _commands([step["run"] for step in install["steps"]], where)
    assert install["steps"][-1]["run"] == "pip install base"
    assert publish[0]["env"]["TWINE_REPOSITORY_URL"] == where.upload
    assert publish[0]["env"]["TWINE_PASSWORD"] == f"${{{{ secrets.{TOKEN} }}}}"
    install, publish = (yaml.safe_load(text) for text in texts("gitlab", where))
    assert install["variables"]["PIP_INDEX_URL"] == install["variables"]["UV_DEFAULT_INDEX"] == where.simple
    _commands(install["install"]["script"], where)
    assert publish["publish"]["variables"]["TWINE_REPOSITORY_URL"] == where.upload
    assert publish["publish"]["script"] == ["python -m twine upload dist/*"]


def _commands(lines: Sequence[Any], where: Where) -> None:
    """Where reading needs credentials, the file for them is made first, and for nobody else to read."""
    assert all(isinstance(line, str) for line in lines)
    assert (len(lines) > 1) is where.guarded
    if where.guarded:
        assert lines[0].startswith("install -m 600 /dev/null ~/.netrc && ")


@pytest.mark.parametrize("where", SEEN[1:], ids=lambda where: where.url)
def test_the_lines_of_ci_services_make_a_netrc(where: Where, tmp_path: Path) -> None:
    for key, variable in (("github", "TOKEN"), ("gitlab", TOKEN)):
        told = yaml.safe_load(texts(key, where)[0])
        line = told["steps"][0]["run"] if key == "github" else told["install"]["script"][0]
        home = tmp_path / key
        home.mkdir()
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", variable: "pidex_abc"}
        status, said = finish(["bash", "-ec", line], home, environment)
        assert status == 0, said
        assert netrc.netrc(home / ".netrc").authenticators(where.host) == ("__token__", "", "pidex_abc")
        assert (home / ".netrc").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("where", SEEN, ids=lambda where: where.url)
def test_dockerfiles_and_pypirc_are_read(where: Where) -> None:
    file, build = texts("docker", where)
    lines = dict(line.split(" ", 1) for line in file.splitlines()[1:] if not line.startswith("ENV"))
    variables = dict(line[4:].split("=", 1) for line in file.splitlines() if line.startswith("ENV "))
    assert file.startswith("# syntax=docker/dockerfile:1\n")
    assert variables["PIP_INDEX_URL"] == where.simple
    assert ("--mount=type=secret" in lines["RUN"], "--secret" in build) == (where.guarded, where.guarded)
    found = configparser.ConfigParser()
    found.read_string(texts("pypirc", where)[0])
    name = found["distutils"]["index-servers"].strip()
    assert (found[name]["repository"], found[name]["username"]) == (where.upload, "__token__")
    assert "password" not in found[name]
