"""What a soak says of memory: rows that are known are added up right, and the server's own are found."""

from __future__ import annotations

import math
import os
import subprocess

import pytest

from faults import growth
from faults.growth import Look
from faults.server import Broken


def looks(*sizes: float) -> list[Look]:
    """One process, looked at every two seconds."""
    return [Look(2.0 * at, {7: size}, size, 1) for at, size in enumerate(sizes)]


def test_a_line_has_its_slope_and_no_error() -> None:
    slope, error = growth.slope([(at, 200 + at / 3600) for at in range(0, 600, 20)])
    assert math.isclose(slope, 1.0, rel_tol=1e-6)
    assert error < 1e-6


def test_noise_has_an_error_that_says_so() -> None:
    slope, error = growth.slope([(at, 200 + at // 20 % 2) for at in range(0, 600, 20)])
    assert abs(slope) < 2 * error


def test_of_each_window_the_least_counts() -> None:
    assert [each.total for each in growth.calm(looks(5, 4, 9, 7, 8), 2)] == [4, 7, 8]


def test_a_worker_that_has_ended_is_told() -> None:
    child = subprocess.Popen(["sleep", "600"])
    assert growth.look([child.pid], 0.0).resident[child.pid] > 0
    child.kill()
    child.wait()
    with pytest.raises(Broken, match="has ended"):
        growth.look([child.pid], 0.0)


def test_thirds_are_those_of_all_sizes() -> None:
    assert growth.thirds([1, 1, 2, 2, 3]) == [1, 2, 3]
    assert growth.thirds([1]) == [1]


def test_a_process_is_looked_at() -> None:
    found = growth.look(growth.serving(os.getpid())[:1], 0.0)
    assert found.resident[os.getpid()] > 1
    assert found.descriptors >= 3
    assert 0 < found.anonymous <= found.total
