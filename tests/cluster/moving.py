"""Installations to be moved: what is in them, what they answer, and who reads from them all the while."""

from __future__ import annotations

import http.client
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from faults.lanes import Lanes
from pidex import app
from pidex.backends.objects.bucket import Place
from pidex.config import load
from pidex.core.model import OPERATOR
from tests import samples
from tests.cluster.nodes import JSON, OWNER, PASSWORD, Database, Missing, basic
from tests.cluster.seaweed import BUCKET, Seaweed
from tests.conftest import server_programs
from tests.walks.server import Answer, Server, fetch, finish, run

#: What is asked for of each project, and beside them.
EVERY = ("/simple/", "/packages/", "/rss/updates.xml", "/-/api/v1/indexes/main/journal")
OF_PROJECT = (
    "/simple/{}/",
    "/pypi/{}/json",
    "/-/api/v1/indexes/main/projects/{}",
    "/simple/{}",
    "/team/simple/{}/",
)
FORMS = (JSON, "text/html")
#: Seconds that a command may take with very many files.
LONGEST = 1800.0
#: Status, ETag and body, by URL, form, and who asks.
Answers = dict[tuple[str, str, str], tuple[int, str | None, bytes]]


class Installation(Server):
    """`pidex serve --config x.toml` over a data directory of its own, with these settings beside."""

    def __init__(self, home: Path, **more: object) -> None:
        self.home, self.data, self.settings = home, home / "data", home / "pidex.toml"
        home.mkdir(exist_ok=True)
        given = {"data": str(self.data), "access_log": False, "no_upstream": True, "scan_interval": 2}
        given |= {"public_url": "https://packages.example.org", **more}
        self.settings.write_text(
            "".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items() if value is not None)
        )
        super().__init__(log=home / "server.log", options=("--config", str(self.settings)))

    def __enter__(self) -> Installation:
        self.start()
        return self

    def pidex(self, *words: str | Path) -> str:
        """A command for this installation, which has to succeed; what it said."""
        return run(sys.executable, "-m", "pidex", *words, "--config", self.settings, seconds=LONGEST)

    def tried(self, *words: str | Path) -> tuple[int, str]:
        """A command for this installation: its exit code, and what it said."""
        return finish([sys.executable, "-m", "pidex", *words, "--config", self.settings], None, self.environ)


def in_folder(home: Path, **more: object) -> Installation:
    """One on SQLite over a folder."""
    (home / "packages").mkdir(parents=True, exist_ok=True)
    return Installation(home, folders=[str(home / "packages")], **more)


def in_bucket(home: Path, bucket: Place, database: str) -> Installation:
    """One on PostgreSQL with a bucket."""
    return Installation(
        home, catalogue=database, storage=bucket.url, storage_endpoint=bucket.endpoint,
        storage_credentials=str(bucket.credentials),
    )  # fmt: skip


def people(server: Installation) -> None:
    """Who may do what, an index beside the default one, and names that are kept."""
    settings = load({"config": str(server.settings)}, {})
    with closing(app.build(settings, {}, create=True)) as pidex:
        people, office = pidex.administration(), pidex.indexing(pidex.intake())
        people.add_user(OWNER, PASSWORD, by=OPERATOR)
        people.grant(f"user:{OWNER}", "admin", by=OPERATOR)
        people.add_user("rita", by=OPERATOR)
        people.create_token("rita", comment="for CI", by=OPERATOR)
        office.create("team", by=OPERATOR)
        office.reserve("main", "acme-*", by=OPERATOR)


def fill(folder: Path) -> Sequence[str]:
    """Some files of several kinds, by hand and in folders; their projects."""
    (folder / "by hand" / "deep").mkdir(parents=True)
    for number in range(4):
        samples.write(folder, samples.wheel("demo", f"1.{number}", requires_python=">=3.8"))
        samples.write(folder / "by hand", samples.sdist("demo", f"1.{number}"))
        samples.write(folder / "by hand" / "deep", samples.wheel("Other.Name", f"2.{number}"))
    for each in (samples.egg("demo", "0.9"), samples.sdist("other-name", "2.0", "zip")):
        samples.write(folder, each)
    name, _ = samples.wheel("demo", "1.3")
    (folder / f"{name}.asc").write_text("-----BEGIN PGP SIGNATURE-----\n")
    (folder / "broken-1.0.zip").write_bytes(b"no zip")
    return ("demo", "other-name", "gone", "absent", "sent", "late", "team-own")


