"""`scripts/faults` and `scripts/soak`: the long forms by hand, seeds printed, figures for the docs."""

from __future__ import annotations

import argparse
import logging
import math
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from faults import (
    bombs,
    calls,
    copies,
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
from faults.acts import ACTS
from faults.server import Broken

#: Of a mixed load, where no other number is asked for.
SOAK_MINUTES = 10.0


def _possible() -> str | None:
    """Nothing is missing."""
    return None


class Asked(NamedTuple):
    """What a part is run with. `seconds`: after them no other round begins; `acts` (empty: all) and `every`:
    of a series of calls, whose, and which of them fail.
    """

    rounds: int
    seed: int
    seconds: float
    acts: tuple[str, ...]
    every: int


def _series(run: Callable[..., dict[str, object]], asked: Asked) -> dict[str, object]:
    """The acts that are asked for, or all there are."""
    return run(every=asked.every, **({"acts": asked.acts} if asked.acts else {}))


def _soak(asked: Asked) -> dict[str, object]:
    return soak.run(asked.seconds / 60 if asked.seconds < math.inf else SOAK_MINUTES, asked.seed)


#: Part: rounds of the long form, why it cannot be run here, and what runs it.
Part = tuple[int, Callable[[], str | None], Callable[[Asked], dict[str, object]]]
PARTS: dict[str, Part] = {
    "kills": (500, _possible, lambda asked: kills.run(*asked[:3])),
    "starts": (20, _possible, lambda asked: starts.run(*asked[:2])),
    "power": (300, power.impossible, lambda asked: power.run(*asked[:3])),
    "calls": (1, _possible, partial(_series, calls.run)),
    "sqlite": (1, sqlite.impossible, partial(_series, sqlite.run)),
    "races": (200, _possible, lambda asked: races.run(*asked[:3])),
    "disk": (20, disk.impossible, lambda asked: disk.run(*asked[:2])),
    "verify": (1_000, _possible, lambda asked: damage.run(*asked[:2])),
    "backup": (100, _possible, lambda asked: rescue.run(*asked[:3])),
    "soak": (0, _possible, _soak),
    "bombs": (bombs.TIMES, _possible, lambda asked: bombs.run(*asked[:2])),
    "timing": (timing.TOKENS, _possible, lambda asked: timing.run(*asked[:2])),
    "peers": (20, _possible, lambda asked: peers.run(*asked[:2])),
}


def main(words: list[str]) -> int:
    """Run what is asked for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all"])
    parser.add_argument("--rounds", type=int, help="how many rounds, cuts or races")
    parser.add_argument("--minutes", type=float, help="of soak; of others: no round begins after them")
    parser.add_argument("--seed", type=int, help="the seed of a run that is to be repeated")
    parser.add_argument("--acts", help="of calls and sqlite: upload,delete and so on; all if not said")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of their calls the N-th ones fail")
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
    seconds = math.inf if given.minutes is None else given.minutes * 60
    acts = tuple(given.acts.split(",")) if given.acts else ()
    if unknown := {*acts} - {*ACTS, *copies.ACTS}:
        print(f"{part}: there are no such acts: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    try:
        figures = act(Asked(given.rounds or rounds, seed, seconds, acts, given.every))
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
