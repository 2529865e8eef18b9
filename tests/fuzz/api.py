"""The API by its own description: schemathesis makes requests from the OpenAPI document of a real server."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.clients.environments import Client, Unavailable, make
from tests.samples import wheel, write
from tests.walks.server import TOP, Server, environment

TOOL = Client("schemathesis")
#: What is asked of each answer. The rest of its checks is about how an API ought to be.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def run_against(server: Server, token: str, minutes: float, seed: int) -> tuple[int, str]:
    """What schemathesis found in so many minutes: its status, and what it said."""
    done = subprocess.run(
        [
            TOOL.program("schemathesis"), "run", f"{server.url}/-/api/openapi.json",
            "--url", f"{server.url}/-/api/v1",
            "--checks", CHECKS, "--seed", str(seed), "--max-time", str(int(minutes * 60)), "--no-color",
            "--header", f"Authorization: Bearer {token}", "--phases", "fuzzing", "--continue-on-failure",
        ],
        capture_output=True, text=True, env=environment(), cwd=server.folders[0].parent, check=False,
        timeout=minutes * 60 + 300,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def run(minutes: float, seed: int) -> int | None:
    """Fuzz a server of our own for so many minutes: how many requests it held for, None where it did not."""
    try:
        make(TOOL)
    except Unavailable as reason:
        print(f"api: NOT TESTED: {reason}", flush=True)
        return 0
    with tempfile.TemporaryDirectory() as place:
        folder, data = Path(place) / "packages", Path(place) / "data"
        folder.mkdir()
        for version in ("1.0", "2.0"):
            write(folder, wheel("demo", version))
        words = [sys.executable, "-m", "pidex"]
        _call(*words, "user", "add", "ann", "--no-password", "--data", data)
        _call(*words, "grant", "add", "user:ann", "admin", "--data", data)
        said = _call(*words, "token", "create", "ann", "--upload", "--delete", "--admin", "--data", data)
        token = re.search(r"\bpidex[-_][A-Za-z0-9_-]{20,}", said)
        assert token is not None, said
        with Server(folder, options=["--data", str(data)]) as server:
            status, said = run_against(server, token[0], minutes, seed)
            broken = "Traceback" in server.log()
        print(said[-6000:] if status or broken else said[-800:], flush=True)
    made = re.search(r"([\d,]+) generated", said)
    return None if status or broken else int(made[1].replace(",", "")) if made else 0


def _call(*command: str | Path) -> str:
    return subprocess.run(
        list(map(str, command)),
        cwd=TOP,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
