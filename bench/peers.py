"""What pidex is measured against, from PyPI, each in a virtual environment of its own under .bench."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOME = Path(os.environ.get("PIDEX_BENCH", ROOT / ".bench"))
PEERS = ("pypiserver", "devpi", "proxpi")


def environment(name: str) -> Path:
    """The folder of a peer's programs, made where it is missing or its pins changed."""
    folder = HOME / name
    pins = ROOT / "requirements" / f"bench-{name}.txt"
    want = hashlib.sha256(pins.read_bytes()).hexdigest()
    stamp = folder / "made-from"
    if not stamp.exists() or stamp.read_text() != want:
        print(f"Installing {name} into {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        subprocess.run([*install, "--require-hashes", "-r", str(pins)], check=True)
        stamp.write_text(want)
    return folder / "bin"


def version(name: str, package: str) -> str:
    """The version of a package in a peer's environment."""
    program = f"from importlib.metadata import version; print(version({package!r}))"
    python = environment(name) / "python"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    for peer in PEERS:
        environment(peer)
