"""git, FTP and a drop box on a cluster: three nodes over PostgreSQL and a bucket, and no disk in common."""

from __future__ import annotations

import base64
import ftplib
import io
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from pidex.catalogue import grants
from pidex.core.permissions import Grant, Role
from tests import samples
from tests.clients.environments import CLIENTS, Unavailable, make
from tests.clients.installers import KINDS
from tests.clients.publishers import TOOLS
from tests.cluster import nodes
from tests.cluster.nodes import OWNER, PASSWORD, Cluster, Missing
from tests.cluster.seaweed import Seaweed
from tests.conftest import POSTGRES_USER
from tests.samples import Sample
from tests.walks.server import Server, fetch, run, until
from tests.walks.test_git_push import Clone

pytest.importorskip("obstore", reason="NOT TESTED: the extra s3 is not installed")
pytest.importorskip("pyftpdlib", reason="NOT TESTED: the extra ftp is not installed")

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Cluster]:
    pytest.importorskip("psycopg", reason="NOT TESTED on PostgreSQL: psycopg is not installed")
    try:
        made = Cluster(tmp_path_factory.mktemp("ingress"), bucket=seaweed.place("ingress"))
    except Missing as reason:
        pytest.skip(f"NOT TESTED: {reason}")
    with made:
        with made.catalogue() as catalogue, catalogue.write() as conn:
            grants.add(conn, Grant(f"user:{OWNER}", Role.ADMIN, "main", "*"), by="test", at=1)
        said = made.pidex(made.nodes[0], "git", "enable")
        assert "Clone it:  git clone http" in said
        assert "USER@HOST" not in said, "there are only copies of it"
        yield made


def remote(node: Server | str) -> str:
    """Where git finds the index's repository at a node, or behind nginx."""
    url = node if isinstance(node, str) else node.url
    return url.replace("http://", f"http://{OWNER}:{PASSWORD.replace(' ', '%20')}@") + "/main.git"


def everywhere(cluster: Cluster, sample: Sample, project: str) -> None:
    """Every node that runs lists these bytes, in its next answer."""
    for node in cluster.running():
        found = {str(file["filename"]): file["hashes"] for file in nodes.listing(node.url, project)[1]}
        assert found.get(sample[0]) == {"sha256": nodes.sha256(sample[1])}, (node.port, found)


def test_what_is_pushed_to_any_node_is_everywhere(cluster: Cluster, tmp_path: Path) -> None:
    clone = Clone(remote(cluster.url), tmp_path / "clone")
    for number, node in enumerate(cluster.nodes):
        sample = clone.write(samples.wheel("pushed", f"1.{number}"), below=f"at{number}")
        assert "main: 1 added" in clone.push(remote(node))
        everywhere(cluster, sample, "pushed")
    # Behind nginx each request goes to another node.
    sample = clone.write(samples.wheel("pushed", "2.0"))
    assert "main: 1 added" in clone.push()
    everywhere(cluster, sample, "pushed")
    other = Clone(remote(cluster.nodes[1]), tmp_path / "other")
    assert other.names() == clone.names()


def test_a_push_is_not_lost_with_the_node_that_took_it(cluster: Cluster, tmp_path: Path) -> None:
    clone = Clone(remote(cluster.url), tmp_path / "clone")
    took, others = cluster.nodes[2], cluster.nodes[:2]
    sample = clone.write(samples.wheel("survives", "1.0"))
    clone.push(remote(took))
    took.kill()
    everywhere(cluster, sample, "survives")
    # The others have the branch, too: they take what comes after.
    after = clone.write(samples.wheel("survives", "1.1"))
    clone.push(remote(others[0]))
    everywhere(cluster, after, "survives")
    took.start()
    everywhere(cluster, after, "survives")
    assert Clone(remote(took), tmp_path / "other").names() == clone.names()


def ftp(cluster: Cluster, number: int) -> ftplib.FTP:
    session = ftplib.FTP(timeout=60)
    session.connect("127.0.0.1", cluster.ftp[number])
    session.login(OWNER, PASSWORD)
    return session


def test_what_is_sent_by_ftp_to_one_node_is_had_from_the_others(cluster: Cluster) -> None:
    for number in range(3):
        sample = samples.wheel("sent", f"1.{number}")
        with ftp(cluster, number) as session:
            assert session.storbinary(f"STOR {sample[0]}", io.BytesIO(sample[1])).startswith("226")
        everywhere(cluster, sample, "sent")
        got = io.BytesIO()
        with ftp(cluster, (number + 1) % 3) as session:
            session.retrbinary(f"RETR {sample[0]}", got.write)
            assert got.getvalue() == sample[1]
            other = io.BytesIO(samples.wheel("sent", f"1.{number}", files={"other": b"1"})[1])
            with pytest.raises(ftplib.error_perm, match="already exists"):
                session.storbinary(f"STOR {sample[0]}", other)
    last = samples.wheel("sent", "2.0")
    with ftp(cluster, 0) as session:
        session.storbinary(f"STOR {last[0]}", io.BytesIO(last[1]))
        cluster.nodes[0].kill()
    everywhere(cluster, last, "sent")
    cluster.nodes[0].start()


