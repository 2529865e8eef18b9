"""What a push means: trees compared, paths judged, records read back."""

from __future__ import annotations

import pytest

from pidex.core import hooks, pushes
from pidex.core.model import Principal
from pidex.core.pushes import Kind, Moved, Node, Put, Record, Update
from pidex.core.tokens import TokenScope

A, B, C = "a" * 40, "b" * 40, "c" * 40
WHEEL = "demo-1.0-py3-none-any.whl"


def files(*pairs: tuple[str, str], mode: str = "100644") -> dict[str, Node]:
    return {path: Node(mode, oid) for path, oid in pairs}


def test_a_tree_is_read_as_git_prints_it() -> None:
    listing = (
        b"100644 blob " + A.encode() + b"      12\tdemo-1.0.tar.gz\0"
        b"160000 commit " + B.encode() + b"       -\tsub\0"
        b"100755 blob " + C.encode() + b"\tb\xff\nad.whl\0"
    )  # fmt: skip
    assert pushes.tree(listing) == {
        "demo-1.0.tar.gz": Node("100644", A, 12),
        "sub": Node("160000", B, -1),
        "b\udcff\nad.whl": Node("100755", C, -1),
    }


def test_a_tree_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushes, "TREE_ENTRIES", 1)
    line = b"100644 blob " + A.encode()
    with pytest.raises(ValueError, match="more than 1 files"):
        pushes.tree(line + b"\ta\0" + line + b"\tb\0")


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        (WHEEL, True),
        (f"a/b/{WHEEL}", True),
        ("demo-1.0.tar.gz", True),
        ("README.md", False),
        (".gitignore", False),
        (".gitattributes", False),
        (f".github/{WHEEL}", False),
        (f"a/.hidden/{WHEEL}", False),
        (f".{WHEEL}", False),
        (f"{WHEEL}.asc", False),
        (f"{WHEEL}.part", False),
        (f"{WHEEL}.orig", False),
        (f"{WHEEL}~", False),
    ],
)
def test_only_packages_are_listed(path: str, listed: bool) -> None:
    assert pushes.is_listed(path) is listed


def test_the_first_push_adds_everything_and_keeps_other_files_to_itself() -> None:
    plan = pushes.plan({}, files((WHEEL, A), ("README", B), (".gitattributes", C)))
    assert plan == pushes.Plan(put=(Put(WHEEL, A, Kind.ADDED),))


def test_a_file_name_is_replaced_moved_or_removed_wherever_it_lies() -> None:
    old = files(
        (WHEEL, A), ("a/x-1.0.tar.gz", A), ("y-1.0.tar.gz", B), ("z-1.0.tar.gz", C), ("same-1.zip", A)
    )
    new = files((WHEEL, B), ("b/x-1.0.tar.gz", A), ("b/y-1.0.tar.gz", C), ("same-1.zip", A), ("new-1.zip", A))
    plan = pushes.plan(old, new)
    assert plan.put == (
        Put("b/x-1.0.tar.gz", A, Kind.MOVED),
        Put("b/y-1.0.tar.gz", C, Kind.REPLACED),
        Put(WHEEL, B, Kind.REPLACED),
        Put("new-1.zip", A, Kind.ADDED),
    )
    assert plan.gone == ("a/x-1.0.tar.gz", "y-1.0.tar.gz", "z-1.0.tar.gz")
    assert plan.removed == ("z-1.0.tar.gz",)
    assert not plan.refused


def test_another_spelling_of_a_name_is_the_same_name() -> None:
    plan = pushes.plan(files(("Demo-1.0.tar.gz", A)), files(("demo-1.0.tar.gz", A)))
    assert plan.put == (Put("demo-1.0.tar.gz", A, Kind.MOVED),)
    assert plan.gone == ("Demo-1.0.tar.gz",)
    assert plan.removed == ()


def test_a_mode_is_no_change() -> None:
    assert pushes.plan(files((WHEEL, A)), files((WHEEL, A), mode="100755")) == pushes.Plan()


