"""Indexes, upstreams, whose names are whose, and promotion: what is changed, refused, and written of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pidex.accounts.signing import Accounts
from pidex.backends.folder import Folder
from pidex.catalogue import audit, files, grants, indexes, origins, rights, tombstones, users
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import (
    BadRequest,
    Conflict,
    FileDeleted,
    FileExists,
    Forbidden,
    NotFound,
    PidexError,
    Unauthenticated,
)
from pidex.core.folder import first_root
from pidex.core.layers import Origin
from pidex.core.model import ANONYMOUS, OPERATOR, File, Principal
from pidex.core.permissions import Grant, Role
from pidex.curator import Curator
from pidex.indexing import Indexing
from pidex.intake import Intake
from pidex.reconciler import Reconciler
from pidex.resolver import Resolver
from tests import samples
from tests.direct import DirectInspector
from tests.test_resolver_layers import Upstreams

WHEEL, SDIST = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"
ANN = Principal("ann", frozenset({"authenticated"}), via="password")


class Estate:
    """A server's folders and services, with `demo 1.0` in its default index."""

    def __init__(self, catalogue: Catalogue, place: Path) -> None:
        self.catalogue, self.place, self.now = catalogue, place, 1_700_000_000.0
        (place / "packages").mkdir()
        self.storage = Folder([place / "packages"], place / "data" / "kept")
        with catalogue.write() as conn:
            self.main = indexes.ensure(conn, "main", self.now)
            users.ensure(conn, "ann", at=1)
        self.mirror = Upstreams()
        self.accounts = Accounts(catalogue, catalogue.probe(), clock=lambda: self.now, key=b"key")
        self.intake = Intake(catalogue, self.storage, lambda: self.now, DirectInspector(), mirror=self.mirror)
        self.indexing = Indexing(
            catalogue, self.storage, self.intake, self.accounts, lambda: self.now, place / "data",
            mirror=self.mirror, known={"pypi": "http://pypi.example/simple/"}.get, home=place / "shared",
        )  # fmt: skip
        self.curator = Curator(catalogue, self.storage, self.intake, self.accounts, lambda: self.now)
        self.resolver = Resolver(catalogue, self.storage, lambda: self.now, mirror=self.mirror)
        for package in (samples.wheel("demo", "1.0"), samples.sdist("demo", "1.0")):
            samples.write(place / "packages", package)
        self.scan("main")

    def scan(self, index: str) -> list[str]:
        """Follow an index's folders once; the alarms of it."""
        Reconciler(
            self.catalogue, None, self.storage, DirectInspector(), self.intake, lambda: self.now, index=index
        ).scan()
        return [row.project or "" for row in self.audited("origin.shadowing")]

    def audited(self, action: str) -> list[audit.Entry]:
        with self.catalogue.read() as conn:
            return [row for row in audit.list(conn, limit=1000) if row.action == action]

    def page(self, index: str, project: str = "demo") -> dict[str, File]:
        found = self.resolver.page(index, project, by=OPERATOR)
        return {file.filename: file for file in found.files}

    def origin(self, index: str, project: str) -> Origin | None:
        with self.catalogue.read() as conn:
            found = indexes.find(conn, index)
            return None if found is None else origins.kind(conn, found.id, project)

    def send(self, index: str, package: tuple[str, bytes], *, claim: bool = False) -> None:
        with self.intake.stage(index) as stage:
            stage.write(package[1])
            self.intake.receive(index, stage, package[0], claim=claim, by=OPERATOR)


@pytest.fixture
def estate(catalogue: Catalogue, tmp_path: Path) -> Estate:
    return Estate(catalogue, tmp_path)


def test_an_index_has_folders_and_contents_of_its_own_and_its_bases(estate: Estate) -> None:
    view = estate.indexing.create("dev", ["bases=main", "mutability=volatile"], by=OPERATOR)
    assert (view.line, view.mutability, view.changed) == (("dev", "main"), "volatile", True)
    folder = Path(view.folders[0])
    assert folder == estate.place / "shared" / "indexes" / "dev"
    samples.write(folder, samples.wheel("tool", "2.0"))
    estate.scan("dev")
    assert list(estate.page("dev", "tool")) == ["tool-2.0-py3-none-any.whl"]
    file = estate.page("dev", "tool")["tool-2.0-py3-none-any.whl"]
    with estate.catalogue.read() as conn:
        found = indexes.find(conn, "dev")
    assert found is not None
    assert (file.index, file.root) == ("dev", first_root("dev", found.id))
    handle = estate.resolver.open(file)
    assert handle.read(0, file.size)[:2] == b"PK"
    handle.close()
    assert sorted(estate.page("dev")) == [WHEEL, SDIST]
    with pytest.raises(NotFound):
        estate.page("main", "tool")
    assert [row.subject or row.index_name for row in estate.audited("index.create")] == ["dev"]


