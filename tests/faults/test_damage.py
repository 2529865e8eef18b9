"""Short forms of `scripts/faults verify` and `scripts/faults backup`."""

from __future__ import annotations

from faults import damage, rescue


def test_every_damage_is_found() -> None:
    figures = damage.run(7, 42)
    assert figures["damages"] == 7
    assert figures["not found"] == 0


def test_a_backup_under_load_comes_back_exactly() -> None:
    assert rescue.run(1, 42)["backups"] == 1
