"""The parts put together from settings, and what a server says of itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pidex import app
from pidex.app import main, parts
from pidex.app.ground import shared_dir
from pidex.core.errors import CannotStart, CatalogueError, ConfigError
from pidex.core.model import ANONYMOUS, OPERATOR
from tests import samples
from tests.web.driver import JSON, House, listed


def source(folder: Path, **flags: object) -> app.Source:
    return app.Source({"folders": (str(folder),), "data": str(folder.parent / "data"), **flags}, {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "packages"
    place.mkdir()
    return place


def test_only_who_may_create_makes_a_catalogue(folder: Path) -> None:
    settings = source(folder).settings()
    with pytest.raises((CatalogueError, ConfigError)):
        app.build(settings, {})
    assert not (folder.parent / "data" / "catalogue.db").exists()
    app.build(settings, {}, create=True).close()
    built = app.build(settings, {})
    assert built.resolver.count("main", by=ANONYMOUS) == (0, 0)
    built.close()


def test_what_nodes_share_lies_beside_the_first_folder_or_nothing_starts(folder: Path) -> None:
    data, there = folder.parent / "data", folder.parent / ".pidex-packages"
    alone = source(folder).settings()
    assert shared_dir(alone, data, create=True) == data
    node = replace(alone, catalogue="postgresql://nobody@127.0.0.1:1/pidex")
    assert shared_dir(node, data) == there
    assert not there.exists(), "commands that read make nothing"
    there.write_text("in the way")
    with pytest.raises(CannotStart, match="All nodes of a cluster keep") as caught:
        shared_dir(node, data, create=True)
    assert f"install -d -m 700 -o USER {there}" in str(caught.value)
    there.unlink()
    assert shared_dir(node, data, create=True) == there
    assert there.stat().st_mode & 0o777 == 0o700
    assert shared_dir(node, there, create=True) == there


def test_settings_are_read_again_from_their_source(folder: Path) -> None:
    file = folder.parent / "pidex.toml"
    file.write_text("port = 1\n")
    again = app.Source({"folders": (str(folder),)}, {"PIDEX_CONFIG": str(file)})
    assert again.settings().port == 1
    file.write_text("port = 2\n")
    assert again.settings().port == 2


def test_after_a_start_no_name_is_unknown_before_the_folders_are_listed(own_house: House) -> None:
    """What was dropped while no server ran must not be answered with 404."""
    assert own_house.get("/simple/late/").status == 404
    main.restart(own_house.pidex)
    samples.write(own_house.folder, samples.wheel("late", "1.0"))
    assert own_house.get("/simple/late/").status == 503
    assert listed(own_house, "demo") == ["demo-1.0-py3-none-any.whl"]
    own_house.scan()
    assert listed(own_house, "late") == ["late-1.0-py3-none-any.whl"]


@pytest.fixture
def own_house(tmp_path: Path) -> object:
    with House(tmp_path, samples.wheel("demo", "1.0")) as built:
        yield built


def test_a_signature_is_a_small_plain_file(own_house: House) -> None:
    page = own_house.pidex.resolver.page("main", "demo", by=OPERATOR)
    file = page.files[0]
    place = own_house.folder / f"{file.filename}.asc"
    signature = own_house.pidex.signature
    assert signature(file) is None
    place.write_bytes(b"-----BEGIN PGP SIGNATURE-----")
    assert signature(file) == b"-----BEGIN PGP SIGNATURE-----"
    place.write_bytes(b"x" * (parts.SIGNATURE_BYTES + 1))
    assert signature(file) is None
    place.unlink()
    os.mkfifo(place)
    assert signature(file) is None
    place.unlink()
    place.mkdir()
    assert signature(file) is None


def test_a_welcome_page_that_is_missing_is_said(folder: Path) -> None:
    settings = source(folder, welcome=str(folder / "missing.html")).settings()
    built = app.build(settings, {}, create=True)
    with pytest.raises(ConfigError, match=r"missing\.html"):
        app.site(built, None)
    built.close()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"host": "127.0.0.1"}, "http://127.0.0.1:99/ (this machine only: -i 0.0.0.0 lets others in)"),
        ({"host": "0.0.0.0"}, "http://0.0.0.0:99/,"),
        ({"host": "::", "prefix": "py"}, "http://[::]:99/py/,"),
        ({"socket": "/run/pidex.sock"}, "at the Unix socket /run/pidex.sock,"),
    ],
)
def test_the_start_line_says_where(folder: Path, flags: dict[str, object], said: str) -> None:
    line = main.start_line(source(folder, **flags).settings(), Path("/data"), 99)
    assert said in line
    assert str(folder) in line
    assert line.endswith("data directory /data")


def test_keys_that_ask_for_a_passphrase_never_ask(folder: Path) -> None:
    empty = folder / "empty.pem"
    empty.touch()
    settings = replace(source(folder).settings(), tls_cert=empty, tls_key=empty)
    with pytest.raises(CannotStart, match="PEM"):
        main.certificate_of(settings)


def test_a_worker_answers(folder: Path) -> None:
    samples.write(folder, samples.wheel("demo", "1.0"))
    with House(folder.parent) as house:
        site = app.worker(house.source, 7)
        answer = house.run(house.ask("/-/health", site=site))[0]
        assert answer.json()["worker"] == 7
        assert house.run(house.ask("/simple/demo/", [("accept", JSON)], site=site))[0].status == 200
        site.close()
