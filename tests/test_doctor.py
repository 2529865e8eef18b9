"""Every check of the doctor, broken for real where that can be done, and matched by its sentence."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pidex.backends.cache import Cache
from pidex.catalogue import indexes, places, problems, snapshots, soundness
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.expendable import Expendable
from pidex.catalogue.mirrored import Store
from pidex.core.model import Place, PlaceState, Problem, Stat
from pidex.doctor import CHECKS, Check, Target, examine, machine, reach
from tests.accounts.test_htpasswd import HASHES
from tests.nobody import as_nobody, let_in, needs_root

DAY = 86_400


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A set-up in which nothing is wrong."""
    folder, data = tmp_path / "packages", tmp_path / "data"
    folder.mkdir()
    data.mkdir(mode=0o700)
    with contextlib.closing(Catalogue.open(data / "catalogue.db")) as catalogue, catalogue.write() as conn:
        indexes.ensure(conn, "main", time.time())
    snapshots.take(data / "catalogue.db", data / "snapshots", time.time())
    return Target(folders=(folder,), data=data, port=0)


def replaced(target: Target, **changes: Any) -> Target:
    return Target(**{**vars(target), **changes})


def found(target: Target, name: str, *, now: float | None = None) -> list[Check]:
    return [
        each
        for each in examine(target, clock=lambda: time.time() if now is None else now)
        if each.name == name
    ]


def said(target: Target, name: str, **kwargs: Any) -> str:
    """The one thing that a check finds wrong, with its remedy."""
    (check,) = [each for each in found(target, name, **kwargs) if each.state != "ok"]
    return f"{check.state}: {check.sentence} {check.remedy}"


def test_a_good_set_up_is_well_and_left_as_it_was(target: Target) -> None:
    before = sorted(target.data.rglob("*"))
    checks = list(examine(target, clock=time.time))
    unwell = [each for each in checks if each.state != "ok" and each.name not in ("space", "file systems")]
    assert unwell == []
    missing = {name for name, _ in CHECKS} - {each.name for each in checks}
    assert missing == {
        "bucket",
        "mirror",
        "nesting",
        "passwords",
        "certificate",
        "public URL",
    }  # nothing is set that they could check
    left = [each for each in sorted(target.data.rglob("*")) if not each.name.endswith(("-wal", "-shm"))]
    assert left == [each for each in before if not each.name.endswith(("-wal", "-shm"))]


