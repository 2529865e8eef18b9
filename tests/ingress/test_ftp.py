"""FTP by real clients: what comes in, when it is seen, who may what, and what is left of a cut connection."""

from __future__ import annotations

import ftplib
import io
import random
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.ports import free_port

pytest.importorskip("pyftpdlib", reason="NOT TESTED: the extra ftp is not installed")
pytest.importorskip("OpenSSL", reason="NOT TESTED: the extra ftp is not installed")

from pidex import app, processes
from pidex.config import load
from pidex.core.model import ANONYMOUS, OPERATOR
from pidex.ingress import drafts
from tests.samples import sdist, wheel
from tests.walks.server import until

PASSWORD = "correct horse"
PEOPLE = {"ann": "uploader", "olga": "owner", "rita": "reader"}
BY = OPERATOR._replace(name="root", via="command")
DEMO = wheel("demo", "1.0")
NOISY = wheel("demo", "2.0", files={"demo.bin": random.Random(1).randbytes(2_000_000)})


def token(house: House, user: str, scopes: tuple[str, ...], projects: tuple[str, ...] = ("*",)) -> str:
    return house.admin.create_token(user, scopes=scopes, projects=projects, by=BY).text


class House:
    """A server of FTP alone over a folder, with people: ann uploads, olga owns, rita reads."""

    def __init__(self, top: Path, **settings: Any) -> None:
        self.folder = top / "packages"
        self.folder.mkdir()
        flags = {"folders": (str(self.folder),), "ftp_port": "2121", **settings}
        self.pidex = app.build(load(flags, {}), {}, create=True)
        self.pidex.reconciler().scan()
        self.admin = self.pidex.administration()
        for name, role in PEOPLE.items():
            self.admin.add_user(name, by=BY)
            self.admin.grant(f"user:{name}", role, index="main", by=BY)
        self.tokens = {name: token(self, name, ("read", "upload", "delete")) for name in PEOPLE}
        self.listener = processes.listen("127.0.0.1", 0)
        self.port: int = self.listener.getsockname()[1]
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.pidex.ftp(self.listener).run, args=(self.stop,))
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.listener.close()
        self.pidex.close()

    @contextmanager
    def client(self, user: str = "ann", password: str | None = None, made: Any = None) -> Iterator[Any]:
        """A session: by the token of one of the people, or with a password."""
        with made or ftplib.FTP() as ftp:
            ftp.connect("127.0.0.1", self.port, timeout=30)
            if password is None:
                ftp.login("__token__", self.tokens[user])
            else:
                ftp.login(user, password)
            ftp.voidcmd("TYPE I")
            yield ftp

    def listed(self) -> list[str]:
        return [file.filename for file in self.pidex.resolver.files("main", by=OPERATOR)]

    def lying(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*"))


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(**settings: Any) -> House:
        made.append(House(tmp_path, **settings))
        return made[-1]

    yield make
    for house in made:
        house.close()


@pytest.fixture
def house(make_house: Callable[..., House]) -> House:
    return make_house()


def send(ftp: ftplib.FTP, sample: tuple[str, bytes], *, name: str | None = None, **rest: Any) -> str:
    return ftp.storbinary(f"STOR {name or sample[0]}", io.BytesIO(sample[1]), **rest)


def fetch(ftp: ftplib.FTP, name: str, **rest: Any) -> bytes:
    pieces: list[bytes] = []
    ftp.retrbinary(f"RETR {name}", pieces.append, **rest)
    return b"".join(pieces)


def refused(does: Callable[[], object]) -> str:
    """The reply of a refusal."""
    with pytest.raises((ftplib.error_perm, ftplib.error_temp)) as caught:
        does()
    return str(caught.value)


# --- in and out ---------------------------------------------------------------------------------------------


def test_a_package_goes_in_is_listed_and_comes_out(house: House) -> None:
    with house.client() as ftp:
        assert ftp.pwd() == "/main"
        assert send(ftp, DEMO) == f"226 {DEMO[0]}: stored."
        assert house.listed() == [DEMO[0]] == house.lying()
        assert ftp.nlst() == [DEMO[0]]
        facts = dict(ftp.mlsd("/main"))[DEMO[0]]
        assert facts["type"] == "file"
        assert int(facts["size"]) == len(DEMO[1])
        lines: list[str] = []
        ftp.retrlines("LIST", lines.append)
        assert len(lines) == 1
        assert lines[0].split()[4] == str(len(DEMO[1]))
        assert ftp.size(DEMO[0]) == len(DEMO[1])
        assert fetch(ftp, DEMO[0]) == DEMO[1]
        assert fetch(ftp, DEMO[0], rest=100) == DEMO[1][100:]
        assert send(ftp, DEMO) == f"226 {DEMO[0]}: identical."


def test_it_is_admitted_as_ftp_by_the_user(house: House) -> None:
    from pidex.catalogue import admissions, indexes

    with house.client() as ftp:
        send(ftp, DEMO)
    with house.pidex.catalogue.read() as conn:
        index = indexes.find(conn, "main")
        assert index is not None
        found = admissions.find(conn, index.id, DEMO[0])
    assert found is not None
    assert (found.by, found.how, found.source) == ("ann", "ftp", "upload")


def test_other_bytes_are_refused_with_the_sentence(house: House) -> None:
    other = wheel("demo", "1.0", files={"other.py": b"pass"})
    with house.client() as ftp:
        send(ftp, DEMO)
        assert refused(lambda: send(ftp, other)).startswith("550 File already exists")
        assert fetch(ftp, DEMO[0]) == DEMO[1]
    assert house.lying() == [DEMO[0]]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        (DEMO[0], b"no zip at all", "550 Invalid distribution file"),
        (DEMO[0], DEMO[1][:-40], "550 Invalid distribution file"),
        (DEMO[0], b"", "550 Invalid distribution file"),
        ("other-1.0-py3-none-any.whl", DEMO[1], "550 Invalid distribution file"),
        ("notes.txt", b"text", "550 notes.txt is no package's name"),
        (f"{DEMO[0]}.asc", b"sig", f"550 {DEMO[0]}.asc is no package's name"),
        ("nonsense.whl", DEMO[1], "550 "),
        ("/demo.whl", DEMO[1], "550 "),
        ("/main/sub/demo-1.0.tar.gz", DEMO[1], "550 There is no such folder"),
        ("../../etc/passwd", b"x", "550 "),
    ],
)
def test_what_is_no_package_is_refused_and_nothing_stays(
    house: House, name: str, data: bytes, says: str
) -> None:
    with house.client() as ftp:
        assert refused(lambda: send(ftp, (name, data))).startswith(says)
        assert ftp.nlst() == []
    assert house.lying() == []


