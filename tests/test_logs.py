"""Log lines: whole where processes share a pipe, escaped, and never in the way."""

from __future__ import annotations

import json
import logging
import os
import select
from pathlib import Path

import pytest

from pidex.core.errors import ConfigError
from pidex.logs import LINE_CHARS, Sink, configure, open_sink, printable, timestamp


@pytest.fixture(autouse=True)
def _restored() -> object:
    logger = logging.getLogger("pidex")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_a_pipe_gets_whole_lines_in_pieces_that_do_not_mix() -> None:
    reading, writing = os.pipe()
    Sink(writing).write(f"{number} " + "x" * 900 for number in range(20))
    pieces = []
    while select.select([reading], [], [], 0)[0]:
        pieces.append(os.read(reading, 65536))
    os.close(reading), os.close(writing)
    lines = b"".join(pieces).decode().splitlines()
    assert [line.split()[0] for line in lines] == [str(number) for number in range(20)]


def test_a_long_line_is_cut() -> None:
    reading, writing = os.pipe()
    Sink(writing).write(["x" * LINE_CHARS * 3])
    assert len(os.read(reading, 65536)) == LINE_CHARS + 1
    os.close(reading), os.close(writing)


def test_nobody_who_listens_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Sink(writing).write(["x"])
    os.close(writing)


@pytest.mark.parametrize("form", ["text", "json"])
def test_records_go_to_the_sink_with_their_traceback(tmp_path: Path, form: str) -> None:
    path = tmp_path / "log"
    configure(open_sink(form, path), form=form, level="info")
    logger = logging.getLogger("pidex.test")
    logger.debug("unheard")
    logger.info("one\nline %s", "\x1b[2J")
    try:
        raise RuntimeError("why")
    except RuntimeError:
        logger.exception("two")
    lines = path.read_text().splitlines()
    assert "unheard" not in path.read_text()
    assert "\x1b" not in path.read_text()
    if form == "json":
        found = [json.loads(line) for line in lines]
        assert [each["message"] for each in found] == ["one\nline \x1b[2J", "two"]
        assert "RuntimeError: why" in found[1]["traceback"]
    else:
        assert lines[0].endswith(r"info one\nline \x1b[2J")
        assert lines[1].endswith("error two")
        assert lines[-1] == "    RuntimeError: why"


def test_none_is_silent_and_a_file_that_cannot_be_is_said(tmp_path: Path) -> None:
    assert open_sink("none", tmp_path / "x") is None
    assert not (tmp_path / "x").exists()
    with pytest.raises(ConfigError, match="log_file"):
        open_sink("text", tmp_path / "missing" / "x")


def test_escapes_and_times() -> None:
    assert printable("plain ü 😀") == "plain ü 😀"
    assert printable("a\tb\x9b\u202e\udc80") == r"a\tb\x9b\u202e\udc80"
    assert timestamp(1_700_000_000.9999) == "2023-11-14T22:13:20.999Z"
