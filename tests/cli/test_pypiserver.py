"""pypiserver's command line: every flag and form, and what it means as settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pidex.cli import pypiserver
from pidex.cli.fallback import default_fallback
from pidex.cli.pypiserver import Plan, parser, plan, split
from pidex.config import Settings, load


def planned(line: str, environ: dict[str, str] | None = None) -> Plan:
    command, rest, _ = split(line.split())
    assert command == "run"
    return plan(parser(command).parse_args(rest), environ or {})


def settings(line: str, environ: dict[str, str] | None = None) -> Settings:
    return load(planned(line, environ).flags, environ or {})


def test_the_defaults_are_those_of_pypiserver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = settings("run")
    assert found.folders == (tmp_path / "packages",)
    assert (found.host, found.port) == ("0.0.0.0", 8080)
    assert found.fallback_url == default_fallback()
    assert (found.log_level, found.access_log, found.log) == ("warning", False, "text")
    assert found.guard == {"update"}
    assert found.check == "whole"
    assert found.mutability == "folder"
    assert planned("run").notes == ()


def test_the_fallback_is_the_constant_of_a_library_that_is_not_imported() -> None:
    code = "import sys; from pidex.cli import fallback as p; p.default_fallback(); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pypi_simple" not in result.stdout.split()
    import pypi_simple

    assert default_fallback() == pypi_simple.PYPI_SIMPLE_ENDPOINT


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("run -p 80 x", "port", 80),
        ("run -p80 x", "port", 80),
        ("run --port=80 x", "port", 80),
        ("run x -i 127.0.0.1", "host", "127.0.0.1"),
        ("run x -H ::1", "host", "::1"),
        ("run x --interface ::1", "host", "::1"),
        ("run x --host ::1", "host", "::1"),
        ("run x --disable-fallback", "fallback_url", None),
        ("run x --fallback-url http://a.example/simple", "fallback_url", "http://a.example/simple/"),
        ("run x --health-endpoint /up", "health_path", "/up"),
        ("run x -o", "mutability", "volatile"),
        ("run x --overwrite", "mutability", "volatile"),
        ("run x --welcome /w.html", "welcome", Path("/w.html")),
        ("run x --cache-control 60", "file_cache_control", "public, max-age=60"),
        ("run x --server-base-url /", "prefix", ""),
        ("run x --server-base-url /a/", "prefix", "/a"),
        ("run x --hash-algo OFF", "hash_fragment", "none"),
        ("run x --hash-algo 0", "hash_fragment", "none"),
        ("run x --hash-algo sha256", "hash_fragment", "sha256"),
        ("run x -v", "log_level", "info"),
        ("-v run x", "access_log", True),
        ("run x -vv", "log_level", "debug"),
        ("-v run x -v -v", "log_level", "debug"),
        ("run x --log-file /l", "log_file", Path("/l")),
        ("run x --log-stream none", "log", "none"),
        ("run x --log-stream none --log-file /l", "log", "text"),
        ("run x --log-stream stderr", "log", "text"),
        ("run x -a . -P .", "guard", frozenset()),
        ("run x -a . -P .", "passwords", None),
        ("run x -P /pw", "passwords", Path("/pw")),
        ("run x -P /pw", "guard", {"update"}),
        ("run x -P /pw -a Update,LIST,download", "guard", {"update", "list", "download"}),
        ("run x --pass /pw", "passwords", Path("/pw")),
        ("run x --check none", "check", "none"),
        ("run x --data /d", "data", Path("/d")),
        ("--log-file run run /x", "folders", (Path("/x"),)),
        ("--log-fi run run /x", "folders", (Path("/x"),)),
        ("run /x /y", "folders", (Path("/x"), Path("/y"))),
        ("-p 80 run /x", "folders", (Path("/x"),)),
        ("run -- /x", "folders", (Path("/x"),)),
    ],
)
def test_every_flag_means_its_setting(line: str, name: str, value: object) -> None:
    assert getattr(settings(line), name) == value


def test_variables_are_stronger_than_defaults_and_weaker_than_flags() -> None:
    environ = {"PIDEX_PORT": "99", "PIDEX_FALLBACK_URL": "http://b.example/", "PIDEX_LOG_LEVEL": "error"}
    found = settings("run x", environ)
    assert (found.port, found.fallback_url, found.log_level) == (99, "http://b.example/", "error")
    found = settings("run x -p 1 --disable-fallback -v", environ)
    assert (found.port, found.fallback_url, found.log_level) == (1, None, "info")


@pytest.mark.parametrize("line", ["-p 3141 /x", "/x", "/x -p 3141", "-v /x"])
def test_the_old_form_works_and_says_so_in_one_line(line: str) -> None:
    command, rest, notes = split(line.split())
    assert command == "run"
    assert len(notes) == 1
    assert "`pypi-server run` is meant" in notes[0]
    assert plan(parser(command).parse_args(rest), {}).flags["folders"] == ("/x",)


def test_the_old_form_of_update() -> None:
    assert split(["-U", "-x", "/x"])[:2] == ("update", ["-x", "/x"])
    assert split(["update", "-x", "/x"]) == ("update", ["-x", "/x"], ())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("run x -a .", "-a . and -P . go together"),
        ("run x -P .", "-a . and -P . go together"),
        ("run x --hash-algo true", "there is no 'true'"),
        ("run x --log-stream tty", "--log-stream is stdout, stderr or none"),
        ("run x --cache-control soon", "--cache-control takes seconds, not 'soon'"),
        ("run x --nonsense", "Unrecognized arguments: --nonsense."),
        ("run x --backend magic", "Argument --backend: invalid choice"),
        ("run x -p", "Argument -p/--port: expected one argument."),
    ],
)
def test_what_is_wrong_is_named(line: str, sentence: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        planned(line)
    assert sentence in caught.value.format_message()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("run x --server waitress", "--server has no effect"),
        ("run x --backend simple-dir", "--backend has no effect"),
        ("run x --log-frmt a", "--log-frmt has no effect"),
        ("run x --log-req-frmt a", "--log-req-frmt has no effect"),
        ("run x --log-res-frmt a", "--log-res-frmt has no effect"),
        ("run x --log-err-frmt a", "--log-err-frmt has no effect"),
        ("run x --hash-algo md5", "links carry sha256"),
    ],
)
def test_what_has_no_effect_says_so(line: str, sentence: str) -> None:
    (note,) = planned(line).notes
    assert sentence in note


def test_log_lines_go_where_they_are_asked_to() -> None:
    assert planned("run x --log-stream stderr").to_stderr
    assert not planned("run x").to_stderr


@pytest.mark.parametrize(
    "line", [["--help"], ["run", "--help"], ["update", "--help"], ["--version"], ["run", "--version"]]
)
def test_help_and_version_end_well(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        pypiserver.act(line)
    assert not caught.value.code
    assert "pypi-server" in capsys.readouterr().out


def test_every_option_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "pypiserver.md").read_text()
    named = set(re.findall(r"(?<![\w-])-{1,2}[A-Za-z][a-z-]*", text))
    for command in pypiserver.SUBCOMMANDS:
        for action in parser(command)._actions:
            # One of its names is enough: the old ones of an option are not advertised.
            if action.option_strings and "--debug" not in action.option_strings:
                assert named & set(action.option_strings), action.option_strings
