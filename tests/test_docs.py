"""The pages' commands: each block is typed, run by a named test, or has a reason in docs/blocks.toml."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from pidex.cli.group import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
LIST = ROOT / "docs" / "blocks.toml"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def blocks(page: Path) -> list[str]:
    """The blocks of commands: fences with `sh` or without a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [text for language, text in found if language in ("", "sh", "bash", "shell", "console")]


def entries() -> dict[tuple[str, str], dict[str, Any]]:
    """The list: by page and first line."""
    pages = tomllib.loads(LIST.read_text(encoding="utf-8"))
    return {(page, line): entry for page, lines in pages.items() for line, entry in lines.items()}


def pidex_lines() -> list[tuple[str, list[str]]]:
    """Every line of a block that runs pidex: the page, and the words after `pidex`."""
    found = []
    for page in PAGES:
        for line in "".join(blocks(page)).splitlines():
            command = re.match(r"(?:\.venv/bin/)?pidex (.*)", line)
            if command:
                found.append((page.name, shlex.split(re.sub(r"\[[^\]]*\]", "", command[1]), comments=True)))
    return found


def test_each_block_is_run_or_has_a_reason() -> None:
    there = [(page.name, text.splitlines()[0]) for page in PAGES for text in blocks(page)]
    assert len(there) == len(set(there)), "two blocks of one page begin with the same line"
    listed = entries()
    assert set(there) - set(listed) == set(), "not in docs/blocks.toml"
    assert set(listed) - set(there) == set(), "in docs/blocks.toml, but on no page"


def test_each_entry_names_a_test_that_is_there_or_a_reason() -> None:
    for key, entry in entries().items():
        assert len(entry) == 1, key
        if "run" in entry:
            assert entry["run"] is True, key
            continue
        if "reason" in entry:
            assert len(entry["reason"].split()) > 3, key
            continue
        path, _, name = entry["test"].partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, key


@pytest.mark.parametrize(("page", "words"), pidex_lines())
def test_each_command_takes_what_the_page_gives_it(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed by the real command, which is then not run."""
    monkeypatch.chdir(tmp_path)
    for word in words:
        if word.startswith("dist/"):
            (tmp_path / word).parent.mkdir(exist_ok=True)
            (tmp_path / word).touch()
    module, _, attribute = COMMANDS[words[0]][0].partition(":")
    command: click.Command = getattr(import_module(f"pidex.cli.{module}"), attribute or "command")
    rest = words[1:]
    while isinstance(command, click.Group):
        name = rest.pop(0)
        assert name in command.commands, f"{page}: pidex {' '.join(words)}"
        command = command.commands[name]
    with command.make_context(name_of(command), rest) as context:
        assert context.command is command


def name_of(command: click.Command) -> str:
    return command.name or "pidex"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
