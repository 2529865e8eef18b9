"""Advisories: who may take them in, what is written down, and that each is taken in once."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pidex.catalogue import advisories
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import BadRequest, Forbidden, PidexError, Unauthenticated
from pidex.core.model import ANONYMOUS, OPERATOR, Principal
from pidex.curator import Curator
from pidex.curator.advising import Advising
from tests.core.test_advisories import record
from tests.test_curator import MIA, OLAF, READER, House


def lines(*records: dict[str, Any]) -> list[io.BytesIO]:
    return [io.BytesIO(b"".join(json.dumps(each).encode() + b"\n" for each in records))]


ACTS: dict[str, Callable[[Curator, Principal], object]] = {
    "take_advisories": lambda curator, by: curator.take_advisories(files=lines(record()), by=by),
    "advisories": lambda curator, by: curator.advisories("demo", by=by),
    "drop_advisories": lambda curator, by: curator.drop_advisories(["GHSA-1"], by=by),
}


@pytest.fixture
def house(catalogue: Catalogue, tmp_path: Path) -> House:
    return House(catalogue, tmp_path)


def test_every_method_is_in_the_table() -> None:
    assert {name for name in vars(Advising) if not name.startswith("_")} == {*ACTS}


@pytest.mark.parametrize("act", ACTS)
def test_only_who_administers_the_server_decides(house: House, act: str) -> None:
    refused: list[tuple[Principal, type[PidexError]]] = [
        (READER, Forbidden), (MIA, Forbidden), (OLAF, Forbidden), (ANONYMOUS, Unauthenticated),
    ]  # fmt: skip
    for by, error in refused:
        with pytest.raises(error, match="administrators of the server"):
            ACTS[act](house.curator, by)
    assert house.written()[0] == []
    ACTS[act](house.curator, OPERATOR)


def test_what_is_known_is_not_written_again_and_a_newer_form_is(house: House) -> None:
    def take(*records: dict[str, Any]) -> tuple[int, int, int]:
        done = house.curator.take_advisories(files=lines(*records), by=OPERATOR)
        return done["changed"], done["dropped"], done["held"]

    both = record("GHSA-1"), record("MAL-1", name="other")
    assert take(*both) == (2, 0, 2)
    assert len(house.written()[0]) == 1, "one row in the audit"
    assert take(*both) == (0, 0, 2)
    assert len(house.written()[0]) == 1
    assert take(record("GHSA-1", summary="Worse") | {"modified": "2026-04-01T00:00:00Z"}) == (1, 0, 2)
    assert house.curator.advisories("Demo.Pkg", by=OPERATOR)[0]["summary"] == "Worse"
    assert take(record("MAL-1", name="other", withdrawn="2026-04-01T00:00:00Z")) == (0, 1, 1)
    assert house.curator.drop_advisories(["GHSA-1", "GHSA-2"], by=OPERATOR) == {"dropped": 1}
    with house.catalogue.read() as conn:
        assert advisories.count(conn) == (0, 0)


def test_what_cannot_be_taken_in_is_said_and_the_rest_is(house: House) -> None:
    with pytest.raises(BadRequest, match="Name 1 to"):
        house.curator.drop_advisories([], by=OPERATOR)
    broken = [io.BytesIO(b"{}\n\nnonsense\n" + json.dumps(record()).encode())]
    done = house.curator.take_advisories(files=broken, by=OPERATOR)
    assert (done["read"], done["refused"], done["changed"], len(done["reasons"])) == (3, 2, 1, 2)
