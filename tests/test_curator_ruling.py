"""Rules, exemptions and quarantine: who may decide, what is written down, and what everybody sees then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pidex.catalogue.engine import Catalogue
from pidex.core.errors import BadRequest, Forbidden, NotFound, PidexError, Unauthenticated, Withheld
from pidex.core.model import ANONYMOUS, OPERATOR, Principal
from pidex.curator import Curator
from tests.test_curator import ADA, MAIN, MIA, OLAF, READER, House

ACTS: dict[str, Callable[[Curator, Principal], object]] = {
    "rules": lambda curator, by: curator.rules(MAIN, by=by),
    "set_rules": lambda curator, by: curator.set_rules(MAIN, ["deny+=x"], by=by),
    "exempt": lambda curator, by: curator.exempt(MAIN, "demo", reason="why", by=by),
    "unexempt": lambda curator, by: curator.unexempt(MAIN, "demo", by=by),
    "hold": lambda curator, by: curator.hold(MAIN, "demo", version="1.0", reason="why", by=by),
    "unhold": lambda curator, by: curator.unhold(MAIN, "demo", version="1.0", by=by),
}  # fmt: skip


@pytest.fixture
def house(catalogue: Catalogue, tmp_path: Path) -> House:
    return House(catalogue, tmp_path)


@pytest.mark.parametrize("act", ACTS)
def test_only_who_administers_the_index_decides(house: House, act: str) -> None:
    refused: list[tuple[Principal, type[PidexError]]] = [
        (READER, Forbidden), (MIA, Forbidden), (OLAF, Forbidden), (ANONYMOUS, Unauthenticated),
    ]  # fmt: skip
    for by, error in refused:
        with pytest.raises(error):
            ACTS[act](house.curator, by)
    assert house.written()[0] == []
    if act.startswith("un"):
        with pytest.raises(NotFound):
            ACTS[act](house.curator, ADA)
    else:
        ACTS[act](house.curator, ADA)


def test_a_rule_hides_at_once_and_an_exemption_shows_again(house: House) -> None:
    versions = house.resolver.page(MAIN, "demo", by=OPERATOR).versions
    done = house.curator.set_rules(MAIN, ["scope=all", "deny=demo<2"], by=ADA)
    assert done["changed"]
    assert done["rules"] == {"scope": "all", "deny": ["demo<2"]}
    page = house.resolver.page(MAIN, "demo", by=OPERATOR)
    assert set(page.versions) < set(versions)
    assert all(each.rule == "deny" for each in page.withheld)
    hidden = page.withheld[0].file
    with pytest.raises(Withheld, match="demo<2 is denied"):
        house.resolver.locate(MAIN, hidden.blake2b_256, hidden.filename, by=OPERATOR)
    assert hidden.filename not in [file.filename for file in house.resolver.files(MAIN, by=OPERATOR)]
    house.curator.exempt(MAIN, f"demo=={hidden.version}", reason="pinned by team x", by=ADA)
    assert house.resolver.find(MAIN, hidden.filename, by=OPERATOR) is not None
    house.curator.unexempt(MAIN, f"demo=={hidden.version}", by=ADA)
    with pytest.raises(Withheld):
        house.resolver.find(MAIN, hidden.filename, by=OPERATOR)
    house.curator.set_rules(MAIN, ["scope=", "deny="], by=ADA)
    assert house.resolver.page(MAIN, "demo", by=OPERATOR).versions == versions


def test_each_decision_is_one_row_of_the_audit_and_none_where_nothing_changes(house: House) -> None:
    for _ in range(2):
        house.curator.set_rules(MAIN, ["min_age=3d"], by=ADA)
        house.curator.exempt(MAIN, "x==1", reason="a fix", until="2999-01-01", by=ADA)
        house.curator.hold(MAIN, "Demo", version="1.0.0", reason="malware", by=ADA)
    rows = house.written()[0]
    assert [row.action for row in rows] == ["index.rules", "index.exempt", "release.hold"]
    assert json.loads(rows[0].after or "") == {"min_age": "3d"}
    assert {row.actor for row in rows} == {"ada"}
    found = house.curator.rules(MAIN, by=ADA)
    assert [each["subject"] for each in found["exemptions"]] == ["x==1"]
    assert [(each["project"], each["target"]) for each in found["holds"]] == [("demo", "1")]


def test_what_is_held_is_withheld_and_let_go_again(house: House) -> None:
    house.curator.hold(MAIN, "demo", version="1.0", reason="steals tokens", by=ADA)
    page = house.resolver.page(MAIN, "demo", by=OPERATOR)
    assert "1.0" not in page.versions
    with pytest.raises(Withheld, match="steals tokens"):
        house.resolver.find(MAIN, page.withheld[0].file.filename, by=OPERATOR)
    house.curator.unhold(MAIN, "demo", version="1.0", by=ADA)
    assert "1.0" in house.resolver.page(MAIN, "demo", by=OPERATOR).versions


def test_wrong_decisions_are_refused_and_change_nothing(house: House) -> None:
    refused: list[Callable[[], object]] = [
        lambda: house.curator.set_rules(MAIN, ["deny=x", "min_age=soon"], by=ADA),
        lambda: house.curator.exempt(MAIN, "demo", reason="", by=ADA),
        lambda: house.curator.exempt(MAIN, "demo", reason="x", until="2001-01-01", by=ADA),
        lambda: house.curator.exempt(MAIN, "not a name", reason="x", by=ADA),
        lambda: house.curator.hold(MAIN, "demo", reason="x", by=ADA),
        lambda: house.curator.hold(MAIN, "demo", version="1", filename="f", reason="x", by=ADA),
        lambda: house.curator.hold(MAIN, "demo", version="1", reason="", by=ADA),
        lambda: house.curator.hold(MAIN, "../x", version="1", reason="x", by=ADA),
    ]
    for act in refused:
        with pytest.raises(BadRequest):
            act()
    assert house.written()[0] == []
    with pytest.raises(NotFound):
        house.curator.set_rules("nowhere", ["deny=x"], by=OPERATOR)
