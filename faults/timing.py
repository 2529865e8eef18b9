"""What a wrong password or token costs, by what is known of it: processor time, and Welch's t (T21)."""

from __future__ import annotations

import base64
import math
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from faults.server import Broken
from pidex import app
from pidex.core import tokens
from pidex.core.authorization import credentials
from pidex.core.errors import Unauthenticated
from pidex.core.model import OPERATOR

#: Samples of each class; a password costs some hundred times what a token does.
TOKENS, PASSWORDS = 20_000, 300
#: Welch's t above which two classes are told apart, and the seconds of difference that nobody can see.
LARGEST_T, SMALLEST_SECONDS = 4.5, 0.001
USER, PASSWORD = "ann", "correct horse battery"  # nobody's


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Welch's t of two samples."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(spread) if spread else 0.0


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def run(rounds: int, seed: int) -> dict[str, object]:
    """Refuse wrong credentials of two classes each, in a random order; `rounds` in place of `TOKENS`."""
    place, chance = Path(tempfile.mkdtemp(prefix="pidex-timing-")), random.Random(seed)
    (place / "packages").mkdir()
    flags = {"folders": (str(place / "packages"),), "data": str(place / "data"), "no_upstream": True}
    try:
        with closing(app.build(app.Source(flags, {}).settings(), {}, create=True)) as pidex:
            people, accounts = pidex.administration(), pidex.accounts()
            people.add_user(USER, password=PASSWORD, by=OPERATOR)
            real = people.create_token(USER, by=OPERATOR).text

            def refuse(header: str) -> float:
                """The processor time of one look-up in seconds, without the throttle that comes before it."""
                found = credentials(header)
                check = accounts._by_password if found.token is None else accounts._by_token
                before = time.thread_time_ns()
                try:
                    check(found)
                except Unauthenticated:
                    return (time.thread_time_ns() - before) / 1e9
                raise Broken(f"{header} was taken")

            def near(_: int) -> str:
                """A token that is another one in its last characters only."""
                body = real[:-12] + "".join(chance.choices("0123456789ABCDEFabcdef", k=6))
                return f"Bearer {body}{tokens._check(body)}"

            classes: dict[str, tuple[int, Callable[[int], str], Callable[[int], str]]] = {
                "token": (rounds, lambda _: f"Bearer {tokens.text(chance.randbytes(32))}", near),
                "password": (
                    min(rounds, PASSWORDS),
                    lambda turn: basic(f"nobody{turn}", PASSWORD),
                    lambda turn: basic(USER, f"wrong {turn} horse"),
                ),
            }
            figures: dict[str, object] = {"seed": seed}
            for name, (count, unknown, known) in classes.items():
                figures |= _compared(name, count, unknown, known, refuse, chance)
            return figures
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _compared(
    name: str,
    count: int,
    unknown: Callable[[int], str],
    known: Callable[[int], str],
    refuse: Callable[[str], float],
    chance: random.Random,
) -> dict[str, object]:
    """Both classes, one sample of each in turn, in a random order. Raises `Broken` where they differ."""
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(count):
        pair = [(found[0], unknown(turn)), (found[1], known(turn))]
        chance.shuffle(pair)
        for into, header in pair:
            into.append(refuse(header))
    t = welch(*found)
    means = [statistics.fmean(each) for each in found]
    if abs(t) > LARGEST_T and abs(means[0] - means[1]) > SMALLEST_SECONDS:
        raise Broken(
            f"wrong {name}s are told apart: {means[0] * 1e6:.1f} and {means[1] * 1e6:.1f} us, t {t:.1f}"
        )
    return {
        f"{name}s": count,
        f"{name}_unknown_us": round(means[0] * 1e6, 1),
        f"{name}_nearly_us": round(means[1] * 1e6, 1),
        f"{name}_t": round(t, 2),
    }
