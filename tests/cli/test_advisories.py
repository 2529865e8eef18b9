"""`pidex advisories`, as it is typed."""

from __future__ import annotations

import json
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pidex.cli.group import FAILED, UNHEALTHY
from tests.cli.test_indexes import folder, said
from tests.core.test_advisories import events, record

__all__ = ["folder"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A dump as OSV has it: a record a file, of other ecosystems, too."""
    foreign = record("GHSA-npm", name="left-pad")
    foreign["affected"][0]["package"]["ecosystem"] = "npm"
    path = tmp_path / "osv" / "all.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        for each in (
            record("MAL-2026-7", name="demo-pkg", versions=["1.0"]),
            record(
                "GHSA-a", ranges=events("introduced=0", "fixed=2.0"), database_specific={"severity": "HIGH"}
            ),
            foreign,
        ):
            file.writestr(f"{each['id']}.json", json.dumps(each, indent=2))
        file.writestr("README", "not a record")
    return path


def test_a_dump_is_taken_in_shown_and_forgotten(
    folder: Path, dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Nothing is known of demo-pkg" in said(capsys, folder, "advisories", "show", "demo-pkg")
    told = said(capsys, folder, "advisories", "import", str(dump))
    assert "3 records: 2 new or changed, 0 withdrawn, 0 refused. 2 are known, of 1 projects." in told
    assert "0 new or changed" in said(capsys, folder, "advisories", "import", str(dump))
    told = said(capsys, folder, "advisories", "show", "Demo.Pkg")
    assert "MAL-2026-7 (malware): It leaks" in told
    assert "GHSA-a (high): It leaks; fixed in 2.0" in told
    found = json.loads(said(capsys, folder, "advisories", "show", "demo_pkg", "--json"))
    assert [(each["id"], each["severity"], each["fixed_in"]) for each in found] == [
        ("GHSA-a", "high", ["2.0"]),
        ("MAL-2026-7", "", []),
    ]
    assert "1 forgotten" in said(capsys, folder, "advisories", "drop", "GHSA-a", "GHSA-b")
    assert "GHSA-a" not in said(capsys, folder, "advisories", "show", "demo-pkg")


def test_folders_lines_and_what_was_withdrawn(
    folder: Path, dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, folder, "advisories", "import", str(dump))
    more = tmp_path / "more"
    more.mkdir()
    gone = record("MAL-2026-7", name="demo-pkg", withdrawn="2026-02-01T00:00:00Z")
    (more / "a.json").write_text(json.dumps(gone))
    newer = record("GHSA-a") | {"modified": "2026-03-01T00:00:00Z", "summary": "It burns"}
    (tmp_path / "b.jsonl").write_text(json.dumps(newer) + "\n\nnonsense\n")
    told = said(capsys, folder, "advisories", "import", str(more), str(tmp_path / "b.jsonl"), code=UNHEALTHY)
    assert "no record of OSV" in told
    told = said(capsys, folder, "advisories", "show", "demo-pkg")
    assert "MAL" not in told
    assert "GHSA-a (not rated): It burns" in told


def test_a_url_is_fetched(folder: Path, dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def handler(*args: object) -> Quiet:
        return Quiet(*args, directory=str(dump.parent))  # type: ignore[arg-type]

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert "2 are known" in said(capsys, folder, "advisories", "import", f"{url}/all.zip")
        (dump.parent / "more.jsonl").write_text(
            json.dumps(record("GHSA-b")) + "\n" + json.dumps(record("GHSA-c"))
        )
        assert "4 are known" in said(capsys, folder, "advisories", "import", f"{url}/more.jsonl?a=b")
        told = said(capsys, folder, "advisories", "import", f"{url}/other.zip", code=FAILED)
        assert "cannot be fetched" in told
        server.shutdown()


def test_what_has_no_records_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "broken.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    for source, expected in (
        (str(empty), "no records"),
        (str(tmp_path / "broken.zip"), "no records"),
        ("/nowhere/all.zip", "is not there"),
    ):
        assert expected in said(capsys, folder, "advisories", "import", source, code=FAILED)
