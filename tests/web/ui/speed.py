"""What the first byte of each kind of page costs among 10,000 projects; run by scripts/interface speed."""

from __future__ import annotations

import contextlib
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pidex.core.model import DEFAULT_INDEX
from tests import samples
from tests.web.driver import House

PROJECTS, VERSIONS, TIMES = 10_000, 100, 9
WORDS = "amber basalt cedar delta ember fjord grove harbour island jasper kelp lagoon meadow nectar".split()  # noqa: SIM905
LICENCES = ("MIT", "Apache-2.0", "BSD-3-Clause", "ISC")
#: Five files a release.
TAGS = ("py3-none-any", *(f"cp3{minor}-cp3{minor}-manylinux_2_17_x86_64" for minor in (10, 11, 12, 13)))
PAGES = {
    "the first page": "/",
    "a project": "/project/amber-28/",
    "a project of 500 files": "/project/big/",
    "its files": "/project/big/-/files/",
    "its releases": "/project/big/-/history/",
    "its dependencies": "/project/big/-/dependencies/",
    "a search": "/-/search?q=lagoon",
    "a search of one project": "/-/search?q=amber-28",
    "all projects": "/-/search",
    "all projects, narrowed": "/-/search?licence=MIT&python=3.11",
    "statistics": "/-/statistics",
    "the index": "/-/index",
    "set-up": "/-/setup",
    "why": "/-/why?subject=amber-28",
}


def packages() -> Iterator[samples.Sample]:
    for number in range(PROJECTS):
        name = f"{WORDS[number % len(WORDS)]}-{number}"
        lines = [
            "Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", f"Summary: Does what {name} does",
            f"License-Expression: {LICENCES[number % 4]}", f"Requires-Python: >=3.{8 + number % 6}",
            f"Requires-Dist: {WORDS[(number + 1) % len(WORDS)]}-{number // 2}", "",
            f"{name} is one of many.",
        ]  # fmt: skip
        yield samples.wheel(name, "1.0", metadata="\n".join(lines).encode(), files={"a.py": b""})
    for version in range(VERSIONS):
        for tag in TAGS:
            yield samples.wheel("big", f"{version}.0", tag=tag, files={"a.py": str(version).encode()})


@contextlib.contextmanager
def house(place: Path) -> Iterator[House]:
    """All of them, listed, searched through and downloaded; from `place`, where they are already."""
    shelf = place / "packages"
    known = shelf.exists()
    with House(place, *(() if known else packages()), check="none") as built:
        if not known:
            counted = {
                (DEFAULT_INDEX, f"{WORDS[n % len(WORDS)]}_{n}-1.0-py3-none-any.whl", "pip/24.0"): 1 + n % 7
                for n in range(0, PROJECTS, 5)
            }
            built.pidex.statistics().note(counted)
            built.pidex.statistics().settle()
        built.pidex.search().follow()
        yield built


def measured(built: House, path: str, *, changed: bool) -> tuple[float, float, int, int]:
    """Milliseconds of the processor and by the clock, in the middle of several; bytes, plain and packed.

    `changed`: as after a change of the catalogue, before each of them.
    """
    took: list[tuple[float, float]] = []
    headers = {"accept": "text/html", "accept_encoding": "gzip"}
    for _ in range(TIMES):
        built.site.pages.changes += changed
        began, used = time.perf_counter(), time.process_time()
        answer = built.get(path, **headers)
        took.append(((time.process_time() - used) * 1000, (time.perf_counter() - began) * 1000))
        assert answer.status == 200, (path, answer.status)
    packed = len(answer.body)
    plain = len(gzip.decompress(answer.body)) if answer.headers.get("content-encoding") == "gzip" else packed
    return (
        statistics.median(cpu for cpu, _ in took),
        statistics.median(wall for _, wall in took),
        plain,
        packed,
    )


def main(names: Sequence[str]) -> int:
    with contextlib.ExitStack() as stack:
        place = Path(names[0]) if names else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        built = stack.enter_context(house(place))
        sys.stdout.write("page | processor, ms | clock, ms | processor after a change, ms | bytes | packed\n")
        for name, path in PAGES.items():
            built.get(path, "text/html")
            cpu, wall, plain, packed = measured(built, path, changed=False)
            after, *_ = measured(built, path, changed=True)
            sys.stdout.write(f"{name} | {cpu:.1f} | {wall:.1f} | {after:.1f} | {plain:,} | {packed:,}\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
