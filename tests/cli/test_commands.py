"""The `pidex` command: what it loads, how it fails, and what each sub-command answers."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pidex import __version__
from pidex.cli import group
from pidex.cli.configuration import json_schema
from pidex.cli.group import COMMANDS, guarded, pidex, refusal, run
from pidex.cli.pypiserver import NAME
from pidex.config import Settings, settings_fields
from pidex.core.errors import NotFound
from tests import samples
from tests.test_doctor import answering
from tests.walks.server import Server, environment, until

Out = pytest.CaptureFixture[str]
HEAVY = {
    "sqlalchemy",
    "granian",
    "starlette",
    "rich",
    "alembic",
    "pypi_simple",
    "passlib",
    "msgspec",
    "jinja2",
}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 3\n"


def program(*args: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `pidex` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "pidex", *map(str, args)],
        env=environment(**environ), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files that are listed, one not whole, one refused, and a link to nothing."""
    packages = tmp_path / "packages"
    packages.mkdir()
    samples.write(packages, samples.wheel("alpha", "1.0"))
    samples.write(packages, samples.sdist("beta", "1.0"))
    name, data = samples.wheel("gamma", "1.0")
    (packages / name).write_bytes(data[:-30])
    (packages / "delta-1.0-py3-none-any.whl").write_bytes(LFS)
    (packages / "link-1.0.zip").symlink_to("/nonexistent")
    return packages


class Here:
    """Runs `pidex` in this process: a start costs a second where the machine is busy."""

    def __init__(self, capsys: Out) -> None:
        self.capsys = capsys

    def __call__(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        self.capsys.readouterr()
        code = run(pidex, [*map(str, args)])
        return subprocess.CompletedProcess(args, code, *self.capsys.readouterr())


@pytest.fixture
def here(capsys: Out) -> Iterator[Here]:
    loggers = [logging.getLogger(name) for name in ("pidex", "_granian")]
    before = [(each.handlers[:], each.propagate, each.level, each.disabled) for each in loggers]
    yield Here(capsys)
    for logger, (handlers, propagate, level, disabled) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIDEX_")]:
        monkeypatch.delenv(name)


# --- help, version, errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["config", "schema"], ["serve", "--help"]])
def test_small_commands_load_little(args: list[str]) -> None:
    code = (
        "import sys; from pidex.cli.group import pidex, run\n"
        f"code = run(pidex, {args!r})\n"
        "print(code, *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code, *loaded = done.stderr.split()
    assert code == "0"
    assert HEAVY & set(loaded) == set()


def test_a_worker_that_imports_the_entry_point_loads_no_click() -> None:
    code = "import sys, pidex.cli; print('click' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_help_names_every_command(capsys: Out) -> None:
    assert run(pidex, ["--help"]) == 0
    out = capsys.readouterr().out
    for name, (module, _line) in COMMANDS.items():
        assert f"  {name} " in out
        assert run(pidex, [name, "--help"]) == 0, module
    assert run(pidex, ["--version"]) == 0
    assert capsys.readouterr().out.endswith(f"pidex {__version__}\n")


def test_every_setting_is_a_flag_of_serve(capsys: Out) -> None:
    run(pidex, ["serve", "--help"])
    out = capsys.readouterr().out
    for field, meta in settings_fields():
        if field.name == "folders":
            assert "[FOLDER]..." in out
            continue
        assert f"--{field.name.replace('_', '-')}" in out
        for flag in meta.flags:
            assert flag in out


@pytest.mark.parametrize("platform", ["win32", "cygwin"])
def test_windows_is_refused_in_one_sentence(capsys: Out, platform: str) -> None:
    assert run(pidex, ["--help"], platform=platform) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pidex: pidex does not run on Windows: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("platform", ["linux", "darwin", "freebsd14"])
def test_other_systems_are_not_refused(platform: str) -> None:
    assert refusal(platform) is None


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["serv"], 2, "No such command: serv. Did you mean serve?"),
        (["/"], 2, "To serve that folder, run `pidex serve /`."),
        (["qqqq"], 2, "No such command: qqqq. `pidex --help` says more."),
        (["serve", "--prot", "1"], 2, "No such option '--prot'."),
        (["serve"], 2, "No folder to serve is named. Run `pidex serve FOLDER`"),
        (["serve", "/nonexistent"], 2, "The folder /nonexistent does not exist."),
        (["serve", "/", "-p", "x"], 2, "--port must be a whole number from 0 to 65535, not 'x'."),
        (["serve", "/", "--config", "/nonexistent"], 2, "The configuration file /nonexistent cannot be read"),
        (["why"], 2, "Missing argument 'SUBJECT'. `pidex why --help` says more."),
        (["scan", "/nonexistent"], 2, "The folder /nonexistent does not exist."),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(capsys: Out, args: list[str], code: int, sentence: str) -> None:
    assert run(pidex, args) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("pidex: ")
    assert sentence in err


def test_a_variable_that_is_wrong(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIDEX_PROT", "1")
    assert run(pidex, ["serve", "/"]) == 2
    assert "Unknown environment variable: PIDEX_PROT. Did you mean PIDEX_PORT?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (NotFound("There is no such index."), 1, "There is no such index."),
        (KeyError("x"), 1, "unexpected KeyError: 'x'. `pidex --debug ...` shows where."),
        (KeyboardInterrupt(), 130, "interrupted."),
        (click.ClickException("No."), 1, "No."),
        (ModuleNotFoundError("no", name="psycopg"), 1, "-m pip install 'psycopg[binary]'"),
        (ModuleNotFoundError("no", name="OpenSSL"), 1, "-m pip install pyftpdlib pyopenssl"),
        (ModuleNotFoundError("no", name="passlib.hash"), 1, "-m pip install libpass"),
    ],
)
def test_errors_are_sentences(capsys: Out, error: BaseException, code: int, sentence: str) -> None:
    def act() -> object:
        raise error

    assert guarded("pidex", act) == code
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    if isinstance(error, KeyError):
        with pytest.raises(KeyError):
            guarded("pidex", act, debug=True)


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m pidex config schema | head -c 1; echo ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith("{")


