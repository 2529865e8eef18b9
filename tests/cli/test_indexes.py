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


def test_folders_of_an_index_are_scanned_and_its_files_explained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "team"
    place.mkdir()
    said(capsys, folder, "index", "create", "team", "--folder", str(place))
    said(capsys, folder, "index", "create", "bare", "bases=main")
    samples.write(place, samples.wheel("extra", "1.0"))
    (place / "broken-1.0.tar.gz").write_bytes(b"nothing" * 50)
    for index, code, texts in (
        ("team", 3, ("Listed: 1 file of 1 project.", f"{place}/broken-1.0.tar.gz: ")),
        ("main", 0, ("Listed: 1 file of 1 project.",)),
        ("bare", 0, ("Listed: 1 file of 1 project.",)),
    ):
        assert run(pidex, ["scan", "--index", index, str(folder)]) == code
        out = capsys.readouterr().out
        assert all(text in out for text in texts), out
    assert run(pidex, ["scan", "--index", "absent", str(folder)]) == FAILED
    assert "`pidex index list`" in capsys.readouterr().err
    assert run(pidex, ["why", "extra", "--index", "team", str(folder)]) == 0
    assert "extra-1.0-py3-none-any.whl" in capsys.readouterr().out
    assert run(pidex, ["why", "extra", str(folder)]) == 0
    assert "no file of it was ever seen in index main" in capsys.readouterr().out
    assert run(pidex, ["why", "demo", "--index", "bare", "--json", str(folder)]) == 0
    assert "Index main alone answers for it" in capsys.readouterr().out
    assert run(pidex, ["why", "demo", "--index", "absent", str(folder)]) == FAILED
    assert "no such index" in capsys.readouterr().err
