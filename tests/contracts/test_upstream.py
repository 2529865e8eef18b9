"""What every upstream must do: the contract of `Upstream`, on each shape that an index on the network has."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import structs

from pidex.backends.upstream import HttpUpstream
from pidex.core.errors import NotFound, PidexError, UpstreamDown, UpstreamFault
from pidex.core.interfaces import Unchanged, Upstream
from pidex.core.model import Status
from pidex.core.upstreams import UNKNOWN, UpstreamFile, UpstreamPage, UpstreamSettings
from tests import samples
from tests.upstreams import FAULTS, MODIFIED, SHAPES, UPLOADED, LocalUpstream, local_upstream

T = TypeVar("T")
WHEEL = samples.wheel("demo", "1.0", requires_python=">=3.8", requires=("other>=2",))
SDIST = samples.sdist("demo", "1.1")
OTHER = samples.wheel("Other_Thing", "2.0")
METADATA = samples.core_metadata("demo", "1.0", requires_python=">=3.8", requires=("other>=2",))


def settings(local: LocalUpstream, **changes: Any) -> UpstreamSettings:
    values: dict[str, Any] = {
        "name": "up", "url": local.url, "kind": "links" if local.shape == "links" else "auto",
        "connect_timeout": 30.0, "head_timeout": 30.0, "read_timeout": 30.0, **changes,
    }  # fmt: skip
    return UpstreamSettings(**values)


def ask(local: LocalUpstream, work: Callable[[HttpUpstream], Awaitable[T]], **changes: Any) -> T:
    """Do something with an upstream on a loop of its own."""

    async def run() -> T:
        upstream = HttpUpstream(settings(local, **changes))
        try:
            return await asyncio.wait_for(work(upstream), 60)
        finally:
            await upstream.close()

    return asyncio.run(run())


async def page_of(upstream: Upstream, project: str = "demo") -> UpstreamPage:
    page = await upstream.project(project)
    assert isinstance(page, UpstreamPage)
    return page


async def bytes_of(upstream: Upstream, file: UpstreamFile, offset: int = 0) -> bytes:
    async with upstream.download(file, offset=offset) as transfer:
        assert transfer.offset in (0, offset)
        return b"".join([piece async for piece in transfer])


@pytest.mark.parametrize("shape", SHAPES)
def test_pages_names_files_and_metadata_of_every_shape(shape: str) -> None:
    with local_upstream(WHEEL, SDIST, OTHER, shape=shape) as local:

        async def work(upstream: HttpUpstream) -> None:
            page = await page_of(upstream)
            assert [file.filename for file in page.files] == [WHEEL[0], SDIST[0]]
            assert await upstream.project("absent") is None
            assert (await page_of(upstream, "other-thing")).files[0].filename == OTHER[0]
            wheel, sdist = page.files
            assert await bytes_of(upstream, wheel) == WHEEL[1]
            assert await bytes_of(upstream, sdist) == SDIST[1]
            assert (await bytes_of(upstream, sdist, 100))[-50:] == SDIST[1][-50:]
            assert await upstream.metadata(wheel) == METADATA
            with pytest.raises(NotFound):
                await upstream.metadata(sdist)
            described = await upstream.describe(wheel)
            assert described.size == len(WHEEL[1])
            if shape not in ("json", "rootless"):
                assert (described.upload_time, described.time_source) == (
                    MODIFIED * 1_000_000,
                    "last-modified",
                )
            told = await upstream.names()
            assert not isinstance(told, Unchanged)
            names = {"demo", "other-thing"} if shape != "rootless" else set()
            assert set(told[1]) == names

        ask(local, work)


def test_what_json_says_comes_through_verbatim() -> None:
    with local_upstream() as local:
        local.add(WHEEL, requires_python=">=3.8, <4", yanked="broken", provenance="https://p.example/x")
        local.statuses["demo"] = ("archived", "see other")
        page = ask(local, page_of)
        file = page.files[0]
        digest = hashlib.sha256(WHEEL[1]).hexdigest()
        assert file == UpstreamFile(
            WHEEL[0], local.url.replace("/simple/", local.path_of(local.files["demo"][0])),
            (("sha256", digest),), len(WHEEL[1]), UPLOADED, "upstream", ">=3.8, <4", "broken",
            hashlib.sha256(METADATA).hexdigest(), "https://p.example/x",
        )  # fmt: skip
        assert (page.status, page.status_reason, page.serial) == (Status.ARCHIVED, "see other", 7)


def test_a_held_page_is_asked_about_by_its_tag() -> None:
    with local_upstream(WHEEL) as local:

        async def work(upstream: HttpUpstream) -> None:
            page = await page_of(upstream)
            assert page.etag
            assert await upstream.project("demo", page) == Unchanged()
            local.add(SDIST)
            again = await upstream.project("demo", page)
            assert isinstance(again, UpstreamPage)
            assert len(again.files) == 2
            etag, _ = await upstream.names()  # type: ignore[misc]
            assert await upstream.names(etag) == Unchanged()

        ask(local, work)
        assert [each.status for each in local.requests("/simple/demo/")] == [200, 304, 200]


@pytest.mark.parametrize(
    "how", [{"ranges": False}, {"heads": False}, {"sidecars": False}, {"announce": "no"}]
)
def test_metadata_is_had_whatever_the_server_cannot_do(how: dict[str, Any]) -> None:
    with local_upstream(WHEEL, **how) as local:
        assert ask(local, _metadata) == METADATA


def test_metadata_lies_anywhere_in_a_big_wheel_and_little_of_it_is_fetched() -> None:
    chance = random.Random(1)
    files = {f"demo/{'x' * 90}{number}.txt": chance.randbytes(500) for number in range(1_500)}
    base = "demo-1.0.dist-info"
    first = {f"{base}/METADATA": METADATA, f"{base}/WHEEL": b"Wheel-Version: 1.0\n", f"{base}/RECORD": b""}
    big = (WHEEL[0], samples.zipped([*first.items(), *files.items()], compression=0))
    with local_upstream(announce="no") as local:
        local.add(big)
        assert ask(local, _metadata) == METADATA
        assert len(big[1]) > 900_000
        ranges = [each.headers["range"] for each in local.requests(".whl") if "range" in each.headers]
        assert 2 < len(ranges) < 8
        local.ranges = False
        local.files["demo"][0].data += b"\0" * (1 << 20)
        with pytest.raises(NotFound):
            ask(local, _metadata)


async def _metadata(upstream: HttpUpstream) -> bytes:
    return await upstream.metadata((await page_of(upstream)).files[0])


def test_a_sidecar_that_is_another_is_never_believed() -> None:
    with local_upstream(WHEEL) as local:
        local.fault("flip", ".metadata")
        assert ask(local, _metadata) == METADATA  # out of the wheel
        local.fault("403", ".whl")
        with pytest.raises(UpstreamFault):
            ask(local, _metadata)


def test_credentials_go_to_the_upstream_alone() -> None:
    with local_upstream(WHEEL, login="Basic dTpwdw==") as local, local_upstream(WHEEL) as stranger:
        ask(local, page_of, auth="basic", secret="u:pw")
        elsewhere = stranger.url + "demo/"

        async def work(upstream: HttpUpstream) -> None:
            file = (await page_of(upstream)).files[0]
            other = UpstreamFile(
                file.filename, stranger.url.replace("/simple/", stranger.path_of(stranger.files["demo"][0]))
            )
            await bytes_of(upstream, other)

        ask(local, work, auth="basic", secret="u:pw", private=True)
        assert elsewhere
        assert stranger.log
        assert not any("authorization" in each.headers for each in stranger.log)
        with pytest.raises(UpstreamFault, match="credentials") as caught:
            ask(local, page_of, auth="bearer", secret="hush-hush")
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("fault", ["redirect-private", "redirect-loop", "redirect-file"])
def test_redirects_lead_nowhere_they_must_not(fault: str) -> None:
    with local_upstream(WHEEL) as local:
        local.fault(fault, "/demo/")
        with pytest.raises(UpstreamFault):
            ask(local, page_of, private=True, retries=0)


def test_another_address_of_this_machine_is_not_asked_for_a_file() -> None:
    with local_upstream(WHEEL) as local, local_upstream(WHEEL) as inside:

        async def work(upstream: HttpUpstream) -> None:
            for host in (
                "127.0.0.1",
                "localhost",
                "2130706433",
                "0x7f.1",
                "[::ffff:127.0.0.1]",
                "127.1",
                "0",
            ):
                file = UpstreamFile(WHEEL[0], f"http://{host}:{inside.port}/packages/x/{WHEEL[0]}")
                with pytest.raises((UpstreamFault, UpstreamDown)):
                    await bytes_of(upstream, file)

        ask(local, work)
        assert inside.connections == 0


def test_retry_after_is_obeyed_and_failures_are_told_apart() -> None:
    with local_upstream(WHEEL) as local:
        local.fault("429", "/demo/", times=2)
        assert ask(local, page_of).files
        assert len(local.log) == 3
        for asked, told in (("120", 120), ("100000", 300)):
            local.retry_after = asked
            local.fault("503", "/demo/", times=1)
            with pytest.raises(UpstreamDown) as caught:
                ask(local, page_of)
            assert caught.value.retry_after == told
        assert len(local.log) == 5, "nobody asks again before that"
        local.retry_after = "0"
        for fault, error in (
            ("403", UpstreamFault),
            ("500", UpstreamDown),
            ("503", UpstreamDown),
            ("reset", UpstreamDown),
        ):
            local.heal()
            local.fault(fault, "/demo/")
            with pytest.raises(error):
                ask(local, page_of, retries=1)


def test_an_upstream_that_is_gone_is_left_alone_and_found_again() -> None:
    with local_upstream(WHEEL) as local:
        now = [0.0]

        async def work() -> None:
            upstream = HttpUpstream(settings(local, retries=0), clock=lambda: now[0])
            local.stop()
            with pytest.raises(UpstreamDown):
                await upstream.project("demo")
            local.start()
            with pytest.raises(UpstreamDown, match="lately") as caught:
                await upstream.project("demo")
            assert caught.value.retry_after == 1
            now[0] += 1.5
            assert (await page_of(upstream)).files
            await upstream.close()

        asyncio.run(work())


@pytest.mark.parametrize("shape", ["json", "links"])
def test_an_upstream_that_accepts_and_is_silent_counts_as_gone(shape: str) -> None:
    with local_upstream(WHEEL, shape=shape) as local:
        now = [0.0]

        async def work() -> UpstreamPage:
            upstream = HttpUpstream(settings(local, head_timeout=0.5), clock=lambda: now[0])
            local.fault("stall")
            with pytest.raises(UpstreamDown, match="in time"):
                await upstream.project("demo")
            with pytest.raises(UpstreamDown, match="lately"):
                await upstream.project("demo")
            assert len(local.log) <= 1, "it is neither asked again nor by others"
            assert upstream.shut == 1
            local.heal()
            try:
                while True:
                    now[0] += 100
                    with suppress(UpstreamDown):  # a busy machine answers late, too
                        return await page_of(upstream)
            finally:
                assert upstream.shut == 0
                await upstream.close()

        assert asyncio.run(asyncio.wait_for(work(), 60)).files


def test_only_heads_of_pages_and_metadata_have_to_come_soon() -> None:
    """A body comes as slowly as it comes, and a file may have to be made or fetched before it begins."""
    bound = 3.0
    with local_upstream(WHEEL) as local, local_upstream(WHEEL, latency=bound + 0.3) as slow:

        async def work(upstream: HttpUpstream) -> None:
            (file,) = (await page_of(upstream)).files
            local.fault("stall", ".metadata")
            local.bandwidth = 100
            late = structs.replace(file, url=file.url.replace(f":{local.port}/", f":{slow.port}/"))
            other = HttpUpstream(settings(slow, head_timeout=bound))
            page, data, told = await asyncio.gather(
                page_of(upstream), bytes_of(other, late), upstream.metadata(file), return_exceptions=True
            )
            await other.close()
            assert isinstance(page, UpstreamPage)
            assert page.files == (file,)
            assert data == WHEEL[1]
            assert isinstance(told, UpstreamDown)

        ask(local, work, head_timeout=bound)


def test_many_requests_share_few_connections() -> None:
    with local_upstream(WHEEL) as local:

        async def work(upstream: HttpUpstream) -> None:
            await asyncio.gather(*(upstream.project("demo") for _ in range(300)))

        ask(local, work)
        assert local.connections <= 64
        assert len(local.log) == 300


@pytest.mark.parametrize("fault", ["strangers", "types", "bad-urls", "bad-hashes"])
def test_bad_lines_cost_themselves_alone(fault: str) -> None:
    with local_upstream(WHEEL) as local:
        local.fault(fault, "/demo/")
        page = ask(local, page_of)
        assert page.files[0].sha256 == hashlib.sha256(WHEEL[1]).hexdigest()
        assert all(file.filename.startswith("demo-") for file in page.files)
        assert all(file.url.startswith("http://") and "@" not in file.url for file in page.files)
        assert all(UNKNOWN <= file.size < 1 << 50 for file in page.files)


def test_a_proxy_is_asked_for_names_that_it_resolves() -> None:
    with local_upstream(WHEEL) as local:
        proxy = local.url.removesuffix("/simple/")

        async def work(variables: dict[str, str], **changes: Any) -> None:
            where = settings(local, url="http://index.example/simple/", retries=0, **changes)
            upstream = HttpUpstream(where, variables=variables)
            assert await upstream.project("demo") is None  # the local upstream is no proxy: it says 404
            await upstream.close()

        asyncio.run(work({}, proxy=proxy))
        asyncio.run(work({"HTTP_PROXY": proxy}))
        assert [each.path for each in local.log] == ["http://index.example/simple/demo/"] * 2


def test_an_own_ca_and_netrc(tmp_path: Path) -> None:
    certificate, key, logins = tmp_path / "ca.pem", tmp_path / "key.pem", tmp_path / "netrc"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=index"
    subject = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", *made.split(), *subject, "-out", certificate, "-keyout", key],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    logins.write_text("machine 127.0.0.1 login u password pw\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with local_upstream(WHEEL, tls=context, login="Basic dTpwdw==") as local:
        assert ask(local, page_of, ca=str(certificate), auth="netrc", netrc=str(logins)).files
        with pytest.raises(UpstreamFault, match="certificate"):
            ask(local, page_of, auth="netrc", netrc=str(logins))
        with pytest.raises(UpstreamFault, match="netrc"):
            ask(local, page_of, ca=str(certificate), auth="netrc", netrc=str(tmp_path / "none"))


def test_what_a_url_leads_to_is_found_out() -> None:
    with local_upstream(WHEEL, OTHER) as local:
        assert ask(local, page_of, url=local.url.removesuffix("simple/")).files
    with local_upstream(WHEEL, OTHER, shape="links") as local:
        flat = ask(local, page_of, kind="auto", url=f"{local.url}?C=N")
        assert [file.filename for file in flat.files] == [WHEEL[0]]
    with local_upstream(shape="apache") as local:
        local.add(OTHER, project="Other_Thing")
        found = ask(local, lambda up: page_of(up, "other-thing"), kind="links")
        assert [file.filename for file in found.files] == [OTHER[0]]


async def survive(local: LocalUpstream, chance: random.Random) -> None:
    """One client's life with an upstream that does something wrong at each step."""
    upstream = HttpUpstream(settings(local, retries=chance.choice([0, 1]), read_timeout=0.3))
    right = {each.data for each in local.files["demo"]}
    try:
        page = await upstream.project("demo")
        if not isinstance(page, UpstreamPage):
            return
        for file in page.files:
            assert file.filename.startswith("demo-")
            try:
                data = await bytes_of(upstream, file)
                if file.sha256 and hashlib.sha256(data).hexdigest() == file.sha256:
                    assert data in right
                if file.filename.endswith(".whl"):
                    data = await upstream.metadata(file)
                    assert not file.metadata or data == METADATA
                await upstream.describe(file)
            except (UpstreamDown, UpstreamFault, NotFound):
                continue
        await upstream.names()
    except (UpstreamDown, UpstreamFault):
        return
    finally:
        await upstream.close()


