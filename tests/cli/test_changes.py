"""Commands that change what is there: through a running server, and without one."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.nobody import UID, as_nobody, let_in, needs_root
from tests.walks.server import Server, environment

ONE, TWO, NEXT = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz", "demo-1.1-py3-none-any.whl"


def pidex(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `pidex` as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "pidex", *map(str, args)],
        env=environment(), capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def fill(folder: Path) -> Path:
    folder.mkdir()
    for package in (samples.wheel("demo", "1.0"), samples.sdist("demo", "1.0"), samples.wheel("demo", "1.1")):
        samples.write(folder, package)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(fill(tmp_path_factory.mktemp("served") / "packages")) as server:
        server.wait_for("demo", NEXT)
        yield server


def yanked(server: Server) -> dict[str, object]:
    page = server.get("/simple/demo/", {"Accept": "application/vnd.pypi.simple.v1+json"}).json()
    files = page["files"]
    assert isinstance(files, list)
    return {file["filename"]: file.get("yanked", False) for file in files}


def test_yank_is_seen_by_the_next_request(server: Server) -> None:
    folder = server.folders[0]
    done = pidex("yank", "demo==1.0", folder, "--reason", "it is broken")
    assert (done.returncode, done.stdout) == (0, "Yanked demo==1.0 (2 files).\n")
    assert yanked(server) == {ONE: "it is broken", TWO: "it is broken", NEXT: False}
    assert "already" in pidex("yank", "Demo==1.0.0", folder, "--reason", "it is broken").stdout
    assert pidex("unyank", "demo 1.0", folder).stdout == "demo 1.0 is offered again (2 files).\n"
    done = pidex("yank", NEXT, folder, "--json")
    assert json.loads(done.stdout)["files"] == [NEXT]
    assert yanked(server) == {ONE: False, TWO: False, NEXT: True}
    assert pidex("unyank", NEXT, folder).returncode == 0
    assert pidex("unyank", NEXT, folder).stdout == f"{NEXT} is not yanked.\n"


def test_status(server: Server) -> None:
    folder = server.folders[0]
    assert pidex("status", "demo", "archived", folder, "--reason", "done").stdout == "demo is archived.\n"
    assert "archived" in server.get("/simple/demo/").text
    assert pidex("status", "demo", "active", folder, "--json").returncode == 0
    assert pidex("status", "demo", "active", folder).stdout == "demo is active already.\n"
    wrong = pidex("status", "demo", "asleep", folder)
    assert wrong.returncode == 2
    assert "quarantined" in wrong.stderr


def test_remove_and_restore(server: Server) -> None:
    folder = server.folders[0]
    asked = pidex("remove", "demo==1.0", folder)
    assert asked.returncode == 2
    assert f"This removes 2 files:\n  {ONE} (" in asked.stderr
    assert "Say --yes" in asked.stderr
    preview = pidex("remove", "demo", folder, "--dry-run", "--json")
    assert len(json.loads(preview.stdout)["files"]) == 3
    assert server.names("demo") == [ONE, TWO, NEXT]
    done = pidex("remove", "demo==1.0", folder, "--yes", "--reason", "leaked")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 files of demo removed.")
    assert server.names("demo") == [NEXT]
    assert not (folder / ONE).exists()
    assert "was deleted by" in pidex("why", ONE, folder).stdout
    assert ONE in pidex("restore-file", "--list", "demo", folder).stdout
    kept = json.loads(pidex("restore-file", folder, "--list", "demo", "--json").stdout)
    assert {each["filename"] for each in kept} == {ONE, TWO}
    done = pidex("restore-file", ONE, folder)
    assert done.stdout == f"{ONE} is listed again, from {ONE}.\n"
    assert server.names("demo") == [ONE, NEXT]
    assert server.download("demo", ONE) == (folder / ONE).read_bytes()
    assert json.loads(pidex("restore-file", TWO, folder, "--json").stdout)["listed"] is True
    again = pidex("restore-file", TWO, folder)
    assert (again.returncode, "is listed" in again.stderr) == (1, True)


def test_a_person_is_asked(server: Server) -> None:
    folder = server.folders[0]
    for answer, code, words in ((b"n\n", 1, "Nothing was removed."), (b"y\n", 0, "1 file of demo removed.")):
        leading, following = pty.openpty()
        command = [sys.executable, "-m", "pidex", "remove", NEXT, str(folder)]
        with subprocess.Popen(
            command, env=environment(), stdin=following, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            os.close(following)
            os.write(leading, answer)
            said, _ = process.communicate(timeout=60)
        os.close(leading)
        assert process.returncode == code
        assert words in said.decode()
    assert server.names("demo") == [ONE, TWO]
    assert pidex("restore-file", NEXT, folder).returncode == 0


def test_owners(server: Server) -> None:
    folder = server.folders[0]
    unknown = pidex("owner", "add", "demo", "olaf", folder)
    assert (unknown.returncode, "There is no user olaf" in unknown.stderr) == (1, True)
    assert pidex("user", "add", "olaf", folder, "--no-password").returncode == 0
    assert pidex("owner", "add", "demo", "olaf", folder).stdout == "olaf is owner of demo.\n"
    assert "user:olaf" in pidex("owner", "list", "demo", folder).stdout
    assert json.loads(pidex("owner", "list", "demo", folder, "--json").stdout)[0]["role"] == "owner"
    assert pidex("owner", "remove", "demo", "olaf", folder).stdout == "olaf is no longer owner of demo.\n"


def test_upload(server: Server, tmp_path: Path) -> None:
    folder = server.folders[0]
    good = samples.write(tmp_path, samples.wheel("fresh", "1.0"))
    (tmp_path / f"{good.name}.asc").write_text("a signature")
    done = pidex("upload", good, f"{good}.asc", "--folder", folder)
    assert (done.returncode, done.stdout) == (0, f"stored: {good.name}\n1 file stored.\n")
    assert server.names("fresh") == [good.name]
    assert "identical" in pidex("upload", good, "--folder", folder).stdout
    bad = tmp_path / "other-1.0-py3-none-any.whl"
    bad.write_bytes(b"no archive")
    done = pidex("upload", good, bad, "--folder", folder, "--json")
    assert done.returncode == 1
    assert [one["receipt"] is None for one in json.loads(done.stdout)] == [False, True]
    assert pidex("upload", tmp_path / "missing.whl", "--folder", folder).returncode == 2
    (tmp_path / "notes.txt").write_text("x")
    assert "no package by its name" in pidex("upload", tmp_path / "notes.txt", "--folder", folder).stderr


def test_prune(server: Server) -> None:
    folder = server.folders[0]
    assert pidex("prune", folder, "--dry-run").stdout.endswith("would be dropped.\n")
    assert json.loads(pidex("prune", folder, "--json").stdout)["files"] == 0
    preview = pidex("prune", folder, "--keep-latest", "1", "--project", "demo", "--dry-run")
    assert "2 files of demo would be removed." in preview.stdout
    assert pidex("prune", folder, "--keep-latest", "9").stdout == "There is nothing to remove.\n"
    assert pidex("prune", folder, "--project", "demo").returncode == 2
    assert pidex("prune", folder, "--keep-latest", "1", "--project", "demo").returncode == 2
    done = pidex("prune", folder, "--keep-latest", "1", "--project", "demo", "--yes", "--json")
    assert [len(one["files"]) for one in json.loads(done.stdout)] == [2]
    assert server.names("demo") == [NEXT]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("yank", "demo"), "is a whole project: name a release (demo==VERSION)"),
        (("yank", "../x"), "is no project"),
        (("status", "demo==1", "active"), "is not the name of a project"),
        (("restore-file",), "Name the file"),
    ],
)
def test_usage(args: tuple[str, ...], words: str) -> None:
    done = pidex(*args)
    assert done.returncode == 2
    assert words in done.stderr


def test_without_a_server(tmp_path: Path) -> None:
    folder = fill(tmp_path / "packages")
    none = pidex("yank", "demo==1.0", folder)
    assert (none.returncode, "There is no project demo" in none.stderr) == (1, True)
    assert pidex("scan", folder).returncode == 0
    assert pidex("yank", "demo==1.0", folder).returncode == 0
    assert pidex("remove", NEXT, folder, "--yes").returncode == 0
    with Server(folder) as server:
        assert server.names("demo") == [ONE, TWO]
        assert yanked(server) == {ONE: True, TWO: True}
        missing = pidex("yank", "demo==7", folder)
        assert (missing.returncode, missing.stderr) == (
            1,
            "pidex: Index main has no release 7 of project demo.\n",
        )


@needs_root
def test_only_the_owner_of_the_data_directory(tmp_path: Path) -> None:
    folder = fill(tmp_path / "packages")
    assert pidex("scan", folder).returncode == 0
    data = folder.parent / ".pidex-packages"
    os.chown(data, UID, UID)
    done = pidex("yank", "demo==1.0", folder)
    assert done.returncode == 1
    assert "belongs to nobody: run this command as nobody" in done.stderr
    os.chown(data, 0, 0)
    let_in(tmp_path)
    assert "belongs to root" in as_nobody(lambda: pidex("yank", "demo==1.0", folder).stderr)
