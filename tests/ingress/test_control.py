"""The server's socket for commands: what it answers, to whom, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from pidex.core.changes import Kept
from pidex.core.errors import (
    BadRequest,
    Busy,
    CannotStart,
    Changing,
    Conflict,
    NotFound,
    PidexError,
    TooLarge,
)
from pidex.core.model import Principal
from pidex.ingress import control
from pidex.ingress.control import NAME, Call, Control, ask
from tests.nobody import UID, as_nobody, let_in, needs_root
from tests.walks.server import until


def who(*, by: Principal) -> dict[str, object]:
    """Who is calling."""
    return {"name": by.name, "via": by.via, "groups": by.groups}


def add(one: int, other: int = 1, *, by: Principal) -> int:
    """A sum."""
    return one + other


def count(to: int, *, progress: Callable[[int, int], None], by: Principal) -> str:
    """Something that takes long."""
    for number in range(to):
        progress(number, to)
    return "done"


def read(*, files: Sequence[BinaryIO], by: Principal) -> list[str]:
    """What is in files."""
    return [file.read().decode() for file in files]


def refuse(*, by: Principal) -> None:
    raise Conflict("It is there already.")


def wait(*, by: Principal) -> None:
    raise Busy("Not yet.", retry_after=5)


def fail(*, by: Principal) -> None:
    raise RuntimeError("secret detail")


def kept(*, by: Principal) -> Kept:
    return Kept("a-1.zip", "0" * 64, 5, 6, "by", "how")


CALLS: dict[str, Call] = {
    each.__name__: each for each in (who, add, count, read, refuse, wait, fail, kept)
}  # fmt: skip


def listens(path: Path) -> bool:
    """Whether somebody answers at a Unix socket: it has its name a moment before."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError as error:
            return "too long" in str(error) and path.exists()  # no client of ours connects by such a path
    return True


@contextmanager
def serving(folder: Path, calls: dict[str, Call] = CALLS) -> Iterator[Control]:
    stop = threading.Event()
    served = Control(folder, calls)
    thread = threading.Thread(target=served.run, args=(stop,))
    thread.start()
    try:
        until(lambda: listens(folder / NAME))
        yield served
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert not (folder / NAME).exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    with serving(folder):
        yield folder


