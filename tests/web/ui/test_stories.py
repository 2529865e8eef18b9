"""What people do with the pages, without script: find, read, sign in, publish, manage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from pidex.core.model import DEFAULT_INDEX, OPERATOR
from tests import samples
from tests.web.driver import House, listed
from tests.web.ui.browser import ORIGIN, Browser

#: What pages link to and are none.
OTHERS = ("/packages/", "/simple", "/rss")
PASSWORD = "correct horse battery"
README = b"""Metadata-Version: 2.4
Name: demo
Version: 1.0
Summary: A demonstration of things
Keywords: shoes,ships
License-Expression: MIT
Author-email: Ann <ann@example.org>
Project-URL: Source, https://code.example/demo
Project-URL: Bad, javascript:alert(1)
Requires-Dist: base>=1
Requires-Dist: extra-thing; extra == 'more'
Provides-Extra: more
Description-Content-Type: text/markdown

# Walrus

![tracker](https://elsewhere.example/x.png) <script>alert(1)</script>
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    packages = [
        samples.wheel("demo", "1.0", metadata=README),
        samples.sdist("demo", "1.0"),
        samples.wheel("base", "1.0"),
        samples.wheel("base", "2.0rc1"),
        *(samples.wheel(f"many-{number}", "1.0") for number in range(25)),
    ]
    with House(tmp_path_factory.mktemp("ui"), *packages) as built:
        people(built)
        yield built


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path, samples.wheel("demo", "1.0"), samples.wheel("demo", "2.0")) as built:
        people(built)
        yield built


def people(house: House) -> None:
    desk = house.pidex.administration()
    desk.add_user("ann", PASSWORD, by=OPERATOR)
    desk.grant("user:ann", "owner", index=DEFAULT_INDEX, by=OPERATOR)


def test_every_link_of_every_page_leads_somewhere(house: House) -> None:
    """From the first page on, signed in and not: no dead link, valid HTML, nothing from elsewhere."""
    for name in ("", "ann"):
        browser = Browser(house)
        if name:
            browser.sign_in(name, PASSWORD)
        waiting, seen = ["/"], set()
        while waiting and len(seen) < 120:
            target = waiting.pop(0)
            page = browser.open(target)
            assert page.answer.status == 200, target
            assert page.all("html")[0].get("lang") == "en"
            assert [each.tag for each in page.all("h1")] == ["h1"], target
            ids = [each.get("id") for each in page.tree.iter() if each.get("id")]
            assert len(ids) == len(set(ids)), f"{target}: an id twice"
            for each in [each for tag in ("img", "script", "link", "iframe") for each in page.all(tag)]:
                source = each.get("src") or each.get("href")
                assert "://" not in source, source
                assert not each.text, "inline script"
            for link in page.links:
                there = urljoin(target, link).partition("#")[0]
                parts = urlsplit(there)
                ours = parts.scheme in ("", "http") and not parts.netloc
                if ours and not parts.path.startswith(OTHERS) and there not in seen and "many-" not in there:
                    seen.add(there)
                    waiting.append(there)
        assert len(seen) > 30


def test_headers_keep_strangers_out_of_pages(house: House) -> None:
    for target in ("/", "/project/demo/", "/-/search", "/-/login", "/project/nope/"):
        headers = Browser(house).open(target).answer.headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert {"Cookie", "Accept-Language"} <= {each.strip() for each in headers["vary"].split(",")}


def test_find_a_project_and_read_about_it(house: House) -> None:
    browser = Browser(house)
    found = browser.send(browser.open("/").form("/-/search"), q="ships walr")
    assert "1 project" in found.text
    page = browser.open(urljoin(found.url, next(link for link in found.links if link.endswith("/demo/"))))
    assert "A demonstration of things" in page.text
    assert "pip install --index-url http://index.test:8080/simple/" in page.text
    assert "MIT" in page.text
    assert "Walrus" in page.text
    assert "claimed no upstream is asked for the name" in page.text
    assert "https://code.example/demo" in page.links
    assert not any(link.startswith("javascript:") for link in page.links)
    assert "https://elsewhere.example/x.png" in page.links  # only by a click
    assert not any("elsewhere" in (each.get("src") or "") for each in page.all("img"))
    for path, text in (
        ("-/files/", "demo-1.0-py3-none-any.whl"),
        ("-/dependencies/", "With the extra more"),
        ("-/history/", "1 release"),
        ("-/file/demo-1.0-py3-none-any.whl/", "demo-1.0.dist-info/METADATA"),
        ("-/file/demo-1.0-py3-none-any.whl/demo-1.0.dist-info/METADATA", "Keywords: shoes,ships"),
        ("-/file/demo-1.0.tar.gz/", "demo-1.0/PKG-INFO"),
    ):
        assert text in browser.open(f"/project/demo/{path}").text, path
    assert "demo" in browser.open("/project/base/-/dependencies/").text.partition("What needs it")[2]


