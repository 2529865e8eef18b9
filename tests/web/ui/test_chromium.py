"""The pages in a real browser: by keyboard, with script and without, and nothing asked of anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.web.ui import chromium
from tests.web.ui.chromium import Window
from tests.web.ui.exhibit import LONG, PAGES, PASSWORD, USER, opened
from tests.web.ui.hostile import Hostile, corpus, package
from tests.web.ui.readmes import found_on

pytestmark = pytest.mark.skipif(bool(chromium.missing()), reason=f"NOT TESTED: {chromium.missing()}")

#: A few of the hostile READMEs: one page of each kind, put together of those that stay themselves then.
KINDS = ("md", "cm", "rst", "txt")
#: Pages that are gone through by keyboard, and looked at by axe-core: those with most on them.
WALKED = ("home", "project", "matrix")
WALKED_INSIDE = ("account", "people", "audit")


def hostile() -> Iterator[samples.Sample]:
    texts = [each for each in corpus() if len(each.text) < 1_000]
    for kind in KINDS:
        own = [each.text for each in texts if each.kind == kind]
        few = own[:1] if kind == "rst" else own[:40]
        yield package(f"hostile-{kind}", Hostile(kind, "\n\n".join(few)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with opened(tmp_path_factory.mktemp("chromium"), [*hostile()]) as url:
        yield url


@pytest.fixture(scope="module")
def browser(base: str) -> Iterator[Window]:
    """One for all tests, with the session of who may do everything."""
    with Window(base) as made:
        made.sign_in(USER, PASSWORD)
        made.kept = made.command("Network.getCookies")["cookies"]
        yield made


@pytest.fixture
def window(browser: Window) -> Window:
    """A stranger's: it remembers nothing."""
    browser.command("Network.clearBrowserCookies")
    browser.command("Emulation.setScriptExecutionDisabled", value=False)
    browser.look(1280)
    browser.requested()
    browser.complaints()
    return browser


@pytest.fixture
def inside(window: Window) -> Window:
    """Of who may do everything."""
    window.command("Network.setCookies", cookies=[{**each, "url": window.base} for each in window.kept])
    return window


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(window: Window) -> None:
    for name in WALKED:
        window.open(PAGES[name])
        assert window.walk() == [], name


def test_the_keyboard_reaches_everything_of_administrators(inside: Window) -> None:
    for name in WALKED_INSIDE:
        inside.open(PAGES[name])
        assert inside.walk() == [], name


def test_the_first_stop_leads_past_the_head_of_the_page(window: Window) -> None:
    from selenium.webdriver import Keys

    window.open(PAGES["project"])
    window.press(Keys.TAB)
    assert window.script("return document.activeElement.className") == "skip"
    left = window.script("return document.activeElement.getBoundingClientRect().left")
    assert left >= 0, "it is seen once it has the focus"
    window.press(Keys.ENTER)
    window.until(lambda: window.script("return document.activeElement.id") == "content")
    window.press(Keys.TAB)
    assert window.script("return document.querySelector('main').contains(document.activeElement)")


@pytest.mark.parametrize(("name", "theme"), [("matrix", "light"), ("people", "dark")])
def test_small_screens_keep_the_rules_of_accessibility(inside: Window, name: str, theme: str) -> None:
    """Two with much on them; `scripts/screenshots` looks at all, in both themes and widths."""
    inside.look(360, theme)
    inside.open(PAGES[name])
    assert inside.violations() == []
    assert inside.overflow() == 0


def test_hostile_readmes_do_nothing(window: Window) -> None:
    for kind in KINDS:
        assert found_on(window, f"project/hostile-{kind}/") == [], kind


def test_nobody_else_is_asked(window: Window) -> None:
    window.open(PAGES["project"])
    assert window.strangers() == []
    window.script("new Image().src = 'https://elsewhere.example/x.png'")  # the policy stops it, and says so
    window.until(lambda: any("elsewhere.example" in each for each in window.complaints()))


