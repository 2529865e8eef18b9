"""Together: nobody works twice at a time, those who wait are served in order, errors are for the group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pidex.intake.together import Together


def test_those_that_come_while_one_works_are_done_together() -> None:
    groups: list[list[int]] = []
    go_on, begun = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> None:
        groups.append([*items])
        begun.set()
        assert go_on.wait(30)

    together = Together(work, most=3)
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(together.do, 0)]
        assert begun.wait(30)
        for number in range(1, 6):
            jobs.append(pool.submit(together.do, number))
            until(lambda number=number: len(together._waiting) == number)  # type: ignore[misc]
        go_on.set()
        for job in jobs:
            job.result(30)
    assert groups == [[0], [1, 2, 3], [4, 5]]
    assert not together._working


def test_what_work_raises_is_raised_for_each_of_the_group_and_for_nobody_else() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(items: Sequence[str]) -> None:
        begun.set()
        assert go_on.wait(30)
        if "bad" in items:
            raise LookupError("bad")

    together = Together(work, most=2)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(together.do, "good")]
        assert begun.wait(30)
        for number, item in enumerate(("bad", "beside", "good"), 1):
            jobs.append(pool.submit(together.do, item))
            until(lambda number=number: len(together._waiting) == number)  # type: ignore[misc]
        go_on.set()
        outcomes = [type(job.exception(30)) for job in jobs]
    assert outcomes == [type(None), LookupError, LookupError, type(None)]


def test_many_threads_are_all_served_once() -> None:
    seen: list[int] = []
    working = threading.Lock()

    def work(items: Sequence[int]) -> None:
        assert working.acquire(blocking=False), "two at a time"
        seen.extend(items)
        working.release()

    together = Together(work, most=4)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(together.do, range(500)))
    assert sorted(seen) == [*range(500)]


def until(there: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    pause = threading.Event()
    for _ in range(3_000):
        if there():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in 30 s")
