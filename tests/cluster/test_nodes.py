"""Three nodes as one index: each sees at once what another did, and none takes anything along that dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from urllib.parse import urljoin

import pytest

from tests import samples
from tests.cluster import nodes
from tests.cluster.nodes import Cluster, Load, Missing
from tests.walks.server import fetch, until

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("psycopg", reason="NOT TESTED on PostgreSQL: psycopg is not installed")
    try:
        made = Cluster(tmp_path_factory.mktemp("cluster"))
    except Missing as reason:
        pytest.skip(f"NOT TESTED: {reason}")
    with made:
        yield made


def test_an_upload_is_in_the_next_answer_of_every_node(cluster: Cluster) -> None:
    assert nodes.read_your_writes(cluster, 40) == 0


def test_so_are_yanks_quarantine_and_deletions(cluster: Cluster) -> None:
    assert nodes.changes(cluster, 3) == 0


def test_so_are_rights(cluster: Cluster) -> None:
    assert nodes.rights(cluster, 2) == 0


def test_of_uploads_of_one_name_through_all_nodes_one_wins(cluster: Cluster) -> None:
    assert nodes.races(cluster, 5) == 0


def test_a_file_in_the_folder_is_followed_by_one_node_and_listed_by_all(cluster: Cluster) -> None:
    filename = samples.wheel("dropped", "1.0")[0]
    samples.write(cluster.folder, samples.wheel("dropped", "1.0"))
    for node in cluster.nodes:
        node.wait_for("dropped", filename)
    assert sum("follows the folders from now on" in node.log() for node in cluster.nodes) == 1


def test_an_index_that_names_no_folder_lies_where_all_nodes_have_it(cluster: Cluster) -> None:
    own = cluster.home / ".pidex-packages" / "indexes" / "dev"
    assert f"files in {own}." in cluster.pidex(cluster.nodes[0], "index", "create", "dev")
    filename, data = samples.wheel("own", "1.0")
    samples.write(own, (filename, data))
    for node in cluster.nodes:
        until(partial(nodes.names, f"{node.url}/dev", "own"), why="it is not listed")
        [file] = nodes.listing(f"{node.url}/dev", "own")[1]
        assert file["filename"] == filename
        assert fetch(urljoin(f"{node.url}/dev/simple/own/", str(file["url"]))).body == data


def test_nothing_is_lost_with_a_node_and_another_one_follows_the_folders(cluster: Cluster) -> None:
    keeper = next(node for node in cluster.nodes if "follows the folders from now on" in node.log())
    with Load(cluster, "killed") as load:
        until(lambda: len(load.sent) >= 5, why="no upload is confirmed")
        keeper.kill()
        moment = time.monotonic()
        nodes.since(load, moment)
        others = [node for node in cluster.nodes if node is not keeper]
        sample = samples.wheel("taken_over", "1.0")
        samples.write(cluster.folder, sample)
        others[0].wait_for("taken-over", sample[0])
    keeper.start()
    assert load.odd == []
    for node in cluster.nodes:
        assert load.lost(node.url) == []
    assert load.partial(cluster.url) == []
    until(lambda: not [*nodes.settled(cluster)], why="what the dead node was sent is still on its way")


def test_while_the_database_is_away_every_answer_says_so(cluster: Cluster) -> None:
    with Load(cluster, "away") as load:
        until(lambda: len(load.sent) >= 5, why="no upload is confirmed")
        for node in cluster.nodes:
            assert nodes.listing(node.url, "away-0")[0] == 200
        cluster.database.stop("immediate")
        try:
            for node in cluster.nodes:
                # Also for what the node has in its memory: it may have changed.
                status, _ = nodes.listing(node.url, "away-0")
                assert status == 503
        finally:
            cluster.database.start()
        nodes.since(load, time.monotonic())
    assert load.odd == []
    for node in cluster.nodes:
        assert load.lost(node.url) == []
    assert load.partial(cluster.url) == []
    # The folders are followed again, too.
    sample = samples.wheel("after", "1.0")
    samples.write(cluster.folder, sample)
    cluster.any().wait_for("after", sample[0])
