"""`pidex restore`: what a corrupt catalogue asks for works as it is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pidex.catalogue import snapshots
from pidex.cli.restore import command
from pidex.core.errors import CannotStart, CatalogueError, NotFound
from pidex.processes import DataLock
from tests import samples


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A folder with a package, scanned once."""
    from pidex.cli.scan import command as scan

    folder = tmp_path / "packages"
    folder.mkdir()
    samples.write(folder, samples.wheel("demo", "1.0"))
    assert CliRunner().invoke(scan, [str(folder)], standalone_mode=False).exception is None
    return folder


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_the_newest_snapshot_heals_a_corrupt_catalogue(served: Path) -> None:
    from pidex.cli.scan import command as scan

    catalogue = served.parent / ".pidex-packages" / "catalogue.db"
    snapshots.take(catalogue, snapshots.folder_of(catalogue), 1_700_000_000)
    assert "catalogue-20231114T221320Z-daily.db" in run(str(served))
    catalogue.write_bytes(b"no database" * 1_000)
    broken = CliRunner().invoke(scan, [str(served)], standalone_mode=False)
    assert isinstance(broken.exception, CatalogueError)
    assert "`pidex restore --latest`" in str(broken.exception)
    said = run(str(served), "--latest")
    assert "Now run `pidex scan`." in said
    healed = CliRunner().invoke(scan, [str(served)], standalone_mode=False)
    assert healed.exception is None
    assert "Listed: 1 file of 1 project." in healed.output


def test_refusals(served: Path) -> None:
    assert run(str(served)) == "There are no snapshots yet.\n"
    with pytest.raises(NotFound, match="no snapshots yet"):
        run(str(served), "--latest")
    catalogue = served.parent / ".pidex-packages" / "catalogue.db"
    snapshots.take(catalogue, snapshots.folder_of(catalogue), 1_700_000_000)
    with pytest.raises(NotFound, match=r"no snapshot other\.db"):
        run(str(served), "--snapshot", "other.db")
    lock = DataLock(catalogue.parent)
    lock.acquire()
    try:
        with pytest.raises(CannotStart, match="in use"):
            run(str(served), "--latest")
    finally:
        lock.release()
