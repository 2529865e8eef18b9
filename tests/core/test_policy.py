"""What an index shows of a project's files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pidex.core import names
from pidex.core.advisories import Advisories
from pidex.core.errors import BadRequest
from pidex.core.model import SEVERITIES, Advisory, File, PackageType
from pidex.core.policy import (
    NONE,
    RULES,
    Circumstances,
    Exemption,
    Hold,
    Judgement,
    Rules,
    hides_project,
    judge,
    vulnerable_yank,
)
from pidex.core.rulebook import KEYS, described, edited, rules_of
from pidex.core.terms import term_of

DAY = 86_400
NOW = 1_790_000_000.0


def mirrored(filename: str, *, age: float = 100 * DAY, size: int = 1_000, origin: str = "up") -> File:
    found = names.parse(filename)
    return File(
        filename=filename,
        project=found.project,
        name=found.name,
        version=found.version,
        packagetype=found.packagetype,
        python_version=found.python_version,
        sha256="0" * 64,
        blake2b_256="1" * 64,
        md5="",
        size=size,
        upload_time=int((NOW - age) * 1_000_000),
        origin=origin,
    )


def shown(rules: str, *files: File, **more: object) -> list[str]:
    return [file.filename for file in judged(rules, *files, **more).shown]


def judged(rules: str, *files: File, **more: object) -> Judgement:
    at = Circumstances(now=NOW, **more)  # type: ignore[arg-type]
    return judge(rules_of(edited(None, rules.split(";"))), files, at)


OLD, YOUNG = mirrored("demo-1.0.tar.gz"), mirrored("demo-2.0.tar.gz", age=DAY)


def test_no_rules_hide_nothing() -> None:
    assert judge(NONE, (OLD, YOUNG), Circumstances(NOW)) == Judgement((OLD, YOUNG))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("min_age=3d", ["demo-1.0.tar.gz"]),
        ("min_age=12h", ["demo-1.0.tar.gz", "demo-2.0.tar.gz"]),
        ("freeze_at=2026-01-01", []),
        ("deny=demo>=2", ["demo-1.0.tar.gz"]),
        ("deny=dem?", []),
        ("allow=demo==2.0", ["demo-2.0.tar.gz"]),
        ("allow=other", []),
        ("constraints=demo<2", ["demo-1.0.tar.gz"]),
        ("constraints=other<2", ["demo-1.0.tar.gz", "demo-2.0.tar.gz"]),
        ("constraints=other<2\n*", []),
        ("types=bdist_wheel", []),
        ("max_size=999", []),
        ("max_size=1kB", ["demo-1.0.tar.gz", "demo-2.0.tar.gz"]),
        ("keep_latest=1", ["demo-2.0.tar.gz"]),
        ("keep_latest=1;min_age=3d", ["demo-1.0.tar.gz"]),
        ("licences=MIT", ["demo-1.0.tar.gz", "demo-2.0.tar.gz"]),
        ("licences=MIT;licence_unknown=no", []),
        ("min_age=3d;dry_run=yes", ["demo-1.0.tar.gz", "demo-2.0.tar.gz"]),
    ],
)
def test_each_rule(rules: str, expected: list[str]) -> None:
    assert shown(rules, OLD, YOUNG) == expected


def test_pre_releases_platforms_and_pythons() -> None:
    wheel = mirrored("demo-1.0-cp312-cp312-win_amd64.whl")
    early = mirrored("demo-2.0rc1-py3-none-any.whl")
    assert shown("prereleases=false", wheel, early) == [wheel.filename]
    assert shown("platforms=manylinux*", wheel, early) == [early.filename]
    assert shown("pythons=3.11", wheel, early) == [early.filename]
    assert shown("pythons=3.11 3.12", wheel, early) == [wheel.filename, early.filename]


def test_own_files_are_left_alone_unless_all_are_meant() -> None:
    own = replace(YOUNG, origin="")
    assert shown("min_age=3d", own) == [own.filename]
    assert shown("min_age=3d;scope=all", own) == []
    assert shown("keep_latest=1", replace(OLD, origin=""), YOUNG) == [OLD.filename, YOUNG.filename]


def test_a_young_file_says_when_it_opens_and_the_page_changes_then() -> None:
    found = judged("min_age=3d", OLD, YOUNG)
    assert found.valid_until == pytest.approx(NOW + 2 * DAY)
    (kept,) = found.withheld
    assert kept.rule == "min_age"
    assert kept.until == found.valid_until
    assert "3 days" in kept.reason
    later = judge(rules_of(edited(None, ["min_age=3d"])), (OLD, YOUNG), Circumstances(NOW + 2 * DAY))
    assert later.shown == (OLD, YOUNG)
    assert later.valid_until is None


def test_an_unknown_age_is_not_old() -> None:
    assert shown("min_age=1h", replace(OLD, upload_time=-1)) == []
    assert shown("freeze_at=2099-01-01", replace(OLD, upload_time=-1)) == []


def test_an_exemption_lifts_every_rule_until_it_ends() -> None:
    exempt = Exemption(term_of("demo==2.0"), int((NOW + DAY) * 1_000_000), "a fix")
    found = judged("min_age=3d;deny=demo;keep_latest=1", OLD, YOUNG, exemptions=[exempt])
    assert [file.filename for file in found.shown] == [YOUNG.filename]
    assert found.valid_until == pytest.approx(NOW + DAY)
    ended = replace(exempt, until=int(NOW * 1_000_000))
    assert shown("deny=demo", OLD, YOUNG, exemptions=[ended]) == []


def test_a_hold_is_lifted_by_nothing() -> None:
    hold = Hold("release", "2", "malware")
    exempt = Exemption(term_of("demo"), None, "all of it")
    found = judged("dry_run=yes", OLD, YOUNG, holds=[hold], exemptions=[exempt])
    assert [file.filename for file in found.shown] == [OLD.filename]
    assert found.withheld[0].rule == "hold"
    own = replace(YOUNG, origin="")
    assert judge(NONE, [own], Circumstances(NOW, holds=[hold])).shown == ()
    assert judge(NONE, [OLD], Circumstances(NOW, holds=[Hold("file", OLD.filename, "x")])).shown == ()


def test_a_dry_run_reports_what_it_would_keep_back() -> None:
    found = judged("min_age=3d;dry_run=true", OLD, YOUNG)
    assert found.withheld == ()
    assert [each.file.filename for each in found.reported] == [YOUNG.filename]


def test_licences() -> None:
    by_name = {"demo-1.0.tar.gz": "MIT", "demo-2.0.tar.gz": "AGPL-3.0-only"}
    at = {"licence": lambda file: by_name[file.filename]}
    assert shown("licences_denied=AGPL-*", OLD, YOUNG, **at) == [OLD.filename]
    assert shown("licences=MIT", OLD, YOUNG, **at) == [OLD.filename]


def test_names_are_hidden_where_no_file_could_show() -> None:
    rules = rules_of(edited(None, ["allow=demo acme-*", "deny=acme-bad other>1"]))
    assert hides_project(rules, "demo", mirrored=True) is None
    assert hides_project(rules, "acme-bad", mirrored=True) is not None
    assert hides_project(rules, "else", mirrored=True) is not None
    assert hides_project(rules, "else", mirrored=False) is None
    held = rules_of(edited(None, ["constraints=demo<2\n*", "dry_run=on"]))
    assert hides_project(held, "else", mirrored=True) is None


FILES = st.lists(
    st.builds(
        mirrored,
        st.sampled_from(
            [
                "demo-1.0.tar.gz",
                "demo-2.0-py3-none-any.whl",
                "demo-3.0a1.tar.gz",
                "demo-0.1-cp311-cp311-linux_x86_64.whl",
            ]
        ),
        age=st.integers(-DAY, 10 * DAY),
        size=st.integers(0, 2_000),
        origin=st.sampled_from(["", "up"]),
    ),
    max_size=4,
    unique_by=lambda file: file.filename,
)
EDITS = st.lists(
    st.sampled_from(
        [
            "scope=all",
            "min_age=5d",
            "deny=demo<2",
            "allow=demo>=2",
            "prereleases=no",
            "types=sdist",
            "max_size=1000",
            "keep_latest=2",
            "pythons=3.12",
            "dry_run=yes",
            "freeze_at=2026-09-20",
        ]
    ),
    unique=True,
)


@given(FILES, EDITS, st.integers(0, 20 * DAY))
@settings(max_examples=60)
def test_nothing_is_lost_and_time_alone_changes_at_valid_until(
    files: list[File], edits: list[str], more: int
) -> None:
    rules = rules_of(edited(None, edits))
    found = judge(rules, files, Circumstances(NOW))
    told = [*found.shown, *(each.file for each in found.withheld)]
    assert sorted(file.filename for file in told) == sorted(file.filename for file in files)
    assert all(each.rule in RULES for each in found.withheld)
    if found.valid_until is None or NOW + more < found.valid_until:
        assert judge(rules, files, Circumstances(NOW + more)).shown == found.shown


def advised(*every: str) -> dict[str, Any]:
    """Circumstances in which 1.0 of demo has advisories: 'MAL-1' or 'GHSA-1 high'."""
    found = []
    for each in every:
        name, _, rating = each.partition(" ")
        number = SEVERITIES.index(rating) if rating else 0
        found.append(Advisory(name, "", name.startswith("MAL"), number, "bad", "", ("CVE-1",), ("1.0",), ()))
    return {"advisories": Advisories(found)}


def test_malware_is_kept_back_whatever_is_exempt_and_for_mirrored_files_alone() -> None:
    at = Circumstances(NOW, exemptions=[Exemption(term_of("demo"), None, "x")], **advised("MAL-1"))
    found = judge(NONE, (OLD, YOUNG), at)
    assert found.shown == (YOUNG,)
    assert [(each.rule, str(each.reason)) for each in found.withheld] == [
        ("malware", "it is malware: MAL-1: bad")
    ]
    assert judge(rules_of(edited(None, ["dry_run=yes"])), (OLD,), at).shown == ()
    own = mirrored("demo-1.0.tar.gz", origin="")
    assert judge(NONE, (own,), at).shown == (own,)
    for rules, expected in (
        ("malware=no", [OLD.filename]), ("advisories_accepted=MAL-1", [OLD.filename]),
        ("advisories_accepted=CVE-1", [OLD.filename]), ("advisories_accepted=MAL-2", []),
    ):  # fmt: skip
        assert shown(rules, OLD, **advised("MAL-1")) == expected, rules


@pytest.mark.parametrize(
    ("rules", "known", "expected"),
    [
        ("vulnerable=high", "GHSA-1 high", []),
        ("vulnerable=critical", "GHSA-1 high", ["demo-1.0.tar.gz"]),
        ("vulnerable=any", "PYSEC-1", []),
        ("vulnerable=low", "PYSEC-1", ["demo-1.0.tar.gz"]),
        ("vulnerable=any;advisories_accepted=PYSEC-1", "PYSEC-1", ["demo-1.0.tar.gz"]),
        ("min_age=1d", "GHSA-1 critical", ["demo-1.0.tar.gz"]),
    ],
)
def test_vulnerable_releases_are_kept_back_from_a_severity_on(
    rules: str, known: str, expected: list[str]
) -> None:
    assert shown(rules, OLD, **advised(known)) == expected
    assert shown(rules.replace("min_age=1d", "prereleases=yes"), YOUNG, **advised(known)) == [YOUNG.filename]


def test_a_vulnerability_is_exempt_until_a_time_and_can_be_a_yank() -> None:
    until = int((NOW + DAY) * 1_000_000)
    exempt = [Exemption(term_of("demo==1.0"), until, "no way to mend it yet")]
    assert shown("vulnerable=low", OLD, exemptions=exempt, **advised("GHSA-1 high")) == [OLD.filename]
    rules = rules_of(edited(None, ["vulnerable_yanked=medium"]))
    at = Circumstances(NOW, **advised("GHSA-1 high"))
    assert judge(rules, (OLD,), at).shown == (OLD,)
    assert vulnerable_yank(rules, OLD, at) == "known vulnerability: GHSA-1: bad"
    assert vulnerable_yank(rules, YOUNG, at) is None
    at = Circumstances(NOW, exemptions=exempt, **advised("GHSA-1 high"))
    assert vulnerable_yank(rules, OLD, at) is None
    assert vulnerable_yank(rules, OLD, Circumstances(NOW, **advised("GHSA-1 low"))) is None
    with pytest.raises(BadRequest, match="one of any, low"):
        edited(None, ["vulnerable=very"])


def test_every_rule_has_a_key_and_a_line() -> None:
    assert set(RULES) - {"hold"} <= set(KEYS)
    assert set(KEYS) <= {"constrained", *Rules.__dataclass_fields__}


def test_file_types_are_those_that_exist() -> None:
    assert shown(f"types={PackageType.SDIST.value}", OLD) == [OLD.filename]
    assert described(edited(None, ["types=sdist"])) == {"types": ["sdist"]}
