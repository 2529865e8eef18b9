"""The rows of requests per second: pages, files and metadata, each server in turn, in interleaved rounds."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from passlib.apache import HtpasswdFile

from bench import load, servers, wheels
from bench.report import Row, Table, note
from bench.servers import Answer, Server

HTML = "text/html"
JSON = "application/vnd.pypi.simple.v1+json"
TEN, MANY, BIG = "ten-files", "many-files", "big-file"
PASSWORD = "a-bench-password"


@dataclass(frozen=True)
class Plan:
    """How much is measured: `rounds` of `seconds` for each server and row."""

    rounds: int
    seconds: float
    projects: int  # of ten files each, beside those that rows ask for by name
    many: int  # files of the long page
    megabytes: int


@dataclass(frozen=True)
class Target:
    """What one server is asked for in one row."""

    path: str
    headers: dict[str, str]


def serve(stack: ExitStack, server: Server) -> Server:
    """Start a server that is stopped with the stack."""
    server.start()
    stack.callback(server.stop)
    return server


def project(number: int) -> str:
    return f"project-{number:06}"


def measure(home: Path, plan: Plan) -> list[Table]:
    """Fill a folder, start everything over it, and load each in turn."""
    folder = home / "packages"
    named = [(TEN, 10), (MANY, plan.many)]
    count = wheels.fill(folder, [*named, *((project(number), 10) for number in range(plan.projects))])
    wheels.big(folder, BIG, plan.megabytes)
    note(f"{count + 1:,} files in the folder")
    with ExitStack() as stack:
        pidex = serve(stack, servers.pidex(folder, home / "data"))
        for name in (TEN, MANY, BIG, project(plan.projects - 1)):
            pidex.await_ok(pidex.page(name))
        servers.at_rest(home / "data", count + 1)
        answers = captured(pidex)
        nginx = serve(stack, servers.nginx(folder, home, answers))
        nginx.await_ok("/answers/html")
        simple = serve(stack, servers.pypiserver(folder, home, cached=False))
        cached = serve(stack, servers.pypiserver(folder, home, cached=True))
        for each in (simple, cached):
            each.await_ok(each.page(TEN))
        devpi = serve(stack, servers.devpi(home))
        devpi.await_ok("/+api")
        note("uploading to devpi")
        own = sorted(path for path in folder.iterdir() if path.name.startswith(("ten_", "many_", "big_")))
        servers.fill_devpi(devpi, own)
        everyone = [pidex, nginx, devpi, simple, cached]
        tables = [requests(everyone, targets(everyone, plan), plan), downloads(everyone, plan)]
    tables.append(zipf(folder, home, plan))
    return tables


def captured(pidex: Server) -> dict[str, Answer]:
    """The answers of pidex that nginx is to serve too."""
    wanted = {
        "json": (pidex.page(TEN), {"Accept": JSON}),
        "html": (pidex.page(TEN), {"Accept": HTML}),
        "many": (pidex.page(MANY), {"Accept": JSON, "Accept-Encoding": "gzip"}),
        "metadata": (pidex.file(TEN, ".whl") + ".metadata", {}),
    }
    answers = {name: pidex.get(path, headers) for name, (path, headers) in wanted.items()}
    for name, answer in answers.items():
        if answer.status != 200:
            raise SystemExit(f"pidex: {name}: {answer.status} {answer.body[:200]!r}")
    return answers


def targets(everyone: list[Server], plan: Plan) -> list[tuple[str, str, dict[str, Target]]]:
    """(row, what to reach, what each server is asked for); a server that cannot is left out."""
    rows: list[tuple[str, str, dict[str, Target]]] = [
        ("project page, 10 files, JSON", "0.33 of nginx, 100 x devpi", {}),
        ("project page, 10 files, HTML", "0.33 of nginx, 100 x devpi", {}),
        ("the same, 304", "0.33 of nginx, 100 x devpi", {}),
        (f"project page, {plan.many} files, JSON, gzip", "0.33 of nginx", {}),
        ("small wheel", "0.25 of nginx", {}),
        (".metadata", "0.25 of nginx", {}),
    ]
    for server in everyone:
        nginx = server.name == "nginx"
        small = f"/files/{wheels.wheel(TEN, '1.0.0')[0]}" if nginx else server.file(TEN, ".whl")
        page, many = server.page(TEN), server.page(MANY)
        asked: list[Target | None] = [
            Target("/answers/json" if nginx else page, {"Accept": JSON}),
            Target("/answers/html" if nginx else page, {"Accept": HTML}),
            None,
            Target("/answers/many" if nginx else many, {"Accept": JSON, "Accept-Encoding": "gzip"}),
            Target(small, {}),
            Target("/answers/metadata" if nginx else f"{small}.metadata", {}),
        ]
        html = "/answers/html" if nginx else page
        if etag := server.get(html, {"Accept": HTML}).headers.get("etag"):
            asked[2] = Target(html, {"Accept": HTML, "If-None-Match": etag})
        for (_, _, by_server), target in zip(rows, asked, strict=True):
            if target and answers_well(server, target):
                by_server[server.name] = target
    return rows


def answers_well(server: Server, target: Target) -> bool:
    """Whether a server can do what a row asks, in the media type that it asks for."""
    answer = server.get(target.path, target.headers)
    if "If-None-Match" in target.headers:
        return answer.status == 304
    accept = target.headers.get("Accept")
    return answer.status == 200 and (
        accept is None or answer.headers.get("content-type", "").startswith(accept)
    )


def rounds(
    plan: Plan, everyone: list[Server], measure_one: Callable[[Server], float | None]
) -> dict[str, float]:
    """Medians by server over interleaved rounds."""
    seen: dict[str, list[float]] = {}
    for _ in range(plan.rounds):
        for server in everyone:
            if (value := measure_one(server)) is not None:
                seen.setdefault(server.name, []).append(value)
    return {name: load.median(values) for name, values in seen.items()}


def requests(everyone: list[Server], rows: list[tuple[str, str, dict[str, Target]]], plan: Plan) -> Table:
    table = Table("Requests per second", [server.name for server in everyone])
    for title, reach, by_server in rows:
        note(title)
        bad: dict[str, int] = {}

        def one(
            server: Server, by_server: dict[str, Target] = by_server, bad: dict[str, int] = bad
        ) -> float | None:
            target = by_server.get(server.name)
            if target is None:
                return None
            reading = load.wrk(server, target.path, target.headers, plan.seconds)
            bad[server.name] = bad.get(server.name, 0) + reading.bad
            return reading.rate or None

        table.rows.append(Row(title, reach, rounds(plan, everyone, one), {k: v for k, v in bad.items() if v}))
    return table


def downloads(everyone: list[Server], plan: Plan) -> Table:
    """MB per second of one connection that reads a big file."""
    table = Table("MB per second, one client", [server.name for server in everyone])
    note(f"{plan.megabytes} MB download")
    filename = wheels.wheel(BIG, "1.0.0")[0]
    paths = {
        server.name: f"/files/{filename}" if server.name == "nginx" else server.file(BIG, ".whl")
        for server in everyone
    }
    repeats = Plan(plan.rounds * 5, 0, 0, 0, plan.megabytes)
    speeds = rounds(
        repeats, everyone, lambda server: plan.megabytes / load.download(server, paths[server.name])
    )
    table.rows.append(Row(f"{plan.megabytes} MB file", "0.8 of nginx", speeds, {}))
    return table


@contextmanager
def dropping(folder: Path, pause: float = 1.0) -> Iterator[list[int]]:
    """A file a second into the folder, each a new version of one of the busiest projects; the count."""
    stop, count = threading.Event(), [0]

    def drop() -> None:
        while not stop.wait(pause):
            count[0] += 1
            wheels.put(folder, project(count[0] % 10), f"2.{count[0]}.0")

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


def zipf(folder: Path, home: Path, plan: Plan) -> Table:
    """pidex alone: many projects, changes, and people; each beside the plain page of one project."""
    passwords = home / "passwords"
    people = HtpasswdFile(str(passwords), new=True, default_scheme="portable")
    people.set_password("bench", PASSWORD)
    people.save()
    basic = _basic("bench", PASSWORD)
    count = min(1000, plan.projects)
    names = ["plain", "zipf", "zipf, a change a second", "zipf, with a password"]
    table = Table("pidex alone, requests per second", names, of_first=True)
    note(f"{count} projects by Zipf")
    with ExitStack() as stack:
        pidex = serve(stack, servers.pidex(folder, home / "data"))
        pidex.await_ok(pidex.page(TEN))
        guarded_flags = ("--passwords", str(passwords), "--guard", "list,download,update")
        guarded_folder = home / "guarded"
        wheels.fill(guarded_folder, [(project(number), 10) for number in range(count)])
        guarded = serve(stack, servers.pidex(guarded_folder, home / "guarded-data", *guarded_flags))
        for number in range(count):
            guarded.await_ok(guarded.page(project(number)), basic)
        script = load.zipf_script([pidex.page(project(number)) for number in range(count)], home / "zipf.lua")
        # wrk pays for its script: the plain row has one too, of a single path.
        single = load.zipf_script([pidex.page(TEN)], home / "plain.lua")
        html = {"Accept": HTML}
        seen: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(plan.rounds):
            seen[names[0]].append(load.wrk(pidex, "/", html, plan.seconds, script=single).rate)
            seen[names[1]].append(load.wrk(pidex, pidex.page(TEN), html, plan.seconds, script=script).rate)
            with dropping(folder):
                changing = load.wrk(pidex, pidex.page(TEN), html, max(3.0, plan.seconds), script=script)
            seen[names[2]].append(changing.rate)
            guarded_rate = load.wrk(guarded, "/", {**html, **basic}, plan.seconds, script=script).rate
            seen[names[3]].append(guarded_rate)
        medians = {name: load.median(values) for name, values in seen.items()}
        reach = "0.9 of plain"
        table.rows.append(Row(f"pages of {count} projects, HTML", reach, medians, {}))
    return table


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
