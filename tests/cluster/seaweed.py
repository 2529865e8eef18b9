"""SeaweedFS, a real S3 server, as one process on loopback: from PyPI, in an environment of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.ports import free_port
from pidex.backends.objects.bucket import Place
from tests.clients.environments import CLIENTS, make
from tests.walks.server import until

#: Who may use it, by its own file of identities.
ACCESS, SECRET = "testaccess", "testsecret1234567"
BUCKET = "packages"
#: Seconds to the first answer.
START = 60.0
#: What each of its listeners needs a port for, by flag.
PORTS = (
    "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "admin.port",
)  # fmt: skip


class Seaweed:
    """The server, with one empty bucket. It can be killed and started again over what it had stored."""

    def __init__(self) -> None:
        self.program = make(CLIENTS["seaweedfs"]) / "bin" / "weed"
        self.folder = Path(tempfile.mkdtemp(prefix="pidex-s3-"))
        (self.folder / "data").mkdir()
        self.ports = {flag: free_port() for flag in PORTS}
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self.credentials = self.folder / "credentials.toml"
        self.credentials.write_text(f'aws_access_key_id = "{ACCESS}"\naws_secret_access_key = "{SECRET}"\n')
        self.credentials.chmod(0o600)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts: list[float] = []  # what each took, in seconds
        try:
            self.start()
            filer = f"http://127.0.0.1:{self.ports['filer.port']}/buckets/{BUCKET}/"
            until(lambda: self._answers(filer, "POST") in (200, 201), seconds=START, why="no bucket")
        except BaseException:
            self.close()
            raise

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    def place(self, prefix: str) -> Place:
        """A prefix of its bucket, as settings name it."""
        return Place(f"s3://{BUCKET}/{prefix}", self.endpoint, credentials=self.credentials)

    def start(self) -> None:
        """Start it; returns when it takes files: that can be 14 s after it answers."""
        began = time.monotonic()
        ports = [f"-{flag}={port}" for flag, port in self.ports.items()]
        off = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    self.program, "mini", f"-dir={self.folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                    f"-s3.config={self.folder}/s3.json", *ports, *off,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "GOMEMLIMIT": "256MiB"},
            )  # fmt: skip
        until(lambda: self._answers(f"{self.endpoint}/") in (200, 403), seconds=START, why=self._said())
        place = f"http://127.0.0.1:{self.ports['master.port']}/dir/assign"
        until(lambda: self._answers(place) == 200, seconds=START, why=self._said())
        self.starts.append(time.monotonic() - began)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def close(self) -> None:
        """End it, and drop what it stored."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self, url: str, method: str = "GET") -> int:
        assert self.process is not None
        assert self.process.poll() is None, self._said()
        with contextlib.suppress(OSError):
            try:
                with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code
        return 0

    def _said(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace")[-2000:] if log.exists() else "it did not start"
