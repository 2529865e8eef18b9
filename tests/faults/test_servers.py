"""Short forms of what is done to whole servers: power cuts, full disks, races, and a mixed load."""

from __future__ import annotations

import pytest

from faults import disk, power, races, soak

pytestmark = pytest.mark.timeout(300)


@pytest.mark.skipif(power.impossible() is not None, reason=f"NOT TESTED: power cuts: {power.impossible()}")
def test_nothing_acknowledged_is_lost_by_power_cuts() -> None:
    figures = power.run(cuts=2, seed=1)
    assert figures["cuts"] == 2
    assert int(str(figures["acknowledged names checked"])) > 0


@pytest.mark.skipif(disk.impossible() is not None, reason=f"NOT TESTED: full disks: {disk.impossible()}")
def test_a_full_disk_is_survived() -> None:
    assert disk.run(rounds=1, seed=1)["recoveries"] == 1


def test_one_winner_and_safe_second_tries() -> None:
    assert races.run(rounds=2, seed=1)["races"] == 2


def test_a_mixed_load_raises_nothing() -> None:
    assert int(str(soak.run(minutes=0.03, seed=1)["reads"])) > 0
