"""What people see of the inside of an archive: its files, and the beginning of one."""

from __future__ import annotations

import io

import pytest

from pidex.core import interiors
from pidex.core.errors import BadName, NotFound
from pidex.core.interiors import MAX_MEMBERS, MAX_PATH, excerpt, members
from pidex.core.limits import Limits
from tests import samples

LIMITS = Limits()
TEXT = b"answer = 42\n" * 20_000


def opened(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


@pytest.mark.parametrize("kind", ["wheel", "gztar", "bztar", "xztar", "zip"])
def test_files_and_their_beginnings(kind: str) -> None:
    if kind == "wheel":
        filename, data = samples.wheel("demo", "1.0", files={"demo/long.py": TEXT, "demo/sub/": b""})
        path = "demo/long.py"
    else:
        filename, data = samples.sdist("demo", "1.0", kind)
        path = "demo-1.0/PKG-INFO"
    found = members(opened(data), filename, LIMITS)
    sizes = dict(found.files)
    assert not found.more or kind == "wheel"  # a folder is no file
    assert list(sizes) == sorted(sizes)
    assert path in sizes
    assert not any(name.endswith("/") for name in sizes)
    begun = excerpt(opened(data), filename, path, LIMITS, 5)
    assert len(begun.data) == 5
    assert begun.size == sizes[path]
    whole = excerpt(opened(data), filename, path, LIMITS)
    assert whole.data.startswith(begun.data)
    assert len(whole.data) == whole.size


@pytest.mark.parametrize("kind", ["wheel", "gztar"])
@pytest.mark.parametrize("path", ["nothing", "demo-1.0", "../etc/passwd", ""])
def test_what_is_not_in_there(kind: str, path: str) -> None:
    filename, data = samples.wheel("demo", "1.0") if kind == "wheel" else samples.sdist("demo", "1.0")
    with pytest.raises(NotFound, match="There is no file"):
        excerpt(opened(data), filename, path, LIMITS)


def test_a_folder_is_no_file() -> None:
    filename, _ = samples.wheel("demo", "1.0")
    data = samples.zipped([("demo/", b""), ("demo/a.py", b"x")])
    assert members(opened(data), filename, LIMITS).files == (("demo/a.py", 1),)
    with pytest.raises(NotFound):
        excerpt(opened(data), filename, "demo/", LIMITS)


def test_lists_are_bounded() -> None:
    filename, _ = samples.wheel("demo", "1.0")
    many = samples.zipped((f"{number:05}", b"") for number in range(MAX_MEMBERS + 1))
    found = members(opened(many), filename, LIMITS)
    assert (len(found.files), found.more) == (MAX_MEMBERS, True)
    long = samples.zipped([("a" * (MAX_PATH + 1), b""), ("b", b"")])
    found = members(opened(long), filename, LIMITS)
    assert (found.files, found.more) == ((("b", 0),), True)


def test_what_comes_before_a_fault_is_shown() -> None:
    tar = samples.tarred([("demo-1.0/a.py", b"first"), ("demo-1.0/b.py", b"second" * 500)])
    import gzip

    cut = gzip.compress(tar[:1_600])
    found = members(opened(cut), "demo-1.0.tar.gz", LIMITS)
    assert ("demo-1.0/a.py", 5) in found.files
    assert excerpt(opened(cut), "demo-1.0.tar.gz", "demo-1.0/a.py", LIMITS).data == b"first"


def test_kinds_that_nobody_looks_into() -> None:
    with pytest.raises(BadName, match="no package"):
        members(opened(b""), "notes.txt", LIMITS)
    with pytest.raises(NotFound, match="Nobody looks into"):
        members(opened(b""), "demo-1.0.win32.msi", LIMITS)
    assert interiors.shown("a\udcff") == "a\N{REPLACEMENT CHARACTER}"
