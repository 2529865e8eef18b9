"""`pidex index`, `upstream`, `origin` and `promote`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pidex.cli.group import FAILED, USAGE, pidex, run
from tests import samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    served = tmp_path / "packages"
    served.mkdir()
    samples.write(served, samples.wheel("demo", "1.0"))
    assert run(pidex, ["scan", str(served)]) == 0
    return served


def said(capsys: pytest.CaptureFixture[str], folder: Path, *words: str, code: int = 0) -> str:
    """What a command prints."""
    capsys.readouterr()
    assert run(pidex, [*words, "--serves", str(folder)]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_indexes_are_made_set_and_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "bases main" in said(capsys, folder, "index", "create", "dev", "bases=main")
    said(capsys, folder, "index", "create", "team")
    assert "bases main, team" in said(capsys, folder, "index", "set", "dev", "bases+=team", "challenge=yes")
    assert "so already" in said(capsys, folder, "index", "set", "dev", "challenge=yes")
    listed = json.loads(said(capsys, folder, "index", "list", "--json"))
    assert {each["name"]: each["bases"] for each in listed} == {
        "dev": ["main", "team"],
        "main": [],
        "team": [],
    }
    assert "dev" in said(capsys, folder, "index", "list")
    assert "bases-=team" in said(capsys, folder, "index", "remove", "team", code=FAILED)
    assert "Removed" in said(capsys, folder, "index", "remove", "dev")


def test_upstreams_are_made_and_shown_without_secrets(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("ann:very-secret\n")
    url = "https://pypi.corp.example/simple/"
    words = ["upstream", "add", "corp", url, "--auth", "basic", "--secret-file", str(secret)]
    assert "corp" in said(capsys, folder, *words)
    assert "No index" not in said(capsys, folder, "index", "set", "main", "upstreams=corp")
    for form in ([], ["--json"]):
        shown = said(capsys, folder, "upstream", "list", *form)
        assert url in shown
        assert "very-secret" not in shown
    assert "links" not in said(capsys, folder, "upstream", "set", "corp", "--kind", "links")
    assert "upstreams-=corp" in said(capsys, folder, "upstream", "remove", "corp", code=FAILED)
    assert "Removed" in said(capsys, folder, "upstream", "remove", "corp", "--force")
    assert "cannot be read" in said(
        capsys, folder, "upstream", "add", "x", url, "--secret-file", "/nowhere", code=FAILED
    )


def test_origins_are_shown_and_decided(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "demo in index main: own" in said(capsys, folder, "origin", "show", "demo")
    assert "our fork" in said(capsys, folder, "origin", "claim", "demo", "--reason", "our fork")
    assert "acme-*" in said(capsys, folder, "origin", "reserve", "acme-*")
    assert "reserved" in said(capsys, folder, "origin", "show", "acme-x")
    assert "blocked" in said(capsys, folder, "origin", "block", "left")
    assert "merged" in said(capsys, folder, "origin", "merge", "demo")
    assert "merged" not in said(capsys, folder, "origin", "release", "demo")
    listed = json.loads(said(capsys, folder, "origin", "list", "--json"))
    assert [each["project"] for each in listed["claims"]] == ["left"]
    assert "No names" in said(capsys, folder, "origin", "unreserve", "acme-*")
    assert "left" in said(capsys, folder, "origin", "list")


def test_a_release_is_promoted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, folder, "index", "create", "dev")
    done = said(capsys, folder, "promote", "demo==1.0", "--from", "main", "--to", "dev")
    assert done == "promoted: demo-1.0-py3-none-any.whl\n"
    again = said(capsys, folder, "promote", "demo==1.0", "--from", "main", "--to", "dev")
    assert again == "there already: demo-1.0-py3-none-any.whl\n"
    assert "no release demo 2.0" in said(
        capsys, folder, "promote", "demo==2.0", "--from", "main", "--to", "dev", code=FAILED
    )
    assert "NAME==VERSION" in said(
        capsys, folder, "promote", "demo", "--from", "main", "--to", "dev", code=USAGE
    )
