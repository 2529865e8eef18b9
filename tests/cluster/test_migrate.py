"""`pidex migrate` of the catalogue alone, into PostgreSQL and back: every answer is as it was before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pidex.core.permissions import Role
from tests import samples
from tests.walks.server import environment, run
from tests.web.driver import JSON, House
from tests.web.test_upload import basic, let

pytestmark = pytest.mark.postgres

URLS = (
    "/simple/", "/simple/demo/", "/simple/other/", "/simple/none/", "/pypi/demo/json", "/packages/",
    "/-/api/v1/indexes/main/projects/demo", "/-/api/v1/indexes/main/journal", "/rss/updates.xml",
)  # fmt: skip


def answers(house: House) -> list[tuple[str, str, int, bytes]]:
    """What a server says to strangers and to an owner, in both forms; and every file with its metadata."""
    every: list[str] = [*URLS]
    for project in ("demo", "other"):
        for file in house.get(f"/simple/{project}/", JSON).json()["files"]:
            path = file["url"].removeprefix("../..")
            every += [path, f"{path}.metadata"]
    found = []
    for url in every:
        for accept in (JSON, "text/html"):
            for headers in ({}, {"authorization": basic("olga")}):
                answer = house.get(url, accept, **headers)
                found.append((url, accept, answer.status, answer.body))
    return found


def migrate(place: Path, *words: str) -> str:
    data = ("--data", str(place / "data"))
    return run(sys.executable, "-m", "pidex", "migrate", str(place / "packages"), *data, *words)


def test_there_and_back_every_answer_is_the_same(tmp_path: Path, postgres_url: str) -> None:
    packages = [
        samples.wheel("demo", "1.0"), samples.wheel("demo", "1.1"), samples.sdist("other", "2.0"),
    ]  # fmt: skip
    with House(tmp_path, *packages) as house:
        let(house, "olga", Role.OWNER)
        yanked = "/-/api/v1/indexes/main/projects/demo/releases/1.0/yank"
        headers = [("authorization", basic("olga")), ("content-type", "application/json")]
        assert house.run(house.ask(yanked, headers, method="PUT", body=b'{"reason": "bad"}'))[0].status == 200
        before = answers(house)
    said = migrate(tmp_path, "--to", postgres_url)
    assert "Moved, compared and verified: 3 files" in said
    assert "is taken back" in migrate(tmp_path, "--cancel")
    with House(tmp_path, catalogue=postgres_url) as house:
        assert answers(house) == before
    catalogue = tmp_path / "data" / "catalogue.db"
    catalogue.rename(tmp_path / "aside.db")
    migrate(tmp_path, "--catalogue", postgres_url, "--to", str(catalogue))
    with House(tmp_path) as house:
        assert answers(house) == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--to", "mysql://x/y"), 1, "No catalogue can be kept in mysql"),
        (("--to", "postgresql://127.0.0.1:1/x"), 1, "does not answer"),
        (("--to", "{data}/catalogue.db"), 1, "is there already"),
        (("--to", "there.toml"), 2, "There is no configuration file"),
        (("--to", "{data}/other.db"), 2, "is no place for a catalogue"),
        ((), 2, "Where to?"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, words: Sequence[str], code: int, said: str) -> None:
    with House(tmp_path):
        pass
    given = [word.format(data=tmp_path / "data") for word in words]
    command = [sys.executable, "-m", "pidex", "migrate", str(tmp_path / "packages"), *given]
    done = subprocess.run(
        [*command, "--data", str(tmp_path / "data")],
        env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