def test_searches_are_narrowed_and_paged_by_their_urls(house: House) -> None:
    browser = Browser(house)
    first = browser.open("/-/search")
    assert "27 projects" in first.text
    following = next(each for each in first.all("a") if each.get("rel") == "next")
    assert "Page 2 of 2" in browser.open(urljoin(first.url, following.get("href"))).text
    assert "1 project" in browser.open("/-/search?licence=MIT").text
    assert "0 projects" in browser.open("/-/search?q=demo&origin=nowhere").text
    meant = browser.open("/-/search?q=dmeo")
    assert "demo" in meant.text.partition("Did you mean")[2][:20]
    assert "Updated" not in meant.text, "nothing to narrow down"
    assert "Updated" in browser.open("/-/search?q=demo").text
    for query in ("%22%2A%22", "NEAR(", "%E4%B8%AD%E6%96%87", "a" * 300, "-" * 20, "%00", "page=99999"):
        assert browser.open(f"/-/search?q={query}").answer.status == 200, query
    assert browser.open("/-/search?q=" + "a" * 400).answer.status == 400
    assert browser.open("/-/search?page=x&days=-1&python=%27").answer.status == 200


def test_a_session_begins_and_ends(house: House) -> None:
    browser = Browser(house)
    page = browser.open("/-/account")
    assert page.hops, "strangers are sent to sign in"
    wrong = browser.send(page.form("/-/login"), name="ann", password="wrong")
    assert wrong.answer.status == 403
    assert "wrong" in wrong.text
    page = browser.send(wrong.form("/-/login"), name="ann", password=PASSWORD)
    assert page.url == "/-/account", "back to where one came from"
    flags = browser.flags["pidex_session"]
    assert "HttpOnly" in flags
    assert "SameSite=Lax" in flags
    assert "no-store" in page.answer.headers["cache-control"]
    text = browser.cookies["pidex_session"]
    browser.send(page.form("/-/logout"))
    assert "pidex_session" not in browser.cookies
    browser.cookies["pidex_session"] = text
    assert browser.open("/-/account").hops, "it is over on the server, too"


def test_where_one_comes_from_is_a_page_of_this_server(house: House) -> None:
    for bad in ("//evil.example/", "https://evil.example/", "/\\evil", "..//x", "a\nb", "javascript:x"):
        browser = Browser(house)
        form = browser.open("/-/login").form("/-/login")
        page = browser.send(form, name="ann", password=PASSWORD, next=bad)
        assert page.hops == ["/"], bad


def test_reasons_and_checks_are_told_in_the_language_of_their_reader(house: House) -> None:
    chinese = Browser(house, **{"accept-language": "zh-CN"})
    assert "索引 main 中从未见过它的文件" in chinese.open("/-/why?subject=absent").text
    assert "字节" in chinese.open("/-/why?subject=demo").text
    for subject in ("demo", "demo==1.0", "demo-1.0.tar.gz"):
        links = Browser(house).open(f"/-/why?subject={subject}").links
        assert any(link.endswith("project/demo/") for link in links), subject
    assert not any("project/" in link for link in Browser(house).open("/-/why?subject=absent").links)
    answer = house.get("/-/why?subject=absent", "application/json", **{"accept-language": "zh-CN"})
    assert answer.json()["reasons"][0]["text"] == "absent: no file of it was ever seen in index main."


def test_people_are_told_by_a_page_that_there_is_nothing(house: House) -> None:
    seen = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for path in ("/nothing/at/all", "/project/absent/", "/-/nothing", "/main/-/nothing/"):
        answer = house.get(path, seen)
        assert answer.status == 404, path
        assert '<form class="find"' in answer.text, f"{path}: from there people can search"
        assert "Content-Security-Policy".lower() in answer.headers
    # Programs are told as before, in few words.
    assert len(house.get("/nothing/at/all", "text/html").body) < 600
    assert house.get("/nothing/at/all", "application/json").headers["content-type"] == "application/json"
    described = house.get("/-/api/v1/nothing", seen)
    assert (described.status, described.headers["content-type"]) == (404, "application/problem+json")


