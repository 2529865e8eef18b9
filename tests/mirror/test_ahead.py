"""Metadata that is fetched before anybody asks for it: once, where it is plain which, never in the way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.core.errors import NotFound, UpstreamDown
from pidex.core.model import File
from pidex.core.upstreams import UpstreamFile, UpstreamPage
from pidex.mirror.ahead import likely
from pidex.resolver.sheets import Sheets
from tests import samples
from tests.mirror.scripted import NAME, Rig, rigged

DATA = b"Name: demo\nVersion: 2.0\n"
NEWEST = "demo-2.0-py3-none-any.whl"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with rigged(tmp_path) as made:
        yield made


def wheel(filename: str, yanked: str | None = None, metadata: str | None = "") -> UpstreamFile:
    digest = hashlib.sha256(DATA).hexdigest() if metadata == "" else metadata
    return UpstreamFile(filename, f"http://up.example/{filename}", (), 7, 5, yanked=yanked, metadata=digest)


def found(*files: UpstreamFile) -> str | None:
    file = likely(UpstreamPage("demo", "demo", files))
    return None if file is None else file.filename


def test_which_metadata_is_likely() -> None:
    old = wheel("demo-1.0-py3-none-any.whl")
    new = wheel(NEWEST)
    assert found(new, old) == found(old, new) == NEWEST
    assert found(old, new, wheel("demo-3.0rc1-py3-none-any.whl")) == NEWEST
    assert found(old, new, UpstreamFile("demo-3.0.tar.gz", "http://up.example/x")) == NEWEST
    # Not where it is another one that may be wanted, or none.
    assert found(old, new, wheel("demo-2.0-cp311-cp311-linux_x86_64.whl")) is None
    assert found(old, wheel(NEWEST, yanked="")) is None
    assert found(old, wheel(NEWEST, metadata=None)) is None
    assert found(wheel("demo-3.0rc1-py3-none-any.whl")) is None
    assert found() is None


def page(rig: Rig) -> File:
    rig.upstream.page("demo", wheel("demo-1.0-py3-none-any.whl"), wheel(NEWEST))
    sheet = Sheets().find(NAME, "", rig.upstream.pages["demo"])
    return next(file for file in sheet.files if file.filename == NEWEST)


def test_it_is_fetched_with_the_page_once_and_held(rig: Rig) -> None:
    file = page(rig)
    rig.upstream.metadatas[NEWEST] = DATA

    async def main() -> list[bytes]:
        await rig.mirror.refresh(NAME, "demo")
        return await asyncio.gather(*(rig.mirror.metadata(file) for _ in range(5)))

    assert set(asyncio.run(main())) == {DATA}
    assert rig.upstream.asked["metadata"] == 1
    assert rig.mirror.find_metadata(file) == DATA


def test_what_it_says_of_pythons_is_on_the_page(rig: Rig) -> None:
    data = samples.core_metadata("demo", "2.0", requires_python=">=3.9")
    rig.upstream.page("demo", wheel(NEWEST, metadata=hashlib.sha256(data).hexdigest()))
    rig.upstream.metadatas[NEWEST] = data

    async def main() -> None:
        await rig.mirror.refresh(NAME, "demo")
        while rig.mirror._ahead._tasks or rig.mirror.pages._completing:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.page is not None
    assert [file.requires_python for file in held.page.files] == [">=3.9"]


def test_that_it_cannot_be_had_is_nobodys_trouble_but_who_asks_for_it(rig: Rig) -> None:
    file = page(rig)

    async def main() -> None:
        await rig.mirror.refresh(NAME, "demo")
        with pytest.raises(NotFound):
            await rig.mirror.metadata(file)

    asyncio.run(main())
    held = rig.mirror.find_page(NAME, "demo")
    assert held is not None
    assert held.page is not None


def test_an_upstream_that_fails_meanwhile_is_asked_again_by_who_asks(rig: Rig) -> None:
    file = page(rig)
    rig.upstream.metadatas[NEWEST] = DATA

    async def main() -> bytes:
        await rig.mirror.refresh(NAME, "demo")
        rig.upstream.error = UpstreamDown("not now")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rig.upstream.error = None
        return await rig.mirror.metadata(file)

    assert asyncio.run(main()) == DATA


def test_nothing_is_fetched_ahead_offline(rig: Rig) -> None:
    page(rig)
    rig.upstream.metadatas[NEWEST] = DATA
    offline = rig.another(offline=True)

    async def main() -> None:
        with pytest.raises(UpstreamDown):
            await offline.refresh(NAME, "demo")

    asyncio.run(main())
    offline.close()
    assert rig.upstream.asked["metadata"] == 0
