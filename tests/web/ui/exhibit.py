"""A server with one of everything that pages show: people, indexes, marks, rules, refusals, downloads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pidex import app
from pidex.core.model import DEFAULT_INDEX, OPERATOR
from tests import samples
from tests.walks.server import Server, until

USER, PASSWORD = "ann", "correct horse battery"
#: A name, a version and a summary as long as they come: they must not break a page.
LONG = "a-name-that-is-longer-than-anybody-would-like-it-to-be-on-a-telephone-of-the-smallest-kind"
#: Every kind of page, by the name of its picture, with its path below the server.
PAGES = {
    "home": "",
    "search": "-/search?q=sample",
    "all": "-/search",
    "nothing": "-/search?q=exampel-client",
    "project": "project/example-client/",
    "release": "project/example-client/1.0/",
    "yanked": "project/example-client/1.1/",
    "deprecated": "project/sample-views/",
    "long": f"project/{LONG}/",
    "files": "project/example-client/-/files/",
    "matrix": "project/sample-views/-/files/?version=0.4",
    "releases": "project/example-client/-/history/",
    "dependencies": "project/example-client/-/dependencies/",
    "needed": "project/example-core/-/dependencies/",
    "inside": "project/example-client/-/file/example_client-2.0-py3-none-any.whl/",
    "member": "project/example-client/-/file/example_client-2.0-py3-none-any.whl/example_client/__init__.py",
    "setup-pip": "-/setup",
    "setup-uv": "-/setup?client=uv",
    "setup-github": "-/setup?client=github",
    "setup-poetry": "-/setup?client=poetry",
    "why": "-/why?subject=example-client",
    "error": "project/nothing-here/",
    "lost": "nothing/at/all",
    "login": "-/login",
    "account": "-/account",
    "upload": "-/upload",
    "manage": "project/example-client/-/manage/",
    "own-files": "project/example-client/-/files/",
    "index": "-/index",
    "team": "team/-/index",
    "statistics": "-/statistics",
    "names": "-/origins",
    "folders": "-/folders",
    "server": "-/admin",
    "people": "-/admin/people",
    "person": "-/admin/person?user=ann",
    "indexes": "-/admin/indexes",
    "audit": "-/admin/audit",
    "health": "-/admin/health",
}
#: Those of them that only who signed in sees, or that show more then.
SIGNED_IN = (
    "account", "upload", "manage", "own-files", "index", "team", "statistics", "names", "folders", "server",
    "people", "person", "indexes", "audit", "health",
)  # fmt: skip
README = """# Example client

A small client for the *example* service. It speaks plain HTTP and needs nothing but the standard library.

