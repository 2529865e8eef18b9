"""The matrix of the origin lock: whose a name is, by client and by the state of the upstream.

pip and uv for every cell, poetry for a few; `python -m tests.clients.test_origins` asks for all of all.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pidex.cli import group as cli
from tests.clients.environments import CLIENTS, Unavailable, make
from tests.clients.installers import KINDS, Refused
from tests.samples import wheel, write
from tests.upstreams import LocalUpstream
from tests.walks.server import Server, fetch, until

pytestmark = pytest.mark.clients

OURS, THEIRS = "1.0", "99.0"
#: What is known of a name. `both`: the upstream has a newer one. `deleted`, `removed`: it had files, and lost
#: them in the folder or by command. `reserved`, `claimed`: no file of ours ever was there. `held`: the
#: upstream's, installed before while it was well. Names from `both` on are had by the upstream.
STATES = ("absent", "local", "both", "deleted", "removed", "reserved", "claimed", "upstream", "held")
#: The names that are ours: no upstream may ever hear of them.
CLAIMED = ("local", "both", "deleted", "removed", "reserved", "claimed")
#: How the upstream is: well, without anything, failing, and not there at all. In this order, since it is
#: left alone for a while after it failed.
WEATHER = ("up", "404", "500", "down")
#: Clients that come back for minutes where a 503 asks them to: there only the answer is looked at.
PATIENT = ("poetry", "pdm")
#: Installations at a time.
TOGETHER = 2


@dataclass(frozen=True)
class Cell:
    """One installation that somebody tries: each has a name of its own, so that nothing of it is known."""

    state: str
    weather: str
    client: str

    @property
    def name(self) -> str:
        prefix = "acme-" if self.state == "reserved" else ""
        return f"{prefix}{self.state}-{self.weather}-{self.client}"

    @property
    def expected(self) -> str | None:
        """The version that has to be installed; None: nothing may be."""
        if self.state in ("local", "both"):
            return OURS
        if self.state == "held" or (self.state == "upstream" and self.weather == "up"):
            return THEIRS
        return None

    @property
    def waits(self) -> bool:
        """Whether the client would come back for minutes."""
        unknown = self.state in ("absent", "upstream") and self.weather in ("500", "down")
        return unknown and self.client in PATIENT


EVERY = tuple(
    Cell(state, weather, client)
    for weather in WEATHER
    for client in ("pip", "uv", "poetry", "pdm")
    for state in STATES
)
#: uv costs little. pip and poetry see the telling ones.
SHORT = tuple(
    cell
    for cell in EVERY
    if cell.client == "uv"
    or (cell.client == "pip" and cell.state in ("both", "reserved", "upstream", "held"))
    or (cell.client == "pip" and cell.state in ("absent", "deleted", "claimed") and cell.weather == "down")
    or (cell.client == "poetry" and cell.state in ("both", "reserved", "upstream") and cell.weather == "up")
)


class House:
    """A server with an upstream, and every name of the matrix as it has to be before the first question."""

    def __init__(self, home: Path, cells: Sequence[Cell]) -> None:
        self.home, self.cells, self.folder = home, cells, home / "packages"
        self.folder.mkdir()
        self.upstream = LocalUpstream()
        for cell in cells:
            if cell.state in ("local", "both", "deleted", "removed"):
                write(self.folder, wheel(cell.name, OURS))
            if cell.state not in ("absent", "local"):
                self.upstream.add(wheel(cell.name, THEIRS))

    def prepare(self, server: Server) -> None:
        """Have names reserved, claimed, deleted and held."""
        served = ("--serves", self.folder)
        self._pidex("origin", "reserve", "acme-*", *served)
        for cell in self.cells:
            if cell.state == "claimed":
                self._pidex("origin", "claim", cell.name, *served)
            elif cell.state == "removed":
                self._pidex("remove", cell.name, self.folder, "--yes")
            elif cell.state == "deleted":
                until(lambda name=cell.name: server.names(name))  # type: ignore[misc]
                next(self.folder.glob(f"{cell.name.replace('-', '_')}-*.whl")).unlink()
            elif cell.state == "held":
                url = server.files(cell.name)[0].url  # type: ignore[index]
                assert [fetch(f"{url}{end}").status for end in ("", ".metadata")] == [200, 200]
        for cell in self.cells:
            if cell.state == "deleted":
                until(lambda name=cell.name: not server.names(name))  # type: ignore[misc]

    def weather(self, which: str) -> None:
        """Let the upstream be well, or not."""
        self.upstream.heal()
        if which in ("404", "500"):
            self.upstream.fault(which)
        elif which == "down":
            self.upstream.stop()

    @staticmethod
    def _pidex(*words: str | Path) -> None:
        assert cli.run(cli.pidex, [*map(str, words)]) == 0, words

    def leaked(self) -> set[str]:
        """Names of ours that were in a request to the upstream, in whatever spelling."""
        asked = [each.path.replace("_", "-").replace(".", "-").lower() for each in self.upstream.log]
        return {
            cell.name for cell in self.cells if cell.state in CLAIMED for path in asked if cell.name in path
        }


def attempt(cell: Cell, server: Server, home: Path) -> str | None:
    """Install the cell's name in an empty place: the version that is there then."""
    if cell.waits:
        assert server.get(f"/simple/{cell.name}/").status == 503
        return None
    place = home / cell.name
    place.mkdir()
    installer = KINDS[cell.client](CLIENTS[cell.client], place)
    installer.patience = {"PIP_RETRIES": "0", "UV_HTTP_RETRIES": "0"}
    try:
        found = installer.install(server.index_url, cell.name)
    except Refused:
        return None
    assert set(found) == {cell.name}, f"{cell}: {found}"
    return found[cell.name]


def play(home: Path, cells: Sequence[Cell], told: Counter[str]) -> list[str]:
    """Try every cell; what went otherwise than it has to, in sentences. `told`: counts of what happened."""
    house, wrong = House(home, cells), []
    with house.upstream:
        with Server(house.folder, options=["--upstream", house.upstream.url]) as server:
            house.prepare(server)
            for weather in WEATHER:
                house.weather(weather)
                tried = [cell for cell in cells if cell.weather == weather]
                with ThreadPoolExecutor(TOGETHER) as pool:
                    for cell, got in zip(
                        tried, pool.map(lambda cell: attempt(cell, server, home), tried), strict=True
                    ):
                        told[f"{cell.state}: {got or 'nothing'}"] += 1
                        if got != cell.expected:
                            wrong.append(
                                f"{cell}: {got or 'nothing'} in place of {cell.expected or 'nothing'}"
                            )
        wrong += [f"the upstream heard of {name}" for name in sorted(house.leaked())]
        assert house.upstream.asked(), "the upstream was asked for nothing: this cannot fail"
    return wrong


def test_no_client_is_ever_given_a_foreign_file_of_our_names(tmp_path: Path) -> None:
    had = set()
    for name in {cell.client for cell in SHORT}:
        with suppress(Unavailable):
            make(CLIENTS[name])
            had.add(name)
    if not had:
        pytest.skip("this machine can have none of the clients")
    assert play(tmp_path, [cell for cell in SHORT if cell.client in had], Counter()) == []


def main() -> int:
    """Ask for all with every client."""
    began, told = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="pidex-origins-") as home:
        for name in sorted({cell.client for cell in EVERY}):
            make(CLIENTS[name])
        wrong = play(Path(home), EVERY, told)
    for line, number in sorted(told.items()):
        print(f"{number:4} {line}")
    print(*wrong, sep="\n")
    print(f"{sum(told.values())} installations, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
