"""The installers under test, each in a virtual environment of its own under .cache/clients.

`python -m tests.clients.environments [NAME ...]` makes all, or those named. Needs a package registry that pip
is set up for; what is installed is pinned with hashes in requirements/client-NAME.txt.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
CACHE = TOP / ".cache" / "clients"

#: Seconds that pip may take to fill one environment.
PATIENCE = 600


class Unavailable(Exception):
    """This machine cannot have the client; the text says why and what would help."""


@dataclass(frozen=True)
class Client:
    """`oldest` and `newest`: the Python versions that can run it."""

    name: str
    oldest: tuple[int, int] = (3, 11)
    newest: tuple[int, int] = (3, 99)

    @property
    def requirements(self) -> Path:
        return TOP / "requirements" / f"client-{self.name}.txt"

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    def program(self, name: str) -> Path:
        """The path of a program in the environment."""
        return self.folder / "bin" / name


#: These need the standard library's distutils, which Python 3.12 dropped; setuptools 65 needs 3.7.
BEFORE_312: dict[str, tuple[int, int]] = {"oldest": (3, 7), "newest": (3, 11)}
CLIENTS = {
    client.name: client
    for client in (
        Client("pip"),
        Client("pip19", **BEFORE_312),
        Client("pip20", **BEFORE_312),
        Client("easy-install", **BEFORE_312),
        Client("uv"),
        Client("twine"),
        Client("twine38"),
        Client("flit"),
        Client("hatch"),
        Client("poetry"),
        Client("pdm"),
        Client("supervisor", (3, 8)),
        Client("seaweedfs", (3, 8)),
    )
}


def version_of(python: str) -> tuple[int, int] | None:
    """The version of a Python that runs and can make environments with pip in them, else None."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    major, minor = done.stdout.split()
    return int(major), int(minor)


def find_python(client: Client) -> str:
    """A Python for the client: the running one, else the newest on the path. Raises Unavailable."""
    candidates = [sys.executable, "python3"]
    for minor in range(min(client.newest[1], 20), client.oldest[1] - 1, -1):
        candidates.append(f"python3.{minor}")
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += sorted((str(path) for path in versions.glob("*/bin/python3")), reverse=True)
    for candidate in candidates:
        path = shutil.which(candidate)
        version = version_of(path) if path else None
        if path and version and client.oldest <= version <= client.newest:
            return path
    oldest, newest = (".".join(map(str, version)) for version in (client.oldest, client.newest))
    raise Unavailable(
        f"{client.name} runs on Python {oldest} to {newest} only, and none with venv and ensurepip is here"
    )


def make(client: Client) -> Path:
    """The client's environment, made where it is missing or its pins changed. Raises Unavailable."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{client.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = client.folder / "made-from"
        want = hashlib.sha256(client.requirements.read_bytes()).hexdigest()
        if stamp.exists() and stamp.read_text() == want and version_of(str(client.program("python"))):
            return client.folder
        python = find_python(client)
        print(f"{client.name}: making {client.folder} with {python}", file=sys.stderr, flush=True)
        run([python, "-m", "venv", "--clear", str(client.folder)], client)
        install = [str(client.program("python")), "-m", "pip", "install", "-q", "--no-deps"]
        run(
            [*install, "--disable-pip-version-check", "--require-hashes", "-r", str(client.requirements)],
            client,
        )
        stamp.write_text(want)
    return client.folder


def run(command: list[str], client: Client) -> None:
    """Run one step of a set-up. Raises Unavailable with the end of what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{client.name}: {command[1:4]} took longer than {PATIENCE} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-5:]
        raise Unavailable(f"{client.name} could not be installed: " + " | ".join(said))


def main(names: list[str]) -> int:
    """Make the environments; 1 when a client cannot be had here (each reason is printed)."""
    status = 0
    for name in names or CLIENTS:
        try:
            make(CLIENTS[name])
        except Unavailable as reason:
            print(f"{name}: not available: {reason}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