def test_settings_are_edited_in_devpis_words(estate: Estate) -> None:
    for name in ("team", "dev"):
        estate.indexing.create(name, by=OPERATOR)
    change = estate.indexing.set_index
    assert change("dev", ["bases=main", "bases+=team", "challenge=yes"], by=OPERATOR).line == (
        "dev", "main", "team",
    )  # fmt: skip
    done = change("dev", ["bases-=main", "one_sdist=yes", "file_limit=100"], by=OPERATOR)
    assert (done.bases, done.challenge, done.policy) == (
        ("team",), True, {"one_sdist": True, "file_limit": 100},
    )  # fmt: skip
    assert not change("dev", ["bases=team"], by=OPERATOR).changed
    assert len(estate.audited("index.set")) == 2
    assert change("dev", ["bases=", "one_sdist=no", "file_limit=0"], by=OPERATOR).policy == {}
    for wrong in (
        "bases=nowhere", "bases-=main", "nothing=1", "bases", "mutability=soft", "challenge=perhaps",
        "upstreams=gone", "file_limit=-1", "framing=loud", "bases=dev", "challenge+=yes",
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            change("dev", ["challenge=no", wrong], by=OPERATOR)
        assert estate.indexing.list_indexes(by=OPERATOR)[0].challenge, wrong
    change("team", ["bases=dev"], by=OPERATOR)
    with pytest.raises(BadRequest, match="dev -> team -> dev"):
        change("dev", ["bases=team"], by=OPERATOR)


@pytest.mark.parametrize("name", ["simple", "-", "root", "a/b", "A", "", ".x", "x.git", "x" * 64, "a\n"])
def test_names_that_no_index_can_have(estate: Estate, name: str) -> None:
    with pytest.raises(BadRequest):
        estate.indexing.create(name, by=OPERATOR)


def test_folders_of_indexes_never_nest(estate: Estate) -> None:
    inside, beside = estate.place / "packages" / "dev", estate.place / "beside"
    shared = estate.place / "shared" / "dev"
    for folder in (inside, beside, beside / "below", shared):
        folder.mkdir(parents=True)
    for wrong in (inside, estate.place, estate.place / "gone", estate.place / "data", shared):
        with pytest.raises(BadRequest):
            estate.indexing.create("dev", folders=[str(wrong)], by=OPERATOR)
    with pytest.raises(BadRequest):
        estate.indexing.create("dev", folders=[str(beside), str(beside / "below")], by=OPERATOR)
    assert estate.indexing.create("dev", folders=[str(beside)], by=OPERATOR).folders == (str(beside),)
    with pytest.raises(Conflict):
        estate.indexing.create("dev", by=OPERATOR)


def test_an_index_is_removed_where_nobody_needs_it(estate: Estate) -> None:
    folder = Path(estate.indexing.create("dev", by=OPERATOR).folders[0])
    samples.write(folder, samples.wheel("tool", "2.0"))
    estate.scan("dev")
    estate.indexing.create("heir", ["bases=dev"], by=OPERATOR)
    with pytest.raises(Conflict, match="bases-=dev"):
        estate.indexing.remove_index("dev", force=True, by=OPERATOR)
    estate.indexing.remove_index("heir", by=OPERATOR)
    with pytest.raises(Conflict, match="1 files"):
        estate.indexing.remove_index("dev", by=OPERATOR)
    with pytest.raises(Conflict):
        estate.indexing.remove_index("main", force=True, by=OPERATOR)
    estate.indexing.remove_index("dev", force=True, by=OPERATOR)
    assert [each.name for each in estate.indexing.list_indexes(by=OPERATOR)] == ["main"]
    with estate.catalogue.read() as conn:
        before = indexes.find(conn, "dev")
    assert before is None
    estate.indexing.create("again", by=OPERATOR)
    with estate.catalogue.read() as conn:
        again = indexes.find(conn, "again")
    assert again is not None
    assert again.id > estate.main + 2  # never the number of one that is gone
    assert (folder / "tool-2.0-py3-none-any.whl").exists()
    with estate.catalogue.read() as conn:
        assert files.count(conn, estate.main) == 2


def test_upstreams_are_added_changed_and_forgotten(estate: Estate) -> None:
    made = estate.indexing.add_upstream("pypi", by=OPERATOR)
    assert made.url == "http://pypi.example/simple/"
    corp = {"auth": "basic", "secret": "ann:very secret", "max_age": 5.0, "private": True}
    view = estate.indexing.add_upstream("corp", "https://corp.example/simple", settings=corp, by=OPERATOR)
    assert (view.url, view.secret, view.max_age) == ("https://corp.example/simple/", True, 5.0)
    estate.indexing.set_index("main", ["upstreams=corp,pypi"], by=OPERATOR)
    assert not estate.indexing.set_upstream("corp", {"kind": "auto"}, by=OPERATOR).changed
    assert estate.indexing.set_upstream("corp", {"kind": "links"}, by=OPERATOR).kind == "links"
    assert "very secret" not in json.dumps([row._asdict() for row in estate.audited("upstream.add")])
    with pytest.raises(Conflict, match="upstreams-=corp"):
        estate.indexing.remove_upstream("corp", by=OPERATOR)
    estate.indexing.remove_upstream("corp", force=True, by=OPERATOR)
    assert estate.indexing.list_indexes(by=OPERATOR)[0].upstreams == ("pypi",)
    wrongs: list[tuple[str, str | None, dict[str, object]]] = [
        ("x", None, {}), ("x", "ftp://x.example/", {}), ("x", "http://u:p@x.example/", {}),
        ("X!", "http://x.example/", {}), ("x", "http://x.example/", {"auth": "basic"}),
        ("x", "http://x.example/", {"auth": "basic", "secret": "no colon"}),
        ("x", "http://x.example/", {"kind": "odd"}), ("x", "http://x.example/", {"name": "y"}),
        ("x", "http://x.example/", {"ca": "/nowhere"}), ("x", "http://x.example/", {"max_age": -1.0}),
        ("x", "http://x.example/", {"secret": "a\nb"}), ("x", "http://x.example/", {"proxy": "p"}),
    ]  # fmt: skip
    for name, url, settings in wrongs:
        with pytest.raises(BadRequest):
            estate.indexing.add_upstream(name, url, settings=settings, by=OPERATOR)


def test_a_name_is_ours_from_its_first_file_on_and_stays_it(estate: Estate) -> None:
    assert estate.origin("main", "demo") is Origin.LOCAL
    estate.indexing.add_upstream("pypi", by=OPERATOR)
    estate.indexing.set_index("main", ["upstreams=pypi"], by=OPERATOR)
    estate.mirror.names["pypi"] = ["demo"]
    estate.curator.delete("main", "demo", by=OPERATOR)
    with pytest.raises(NotFound):
        estate.page("main")
    assert estate.mirror.asked == []
    shown = estate.indexing.origin("main", "Demo", by=OPERATOR)
    assert (shown.answer, shown.upstreams) == ("claimed", ("pypi",))
    freed = estate.indexing.release("main", "demo", by=OPERATOR)
    assert (freed.answer, freed.changed, freed.claims) == ("upstream", True, ())


def test_a_name_that_an_upstream_has_is_not_taken_by_accident(estate: Estate) -> None:
    estate.indexing.add_upstream("pypi", by=OPERATOR)
    estate.indexing.create("dev", ["bases=main", "upstreams=pypi"], by=OPERATOR)
    estate.mirror.names["pypi"] = ["requests", "flask", "demo", "acme-x"]
    for index in ("main", "dev"):  # also in a base of the index that has the upstream
        with pytest.raises(Forbidden, match="origin claim requests"):
            estate.send(index, samples.wheel("requests", "9.0"))
    assert estate.origin("main", "requests") is None
    assert estate.mirror.asked == []
    estate.send("main", samples.wheel("demo", "1.1"))  # ours already
    estate.send("main", samples.wheel("requests", "9.0"), claim=True)
    assert estate.origin("main", "requests") is Origin.LOCAL
    estate.indexing.claim("main", "flask", reason="our fork", by=OPERATOR)
    estate.send("main", samples.wheel("flask", "9.0"))
    estate.indexing.reserve("main", "acme-*", by=OPERATOR)
    estate.send("main", samples.wheel("acme-x", "1.0"))
    estate.indexing.block("main", "left", by=OPERATOR)
    with pytest.raises(Forbidden, match="blocked"):
        estate.send("main", samples.wheel("left", "1.0"), claim=True)
    estate.indexing.release("dev", "other", to="pypi", by=OPERATOR)
    with pytest.raises(Forbidden, match="that of an upstream"):
        estate.send("dev", samples.wheel("other", "1.0"))


def test_what_is_copied_into_the_folder_is_followed_with_an_alarm(estate: Estate) -> None:
    estate.indexing.add_upstream("pypi", by=OPERATOR)
    estate.indexing.set_index("main", ["upstreams=pypi"], by=OPERATOR)
    estate.mirror.names["pypi"] = ["requests"]
    samples.write(estate.place / "packages", samples.wheel("requests", "9.0"))
    samples.write(estate.place / "packages", samples.wheel("mine", "9.0"))
    assert estate.scan("main") == ["requests"]
    assert estate.scan("main") == ["requests"]  # once
    assert list(estate.page("main", "requests")) == ["requests-9.0-py3-none-any.whl"]
    assert estate.mirror.asked == []


def test_reservations_are_patterns_that_leave_something_over(estate: Estate) -> None:
    kept = estate.indexing.reserve("main", "Acme_*", reason="ours", by=OPERATOR)
    assert [(each.pattern, each.reason) for each in kept] == [("acme-*", "ours")]
    assert estate.indexing.reserve("main", "acme-*", reason="ours", by=OPERATOR) == kept
    assert len(estate.audited("origin.reserve")) == 1
    for wrong in ("*", "?*", "a b", "", "x/y"):
        with pytest.raises(BadRequest):
            estate.indexing.reserve("main", wrong, by=OPERATOR)
    assert estate.indexing.unreserve("main", "acme-*", by=OPERATOR) == []
    with pytest.raises(NotFound):
        estate.indexing.unreserve("main", "acme-*", by=OPERATOR)


def test_a_release_is_promoted_with_everything_it_is(estate: Estate) -> None:
    estate.indexing.create("stable", by=OPERATOR)
    (estate.place / "packages" / f"{WHEEL}.asc").write_bytes(b"signed")
    estate.curator.yank("main", "demo", version="1.0", reason="slow", by=OPERATOR)
    before = estate.page("main")
    estate.now += 86_400
    done = estate.indexing.promote("main", "stable", "Demo", "1.0.0", by=OPERATOR)
    assert (sorted(done.files), done.there) == ([WHEEL, SDIST], ())
    after = estate.page("stable")
    for name, file in before.items():
        other = after[name]
        assert (other.sha256, other.upload_time, other.yanked, other.metadata_sha256) == (
            file.sha256, file.upload_time, "slow", file.metadata_sha256,
        )  # fmt: skip
        assert other.index == "stable"
    folder = estate.place / "shared" / "indexes" / "stable"
    assert (folder / f"{WHEEL}.asc").read_bytes() == b"signed"
    assert (folder / WHEEL).stat().st_ino == (estate.place / "packages" / WHEEL).stat().st_ino
    again = estate.indexing.promote("main", "stable", "demo", "1.0", by=OPERATOR)
    assert (again.files, sorted(again.there)) == ((), [WHEEL, SDIST])
    assert [row.subject for row in estate.audited("release.promote")] == ["1.0"]
    estate.scan("stable")
    assert estate.page("stable") == after
    estate.curator.delete("main", "demo", by=OPERATOR)
    handle = estate.resolver.open(after[WHEEL])
    assert len(handle.read(0, after[WHEEL].size)) == after[WHEEL].size
    handle.close()


def test_a_promotion_is_all_or_nothing(estate: Estate) -> None:
    folder = Path(estate.indexing.create("stable", by=OPERATOR).folders[0])
    samples.write(folder, samples.wheel("demo", "1.0", files={"demo/other.py": b"x = 1\n"}))
    estate.scan("stable")
    before = estate.page("stable")
    with pytest.raises(FileExists):
        estate.indexing.promote("main", "stable", "demo", "1.0", by=OPERATOR)
    assert estate.page("stable") == before
    assert not (folder / SDIST).exists()
    estate.curator.delete("stable", "demo", by=OPERATOR)
    with pytest.raises(FileDeleted):
        estate.indexing.promote("main", "stable", "demo", "1.0", by=OPERATOR)
    with estate.catalogue.read() as conn:
        found = indexes.find(conn, "stable")
        assert found is not None
        assert [stone.filename for stone in tombstones.list(conn, found.id)] == [WHEEL]
        assert files.count(conn, found.id) == 0
    for wrong in (("main", "main", "demo", "1.0"), ("main", "stable", "../x", "1.0")):
        with pytest.raises(BadRequest):
            estate.indexing.promote(*wrong, by=OPERATOR)
    for missing in (("main", "stable", "demo", "2.0"), ("main", "nowhere", "demo", "1.0")):
        with pytest.raises(NotFound):
            estate.indexing.promote(*missing, by=OPERATOR)


def test_a_promotion_that_fails_halfway_leaves_nothing(estate: Estate) -> None:
    folder = Path(estate.indexing.create("stable", by=OPERATOR).folders[0])
    (folder / SDIST).mkdir()  # in the way of the second file
    with pytest.raises(PidexError):
        estate.indexing.promote("main", "stable", "demo", "1.0", by=OPERATOR)
    assert [path.name for path in folder.iterdir()] == [SDIST]
    estate.scan("stable")
    with pytest.raises(NotFound):
        estate.page("stable")
    (folder / SDIST).rmdir()
    assert len(estate.indexing.promote("main", "stable", "demo", "1.0", by=OPERATOR).files) == 2


def test_who_may(estate: Estate) -> None:
    estate.indexing.create("dev", by=OPERATOR)
    service = estate.indexing

    def grant(role: Role, index: str | None, project: str = "*") -> None:
        with estate.catalogue.write() as conn:
            grants.add(conn, Grant("user:ann", role, index, project), by="x", at=1)
            rights.announce(conn, None, at=1, by="x")

    acts: dict[str, Callable[[Principal], object]] = {
        "create": lambda by: service.create("new", by=by),
        "set_index": lambda by: service.set_index("dev", ["challenge=no"], by=by),
        "remove_index": lambda by: service.remove_index("new", by=by),
        "add_upstream": lambda by: service.add_upstream("pypi", by=by),
        "set_upstream": lambda by: service.set_upstream("pypi", {}, by=by),
        "list_upstreams": lambda by: service.list_upstreams(by=by),
        "remove_upstream": lambda by: service.remove_upstream("pypi", by=by),
        "claim": lambda by: service.claim("dev", "foo", by=by),
        "merge": lambda by: service.merge("dev", "foo", by=by),
        "block": lambda by: service.block("dev", "bar", by=by),
        "release": lambda by: service.release("dev", "foo", by=by),
        "reserve": lambda by: service.reserve("dev", "acme-*", by=by),
        "unreserve": lambda by: service.unreserve("dev", "acme-*", by=by),
        "list_reservations": lambda by: service.list_reservations("dev", by=by),
        "promote": lambda by: service.promote("main", "dev", "demo", "1.0", by=by),
    }
    open_to_all = {"origin", "list_origins", "list_indexes"}
    methods = {name for name in dir(Indexing) if not name.startswith("_")}
    assert methods == {*acts, *open_to_all}
    for act in acts.values():
        for by in (ANN, ANONYMOUS):
            with pytest.raises((Forbidden, Unauthenticated)):
                act(by)
    assert [each.folders for each in service.list_indexes(by=ANN)] == [(), ()]
    grant(Role.OWNER, "dev", "foo")
    acts["claim"](ANN)
    with pytest.raises((Forbidden, NotFound)):
        acts["merge"](ANN)
    grant(Role.ADMIN, None)
    for act in acts.values():
        act(ANN)
    with pytest.raises(Forbidden):
        service.create("own", folders=[str(estate.place)], by=ANN)