def test_a_limit_is_told_while_it_is_sent(house: House) -> None:
    from pidex.catalogue import indexes, tables

    with house.pidex.catalogue.write() as conn:
        index = indexes.find(conn, "main")
        assert index is not None
        conn.execute(tables.indexes.update().values(policy='{"file_limit": 1048576}'))
    with house.client() as ftp:
        assert refused(lambda: send(ftp, NOISY)).startswith("552 File too large. Limit is 1 MiB")
        assert send(ftp, DEMO).startswith("226")
    assert house.lying() == [DEMO[0]]


# --- text mode ----------------------------------------------------------------------------------------------


def test_text_mode_is_refused_both_ways(house: House) -> None:
    with house.client() as ftp:
        send(ftp, DEMO)
        told = refused(lambda: ftp.storlines(f"STOR {NOISY[0]}", io.BytesIO(NOISY[1])))
        assert told.startswith("550")
        assert "TYPE I" in told
        assert "TYPE I" in refused(lambda: ftp.retrlines(f"RETR {DEMO[0]}"))
        assert send(ftp, NOISY).startswith("226")  # the session goes on


# --- cut, slow, resumed -------------------------------------------------------------------------------------


def test_nothing_is_seen_of_a_slow_upload_until_it_is_whole(house: House) -> None:
    filename, data = NOISY
    with house.client() as ftp, house.client("rita") as other:
        connection = ftp.transfercmd(f"STOR {filename}")
        for start in range(0, len(data), 200_000):
            connection.sendall(data[start : start + 200_000])
            assert other.nlst() == []
            assert house.lying() == []
            assert house.listed() == []
        connection.close()
        assert ftp.voidresp() == f"226 {filename}: stored."
        assert other.nlst() == [filename]
        assert fetch(other, filename) == data


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("again", ["STOR", "APPE", "REST"])
def test_a_cut_upload_leaves_nothing_and_goes_on(house: House, reset: bool, again: str) -> None:
    filename, data = NOISY
    ftp = ftplib.FTP()
    ftp.connect("127.0.0.1", house.port, timeout=30)
    ftp.login("__token__", house.tokens["ann"])
    ftp.voidcmd("TYPE I")
    connection = ftp.transfercmd(f"STOR {filename}")
    connection.sendall(data[:1_000_000])
    with house.client("rita") as other, house.client() as same:
        same.voidcmd("TYPE I")
        until(lambda: same.size(filename) == 1_000_000)
        for each in (ftp.sock, connection):
            assert each is not None
            if reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        assert ftp.sock is not None
        ftp.sock.close()
        assert ftp.file is not None
        ftp.file.close()
        assert other.nlst() == []
        assert "550" in refused(lambda: fetch(other, filename))
        assert house.lying() == []

        def resumed() -> bool:
            try:
                if again == "STOR":
                    send(same, NOISY)
                elif again == "APPE":
                    same.storbinary(f"APPE {filename}", io.BytesIO(data[1_000_000:]))
                else:
                    same.storbinary(f"STOR {filename}", io.BytesIO(data[1_000_000:]), rest=1_000_000)
            except ftplib.error_perm as error:
                if "another session" not in str(error):  # else the server has not noticed yet
                    raise
                return False
            return True

        until(resumed)
        assert fetch(other, filename) == data


