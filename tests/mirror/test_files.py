"""Files of upstreams: fetched once for all who want them, never complete before they are known as right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.backends.cache import Opened
from pidex.core.errors import NotFound, StorageDown, UpstreamDown, UpstreamFault
from pidex.core.model import File
from pidex.mirror import Arriving
from pidex.mirror.arrival import HOLD_BYTES, Mismatch
from tests.mirror.scripted import Rig, read, rigged

BIG = random.Random(1).randbytes(3 * 1024 * 1024 + 17)
SMALL = b"a small wheel" * 100


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rigged(tmp_path) as made:
        yield made


def stored(rig: Rig) -> list[str]:
    """The hashes of what lies in the cache."""
    return [each.sha256 for each in rig.mirror.files.cache.list()]


@pytest.mark.parametrize("data", [SMALL, BIG, b"", BIG[:HOLD_BYTES], BIG[: HOLD_BYTES + 1]], ids=len)
def test_a_file_comes_whole_and_the_second_time_from_the_vault(rig: Rig, data: bytes) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", data)

    async def main() -> None:
        for kind in (Arriving, Opened):
            reading = await rig.mirror.open(file)
            assert type(reading) is kind
            assert reading.size == len(data)
            if isinstance(reading, Arriving):
                await reading.arrival.finish()
            assert await read(reading) == data
            reading.close()

    asyncio.run(main())
    assert rig.upstream.asked["download"] == 1
    assert stored(rig) == [file.sha256]
    assert rig.store.list_files()[0][6:] == (file.origin, "demo", file.filename)


def test_all_who_come_meanwhile_share_one_fetch_and_a_slow_one_slows_nobody(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)

    async def client(number: int) -> None:
        reading = await rig.mirror.open(file)
        try:
            start = number * 1000
            if number == 0:
                await reading.reach(0, reading.size)  # type: ignore[attr-defined]
                await asyncio.sleep(0.05)  # by now all others are done
            assert await read(reading, start) == BIG[start:]
        finally:
            reading.close()

    async def main() -> None:
        await asyncio.gather(*map(client, range(50)))

    asyncio.run(main())
    assert rig.upstream.asked["download"] == 1


def test_a_client_is_fed_while_the_file_comes_but_never_the_end_of_an_answer(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)
    rig.upstream.piece = len(BIG) - 10

    async def main() -> None:
        rig.upstream.gate.clear()  # after the first piece, the upstream waits
        reading = await rig.mirror.open(file)
        assert isinstance(reading, Arriving)
        limit = await reading.reach(0, len(BIG))
        assert limit == len(BIG) - HOLD_BYTES
        assert reading.read(0, limit) == BIG[:limit]
        # A range that has come is held back too: nobody knows yet whether it is right.
        part = asyncio.ensure_future(reading.reach(0, 1000))
        rest = asyncio.ensure_future(reading.reach(limit, len(BIG)))
        await asyncio.sleep(0.05)
        assert not part.done()
        assert not rest.done()
        rig.upstream.gate.set()
        assert await part == 1000
        assert await rest == len(BIG)
        reading.close()

    asyncio.run(main())


@pytest.mark.parametrize("at", [0, len(BIG) // 2, len(BIG) - 1])
def test_other_bytes_are_never_a_complete_answer_nor_kept(rig: Rig, at: int) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)
    wrong = BIG[:at] + bytes([BIG[at] ^ 1]) + BIG[at + 1 :]
    rig.upstream.bodies[file.url] = wrong

    with pytest.raises(Mismatch):
        asyncio.run(fetched(rig, file))
    assert stored(rig) == []
    assert rig.store.list_files() == []
    (note,) = rig.mirror.files.wrong()
    assert note["filename"] == file.filename
    assert note["size"] == len(BIG)
    assert hashlib.sha256(wrong).hexdigest() in note["reason"]
    assert rig.mirror.totals().wrong == 1
    assert rig.mirror.files.cache.clear_quarantine() == 1
    assert rig.mirror.files.wrong() == []
    # Once the upstream has mended it, it is served.
    rig.upstream.bodies[file.url] = BIG
    asyncio.run(fetched(rig, file))


async def fetched(rig: Rig, file: File) -> bytes:
    """What is answered; when this returns, the fetch has ended, too."""
    reading = await rig.mirror.open(file)
    arrival = reading.arrival if isinstance(reading, Arriving) else None
    try:
        return await read(reading)
    finally:
        reading.close()
        while arrival is not None and not arrival.ended:
            await asyncio.sleep(0.001)


def test_an_upstream_that_lies_about_the_size_is_believed_nothing(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)
    rig.upstream.lie = len(BIG) + 1
    with pytest.raises(UpstreamFault):
        asyncio.run(fetched(rig, file))
    rig.upstream.lie = None
    rig.upstream.bodies[file.url] = BIG + b"more"
    with pytest.raises(UpstreamFault):
        asyncio.run(fetched(rig, file))
    rig.upstream.bodies[file.url] = BIG[:-1]
    with pytest.raises(UpstreamFault):
        asyncio.run(fetched(rig, file))
    assert stored(rig) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_fetch_that_breaks_off_goes_on_where_it_was(rig: Rig, ranges: bool) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)
    rig.upstream.broken = UpstreamDown("reset")
    rig.upstream.break_after, rig.upstream.ranges = 1024 * 1024, ranges
    assert asyncio.run(fetched(rig, file)) == BIG
    assert rig.upstream.offsets[0] == 0
    assert 0 < rig.upstream.offsets[1] <= 1024 * 1024
    assert stored(rig) == [file.sha256]


def test_what_the_upstream_says_instead_of_a_file_reaches_who_asked(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", SMALL)
    del rig.upstream.bodies[file.url]
    with pytest.raises(NotFound):
        asyncio.run(fetched(rig, file))
    rig.upstream.error = UpstreamDown("down")
    with pytest.raises(UpstreamDown):
        asyncio.run(fetched(rig, file))
    rig.upstream.error = None
    rig.upstream.bodies[file.url] = SMALL
    assert asyncio.run(fetched(rig, file)) == SMALL


def test_the_first_hash_of_a_file_without_one_is_its_hash(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", SMALL, hashed=False, size=-1)
    assert file.sha256 == ""
    assert asyncio.run(fetched(rig, file)) == SMALL
    sha256 = hashlib.sha256(SMALL).hexdigest()
    assert stored(rig) == [sha256]
    rig.mirror.files.cache.delete(sha256)
    rig.upstream.bodies[file.url] = SMALL[::-1]
    with pytest.raises(Mismatch):
        asyncio.run(fetched(rig, file))
    rig.upstream.bodies[file.url] = SMALL
    assert asyncio.run(fetched(rig, file)) == SMALL


def test_where_there_is_another_hash_than_sha256_that_is_checked(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", SMALL, hashed=False)
    page = rig.upstream.pages["demo"]
    good = type(page.files[0])(
        file.filename, file.url, (("md5", hashlib.md5(SMALL).hexdigest()),), len(SMALL), 1
    )
    rig.upstream.page("demo", good)
    asyncio.run(rig.mirror.refresh(file.origin, "demo"))
    rig.upstream.bodies[file.url] = SMALL[::-1]
    with pytest.raises(Mismatch, match="md5"):
        asyncio.run(fetched(rig, file))
    rig.upstream.bodies[file.url] = SMALL
    assert asyncio.run(fetched(rig, file)) == SMALL


def test_a_fetch_that_nobody_waits_for_ends_and_the_next_one_begins_anew(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pidex.mirror.arrival.LINGER_SECONDS", 0.0)
    monkeypatch.setattr("pidex.mirror.arrival.SMALL_BYTES", 0)
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)

    async def main() -> None:
        rig.upstream.gate.clear()
        one, two = await rig.mirror.open(file), await rig.mirror.open(file)
        assert isinstance(one, Arriving)
        assert isinstance(two, Arriving)
        arrival = one.arrival
        assert two.arrival is arrival
        one.close()
        for _ in range(2_000):  # the upstream is asked once there is a place for the file
            await asyncio.sleep(0.005)
            if rig.upstream.asked["download"]:
                break
        assert not arrival.ended, "somebody waits"
        two.close()
        for _ in range(200):
            await asyncio.sleep(0.005)
            if arrival.ended:
                break
        assert arrival.ended
        rig.upstream.gate.set()
        assert await fetched(rig, file) == BIG

    asyncio.run(main())
    assert rig.upstream.asked["download"] == 2
    assert stored(rig) == [file.sha256]


def test_a_small_rest_is_fetched_though_nobody_waits(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)

    async def main() -> None:
        rig.upstream.gate.clear()
        reading = await rig.mirror.open(file)
        assert isinstance(reading, Arriving)
        arrival = reading.arrival
        reading.close()
        rig.upstream.gate.set()
        await arrival.finish()

    asyncio.run(main())
    assert stored(rig) == [file.sha256]


def test_a_head_fetches_nothing(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)

    async def main() -> None:
        reading = await rig.mirror.open(file)
        assert reading.size == len(BIG)
        reading.check()
        reading.close()

    asyncio.run(main())
    assert not rig.upstream.asked


def test_bytes_that_changed_on_the_disk_are_put_away_and_fetched_again(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", SMALL)
    asyncio.run(fetched(rig, file))
    path = rig.mirror.files.cache.path(file.sha256)
    path.write_bytes(SMALL[::-1])
    assert asyncio.run(fetched(rig, file)) == SMALL
    assert rig.upstream.asked["download"] == 2
    assert "changed on the disk" in rig.mirror.files.wrong()[0]["reason"]
    # What was only touched is read, and still served.
    os.utime(path, ns=(1, 1))
    rig.upstream.bodies.clear()
    assert asyncio.run(fetched(rig, file)) == SMALL


def test_files_without_a_row_are_found_again_and_read_before_they_are_served(rig: Rig) -> None:
    one = rig.upstream.file("one-1.0-py3-none-any.whl", SMALL)
    two = rig.upstream.file("two-1.0-py3-none-any.whl", BIG)
    asyncio.run(fetched(rig, one))
    asyncio.run(fetched(rig, two))
    for path in rig.place.glob("cache.db*"):
        path.unlink()
    assert rig.mirror.files.settle() == 2
    assert {row.sha256 for row in rig.store.list_files()} == {one.sha256, two.sha256}
    rig.mirror.files.cache.path(two.sha256).write_bytes(BIG[::-1])
    rig.upstream.asked.clear()
    assert asyncio.run(fetched(rig, one)) == SMALL
    assert asyncio.run(fetched(rig, two)) == BIG
    assert rig.upstream.asked["download"] == 1
    rig.mirror.files.cache.delete(one.sha256)
    assert rig.mirror.files.settle() == 0
    assert {row.sha256 for row in rig.store.list_files()} == {two.sha256}


def test_the_files_unused_for_longest_make_room_and_nothing_else_does(rig: Rig) -> None:
    private = rig.place / "packages"
    private.mkdir()
    (private / "mine.whl").write_bytes(SMALL)
    files = [rig.upstream.file(f"d{n}-1.0-py3-none-any.whl", bytes([n]) * 1000) for n in range(10)]
    for file in files:
        asyncio.run(fetched(rig, file))
        rig.clock.now += 100
    asyncio.run(fetched(rig, files[0]))  # used again, just now
    rig.mirror.files.flush()
    rig.clock.now += 100
    assert rig.mirror.files.evict(100_000, 1e9) == (0, 0)
    gone = rig.mirror.files.evict(5_000, 1e9)
    assert gone == (6, 6000), "down to nine tenths of it"
    assert set(stored(rig)) == {files[0].sha256, *(file.sha256 for file in files[7:])}
    assert rig.mirror.files.evict(100_000, 350.0).files == 1
    assert (private / "mine.whl").exists()
    assert asyncio.run(fetched(rig, files[1])) == bytes([1]) * 1000, "it is fetched again"


def test_a_file_that_somebody_reads_may_go(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", BIG)

    async def main() -> None:
        await fetched(rig, file)
        reading = await rig.mirror.open(file)
        assert isinstance(reading, Opened)
        rig.clock.now += 1e6
        assert rig.mirror.files.evict(0, 1.0).files == 1
        assert await read(reading) == BIG
        reading.close()

    asyncio.run(main())


def test_offline_what_is_held_is_served_and_nothing_else(rig: Rig) -> None:
    held = rig.upstream.file("one-1.0-py3-none-any.whl", SMALL)
    other = rig.upstream.file("two-1.0-py3-none-any.whl", BIG)
    asyncio.run(fetched(rig, held))
    rig.mirror = rig.another(offline=True)
    assert asyncio.run(fetched(rig, held)) == SMALL
    with pytest.raises(UpstreamDown, match="offline"):
        asyncio.run(fetched(rig, other))


def test_what_an_earlier_run_left_on_its_way_is_swept(rig: Rig) -> None:
    arriving = rig.place / "mirror" / "arriving"
    arriving.mkdir(parents=True)
    (arriving / ".pidex-x.part").write_bytes(b"half")
    assert rig.mirror.files.cache.sweep() == 1
    assert not list(arriving.iterdir())


def test_names_that_are_no_hashes_are_not_looked_for(rig: Rig) -> None:
    outside = rig.place / "secret"
    outside.write_bytes(SMALL)
    assert rig.mirror.files.cache.open("../secret", "x", None) is None
    assert rig.mirror.files.cache.open(f"{'a' * 63}\n", "x", None) is None


def test_a_disk_that_takes_nothing_forbids_nobody_to_download(rig: Rig) -> None:
    file = rig.upstream.file("demo-1.0-py3-none-any.whl", SMALL)
    arriving = rig.place / "mirror" / "arriving"
    arriving.parent.mkdir(exist_ok=True)
    arriving.write_bytes(b"no folder")
    with pytest.raises(StorageDown, match=r"cannot be kept here.*Try again"):
        asyncio.run(fetched(rig, file))
    arriving.unlink()
    assert asyncio.run(fetched(rig, file)) == SMALL
