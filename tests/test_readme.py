"""The README's commands: the same in both languages, and there to be run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pidex.cli.group import COMMANDS

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def blocks(readme: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.M | re.S)


def uncommented(block: str) -> str:
    """A block without its comments, which are in the reader's language."""
    lines = [re.sub(r"(^|\s+)[#;] .*", "", line) for line in block.splitlines()]
    return "\n".join(line for line in lines if line)


def commands(readme: Path) -> list[list[str]]:
    """The words of each shell line."""
    return [
        line.split()
        for language, block in blocks(readme)
        if language == "sh"
        for line in uncommented(block).splitlines()
    ]


def test_both_languages_have_the_same_code() -> None:
    english, chinese = blocks(ENGLISH), blocks(CHINESE)
    assert [language for language, _ in english] == [language for language, _ in chinese]
    for (_, left), (_, right) in zip(english, chinese, strict=True):
        assert uncommented(left) == uncommented(right)


def test_the_first_two_commands_are_serve_and_test() -> None:
    scripts = [words[0] for words in commands(ENGLISH) if words[0].startswith("scripts/")]
    assert scripts[:2] == ["scripts/serve", "scripts/test"]


@pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_scripts_exist_and_can_be_run(readme: Path) -> None:
    named = set(re.findall(r"\bscripts/[a-z]+\b", readme.read_text(encoding="utf-8")))
    assert named
    for name in named:
        assert os.access(ROOT / name, os.X_OK), name


def test_the_pidex_commands_exist() -> None:
    known = set(COMMANDS)
    used = {words[1] for words in commands(ENGLISH) if Path(words[0]).name == "pidex" and len(words) > 1}
    used |= set(re.findall(r"`pidex ([a-z]+)", ENGLISH.read_text(encoding="utf-8")))
    assert used
    assert used <= known


@pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_links_within_the_repository_lead_somewhere(readme: Path) -> None:
    targets = [target for target in LINK.findall(readme.read_text(encoding="utf-8")) if "://" not in target]
    assert targets
    for target in targets:
        assert (ROOT / target).exists(), target


def test_nothing_printed_leads_into_confusion() -> None:
    for readme in (ENGLISH, CHINESE):
        text = readme.read_text(encoding="utf-8")
        assert "--extra-index-url" not in text
        assert "pip install pidex" not in text