def test_forms_of_others_are_refused(house: House) -> None:
    """T23: without the page's secret, or from another origin, nothing happens."""
    browser = Browser(house)
    browser.sign_in("ann", PASSWORD)
    form = browser.open("/-/account").form("/-/tokens")
    for csrf in ("", "00", "zz", "0" * 128):
        assert browser.send(form, csrf=csrf, scope="read").answer.status == 403
    for origin in ("http://evil.example", "null"):
        assert browser.send(form, origin=origin, scope="read").answer.status == 403
    other = Browser(house)
    other.sign_in("ann", PASSWORD)
    assert other.send(form, scope="read").answer.status == 403, "another session's secret"
    stranger = Browser(house)
    login = stranger.open("/-/login").form("/-/login")
    assert stranger.send(login, origin="", name="ann", password=PASSWORD).answer.status == 403
    assert not house.pidex.administration().list_tokens("ann", by=OPERATOR)


def test_a_token_is_made_shown_once_used_and_revoked(own: House) -> None:
    browser = Browser(own)
    browser.sign_in("ann", PASSWORD)
    made = browser.send(
        browser.open("/-/account").form("/-/tokens"), comment="CI", scope=["read", "upload"], days="7"
    )
    text = next(word for word in made.text.split() if word.startswith("pidex_") and "…" not in word)
    assert "twine upload --repository-url http://index.test:8080/legacy/" in made.text
    page = browser.open("/-/account")
    assert text not in page.answer.text
    assert "CI" in page.text
    number = own.pidex.administration().list_tokens("ann", by=OPERATOR)[0].id
    browser.send(page.form(f"/-/tokens/{number}/revoke"))
    assert own.pidex.administration().list_tokens("ann", by=OPERATOR)[0].state == "revoked"
    assert browser.send(page.form("/-/tokens"), days="8").answer.status == 400


def test_files_are_uploaded_each_with_its_outcome(own: House) -> None:
    browser = Browser(own)
    browser.sign_in("ann", PASSWORD)
    form = browser.open("/-/upload").form("/-/upload")
    new, broken = samples.wheel("fresh", "1.0"), ("broken-1.0-py3-none-any.whl", b"no zip")
    page = browser.upload(form, new, broken, ("notes.txt", b"x"))
    assert page.answer.status == 200
    assert page.text.count("refused") == 2
    assert listed(own, "fresh") == [new[0]]
    assert "was there already" in browser.upload(form, new).text
    assert browser.upload(form, broken).answer.status == 400
    assert browser.upload(form).answer.status == 400
    assert browser.upload(form, new, csrf="00").answer.status == 403


def test_a_release_is_yanked_and_taken_back(own: House) -> None:
    browser = Browser(own)
    browser.sign_in("ann", PASSWORD)
    page = browser.open("/project/demo/-/manage/")
    page = browser.send(page.form("/-/yank", version="1.0"), reason="it <b>breaks</b>")
    assert "Yanked." in page.text
    assert "it <b>breaks</b>" in Browser(own).open("/project/demo/1.0/").text
    page = browser.send(page.form("/-/unyank", version="1.0"))
    assert "No longer yanked." in page.text
    assert browser.send(page.form("/-/yank", version="1.0"), reason="x" * 1_001).answer.status == 400


def test_status_and_people_are_set(own: House) -> None:
    own.pidex.administration().add_user("bob", by=OPERATOR)
    browser = Browser(own)
    browser.sign_in("ann", PASSWORD)
    page = browser.open("/project/demo/-/manage/")
    page = browser.send(page.form("/-/owners"), subject="bob", role="owner")
    assert "user:bob" in page.text
    page = browser.send(page.form("/-/status"), status="quarantined", reason="suspect")
    shown = Browser(own).open("/project/demo/").text
    assert "suspect" in shown
    assert "description" not in shown, "nothing is known of it"
    assert listed(own, "demo") == []
    browser.send(page.form("/-/status"), status="active", reason="")
    assert len(listed(own, "demo")) == 2


def test_a_project_is_deleted_by_its_typed_name_only(own: House) -> None:
    own.add(samples.wheel("user", "1.0", requires=["demo"]))
    browser = Browser(own)
    browser.sign_in("ann", PASSWORD)
    page = browser.open("/project/demo/-/manage/")
    page = browser.send(page.form("/-/delete", version="1.0"))
    page = browser.send(page.form("/-/delete"), typed="demo==1.0")
    assert len(listed(own, "demo")) == 1
    page = browser.send(page.form("/-/delete", without="version"))
    assert "1 project of this index needs it" in page.text
    page = browser.send(page.form("/-/delete"), typed="dem")
    assert page.answer.status == 400
    assert len(listed(own, "demo")) == 1
    page = browser.send(page.form("/-/delete"), typed="demo", reason="gone")
    assert "Deleted." in page.text
    assert own.get("/simple/demo/").status == 404