def raw(folder: Path, *lines: bytes) -> list[dict[str, object]]:
    """Send bytes as they are; what comes back until the server hangs up or nothing more is asked."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / NAME))
        for line in lines:
            connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while block := connection.recv(65536):
            data += block
    return [json.loads(line) for line in data.splitlines()]


def test_a_call_is_answered(folder: Path) -> None:
    assert ask(folder, "add", {"one": 2, "other": 3}) == 5
    assert ask(folder, "kept", {}) == {
        "filename": "a-1.zip", "sha256": "0" * 64, "size": 5, "replaced": 6, "by": "by", "how": "how",
    }  # fmt: skip


def test_the_caller_is_who_the_kernel_says(folder: Path) -> None:
    import pwd

    assert ask(folder, "who", {}) == {
        "name": pwd.getpwuid(os.geteuid()).pw_name, "via": "command", "groups": ["authenticated", "operator"],
    }  # fmt: skip
    with pytest.raises(BadRequest, match="who calls is not among them"):
        ask(folder, "who", {"by": "somebody"})


def test_only_the_owner_reaches_it(folder: Path) -> None:
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


@needs_root
def test_somebody_else_is_sent_away(tmp_path: Path) -> None:
    with serving(tmp_path):
        let_in(tmp_path)
        assert "Permission denied" in as_nobody(lambda: str(ask(tmp_path, "who", {})))
        os.chmod(tmp_path / NAME, 0o666)
        assert "belongs to somebody else" in as_nobody(lambda: str(ask(tmp_path, "who", {})))
        os.chown(tmp_path, UID, UID)
        assert "'nobody'" in as_nobody(lambda: str(ask(tmp_path, "who", {})))


def test_progress_is_told(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    assert ask(folder, "count", {"to": 3}, progress=lambda *each: told.append(each)) == "done"
    assert told == [(0, 3), (1, 3), (2, 3)]


def test_files_are_handed_over(folder: Path, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_text(name * 3)
    with (tmp_path / "a").open("rb") as one, (tmp_path / "b").open("rb") as other:
        assert ask(folder, "read", {}, files=(one, other)) == ["aaa", "bbb"]
    assert ask(folder, "read", {}) == []


def test_no_descriptor_stays_open(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with (tmp_path / "a").open("rb") as one:
        ask(folder, "read", {}, files=(one,))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            ask(folder, "read", {}, files=(one,))
            with pytest.raises(BadRequest):
                ask(folder, "add", {"one": 1}, files=(one,))
        until(lambda: len(os.listdir("/proc/self/fd")) <= before)


@pytest.mark.parametrize(
    ("name", "args", "error", "words"),
    [
        ("refuse", {}, Conflict, "It is there already."),
        ("nothing", {}, NotFound, "no call 'nothing'"),
        ("add", {}, BadRequest, "missing"),
        ("add", {"one": 1, "two": 2}, BadRequest, "two"),
        ("fail", {}, PidexError, "the server's log says more"),
    ],
)
def test_refusals_come_back_as_they_were(
    folder: Path, name: str, args: dict[str, object], error: type[PidexError], words: str
) -> None:
    with pytest.raises(error, match=words) as refusal:
        ask(folder, name, args)
    assert type(refusal.value) is error
    assert "secret" not in str(refusal.value)


def test_when_to_try_again_comes_back(folder: Path) -> None:
    with pytest.raises(Busy) as refusal:
        ask(folder, "wait", {})
    assert refusal.value.retry_after == 5


@pytest.mark.parametrize(
    "line", [b"hello", b"[]", b'{"call": 1}', b'{"call": "add", "args": [1]}', b"\xff", b"[" * 9000]
)
def test_what_is_no_call_is_said_so(folder: Path, line: bytes) -> None:
    told = raw(folder, line + b"\n", b'{"call": "add", "args": {"one": 1}}\n')
    assert told[0]["error"]["code"] == "bad-request"  # type: ignore[index]
    assert told[1] == {"result": 2}


def test_several_calls_on_one_connection(folder: Path) -> None:
    line = b'{"call": "add", "args": {"one": 1}}\n'
    assert raw(folder, line * 3, line[:5], line[5:]) == [{"result": 2}] * 4
    assert raw(folder, line[:-1]) == []


def test_a_line_has_an_end(folder: Path) -> None:
    with pytest.raises(TooLarge):
        ask(folder, "add", {"one": "x" * control.LINE_BYTES})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / NAME))
        try:
            for _ in range(3 * control.LINE_BYTES // 65536):
                connection.sendall(b"x" * 65536)
        except OSError:
            return  # it hung up
        assert b"too-large" in connection.recv(65536)


def test_many_callers_at_once(folder: Path) -> None:
    results: list[object] = []
    threads = [
        threading.Thread(target=lambda number: results.append(ask(folder, "add", {"one": number})), args=(n,))
        for n in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, results)) == sorted(str(number + 1) for number in range(30))


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / NAME))
    with pytest.raises(ConnectionRefusedError):
        ask(tmp_path, "add", {"one": 1})
    with serving(tmp_path):
        until(lambda: _answers(tmp_path))


def _answers(folder: Path) -> bool:
    try:
        return bool(ask(folder, "add", {"one": 1}) == 2)
    except OSError:
        return False


def test_where_no_server_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask(tmp_path, "add", {"one": 1})


def test_a_long_path_is_no_trouble(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    assert len(str(folder / NAME)) > control.PATH_BYTES
    with serving(folder):
        assert until(lambda: _answers(folder))


def test_a_long_path_is_explained_where_it_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("pidex.ingress.control.sys.platform", "darwin")
    with pytest.raises(CannotStart, match="shorter path by --data"):
        control.listen(folder)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="cannot be made"):
        control.listen(tmp_path / "missing")


def test_the_end_waits_for_calls_and_not_for_callers(tmp_path: Path) -> None:
    began, go = threading.Event(), threading.Event()
    answers: list[object] = []

    def slow(*, by: Principal) -> str:
        began.set()
        go.wait(10)
        return "finished"

    with serving(tmp_path, {"slow": slow}), socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(tmp_path / NAME))
        caller = threading.Thread(target=lambda: answers.append(ask(tmp_path, "slow", {})))
        caller.start()
        assert began.wait(10)
        threading.Timer(0.2, go.set).start()
    caller.join(10)
    assert answers == ["finished"]


def test_a_server_that_ends_in_the_middle(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / NAME))
        listener.listen()

        def cut() -> None:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(Changing, match="before it had answered add"):
            ask(tmp_path, "add", {"one": 1})
        thread.join()
