"""Requirements taken apart for people."""

from __future__ import annotations

import pytest

from pidex.core import needs


@pytest.mark.parametrize(
    ("line", "project", "versions", "marker", "extra"),
    [
        (
            "Re.Quests[socks]>=2; python_version<'3.9' and extra == 'Net_x'",
            "re-quests", ">=2", 'python_version < "3.9"', "net-x",
        ),
        ("foo; extra=='a'", "foo", "", "", "a"),
        ("old (>=1)", "old", ">=1", "", ""),
        ("very-old >=1", "very-old", ">=1", "", ""),
        ("][", "", "", "", ""),
        ("x" + "(" * 500, "", "", "", ""),
        ("a" * 3_000, "", "", "", ""),
    ],
)  # fmt: skip
def test_a_line_is_read_or_kept_as_it_is(
    line: str, project: str, versions: str, marker: str, extra: str
) -> None:
    (need,) = needs.read([line])
    assert (need.project, need.versions, need.marker, need.extra) == (project, versions, marker, extra)
    assert need.text == line[: needs.MAX_LINE]


def test_what_is_always_needed_comes_first() -> None:
    groups = needs.by_extra(needs.read(["z; extra == 'b'", "a", "y; extra == 'a'"]))
    assert [*groups] == ["", "a", "b"]