![build](https://badges.example/build.svg)

## Use

```python
from example_client import Client

for item in Client("https://service.example").items(limit=10):
    print(item.name)  # at most ten
```

| option | meaning |
| --- | --- |
| `limit` | how many items |
| `timeout` | in seconds |

- [x] items
- [ ] streams

> It is young: expect changes.
"""
_LINES = [
    "Metadata-Version: 2.4", "Name: example-client", "Version: 2.0",
    "Summary: A small client for the example service", "Author-email: Ann Example <ann@example.org>",
    "License-Expression: MIT", "Requires-Python: >=3.10", "Keywords: http,client",
    "Project-URL: Source, https://code.example/client", "Classifier: Framework :: AsyncIO",
    "Requires-Dist: example-core>=1.2", "Requires-Dist: rich>=13; extra == 'cli'", "Provides-Extra: cli",
    "Description-Content-Type: text/markdown", "", README,
]  # fmt: skip
_TAGS = ("cp311-cp311-manylinux_2_17_x86_64", "cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-win_amd64")


def packages() -> Iterator[samples.Sample]:
    """What lies in the folder; the last one is no archive at all."""
    code = {"example_client/__init__.py": b'"""A client."""\n\n\ndef main() -> None:\n    print("hello")\n'}
    yield samples.wheel("example-client", "2.0", files=code, metadata="\n".join(_LINES).encode())
    yield samples.sdist("example-client", "2.0")
    for version in ("1.0", "1.1", "1.2", "2.1rc1"):
        yield samples.wheel("example-client", version)
    yield samples.wheel("example-core", "1.3")
    for name in ("example-tools", "sample-data"):
        yield samples.wheel(name, "0.4", requires=["example-core"])
    for tag in _TAGS:
        yield samples.wheel("sample-views", "0.4", tag=tag)
    yield samples.sdist("sample-views", "0.4")
    summary = f"Summary: {'It does more than can be said in one line, and says so at length. ' * 4}"
    said = ["Metadata-Version: 2.1", f"Name: {LONG}", "Version: 2026.11.23.post20261123", summary, "", ""]
    yield samples.wheel(LONG, "2026.11.23.post20261123", metadata="\n".join(said).encode())
    yield "broken_thing-1.0-py3-none-any.whl", b"this is no archive"


@contextlib.contextmanager
def opened(place: Path, more: Sequence[samples.Sample] = (), *, bare: bool = False) -> Iterator[str]:
    """The real server over a folder, by its URL; `ann` may do everything. `bare`: without any package."""
    shelf = place / "packages"
    shelf.mkdir()
    for package in (*(() if bare else packages()), *more):
        samples.write(shelf, package)
    _furnish(shelf, place / "data", bare=bare)
    options = ["--no-upstream", "--data", str(place / "data")]
    with Server(shelf, options=options) as server:
        until(lambda: bare or server.get("/project/example-client/", _HTML).status == 200)
        yield f"{server.url}/"


_HTML = {"accept": "text/html"}


def _furnish(shelf: Path, data: Path, *, bare: bool) -> None:
    source = app.Source({"folders": (str(shelf),), "data": str(data)}, {})
    pidex = app.build(source.settings(), {}, create=True)
    try:
        people = pidex.administration()
        people.add_user(USER, PASSWORD, by=OPERATOR)
        people.grant(f"user:{USER}", "admin", by=OPERATOR)
        if not bare:
            pidex.reconciler().scan()
            populate(pidex)
            mark(pidex)
    finally:
        pidex.close()


def populate(pidex: app.Pidex) -> None:
    """People, groups, rights, tokens, and what was downloaded."""
    people = pidex.administration()
    for name in ("bob", "carla.the-maintainer-of-many-things"):
        people.add_user(name, PASSWORD, by=OPERATOR)
    people.disable_user("bob", by=OPERATOR)
    people.add_group("team", by=OPERATOR)
    people.join_group("team", "bob", by=OPERATOR)
    people.grant("group:team", "uploader", index=DEFAULT_INDEX, project="sample-*", by=OPERATOR)
    people.grant("user:bob", "maintainer", index=DEFAULT_INDEX, project="example-client", by=OPERATOR)
    people.create_token(USER, scopes=["read", "upload"], comment="CI", by=OPERATOR)
    old = people.create_token(USER, scopes=["read"], comment="an old laptop", by=OPERATOR)
    people.revoke_token(old.token.id, by=OPERATOR)
    clients = ('pip/24.0 {"python":"3.12.1"}', 'uv/0.9 {"python":"3.11.2"}', "poetry/1.8 CPython/3.10.1")
    for filename, most in (
        ("example_client-2.0-py3-none-any.whl", 40),
        ("example_client-1.1-py3-none-any.whl", 30),
    ):
        counted = {(DEFAULT_INDEX, filename, agent): most - 12 * at for at, agent in enumerate(clients)}
        pidex.statistics().note(counted)
    pidex.statistics().settle()


def mark(pidex: app.Pidex) -> None:
    """What was said of releases, names and indexes."""
    intake = pidex.intake()
    curator, indexing = pidex.curator(intake, pidex.accounts()), pidex.indexing(intake)
    curator.yank(DEFAULT_INDEX, "example-client", version="1.1", reason="It loses items.", by=OPERATOR)
    curator.set_status(DEFAULT_INDEX, "sample-views", "deprecated", reason="Use sample-data.", by=OPERATOR)
    curator.hold(DEFAULT_INDEX, "example-tools", version="0.4", reason="It is being looked at.", by=OPERATOR)
    indexing.claim(DEFAULT_INDEX, "example-secret", reason="ours, soon", by=OPERATOR)
    indexing.block(DEFAULT_INDEX, "exampel-client", reason="looks like example-client", by=OPERATOR)
    indexing.reserve(DEFAULT_INDEX, "acme-*", reason="all that is the company's", by=OPERATOR)
    indexing.add_upstream("elsewhere", "http://127.0.0.1:9/simple/", by=OPERATOR)
    indexing.create("team", [f"bases={DEFAULT_INDEX}"], by=OPERATOR)
