"""`scripts/faults` and `scripts/soak`: the long forms by hand, seeds printed, figures for the docs."""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
import time
from collections.abc import Callable

from faults import (
    bombs,
    calls,
    damage,
    disk,
    kills,
    peers,
    power,
    races,
    rescue,
    results,
    soak,
    sqlite,
    starts,
    timing,
)
from faults.server import Broken

#: Of a mixed load, where no other number is asked for.
SOAK_MINUTES = 10.0


def _possible() -> str | None:
    """Nothing is missing."""
    return None


#: Part: rounds of the long form, why it cannot be run here, and what runs it with rounds, seed, and the
#: seconds after which no other round begins.
Part = tuple[int, Callable[[], str | None], Callable[[int, int, float], dict[str, object]]]
PARTS: dict[str, Part] = {
    "kills": (500, _possible, kills.run),
    "starts": (20, _possible, lambda rounds, seed, seconds: starts.run(rounds, seed)),
    "power": (300, power.impossible, power.run),
    "calls": (1, _possible, lambda rounds, seed, seconds: calls.run()),
    "sqlite": (1, sqlite.impossible, lambda rounds, seed, seconds: sqlite.run()),
    "races": (200, _possible, races.run),
    "disk": (20, disk.impossible, lambda rounds, seed, seconds: disk.run(rounds, seed)),
    "verify": (1_000, _possible, lambda rounds, seed, seconds: damage.run(rounds, seed)),
    "backup": (100, _possible, rescue.run),
    "soak": (
        0,
        _possible,
        lambda rounds, seed, seconds: soak.run(seconds / 60 if seconds < math.inf else SOAK_MINUTES, seed),
    ),
    "bombs": (bombs.TIMES, _possible, lambda rounds, seed, seconds: bombs.run(rounds, seed)),
    "timing": (timing.TOKENS, _possible, lambda rounds, seed, seconds: timing.run(rounds, seed)),
    "peers": (20, _possible, lambda rounds, seed, seconds: peers.run(rounds, seed)),
}


def main(words: list[str]) -> int:
    """Run what is asked for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all"])
    parser.add_argument("--rounds", type=int, help="how many rounds, cuts or races")
    parser.add_argument("--minutes", type=float, help="of soak; of others: no round begins after them")
    parser.add_argument("--seed", type=int, help="the seed of a run that is to be repeated")
    parser.add_argument("--keep", action="store_true", help="write the figures into docs/reliability.md")
    given = parser.parse_args(words)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    logging.disable(logging.CRITICAL)
    chosen = [*PARTS] if given.part == "all" else [given.part]
    return max([_run(part, given, seed) for part in chosen])


def _run(part: str, given: argparse.Namespace, seed: int) -> int:
    rounds, impossible, act = PARTS[part]
    why = impossible()
    if why is not None:
        print(f"{part}: NOT TESTED: {why}", flush=True)
        return 0
    print(f"{part}: seed {seed}", flush=True)
    began = time.monotonic()
    try:
        figures = act(given.rounds or rounds, seed, math.inf if given.minutes is None else given.minutes * 60)
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
