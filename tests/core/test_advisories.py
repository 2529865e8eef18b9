"""OSV's records: what they say of whom, from which version to which, and how bad it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pidex.core.advisories import Advisories, read
from pidex.core.errors import BadRequest
from pidex.core.model import Advisory


def record(id_: str = "GHSA-aaaa", *, name: str = "Demo_Pkg", **more: Any) -> dict[str, Any]:
    """A record of OSV about one package."""
    part: dict[str, Any] = {"package": {"ecosystem": "PyPI", "name": name}}
    part |= {key: more.pop(key) for key in ("versions", "ranges") if key in more}
    return {"id": id_, "modified": "2026-01-01T00:00:00Z", "summary": "It leaks", "affected": [part], **more}


def events(*pairs: str, kind: str = "ECOSYSTEM") -> list[dict[str, Any]]:
    """One range, of 'introduced=0' and the like."""
    return [{"type": kind, "events": [dict([pair.split("=")]) for pair in pairs]}]


def advisory(**more: Any) -> Advisory:
    found = read(json.dumps(record(**more)).encode())["demo-pkg"]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("said", "inside", "outside"),
    [
        (("introduced=0", "fixed=1.2"), ("0.1", "1.0", "1.1.9", "1.2rc1", "0.dev0"), ("1.2", "1.2.0", "2.0")),
        (("introduced=1.0", "last_affected=1.4"), ("1.0", "1.4", "1.4.0"), ("0.9", "1.4.1", "1.4.post1")),
        (("introduced=2.0",), ("2.0.0", "99"), ("1.9.9", "2.0rc1")),
        (
            ("introduced=2.0", "fixed=2.5", "introduced=0", "fixed=1.5"),
            ("1.4", "2.0", "2.4.9"),
            ("1.5", "1.9", "2.5"),
        ),
    ],
)
def test_ranges_are_half_open_and_in_the_order_of_versions(
    said: tuple[str, ...], inside: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    found = Advisories([advisory(ranges=events(*said))])
    assert [version for version in inside if not found.of(version)] == []
    assert [version for version in outside if found.of(version)] == []


def test_versions_count_however_they_are_spelled_and_commits_of_git_do_not() -> None:
    found = Advisories([advisory(versions=["1.0", "2.0rc1"], ranges=events("introduced=0", kind="GIT"))])
    assert found.of("1.0.0") == found.of("2.0.rc.1") == (found.every[0],)
    assert found.of("3.0") == ()


def test_the_worst_comes_first() -> None:
    every = [
        advisory(id_="PYSEC-1", versions=["1"]),
        advisory(id_="GHSA-1", versions=["1"], database_specific={"severity": "HIGH"}),
        advisory(id_="MAL-2026-1", versions=["1"]),
    ]
    found = Advisories(every).of("1")
    assert [(each.id, each.rating, each.malware) for each in found] == [
        ("MAL-2026-1", "", True),
        ("GHSA-1", "high", False),
        ("PYSEC-1", "", False),
    ]


@pytest.mark.parametrize(
    ("vector", "rating"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "critical"),  # 9.8
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", "medium"),  # 6.1
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", "high"),  # 7.5
        ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", "low"),  # 1.6
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", ""),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", ""),
        ("CVSS:3.1/AV:X", ""),
    ],
)
def test_a_vector_is_rated(vector: str, rating: str) -> None:
    assert advisory(severity=[{"type": "CVSS_V3", "score": vector}]).rating == rating


def test_what_is_said_is_kept_and_bounded() -> None:
    found = advisory(
        ranges=events("introduced=0", "fixed=1.5"),
        summary="long \n" * 200,
        details="x" * 20_000,
        aliases=["CVE-2026-1"],
    )
    assert found.fixed_in == ("1.5",)
    assert (len(found.summary) <= 300, len(found.details), found.aliases) == (True, 10_000, ("CVE-2026-1",))
    assert found.link.endswith("/GHSA-aaaa")


def test_others_and_withdrawn_ones() -> None:
    other = record(name="left-pad")
    other["affected"][0]["package"]["ecosystem"] = "npm"
    assert read(json.dumps(other).encode()) == {}
    assert read(json.dumps(record(withdrawn="2026-02-01T00:00:00Z")).encode()) == {"demo-pkg": None}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{", b"{}", b'{"id": "X"}', b'{"id": 7, "modified": "2026-01-01T00:00:00Z"}',
        b'{"id": "X", "modified": "soon"}', b'{"id": "X", "modified": 5}',
        b'{"id": "a\\u0000b", "modified": "2026-01-01T00:00:00Z"}',
        b'{"id": "X", "modified": "2026-01-01T00:00:00Z", "affected": 5}',
        b'{"id": "X", "modified": "2026-01-01T00:00:00Z", "affected": [5]}',
        json.dumps(record(versions=["1"] * 20_001)).encode(),
        json.dumps(record(ranges=[5])).encode(),
        json.dumps(record(severity=5)).encode(),
        json.dumps(record(database_specific=5)).encode(),
    ],
)  # fmt: skip
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest, match="no record of OSV"):
        read(data)