def test_going_on_somewhere_else_is_refused(house: House) -> None:
    with house.client() as ftp:
        send(ftp, DEMO, name="demo.part")
        told = refused(lambda: ftp.storbinary("STOR demo.part", io.BytesIO(b"x"), rest=5))
        assert told == f"554 {len(DEMO[1])} bytes are here: go on with REST at that number"
        send(ftp, NOISY)
        assert "is whole" in refused(lambda: ftp.storbinary(f"APPE {NOISY[0]}", io.BytesIO(b"x")))


def test_an_aborted_transfer_is_no_package(house: House) -> None:
    filename, data = NOISY
    with house.client() as ftp:
        connection = ftp.transfercmd(f"STOR {filename}")
        connection.sendall(data)
        ftp.voidcmd("NOOP")
        until(lambda: house.lying() == [] and ftp.size(filename) == len(data))
        assert ftp.abort().startswith("426")
        assert ftp.voidresp().startswith("226 ABOR")
        connection.close()
    assert house.listed() == []


def test_drafts_are_few_and_do_not_stay(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "MOST_DRAFTS", 3)
    with house.client() as ftp:
        for number in range(6):
            send(ftp, DEMO, name=f"{number}.part")
        until(lambda: ftp.nlst() == ["3.part", "4.part", "5.part"])
        monkeypatch.setattr(drafts, "KEPT_SECONDS", 0.0)
        until(lambda: ftp.nlst() == [])


# --- temporary names and renaming ---------------------------------------------------------------------------

TEMPORARY = (".in.{}.", "{}.part", "{}.filepart", ".{}.swp")


@pytest.mark.parametrize("pattern", TEMPORARY)
def test_a_temporary_name_is_private_until_it_is_renamed(house: House, pattern: str) -> None:
    name = pattern.format(DEMO[0])
    with house.client() as ftp, house.client("olga") as other:
        assert send(ftp, DEMO, name=name).startswith("226 Received")
        assert ftp.nlst() == [name]
        assert other.nlst() == []
        assert house.lying() == house.listed() == []
        assert ftp.rename(name, DEMO[0]).startswith("250")
        assert ftp.nlst() == other.nlst() == [DEMO[0]]
        assert fetch(other, DEMO[0]) == DEMO[1]


def test_a_rename_to_what_it_is_not_is_refused_and_may_be_tried_again(house: House) -> None:
    with house.client() as ftp:
        send(ftp, DEMO, name="x.part")
        assert "Invalid distribution" in refused(lambda: ftp.rename("x.part", "other-1.0-py3-none-any.whl"))
        assert ftp.rename("x.part", "y.part").startswith("250")
        assert ftp.rename("y.part", DEMO[0]).startswith("250")
        assert house.listed() == [DEMO[0]]


