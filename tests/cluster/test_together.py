"""Nodes over PostgreSQL whose files are in a bucket of a real S3 server: no disk is shared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.backends.objects.bucket import Place
from tests import samples
from tests.cluster.buckets import Uploads, confirmed, have, partial
from tests.cluster.nodes import Cluster, Missing, change, names, of, read_your_writes, send
from tests.walks.server import Server, fetch


class Diskless(Cluster):
    """Two nodes with a data directory each, and nothing else on a disk."""

    def __init__(self, home: Path, bucket: Place) -> None:
        super().__init__(home, nodes=2)
        lines = self.settings.read_text().splitlines(keepends=True)
        shared = [line for line in lines if not line.startswith("folders")]
        self.settings.write_text("".join([*shared, of(bucket)]))
        self.nodes = [
            Server(
                log=home / f"node{number}.log",
                options=("--config", str(self.settings), "--data", str(home / f"data{number}")),
            )
            for number in (1, 2)
        ]


@pytest.fixture
def cluster(tmp_path: Path, bucket: Place) -> Iterator[Diskless]:
    try:
        made = Diskless(tmp_path, bucket)
    except Missing as reason:
        pytest.skip(str(reason))
    try:
        made.people()
        for node in made.nodes:
            node.start()
        yield made
    finally:
        said = [node.log() for node in made.nodes]
        made.close()
    assert not any("Traceback (most recent call last)" in text for text in said), said


def test_what_one_node_stored_another_one_serves(cluster: Diskless) -> None:
    one, two = cluster.nodes
    assert read_your_writes(cluster, 6) == 0
    sample = samples.wheel("both", "1.0")
    assert send(one.url, sample).status == 200
    assert partial(two.url) == []
    assert change(two.url, "DELETE", f"both/files/{sample[0]}").status == 200
    assert names(one.url, "both") == []
    # One is killed in the middle of uploads: what it confirmed, the other one has.
    with Uploads(one.url, "cut") as load:
        wait = confirmed(load, 3)
        end = time.monotonic() + 60
        while not wait() and time.monotonic() < end:
            time.sleep(0.02)
        one.kill()
    assert len(load.sent) >= 3
    assert load.odd == []
    assert have(two.url, load.sent) == []
    assert partial(two.url) == []
    assert fetch(f"{two.url}/-/livez").status == 200
