"""Refusals on pages are said in the language of whoever reads them; commands and the API stay English."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

import pytest

from pidex.core.model import DEFAULT_INDEX, OPERATOR
from tests import samples
from tests.web.driver import House
from tests.web.ui.browser import ORIGIN, Browser, Page

PASSWORD = "correct horse battery"
#: Chinese, and English that somebody would have to understand: three words one after the other.
_CHINESE, _ENGLISH = re.compile("[\u4e00-\u9fff]{2}"), re.compile(r"(?:\b[a-z]{2,} ){3}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Only refusals are asked for here: nothing changes."""
    packages = [samples.wheel("demo", "1.0"), samples.wheel("held", "1.0"), samples.sdist("base", "1.0")]
    with House(tmp_path_factory.mktemp("refusals"), *packages) as built:
        desk = built.pidex.administration()
        for name, role in (("root", "admin"), ("bob", "reader"), ("una", "uploader")):
            desk.add_user(name, PASSWORD, by=OPERATOR)
            desk.grant(f"user:{name}", role, index=None if name == "root" else DEFAULT_INDEX, by=OPERATOR)
        curator = built.pidex.curator(built.pidex.intake(), built.pidex.accounts())
        curator.delete(DEFAULT_INDEX, "base", reason="old", by=OPERATOR)
        curator.set_status(DEFAULT_INDEX, "held", "archived", reason="done with", by=OPERATOR)
        built.scan()
        yield built


@pytest.fixture
def chinese(house: House) -> Callable[[str], Browser]:
    """A browser of somebody who reads Chinese."""

    def opened(name: str = "") -> Browser:
        browser = Browser(house, **{"accept-language": "zh-CN,zh;q=0.9,en;q=0.1"})
        if name:
            assert browser.sign_in(name, PASSWORD).answer.status == 200
        return browser

    return opened


Reader = Callable[[str], Browser]


def told(page: Page) -> str:
    """What a page says of a refusal: its alert, or all that an error page has."""
    alerts = [each for each in page.tree.iter() if each.get("role") == "alert"]
    found = alerts or [each for each in page.tree.iter() if each.get("class") in ("narrow", "list sent")]
    assert found, page.text
    for code in [each for one in found for each in one.iter("code")]:
        code.text = ""  # commands are what they are
    return " ".join(" ".join(each.itertext()) for each in found)


def is_chinese(page: Page, status: int) -> None:
    assert page.answer.status == status, page.text
    text = told(page)
    assert _CHINESE.search(text), text
    assert not _ENGLISH.search(text), text


def test_signing_in(chinese: Reader) -> None:
    browser = chinese("")
    form = browser.open("/-/login").form("/-/login")
    is_chinese(browser.send(form, name="root", password="wrong"), 403)
    is_chinese(browser.send(form, name="", password=""), 400)
    is_chinese(browser.send(form, name="root", password=PASSWORD, origin="http://evil.example"), 403)


def test_what_is_not_there_or_not_theirs(chinese: Reader) -> None:
    stranger, bob, root = chinese(""), chinese("bob"), chinese("root")
    for path in (
        "/project/absent/", "/project/demo/9.9/", "/project/!/", "/-/setup?client=nothing",
        "/project/demo/-/file/absent.whl/", "/project/demo/-/file/demo-1.0-py3-none-any.whl/absent.py",
        "/project/demo/-/files/?version=9",
    ):  # fmt: skip
        is_chinese(stranger.open(path), 404)
    is_chinese(stranger.open("/-/search?q=" + "a" * 400), 400)
    for path in ("/-/admin", "/-/upload", "/-/origins", "/-/admin/audit", "/project/demo/-/manage/"):
        is_chinese(bob.open(path), 403)
    for path in ("/-/admin/person?user=nobody", "/-/admin/person"):
        is_chinese(root.open(path), 404)
    is_chinese(root.open("/-/admin/audit?since=yesterday"), 400)


def test_forms_of_people(chinese: Reader) -> None:
    root = chinese("root")
    account = root.open("/-/account")
    tokens, password = account.form("/-/tokens"), account.form("/-/password")
    for values in ({"days": "8"}, {"scope": ()}, {"indexes": "a b c/d"}, {"comment": "x" * 300}):
        is_chinese(root.send(tokens, **values), 400)
    is_chinese(root.send(tokens, csrf="00"), 403)
    for new, again in (("a", "b"), ("short", "short"), ("pidex_" + "x" * 40,) * 2):
        is_chinese(root.send(password, current=PASSWORD, password=new, again=again), 400)
    is_chinese(root.send(password, current="wrong", password=PASSWORD, again=PASSWORD), 403)


