"""`scripts/fuzz [TARGET ...] [--minutes N] [--seed S]`: each target for N minutes, and what was found."""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import api
from tests.fuzz.targets import TARGETS, Target

#: Examples of one round; each round has a seed of its own.
ROUND = 1_000


def fuzz(target: Target, number: int, examples: int) -> None:
    """Try a target with examples that follow from a number. Raises what the smallest bad one raises."""
    strategy, check = target

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def attempt(value: object) -> None:
        check(value)

    attempt()


def main(words: list[str]) -> int:
    """Run the targets that are asked for, one after the other; 1 where anything was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, "api", []], metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, help="the seed of a run that is to be repeated")
    asked = parser.parse_args(words)
    first = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    found = 0
    for name in asked.targets or [*TARGETS, "api"]:
        print(f"{name}: seed {first}", flush=True)
        found += api.run(asked.minutes, first) if name == "api" else not _runs(name, asked.minutes, first)
    return min(found, 1)


def _runs(name: str, minutes: float, first: int) -> bool:
    """Whether a target held for so many minutes."""
    end, rounds = time.monotonic() + minutes * 60, 0
    while not rounds or time.monotonic() < end:
        try:
            fuzz(TARGETS[name], first + rounds, ROUND)
        except Exception:
            traceback.print_exc(limit=-6)
            print(f"{name}: FOUND something: --seed {first + rounds} finds it at once", flush=True)
            return False
        rounds += 1
    print(f"{name}: {rounds * ROUND} examples in {minutes:g} min, nothing found", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
