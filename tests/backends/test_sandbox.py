"""The pool of children that looks into archives: what it says, what it survives, what it leaves behind."""

from __future__ import annotations

import lzma
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pidex.backends.sandbox import Sandbox
from pidex.core.errors import PidexError
from pidex.core.limits import Limits
from pidex.core.model import Entry, Look, PlaceState, Stat
from tests import samples

LIMITS = Limits()
pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at processes through /proc")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(children=1)
    yield made
    made.close()


def entry(path: Path) -> Entry:
    found = path.stat()
    return Entry(
        0, path.name, Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
    )


def look(sandbox: Sandbox, path: Path, check: str = "whole") -> Look:
    return sandbox.inspect(str(path), entry(path), check)


def children() -> list[int]:
    """Process ids of the living children that sandboxes of this process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            program = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"pidex.backends.inspection" in program:
            found.append(int(path.parent.name))
    return found


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def stopped(sandbox: Sandbox) -> int:
    """The one child of a sandbox, made to wait."""
    before = set(children())
    sandbox.probe()
    (child,) = set(children()) - before
    os.kill(child, signal.SIGSTOP)
    return child


def test_a_whole_file(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0", requires_python=">=3.8"))
    found = look(sandbox, path)
    assert found.state is PlaceState.WHOLE
    assert found.entry == entry(path)
    assert found.facts is not None
    assert found.facts.requires_python == ">=3.8"
    assert found.facts.metadata == samples.core_metadata("foo", "1.0", requires_python=">=3.8")


def test_a_file_that_is_not_whole_yet_and_one_that_never_will_be(sandbox: Sandbox, tmp_path: Path) -> None:
    filename, data = samples.wheel("foo", "1.0")
    growing = look(sandbox, samples.write(tmp_path, (filename, data[:400])))
    assert (growing.state, growing.code, growing.facts) == (PlaceState.PENDING, "truncated", None)
    damaged = look(sandbox, samples.write(tmp_path, (filename, b"<html>gone</html>")))
    assert (damaged.state, damaged.code) == (PlaceState.REFUSED, "html")
    assert "web page" in (damaged.reason or "")
    nameless = look(sandbox, samples.write(tmp_path, ("docs.zip", data)))
    assert (nameless.state, nameless.code) == (PlaceState.REFUSED, "bad-filename")


def test_an_unchecked_file_is_whole_whatever_it_holds(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path, ("foo-1.0.tar.gz", b"anything"))
    found = look(sandbox, path, "none")
    assert found.state is PlaceState.WHOLE
    assert found.facts is not None
    assert found.facts.size == 8


def test_the_age_of_a_file_is_counted_from_its_ctime(tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wininst("foo", "1.0"))
    os.utime(path, (1, 1))  # cp -p and rsync set the time of the original
    for clock, state in ((time.time, PlaceState.PENDING), (lambda: time.time() + 9, PlaceState.WHOLE)):
        made = Sandbox(children=1, clock=clock)
        try:
            assert look(made, path).state is state
        finally:
            made.close()


def test_what_is_no_regular_file_is_refused_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "foo-1.0.tar.gz")
    (tmp_path / "foo-2.0.tar.gz").mkdir()
    (tmp_path / "foo-3.0.tar.gz").symlink_to("/dev/zero")
    for path in tmp_path.iterdir():
        found = look(sandbox, path)
        assert (found.state, found.code) == (PlaceState.REFUSED, "not-a-file")


def test_links(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path / "elsewhere", samples.wheel("foo", "1.0"))
    link = tmp_path / path.name
    link.symlink_to(path)
    assert look(sandbox, link).state is PlaceState.WHOLE
    known = entry(path)
    link.unlink()
    assert (sandbox.inspect(str(link), known, "whole").state) is PlaceState.UNREAD
    link.symlink_to(link)
    looped = sandbox.inspect(str(link), known, "whole")
    assert (looped.state, looped.code) == (PlaceState.REFUSED, "unreadable")
    assert (sandbox.inspect(f"{path}/x", known, "whole").code) == "gone"
    assert (sandbox.inspect(f"{path}\0", known, "whole").state) is PlaceState.REFUSED


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_of_somebody_else(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    path.chmod(0)
    found = look(sandbox, path)
    assert (found.state, found.code) == (PlaceState.REFUSED, "unreadable")


def test_a_file_that_is_not_the_one_listed(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    known = entry(path)
    path.write_bytes(path.read_bytes() + b"x")
    assert sandbox.inspect(str(path), known, "whole").state is PlaceState.UNREAD


def test_a_file_that_changes_while_it_is_read(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    child = stopped(sandbox)
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(look, sandbox, path)
        until(lambda: any(path.samefile(link) for link in Path("/proc/self/fd").iterdir() if link.exists()))
        with path.open("ab") as file:
            file.write(b"x")
        os.kill(child, signal.SIGCONT)
        found = under_way.result(20)
    assert (found.state, found.code) == (PlaceState.UNREAD, "changed")


def test_a_killed_child_is_a_refusal_and_the_next_look_works(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    child = stopped(sandbox)
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(look, sandbox, path)
        until(lambda: any(path.samefile(link) for link in Path("/proc/self/fd").iterdir() if link.exists()))
        os.kill(child, signal.SIGKILL)
        found = under_way.result(20)
    assert (found.state, found.code) == (PlaceState.REFUSED, "crashed")
    assert "SIGKILL" in (found.reason or "")
    assert look(sandbox, path).state is PlaceState.WHOLE
    assert child not in children()


def test_a_look_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    sandbox = Sandbox(children=1, limits=replace(LIMITS, seconds=0.2))
    try:
        child = stopped(sandbox)
        found = look(sandbox, path)
        assert (found.state, found.code) == (PlaceState.REFUSED, "timeout")
        assert child not in children()
    finally:
        sandbox.close()


def test_time_grows_with_the_file() -> None:
    assert LIMITS.time(0) == 60
    assert LIMITS.time(3_000_000_000) == 660


def test_a_child_that_died_between_two_looks_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    os.kill(stopped(sandbox), signal.SIGKILL)
    until(lambda: not children())
    assert look(sandbox, path).state is PlaceState.WHOLE


def test_more_memory_than_allowed_is_a_refusal(tmp_path: Path) -> None:
    tar = samples.tarred([("foo-1.0/PKG-INFO", samples.core_metadata("foo", "1.0"))])
    data = bytearray(lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}]))
    data[16] = 30  # xz's notation for a dictionary of 128 MiB
    data[20:24] = struct.pack("<I", zlib.crc32(bytes(data[12:20])))
    path = samples.write(tmp_path, ("foo-1.0.tar.xz", bytes(data)))
    generous = replace(LIMITS, xz_bytes=1 << 30)
    for memory, state in ((512 << 20, PlaceState.WHOLE), (200 << 20, PlaceState.REFUSED)):
        sandbox = Sandbox(children=1, limits=replace(generous, memory_bytes=memory))
        try:
            found = look(sandbox, path)
            assert found.state is state
            assert (
                look(sandbox, samples.write(tmp_path, samples.wheel("foo", "1.0"))).state is PlaceState.WHOLE
            )
        finally:
            sandbox.close()
    assert found.code == "too-large"


def test_many_threads_share_few_children(tmp_path: Path) -> None:
    paths = [samples.write(tmp_path, samples.wheel(f"foo{n}", "1.0")) for n in range(60)]
    sandbox = Sandbox(children=2)
    before, most = len(children()), 0
    try:
        with ThreadPoolExecutor(8) as threads:
            for path, found in zip(paths, threads.map(lambda path: look(sandbox, path), paths), strict=True):
                assert found.entry.path == path.name
                assert found.facts is not None
                assert found.facts.name == path.name.partition("-")[0]
                most = max(most, len(children()) - before)
    finally:
        sandbox.close()
    assert 1 <= most <= 2
    assert len(children()) == before


def test_a_child_is_replaced_after_its_share_of_looks(tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    sandbox = Sandbox(children=1, limits=replace(LIMITS, jobs=3))
    seen: set[int] = set()
    try:
        for _ in range(7):
            assert look(sandbox, path).state is PlaceState.WHOLE
            seen.update(children())
    finally:
        sandbox.close()
    assert len(seen) == 3


def test_idle_children_end(tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    sandbox = Sandbox(children=2, idle_seconds=0.05)
    try:
        assert look(sandbox, path).state is PlaceState.WHOLE
        until(lambda: not children())
        assert look(sandbox, path).state is PlaceState.WHOLE
        until(lambda: not children())
    finally:
        sandbox.close()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    def look_at_all() -> None:
        sandbox = Sandbox(children=2)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda path: look(sandbox, path), paths * 5))
        sandbox.close()

    paths = [samples.write(tmp_path, samples.wheel(f"foo{n}", "1.0")) for n in range(4)]
    paths += [samples.write(tmp_path, ("foo-1.0.zip", b"")), tmp_path]
    look_at_all()
    until(lambda: all(thread.name != "sandbox-idle" for thread in threading.enumerate()))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        look_at_all()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not children()


def test_a_child_sees_no_environment_and_has_limits(sandbox: Sandbox) -> None:
    sandbox.probe()
    (child,) = children()
    assert Path(f"/proc/{child}/environ").read_bytes() == b""
    limits = Path(f"/proc/{child}/limits").read_text().splitlines()
    bounds = {line[:26].strip(): line[26:].split()[1] for line in limits[1:]}
    assert bounds["Max address space"] == str(LIMITS.memory_bytes)
    assert bounds["Max file size"] == "0"
    assert bounds["Max open files"] == "32"


def test_after_close_nothing_is_looked_at(tmp_path: Path) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    sandbox = Sandbox(children=1)
    child = stopped(sandbox)
    with ThreadPoolExecutor(2) as threads:
        under_way = threads.submit(look, sandbox, path)
        until(lambda: any(path.samefile(link) for link in Path("/proc/self/fd").iterdir() if link.exists()))
        waiting = threads.submit(look, sandbox, path)
        sandbox.close()
        assert under_way.result(20).state is PlaceState.UNREAD
        assert waiting.result(20).state is PlaceState.UNREAD
    assert look(sandbox, path).state is PlaceState.UNREAD
    assert child not in children()


def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pidex.backends.sandbox import Sandbox; s = Sandbox(children=1); s.probe();"
        "print(*(c._process.pid for c in s._idle), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert Path(f"/proc/{child}").exists()
    finally:
        parent.kill()
        parent.communicate()
    until(lambda: not Path(f"/proc/{child}").exists() or b") Z " in Path(f"/proc/{child}/stat").read_bytes())


def test_where_no_child_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = samples.write(tmp_path, samples.wheel("foo", "1.0"))
    sandbox = Sandbox(children=1)
    try:
        for broken in ("/bin/false", str(tmp_path / "missing")):
            monkeypatch.setattr(sys, "executable", broken)
            found = look(sandbox, path)
            assert (found.state, found.code) == (PlaceState.UNREAD, "sandbox")
            with pytest.raises(PidexError, match="could be started"):
                sandbox.probe()
        monkeypatch.undo()
        assert look(sandbox, path).state is PlaceState.WHOLE
    finally:
        sandbox.close()


def test_strict_findings_come_with_the_facts(sandbox: Sandbox, tmp_path: Path) -> None:
    name, data = samples.wheel("foo", "1.0")
    path = samples.write(tmp_path, ("foo-1.0-py2-none-any.whl", data))
    facts = look(sandbox, path, "strict").facts
    assert facts is not None
    assert facts.framing is not None
    assert facts.framing.errors == ()
    (warning,) = facts.framing.warnings
    assert warning.startswith("The tags in the WHEEL file ('py3-none-any')")
    facts = look(sandbox, samples.write(tmp_path, (name, data))).facts
    assert facts is not None
    assert facts.framing is None
