"""htpasswd accounts: schemes, refusals, memory, re-reading, and what needs signing in."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from pathlib import Path

import passlib.hash
import pytest

from pidex import accounts
from pidex.accounts import MEMORY_LIMIT, MEMORY_SECONDS, Accounts, credentials, parse
from pidex.core.errors import ConfigError, Unauthenticated
from pidex.core.model import ANONYMOUS, Principal

PASSWORD = "p:ässword"
HASHES = {
    "bcrypt": passlib.hash.bcrypt.using(rounds=4).hash(PASSWORD),
    "bcrypt2y": passlib.hash.bcrypt.using(rounds=4, ident="2y").hash(PASSWORD),
    "apr1": passlib.hash.apr_md5_crypt.hash(PASSWORD),
    "sha1": passlib.hash.ldap_sha1.hash(PASSWORD),
    "sha256": passlib.hash.sha256_crypt.using(rounds=1000).hash(PASSWORD),
    "sha512": passlib.hash.sha512_crypt.using(rounds=5000).hash(PASSWORD),
}
EVERYTHING = frozenset({"list", "download", "update"})


def header(name: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Setup:
    def __init__(self, folder: Path, text: str | None = None) -> None:
        self.file = folder / "htpasswd"
        self.file.write_text(text or "".join(f"{name}:{hashed}\n" for name, hashed in HASHES.items()))
        self.clock = Clock()
        self.said: list[str] = []
        self.accounts = Accounts(self.file, EVERYTHING, clock=self.clock, key=b"k", log=self.said.append)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.mark.parametrize("name", HASHES)
def test_each_scheme_is_verified(setup: Setup, name: str) -> None:
    assert setup.accounts.authenticate(header(name)) == Principal(name, frozenset({"authenticated"}))
    for wrong in ("", PASSWORD + "x", "\0", "x" * 5_000):
        with pytest.raises(Unauthenticated, match="user name or the password is wrong"):
            setup.accounts.authenticate(header(name, wrong))


def test_a_long_password_is_cut_for_bcrypt_as_htpasswd_does(tmp_path: Path) -> None:
    hashed = passlib.hash.bcrypt.using(rounds=4).hash("é" * 36)  # 72 bytes
    setup = Setup(tmp_path, f"me:{hashed}\n")
    assert setup.accounts.authenticate(header("me", "é" * 36 + "more")).name == "me"


def test_nobody_and_no_file_are_anonymous(setup: Setup) -> None:
    assert setup.accounts.authenticate(None) == ANONYMOUS
    assert setup.accounts.remembered(None) == ANONYMOUS
    without = Accounts(None, clock=Clock(), key=b"k")
    assert without.authenticate(header("me")) == without.remembered(header("me")) == ANONYMOUS


@pytest.mark.parametrize(
    "wrong",
    [
        "Bearer x",
        "Basic",
        "Basic !",
        "Basic \udcff",
        "x" * 9000,
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        header(""),
        header("nobody"),
    ],
)
def test_a_wrong_header_is_refused(setup: Setup, wrong: str) -> None:
    assert setup.accounts.remembered(wrong) is None
    with pytest.raises(Unauthenticated):
        setup.accounts.authenticate(wrong)


def test_credentials_are_read_as_utf8_or_latin1() -> None:
    assert credentials("basic " + base64.b64encode("ä:ö:ü".encode()).decode()) == ("ä", "ö:ü")
    assert credentials("Basic " + base64.b64encode("ä:ö".encode("latin-1")).decode()) == ("ä", "ö")


def test_what_was_verified_is_remembered_for_a_while(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    assert setup.accounts.remembered(header("sha1")) is None
    known = setup.accounts.authenticate(header("sha1"))
    monkeypatch.setattr(accounts, "verify", lambda *_: False)
    assert setup.accounts.remembered(header("sha1")) == known
    assert setup.accounts.authenticate(header("sha1")) == known
    assert setup.accounts.remembered(header("sha1", "other")) is None
    setup.clock.now += MEMORY_SECONDS + 1
    assert setup.accounts.remembered(header("sha1")) is None
    with pytest.raises(Unauthenticated):
        setup.accounts.authenticate(header("sha1"))


def test_the_memory_is_bounded_and_holds_no_passwords(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "verify", lambda *_: True)
    for number in range(MEMORY_LIMIT + 10):
        setup.accounts.authenticate(header("sha1", str(number)))
    assert setup.accounts.remembered(header("sha1", "0")) is None
    assert setup.accounts.remembered(header("sha1", str(MEMORY_LIMIT + 9))) is not None
    memory = setup.accounts._memory
    assert len(memory) == MEMORY_LIMIT
    assert not any(b"sha1" in mark or len(mark) != 32 for mark in memory)


def test_the_file_is_read_again_when_it_changes(setup: Setup) -> None:
    setup.accounts.authenticate(header("sha1"))
    setup.file.write_text(f"new:{HASHES['sha1']}\n")
    assert setup.accounts.remembered(header("sha1")) is None
    with pytest.raises(Unauthenticated):
        setup.accounts.authenticate(header("sha1"))
    assert setup.accounts.authenticate(header("new")).name == "new"


@pytest.mark.parametrize("how", ["gone", "not text", "a folder", "too long"])
def test_a_broken_file_keeps_what_was_read_before(setup: Setup, how: str) -> None:
    setup.accounts.authenticate(header("sha1"))
    setup.file.unlink()
    if how == "not text":
        setup.file.write_bytes(b"\xff\xfe")
    elif how == "a folder":
        setup.file.mkdir()
    elif how == "too long":
        with setup.file.open("wb") as file:
            os.truncate(file.fileno(), accounts.FILE_LIMIT + 1)
    assert setup.accounts.authenticate(header("sha1")).name == "sha1"
    assert setup.accounts.authenticate(header("apr1")).name == "apr1"
    (said,) = setup.said
    assert "The passwords read before stay in force." in said


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        Accounts(tmp_path / "no", clock=Clock(), key=b"k")


@pytest.mark.parametrize(
    "hashed",
    [
        "secret",
        "",
        "xyzAbCdEfGhIj",
        "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA",
        "{SSHA}abc",
        "$2b$04$short",
        "{SHA}x",
    ],
)
def test_plain_text_and_unknown_hashes_are_refused_by_line_number(tmp_path: Path, hashed: str) -> None:
    setup = Setup(
        tmp_path, f"# people\n\nsha1:{HASHES['sha1']}\nme:{hashed}\nno colon\nsha1:{HASHES['apr1']}\n"
    )
    with pytest.raises(Unauthenticated):
        setup.accounts.authenticate(header("me", hashed))
    assert setup.accounts.authenticate(header("sha1")).name == "sha1"
    assert [said.removeprefix(f"{setup.file}: ")[:7] for said in setup.said] == [
        "Line 4 ",
        "Line 5 ",
        "Line 6 ",
    ]
    assert not hashed or not any(hashed in said for said in setup.said)


def test_the_first_line_of_a_name_counts() -> None:
    entries = parse(f"me:{HASHES['sha1']}\nme:{HASHES['apr1']}\n")
    assert entries.people == {"me": ("ldap_sha1", HASHES["sha1"])}


def test_an_unknown_name_costs_a_verification_too(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def verify(scheme: str, _hashed: str, _password: str) -> bool:
        asked.append(scheme)
        return True  # even a hash that fits by chance lets nobody in

    monkeypatch.setattr(accounts, "verify", verify)
    with pytest.raises(Unauthenticated):
        setup.accounts.authenticate(header("nobody"))
    assert asked == ["bcrypt"]


def test_the_same_header_is_verified_once_at_a_time(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    started, go_on = threading.Event(), threading.Event()
    asked: list[str] = []

    def verify(scheme: str, _hashed: str, _password: str) -> bool:
        asked.append(scheme)
        started.set()
        return go_on.wait(30)

    monkeypatch.setattr(accounts, "verify", verify)
    found: list[Principal] = []
    threads = [
        threading.Thread(target=lambda: found.append(setup.accounts.authenticate(header("sha1"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert asked == ["ldap_sha1"]


def test_a_verification_that_a_new_file_overtakes_is_not_remembered(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(*_: str) -> bool:
        setup.file.write_text(f"new:{HASHES['sha1']}\n")
        assert setup.accounts.remembered(header("new")) is None  # somebody else's request reads it again
        return True

    monkeypatch.setattr(accounts, "verify", verify)
    setup.accounts.authenticate(header("sha1"))
    assert setup.accounts.remembered(header("sha1")) is None


@pytest.mark.parametrize("action", ["list", "download", "update"])
def test_what_is_guarded_needs_signing_in(action: str) -> None:
    somebody = Principal("me", frozenset({"authenticated"}))
    guarding = Accounts(None, frozenset({action}), clock=Clock(), key=b"k")
    for each in EVERYTHING:
        assert guarding.allows(ANONYMOUS, each) is (each != action)
        assert guarding.allows(somebody, each)
    with pytest.raises(ValueError, match="read"):
        guarding.allows(somebody, "read")


def test_a_missing_module_is_named_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(f"me:{HASHES['bcrypt']}\n")
    code = (
        "import sys; sys.modules['bcrypt'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'bcrypt' else found(name, *a)\n"
        "from pathlib import Path; from pidex import accounts\n"
        f"try: accounts.read(Path({str(tmp_path / 'htpasswd')!r}))\n"
        "except Exception as error: print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("-m pip install 'libpass[bcrypt]'")