@pytest.mark.parametrize(
    ("path", "mode", "reason"),
    [
        ("vendor", "160000", "submodule"),
        (WHEEL, "160000", "submodule"),
        (WHEEL, "120000", "symbolic link"),
        ("demo.whl", "100644", "demo.whl"),
        ("demo-1.0-py3-none.whl", "100644", "demo-1.0-py3-none.whl"),
        (f"{'d' * 250}-1.0.tar.gz", "100644", "255"),
        (f"../{WHEEL}", "100644", "no path"),
        (f".GIT/{WHEEL}", "100644", "no path"),
        (".git/config", "100644", "no path"),
        ("sub/.git/hooks/pre-receive", "100755", "no path"),
        ("a//b.txt", "100644", "no path"),
        ("de\nmo-1.0.tar.gz", "100644", "control"),
        ("de\udcffmo-1.0.tar.gz", "100644", "UTF-8"),
    ],
)
def test_what_no_tree_may_have(path: str, mode: str, reason: str) -> None:
    plan = pushes.plan({}, {path: Node(mode, A)})
    assert [refusal.path for refusal in plan.refused] == [path]
    assert reason in plan.refused[0].reason
    assert "\n" not in plan.refused[0].line()
    plan.refused[0].line().encode()


def test_what_was_there_before_is_not_asked_again() -> None:
    old = {"vendor": Node("160000", A), WHEEL: Node("100644", A)}
    assert not pushes.plan(old, {**old, "README": Node("100644", B)}).refused


def test_two_paths_with_one_name_are_refused_however_they_are_spelled() -> None:
    new = files(("a/demo-1.0.tar.gz", A), ("b/Demo-1.0.tar.gz", B), ("c/demo-1.0.tar.gz", A))
    plan = pushes.plan({}, new)
    assert [refusal.path for refusal in plan.refused] == ["b/Demo-1.0.tar.gz", "c/demo-1.0.tar.gz"]
    assert "a/demo-1.0.tar.gz" in plan.refused[0].reason


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("link", b"README", False),
        ("a/link", b"../README", False),
        ("a/link", b"./b/../../x", False),
        ("link", b"../x", True),
        ("a/link", b"../../x", True),
        ("link", b"/etc/passwd", True),
        ("link", b"a/../../x", True),
        ("link", b"x" * 5000, True),
    ],
)
def test_links_may_not_leave_the_tree(path: str, target: bytes, out: bool) -> None:
    assert pushes.plan({}, {path: Node("120000", A)}).links == ((path, A),)
    assert pushes.leaves(path, target) is out


def test_updates_are_what_git_says_and_nothing_else() -> None:
    zero = "0" * 40
    assert pushes.updates(f"{zero} {A} refs/heads/main\n{A} {zero} refs/heads/x y\n") == [
        Update(None, A, "refs/heads/main"),
        Update(A, None, "refs/heads/x y"),
    ]
    for wrong in ("x", f"{A} {B}", f"--all {A} refs/heads/main", f"{A[:-1]} {A} r", f"{'A' * 40} {A} r"):
        with pytest.raises(ValueError):  # noqa: PT011
            pushes.updates(wrong)


def test_a_record_is_read_as_it_was_written() -> None:
    record = Record(
        A, B, 1, "ann", (12, "34"), (Moved("p\udcff", A, None), Moved("q", None, B, "c" * 64, True))
    )
    assert pushes.record(record.text()) == record
    assert pushes.record(Record(None, B, 0, "x", None, ()).text()).process is None
    for wrong in ("", "{}", "[]", '{"files": [[1]]}'):
        with pytest.raises(ValueError):  # noqa: PT011
            pushes.record(wrong)


def test_a_push_whose_branch_moved_has_nothing_to_undo() -> None:
    record = Record(A, B, 0, "ann", None, (Moved("p", A, B),))
    assert pushes.undo(record, B) == ()
    assert pushes.undo(record, A) == record.files


def test_a_caller_survives_the_way_through_a_child_process() -> None:
    scope = TokenScope(7, ("main",), ("a*", "b"), ("upload",), 12.5)
    by = Principal("ann", frozenset({"authenticated", "team"}), scope, "token", "10.0.0.1")
    assert hooks.principal(hooks.principal_text(by)) == by
    nobody = Principal()
    assert hooks.principal(hooks.principal_text(nobody)) == nobody
    for wrong in ("", "{}", "null", '{"token": null, "groups": [], "root": true}'):
        with pytest.raises(ValueError):  # noqa: PT011
            hooks.principal(wrong)


def test_lines_have_a_limit_and_no_control_characters() -> None:
    refused = [pushes.Refusal(f"p{number}\x1b[31m", "no") for number in range(5)]
    assert pushes.lines(refused, 3) == ["p0?[31m: no", "p1?[31m: no", "p2?[31m: no", "and 2 more"]