def answers(url: str, projects: Sequence[str]) -> Answers:
    """What a server says on every URL, in both forms, to strangers and to an owner: status, ETag and body."""
    every = [*EVERY, *(form.format(project) for form in OF_PROJECT for project in projects)]
    asked = [(path, accept, who) for path in every for accept in FORMS for who in ("", basic(OWNER))]
    for project in projects:
        for index in ("", "/team"):
            page = fetch(f"{url}{index}/simple/{project}/", {"Accept": JSON})
            for file in json.loads(page.body)["files"] if page.status == 200 else ():
                path = f"{index}/{str(file['url']).removeprefix('../../')}"
                asked += [(path + end, JSON, "") for end in ("", ".metadata", ".asc")]
    found: Answers = {}
    for path, accept, who in asked:
        answer = fetch(url + path, {"Accept": accept} | ({"Authorization": who} if who else {}))
        found[path, accept, who] = answer.status, answer.headers.get("etag"), answer.body
    return found


def differing(before: Answers, after: Answers) -> list[str]:
    """The URLs on which two servers do not say the same, and what they say."""
    return [
        f"{key[0]}: {before.get(key)} was {after.get(key)}"[:1000]
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


class Readers(Lanes):
    """People who read from a server all the while: what they got that was not what they got before."""

    def __init__(self, url: str, before: Answers) -> None:
        super().__init__(2)
        self._url = url
        self._wanted = [(path, accept, found) for (path, accept, who), found in before.items() if not who]
        self.wrong: list[str] = []
        self.read = 0

    def work(self, lane: int) -> None:
        chosen = random.Random(lane)
        while not self.stopped.is_set():
            path, accept, wanted = chosen.choice(self._wanted)
            try:
                answer: Answer = fetch(self._url + path, {"Accept": accept})
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{path}: {error!r}")
                continue
            if (answer.status, answer.headers.get("etag"), answer.body) != wanted:
                self.wrong.append(f"{path}: {answer.status} {answer.body[:200]!r}")
            self.read += 1
            self.stopped.wait(0.01)


# --- the long form ------------------------------------------------------------------------------------------


def many(folder: Path, files: int) -> Sequence[str]:
    """Small wheels, ten of a project, a third of them below folders; their projects."""
    projects = [f"many{number}" for number in range(files // 10)]
    for number, project in enumerate(projects):
        place = folder / "by hand" / str(number % 7) if number % 3 == 0 else folder
        place.mkdir(parents=True, exist_ok=True)
        for version in range(10):
            samples.write(place, samples.wheel(project, f"1.{version}", files={"a": project.encode() * 500}))
    return projects


def pages(url: str, projects: Sequence[str]) -> Answers:
    """As `answers`, of so many: each page in both forms, and the hash of each file, asked by strangers."""
    found: Answers = {}
    for project in projects:
        for accept in FORMS:
            path = f"/simple/{project}/"
            answer = fetch(url + path, {"Accept": accept})
            found[path, accept, ""] = answer.status, answer.headers.get("etag"), answer.body
        for file in json.loads(found[path, JSON, ""][2])["files"]:
            file_path = f"/{str(file['url']).removeprefix('../../')}"
            answer = fetch(url + file_path)
            found[file_path, "", ""] = answer.status, answer.headers.get("etag"), answer.body
    return found


def moved(source: Installation, target: Installation, before: Answers, projects: Sequence[str]) -> bool:
    """Move under readers, then ask the target for everything; prints what came of it."""
    began = time.monotonic()
    with Readers(source.url, before) as readers:
        said = source.pidex("migrate", "--to", target.settings)
    took = time.monotonic() - began
    source.stop()
    target.start()
    other = differing(before, pages(target.url, projects))
    files = len(before) - 2 * len(projects)
    line = next(line for line in said.splitlines() if line.startswith("Moved"))
    print(f"  {took:.1f} s, {files / took:.0f} files/s. {line}")
    print(
        f"  {len(before):,} URLs, {len(other)} with another answer; {readers.read:,} read meanwhile,", end=" "
    )
    print(f"{len(readers.wrong)} wrong", flush=True)
    return not other and not readers.wrong


def main(files: int) -> bool:
    """`scripts/cluster migrate`: so many files there and back; whether all was as it should be."""
    programs = server_programs()
    if programs is None:
        raise Missing("no initdb in /usr/lib/postgresql/*/bin (Debian: postgresql)")
    with tempfile.TemporaryDirectory(prefix="pidex-moving-") as name, ExitStack() as stack:
        home, seaweed, database = Path(name), Seaweed(), Database(programs)
        stack.callback(seaweed.close)
        stack.callback(database.close)
        first, back = in_folder(home / "first"), in_folder(home / "back")
        there = in_bucket(
            home / "there",
            Place(f"s3://{BUCKET}/moved", seaweed.endpoint, credentials=seaweed.credentials),
            database.url,
        )
        for each in (first, there, back):
            stack.callback(each.stop)
        projects = many(home / "first" / "packages", files)
        people(first)
        first.pidex("scan")
        first.start()
        before = pages(first.url, projects)
        print(f"{files:,} files: from SQLite and a folder to PostgreSQL and SeaweedFS", flush=True)
        good = moved(first, there, before, projects)
        print("and back", flush=True)
        return moved(there, back, before, projects) and good


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000) else 1)
