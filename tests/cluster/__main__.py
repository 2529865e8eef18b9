"""`scripts/cluster`: what tests/cluster does a few times, many times over, with figures."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.cluster import network, nodes
from tests.cluster.network import Divided
from tests.cluster.nodes import Cluster, Load
from tests.cluster.seaweed import Seaweed
from tests.walks.server import until

#: Set where the network is one that may be cut.
INSIDE = "CLUSTER_INSIDE"


def kills(cluster: Cluster, rounds: int, chosen: Sequence[str] = ()) -> bool:
    """Kill nodes and engines in turn, and cut nodes off them, under uploads; print what came of it.

    Rounds: a node; PostgreSQL; the object server; the network between a node and both, for some seconds. Or
    the `chosen` ones of them.
    """
    took = dict[str, list[float]]()
    harms = [each for each in _HARMS if not chosen or each[0] in chosen]
    with Load(cluster, "killed") as load:
        for number in range(rounds):
            until(lambda: load.moments, why="no upload is confirmed")
            time.sleep(cluster.random.random() / 2)
            what, harm = harms[number % len(harms)]
            if what in _DIVIDED and not isinstance(cluster, Divided):
                what, harm = _HARMS[0]
            moment = harm(cluster)
            took.setdefault(what, []).append(nodes.since(load, moment))
            for node in cluster.nodes:
                if node not in cluster.running():
                    node.start()
            if (number + 1) % 10 == 0:
                print(f"  {number + 1} rounds, {len(load.sent)} confirmed", flush=True)
    until(lambda: not [*nodes.settled(cluster)], seconds=90, why="uploads are still on their way")
    lost = [each for node in cluster.nodes for each in load.lost(node.url)]
    halves = load.partial(cluster.url)
    for what, seconds in took.items():
        seconds.sort()
        middle, last = seconds[len(seconds) // 2], seconds[-1]
        print(f"  {what}: {len(seconds)} rounds, next upload after {middle:.2f} s, {last:.2f} s at most")
    if isinstance(cluster, Divided) and len(cluster.seaweed.starts) > 1:
        print(f"  the object server's own starts: {max(cluster.seaweed.starts[1:]):.2f} s at most")
    print(
        f"kills: {rounds} rounds, {len(load.sent)} uploads confirmed, {len(load.refused)} refused;"
        f" lost {len(lost)}, partial {len(halves)}, other answers {len(load.odd)}"
    )
    for text in load.odd[:5]:
        print("  ", text)
    for each in lost[:3]:
        print(f"  lost: {each.filename}\n{cluster.pidex(cluster.nodes[0], 'why', each.filename)}")
    return not (lost or halves or load.odd)


def _node(cluster: Cluster) -> float:
    cluster.any().kill()
    return time.monotonic()


def _database(cluster: Cluster) -> float:
    cluster.database.stop("immediate")
    cluster.database.start()
    return time.monotonic()


def _objects(cluster: Cluster) -> float:
    assert isinstance(cluster, Divided)
    cluster.seaweed.kill()
    cluster.seaweed.start()
    return time.monotonic()


def _network(cluster: Cluster) -> float:
    assert isinstance(cluster, Divided)
    ground = cluster.random.choice(cluster.grounds)
    ground.cut()
    time.sleep(cluster.random.uniform(1, 15))
    ground.heal()
    return time.monotonic()


_HARMS = (
    ("a node", _node), ("PostgreSQL", _database), ("the object server", _objects), ("the network", _network),
)  # fmt: skip
_DIVIDED = {"the object server", "the network"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/cluster", description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000, help="read-your-writes")
    parser.add_argument("--changes", type=int, default=50, help="yanks, quarantine, deletions; and rights")
    parser.add_argument("--races", type=int, default=200, help="uploads of one name at once")
    parser.add_argument("--kills", type=int, default=100, help="rounds of killing")
    names = [name for name, _ in _HARMS]
    parser.add_argument("--harm", action="append", choices=names, default=[], help="this kind alone")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--contenders", type=int, default=16, help="uploads of one name at once")
    given = parser.parse_args()
    if network.possible() and INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        return network.inside([sys.executable, "-m", "tests.cluster", *sys.argv[1:]])
    counted: dict[str, tuple[Callable[[Cluster, int], int], int, str]] = {
        "uploads": (nodes.read_your_writes, given.uploads, "not seen in another node's next answer"),
        "changes": (nodes.changes, given.changes, "of five changes each not seen by another node"),
        "rights": (nodes.rights, given.changes, "rights given or taken away and not so at another node"),
        "races": (
            partial(nodes.races, contenders=given.contenders),
            given.races,
            "without exactly one winner",
        ),
    }
    good = True
    with (
        tempfile.TemporaryDirectory(prefix="pidex-cluster-") as home,
        contextlib.closing(Seaweed()) as seaweed,
        Divided(Path(home), seaweed=seaweed, nodes=given.nodes)
        if INSIDE in os.environ
        else Cluster(Path(home), nodes=given.nodes, bucket=seaweed.place("long")) as cluster,
    ):
        for name, (act, rounds, what) in counted.items():
            if rounds:
                began = time.monotonic()
                wrong = act(cluster, rounds)
                print(f"{name}: {rounds}, {wrong} {what}; {time.monotonic() - began:.0f} s", flush=True)
                good = good and not wrong
        if given.kills:
            good = kills(cluster, given.kills, given.harm) and good
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
