"""What has to be true of a server after a fault: the model, the folder, the journal, and no litter."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin

from faults.client import Answer, Cut, ask
from faults.history import History, Name, State
from faults.load import JSON, Clone
from faults.server import Broken
from pidex import app
from pidex.app import upkeep
from pidex.core.model import OPERATOR

#: Seconds that a page may be busy after a start, and a folder until all of it was read.
PATIENCE_SECONDS = 30.0
#: Pages asked for at the same time.
TOGETHER = 8


def get(port: int, path: str, headers: dict[str, str] | None = None) -> Answer:
    """One GET; 503 with Retry-After is asked again for a while."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = asyncio.run(ask(port, "GET", path, headers))
        except Cut as cut:
            raise Broken(f"{path}: {cut}") from None
        if answer.status != 503 or time.monotonic() > end:
            return answer
        time.sleep(0.02)


def listed(port: int, project: str) -> dict[str, str]:
    """The files of a project's page: name to sha256. Raises `Broken` for a name that is listed twice."""
    answer = get(port, f"/simple/{project}/", {"Accept": JSON})
    if answer.status == 404:
        return {}
    if answer.status != 200:
        raise Broken(f"/simple/{project}/ answers {answer.status}: {answer.body[:300]!r}")
    files = json.loads(answer.body)["files"]
    found = {each["filename"]: each["hashes"]["sha256"] for each in files}
    if len(found) != len(files):
        raise Broken(f"/simple/{project}/ lists a file twice")
    return found


def everything(port: int) -> dict[str, str]:
    """All files that the index lists."""
    answer = get(port, "/simple/", {"Accept": JSON})
    names = [each["name"] for each in json.loads(answer.body)["projects"]]
    found: dict[str, str] = {}
    for name in names:
        found |= listed(port, name)
    return found


def settle(port: int, history: History, names: Iterable[Name], *, clone: Clone | None = None) -> None:
    """Hold names to the model, read each that is there to its end, and let the clone follow."""
    names = list(names)
    for project, group in sorted(history.by_project(names).items()):
        history.settle(group, listed(port, project))
        page = f"/simple/{project}/"
        rows = get(port, page, {"Accept": JSON})
        files = json.loads(rows.body)["files"] if rows.status == 200 else []
        for row in files:
            name = history.names.get(row["filename"])
            if name is None:
                raise Broken(f"{row['filename']} is listed, and nobody sent it")
            answer = get(port, urljoin(page, row["url"]))
            if answer.status != 200 or hashlib.sha256(answer.body).hexdigest() != name.sha256:
                raise Broken(f"{row['filename']} is listed, and its file answers {answer.status}")
            history.counts["files read"] += 1
    if clone is not None:
        _agree(history, clone.follow(port))


def _agree(history: History, branch: list[str]) -> None:
    """An index equals its branch, for what came by git."""
    pushed = {name.filename for name in history.names.values() if name.group and State.PRESENT in name.states}
    if pushed != set(branch):
        raise Broken(f"index and branch differ: {sorted(pushed ^ set(branch))[:6]}")


def at_rest(folder: Path, data: Path, found: dict[str, str]) -> None:
    """No file in the folder is partial or unlisted, nothing temporary and no intent is left."""
    lying = {path.name: path for path in folder.rglob("*") if path.is_file()}
    litter = [name for name in lying if name.startswith(".")]
    if litter:
        raise Broken(f"left in the folder: {litter[:5]}")
    if set(lying) != set(found):
        raise Broken(f"folder and list differ: {sorted(set(lying) ^ set(found))[:5]}")
    for name, path in lying.items():
        if hashlib.sha256(path.read_bytes()).hexdigest() != found[name]:
            raise Broken(f"{name} in the folder has other bytes than its line")
    for path in data.iterdir():
        if path.name.endswith((".part", ".new", ".tmp")):
            raise Broken(f"left in the data directory: {path.name}")


def verified(folder: Path, data: Path, *, deep: bool = False) -> None:
    """`pidex verify` finds nothing, beside the server or without one; `deep`: it reads every byte, too."""
    settings = app.Source({"folders": (str(folder),), "data": str(data), "no_upstream": True}, {}).settings()
    end = time.monotonic() + PATIENCE_SECONDS
    with closing(app.build(settings, {}, create=False)) as pidex:
        verifier = upkeep.verifier(pidex)
        while True:
            found = verifier.confirmed(verifier.verify(deep=deep, by=OPERATOR), by=OPERATOR).differences
            if not found:
                return
            # What a kill cut off is put right within the first moments of the next start.
            if time.monotonic() > end:
                said = "; ".join(each.sentence for each in found[:5])
                raise Broken(f"verify finds {len(found)} differences: {said}")
            time.sleep(0.2)


def catalogue(data: Path, *, whole: bool = False) -> tuple[int, int]:
    """The newest serial and how many rows the journal has; SQLite's own check where `whole`."""
    with closing(
        sqlite3.connect(f"file:{data / 'catalogue.db'}?mode=ro", uri=True, timeout=30)
    ) as connection:
        if whole:
            said = connection.execute("pragma integrity_check").fetchone()[0]
            if said != "ok":
                raise Broken(f"integrity_check: {said}")
        serials = [row[0] for row in connection.execute("select serial from journal order by rowid")]
        if any(one >= other for one, other in pairwise(serials)):
            raise Broken("serials do not rise")
        left = connection.execute("select count(*) from intents").fetchone()[0]
        if left:
            raise Broken(f"{left} intents are left")
        audited = connection.execute(
            "select count(*) from admissions a where a.how = 'upload' and not exists"
            " (select 1 from audit u where u.action = 'file.add' and u.subject = a.filename)"
        ).fetchone()[0]
        if audited:
            raise Broken(f"{audited} uploads are admitted and not in the audit")
    return (serials[-1] if serials else 0), len(serials)


def wal_bytes(data: Path) -> int:
    """The size of the catalogue's write-ahead log."""
    path = data / "catalogue.db-wal"
    return os.stat(path).st_size if path.exists() else 0
