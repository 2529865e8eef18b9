"""A whole installation moved there and back: every answer as before, readers all the while, cut or not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pidex.backends.objects.bucket import Place
from tests import samples
from tests.cluster.moving import Installation, Readers, answers, differing, fill, in_bucket, in_folder, people
from tests.cluster.nodes import change, send
from tests.walks.server import environment, until

pytestmark = pytest.mark.postgres

#: Moves as the command does, and dies at a step; what it holds ends sooner than for others.
CUT = """
import os, signal, sys
from pathlib import Path
from pidex.app import moving
from pidex.catalogue import moves
from pidex.config import load
moves.SECONDS, moves.RENEW_SECONDS = 1.0, 0.2
def step(name):
    if name == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
source = load({"config": sys.argv[1]}, {})
print(moving.move(source, moving.settled(sys.argv[2], source, {}), step=step))
"""


def cut(source: Installation, target: Installation, step: str) -> None:
    """A move that is killed as a step begins."""
    words = [sys.executable, "-c", CUT, str(source.settings), str(target.settings), step]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, (step, done.stdout, done.stderr)


def furnish(server: Installation) -> tuple[str, ...]:
    """Everything that an installation can have; its projects."""
    projects = ("demo", "other-name", "gone", "absent", "sent", "late", "team-own")
    for sample in (samples.wheel("sent", "1.0"), samples.wheel("sent", "1.1"), samples.wheel("gone", "1.0")):
        assert send(server.url, sample).status == 200
    assert change(server.url, "PUT", "demo/releases/1.0/yank", {"reason": "bad"}).status == 200
    assert change(server.url, "PUT", "other-name/status", {"status": "deprecated"}).status == 200
    assert change(server.url, "DELETE", f"gone/files/{samples.wheel('gone', '1.0')[0]}").status == 200
    assert send(f"{server.url}/team", samples.wheel("team-own", "1.0")).status == 200
    return projects


@pytest.fixture
def source(tmp_path: Path) -> Installation:
    server = in_folder(tmp_path / "old")
    fill(tmp_path / "old" / "packages")
    people(server)
    return server


def test_there_and_back_with_readers_and_kills(
    source: Installation, tmp_path: Path, bucket: Place, postgres_url: str
) -> None:
    target = in_bucket(tmp_path / "new", bucket, postgres_url)
    with source:
        source.wait_for("demo", samples.wheel("demo", "1.3")[0])
        projects = furnish(source)
        before = answers(source.url, projects)
        with Readers(source.url, before) as readers:
            for step in ("rows", "switch"):
                cut(source, target, step)
        assert not readers.wrong, readers.wrong[:3]
        late = samples.wheel("late", "1.0")
        until(lambda: send(source.url, late).status == 200, why="what was cut holds it for good")
        before = answers(source.url, projects)
        with Readers(source.url, before) as readers:
            cut(source, target, "open")
            refused = send(source.url, samples.wheel("late", "1.1"))
            assert (refused.status, refused.headers["retry-after"]) == (503, "60")
            assert "This server was moved" in refused.text
            assert "is open now" in source.pidex("migrate", "--to", target.settings)
        assert not readers.wrong, readers.wrong[:3]
        assert readers.read > 20
    with target:
        assert not differing(before, answers(target.url, projects))
        back = in_folder(tmp_path / "back")
        with Readers(target.url, before) as readers:
            said = target.pidex("migrate", "--to", back.settings)
        assert "Moved, compared and verified: 18 files" in said
        assert not readers.wrong, readers.wrong[:3]
    with back:
        assert not differing(before, answers(back.url, projects))
        assert "Everything agrees" in back.pidex("verify", "--deep")
        assert send(back.url, samples.wheel("late", "1.1")).status == 200