def hostile(seed: int) -> None:
    """One seeded run: a shape, up to three kinds of fault, anywhere."""
    chance = random.Random(seed)
    with local_upstream(WHEEL, SDIST, shape=chance.choice(SHAPES[:-2]), seed=seed) as local:
        for _ in range(chance.randint(1, 3)):
            kind = chance.choice([each for each in FAULTS if each not in ("many", "huge", "bomb")])
            path = chance.choice(["", "/demo/", ".whl", ".metadata", ".gz"])
            local.fault(kind, path, times=chance.choice([None, 1, 2]))
        try:
            asyncio.run(asyncio.wait_for(survive(local, chance), 60))
        except PidexError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("seed", range(16))
def test_a_hostile_upstream_ends_in_the_two_errors(seed: int) -> None:
    hostile(seed)


@pytest.mark.parametrize("fault", ["many", "huge", "bomb"])
def test_what_is_too_large_is_refused(fault: str) -> None:
    with local_upstream(WHEEL) as local:
        local.fault(fault, "/demo/")
        with pytest.raises((UpstreamFault, UpstreamDown)):
            ask(local, page_of, retries=0, read_timeout=20)


def main() -> None:
    """The long form, for scripts/hostile."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1_000)
    given = parser.parse_args()
    for seed in range(given.seed, given.seed + given.runs):
        hostile(seed)
        if seed % 100 == 99:
            print(f"{seed - given.seed + 1} runs", flush=True)
    print(f"{given.runs} runs from seed {given.seed}: no wrong byte, and no error but the two")


if __name__ == "__main__":
    main()
