"""`/-/livez` and `/-/readyz`: whether the server can do its work, and why not, for who may know."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pidex.app import upkeep
from pidex.verify.health import Health
from tests import samples
from tests.web.driver import Answer, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path, samples.wheel("demo", "1.0")) as house:
        yield house


def fresh(house: House, **options: object) -> Health:
    """A health that was not asked yet."""
    given = {"clock": house.pidex.clock, "reserve": 1, "scan_interval": 60.0, **options}
    return Health(house.pidex.catalogue, house.pidex.storage, house.pidex.data, **given)  # type: ignore[arg-type]


def ready(house: House, **options: object) -> Answer:
    house.site.health = fresh(house, **options)
    return house.get("/-/readyz")


def failing(answer: Answer) -> dict[str, str]:
    return {name: said["reason"] for name, said in answer.json()["checks"].items() if said["state"] != "ok"}


def test_a_server_is_alive_and_ready(house: House) -> None:
    assert house.get("/-/livez").json() == {"status": "alive"}
    answer = house.get("/-/readyz")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["status"] == "ready"
    assert set(answer.json()["checks"]) == {"catalogue", "folders", "space", "disk", "scrub"}
    assert failing(answer) == {}
    assert house.head("/-/readyz").body == b""


def test_reasons_are_for_who_may_know(house: House) -> None:
    house.folder.rename(house.folder.with_name("elsewhere"))
    house.site.health = fresh(house)
    [far] = house.run(house.ask("/-/readyz", client=("192.0.2.7", 40000)))
    assert (far.status, far.json()) == (503, {"status": "not ready"})
    near = house.get("/-/readyz")
    assert near.status == 503
    assert failing(near) == {"folders": f"The folder {house.folder} is missing or cannot be read."}
    assert house.get("/-/livez").status == 200


def test_too_little_space(house: House) -> None:
    answer = ready(house, reserve=1024**6)
    assert answer.status == 503
    assert "MiB are free" in failing(answer)["space"]


def test_a_data_directory_that_is_gone(house: House) -> None:
    house.pidex.data.rename(house.pidex.data.with_name("elsewhere"))
    found = fresh(house).readiness()
    assert not found.ready
    assert {check.name for check in found.checks if check.state == "fail"} >= {"space", "disk"}
    house.pidex.data.with_name("elsewhere").rename(house.pidex.data)


def test_a_catalogue_that_cannot_be_read(house: House) -> None:
    with closing(sqlite3.connect(house.pidex.data / "catalogue.db")) as conn:
        conn.execute("alter table scans rename to lost")
        answer = ready(house)
        conn.execute("alter table lost rename to scans")
    assert answer.status == 503
    assert "catalogue" in failing(answer)
    assert ready(house).status == 200


def test_folders_that_nobody_follows(house: House) -> None:
    late = house.pidex.clock() + 3_600
    answer = ready(house, clock=lambda: late)
    assert answer.status == 503
    assert failing(answer) == {"reconciler": "The folders of main are not followed: see the log."}
    assert ready(house, clock=lambda: late, scan_interval=3_600.0).status == 200


def test_damaged_files_are_told_and_serving_goes_on(house: House) -> None:
    aside = house.pidex.data / "quarantine"
    aside.mkdir()
    (aside / "one").write_bytes(b"damaged")
    (aside / "one.json").write_text(json.dumps({"from": "x"}))
    answer = ready(house)
    assert answer.status == 200
    assert failing(answer)["scrub"].startswith("1 damaged files are in")
    together = house.folder.parent / "together"
    together.mkdir()
    aside.rename(together / "quarantine")
    assert failing(ready(house)) == {}
    assert str(together) in failing(ready(house, shared=together))["scrub"]


def test_asking_often_costs_nothing(house: House) -> None:
    health = upkeep.health(house.pidex)
    assert health.readiness() is health.readiness()
    assert os.listdir(house.pidex.data).count("quarantine") == 0
