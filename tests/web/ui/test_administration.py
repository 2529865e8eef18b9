"""What people who run an index or the server do with the pages, without script; and what the charts show."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.core.model import DEFAULT_INDEX, OPERATOR, Principal
from pidex.verify import scrub
from tests import samples
from tests.web.driver import House, file_url, listed
from tests.web.ui.browser import Browser, Page

PASSWORD = "correct horse battery"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    packages = [samples.wheel("demo", "1.0"), samples.wheel("demo", "2.0"), samples.wheel("base", "1.0")]
    with House(tmp_path, *packages) as built:
        desk = built.pidex.administration()
        for name, index in (("root", None), ("ann", DEFAULT_INDEX)):
            desk.add_user(name, PASSWORD, by=OPERATOR)
            desk.grant(f"user:{name}", "admin", index=index, by=OPERATOR)
        desk.add_user("bob", PASSWORD, by=OPERATOR)
        yield built


@pytest.fixture
def root(house: House) -> Browser:
    return signed_in(house, "root")


def signed_in(house: House, name: str) -> Browser:
    browser = Browser(house)
    assert browser.sign_in(name, PASSWORD).answer.status == 200
    return browser


def do(browser: Browser, path: str, deed: str, ending: str = "", **values: str) -> Page:
    """Fill in the form of a page that makes a change, and send it; `ending` where it goes elsewhere."""
    holding = {name: values.pop(name) for name in ("group", "user") if name in values and deed != "join"}
    if deed == "join":
        holding = {"group": values.pop("group")}
    form = browser.open(path).form(ending or path.partition("?")[0], do=deed, **holding)
    return browser.send(form, **values)


def actions(house: House) -> list[str]:
    return [row.action for row in house.pidex.overview().audit({}, by=OPERATOR)]


def test_users_groups_and_rights(house: House, root: Browser) -> None:
    path, people = "/-/admin/people", house.pidex.administration()
    assert "Added." in do(root, path, "add-user", name="Carl", password=PASSWORD).text
    assert do(root, path, "add-user", name="carl", password="").answer.status == 409
    assert "Added." in do(root, path, "add-group", name="team").text
    assert "Added." in do(root, path, "join", group="team", user="carl").text
    assert [each.members for each in people.list_groups(by=OPERATOR) if each.name == "team"] == [("carl",)]
    given = do(root, path, "grant", subject="group:team", role="uploader", index="main", project="de*")
    assert "Added." in given.text
    assert "Removed." in do(root, path, "leave", group="team", user="carl").text
    wrong = do(root, path, "remove-group", group="team", typed="tea")
    assert (wrong.answer.status, "Type the name, team" in wrong.text) == (400, True)
    assert "Removed." in do(root, path, "remove-group", group="team", typed="team").text
    assert "team" not in {each.name for each in people.list_groups(by=OPERATOR)}
    done = {"user.add", "group.add", "group.remove", "grant.add"}
    assert done <= {*actions(house)}
    assert do(root, path, "add-user", name="a/b:c", password="").answer.status == 400


def test_one_user(house: House, root: Browser) -> None:
    token = house.pidex.administration().create_token("bob", scopes=["read"], comment="CI", by=OPERATOR)
    path = "/-/admin/person?user=bob"
    assert token.token.hint in root.open(path).text
    assert "The token is revoked." in do(root, path, "revoke", user="bob").text
    assert "locked out" in do(root, path, "lock", user="bob").text
    assert Browser(house).sign_in("bob", PASSWORD).answer.status == 403
    assert "may sign in" in do(root, path, "unlock", user="bob").text
    assert do(root, path, "password", user="bob", password="short").answer.status == 400
    assert "Saved." in do(root, path, "password", user="bob", password="another long secret").text
    assert Browser(house).sign_in("bob", "another long secret").answer.status == 200
    assert do(root, path, "remove-user", "/remove", user="bob", typed="").answer.status == 400
    assert "Removed." in do(root, path, "remove-user", "/remove", user="bob", typed="bob").text
    assert root.open(path).answer.status == 404


def test_a_search_is_narrowed_to_an_index_of_several(house: House, root: Browser) -> None:
    assert "Added." in do(root, "/-/admin/indexes", "add-index", name="stage", bases="main").text
    page = root.open("/stage/-/search")
    assert "demo" in page.text
    assert "demo" in root.open("/stage/-/search?index=main").text
    assert "Nothing fits." in root.open("/stage/-/search?index=stage").text


def test_indexes_and_upstreams(house: House, root: Browser) -> None:
    path = "/-/admin/indexes"
    assert "Added." in do(root, path, "add-index", name="stage", bases="main").text
    assert do(root, path, "add-index", name="stage").answer.status == 409
    assert do(root, path, "add-index", name="simple").answer.status == 400
    assert "Added." in do(root, path, "add-upstream", name="far", url="https://far.example/simple/").text
    assert do(root, path, "add-upstream", name="bad", url="gopher://x").answer.status == 400
    assert "stage → main" in root.open(path).text
    page = root.send(root.open(path).form(path, do="remove-upstream", name="far"), typed="far")
    assert "Removed." in page.text
    page = root.send(root.open(path).form(path, do="remove-index", name="stage"), typed="main")
    assert page.answer.status == 400
    page = root.send(root.open(path).form(path, do="remove-index", name="stage"), typed="stage", force="yes")
    assert "Removed." in page.text


def test_settings_and_rules_of_an_index(house: House) -> None:
    ann, path = signed_in(house, "ann"), "/-/index"
    assert "Saved." in do(ann, path, "set", mutability="immutable", challenge="yes").text
    assert "are asked to sign in" in ann.open(path).text
    assert do(ann, path, "set", bases="nowhere").answer.status in (400, 404)
    assert "Saved." in do(ann, path, "set", edits="one_sdist=yes\nfile_limit=9000000").text
    assert switches(house) == {"one_sdist": True, "file_limit": 9_000_000}
    page = ann.open(path)
    assert "one_sdist=yes" in page.text.partition("Switches of uploads")[2].partition("Which there are")[0]
    assert "file_limit=0" in page.text.partition("Which there are")[2], "what it is unless set"
    assert "Saved." in do(ann, path, "set", edits="one_sdist=yes").text
    assert switches(house) == {"one_sdist": True}, "a line that goes takes its switch back"
    assert "Saved." in do(ann, path, "set", edits="").text
    assert switches(house) == {}
    assert "Saved." in do(ann, path, "rules", prereleases="no").text
    chosen = {each.get("name"): each for each in ann.open(path).all("select")}["prereleases"]
    assert [each.get("value") for each in chosen if each.get("selected") is not None] == ["no"]
    assert "Saved." in do(ann, path, "rules", prereleases="").text
    assert "Saved." in do(ann, path, "rules", scope="all", deny="demo==2.0").text
    assert listed(house, "demo") == ["demo-1.0-py3-none-any.whl"]
    assert "Added." in do(ann, path, "exempt", subject="demo==2.0", reason="we know it").text
    assert len(listed(house, "demo")) == 2
    assert "Removed." in do(ann, path, "unexempt").text
    assert do(ann, path, "rules", min_age="soon").answer.status == 400
    assert "Added." in do(ann, path, "hold", subject="demo==1.0", reason="bad").text
    assert listed(house, "demo") == []
    assert "Removed." in do(ann, path, "unhold").text
    assert do(ann, path, "hold", subject="", reason="x").answer.status == 400
    assert do(ann, path, "hold", subject="demo==1.0", reason="").answer.status == 400
    assert "Saved." in do(ann, path, "rules", deny="", scope="").text
    assert len(listed(house, "demo")) == 2


def switches(house: House) -> dict[str, object]:
    """The switches of uploads that differ from the defaults."""
    return house.pidex.indexing(house.pidex.intake()).list_indexes(by=OPERATOR)[0].policy


def test_names(house: House) -> None:
    ann, path = signed_in(house, "ann"), "/-/origins"
    assert "Saved." in do(ann, path, "decide", project="mine", how="claim", reason="ours").text
    assert "ours" in ann.open(path).text
    assert "Added." in do(ann, path, "reserve", pattern="acme-*", reason="all of it").text
    assert do(ann, path, "reserve", pattern="A B").answer.status == 400
    assert "Removed." in do(ann, path, "unreserve").text
    assert do(ann, path, "decide", project="!", how="claim").answer.status == 400
    assert do(ann, path, "decide", project="mine", how="nothing").answer.status == 400
    assert "mine" in ann.open("/-/origins?project=mine").text


def test_folders_say_what_is_not_listed(house: House) -> None:
    samples.write(house.folder, ("broken-1.0.tar.gz", b"no archive at all"))
    house.scan()
    page = signed_in(house, "ann").open("/-/folders")
    assert "broken-1.0.tar.gz" in page.text


def test_a_server_and_its_health(house: House, root: Browser) -> None:
    assert "main" in root.open("/-/admin").text
    health = root.open("/-/admin/health")
    assert "data directory" in health.text
    assert "3 listed files compared: everything agrees." in root.send(health.form("/health")).text


def test_the_audit_is_filtered_and_exported(house: House, root: Browser) -> None:
    desk = house.pidex.administration()
    evil = Principal('=cmd|"/c calc"!A1', frozenset({"operator", "authenticated"}))
    desk.add_group("formula", by=evil)
    desk.add_group("plain", by=OPERATOR)
    page = root.open("/-/admin/audit?action=group.&subject=formula")
    assert "formula" in page.text
    assert "plain" not in page.text
    assert "session.begin" in root.open("/-/admin/audit").text
    assert "session.begin" not in root.open("/-/admin/audit?until=2001-01-01").text
    assert root.open("/-/admin/audit?since=yesterday").answer.status == 400
    cookie = "; ".join(f"{name}={value}" for name, value in root.cookies.items())
    answer = house.get("/-/admin/audit.csv?action=group.", cookie=cookie)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = [*csv.DictReader(io.StringIO(answer.text))]
    assert [row["subject"] for row in rows] == ["plain", "formula"]
    assert rows[1]["actor"] == '\'=cmd|"/c calc"!A1'
    told = house.get("/-/admin/audit.json?action=group.", cookie=cookie).json()
    assert [(row["actor"], row["subject"]) for row in told] == [
        (OPERATOR.name, "plain"),
        (evil.name, "formula"),
    ]
    assert told[0].keys() == rows[0].keys()
    assert not any(value[:1] in ("=", "+", "-", "@") for row in rows for value in row.values())


def test_older_rows_are_a_link_away(house: House, root: Browser) -> None:
    desk = house.pidex.administration()
    for number in range(110):
        desk.add_group(f"group-{number}", by=OPERATOR)
    page = root.open("/-/admin/audit?action=group.")
    link = next(each for each in page.links if "before=" in each)
    older = root.open("/-/admin/audit" + link[link.index("?") :])
    assert "group-0" in older.text
    assert "group-109" not in older.text


def test_one_signs_out_everywhere_else(house: House) -> None:
    here, there = signed_in(house, "ann"), signed_in(house, "ann")
    page = here.open("/-/account")
    assert page.text.count("this browser") == 1
    page = here.send(page.form("/-/sessions/end"))
    assert "Signed out everywhere else." in page.text
    assert not any("/sessions/end" in (each.get("action") or "") for each in page.all("form"))
    assert there.open("/-/account").hops, "it is over"
    assert not here.open("/-/account").hops


def test_administrators_are_told_what_needs_a_look(house: House) -> None:
    scrub.write(house.pidex.data / scrub.NAME, scrub.State(began=1.0, damaged=("demo was put aside",)))
    told = "This server needs somebody to look at it"
    page = signed_in(house, "root").open("/")
    assert told in page.text
    assert "demo was put aside" in page.text
    assert told not in signed_in(house, "ann").open("/").text
    assert told not in Browser(house).open("/").text


def test_nothing_is_said_where_all_is_well(root: Browser) -> None:
    assert "needs somebody to look" not in root.open("/").text


def test_only_who_may(house: House) -> None:
    for who in ("bob", "ann"):
        browser = signed_in(house, who)
        for path in (
            "/-/admin",
            "/-/admin/people",
            "/-/admin/audit",
            "/-/admin/audit.csv",
            "/-/admin/audit.json",
        ):
            assert browser.open(path).answer.status == 403
        assert ('href="-/admin"' in browser.open("/").answer.text) is False
        assert (browser.open("/-/folders").answer.status == 200) is (who == "ann")


def test_a_form_of_elsewhere_changes_nothing(house: House, root: Browser) -> None:
    form = root.open("/-/admin/people").form("/people", do="add-group")
    before = actions(house)
    assert root.send(form, name="evil", origin="https://evil.example").answer.status == 403
    form.fields = [pair for pair in form.fields if pair[0] != "csrf"]
    assert root.send(form, name="evil").answer.status == 403
    assert actions(house) == before


def test_downloads_are_counted_and_shown(house: House) -> None:
    url = file_url(house, "demo")
    pip = 'pip/24.0 {"python":"3.12.1"}'
    assert house.get(url, user_agent=pip).status == 200
    assert house.get(f"/main{url}", user_agent=pip).status == 200
    assert house.head(url, user_agent=pip).status == 200
    assert house.get(url, user_agent=pip, range="bytes=0-9").status == 206
    assert house.get("/simple/demo/", user_agent=pip).status == 200
    house.site.ledger.flush()
    for close in house.site.closers:
        if close.__qualname__ == "Tally.close":
            close()
    assert house.pidex.statistics().settle() == 1
    usage = house.pidex.statistics().project(DEFAULT_INDEX, "demo", by=OPERATOR)
    assert (usage.total, usage.clients[0].name, usage.pythons[0].name) == (2, "pip", "3.12")
    page = Browser(house).open("/project/demo/")
    assert "2 downloads in the last 30 days" in page.text
    assert [each.get("height") for each in page.tree.iter() if each.tag.endswith("rect")] == ["100.0"]
    statistics = Browser(house).open("/-/statistics?days=7")
    assert "2 downloads in the last 7 days" in statistics.text
    assert any(link.endswith("project/demo/") for link in statistics.links)
    told = house.get("/-/api/v1/indexes/main/projects/demo/downloads?days=1").json()
    assert (told["total"], len(told["by_day"])) == (2, 1)
    assert house.get("/-/api/v1/indexes/main/downloads?days=0").status == 400
