"""`scripts/fuzz [TARGET ...] [--minutes N] [--seed S] [--keep]`: each target for N minutes; what it found."""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import traceback
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import api
from tests.fuzz.targets import TARGETS, Target

#: Examples of one round; each round has a seed of its own.
ROUND = 1_000
#: Where the minutes and examples of each target are.
PAGE = Path(__file__).parents[2] / "docs" / "security.md"


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
    parser.add_argument("--keep", action="store_true", help="add minutes and examples to docs/security.md")
    asked = parser.parse_args(words)
    first = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    found = 0
    for name in asked.targets or [*TARGETS, "api"]:
        print(f"{name}: seed {first}", flush=True)
        run = api.run if name == "api" else partial(_runs, name)
        examples = run(asked.minutes, first)
        found += examples is None
        if asked.keep and examples:
            PAGE.write_text(kept(PAGE.read_text("utf-8"), name, asked.minutes, examples), "utf-8")
    return min(found, 1)


def kept(page: str, name: str, minutes: float, examples: int) -> str:
    """The page with more minutes and examples of a target, in which nothing was found."""

    def more(row: re.Match[str]) -> str:
        tried = int(row[3].replace(",", "")) + examples
        return f"{row[1]}{float(row[2]) + minutes:g} | {tried:,} |"

    return re.sub(rf"^(\| {re.escape(name)} \| )([\d.]+) \| ([\d,]+) \|", more, page, flags=re.MULTILINE)


def _runs(name: str, minutes: float, first: int) -> int | None:
    """How many examples a target held for in so many minutes; None where it did not."""
    end, rounds = time.monotonic() + minutes * 60, 0
    while not rounds or time.monotonic() < end:
        try:
            fuzz(TARGETS[name], first + rounds, ROUND)
        except Exception:
            traceback.print_exc(limit=-6)
            print(f"{name}: FOUND something: --seed {first + rounds} finds it at once", flush=True)
            return None
        rounds += 1
    print(f"{name}: {rounds * ROUND} examples in {minutes:g} min, nothing found", flush=True)
    return rounds * ROUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
