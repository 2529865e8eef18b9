"""What is kept of upstreams in cache.db may be anything: it is read, or it is as if it were not there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pidex.core.errors import NotFound, UpstreamDown
from pidex.core.upstreams import UpstreamPage
from pidex.core.written import Written
from pidex.mirror import records
from tests import samples
from tests.core.test_passage import read, said
from tests.mirror.scripted import NAME, Rig, rigged
from tests.mirror.test_mirror import Finder

MANY = [f"demo-3.{minor}.tar.gz" for minor in range(8)]
DAMAGED = [b"", b"\xff", b"{}", b"\x93\x01\x02", b"\x81\xa1a\x01", b"plain text", b"\xc1" * 50]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rigged(tmp_path, Finder) as made:
        yield made


@pytest.mark.parametrize("body", DAMAGED)
def test_other_bytes_are_no_record(body: bytes) -> None:
    assert records.unpack(body) is None
    assert records.head(body) is None
    assert records.unpack_sightings(body) == {}


def test_a_page_comes_back_as_it_was() -> None:
    page = UpstreamPage("demo", "Demo", etag='"e"', last_modified="then")
    digest, body = records.pack(page)
    assert digest == records.pack(page)[0] != records.pack(replace(page, name="demo"))[0]
    assert records.unpack(body) == page
    assert records.head(body) == page
    assert records.unpack_sightings(None) == {}
    assert records.pack_sightings({}) is None


def test_a_page_that_is_kept_as_it_is_written_comes_back_so() -> None:
    page, _ = read("demo", said(), said("demo-2.0.zip", yanked="bad"), *map(said, MANY), name="demo")
    assert isinstance(page.files, Written)
    _, body = records.pack(page)
    back = records.unpack(body)
    assert back is not None
    assert isinstance(back.files, Written)
    assert replace(back, files=()) == replace(page, files=())
    assert [*back.files] == [*page.files]
    assert (back.files.text, back.files.packed) == (page.files.text, page.files.packed)
    assert [*back.files.yanked] == ["demo-2.0.zip"]
    assert records.head(body) == replace(page, files=(), serial=None)
    middle = body.index(page.files.packed or b"?") + len(page.files.packed or b"") // 2
    assert records.unpack(body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]) is None
    sightings = records.sight(page, {}, 5)
    assert [*sightings] == ["demo-2.0.zip"]
    assert not records.vague(page, sightings)
    assert records.repaired(page, sightings) is page


def test_offline_the_metadata_of_what_is_not_held_is_not_had(rig: Rig) -> None:
    file = rig.upstream.file(*samples.wheel("demo", "1.0"))
    offline = rig.another(offline=True)
    try:
        with pytest.raises(UpstreamDown, match="not held"):
            asyncio.run(offline.metadata(file))
    finally:
        offline.close()
    assert rig.upstream.asked["metadata"] == 0


def test_what_has_no_metadata_is_not_found(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Finder, "found", None)
    wheel = rig.upstream.file(*samples.wheel("demo", "1.0"))
    with pytest.raises(NotFound, match="no readable METADATA"):
        asyncio.run(rig.mirror.metadata(wheel))
    sdist = rig.upstream.file(*samples.sdist("demo", "1.0"))
    with pytest.raises(NotFound, match="no metadata that can be had"):
        asyncio.run(rig.mirror.metadata(sdist))


def test_what_is_held_of_a_project_can_be_dropped(rig: Rig) -> None:
    file = rig.upstream.file(*samples.wheel("demo", "1.0"))
    other = rig.upstream.file(*samples.wheel("other", "1.0"))

    async def main() -> None:
        for each in (file, other):
            reading = await rig.mirror.files.fetch(each)
            reading.close()

    asyncio.run(main())
    before = rig.mirror.totals()
    assert len(rig.mirror.list_files()) == 2
    assert rig.mirror.forget("demo")[0] == 1
    assert [row.project for row in rig.mirror.list_files()] == ["other"]
    assert rig.mirror.totals() != before
    assert rig.mirror.forget("demo") == (0, 0)
    assert rig.mirror.files.is_held(other)
    assert not rig.mirror.files.is_held(file)


def test_names_of_ours_that_a_stored_list_has_are_told(rig: Rig) -> None:
    rig.upstream.listed = ["demo", "Other.Name"]
    asyncio.run(rig.mirror.refresh(NAME, "demo"))
    asyncio.run(rig.mirror.names.refresh(NAME))
    assert list(rig.mirror.names.exposed(["mine", "other-name", "demo"])) == [
        (NAME, "other-name"),
        (NAME, "demo"),
    ]
    assert list(rig.mirror.names.exposed([])) == []