def files(place: Path, number: int) -> tuple[samples.Sample, Path, Path]:
    good = samples.wheel(f"sent-{number}", "1.0")
    bad = (f"unsent_{number}-1.0-py3-none-any.whl", b"no archive")
    return good, samples.write(place, good), samples.write(place, bad)


def test_files_are_sent_one_by_one_and_each_tells_what_became_of_it(inside: Window, tmp_path: Path) -> None:
    good, *paths = files(tmp_path, 1)
    inside.open("-/upload")
    inside.find("input[type=file]").send_keys("\n".join(map(str, paths)))
    inside.find("main form.drop button").click()
    inside.until(lambda: len(inside.all("[data-results] .badge:is(.good, .bad)")) == 2)
    stored, refused = (each.text for each in inside.all("[data-results] li"))
    assert stored.startswith("stored")
    assert good[0] in stored
    assert refused.startswith("refused")
    assert paths[1].name in refused
    assert len(refused) > len(f"refused {paths[1].name}"), "and why"
    assert inside.all("[data-results] progress") == []
    assert inside.path == "-/upload"
    inside.leave(inside.find("[data-results] li a").click)
    assert inside.path == "project/sent-1/1.0/"


def test_files_are_dropped(inside: Window) -> None:
    name, data = samples.wheel("dropped", "1.0")
    inside.open("-/upload")
    inside.script(
        "const bytes = Uint8Array.from(arguments[1]), all = new DataTransfer();"
        "all.items.add(new File([bytes], arguments[0]));"
        "const drop = {dataTransfer: all, bubbles: true, cancelable: true};"
        "document.querySelector('[data-upload]').dispatchEvent(new DragEvent('drop', drop));",
        name,
        [*data],
    )
    inside.until(lambda: inside.all("[data-results] .badge.good"))
    assert name in inside.find("[data-results]").text


def test_without_script_all_goes_by_plain_forms(window: Window, tmp_path: Path) -> None:
    good, *paths = files(tmp_path, 2)
    window.command("Emulation.setScriptExecutionDisabled", value=True)
    window.open("")
    assert window.all(".copy") == [], "script runs"
    window.leave(window.find("footer button[lang=zh-CN]").click)
    assert window.script("return document.documentElement.lang") == "zh-CN"
    window.leave(window.find("footer button[name=theme][value=dark]").click)
    assert window.script("return document.documentElement.dataset.theme") == "dark"
    window.leave(window.find("footer button[lang=en]").click)
    window.sign_in(USER, PASSWORD)
    window.open("-/upload")
    window.find("input[type=file]").send_keys("\n".join(map(str, paths)))
    window.leave(window.find("main form.drop button").click)
    text = window.find("main .sent").text
    assert (good[0] in text, paths[1].name in text, "refused" in text) == (True, True, True)
    window.open("project/sent-2/")
    assert "pip install" in window.text
    assert window.strangers() == []


def test_commands_are_copied_by_a_button_that_script_adds(window: Window) -> None:
    window.open(f"project/{LONG}/")
    window.script(
        "window.copied = [];"
        "navigator.clipboard.writeText = async (text) => { window.copied.push(text); };"
        "new MutationObserver(() => window.copied.push(document.querySelector('.copy').textContent))"
        ".observe(document.querySelector('.copy'), {childList: true});"
    )
    text = window.find(".command code").text
    window.find(".command .copy").click()
    window.until(lambda: window.script("return window.copied")[:2] == [text, "Copied"])


def test_a_command_is_selected_where_it_cannot_be_copied(window: Window) -> None:
    window.open(f"project/{LONG}/")
    window.script("navigator.clipboard.writeText = async () => { throw new Error('denied'); };")
    text = window.find(".command code").text
    window.find(".command .copy").click()
    window.until(lambda: window.script("return getSelection().toString()") == text)