def test_before_the_first_start_nothing_is_missed(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    fresh = Target(folders=(tmp_path / "packages",), data=tmp_path / "sub" / "data", port=0)
    checks = list(examine(fresh, clock=time.time))
    assert [each for each in checks if each.state == "fail"] == []
    assert not fresh.data.exists()
    sentences = " ".join(each.sentence for each in checks)
    assert "does not exist yet: `pidex serve` makes it." in sentences
    assert "There is no catalogue yet" in sentences


def test_folders(target: Target, tmp_path: Path) -> None:
    assert said(replaced(target, folders=(tmp_path / "no",)), "folders") == (
        f"fail: The folder {tmp_path}/no does not exist. Create it: mkdir -p {tmp_path}/no"
    )


@needs_root
def test_a_folder_that_cannot_be_read(target: Target, tmp_path: Path) -> None:
    let_in(tmp_path)
    target.folders[0].chmod(0o700)
    assert "cannot be read by this user." in as_nobody(lambda: said(target, "folders"))
    target.data.chmod(0o755)
    sentences = as_nobody(lambda: " ".join(each.sentence for each in found(target, "data directory")))
    assert "cannot be written by this user." in sentences
    elsewhere = replaced(target, data=tmp_path / "no" / "data")
    assert "cannot be made:" in as_nobody(lambda: said(elsewhere, "data directory"))
    target.data.chmod(0o777)
    node = replaced(target, shared=tmp_path / ".pidex-packages")
    sentences = as_nobody(lambda: " ".join(each.sentence for each in found(node, "data directory")))
    assert f"The data directory {node.shared} cannot be made:" in sentences


def test_nesting(target: Target) -> None:
    inner = target.folders[0] / "inner"
    inner.mkdir()
    assert "its files are found twice. Name" in said(
        replaced(target, folders=(*target.folders, inner)), "nesting"
    )
    assert "fail: The data directory" in said(replaced(target, data=inner), "nesting")


def test_the_data_directory_is_open_to_others(target: Target) -> None:
    target.data.chmod(0o755)
    assert said(target, "data directory") == (
        f"warn: The data directory {target.data} is open to other users (mode 755)."
        f" Close it: chmod 700 {target.data}"
    )


@needs_root
def test_the_data_directory_belongs_to_somebody_else(target: Target) -> None:
    os.chown(target.data, 65534, 65534)
    assert "belongs to user 65534, not to you (0)." in said(target, "data directory")


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system in memory."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_small_file_systems_in_memory(target: Target, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=2m,nr_inodes=50") as data:
        small = replaced(target, data=data)
        assert "warn: The data directory is in memory (tmpfs)" in said(small, "file systems")
        assert "a replaced file's last good version cannot be kept" in said(small, "hard links")
        node = replaced(small, shared=target.data)
        assert [each.state for each in found(node, "hard links")] == ["ok"], "that of all nodes counts"
        bytes_, inodes = [each for each in found(small, "space") if each.state == "fail"]
        assert bytes_.sentence.endswith(f" MiB are free where {data} lies.")
        assert inodes.sentence == f"49 inodes are free where {data} lies."


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("nfs4", "fail: The data directory is on a network file system (nfs4), where SQLite's locks fail."),
        ("overlay", "warn: The data directory is in a container's own layer (overlay)"),
    ],
)
def test_other_file_systems(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sentence: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        f"2 1 0:2 / {target.data} rw - {kind} server:/x rw\n"
        f"3 1 0:3 / {str(target.folders[0]).replace('p', chr(92) + '160')} rw - nfs server:/x rw\n"
        "bad line\n"
    )
    monkeypatch.setattr(machine, "MOUNTS", mounts)
    checks = [f"{each.state}: {each.sentence}" for each in found(target, "file systems")]
    assert checks[0].startswith(sentence)
    assert "is on a network file system (nfs), which gives no notices." in checks[1]
    assert len(found(replaced(target, watch="poll"), "file systems")) == 1


