"""The folder of packages that the real clients install from."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from tests.samples import Sample, core_metadata, egg, sdist, wheel, write

#: A wheel large enough that a part of it is not all of it, in bytes.
LARGE = 3_000_000

#: An sdist's build backend that needs nothing from outside: the wheel lies ready in the sdist.
BACKEND = """\
import os
import shutil


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    shutil.copy("ready.bin", os.path.join(wheel_directory, {filename!r}))
    return {filename!r}


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError
"""
PYPROJECT = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
#: Unix seconds of the day before which `dated` has only version 1.0, and of a file from before it.
DAY = "2021-01-01"
BEFORE = 1_577_880_000


def sourceful(name: str, version: str) -> Sample:
    """An sdist that builds without setuptools."""
    filename, data = wheel(name, version)
    backend = BACKEND.format(filename=filename).encode()
    return sdist(name, version, files={"backend.py": backend, "ready.bin": data, "pyproject.toml": PYPROJECT})


def large(name: str, version: str, *requires: str) -> Sample:
    """A wheel of LARGE bytes that do not compress."""
    noise = random.Random(version).randbytes(LARGE)
    return wheel(name, version, requires=requires, files={f"{name}.py": b"", f"{name}.bin": noise})


def fill(folder: Path) -> None:
    """Write every package that the stories speak of."""
    with_extra = core_metadata(
        "extrasful", "1.0", extra='Provides-Extra: all\nRequires-Dist: demo; extra == "all"\n'
    )
    for sample in (
        wheel("demo", "1.0"),
        wheel("demo", "1.1"),
        wheel("demo", "2.0a1"),
        wheel("needy", "1.0", requires_python=">=3"),
        wheel("needy", "2.0", requires_python=">=99"),
        wheel("cuda-thing", "1.0"),
        wheel("cuda-thing", "1.0+cu118"),
        wheel("epochal", "2024.1"),
        wheel("epochal", "1!1.0"),
        wheel("extrasful", "1.0", metadata=with_extra),
        wheel("Zope.Odd_Name", "1.0"),
        wheel("tree", "1.0", requires=["branch>=1"]),
        wheel("branch", "1.0", requires=["leaf"]),
        wheel("leaf", "1.0"),
        sourceful("sourceful", "1.0"),
        sdist("classic", "1.0"),
        sdist("zipped", "1.0", "zip"),
        large("whale", "1.0"),
        large("whale", "2.0", "absent-from-here==9"),
        egg("eggy", "1.0", python=".".join(map(str, sys.version_info[:2]))),
        wheel("dated", "2.0"),
    ):
        write(folder, sample)
    old = write(folder / "sub" / "folder", wheel("dated", "1.0"))
    os.utime(old, (BEFORE, BEFORE))
