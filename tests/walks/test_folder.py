"""Scenarios S2 to S5, S10, S14, S15, S22 to S24 and S26: a folder that people copy into, and its server."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clients.environments import CLIENTS, Unavailable, make
from tests.samples import egg, msi, sdist, wheel, wininst, write
from tests.walks.server import (
    Answer,
    Server,
    environment,
    family,
    fetch,
    run,
    until,
)

#: The two programs that serve a folder.
PIDEX = (sys.executable, "-m", "pidex", "serve")
PYPISERVER = (str(Path(sys.executable).parent / "pypi-server"),)


def pip(index_url: str, target: Path, *requirements: str) -> str:
    """Install by the newest pip into an empty folder."""
    try:
        python = make(CLIENTS["pip"]) / "bin" / "python"
    except Unavailable as reason:
        pytest.skip(str(reason))
    options = ("--disable-pip-version-check", "--no-cache-dir", "--target", target)
    return run(python, "-m", "pip", "install", "-i", index_url, *options, *requirements)


@pytest.mark.parametrize("command", [PIDEX, PYPISERVER, (*PYPISERVER, "run")])
def test_s2_an_sdist_is_copied_and_installed(folder: Path, tmp_path: Path, command: Sequence[str]) -> None:
    with Server(folder, command=command) as server:
        write(folder, sdist("demo", "1.0", files={"pyproject.toml": b"[build-system]\nrequires = []\n"}))
        write(folder, wheel("demo", "1.0"))
        server.wait_for("demo", "demo-1.0.tar.gz")
        server.wait_for("demo", "demo-1.0-py3-none-any.whl")
        pip(server.index_url, tmp_path / "target", "demo")
    assert (tmp_path / "target" / "demo.py").exists()


def test_s3_an_egg_is_listed_and_right(folder: Path) -> None:
    sample = egg("demo", "1.0")
    with Server(folder) as server:
        write(folder, sample)
        server.wait_for("demo", sample[0])
        assert server.download("demo", sample[0]) == sample[1]


def test_s4_every_kind_in_sub_folders_too(folder: Path) -> None:
    samples = [
        wheel("Demo.Pkg", "1.0"),
        *(sdist("demo-pkg", "1.0", kind) for kind in ("gztar", "tgz", "bztar", "xztar", "zip")),
        egg("demo_pkg", "1.0"),
        wininst("demo_pkg", "1.0"),
        msi("demo_pkg", "1.0"),
    ]
    for number, sample in enumerate(samples):
        write(folder / "/".join("abc"[: number % 4]), sample)
    with Server(folder) as server:
        for filename, data in samples:
            server.wait_for("demo-pkg", filename)
            assert server.download("demo-pkg", filename) == data
        assert sorted(server.names("demo-pkg")) == sorted(filename for filename, _ in samples)


def test_s5_the_welcome_page_knows_its_own_address(folder: Path) -> None:
    for version in ("1.0", "2.0"):
        write(folder, wheel("demo", version))
    write(folder, wheel("other", "1.0"))
    with Server(folder) as server:
        for project in ("demo", "other"):
            server.names(project)
        page = server.get("/").text
        assert f"http://127.0.0.1:{server.port}/simple/" in page
        assert "3141" not in page.replace(str(server.port), "")
        named = server.get("/", {"Host": f"index.example:{server.port}"}).text
        assert f"http://index.example:{server.port}/simple/" in named
        assert "--trusted-host" in named  # plain http from another host: pip needs it
        assert "2" in page  # projects
        assert "3" in page  # files


def refused(command: Sequence[str | Path]) -> tuple[int, str]:
    """Run a server that cannot start: its exit status and what it said."""
    done = subprocess.run(
        list(map(str, command)), env=environment(), capture_output=True, text=True, check=False, timeout=20
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("command", [PIDEX, PYPISERVER])
def test_s10_a_port_in_use_is_one_clear_line(folder: Path, command: Sequence[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said = refused([*command, "-i", "127.0.0.1", "-p", str(port), folder])
    assert status == 1
    assert str(port) in said
    assert "Traceback" not in said
    assert len([line for line in said.splitlines() if "rror" in line or str(port) in line]) == 1, said


def test_s10_two_servers_of_one_port(folder: Path, tmp_path: Path) -> None:
    """The first one goes on answering: SO_REUSEPORT must not let the second in."""
    with Server(folder) as server:
        (tmp_path / "other").mkdir()
        status, said = refused([*PIDEX, "-p", str(server.port), tmp_path / "other"])
        assert status == 1
        assert str(server.port) in said


def same_size(count: int) -> list[tuple[str, bytes]]:
    """Wheels of one name and one size whose bytes differ."""
    sizes: dict[int, list[tuple[str, bytes]]] = {}
    for number in range(100, 1000):
        sample = wheel("demo", "1.0", files={"demo.py": f"answer = {number}\n".encode()})
        same = sizes.setdefault(len(sample[1]), [])
        same.append(sample)
        if len(same) == count:
            return same
    raise AssertionError("no sizes met")


def test_s14_same_size_and_time_replaced(folder: Path, tmp_path: Path) -> None:
    """A new inode, or the same one written into: only inode and ctime tell, and the new hash is served."""
    samples = same_size(3)
    path = write(folder, samples[0])
    os.utime(path, (1_600_000_000, 1_600_000_000))
    with Server(folder) as server:
        old = server.wait_for("demo", path.name)
        for number, (name, data) in enumerate(samples[1:]):
            if number == 0:
                fresh = write(tmp_path, (name, data))
                os.utime(fresh, (1_600_000_000, 1_600_000_000))
                fresh.rename(path)
            else:
                path.write_bytes(data)
                os.utime(path, (1_600_000_000, 1_600_000_000))
            server.wait_for("demo", path.name, data=data)
            assert server.download("demo", path.name) == data
        # Whoever has the old page or lock file gets an error, not other bytes; and the log names the file.
        assert fetch(old.url).status == 404
        assert [line for line in server.log().splitlines() if path.name in line and "GET" not in line]
        (tmp_path / "locked.txt").write_text(f"demo==1.0 --hash=sha256:{old.sha256}\n")
        with pytest.raises(AssertionError, match=r"(?i)hash"):
            pip(server.index_url, tmp_path / "t", "--require-hashes", "-r", str(tmp_path / "locked.txt"))


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a" * 16 + b"\nsize 12345\n"


def test_s15_what_git_leaves_is_reported_and_not_served(folder: Path) -> None:
    whole = wheel("demo", "1.0", files={"demo.bin": random.Random(1).randbytes(100_000)})
    source = sdist("demo", "1.0", files={"noise": random.Random(1).randbytes(100_000)})
    damaged = {
        "pointer-1.0-py3-none-any.whl": LFS,
        "pointer-1.0.tar.gz": LFS,
        "crlf-1.0-py3-none-any.whl": whole[1].replace(b"\n", b"\r\n"),
        "crlf-1.0.tar.gz": source[1].replace(b"\n", b"\r\n"),
        "crlf-1.1.tar.gz": source[1].replace(b"\r\n", b"\n"),
        "empty-1.0-py3-none-any.whl": b"",
    }
    for name, data in damaged.items():
        write(folder, (name, data))
    write(folder, whole)
    write(folder, (whole[0] + ".orig", whole[1]))
    with Server(folder) as server:
        assert server.names("demo") == [whole[0]]
        assert server.names("crlf") == server.names("empty") == server.names("pointer") == []
        for name in damaged:
            assert server.get(f"/packages/{name}").status in (404, 503)
        assert "lfs" in server.why("pointer-1.0.tar.gz").lower()
        for name in (
            "pointer-1.0-py3-none-any.whl",
            "crlf-1.0-py3-none-any.whl",
            "empty-1.0-py3-none-any.whl",
        ):
            said = server.why(name)
            assert name in said
            assert "refused" in said or "not whole" in said, said
        flat = server.get("/packages/").text
        assert ".orig" not in flat
        assert "pointer" not in flat


def test_s22_a_file_of_another_user_is_reported_and_the_rest_served(folder: Path) -> None:
    """As root without the right to pass over permissions, else with a file that has lost its read bits."""
    secret = write(folder, wheel("demo", "2.0"))
    write(folder, wheel("demo", "1.0"))
    write(folder / "shut", wheel("demo", "3.0"))
    powerless: tuple[str, ...] = ()
    if os.getuid() == 0:
        powerless = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
        if subprocess.run([*powerless, "true"], check=False, capture_output=True).returncode != 0:
            pytest.skip("running as root and setpriv is missing: no way to be without the right to read all")
        os.chown(secret, 65534, 65534)
        os.chown(folder / "shut", 65534, 65534)
        secret.chmod(0o600)
        (folder / "shut").chmod(0o700)
    else:
        secret.chmod(0)
        (folder / "shut").chmod(0)
    try:
        with Server(folder, command=(*powerless, *PIDEX)) as server:
            assert server.names("demo") == ["demo-1.0-py3-none-any.whl"]
            for page in ("/simple/", "/packages/", "/"):
                assert server.get(page).status == 200
            assert server.get(f"/packages/{secret.name}").status == 404
            until(lambda: secret.name in server.log(), why="the log does not name the unreadable file")
            os.chown(secret, os.getuid(), os.getgid())
            secret.chmod(0o644)
            server.wait_for("demo", secret.name)
    finally:
        (folder / "shut").chmod(0o755)


@pytest.mark.parametrize("path", ["/legacy/", "/", "/pypi"])
def test_s23_upload_is_closed_with_a_reason(folder: Path, path: str) -> None:
    boundary = b'--b\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    with Server(folder) as server:
        answer = fetch(server.url + path, headers, method="POST", body=boundary)
        assert answer.status in (401, 403)
        assert "upload" in answer.text.lower()


def test_s24_an_unknown_name_is_not_found_or_elsewhere(folder: Path) -> None:
    def ask(server: Server) -> Answer:
        return server.get("/simple/no-such-name/")

    with Server(folder) as server:
        assert ask(server).status == 404
    elsewhere = "http://127.0.0.1:9/simple/"
    for options, status in (((), 303), (("--disable-fallback",), 404)):
        with Server(folder, command=PYPISERVER, options=["--fallback-url", elsewhere, *options]) as server:
            assert ask(server).status == status
            if status == 303:
                assert ask(server).headers["location"] == f"{elsewhere}no-such-name/"


#: Wheels, and bytes in each: what S26 must not read again.
MANY, EACH = 1_100, 60_000


def bytes_read(server: Server) -> int:
    """What the server's processes have read so far (Linux)."""
    return sum(int(Path(f"/proc/{each.pid}/io").read_text().split()[1]) for each in family(server.pid))


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's count of the bytes read")
def test_s26_a_restart_does_not_read_the_files_again(folder: Path) -> None:
    noise = random.Random(26)
    for number in range(MANY):
        write(folder, wheel(f"p{number}", "1.0", files={"x.bin": noise.randbytes(EACH)}))
    last = f"p{MANY - 1}"
    with Server(folder) as server:
        names = until(
            lambda: sum(1 for _ in server.get("/packages/").text.split("<a ")) == MANY + 1 and "all",
            seconds=90,
        )
        assert names
        first = bytes_read(server)
    with Server(folder) as server:
        answer = server.get(f"/simple/{last}/")
        assert answer.status == 200, "the first page after a restart is there at once"
        assert server.download(last, f"{last}-1.0-py3-none-any.whl")
        again = bytes_read(server)
    print(f"S26: {first:,} bytes read at first, {again:,} after the restart, {MANY * EACH:,} in the files")
    assert first > MANY * EACH
    assert again < MANY * EACH
