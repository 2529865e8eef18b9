"""Commands for users, groups, tokens and grants: what they do and print, and no password in argv."""

from __future__ import annotations

import base64
import io
import json
import os
import pty
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pidex.catalogue import audit
from pidex.catalogue.engine import Catalogue
from pidex.cli.tables import cell
from pidex.cli.tokens import address, moment
from pidex.config import Settings
from pidex.core.tokens import is_token
from tests import samples
from tests.cli.test_commands import Here, here, no_settings  # noqa: F401  # fixtures
from tests.walks.server import Server, environment

TOKEN = re.compile(r"pidex_[0-9A-Za-z]{49}")


class Office:
    """Runs commands over one data directory, with something on standard input."""

    def __init__(self, run: Here, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run, self.data, self.monkeypatch = run, data, monkeypatch

    def __call__(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return self.run(*args, "--data", self.data)

    def good(self, *args: str, stdin: str = "") -> str:
        done = self(*args, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bad(self, *args: str, stdin: str = "") -> str:
        done = self(*args, stdin=stdin)
        assert done.returncode in (1, 2)
        assert done.stdout == ""
        return done.stderr


@pytest.fixture
def office(
    here: Here,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Office:
    return Office(here, tmp_path / "data", monkeypatch)


def test_users(office: Office) -> None:
    assert office.good("user", "list") == "There are no users. `pidex user add NAME` makes one.\n"
    assert office.good("user", "add", "Ann", stdin="correct horse\n") == "Made the user Ann.\n"
    assert office.good("user", "add", "ci", "--no-password") == "Made the user ci.\n"
    assert "There is a user ANN already." in office.bad("user", "add", "ANN", stdin="correct horse\n")
    assert "8 to 1024 characters" in office.bad("user", "add", "bob", stdin="short\n")
    assert "No password came on standard input" in office.bad("user", "add", "bob")
    assert office.good("user", "password", "ann", stdin="another one\r\n") == "Changed the password of ann.\n"
    assert office.good("user", "password", "ann", "--none") == "ann has no password any more.\n"
    office.good("user", "disable", "ann")
    shown = office.good("user", "list")
    assert [line.split()[:3] for line in shown.splitlines()] == [
        ["NAME", "PASSWORD", "LOCKED"],
        ["Ann", "no", "yes"],
        ["ci", "no", "no"],
    ]
    office.good("user", "enable", "ann")
    assert "not locked out already" in office.bad("user", "enable", "ann")
    office.good("user", "remove", "ann")
    found = json.loads(office.good("user", "list", "--json"))
    assert [each["name"] for each in found] == ["ci"]
    assert "There is no user ann. `pidex user list` shows them." in office.bad("user", "remove", "ann")


def test_groups_and_grants(office: Office) -> None:
    office.good("user", "add", "ann", "--no-password")
    office.good("group", "add", "dev")
    assert office.good("group", "join", "dev", "ann") == "ann is a member of dev.\n"
    assert "ann" in office.good("group", "list")
    words = ("group:dev", "uploader", "--index", "main", "--project", "Acme_*")
    assert office.good("grant", "add", *words) == "group:dev is uploader on acme-* in index main.\n"
    assert office.good("grant", "add", "ann", "admin") == "user:ann is admin on every index.\n"
    assert "already" in office.bad("grant", "add", *words)
    assert "is not one of" in office.bad("grant", "add", "ann", "king")
    found = json.loads(office.good("grant", "list", "--json", "--index", "main"))
    assert [(each["subject"], each["role"], each["index"], each["project"]) for each in found] == [
        ("group:anonymous", "reader", "main", "*"),
        ("group:dev", "uploader", "main", "acme-*"),
        ("user:ann", "admin", None, "*"),
    ]
    assert "(all)" in office.good("grant", "list")
    assert (
        office.good("grant", "remove", *words) == "group:dev is no longer uploader on Acme_* in index main.\n"
    )
    assert "was not granted" in office.bad("grant", "remove", *words)
    office.good("group", "leave", "dev", "ann")
    office.good("group", "remove", "dev")
    assert json.loads(office.good("group", "list", "--json")) == [
        {"name": "anonymous", "members": []},
        {"name": "authenticated", "members": []},
    ]


def test_a_token_is_printed_once_with_lines_that_work(office: Office) -> None:
    office.good("user", "add", "ci", "--no-password")
    url = ("--public-url", "http://packages.example.org:8080/python")
    printed = office.good("token", "create", "ci", "--upload", "--expires", "90d", *url)
    tokens = {*TOKEN.findall(printed)}
    assert len(tokens) == 1
    token = tokens.pop()
    assert is_token(token)
    lines = [line.strip() for line in printed.splitlines()]
    base = "http://packages.example.org:8080/python"
    for line in (
        token,
        "[pidex]",
        f"repository = {base}/legacy/",
        "username = __token__",
        f"password = {token}",
        f"export UV_PUBLISH_TOKEN={token}",
        f"uv publish --publish-url {base}/legacy/ --check-url {base}/simple/",
        f"machine packages.example.org login __token__ password {token}",
        f"pip install --index-url {base}/simple/ --trusted-host packages.example.org:8080 SOME-PACKAGE",
        f"uv pip install --default-index {base}/simple/ SOME-PACKAGE",
    ):
        assert line in lines
    assert "--extra-index-url" not in printed
    assert "@" not in printed, "no credentials in URLs"
    assert "may read and upload, until 20" in printed
    reading = office.good("token", "create", "ci", *url)
    assert "pypirc" not in reading
    assert "publish" not in reading
    shown = office.good("token", "list")
    assert token not in shown
    assert [line.split()[1] for line in shown.splitlines()[1:]] == [
        f"{token[:10]}…",
        f"{TOKEN.findall(reading)[0][:10]}…",
    ]
    assert office.good("token", "revoke", "1").startswith("Revoked token 1 (pidex_")
    assert "revoked already" in office.bad("token", "revoke", "1")
    assert "There is no token 7." in office.bad("token", "revoke", "7")
    states = json.loads(office.good("token", "list", "--user", "CI", "--json"))
    assert [each["state"] for each in states] == ["revoked", "valid"]


def test_a_token_as_json(office: Office) -> None:
    office.good("user", "add", "ci", "--no-password")
    words = ("--delete", "--admin", "--index", "dev", "--project", "acme-*", "--comment", "CI", "--json")
    made = json.loads(office.good("token", "create", "ci", *words))
    assert is_token(made["text"])
    assert made["token"]["scopes"] == ["read", "delete", "admin"]
    assert made["token"]["projects"] == ["acme-*"]
    assert made["index_url"] == "http://127.0.0.1:3141/dev/simple/"
    assert made["upload_url"] == "http://127.0.0.1:3141/dev/legacy/"
    assert "There is no user nobody" in office.bad("token", "create", "nobody")
    assert "--expires takes 12h, 90d" in office.bad("token", "create", "ci", "--expires", "soon")
    assert "expired already" in office.bad("token", "create", "ci", "--expires", "2020-01-01")


def test_times_and_addresses() -> None:
    assert moment("12h", 1000.0) == 1000 + 12 * 3600
    assert moment("1y", 0.0) == 365 * 86_400
    assert moment("2027-01-31", 0.0) == 1_801_440_000.0, "to the end of that day"
    assert address(Settings(host="::1", port=80, prefix="/p")) == "http://[::1]:80/p"
    assert address(Settings(tls_cert=Path("x")), ("main",)) == "https://127.0.0.1:3141"
    assert address(Settings(), ("a", "b")) == address(Settings(), ("a*",)) == "http://127.0.0.1:3141"
    assert "0.0.0.0" not in address(Settings(host="0.0.0.0"))
    assert cell("a\x1b[31mb\n") == "a?[31mb?"


def test_what_a_command_did_is_in_the_audit(office: Office) -> None:
    office.good("user", "add", "ann", stdin="correct horse\n")
    catalogue = Catalogue.open(office.data / "catalogue.db", create=False)
    with catalogue.read() as conn:
        [row] = audit.list(conn, limit=10)
    catalogue.close()
    assert (row.action, row.subject, row.via) == ("user.add", "ann", "command")
    assert row.actor == pwd.getpwuid(os.geteuid()).pw_name


def test_a_password_is_asked_for_at_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pidex", "user", "add", "ann", "--data", str(tmp_path / "data")]
    process = subprocess.Popen(
        command, env=environment(), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = ""
    for words, answer in (("Password of ann: ", "correct horse"), ("confirmation: ", "correct horse")):
        while words not in seen:
            seen += os.read(ours, 1024).decode()
        os.write(ours, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert out == "Made the user ann.\n"
    assert "horse" not in seen, "what is typed is not shown"


def test_commands_reach_a_running_server(tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    folder = tmp_path / "packages"
    folder.mkdir()
    name, data = samples.wheel("demo", "1.0")
    (folder / name).write_bytes(data)
    with Server(folder) as server:
        server.wait_for("demo", name)
        monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse\n"))
        assert here("user", "add", "ann", folder).returncode == 0
        made = json.loads(here("token", "create", "ann", folder, "--json").stdout)
        basic = base64.b64encode(b"ann:correct horse").decode()
        signed_in = [{"Authorization": f"Bearer {made['text']}"}, {"Authorization": f"Basic {basic}"}]
        for headers in signed_in:
            assert server.get("/simple/demo/", headers).status == 200
        assert here("token", "revoke", "1", folder).returncode == 0
        assert [server.get("/simple/demo/", headers).status for headers in signed_in] == [401, 200]
        assert here("user", "disable", "ann", folder).returncode == 0
        assert [server.get("/simple/demo/", headers).status for headers in signed_in] == [401, 401]
        assert server.get("/simple/demo/").status == 200
