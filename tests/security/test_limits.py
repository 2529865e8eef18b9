"""B9, T8: what is small to send and large to read is refused or shown as text, at a bounded price."""

# ruff: noqa: E501  # bombs are read by line

from __future__ import annotations

import gzip
import io
import os
import resource
import struct
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pidex.backends.readings import Readings
from pidex.backends.sandbox import Sandbox
from pidex.core import metadata, names, needs
from pidex.core.errors import BadName
from pidex.core.model import Entry, PlaceState, Stat
from pidex.readme import Readmes
from tests import samples

#: Seconds of processor time and bytes of memory that one of them may cost the process that reads it.
SECONDS, MEMORY = 3.0, 50 << 20
MIB = 1 << 20
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")


def spent(child: int) -> tuple[float, int]:
    """Processor time in seconds, and the most memory in bytes, of a process so far."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{child}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return ticks / os.sysconf("SC_CLK_TCK"), peak


def children() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid():
            found.add(int(path.parent.name))
    return found


class Watch:
    """What a child costs, looked at all the time: one that ends takes its figures with it."""

    def __init__(self, child: int) -> None:
        self.seconds, self.memory = 0.0, 0
        self._before, self._ended = spent(child), threading.Event()
        self._thread = threading.Thread(target=self._look, args=(child,))

    def _look(self, child: int) -> None:
        while True:
            try:
                seconds, memory = spent(child)
            except (OSError, IndexError):
                return
            self.seconds, self.memory = seconds - self._before[0], memory - self._before[1]
            if self._ended.wait(0.02):
                return

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


# --- archives ---


def small(member: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(*member)
    return out.getvalue()


def header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("demo-1.0/x")
    info.type, info.size = kind, size
    return info.tobuf()


def empty_members() -> bytes:
    return gzip.compress(header(tarfile.REGTYPE, 0) * 200_000, 1)


def empty_entries() -> bytes:
    """A zip whose directory has one entry 60,000 times: Python takes seconds to write as many."""
    data = small(("x", b""))
    start = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    entries = data[start:end] * 60_000
    counts = struct.pack("<HHII", 60_000, 60_000, len(entries), start)
    return data[:start] + entries + data[end : end + 8] + counts + b"\0\0"


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "200,000 members": ("demo-1.0.tar.gz", empty_members),
    "60,000 entries": ("demo-1.0-py3-none-any.whl", empty_entries),
    "pax header of 64 MiB": (
        "demo-1.0.tar.gz", lambda: gzip.compress(header(tarfile.XHDTYPE, 64 * MIB) + bytes(64 * MIB), 1),
    ),
    "METADATA of 128 MiB": (
        "demo-1.0-py3-none-any.whl", lambda: small(("demo-1.0.dist-info/METADATA", bytes(128 * MIB))),
    ),
    "256 MiB of zeros": (
        "demo-1.0.tar.gz", lambda: gzip.compress(header(tarfile.REGTYPE, 256 * MIB) + bytes(256 * MIB), 1),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[tuple[Sandbox, int]]:
    before = children()
    made = Sandbox(children=1)
    with tempfile.TemporaryDirectory() as place:
        look(made, samples.write(Path(place), samples.wheel("demo", "1.0")))
    (child,) = children() - before
    yield made, child
    made.close()


def look(sandbox: Sandbox, path: Path) -> tuple[PlaceState, str]:
    now = path.stat()
    entry = Entry(0, path.name, Stat(now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_dev))
    found = sandbox.inspect(str(path), entry, "whole")
    return found.state, found.reason or ""


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_at_a_bounded_price(
    sandbox: tuple[Sandbox, int], tmp_path: Path, bomb: str
) -> None:
    filename, made = BOMBS[bomb]
    path = tmp_path / filename
    path.write_bytes(made())
    os.utime(path, (1, 1))
    pool, child = sandbox
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Watch(child) as watch:
        state, reason = look(pool, path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - ours) * 1024
    print(
        f"{bomb}: {path.stat().st_size} bytes, {watch.seconds:.2f} s, {watch.memory / MIB:.0f} MiB: {reason}"
    )
    assert state is PlaceState.REFUSED, reason
    assert len(reason) > 15
    assert watch.seconds <= SECONDS
    assert watch.memory <= MEMORY
    assert grown <= 8 * MIB, "the process that asks reads nothing of it"


# --- READMEs ---

READMES: dict[str, tuple[str, str]] = {
    "20 kB of >": ("text/markdown", ">" * 20_001),
    "10,000 <div>": ("text/markdown", "<div>" * 10_000),
    "95 kB of code": ("text/markdown", "```python\n" + "x = [1, 'a']\n" * 7_300 + "```\n"),
    "300 nested quotes": ("text/x-rst", "\n".join(" " * depth + "q\n" for depth in range(300))),
    "nested brackets": ("text/markdown", "[" * 50_000),
    "emphasis": ("text/markdown", "*a_ " * 20_000),
    "a table of many columns": ("text/markdown", "|" * 5_000 + "\n" + "|-" * 5_000 + "\n" + "|x" * 20_000),
    "included files": ("text/x-rst", ".. include:: /etc/passwd\n\n.. raw:: html\n   :file: /etc/passwd\n"),
}


@pytest.fixture(scope="module")
def strangers() -> frozenset[int]:
    """Processes that others started, and left."""
    return frozenset(children())


@pytest.fixture(scope="module")
def readmes(strangers: frozenset[int]) -> Iterator[tuple[Readmes, Readings]]:
    made = Readings(children=1)
    found = Readmes(made)
    assert found.readme("*warm*", "text/markdown").html
    yield found, made
    made.close()


@pytest.mark.parametrize("kind", READMES)
def test_a_readme_costs_seconds_and_ends_as_html_or_as_text(
    strangers: frozenset[int], readmes: tuple[Readmes, Readings], sandbox: tuple[Sandbox, int], kind: str
) -> None:
    content_type, text = READMES[kind]
    readmes[0].readme("*warm*" + kind, "text/markdown")  # a child that is there, whatever the last one cost
    (child,) = children() - strangers - {sandbox[1]}
    begin = time.monotonic()
    with Watch(child) as watch:
        found = readmes[0].readme(text, content_type)
    print(
        f"{kind}: {watch.seconds:.2f} s, {time.monotonic() - begin:.2f} s in all, {watch.memory / MIB:.0f} MiB,"
        f" {'text' if found.html is None else f'{len(found.html)} characters of HTML'}"
    )
    assert found.html is None or len(found.html) <= MIB
    assert "root:x:" not in (found.html or "")
    assert watch.seconds <= SECONDS
    assert watch.memory <= MEMORY


# --- what is read without a child ---

LINES: dict[str, Callable[[], object]] = {
    "a requirement in 500 brackets": lambda: needs.read(["x" + "[" * 500]),
    "a marker in 500 brackets": lambda: needs.read(["x; " + "(" * 500 + "python_version>'3'" + ")" * 500]),
    "a version of 5,000 digits": lambda: (
        names.canonical_version("9" * 5_000), names.version_key("9" * 5_000), names.is_prerelease("9" * 5_000),
    ),
    "METADATA of a million lines": lambda: metadata.parse(b"Classifier: a\n" * 1_000_000),
    "METADATA that is folded": lambda: metadata.parse(b"Summary: a\n" + b" b\n" * 300_000),
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_read_or_left(line: str) -> None:
    begin = time.thread_time()
    LINES[line]()
    took = time.thread_time() - begin
    print(f"{line}: {took * 1e3:.1f} ms")
    assert took <= SECONDS


def test_a_file_name_of_many_tags_is_not_multiplied_out() -> None:
    tags = "-".join(".".join(f"t{n}" for n in range(count)) for count in (120, 40, 40))
    begin = time.thread_time()
    with pytest.raises(BadName, match="longer than 200"):
        names.parse(f"demo-1.0-{tags}.whl")
    assert time.thread_time() - begin < 0.1