def test_a_package_is_renamed_by_who_may_upload_and_delete(house: House) -> None:
    built = DEMO[0].replace("-1.0-", "-1.0-2-")
    with house.client() as ftp, house.client("olga") as owner:
        send(ftp, DEMO)
        with house.client("rita") as reader:
            assert refused(lambda: reader.rename(DEMO[0], built)).startswith("550")
        assert "no package's name" in refused(lambda: owner.rename(DEMO[0], f"{DEMO[0]}.bak"))
        assert house.listed() == [DEMO[0]]
        assert owner.rename(DEMO[0], built).startswith("250")
        assert house.listed() == [built] == house.lying()


# --- rights -------------------------------------------------------------------------------------------------


def test_a_password_signs_in(house: House) -> None:
    house.admin.set_password("ann", PASSWORD, by=BY)
    with house.client("ann", PASSWORD) as ftp:
        assert send(ftp, DEMO).startswith("226")


def test_a_wrong_password_is_told_and_nothing_else(house: House) -> None:
    for user in ("ann", "nobody", "an:n"):
        told = refused(lambda user=user: house.client(user, "wrong").__enter__())  # type: ignore[misc]
        assert told.startswith("530 The user name or the password is wrong"), told


def test_a_token_signs_in_and_reaches_as_far_as_it_says(house: House) -> None:
    text = token(house, "ann", ("read", "upload"), ("demo",))
    with house.client("__token__", text) as ftp:
        assert send(ftp, DEMO).startswith("226")
        assert refused(lambda: send(ftp, wheel("else", "1.0"))) == "550 There is no project else."
    reads = token(house, "ann", ("read",))
    with house.client("__token__", reads) as ftp:
        assert refused(lambda: send(ftp, NOISY)).startswith("550")
        assert fetch(ftp, DEMO[0]) == DEMO[1]


def test_strangers_read_and_do_nothing_else(house: House) -> None:
    with house.client() as ftp:
        send(ftp, DEMO)
    with house.client("anonymous", "me@example.org") as ftp:
        assert ftp.nlst() == [DEMO[0]]
        assert fetch(ftp, DEMO[0]) == DEMO[1]
        for does in (
            lambda: send(ftp, NOISY),
            lambda: send(ftp, NOISY, name="x.part"),
            lambda: ftp.delete(DEMO[0]),
            lambda: ftp.rename(DEMO[0], "x.part"),
        ):
            assert "sign in" in refused(does).lower()
    assert house.listed() == [DEMO[0]]


def test_strangers_stay_out_where_nothing_is_for_them(make_house: Callable[..., House]) -> None:
    house = make_house(guard="list,download,update")
    with pytest.raises(ftplib.error_perm, match="530"), house.client("anonymous", "x"):
        pass


def test_a_hidden_project_is_not_there(house: House) -> None:
    secret = wheel("secret", "1.0")
    with house.client() as ftp:
        send(ftp, DEMO)
        send(ftp, secret)
    house.admin.ungrant("group:anonymous", "reader", index="main", by=BY)
    house.admin.ungrant("user:rita", "reader", index="main", by=BY)
    house.admin.grant("user:rita", "reader", index="main", project="demo", by=BY)
    with house.client("rita") as ftp:
        assert ftp.nlst() == [DEMO[0]]
        hidden = refused(lambda: fetch(ftp, secret[0]))
        absent = refused(lambda: fetch(ftp, "absent-1.0-py3-none-any.whl"))
        assert hidden.replace("secret", "absent") == absent
        assert "550" in refused(lambda: ftp.delete(secret[0]))
        assert "550" in refused(lambda: ftp.size(secret[0]))


def test_deleting_is_a_right_and_burns_the_name(house: House) -> None:
    with house.client("olga") as owner, house.client("rita") as reader:
        send(owner, DEMO)
        assert refused(lambda: reader.delete(DEMO[0])).startswith("550 rita may not delete")
        assert owner.delete(DEMO[0]).startswith("250")
        assert house.listed() == house.lying() == []
        assert refused(lambda: send(owner, DEMO)).startswith("550")


def test_a_right_that_is_taken_away_ends_at_once(house: House) -> None:
    with house.client() as ftp:
        send(ftp, DEMO)
        house.admin.ungrant("user:ann", "uploader", index="main", by=BY)
        assert refused(lambda: send(ftp, wheel("new", "1.0"))).startswith("550")
        house.admin.disable_user("ann", by=BY)
        assert "550" in refused(lambda: send(ftp, NOISY))


