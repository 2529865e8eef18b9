"""htpasswd files: schemes, refusals, and reading them again when they change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import passlib.hash
import pytest

from pidex.accounts import htpasswd
from pidex.accounts.htpasswd import PasswordFile, parse
from pidex.core.errors import ConfigError

PASSWORD = "p:ässword"
HASHES = {
    "bcrypt": passlib.hash.bcrypt.using(rounds=4).hash(PASSWORD),
    "bcrypt2y": passlib.hash.bcrypt.using(rounds=4, ident="2y").hash(PASSWORD),
    "apr1": passlib.hash.apr_md5_crypt.hash(PASSWORD),
    "sha1": passlib.hash.ldap_sha1.hash(PASSWORD),
    "sha256": passlib.hash.sha256_crypt.using(rounds=1000).hash(PASSWORD),
    "sha512": passlib.hash.sha512_crypt.using(rounds=5000).hash(PASSWORD),
}


class Setup:
    """A password file with a person of each scheme."""

    def __init__(self, folder: Path, text: str | None = None) -> None:
        self.path = folder / "htpasswd"
        self.path.write_text(text or "".join(f"{name}:{hashed}\n" for name, hashed in HASHES.items()))
        self.said: list[str] = []
        self.file = PasswordFile(self.path, self.said.append)

    def right(self, name: str, password: str = PASSWORD) -> bool:
        self.file.refresh()
        return self.file.right(name, password)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.mark.parametrize("name", HASHES)
def test_each_scheme_is_verified(setup: Setup, name: str) -> None:
    assert setup.right(name)
    assert setup.right(name.upper()), "a name in another case is the same person"
    for wrong in ("", PASSWORD + "x", "\0", "x" * 5_000):
        assert not setup.right(name, wrong)


def test_a_long_password_is_cut_for_bcrypt_as_htpasswd_does(tmp_path: Path) -> None:
    hashed = passlib.hash.bcrypt.using(rounds=4).hash("é" * 36)  # 72 bytes
    assert Setup(tmp_path, f"me:{hashed}\n").right("me", "é" * 36 + "more")


def test_without_a_file_there_is_nobody() -> None:
    nobody = PasswordFile(None)
    nobody.refresh()
    assert not nobody.knows("me")
    assert not nobody.right("me", PASSWORD)


def test_the_file_is_read_again_when_it_changes(setup: Setup) -> None:
    assert setup.right("sha1")
    setup.path.write_text(f"new:{HASHES['sha1']}\n")
    assert not setup.right("sha1")
    assert setup.right("new")
    assert setup.file.version == 1


@pytest.mark.parametrize("how", ["gone", "not text", "a folder", "too long"])
def test_a_broken_file_keeps_what_was_read_before(setup: Setup, how: str) -> None:
    setup.path.unlink()
    if how == "not text":
        setup.path.write_bytes(b"\xff\xfe")
    elif how == "a folder":
        setup.path.mkdir()
    elif how == "too long":
        with setup.path.open("wb") as file:
            os.truncate(file.fileno(), htpasswd.FILE_LIMIT + 1)
    assert setup.right("sha1")
    assert setup.right("apr1")
    assert setup.file.version == 0
    (said,) = setup.said
    assert "The passwords read before stay in force." in said


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        PasswordFile(tmp_path / "no")


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
    assert not setup.right("me", hashed)
    assert setup.right("sha1")
    assert [said.removeprefix(f"{setup.path}: ")[:7] for said in setup.said] == [
        "Line 4 ",
        "Line 5 ",
        "Line 6 ",
    ]
    assert not hashed or not any(hashed in said for said in setup.said)


def test_the_first_line_of_a_name_counts() -> None:
    entries = parse(f"me:{HASHES['sha1']}\nME:{HASHES['apr1']}\n")
    assert entries.people == {"me": ("ldap_sha1", HASHES["sha1"])}


def test_an_unknown_name_costs_a_verification_too(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def verify(scheme: str, _hashed: str, _password: str) -> bool:
        asked.append(scheme)
        return True  # even a hash that fits by chance lets nobody in

    monkeypatch.setattr(htpasswd, "verify", verify)
    assert not setup.right("nobody")
    assert asked == ["bcrypt"]


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
