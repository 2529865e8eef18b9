"""Core metadata and name lists of upstreams, and the way for who has no event loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pidex.core.errors import NotFetched, NotFound, UpstreamDown
from pidex.core.model import Entry, Facts, Look, PlaceState
from tests import samples
from tests.mirror.scripted import NAME, Rig, rigged


class Finder:
    """An inspector that finds what the test says."""

    found: bytes | None = b"Name: demo\n"

    def inspect(self, path: str, entry: Entry, check: str) -> Look:
        raise NotImplementedError

    def examine(self, descriptor: int, entry: Entry, check: str) -> Look:
        facts = Facts("", "", "", entry.stat.size, metadata=self.found)
        return Look(entry, PlaceState.WHOLE, facts)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rigged(tmp_path, Finder) as made:
        yield made


def test_metadata_is_fetched_once_for_all_who_ask_and_held(rig: Rig) -> None:
    file = rig.upstream.file(*samples.wheel("demo", "1.0"))
    rig.upstream.metadatas[file.filename] = b"Name: demo\nVersion: 1.0\n"
    assert rig.mirror.find_metadata(file) is None

    async def main() -> list[bytes]:
        return await asyncio.gather(*(rig.mirror.metadata(file) for _ in range(20)))

    assert set(asyncio.run(main())) == {b"Name: demo\nVersion: 1.0\n"}
    assert rig.upstream.asked["metadata"] == 1
    assert rig.mirror.find_metadata(file) == b"Name: demo\nVersion: 1.0\n"


def test_who_cannot_wait_is_told_what_is_in_memory_alone(rig: Rig) -> None:
    wheel = rig.upstream.file(*samples.wheel("demo", "1.0"))
    rig.upstream.metadatas[wheel.filename] = b"told"
    mirror = rig.mirror
    for nobody_knows in (
        lambda: mirror.find_page(NAME, "demo", wait=False),
        lambda: mirror.find_metadata(wheel, wait=False),
    ):
        with pytest.raises(BlockingIOError):
            nobody_knows()

    async def fetch() -> None:
        await mirror.refresh(NAME, "demo")
        coming = asyncio.ensure_future(mirror.metadata(wheel))
        while not rig.upstream.asked["metadata"]:
            await asyncio.sleep(0)
        assert mirror.find_metadata(wheel, wait=False) is None, "it is on its way"
        assert await coming == b"told"

    asyncio.run(fetch())
    held = mirror.find_page(NAME, "demo", wait=False)
    assert held is not None
    assert held == mirror.find_page(NAME, "demo")
    assert mirror.find_metadata(wheel, wait=False) == b"told"
    rig.clock.now += 2
    with pytest.raises(BlockingIOError):  # another process may have a newer one
        mirror.find_page(NAME, "demo", wait=False)


def test_metadata_in_memory_is_bounded_and_held_all_the_same(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pidex.mirror.CAME_BYTES", 5)
    wheels = [rig.upstream.file(*samples.wheel(name, "1.0")) for name in ("one", "two")]
    for wheel in wheels:
        rig.upstream.metadatas[wheel.filename] = b"told"
        assert asyncio.run(rig.mirror.metadata(wheel)) == b"told"
    with pytest.raises(BlockingIOError):
        rig.mirror.find_metadata(wheels[0], wait=False)
    assert rig.mirror.find_metadata(wheels[1], wait=False) == b"told"
    assert rig.mirror.find_metadata(wheels[0]) == b"told"
    assert rig.upstream.asked["metadata"] == 2


def test_metadata_that_is_announced_otherwise_by_now_is_not_held(rig: Rig) -> None:
    file = rig.upstream.file(*samples.wheel("demo", "1.0"))
    rig.upstream.metadatas[file.filename] = b"old"
    asyncio.run(rig.mirror.metadata(file))
    announced = replace(file, metadata_sha256=hashlib.sha256(b"new").hexdigest())
    assert rig.mirror.find_metadata(announced) is None
    rig.upstream.metadatas[file.filename] = b"new"
    assert asyncio.run(rig.mirror.metadata(announced)) == b"new"
    assert rig.mirror.find_metadata(announced) == b"new"


def test_what_one_upstream_says_of_a_wheel_is_not_said_of_anothers(rig: Rig) -> None:
    file = rig.upstream.file(*samples.wheel("demo", "1.0"))
    rig.upstream.metadatas[file.filename] = b"a lie"
    asyncio.run(rig.mirror.metadata(file))
    assert rig.mirror.find_metadata(replace(file, origin="other")) is None


def test_metadata_comes_out_of_the_whole_wheel_where_it_cannot_be_had_otherwise(rig: Rig) -> None:
    filename, data = samples.wheel("demo", "1.0")
    file = rig.upstream.file(filename, data)
    assert asyncio.run(rig.mirror.metadata(file)) == Finder.found
    assert rig.upstream.asked == {"metadata": 1, "download": 1}
    assert rig.mirror.files.is_held(file)
    other = rig.upstream.file(*samples.sdist("demo", "1.0"))
    with pytest.raises(NotFound):
        asyncio.run(rig.mirror.metadata(other))


def test_what_many_files_say_is_fetched_at_once_and_what_fails_is_left_alone(rig: Rig) -> None:
    kinds = ["-py3-none-any.whl"] * 30 + [".tar.gz"] * 10
    files = [rig.upstream.file(f"demo-{number}{kind}", b"%d" % number) for number, kind in enumerate(kinds)]
    rig.upstream.metadatas = {file.filename: b"Name: demo\n" for file in files[:30]}
    assert rig.mirror.unmet(files) == files
    asyncio.run(rig.mirror.provide(NotFetched(files[0].origin, "demo", files=tuple(files))))
    assert [rig.mirror.find_metadata(file) for file in files] == [b"Name: demo\n"] * 30 + [None] * 10
    assert rig.mirror.unmet(files) == []
    rig.clock.now += 301
    assert rig.mirror.unmet(files) == files[30:], "after five minutes it may be there"


def test_a_command_gets_what_it_lacks(rig: Rig) -> None:
    file = rig.upstream.file(*samples.wheel("demo", "1.0"))
    rig.upstream.metadatas[file.filename] = b"told"

    def resolve() -> bytes:
        if rig.mirror.find_page(NAME, "demo") is None:
            raise NotFetched(NAME, "demo")
        held = rig.mirror.find_metadata(file)
        if held is None:
            raise NotFetched(NAME, "demo", file)
        return held

    assert rig.mirror.settle(resolve) == b"told"
    assert rig.upstream.closed == 1, "nothing is left open"
    assert rig.mirror.settle(resolve) == b"told"
    rig.upstream.error = UpstreamDown("down")
    for path in rig.place.glob("cache.db*"):
        path.unlink()
    rig.mirror = rig.another()
    with pytest.raises(UpstreamDown):
        rig.mirror.settle(resolve)


def test_what_cannot_be_held_is_not_fetched_for_ever(rig: Rig) -> None:
    def resolve() -> None:
        raise NotFetched(NAME, "demo")

    with pytest.raises(UpstreamDown, match="cannot be held"):
        rig.mirror.settle(resolve)
    assert rig.upstream.asked["demo"] == 1, "it was just asked for"


def test_a_list_of_names_is_due_once_a_day_where_the_upstream_is_used(rig: Rig) -> None:
    rig.upstream.listed = ["Zope", "demo", "Demo", "no name!", "a_b"]
    assert rig.mirror.names.due() == []
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert rig.mirror.names.due() == [NAME]
    told = asyncio.run(rig.mirror.names.refresh(NAME))
    assert told == (NAME, 3, True)
    assert list(rig.mirror.list_names(NAME)) == ["a-b", "demo", "zope"]
    assert rig.mirror.has_name(NAME, "zope")
    assert rig.mirror.names.due() == []
    rig.clock.now += 86_400
    assert rig.mirror.names.due() == [NAME]
    assert asyncio.run(rig.mirror.names.refresh(NAME)) == (NAME, 3, False)
    rig.clock.now += 8 * 86_400
    assert rig.mirror.names.due() == [], "nobody has used it for a week"


def test_a_list_that_cannot_be_had_is_tried_again_in_an_hour(rig: Rig) -> None:
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    rig.upstream.error = UpstreamDown("down")
    assert asyncio.run(rig.mirror.names.refresh(NAME)) is None
    assert rig.mirror.names.due() == []
    rig.clock.now += 3_601
    assert rig.mirror.names.due() == [NAME]


def test_a_page_that_is_held_is_a_name_that_is_had(rig: Rig) -> None:
    rig.upstream.file(*samples.wheel("demo", "1.0"))
    assert not rig.mirror.has_name(NAME, "demo")
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert rig.mirror.has_name(NAME, "demo")