def test_folders_times_and_modes_are_not_changed(house: House) -> None:
    with house.client("olga") as ftp:
        send(ftp, DEMO)
        for does in (
            lambda: ftp.mkd("sub"),
            lambda: ftp.rmd("/main"),
            lambda: ftp.voidcmd(f"SITE CHMOD 777 {DEMO[0]}"),
            lambda: ftp.voidcmd(f"MFMT 20200101000000 {DEMO[0]}"),
            lambda: ftp.cwd("/else"),
            lambda: ftp.cwd("sub"),
            lambda: ftp.voidcmd("STOU"),
        ):
            assert refused(does).startswith("550")
        ftp.cwd("/")
        assert ftp.nlst() == ["main"]
        assert house.lying() == [DEMO[0]]


def test_a_stranger_is_remembered_by_address(house: House) -> None:
    """The principal that is asked about carries where it came from, for the audit."""
    seen = []
    original = house.pidex.resolver.files

    def files(index: str, *, by: Any) -> Any:
        seen.append(by)
        return original(index, by=by)

    house.pidex.resolver.files = files  # type: ignore[method-assign]
    with house.client("anonymous", "x") as ftp:
        ftp.nlst()
    assert seen == [ANONYMOUS._replace(via="ftp", address="127.0.0.1")]


# --- the network --------------------------------------------------------------------------------------------


def test_passive_ports_are_those_that_were_opened(make_house: Callable[..., House]) -> None:
    first = free_port()
    house = make_house(ftp_passive_ports=f"{first}-{first + 3}", ftp_masquerade="127.0.0.1")
    with house.client() as ftp:
        for _ in range(6):
            ftp.af = socket.AF_INET
            told = ftp.sendcmd("PASV")
            numbers = [int(each) for each in re.findall(r"\d+", told)[1:]]
            assert numbers[:4] == [127, 0, 0, 1]
            assert first <= numbers[4] * 256 + numbers[5] <= first + 3
        assert send(ftp, DEMO).startswith("226")


def test_many_sessions_at_once_do_not_wait_for_each_other(house: House) -> None:
    samples = [wheel(f"many{number}", "1.0") for number in range(8)]
    faults: list[BaseException] = []

    def upload(sample: tuple[str, bytes]) -> None:
        try:
            with house.client() as ftp:
                send(ftp, sample)
        except BaseException as error:
            faults.append(error)

    with house.client() as slow:
        connection = slow.transfercmd(f"STOR {NOISY[0]}")
        connection.sendall(NOISY[1][:1000])
        threads = [threading.Thread(target=upload, args=(each,)) for each in samples]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not faults
        assert house.listed() == sorted(name for name, _ in samples)
        connection.sendall(NOISY[1][1000:])
        connection.close()
        slow.voidresp()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("NOT TESTED with TLS: openssl makes the certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.mark.parametrize("tls", ["optional", "required"])
def test_tls(make_house: Callable[..., House], certificate: tuple[Path, Path], tls: str) -> None:
    cert, key = certificate
    house = make_house(ftp_tls=tls, tls_cert=str(cert), tls_key=str(key))
    context = ssl.create_default_context(cafile=str(cert))
    with house.client(made=ftplib.FTP_TLS(context=context)) as ftp:
        ftp.prot_p()
        assert ftp.sock.version() in ("TLSv1.2", "TLSv1.3")
        assert send(ftp, NOISY).startswith("226")
        assert fetch(ftp, NOISY[0]) == NOISY[1]
        assert ftp.nlst() == [NOISY[0]]
        assert refused(lambda: send(ftp, (DEMO[0], DEMO[1][:-40]))).startswith("550 Invalid distribution")
        if tls == "required":
            ftp.prot_c()
            assert "550" in refused(lambda: send(ftp, DEMO))
    if tls == "required":
        with pytest.raises(ftplib.error_perm, match="TLS required"), house.client():
            pass
    else:
        with house.client() as ftp:
            assert send(ftp, sdist("demo", "1.0")).startswith("226")


def test_a_stop_ends_sessions_and_keeps_nothing(make_house: Callable[..., House]) -> None:
    house = make_house()
    with house.client() as ftp:
        connection = ftp.transfercmd(f"STOR {NOISY[0]}")
        connection.sendall(NOISY[1][:1_000_000])
        house.stop.set()
        house.thread.join(10)
        assert not house.thread.is_alive()
        connection.close()
        with pytest.raises((EOFError, OSError, ftplib.Error)):
            ftp.voidresp()
        ftp.close()
    assert house.lying() == []