def test_language_and_colours_are_chosen_without_script(house: House) -> None:
    assert (
        Browser(house, **{"accept-language": "zh-CN,zh;q=0.9"}).open("/").all("html")[0].get("lang")
        == "zh-CN"
    )
    browser = Browser(house)
    page = browser.open("/-/search?q=demo")
    page = browser.send(page.form("/-/prefer"), language="zh-CN", theme="dark")
    assert page.url == "/-/search?q=demo"
    assert page.all("html")[0].get("lang") == "zh-CN"
    assert page.all("html")[0].get("data-theme") == "dark"
    assert "搜索" in page.answer.text
    assert browser.send(page.form("/-/prefer"), language="tlh").all("html")[0].get("lang") == "zh-CN"


@pytest.mark.parametrize(
    "client",
    ["pip", "uv", "poetry", "pdm", "hatch", "twine", "pypirc", "netrc", "docker", "github", "gitlab"],
)
def test_every_tool_gets_a_text_with_this_index(house: House, client: str) -> None:
    page = Browser(house).open(f"/main/-/setup?client={client}")
    assert page.answer.status == 200
    text = " ".join("".join(each.itertext()) for each in page.all("pre"))
    assert "index.test" in text
    assert "extra-index-url" not in page.answer.text
    assert "@index.test" not in text, "credentials in a URL"


CANARY = "\"'><img src=x onerror=alert(1)>{{7*7}}"


def test_what_others_wrote_is_only_ever_text(tmp_path: Path) -> None:
    """T12: a canary in every field, on every page."""
    lines = [
        "Metadata-Version: 2.4", "Name: canary", "Version: 1.0",
        *(f"{field}: {CANARY}" for field in (
            "Summary", "Author", "Author-email", "Maintainer", "License", "Keywords", "Home-page",
            "Classifier", "Requires-Dist", "Provides-Extra", "Platform", "Download-URL", "Requires-Python",
        )),
        f"Project-URL: {CANARY}, {CANARY}", f"Project-URL: x, https://x.example/{CANARY}",
        f"Description-Content-Type: {CANARY}", "", CANARY,
    ]  # fmt: skip
    wheel = samples.wheel(
        "canary", "1.0", metadata="\n".join(lines).encode(), files={f"canary/{CANARY}.py": CANARY.encode()}
    )
    with House(tmp_path, wheel) as built:
        people(built)
        browser = Browser(built)
        browser.sign_in("ann", PASSWORD)
        manage = browser.open("/project/canary/-/manage/")
        manage = browser.send(manage.form("/-/yank"), reason=CANARY)
        browser.send(manage.form("/-/status"), status="deprecated", reason=CANARY)
        browser.send(browser.open("/-/account").form("/-/tokens"), comment=CANARY, days="7")
        quoted = "%22%27%3E%3Cimg%20src=x%3E"
        for target in (
            "/", "/-/search", f"/-/search?q={quoted}", f"/-/search?licence={quoted}",
            f"/-/why?subject={quoted}", "/-/why?subject=canary", "/-/account",
            "/project/canary/", "/project/canary/1.0/", "/project/canary/-/files/",
            "/project/canary/-/history/", "/project/canary/-/dependencies/", "/project/canary/-/manage/",
            f"/project/canary/-/file/{wheel[0]}/", f"/project/canary/-/file/{wheel[0]}/{quoted}",
            f"/project/{quoted}/", f"/-/login?next={quoted}", f"/-/setup?client={quoted}", f"/?done={quoted}",
        ):  # fmt: skip
            page = browser.open(target)
            assert page.answer.status in (200, 400, 404), target
            assert [each.get("src") for each in page.all("img") if "icon" not in each.get("src")] == [], (
                target
            )
            assert not [
                each for each in page.tree.iter() if any(name.startswith("on") for name in each.attrib)
            ]
            assert "49" not in page.text.replace("{{7*7}}", ""), target


def test_pages_stay_small(house: House) -> None:
    """A6: style and script at most 20 kB compressed."""
    page = Browser(house).open("/")
    targets = [each.get("href") for each in page.all("link") if each.get("rel") == "stylesheet"]
    targets += [each.get("src") for each in page.all("script")]
    size = 0
    for target in targets:
        answer = house.get(urljoin("/", target), accept_encoding="gzip")
        assert answer.headers["content-encoding"] == "gzip"
        size += len(answer.body)
    assert len(targets) == 2
    assert size <= 20_000
    assert len(house.get(urljoin("/", targets[1]), accept_encoding="gzip").body) <= 4_096
    assert ORIGIN not in page.answer.headers.get("content-security-policy", "")
