"""`scripts/cluster`: what tests/cluster does a few times, many times over, with figures."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster import nodes
from tests.cluster.nodes import Cluster, Load
from tests.walks.server import until


def kills(cluster: Cluster, rounds: int) -> bool:
    """Kill nodes and the database in turn, under uploads; print what came of it."""
    took: list[float] = []
    with Load(cluster, "killed") as load:
        for number in range(rounds):
            until(lambda: load.moments, why="no upload is confirmed")
            time.sleep(cluster.random.random() / 2)
            moment = time.monotonic()
            if number % 4 == 3:
                cluster.database.stop("immediate")
                cluster.database.start()
                moment = time.monotonic()
            else:
                node = cluster.any()
                node.kill()
                took.append(nodes.since(load, moment))
                node.start()
                continue
            took.append(nodes.since(load, moment))
    until(lambda: not [*nodes.settled(cluster)], seconds=90, why="uploads are still on their way")
    lost = [each for node in cluster.nodes for each in load.lost(node.url)]
    partial = load.partial(cluster.url)
    took.sort()
    print(
        f"kills: {rounds} rounds (three of four a node, the fourth PostgreSQL),"
        f" {len(load.sent)} uploads confirmed, {len(load.refused)} refused;"
        f" lost {len(lost)}, partial {len(partial)}, other answers {len(load.odd)};"
        f" next confirmed upload after {took[len(took) // 2]:.2f} s (median), {took[-1]:.2f} s (longest)"
    )
    for text in load.odd[:5]:
        print("  ", text)
    return not (lost or partial or load.odd)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/cluster", description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000, help="read-your-writes")
    parser.add_argument("--changes", type=int, default=50, help="yanks, quarantine, deletions; and rights")
    parser.add_argument("--races", type=int, default=200, help="uploads of one name at once")
    parser.add_argument("--kills", type=int, default=100, help="rounds of killing")
    parser.add_argument("--nodes", type=int, default=3)
    given = parser.parse_args()
    counted: dict[str, tuple[Callable[[Cluster, int], int], int, str]] = {
        "uploads": (nodes.read_your_writes, given.uploads, "not seen in another node's next answer"),
        "changes": (nodes.changes, given.changes, "of five changes each not seen by another node"),
        "rights": (nodes.rights, given.changes, "rights given or taken away and not so at another node"),
        "races": (nodes.races, given.races, "without exactly one winner"),
    }
    good = True
    with (
        tempfile.TemporaryDirectory(prefix="pidex-cluster-") as home,
        Cluster(Path(home), nodes=given.nodes) as cluster,
    ):
        for name, (act, rounds, what) in counted.items():
            if rounds:
                began = time.monotonic()
                wrong = act(cluster, rounds)
                print(f"{name}: {rounds}, {wrong} {what}; {time.monotonic() - began:.0f} s", flush=True)
                good = good and not wrong
        if given.kills:
            good = kills(cluster, given.kills) and good
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
