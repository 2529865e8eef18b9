"""Pages of upstreams: asked for once, served while they are fresh and while nothing better can be had."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pidex.core.errors import NotFound, UpstreamDown, UpstreamFault
from pidex.core.model import File
from pidex.core.upstreams import UpstreamFile
from pidex.mirror import pages
from pidex.resolver.sheets import Sheets
from tests import samples
from tests.mirror.scripted import NAME, UNKNOWN, Rig, rigged

DOWN = UpstreamDown("It does not answer.")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rigged(tmp_path) as made:
        yield made


def file(filename: str, **said: object) -> UpstreamFile:
    return UpstreamFile(filename, f"http://up.example/{filename}", **said)  # type: ignore[arg-type]


def test_fifty_who_ask_for_a_cold_page_cause_one_request(rig: Rig) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))
    assert rig.mirror.find_page(NAME, "demo") is None

    async def main() -> None:
        await asyncio.gather(*(rig.mirror.refresh(NAME, "demo") for _ in range(50)))

    asyncio.run(main())
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.page == rig.upstream.pages["demo"]
    assert held.fresh_until == rig.clock.now + rig.settings.max_age
    assert rig.upstream.asked == {"demo": 1}
    # Another process has it from the store, whole.
    other = rig.another().find_page(NAME, "demo")
    assert other == held


def test_a_stale_page_is_served_and_confirmed_in_the_background(rig: Rig) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))

    async def main() -> None:
        await rig.mirror.refresh(NAME, "demo")
        rig.clock.now += rig.settings.max_age + 1
        stale = await asyncio.to_thread(rig.mirror.find_page, NAME, "demo")
        assert stale is not None
        assert stale.page is not None
        assert rig.clock.now < stale.fresh_until <= rig.clock.now + 2
        for _ in range(4_000):
            await asyncio.sleep(0.005)
            held = await asyncio.to_thread(rig.mirror.find_page, NAME, "demo")
            if held is not None and held.fetched == rig.clock.now:
                return
        raise AssertionError("it was never confirmed")

    asyncio.run(main())
    assert rig.upstream.asked == {"demo": 2}


def test_a_changed_page_takes_the_place_of_the_old_one(rig: Rig) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    rig.upstream.page("demo", file("demo-2.0.tar.gz", size=1, upload_time=1), etag="2")
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.page is not None
    assert held.page.files[0].filename == "demo-1.0.tar.gz", "it is fresh: nothing was asked"
    rig.clock.now += 2
    asyncio.run(rig.mirror.refresh(NAME, "demo", force=True))
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.page is not None
    assert held.page.files[0].filename == "demo-2.0.tar.gz"
    assert rig.upstream.asked == {"demo": 2}


def test_that_a_project_does_not_exist_is_remembered_briefly(rig: Rig) -> None:
    asyncio.run(rig.mirror.refresh(NAME, "nothing"))
    held = rig.mirror.find_page(NAME, "nothing")
    assert held is not None
    assert held.page is None
    assert not rig.mirror.has_name(NAME, "nothing")
    rig.clock.now += rig.settings.absent_age + 1
    assert rig.mirror.find_page(NAME, "nothing") is None, "somebody may have made it by now"
    rig.upstream.error = DOWN
    with pytest.raises(UpstreamDown):
        asyncio.run(rig.mirror.refresh(NAME, "nothing"))


def test_an_upstream_that_fails_is_an_error_only_where_nothing_is_held(rig: Rig) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    fetched = rig.clock.now
    rig.upstream.error = DOWN
    rig.clock.now += 1000
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.page == rig.upstream.pages["demo"]
    assert held.fetched == fetched
    assert rig.mirror.age(NAME, "demo") == 1000
    assert rig.mirror.failing() == {NAME: str(DOWN)}
    with pytest.raises(UpstreamDown):
        asyncio.run(rig.mirror.refresh(NAME, "other"))
    with pytest.raises(UpstreamDown):
        rig.mirror.find_page(NAME, "other")
    rig.clock.now += 3
    assert rig.mirror.find_page(NAME, "other") is None, "it is worth trying again"
    rig.upstream.error = None
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert rig.mirror.age(NAME, "demo") is None


def test_the_pause_after_a_failure_doubles(rig: Rig) -> None:
    rig.upstream.error = UpstreamFault("nonsense")
    pauses = []
    for _ in range(8):
        with pytest.raises(UpstreamFault):
            asyncio.run(rig.mirror.refresh(NAME, "demo"))
        pauses.append(rig.mirror.pages.failures[NAME, "demo"].until - rig.clock.now)
        rig.clock.now += pauses[-1]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_offline_nothing_is_asked_and_everything_held_is_served(rig: Rig) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    asyncio.run(rig.mirror.refresh(NAME, "nothing"))
    offline = rig.another(offline=True)
    rig.clock.now += 10**7
    asyncio.run(offline.refresh(NAME, "demo", force=True))
    held, nothing = offline.find_page(NAME, "demo"), offline.find_page(NAME, "nothing")
    assert held is not None
    assert held.page == rig.upstream.pages["demo"]
    assert nothing is not None
    assert nothing.page is None
    with pytest.raises(UpstreamDown, match="offline"):
        asyncio.run(offline.refresh(NAME, "other"))
    assert rig.upstream.asked == {"demo": 1, "nothing": 1}


def test_a_store_that_vanishes_or_is_damaged_costs_a_request(rig: Rig) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    rig.store.flush()
    damage = "update upstream_pages set body = x'00', digest = x'01'"
    rig.expendable.run(lambda conn: conn.exec_driver_sql(damage), None, write=True)
    rig.clock.now += 2
    assert rig.mirror.find_page(NAME, "demo") is None
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert rig.mirror.find_page(NAME, "demo") is not None
    rig.store.flush()
    for path in rig.place.glob("cache.db*"):
        path.unlink()
    rig.clock.now += 2
    assert rig.mirror.find_page(NAME, "demo") is None
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert rig.mirror.find_page(NAME, "demo") is not None
    assert rig.upstream.asked == {"demo": 3}


def test_sizes_and_times_that_a_page_lacks_are_asked_for_one_by_one(rig: Rig) -> None:
    known = file("demo-1.0.tar.gz")
    told = UpstreamFile(known.filename, known.url, (), 7, 5_000_000, "last-modified")
    rig.upstream.told[known.filename] = told
    rig.upstream.page("demo", known, file("demo-2.0.tar.gz"), file("demo-3.0.tar.gz", size=1, upload_time=9))
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    first = int(rig.clock.now * 1_000_000)

    def sizes_and_times() -> list[tuple[int, int, str]]:
        held = rig.mirror.find_page(NAME, "demo")
        assert held is not None
        assert held.page is not None
        return [(each.size, each.upload_time, each.time_source) for each in held.page.files]

    expected = [(7, 5_000_000, "last-modified"), (UNKNOWN, first, "seen"), (1, 9, "upstream")]
    assert sizes_and_times() == expected
    rig.clock.now += 1000
    rig.upstream.page("demo", *rig.upstream.pages["demo"].files, etag="2")
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert sizes_and_times() == expected, "first seen does not move"
    assert rig.upstream.asked["describe"] == 2, "what was asked is known"


def test_when_a_yank_was_first_seen_is_kept_while_it_lasts(rig: Rig) -> None:
    def page(yanked: str | None, etag: str) -> None:
        rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1, yanked=yanked), etag=etag)
        rig.clock.now += 1000
        asyncio.run(rig.mirror.refresh(NAME, "demo"))

    page(None, "1")
    assert rig.mirror.sightings(NAME, "demo") == {}
    page("broken", "2")
    seen = int(rig.clock.now * 1_000_000)
    page("worse", "3")
    assert rig.mirror.sightings(NAME, "demo")["demo-1.0.tar.gz"].yanked == seen
    page(None, "4")
    assert rig.mirror.sightings(NAME, "demo") == {}


def test_settings_that_change_connect_anew_and_an_upstream_that_is_gone_is_not_found(rig: Rig) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))

    async def main() -> None:
        await rig.mirror.refresh(NAME, "demo")
        rig.settings = type(rig.settings)(NAME, "http://other.example/")
        rig.clock.now += 1000
        await rig.mirror.refresh(NAME, "demo")
        await asyncio.sleep(0)
        assert rig.upstream.closed == 1
        with pytest.raises(NotFound):
            await rig.mirror.refresh("nobody", "demo")
        await rig.mirror.stop()

    asyncio.run(main())
    assert rig.upstream.closed == 2


def test_what_comes_while_an_older_row_is_read_is_what_counts(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.upstream.page("demo", file("demo-1.0.tar.gz", size=1, upload_time=1))
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    rig.clock.now += rig.settings.max_age + 1
    store, find = rig.mirror.pages._store, rig.mirror.pages._store.find_page

    def slow(*args: Any, **said: Any) -> Any:
        row = find(*args, **said)
        monkeypatch.undo()
        asyncio.run(rig.mirror.refresh(NAME, "demo"))
        return row

    monkeypatch.setattr(store, "find_page", slow)
    stale = rig.mirror.find_page(NAME, "demo")
    assert stale is not None
    assert stale.fetched < rig.clock.now
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.fetched == rig.clock.now
    assert rig.upstream.asked == {"demo": 2}


def test_pages_that_nobody_looks_at_are_let_go_also_without_files(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FRESH_BYTES", 8 * pages.FILE_BYTES)
    monkeypatch.setattr(pages, "UNPACKED_PAGES", 4)
    for number in range(40):
        rig.upstream.page(f"demo{number}")

    async def main() -> None:
        for number in range(40):
            await rig.mirror.refresh(NAME, f"demo{number}")

    asyncio.run(main())
    held = rig.mirror.pages
    assert (len(held._fresh), len(held._unpacked)) == (8, 4)
    assert [rig.mirror.find_page(NAME, f"demo{number}") is not None for number in (0, 39)] == [True, True]
    assert held._fresh_bytes == 7 * pages.FILE_BYTES  # of these one was looked at


def wheel(minor: int, **said: Any) -> UpstreamFile:
    return file(f"demo-{minor}.0-py3-none-any.whl", size=1, upload_time=1, **said)


def shown(rig: Rig) -> Sequence[File]:
    """The files of the held page, as an index lists them."""
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.page is not None
    return Sheets().find(NAME, "", held.page).files


def pythons(rig: Rig) -> list[str | None]:
    return [each.requires_python for each in shown(rig)]


def tell(rig: Rig, *said: str | None) -> None:
    """Have metadata of the wheels that asks for these Pythons."""
    for minor, each in enumerate(said):
        data = samples.core_metadata("demo", f"{minor}.0", requires_python=each)
        rig.upstream.metadatas[wheel(minor).filename] = data


def test_a_page_says_the_pythons_of_metadata_where_its_upstream_does_not(rig: Rig) -> None:
    told = [wheel(0), wheel(1, requires_python=">=3.6"), wheel(2), wheel(3)]
    rig.upstream.page("demo", *told, file("demo-4.0.tar.gz", size=1, upload_time=1))
    tell(rig, ">=3.8", ">=3.9", "whatever", None)
    completed: list[str] = []
    rig.mirror.pages.completed = completed.append
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert pythons(rig) == [None, ">=3.6", None, None, None]
    files, row = shown(rig), rig.store.find_page(NAME, "demo")
    for each in files[:4]:
        asyncio.run(rig.mirror.metadata(each))
    expected = [">=3.8", ">=3.6", None, None, None]
    assert pythons(rig) == expected
    assert completed == ["demo"], "nothing else has changed it"
    after = rig.store.find_page(NAME, "demo")
    assert row is not None
    assert after is not None
    assert after.digest != row.digest
    assert after[:2] == row[:2], "it is as old as it was"
    asyncio.run(rig.mirror.metadata(files[0]))
    assert completed == ["demo"]
    # From the metadata that is held, also where the page changes, and in another process.
    rig.clock.now += 1000
    rig.upstream.page("demo", *told, file("demo-5.0.tar.gz", size=1, upload_time=1), etag="2")
    asyncio.run(rig.another().refresh(NAME, "demo"))
    assert pythons(rig) == expected
    rig.clock.now += 1000
    rig.upstream.page("demo", wheel(0, requires_python=">=3.7"), *told[1:], etag="3")
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert pythons(rig)[0] == ">=3.7", "the upstream says it by now"
    assert rig.upstream.asked == {"demo": 3, "metadata": 4}


def test_metadata_of_other_bytes_says_nothing_of_a_wheel(rig: Rig) -> None:
    tell(rig, ">=3.8", ">=3.9")
    rig.upstream.page("demo", wheel(0), wheel(1, hashes=(("sha256", "a" * 64),)))
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    for each in shown(rig):
        asyncio.run(rig.mirror.metadata(each))
    assert pythons(rig) == [">=3.8", ">=3.9"]
    rig.clock.now += 1000
    rig.upstream.page("demo", wheel(0, metadata="b" * 64), wheel(1, hashes=(("sha256", "c" * 64),)), etag="2")
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert pythons(rig) == [None, None]


def test_metadata_that_comes_while_its_page_is_asked_for_is_in_it(rig: Rig) -> None:
    rig.upstream.page("demo", wheel(0), wheel(1))
    tell(rig, ">=3.8", ">=3.9")

    async def main() -> None:
        await rig.mirror.refresh(NAME, "demo")
        one, other = shown(rig)
        rig.upstream.gate.clear()
        rig.clock.now += 1000
        asking = asyncio.ensure_future(rig.mirror.refresh(NAME, "demo"))
        while rig.upstream.asked["demo"] < 2:
            await asyncio.sleep(0)
        # Nobody who wants metadata waits for a page.
        await asyncio.gather(rig.mirror.metadata(one), rig.mirror.metadata(other))
        assert pythons(rig) == [None, None]
        rig.upstream.gate.set()
        await asking
        while pythons(rig) != [">=3.8", ">=3.9"]:
            await asyncio.sleep(0.001)
        # And a page that is asked for while one is completed is the newer one.
        rig.clock.now += 1000
        rig.upstream.page("demo", wheel(2), wheel(3), etag="2")
        learning = asyncio.ensure_future(rig.mirror.pages.learn(NAME, "demo", "up/1", ">=3"))
        await asyncio.sleep(0)
        await rig.mirror.refresh(NAME, "demo")
        assert learning.done()
        assert [each.filename for each in shown(rig)] == [wheel(2).filename, wheel(3).filename]

    asyncio.run(asyncio.wait_for(main(), 60))


def test_what_is_learnt_of_a_page_that_is_not_held_waits_for_it(rig: Rig) -> None:
    rig.upstream.page("demo", wheel(0))
    tell(rig, ">=3.8")
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    (known,) = shown(rig)
    rig.mirror.forget("demo")
    asyncio.run(rig.mirror.metadata(known))
    rig.clock.now += 2
    assert rig.mirror.find_page(NAME, "demo") is None
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    assert pythons(rig) == [">=3.8"]