#: Forms of administrators: page, what is done, and what is wrong with it.
WRONG: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("/-/admin/people", "add-user", {"name": "root"}),
    ("/-/admin/people", "add-user", {"name": "a/b:c"}),
    ("/-/admin/people", "add-user", {"name": "carl", "password": "short"}),
    ("/-/admin/people", "add-group", {"name": "anonymous"}),
    ("/-/admin/people", "grant", {"subject": "nobody"}),
    ("/-/admin/people", "grant", {"subject": "user:nobody"}),
    ("/-/admin/people", "grant", {"subject": "user:root", "project": "a b"}),
    ("/-/admin/person?user=bob", "password", {"password": "short"}),
    ("/-/admin/indexes", "add-index", {"name": "simple"}),
    ("/-/admin/indexes", "add-index", {"name": "A B"}),
    ("/-/admin/indexes", "add-index", {"name": "main"}),
    ("/-/admin/indexes", "add-index", {"name": "stage", "bases": "nowhere"}),
    ("/-/admin/indexes", "add-index", {"name": "stage", "upstreams": "nowhere"}),
    ("/-/admin/indexes", "add-upstream", {"name": "far", "url": "gopher://x"}),
    ("/-/admin/indexes", "add-upstream", {"name": "far", "url": ""}),
    ("/-/index", "set", {"bases": "nowhere"}),
    ("/-/index", "set", {"edits": "nothing=1"}),
    ("/-/index", "rules", {"min_age": "soon"}),
    ("/-/index", "rules", {"max_size": "much"}),
    ("/-/index", "rules", {"prereleases": "perhaps"}),
    ("/-/index", "exempt", {"subject": "demo", "reason": ""}),
    ("/-/index", "exempt", {"subject": "demo", "reason": "so", "until": "yesterday"}),
    ("/-/index", "hold", {"subject": "demo==1.0", "reason": ""}),
    ("/-/index", "hold", {"subject": "", "reason": "so"}),
    ("/-/origins", "decide", {"project": "a b"}),
    ("/-/origins", "decide", {"project": "demo", "how": "nothing"}),
    ("/-/origins", "reserve", {"pattern": "A B"}),
    ("/-/origins", "reserve", {"pattern": "*"}),
)


@pytest.fixture(scope="module")
def root(house: House) -> Browser:
    browser = Browser(house, **{"accept-language": "zh-CN"})
    browser.sign_in("root", PASSWORD)
    return browser


@pytest.mark.parametrize(("path", "deed", "values"), WRONG)
def test_forms_of_administrators(root: Browser, path: str, deed: str, values: Mapping[str, str]) -> None:
    page = root.send(root.open(path).form(path.partition("?")[0], do=deed), **values)
    assert page.answer.status in (400, 404, 409)
    is_chinese(page, page.answer.status)
    again = page.form(path.partition("?")[0], do=deed)
    typed = {name: value for name, value in values.items() if name not in ("password", "how", "prereleases")}
    assert typed.items() <= {name: value.strip() for name, value in again.fields}.items(), (
        "what was typed stays"
    )


def test_projects_are_managed(chinese: Reader) -> None:
    browser = chinese("root")
    page = browser.open("/project/demo/-/manage/")
    is_chinese(browser.send(page.form("/-/yank"), reason="x" * 1_001), 400)
    is_chinese(browser.send(page.form("/-/owners"), subject=""), 400)
    is_chinese(browser.send(page.form("/-/status"), status="gone"), 400)
    sure = browser.send(page.form("/-/delete", without="version"))
    is_chinese(browser.send(sure.form("/-/delete"), typed="dem"), 400)


WHEEL = samples.wheel("demo", "1.0")
#: What is sent, and refused.
SENT = {
    "other bytes": samples.wheel("demo", "1.0", files={"demo/more.py": b"1"}),
    "no archive": ("broken-1.0-py3-none-any.whl", b"no zip"),
    "cut": (WHEEL[0].replace("1.0", "2.0"), WHEEL[1][:200]),
    "another's name": (WHEEL[0].replace("demo", "else"), WHEEL[1]),
    "no package": ("notes.txt", b"x"),
    "no wheel's name": ("demo.whl", WHEEL[1]),
    "empty": ("demo-3.0.tar.gz", b""),
    "deleted": samples.sdist("base", "1.0"),
    "archived": samples.wheel("held", "2.0"),
}


@pytest.mark.parametrize("what", SENT)
def test_files_are_refused(house: House, chinese: Reader, what: str) -> None:
    browser = chinese("una")
    form = browser.open("/-/upload").form("/-/upload")
    page = browser.upload(form, SENT[what])
    assert page.answer.status in (400, 403)
    is_chinese(page, page.answer.status)


def test_the_script_of_a_page_is_told_as_its_reader_is_and_tools_are_not(
    house: House, chinese: Reader
) -> None:
    browser = chinese("una")
    form = browser.open("/-/upload").form("/-/upload")

    def sent(target: str, csrf: str) -> str:
        head = "--b\r\nContent-Disposition: form-data; name="
        body = f'{head}"csrf"\r\n\r\n{csrf}\r\n{head}"content"; filename="notes.txt"\r\n\r\nx\r\n--b--\r\n'
        given = [
            ("accept", "application/json"),
            ("accept-language", "zh-CN"),
            ("content-type", "multipart/form-data; boundary=b"),
            ("origin", ORIGIN),
            ("cookie", "; ".join(f"{name}={value}" for name, value in browser.cookies.items())),
        ]
        answer = house.run(house.ask(target, given, method="POST", body=body.encode()))[0]
        found = json.loads(answer.body)
        return str(found["files"][0]["message"] if "files" in found else found["message"])

    assert _CHINESE.search(sent("/-/upload", dict(form.fields)["csrf"]))
    assert _CHINESE.search(sent("/-/upload", "00"))
    assert not _CHINESE.search(sent("/legacy/", "00"))


def test_tools_and_english_readers_are_told_in_english(house: House) -> None:
    answer = house.get("/-/api/v1/indexes/main/projects/absent", accept_language="zh-CN")
    assert "has no project absent" in answer.text
    assert "has no project absent" in Browser(house).open("/project/absent/").text
