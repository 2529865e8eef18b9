"""The set-up pages, client by client: what they print for this server is done, with the real clients."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.core.setups import CLIENTS, TOKEN, Block, Where, install_lines
from pidex.web import welcome
from tests import samples
from tests.clients.test_pages import PATIENCE, Place
from tests.walks.server import fetch, finish

#: Where the files lie that the pages name, below the home; those of CI services and Docker need these.
FILES = {
    "pip.conf": ".config/pip/pip.conf",
    "uv.toml": ".config/uv/uv.toml",
    "hatch config.toml": ".config/hatch/config.toml",
    "~/.pypirc": ".pypirc",
    "~/.netrc": ".netrc",
}
TYPED = ("pip", "uv", "twine", "netrc")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "home")
    samples.write(made.folder, samples.wheel("base", "1.0"))
    made.serve()
    try:
        yield made
    finally:
        assert made.server is not None
        made.server.stop()


def where_of(place: Place) -> Where:
    url = f"http://127.0.0.1:{place.port}"
    return Where(url, welcome.trusted_host(url), project="base")


def page(place: Place, path: str) -> str:
    """The text of a page, once it knows what is in the folder."""
    end = time.monotonic() + PATIENCE
    while True:
        answer = fetch(f"http://127.0.0.1:{place.port}/{path}", {"accept": "text/html"})
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


def environ(place: Place, token: str) -> dict[str, str]:
    """What the pages say comes from variables, or is asked for."""
    told = {
        "TWINE_PASSWORD": token, "HATCH_INDEX_AUTH": token, "PDM_PUBLISH_PASSWORD": token,
        "UV_PUBLISH_USERNAME": "__token__", "UV_PUBLISH_PASSWORD": token,
    }  # fmt: skip
    asked = {
        "TWINE_USERNAME", "HATCH_INDEX_USER", "PDM_PUBLISH_USERNAME", "PIP_TARGET", "UV_TARGET",
        "PIP_CONFIG_FILE", "XDG_CONFIG_HOME", "UV_NO_CONFIG", "HATCH_CONFIG", "NETRC",
    }  # fmt: skip
    return {name: value for name, value in place.environ.items() if name not in asked} | told


@pytest.mark.clients
@pytest.mark.timeout(300)
@pytest.mark.parametrize("key", TYPED)
def test_what_is_printed_works(key: str, place: Place) -> None:
    token = json.loads(place.pidex("token", "create", "ann", "--upload", "--json"))["text"]
    blocks = next(each for each in CLIENTS if each.key == key).blocks(where_of(place))
    shown = page(place, f"-/setup?client={key}")
    assert all(block.text in shown for block in blocks), "the page prints something else"
    for block in blocks:
        if block.file:
            put(place, block, token)
    lines = [block.text for block in blocks if not block.file]
    script = "\n".join(lines)
    # The one thing that is asked for on the terminal: Poetry takes it behind the name, too.
    script = script.replace("http-basic.pidex __token__", f"http-basic.pidex __token__ {token}")
    status, said = finish(["bash", "-ec", script], place.work, environ(place, token))
    assert status == 0, f"{script}\nended with {status}:\n{said}"
    assert place.server is not None
    if "upload" in script or "publish" in script:
        assert "demo-1.0-py3-none-any.whl" in place.server.names("demo")
    assert "Traceback" not in place.server.log()


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
