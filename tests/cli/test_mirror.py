"""`pidex mirror`: a closed set is fetched ahead, and is enough without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pidex import app
from pidex.app.known import settle
from pidex.cli.group import pidex, run
from tests import samples
from tests.upstreams import LocalUpstream, local_upstream
from tests.web.driver import House

PACKAGES = (
    samples.wheel("alpha", "1.0", requires=["beta<2"]),
    samples.wheel("alpha", "2.0", requires=["beta<2", "gamma; extra == 'x'", "mine"]),
    samples.wheel("beta", "1.0"),
    samples.wheel("beta", "2.0"),
    samples.sdist("gamma", "1.0"),
)


@pytest.fixture
def upstream() -> Iterator[LocalUpstream]:
    with local_upstream(*PACKAGES) as started:
        yield started


@pytest.fixture
def place(tmp_path: Path, upstream: LocalUpstream) -> list[str]:
    """What says where the data directory is; the index has the upstream."""
    (tmp_path / "packages").mkdir()
    samples.write(tmp_path / "packages", samples.wheel("mine", "1.0"))
    flags = {
        "folders": (str(tmp_path / "packages"),),
        "data": str(tmp_path / "data"),
        "upstream": upstream.url,
    }
    source = app.Source(flags, {})
    with closing(app.build(source.settings(), {}, create=True)) as built:
        settle(built.catalogue, built.settings, built.clock)
        built.reconciler().scan()
    return ["--serves", str(tmp_path / "packages"), "--data", str(tmp_path / "data")]


def test_a_set_is_fetched_ahead_and_is_enough_without_a_network(
    place: list[str], upstream: LocalUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("# what we need\nalpha[x] >= 1  # really\n--no-binary :none:\n")
    assert run(pidex, ["mirror", "add", "-r", str(wanted), "--python", "3.11,3.12", *place]) == 0
    assert capsys.readouterr().out.startswith("3 files of 4 projects are here")
    assert "mine" not in upstream.asked()
    assert run(pidex, ["mirror", "list", "--json", *place]) == 0
    held = {row["file"] for row in json.loads(capsys.readouterr().out)}
    assert held == {"alpha-2.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl", "gamma-1.0.tar.gz"}
    upstream.stop()
    with House(tmp_path, offline=True) as house:
        for project in ("alpha", "beta", "gamma"):
            files = house.get(f"/simple/{project}/", "application/vnd.pypi.simple.v1+json").json()["files"]
            for file in files:
                url = file["url"].removeprefix("../..")
                assert (house.get(url).status == 200) == (file["filename"] in held)
        assert house.get("/simple/other/").status == 503
        house.run(house.pidex.mirror.stop())


def test_what_is_held_is_counted_and_dropped(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pidex, ["mirror", "add", "beta", *place]) == 0
    capsys.readouterr()
    assert run(pidex, ["mirror", "status", "--json", *place]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pages"], told["files"], told["wrong"]) == (1, 1, [])
    assert run(pidex, ["mirror", "remove", "Beta", *place]) == 0
    assert capsys.readouterr().out == "Dropped 1 files and 1 pages of beta.\n"
    assert run(pidex, ["mirror", "list", *place]) == 0
    assert capsys.readouterr().out == "No file of an upstream is held.\n"


def test_what_cannot_be_had_is_said_and_fails(
    place: list[str], upstream: LocalUpstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.fault("flip", "beta-2.0-py3-none-any.whl", method="GET")
    assert run(pidex, ["mirror", "add", "beta", "nothing", "alpha>9", *place]) == 1
    told = capsys.readouterr().err
    assert "not fetched: beta-2.0-py3-none-any.whl:" in told
    assert "nothing: Index main has no project nothing" in told
    assert "nothing meets alpha>9" in told
    assert run(pidex, ["mirror", "status", *place]) == 0
    assert "put away: beta-2.0-py3-none-any.whl" in capsys.readouterr().out
    nested = tmp_path / "nested.txt"
    nested.write_text("-r other.txt\n")
    for arguments in ([], ["x @ http://x.example/x.whl"], ["-r", str(nested)], ["x", "--platform", "beos"]):
        assert run(pidex, ["mirror", "add", *arguments, *place]) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err