def test_a_slow_disk(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FSYNC_SLOW", 0.0)
    assert "ms, and every change waits for it. Use a faster disk" in said(target, "fsync")


def test_an_old_sqlite(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "OLDEST_SQLITE", (9, 1, 0))
    assert "and 9.1.0 is the oldest that works. Use a newer Python or system." in said(target, "sqlite")


def test_a_catalogue_with_another_journal(target: Target) -> None:
    with contextlib.closing(sqlite3.connect(target.catalogue_file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    assert "has the journal mode delete, not wal" in said(target, "catalogue")


def test_a_damaged_catalogue(target: Target) -> None:
    with contextlib.closing(sqlite3.connect(target.catalogue_file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = target.catalogue_file.stat().st_size
    with target.catalogue_file.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 8192))
    sentence = said(target, "catalogue")
    assert "is damaged (" in sentence
    assert "`pidex restore --latest`, then `pidex scan`" in sentence
    assert found(target, "files") == []


def test_a_file_that_is_no_catalogue(target: Target) -> None:
    target.catalogue_file.write_text("no database " * 1000)
    assert "is damaged (file is not a database)" in said(target, "catalogue")


@pytest.mark.parametrize(("revision", "words"), [("9999", "was made by a newer pidex"), (None, "is empty")])
def test_a_catalogue_of_another_version(target: Target, revision: str | None, words: str) -> None:
    with contextlib.closing(sqlite3.connect(target.catalogue_file)) as connection, connection:
        if revision:
            connection.execute("update alembic_version set version_num = ?", (revision,))
        else:
            for (name,) in connection.execute(
                "select name from sqlite_master where type = 'table'"
            ).fetchall():
                if not name.startswith("sqlite_"):
                    connection.execute(f'drop table "{name}"')
    assert words in said(target, "catalogue")


def test_snapshots(target: Target) -> None:
    assert "The last snapshot of the catalogue is 3 days old." in said(
        target, "snapshots", now=time.time() + 3 * DAY
    )
    assert "No snapshots of the catalogue are taken." in said(replaced(target, snapshots=0), "snapshots")
    for each in snapshots.list(target.data / "snapshots"):
        each.path.unlink()
    assert "There is no snapshot of the catalogue yet." in said(target, "snapshots")


def test_a_clock_that_was_never_set(target: Target) -> None:
    assert said(target, "clock", now=0.0).startswith("fail: The system's clock is years behind.")


def test_a_file_from_the_future(target: Target) -> None:
    (target.folders[0] / "sub").mkdir()
    file = target.folders[0] / "sub" / "a-1.tar.gz"
    file.write_text("")
    (target.folders[0] / ".git").mkdir()
    (target.folders[0] / ".git" / "x").write_text("")
    os.utime(target.folders[0] / ".git" / "x", (time.time() + DAY,) * 2)
    assert [each.state for each in found(target, "clock")] == ["ok"]
    os.utime(file, (time.time() + DAY,) * 2)
    assert f"1 files were changed in the future, such as {file}." in said(target, "clock")


def test_too_many_folders_to_watch(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "limit"
    limit.write_text("3\n")
    monkeypatch.setattr(machine, "INOTIFY", limit)
    assert [each.state for each in found(target, "watches")] == ["ok"]
    for name in "abc":
        (target.folders[0] / name).mkdir()
    assert "4 folders are to be watched, and the system watches 3 for a user. Raise it: sysctl" in said(
        target, "watches"
    )
    assert found(replaced(target, watch="poll"), "watches") == []


def test_too_few_open_files(target: Target) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        assert "A process may have 512 files open" in said(target, "open files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_files_that_are_not_listed(target: Target) -> None:
    def place(path: str, state: PlaceState, reason: str) -> Place:
        return Place(0, path, Stat(1, 1, 1, 1, 1), state, code="x", reason=reason)

    with contextlib.closing(Catalogue.open(target.catalogue_file)) as catalogue, catalogue.write() as conn:
        index = indexes.find(conn, "main")
        assert index is not None
        places.upsert_many(conn, index.id, [
            place("a-1.zip", PlaceState.PENDING, "it ends too early"),
            place("b-1.zip", PlaceState.REFUSED, "it is a git-LFS pointer"),
        ])  # fmt: skip
        problems.replace(conn, index.id, [Problem(0, "c-1.zip", "broken-link", "it is a link to nothing")])
    assert [each.sentence for each in found(target, "files")] == [
        "Not whole yet: 1, such as a-1.zip: it ends too early.",
        "Refused: 1, such as b-1.zip: it is a git-LFS pointer.",
        "Not to be served: 1, such as c-1.zip: it is a link to nothing.",
    ]


def test_passwords(target: Target, tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    with_file = replaced(target, passwords=file)
    assert "cannot be read: No such file or directory." in said(with_file, "passwords")
    file.write_text(f"me:{HASHES['sha1']}\n")
    file.chmod(0o600)
    assert [each.state for each in found(with_file, "passwords")] == ["ok"]
    file.chmod(0o644)
    assert "warn: Other users may read the password file" in said(with_file, "passwords")
    file.chmod(0o666)
    assert "fail: Everybody may write the password file" in said(with_file, "passwords")
    file.chmod(0o600)
    file.write_text("me:secret\n")
    plain, nobody = found(with_file, "passwords")
    assert plain.state == "fail"
    assert "Line 1 holds a plain-text password" in plain.sentence
    assert "Nobody is in the password file" in nobody.sentence
    assert "secret" not in plain.sentence


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for localhost: for a year, for a week; and one with a key under a passphrase."""
    if shutil.which("openssl") is None:
        pytest.skip("NOT TESTED: openssl is not installed (Debian's package of this name)")
    folder = tmp_path_factory.mktemp("certificates")
    for name, days, extra in (
        ("year", "365", ["-nodes"]),
        ("week", "7", ["-nodes"]),
        ("locked", "365", ["-passout", "pass:x"]),
    ):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-days", days,
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", *extra,
             "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder


def test_certificates(target: Target, certificates: Path) -> None:
    def pair(cert: str, key: str) -> Target:
        return replaced(target, tls_cert=certificates / f"{cert}.pem", tls_key=certificates / f"{key}.key")

    (good,) = found(pair("year", "year"), "certificate")
    assert "fits its key and holds for 365 days." in good.sentence
    assert "expires in 7 days. Renew it, then send the server SIGHUP." in said(
        pair("week", "week"), "certificate"
    )
    late = time.time() + 10 * DAY
    assert "expired 3 days ago." in said(pair("week", "week"), "certificate", now=late)
    assert f"The key {certificates}/week.key does not belong to the certificate" in said(
        pair("year", "week"), "certificate"
    )
    assert "and the key without a passphrase." in said(pair("locked", "locked"), "certificate")
    assert "could not be checked" in said(pair("no", "no"), "certificate")


def test_dates_of_certificates(certificates: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert((certificates / "year.pem").read_text())
    text = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", certificates / "year.pem"],
        check=True, capture_output=True, text=True,
    ).stdout.partition("=")[2].strip()  # fmt: skip
    assert reach.expiry(der) == ssl.cert_time_to_seconds(text)


class Answering(BaseHTTPRequestHandler):
    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def answering(body: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on this machine that answers everything with one body; yields its port."""
    handler = type("Handler", (Answering,), {"body": body})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_the_port_is_free_ours_or_somebody_elses(target: Target) -> None:
    assert found(target, "port")[0].sentence == "127.0.0.1:0 is free."
    with answering(b'{"status": "ok", "instance": "x"}') as port:
        assert (
            found(replaced(target, port=port), "port")[0].sentence
            == f"pidex answers at http://127.0.0.1:{port}/."
        )
        assert found(replaced(target, port=port, host="0.0.0.0"), "port")[0].state == "ok"
    for body in (b"", b"[]", b'{"instance": 1}', b"<html>"):
        with answering(body) as port:
            assert f"127.0.0.1:{port} cannot be listened on: address already in use. End the other" in said(
                replaced(target, port=port), "port"
            )
    assert "The address nowhere.invalid is not known" in said(
        replaced(target, host="nowhere.invalid"), "port"
    )
    assert "192.0.2.1:0 cannot be listened on: cannot assign requested address." in said(
        replaced(target, host="192.0.2.1"), "port"
    )


@needs_root
def test_a_port_for_root_alone(target: Target) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 80:
        pytest.skip("everybody may listen on every port here")
    assert "This user may not listen on 127.0.0.1:80." in as_nobody(
        lambda: said(replaced(target, port=80), "port")
    )


def test_the_socket_is_free_ours_or_dead(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "s"
    here = replaced(target, socket=path)
    assert found(here, "port")[0].sentence == f"The socket {path} is free."
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            for body in (b'{"instance": "x"}', b"{}"):
                with listener.accept()[0] as connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        thread = threading.Thread(target=answer)
        thread.start()
        assert found(here, "port")[0].sentence == f"pidex answers at the socket {path}."
        assert "Something else than pidex answers at the socket" in said(here, "port")
        thread.join()
    assert "is there, and nobody answers." in said(here, "port")


def test_the_public_url(target: Target, certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be seen. Start the server" in said(
        replaced(target, public_url="http://127.0.0.1:9"), "public URL"
    )
    (target.data / "instance").write_text("ours\n")
    assert "does not lead to a pidex." in said(
        replaced(target, public_url="http://127.0.0.1:9"), "public URL"
    )
    with answering(b'{"instance": "ours"}') as port:
        url = f"http://127.0.0.1:{port}/prefix"
        assert (
            found(replaced(target, public_url=url), "public URL")[0].sentence
            == f"{url} leads to this server."
        )
    with answering(b'{"instance": "theirs"}') as port:
        assert "leads to another pidex." in said(
            replaced(target, public_url=f"http://127.0.0.1:{port}"), "public URL"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "year.pem", certificates / "year.key")
    with answering(b'{"instance": "ours"}', context) as port:
        secure = replaced(target, public_url=f"https://127.0.0.1:{port}")
        assert "Clients do not trust the certificate of https://127.0.0.1" in said(secure, "public URL")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "year.pem"))
        assert [each.state for each in found(secure, "public URL")] == ["ok"]


def test_wrong_files_of_upstreams(target: Target) -> None:
    assert found(target, "mirror") == [], "no upstream was ever used"
    expendable = Expendable(target.data / "cache.db")
    with contextlib.closing(expendable):
        Store(expendable).note_use("up", 1e9)
    assert [check.state for check in found(target, "mirror")] == ["ok"]
    cache = Cache(target.data / "mirror")
    staged = cache.stage(0)
    staged.write(b"other bytes")
    cache.quarantine(staged, "demo-1.0.tar.gz", {"filename": "demo-1.0.tar.gz", "reason": "other bytes"})
    staged.discard()
    (check,) = found(target, "mirror")
    assert check.state == "warn"
    assert "demo-1.0.tar.gz" in check.sentence
