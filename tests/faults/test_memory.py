"""Memory: what an index is asked and told leaves no objects behind, once everything is loaded."""

from __future__ import annotations

import functools
import gc
from collections import Counter
from pathlib import Path

from bench.wheels import wheel
from faults.acts import House
from faults.load import API, JSON

#: Rounds until most is loaded, those between two looks, and projects that they go round in.
WARM, ROUNDS, PROJECTS = 10, 12, 5
#: What waits for its time, and refers to what it will do.
_WAITING = frozenset({"TimerHandle", "Context", "ReferenceType", "builtin_function_or_method"})


def rounds(house: House, first: int, count: int) -> None:
    """Upload a new file, install it, list, ask for what nobody has; delete now and then."""
    for number in range(first, first + count):
        project = f"demo{number % PROJECTS}"
        filename, data = wheel(project, f"1.{number}")
        assert house.upload((filename, data)).status == 200
        assert house.download(project, data) in (200, 299, 503)  # an older file of the same project
        assert house.ask("GET", "/simple/", accept=JSON).status == 200
        assert house.ask("GET", "/simple/nobody/", accept=JSON).status == 404
        if number % 3 == 0:
            assert house.ask("DELETE", f"{API}/{project}").status == 200


def objects() -> Counter[str]:
    """What is there, by type. Caches of functions have bounds of their own: they are emptied."""
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper):
            each.cache_clear()
    gc.collect()
    return Counter(
        type(each).__qualname__ for each in gc.get_objects() if type(each).__qualname__ not in _WAITING
    )


def test_nothing_is_left_of_uploads_installs_and_deletions(tmp_path: Path) -> None:
    house = House(tmp_path)
    try:
        rounds(house, 0, WARM)
        looks = [objects()]
        for turn in range(2):
            rounds(house, WARM + turn * ROUNDS, ROUNDS)
            looks.append(objects())
    finally:
        house.close()
    # What is left each time grows each time; what is loaded late does once.
    grown = (looks[1] - looks[0]) & (looks[2] - looks[1])
    assert not {kind: count for kind, count in grown.items() if count >= ROUNDS}, grown
