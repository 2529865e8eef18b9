"""`pypi-server update`: which packages have newer versions upstream, and the commands that fetch them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import click

from pidex import __version__
from pidex.backends.folder import Folder
from pidex.cli.fallback import default_fallback
from pidex.config import ENV_PREFIX, environment, load, served_folders
from pidex.core import names
from pidex.core.errors import BadName, ConfigError
from pidex.core.model import Entry
from pidex.core.names import version_key

#: Projects asked about at once, seconds to wait for an answer, and bytes of it to read.
AT_ONCE, SECONDS, BYTES = 8, 30, 64 << 20
JSON = "application/vnd.pypi.simple.v1+json"


class Owned(NamedTuple):
    """The newest file of a project in the folders."""

    project: str
    version: str
    folder: str


class Answer(NamedTuple):
    """What upstream has: its newest version that may be taken; None: none; `error` where it was not found."""

    version: str | None
    error: str | None = None


def update(parsed: argparse.Namespace, folders: Sequence[str]) -> int:
    """Print the commands that fetch newer versions, or run them with -x. Returns the exit code."""
    given = vars(parsed)
    environ = environment()
    roots = served_folders(load({"folders": tuple(folders)}, environ))
    url = (environ.get(f"{ENV_PREFIX}FALLBACK_URL") or default_fallback()).rstrip("/")
    unstable = bool(given.get("allow_unstable"))
    ignored = _ignored(given.get("ignorelist_file"))
    owned = [each for each in newest(roots) if each.project not in ignored]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = []
        for each, answer in zip(
            owned, pool.map(lambda one: ask(url, one.project, unstable), owned), strict=True
        ):
            answers.append(answer)
            sign = "e" if answer.error else "u" if _newer(each, answer) else "."
            click.echo(sign, nl=False)
    click.echo("")
    for each, answer in zip(owned, answers, strict=True):
        if answer.error:
            click.echo(f"# {each.project}: {answer.error}")
    failed = False
    for each, answer in zip(owned, answers, strict=True):
        if _newer(each, answer):
            target = given.get("download_directory") or each.folder
            words = ["-m", "pip", "-q", "download", "--no-deps", "-i", f"{url}/", "-d", target,
                     f"{each.project}=={answer.version}"]  # fmt: skip
            click.echo(f"\n# update {each.project} from {each.version} to {answer.version}")
            click.echo(shlex.join(["pip", *words[2:]]))
            if given.get("execute"):
                failed |= subprocess.run([sys.executable, *words], check=False).returncode != 0  # noqa: S603
    return 1 if failed else 0


def newest(roots: Sequence[Path]) -> list[Owned]:
    """The newest version of each project in the folders, and the folder that its file lies in, by project."""
    found: dict[str, Owned] = {}
    storage = Folder(roots, None)
    for number in range(len(roots)):
        for entry in storage.list(number):
            if not isinstance(entry, Entry):
                continue
            path = storage.path(number, entry.path)
            try:
                one = names.parse(os.path.basename(path))
            except BadName:
                continue
            before = found.get(one.project)
            if before is None or version_key(before.version) < version_key(one.version):
                found[one.project] = Owned(one.project, one.version, os.path.dirname(path))
    return [found[project] for project in sorted(found)]


def ask(url: str, project: str, unstable: bool) -> Answer:
    """The newest version of a project upstream; pre-releases only where they are asked for."""
    request = urllib.request.Request(  # noqa: S310  # the URL is a setting, checked to be http or https
        f"{url}/{quote(project)}/", headers={"Accept": JSON, "User-Agent": f"pidex/{__version__}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            page = json.loads(response.read(BYTES))
        versions = [version for version in _offered(page) if unstable or not names.is_prerelease(version)]
    except urllib.error.HTTPError as error:
        return Answer(None, "not found" if error.code in (404, 410) else f"HTTP {error.code}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return Answer(None, str(error) or type(error).__name__)
    return Answer(max(versions, key=version_key, default=None))


def _offered(page: Mapping[str, object]) -> Iterator[str]:
    """The versions of a page that have a file which is not yanked."""
    files = page["files"]
    assert isinstance(files, list)
    for file in files:
        if not file.get("yanked"):
            try:
                yield names.parse(file["filename"]).version
            except BadName:
                continue


def _newer(owned: Owned, answer: Answer) -> bool:
    return answer.version is not None and version_key(answer.version) > version_key(owned.version)


def _ignored(file: str | None) -> frozenset[str]:
    if file is None:
        return frozenset()
    try:
        lines: Iterable[str] = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file of ignored names {file} cannot be read: {error}.") from None
    return frozenset(names.normalize(line.partition("#")[0].strip()) for line in lines) - {""}
