"""What `pidex service` prints, run: supervisord keeps pidex up, nginx stands in front of it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from bench.ports import free_port
from tests.cli.test_service import listening
from tests.samples import wheel, write
from tests.walks.server import TOP, Server, environment, family, run, until
from tests.walks.test_supervisor import CONFIGURATION, Supervisor, supervised


def printed(*words: str | Path) -> str:
    """What a `pidex service` command prints."""
    return run(sys.executable, "-m", "pidex", "service", *words)


# --- supervisor ---------------------------------------------------------------------------------------------


class Printed(Supervisor):
    """A supervisord whose program is the printed section."""

    def __init__(self, home: Path, folder: Path) -> None:
        super().__init__(home, folder)
        user = run("id", "-un").strip()
        section = printed(
            "supervisor", folder, "-p", str(self.port), "--name", "index", "--user", user,
            "--service-log", home / "index.log",
        )  # fmt: skip
        head = CONFIGURATION.partition("[program:index]")[0].format(home=home, user=os.getuid())
        (home / "supervisord.conf").write_text(head + section)


@pytest.fixture
def supervisor(tmp_path: Path, folder: Path) -> Iterator[Printed]:
    write(folder, wheel("demo", "1.0"))
    with supervised(lambda: Printed(tmp_path, folder)) as made:
        yield made


def test_supervisord_starts_again_what_was_killed(supervisor: Printed) -> None:
    """Within three seconds on a machine that has nothing else to do: the figures are printed."""
    until(lambda: "RUNNING" in supervisor.ctl("status"))
    took = []
    for _ in range(3):
        old = supervisor.pid
        before = family(old)
        begin = time.monotonic()
        os.kill(old, signal.SIGKILL)
        until(lambda before=before: not any(each.alive for each in before))  # type: ignore[misc]
        until(supervisor.answers)
        took.append(time.monotonic() - begin)
        assert supervisor.pid != old
        until(lambda: "RUNNING" in supervisor.ctl("status"))
    print("Up again after", ", ".join(f"{each:.2f} s" for each in took))


def test_supervisord_stops_all_of_it(supervisor: Printed) -> None:
    before = family(supervisor.pid)
    assert len(before) > 1
    supervisor.ctl("stop", "index")
    until(lambda: not any(each.alive for each in before), why=f"left behind: {before}")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", supervisor.port), 5)


def test_the_program_is_started_without_a_shell(supervisor: Printed) -> None:
    words = Path(f"/proc/{supervisor.pid}/cmdline").read_bytes().split(b"\0")
    assert b"serve" in words
    assert not any(word.endswith(b"sh") for word in words)


# --- nginx --------------------------------------------------------------------------------------------------


class Front:
    """An nginx of our own with the printed site before a server. `port` takes https."""

    def __init__(self, home: Path, server: Server, options: Sequence[str]) -> None:
        program, openssl = (
            shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin"),
            shutil.which("openssl"),
        )
        if program is None or openssl is None:
            pytest.skip("NOT TESTED: nginx or openssl is not installed (Debian's packages of these names)")
        self.home, self.program = home, program
        self.plain, self.port = free_port(), free_port()
        cert, key = home / "cert.pem", home / "key.pem"
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )  # fmt: skip
        self.context = ssl.create_default_context(cafile=str(cert))
        text = printed(
            "nginx", *server.folders, "-p", str(server.port), *options, "--server-name", "localhost",
            "--certificate", cert, "--key", key,
        )  # fmt: skip
        (home / "site.conf").write_text(listening(text, self.plain, self.port))
        self.configuration = home / "nginx.conf"
        temporary = " ".join(f"{kind}_temp_path {home}/{kind};" for kind in
                             ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))  # fmt: skip
        user = "user root;" if os.geteuid() == 0 else ""
        self.configuration.write_text(
            f"{user} daemon off; pid {home}/nginx.pid; error_log {home}/nginx.log; worker_processes 1;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} include {home}/site.conf; }}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Front:
        subprocess.run([self.program, "-t", "-q", "-c", self.configuration], check=True)
        self.process = subprocess.Popen([self.program, "-c", self.configuration], start_new_session=True)
        until(self.answers, why="no answer from nginx")
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(20)
        log = self.home / "nginx.log"
        said = log.read_text() if log.exists() else ""
        assert "[emerg]" not in said, said

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 5).close()
            return True
        return False

    def connect(self) -> http.client.HTTPSConnection:
        made = http.client.HTTPSConnection("localhost", self.port, context=self.context, timeout=120)
        made._create_connection = (  # type: ignore[attr-defined]  # whatever localhost is here
            lambda address, *rest, **more: socket.create_connection(("127.0.0.1", address[1]), *rest)
        )
        return made

    def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: object = None
    ) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body=body, headers=dict(headers or {}))  # type: ignore[arg-type]
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


PREFIX = "/python"


class Below(Server):
    """A server below a path."""

    @property
    def url(self) -> str:
        return super().url + PREFIX


@pytest.fixture
def front(tmp_path: Path, folder: Path) -> Iterator[Front]:
    port = free_port()
    settings = ["--prefix", PREFIX, "--trusted-proxies", "127.0.0.1"]
    write(folder, wheel("demo", "1.0"))
    place = [str(folder), "--data", str(tmp_path / ".pidex-packages")]
    for words in (
        ["user", "add", "ann", "--no-password"],
        ["grant", "add", "user:ann", "uploader", "--index", "main"],
    ):
        run(sys.executable, "-m", "pidex", *words, "--data", place[2])
    with Below(folder, port=port, options=settings) as server, Front(tmp_path, server, settings) as made:
        yield made


def token(folder: Path) -> str:
    said = run(
        sys.executable, "-m", "pidex", "token", "create", "ann", "--upload", "--data",
        folder.parent / ".pidex-packages",
    )  # fmt: skip
    found = re.search(r"\bpidex[-_][A-Za-z0-9_-]{20,}", said)
    assert found is not None, said
    return found[0]


def form(filename: str, data: bytes, version: str) -> tuple[str, bytes]:
    """An upload as clients send it."""
    mark = b"0f5c8f2be1a84"
    fields = {
        ":action": "file_upload", "protocol_version": "1", "metadata_version": "2.1", "name": "big",
        "version": version, "filetype": "bdist_wheel", "pyversion": "py3",
        "sha256_digest": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    head = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        % (mark, name.encode(), text.encode())
        for name, text in fields.items()
    )
    last = b'--%s\r\nContent-Disposition: form-data; name="content"; filename="%s"\r\n\r\n' % (
        mark, filename.encode(),
    )  # fmt: skip
    body = head + last + data + b"\r\n--%s--\r\n" % mark
    return f"multipart/form-data; boundary={mark.decode()}", body


def test_an_upload_of_200_mb_and_its_ranges(front: Front, folder: Path) -> None:
    filename, data = wheel("big", "1.0", files={"big.bin": random.Random(5).randbytes(200_000_000)})
    kind, body = form(filename, data, "1.0")
    secret = base64.b64encode(f"__token__:{token(folder)}".encode()).decode()
    begin = time.monotonic()
    status, _, said = front.ask(
        "POST", f"{PREFIX}/legacy/", {"Content-Type": kind, "Authorization": f"Basic {secret}"}, body
    )
    print(f"200 MB through nginx and https: {time.monotonic() - begin:.1f} s")
    assert (status, said) == (200, f"{filename}: stored\n".encode())
    assert (folder / filename).stat().st_size == len(data)
    page = front.ask("GET", f"{PREFIX}/simple/big/", {"Accept": "application/vnd.pypi.simple.v1+json"})
    file = json.loads(page[2])["files"][0]
    assert file["hashes"]["sha256"] == hashlib.sha256(data).hexdigest()
    path = f"{PREFIX}/simple/big/{file['url']}"
    path = os.path.normpath(path)
    status, headers, got = front.ask("GET", path)
    assert (status, hashlib.sha256(got).digest()) == (200, hashlib.sha256(data).digest())
    assert "content-encoding" not in headers
    parts = {"0-99": data[:100], "150000000-150000009": data[150_000_000:150_000_010], "-10": data[-10:]}
    for asked, there in parts.items():
        status, headers, got = front.ask("GET", path, {"Range": f"bytes={asked}"})
        assert (status, got) == (206, there)
    assert front.ask("GET", path, {"Range": f"bytes={len(data)}-"})[0] == 416


def test_the_server_is_told_where_it_is_reached(front: Front) -> None:
    status, _, page = front.ask("GET", f"{PREFIX}/")
    assert status == 200
    assert f"https://localhost:{front.port}{PREFIX}/simple/" in page.decode()
    assert front.ask("GET", PREFIX)[0] == 308
    assert front.ask("GET", "/simple/")[0] == 404
    lied = {
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example",
        "X-Forwarded-Prefix": "/evil",
    }
    assert b"evil" not in front.ask("GET", f"{PREFIX}/", lied)[2]


def test_http_is_sent_to_https(front: Front) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", front.plain, timeout=30)) as connection:
        connection.request("GET", f"{PREFIX}/simple/", headers={"Host": "localhost"})
        answer = connection.getresponse()
        assert answer.status == 308
        assert answer.getheader("location") == f"https://localhost{PREFIX}/simple/"


def test_a_refusal_reaches_who_is_still_sending(front: Front) -> None:
    kind, body = form("big-1.0-py3-none-any.whl", bytes(5_000_000), "1.0")
    status, headers, said = front.ask("POST", f"{PREFIX}/legacy/", {"Content-Type": kind}, body)
    assert status == 401
    assert "www-authenticate" in headers
    assert said


# --- FTP beside it ------------------------------------------------------------------------------------------


def test_ftp_beside_a_running_server(folder: Path, tmp_path: Path) -> None:
    """A slow upload while others list, one that is cut, and one that goes on: by the settings of `serve`."""
    ftplib = pytest.importorskip("ftplib")
    pytest.importorskip("pyftpdlib", reason="NOT TESTED: the extra ftp is not installed")
    pytest.importorskip("OpenSSL", reason="NOT TESTED: the extra ftp is not installed")
    from tests.walks.poller import Poller

    old, new = wheel("demo", "1.0"), wheel("demo", "2.0", files={"x": random.Random(3).randbytes(2_000_000)})
    write(folder, old)
    for words in (["user", "add", "ann", "--no-password"], ["grant", "add", "user:ann", "uploader"]):
        run(sys.executable, "-m", "pidex", *words, "--data", tmp_path / ".pidex-packages")
    secret, port = token(folder), free_port()
    with (
        Server(folder, options=["--ftp-port", str(port)]) as server,
        Poller(server, "demo", [old[0]]) as poller,
    ):
        server.wait_for("demo", old[0])
        with ftplib.FTP() as ftp:
            ftp.connect("127.0.0.1", port, timeout=30)
            ftp.login("__token__", secret)
            ftp.voidcmd("TYPE I")
            connection = ftp.transfercmd(f"STOR {new[0]}")
            for start in range(0, len(new[1]), 100_000):
                connection.sendall(new[1][start : start + 100_000])
                before = poller.polls
                until(lambda before=before: poller.polls > before)  # type: ignore[misc]
                assert server.names("demo") == [old[0]]
            connection.close()
            assert ftp.voidresp() == f"226 {new[0]}: stored."
            assert server.names("demo") == [old[0], new[0]]  # the very next request
            assert server.download("demo", new[0]) == new[1]
        assert not poller.faults
    assert "ftp://127.0.0.1" in server.log()


def test_a_taken_ftp_port_is_one_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "pidex", "serve", "-p", str(free_port()), "--ftp-port", str(port), folder],
            capture_output=True, text=True, env=environment(), cwd=TOP, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 is taken" in done.stderr
    assert "ftp_port" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
