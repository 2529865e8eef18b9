"""`scripts/faults` and `scripts/soak`: the long forms by hand, seeds printed, figures for the docs."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Callable

from faults import calls, damage, disk, kills, peers, power, races, rescue, results, soak, sqlite
from faults.server import Broken


def _possible() -> str | None:
    """Nothing is missing."""
    return None


#: Part: rounds of the long form, why it cannot be run here, and what runs it with rounds and seed.
Part = tuple[int, Callable[[], str | None], Callable[[int, int], dict[str, object]]]
PARTS: dict[str, Part] = {
    "kills": (500, _possible, kills.run),
    "power": (300, power.impossible, power.run),
    "calls": (1, _possible, lambda rounds, seed: calls.run()),
    "sqlite": (1, sqlite.impossible, lambda rounds, seed: sqlite.run()),
    "races": (200, _possible, races.run),
    "disk": (20, disk.impossible, disk.run),
    "verify": (1_000, _possible, damage.run),
    "backup": (100, _possible, rescue.run),
    "peers": (20, _possible, peers.run),
}


def main(words: list[str]) -> int:
    """Run what is asked for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "soak", "all"])
    parser.add_argument("--rounds", type=int, help="how many rounds, cuts or races")
    parser.add_argument("--minutes", type=float, default=10.0, help="of soak")
    parser.add_argument("--seed", type=int, help="the seed of a run that is to be repeated")
    parser.add_argument("--keep", action="store_true", help="write the figures into docs/reliability.md")
    given = parser.parse_args(words)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    logging.disable(logging.CRITICAL)
    chosen = [*PARTS, "soak"] if given.part == "all" else [given.part]
    return max([_run(part, given, seed) for part in chosen])


def _soak(minutes: float) -> Callable[[int, int], dict[str, object]]:
    return lambda rounds, seed: soak.run(minutes, seed)


def _run(part: str, given: argparse.Namespace, seed: int) -> int:
    if part == "soak":
        rounds, impossible, act = 0, _possible, _soak(given.minutes)
    else:
        rounds, impossible, act = PARTS[part]
    why = impossible()
    if why is not None:
        print(f"{part}: NOT TESTED: {why}", flush=True)
        return 0
    print(f"{part}: seed {seed}", flush=True)
    began = time.monotonic()
    try:
        figures = act(given.rounds or rounds, seed)
    except Broken as error:
        print(f"{part}: BROKEN: {error}", flush=True)
        return 1
    for name, value in figures.items():
        print(f"  {name}: {value}")
    print(f"{part}: done in {time.monotonic() - began:.0f} s", flush=True)
    if given.keep:
        results.keep(part, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