def test_the_entry_points_are_what_is_installed() -> None:
    from importlib.metadata import entry_points

    found = {
        each.name: each.value
        for each in entry_points(group="console_scripts")
        if each.name in ("pidex", NAME)
    }
    assert found == {"pidex": "pidex.cli:main", NAME: "pidex.cli.pypiserver:main"}
    assert program("--version").stdout == f"pidex {__version__}\n"


# --- config -------------------------------------------------------------------------------------------------


def test_config_show(capsys: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pidex.toml"
    file.write_text("workers = 3\n")
    monkeypatch.setenv("PIDEX_LOG", "json")
    assert run(pidex, ["config", "show", "-c", str(file), "-p", "80", "--no-access-log", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert len(lines) == len(list(settings_fields()))
    assert lines["workers"].endswith(f"3   ({file})")
    assert lines["port"].endswith("80   (--port)")
    assert lines["log"].endswith('"json"   (PIDEX_LOG)')
    assert lines["access_log"].endswith("false   (--access-log)")
    assert lines["folders"].endswith(f'["{tmp_path}"]   (FOLDER)')
    assert lines["grace"].split() == ["grace", "8"]
    assert run(pidex, ["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["guard"] == {"value": ["update"], "origin": "default"}
    assert shown["scan_interval"] == {"value": 60, "origin": "default"}


def test_config_check(capsys: Out, tmp_path: Path) -> None:
    file = tmp_path / "pidex.toml"
    file.write_text("port = 80\n")
    assert run(pidex, ["config", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file} is a good configuration file.\n"
    file.write_text("prot = 80\nport = -1\n")
    assert run(pidex, ["config", "check", str(file)]) == 1
    assert capsys.readouterr().err == (
        f"Unknown key in {file}: prot. Did you mean port?\n"
        f"port in {file} must be a whole number from 0 to 65535, not -1.\n"
    )


def test_config_schema() -> None:
    properties = json_schema()["properties"]
    assert isinstance(properties, dict)
    assert set(properties) == {field.name for field, meta in settings_fields() if meta.in_file}
    assert properties["port"] == {
        "type": "integer", "minimum": 0, "maximum": 65535, "description": "The TCP port to listen on.",
        "default": Settings().port,
    }  # fmt: skip
    assert properties["guard"]["items"]["enum"] == ["list", "download", "update"]
    assert "pattern" in properties["prefix"]


# --- scan, why, doctor --------------------------------------------------------------------------------------


def test_scan_reads_the_folder_and_says_what_is_not_listed(folder: Path) -> None:
    done = program("scan", folder)
    assert done.returncode == 3, done.stderr
    assert done.stderr == ""
    listed, *rest = done.stdout.splitlines()
    assert listed == "Listed: 2 files of 2 projects."
    assert rest[0] == "Not whole yet: 1"
    assert rest[1].startswith(f"  {folder}/gamma-1.0-py3-none-any.whl: ")
    assert rest[2] == "Refused: 1"
    assert "git-LFS pointer" in rest[3]
    assert rest[4:] == ["Problems: 1", "  link-1.0.zip: it is a link to nothing"]


def test_scan_as_json_and_again(here: Here, folder: Path) -> None:
    here("scan", folder)
    for name in ("gamma-1.0-py3-none-any.whl", "delta-1.0-py3-none-any.whl", "link-1.0.zip"):
        (folder / name).unlink()
    done = here("scan", "--json", folder)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["listed"], report["projects"], report["refused"], report["problems"]) == (2, 2, [], [])


def test_scan_with_no_check_lists_everything(here: Here, folder: Path) -> None:
    assert here("scan", "--check", "none", folder).stdout.startswith("Listed: 4 files of 4 projects.\n")


def test_scan_rebuild_makes_the_same_again(here: Here, folder: Path) -> None:
    first = here("scan", folder)
    again = here("scan", "--rebuild", folder)
    assert again.returncode == 3, again.stderr
    assert again.stdout == first.stdout


def test_commands_beside_a_running_server(here: Here, folder: Path, tmp_path: Path) -> None:
    options = ("--scan-interval", "86400", "--watch", "off")
    with Server(folder, options=options) as server:
        assert here("scan", folder).stdout.startswith("Listed: 2 files of 2 projects.\n")
        samples.write(folder, samples.wheel("epsilon", "1.0"))
        assert here("scan", folder).stdout.startswith("Listed: 3 files of 3 projects.\n")
        assert server.names("epsilon") == ["epsilon-1.0-py3-none-any.whl"]
        refused = here("scan", "--rebuild", folder)
        assert refused.returncode == 1
        assert "--rebuild needs the data directory alone. Stop the server first." in refused.stderr
        taken = program("serve", folder, "-p", str(server.port))
        assert taken.returncode == 1
        assert "is already in use by process" in taken.stderr
        assert taken.stderr.count("\n") == 1
        well = here("doctor", folder, "-p", str(server.port), "--public-url", server.url)
        assert f"ok    port: pidex answers at {server.url}/.\n" in well.stdout
        assert f"ok    public URL: {server.url} leads to this server.\n" in well.stdout
        elsewhere = program("serve", folder, "-p", str(server.port), "--data", tmp_path / "other")
        assert elsewhere.returncode == 1
        assert elsewhere.stderr.count("\n") == 1
        assert str(server.port) in elsewhere.stderr


def test_scan_says_when_the_server_ends_meanwhile(here: Here, folder: Path) -> None:
    """The lock is held by a process that never scans, and then ends."""
    assert here("scan", folder).returncode == 3
    lock = folder.parent / ".pidex-packages" / "lock"
    code = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'a+'); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    command = [sys.executable, "-m", "pidex", "scan", folder]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as scan:
        wanted = folder.parent / ".pidex-packages" / "cache.db"
        before = [each.stat().st_mtime_ns for each in wanted.parent.glob(wanted.name + "*")]
        until(lambda: [each.stat().st_mtime_ns for each in wanted.parent.glob(wanted.name + "*")] != before)
        time.sleep(0.3)
        assert scan.poll() is None
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
        assert scan.wait(30) == 1
        assert scan.stderr is not None
        assert "The server ended before it had scanned. Run `pidex scan` again." in scan.stderr.read()


def test_why(here: Here, folder: Path) -> None:
    here("scan", folder)
    assert "is listed since" in here("why", "alpha", folder).stdout
    assert "git-LFS pointer" in here("why", "delta-1.0-py3-none-any.whl", folder).stdout
    records = json.loads(here("why", "--json", "gamma", folder).stdout)
    assert all(set(each) == {"code", "text"} for each in records)
    nothing = here("why", "alhpa", folder)
    assert nothing.returncode == 0
    assert "alpha" in nothing.stdout


def test_why_without_a_catalogue(here: Here, folder: Path) -> None:
    done = here("why", "alpha", folder)
    assert done.returncode == 1
    assert "There is no catalogue" in done.stderr
    assert not (folder.parent / ".pidex-packages").exists()


def test_doctor(here: Here, folder: Path, tmp_path: Path) -> None:
    here("scan", folder)
    with answering(b"something else") as port:
        done = here("doctor", folder, "-p", str(port), "--workers", "2")
    assert done.returncode == 3
    assert "ok    configuration: The configuration is good: flags, variables and defaults.\n" in done.stdout
    assert f"FAIL  port: 127.0.0.1:{port} cannot be listened on: address already in use.\n" in done.stdout
    assert "warn  files: Refused: 1, such as delta-1.0-py3-none-any.whl" in done.stdout
    done = here("doctor", "--json", folder, "-p", "0")
    assert done.returncode == 0, done.stdout
    assert {"name", "state", "sentence", "remedy"} == set(json.loads(done.stdout)[0])


def test_doctor_of_a_wrong_configuration(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIDEX_LOG", "loud")
    done = here("doctor", tmp_path, "--workers", "0")
    assert done.returncode == 3
    assert done.stdout.count("FAIL  configuration: ") == 2


def test_pypi_server_serves_like_pidex(folder: Path) -> None:
    command = (sys.executable, "-c", "from pidex.cli.pypiserver import main; main()")
    with Server(folder, command=command, options=("-v", "--disable-fallback", "-H", "127.0.0.1")) as server:
        assert server.names("alpha") == ["alpha-1.0-py3-none-any.whl"]
        assert server.get("/simple/nothing/").status == 404
        assert server.get("/health").body == b"Ok"
        assert "note: without a sub-command, `pypi-server run` is meant" in server.log()
        until(lambda: "GET /health 200" in server.log())
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) in (0, 130)


def test_what_is_shown_of_many_files_is_bounded() -> None:
    from pidex.cli.scan import NAMED, lines
    from pidex.core.model import FolderReport, Problem

    many = tuple(Problem(0, f"{number}.zip", "x", "it is a link to nothing") for number in range(NAMED + 3))
    text = list(lines(FolderReport(listed=1, problems=many), 1, {0: "/x"}))
    assert text[0] == "Listed: 1 file of 1 project."
    assert text[1] == f"Problems: {NAMED + 3}"
    assert text[-1] == "  ... and 3 more: --json names all"
    assert len(text) == NAMED + 3


def test_the_group_is_what_help_says() -> None:
    context = click.Context(pidex)
    for name, (module, _line) in group.COMMANDS.items():
        command = pidex.get_command(context, name)
        assert command is not None
        assert command.name == name, module
    assert pidex.get_command(context, "nothing") is None