def drop(cluster: Cluster, sample: Sample) -> Path:
    """Put a package into the drop box as `cp` does it: slowly, under its own name."""
    path = cluster.folder / sample[0]
    with path.open("wb") as file:
        half = len(sample[1]) // 2
        file.write(sample[1][:half])
        file.flush()
        time.sleep(0.2)
        file.write(sample[1][half:])
    return path


def test_what_is_dropped_is_moved_in_once(cluster: Cluster) -> None:
    sample = samples.wheel("dropped", "1.0")
    path = drop(cluster, sample)
    until(lambda: not path.exists(), why="it is not moved")
    everywhere(cluster, sample, "dropped")
    again = drop(cluster, sample)  # the same once more is moved, too
    until(lambda: not again.exists(), why="it is not moved")
    other = drop(cluster, samples.wheel("dropped", "1.0", files={"other": b"1"}))
    note = other.with_name(f"{other.name}.refused.txt")
    until(note.exists, why="nobody says why it stays")
    assert "File already exists" in note.read_text()
    assert other.exists()
    other.unlink()
    note.unlink()


def test_another_node_empties_the_drop_box_of_one_that_died(cluster: Cluster) -> None:
    former = cluster.holder("drop:")
    assert former is not None
    former.kill()
    sample, began = samples.wheel("fail_over", "1.0"), time.monotonic()
    path = drop(cluster, sample)
    until(lambda: not path.exists(), why="nobody took over")
    print(f"moved by another node after {time.monotonic() - began:.1f} s")
    everywhere(cluster, sample, "fail-over")
    assert cluster.holder("drop:") is not former
    former.start()


def test_every_node_knows_when_a_token_was_last_used(cluster: Cluster) -> None:
    text = cluster.pidex(cluster.nodes[0], "token", "create", OWNER, "--upload").split()
    [token] = {word for word in text if word.startswith("pidex_")}
    tokens = json.loads(cluster.pidex(cluster.nodes[1], "token", "list", "--json"))
    assert [each["used"] for each in tokens] == [None]
    headers = {"Authorization": "Basic " + base64.b64encode(f"__token__:{token}".encode()).decode()}
    sample = samples.wheel("by_token", "1.0")
    answer = nodes.send(cluster.nodes[2].url, sample, headers=headers)
    assert answer.status == 200
    [found] = json.loads(cluster.pidex(cluster.nodes[1], "token", "list", "--json"))
    assert found["used"] is not None


@pytest.mark.parametrize("tool", ["twine", "uv"])
def test_real_clients_send_and_install_through_nginx(cluster: Cluster, tmp_path: Path, tool: str) -> None:
    """The short form: `scripts/cluster clients` runs all clients against nodes."""
    program, kind = TOOLS[tool]
    for name in {program, "pip", "uv"}:
        try:
            make(CLIENTS[name])
        except Unavailable as reason:
            pytest.skip(str(reason))
    homes = iter(tmp_path / str(number) for number in range(3))
    publisher = kind(KINDS[program](CLIENTS[program], made(next(homes))), cluster.url, tool)
    paths = publisher.make(f"by-{tool}")
    publisher.publish(paths, OWNER, PASSWORD)
    for name in ("pip", "uv"):
        installer = KINDS[name](CLIENTS[name], made(next(homes)))
        assert installer.install(f"{cluster.url}/simple/", f"by-{tool}") == {f"by-{tool}": "1.0"}


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_dump_of_the_database_and_the_bucket_are_a_backup(cluster: Cluster, tmp_path: Path) -> None:
    gone, late = samples.wheel("gone", "1.0"), samples.wheel("late", "1.0")
    assert nodes.send(cluster.url, gone).status == 200
    clone = Clone(remote(cluster.url), tmp_path / "clone")
    server, dump = cluster.database.server, cluster.database.folder / "pidex.dump"
    at, user = str(cluster.database.folder), ("-U", POSTGRES_USER)
    server._run("pg_dump", "-h", at, *user, "-Fc", "-f", str(dump), "pidex")

    clone.write(samples.wheel("late_by_git", "1.0"))
    clone.push(remote(cluster.url))
    assert nodes.send(cluster.url, late).status == 200
    assert nodes.change(cluster.url, "DELETE", f"gone/files/{gone[0]}").status == 200

    server.command("create database restored")
    server._run("pg_restore", "-h", at, *user, "--exit-on-error", "-d", "restored", str(dump))
    settings = tmp_path / "restored.toml"
    settings.write_text(cluster.settings.read_text().replace(cluster.database.url, server.url("restored")))
    options = ["--config", str(settings), "--data", str(tmp_path / "data")]
    run(sys.executable, "-m", "pidex", "verify", *options)
    with Server(log=tmp_path / "log", options=options) as node:
        [listed] = nodes.listing(node.url, "gone")[1]
        answer = fetch(urljoin(f"{node.url}/simple/gone/", str(listed["url"])))
        assert (answer.status, answer.body) == (200, gone[1])
        assert nodes.names(node.url, "late") == nodes.names(node.url, "late-by-git") == []
        then = Clone(remote(node), tmp_path / "then")
        assert {*clone.names()} - {*then.names()} == {"late_by_git-1.0-py3-none-any.whl"}


def test_nothing_of_all_that_is_damaged(cluster: Cluster) -> None:
    cluster.pidex(cluster.nodes[0], "verify", "--deep")  # fails where it finds anything
