"""What `pidex service` prints, for several sets of options: read back, and checked by its own programs."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.ports import free_port
from pidex.cli.group import pidex, run
from pidex.config import ENV_PREFIX, load

Printed = Callable[..., str]

#: Options beside the folder, each set as one would serve with it.
SETS: dict[str, list[str]] = {
    "plain": [],
    "usual": ["--host", "0.0.0.0", "-p", "8080", "--workers", "4", "--no-access-log", "--grace", "30"],
    "prefix": ["--prefix", "/python", "--trusted-proxies", "127.0.0.1,10.0.0.0/8", "--public-url",
               "https://packages.example.org/python"],
    "socket": ["--socket", "{top}/run/pidex.sock", "--trusted-proxies", "unix", "--login-header",
               "X-Forwarded-User"],
    "files": ["--passwords", "{top}/htpasswd", "--welcome", "{top}/wel come.html", "--log-file",
              "{top}/log/pidex.log", "--data", "{top}/da ta 100%"],
    "tls": ["--tls-cert", "{top}/cert.pem", "--tls-key", "{top}/key.pem", "--ftp-port", "2121", "--ftp-tls",
            "required", "--ftp-passive-ports", "60000-60010", "--ftp-masquerade", "192.0.2.1"],
    "low": ["-p", "80", "--guard", "list,download,update", "--scan-interval", "12.5", "--file-cache-control",
            "public, max-age=60"],
    "cluster": ["--catalogue", "postgresql://pidex@db.example.org/pidex", "--data", "{top}/node"],
}  # fmt: skip


@pytest.fixture
def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printed:
    """What a command prints for a set of options."""
    for name in os.environ:
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)
    (tmp_path / "packages").mkdir()

    def call(kind: str, options: str = "plain", *more: str) -> str:
        words = [word.format(top=tmp_path) for word in SETS[options]]
        status = run(pidex, ["service", kind, str(tmp_path / "packages"), *words, *more])
        out, err = capsys.readouterr()
        assert status == 0, err
        assert not err
        return out

    return call


def meant(top: Path, options: str) -> dict[str, object]:
    """The settings of a set of options, as `serve` reads them."""
    words = [word.format(top=top) for word in SETS[options]]
    return settings([*words, str(top / "packages"), "--data", str(data(top, options))])


def data(top: Path, options: str) -> Path:
    own = {"files": "da ta 100%", "cluster": "node"}
    return top / own.get(options, ".pidex-packages")


def settings(words: list[str]) -> dict[str, object]:
    """What `pidex serve WORDS` would run with."""
    done = subprocess.run(
        [sys.executable, "-m", "pidex", "config", "show", "--json", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: each["value"] for name, each in json.loads(done.stdout).items()}


# --- supervisor ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", SETS)
def test_supervisor_runs_what_was_typed(printed: Printed, tmp_path: Path, options: str) -> None:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=True)
    parser.read_string(printed("supervisor", options, "--user", "someone", "--name", "index"))
    section = {name: value.replace("%%", "%") for name, value in parser["program:index"].items()}
    words = shlex.split(section["command"])
    assert os.access(words[0], os.X_OK)
    start = words.index("serve")
    assert settings(words[start + 1 :]) == meant(tmp_path, options)
    assert section["user"] == "someone"
    assert section["autorestart"] == section["stopasgroup"] == section["killasgroup"] == "true"
    assert int(section["stopwaitsecs"]) > (30 if options == "usual" else 8)
    assert "%" not in re.sub("%%", "", parser["program:index"]["command"])


def test_what_the_environment_and_the_file_say_is_kept(
    printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pidex.toml"
    file.write_text("max_age = 7\n")
    monkeypatch.setenv("PIDEX_WORKERS", "3")
    text = printed("supervisor", "plain", "--config", str(file))
    assert "--workers 3" in text
    assert f"--config {file}" in text
    assert "max-age" not in text


def test_a_path_in_which_a_comment_would_begin_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a ;b"
    folder.mkdir()
    assert run(pidex, ["service", "supervisor", str(folder)]) == 2
    assert "a comment would begin" in capsys.readouterr().err


# --- systemd ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", SETS)
def test_systemd_takes_the_unit(printed: Printed, tmp_path: Path, options: str) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("NOT TESTED: systemd-analyze is not installed (Debian's package systemd)")
    text = printed("systemd", options)
    unit = tmp_path / "pidex.service"
    unit.write_text(text)
    done = subprocess.run(
        [program, "verify", "--man=no", unit], capture_output=True, text=True, check=False, timeout=60
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "pidex" in line]
    assert done.returncode == 0, said
    assert not said


@pytest.mark.parametrize("options", SETS)
def test_the_unit_runs_what_was_typed_and_writes_nowhere_else(
    printed: Printed, tmp_path: Path, options: str
) -> None:
    lines = printed("systemd", options, "--user", "someone").splitlines()
    unit = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(unit["ExecStart"])]
    assert settings(words[words.index("serve") + 1 :]) == meant(tmp_path, options)
    written = {word.replace("%%", "%") for word in shlex.split(unit["ReadWritePaths"])}
    wanted = {str(tmp_path / "packages"), str(data(tmp_path, options))}
    wanted |= {str(tmp_path / "log")} if options == "files" else set()
    wanted |= {str(tmp_path / "run")} if options == "socket" else set()
    wanted |= {str(tmp_path / ".pidex-packages")} if options == "cluster" else set()
    assert written == wanted
    assert unit["User"] == "someone"
    assert unit["ProtectSystem"] == "strict"
    assert unit["NoNewPrivileges"] == "yes"
    assert unit["Restart"] == "on-failure"
    assert unit["KillMode"] == "mixed"
    assert int(unit["TimeoutStopSec"]) > (30 if options == "usual" else 8)
    assert unit["CapabilityBoundingSet"] == ("CAP_NET_BIND_SERVICE" if options == "low" else "")
    assert "#MemoryMax=1G" in lines
    private = [shlex.split(line)[-1] for line in lines if line.startswith("#   install") and "-m 700" in line]
    assert {word.replace("%%", "%") for word in private} == {
        path for path in wanted if path in map(str, (data(tmp_path, options), tmp_path / ".pidex-packages"))
    }


def test_a_dynamic_user_has_everything_in_its_state_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "state" / "pidex" / "packages"
    folder.mkdir(parents=True)
    assert run(pidex, ["service", "systemd", str(folder), "--dynamic-user"]) == 2
    assert "/var/lib/pidex" in capsys.readouterr().err
    monkeypatch.setattr("pidex.cli.service.systemd.STATE", tmp_path / "state")
    assert run(pidex, ["service", "systemd", str(folder), "--dynamic-user"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"DynamicUser=yes", "StateDirectory=pidex"} <= set(lines)
    assert not any(line.startswith(("User=", "ReadWritePaths=")) for line in lines)


# --- nginx --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [(), ("--http",)], ids=["https", "http"])
@pytest.mark.parametrize("options", SETS)
def test_nginx_takes_the_site(printed: Printed, tmp_path: Path, options: str, more: tuple[str, ...]) -> None:
    program, openssl = shutil.which("nginx") or shutil.which("/usr/sbin/nginx"), shutil.which("openssl")
    if program is None or openssl is None:
        pytest.skip("NOT TESTED: nginx or openssl is not installed (Debian's packages of these names)")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "2",
         "-keyout", key, "-out", cert], check=True, capture_output=True,
    )  # fmt: skip
    pair = () if more else ("--certificate", str(cert), "--key", str(key))
    site = tmp_path / "pidex.conf"
    site.write_text(listening(printed("nginx", options, *more, *pair), free_port(), free_port()))
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;"
        f" fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;"
        f" include {site}; }}\n"
    )
    done = subprocess.run([program, "-t", "-q", "-c", whole], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "bind()" not in line and "test failed" not in line]
    assert not [line for line in said if "emerg" in line or "warn" in line], said


def listening(text: str, http: int, https: int) -> str:
    """The site on other ports, and without IPv6: what a test may have."""
    text = re.sub(r"(?m)^\s*listen \[::\].*\n", "", text)
    return text.replace("listen 80;", f"listen 127.0.0.1:{http};").replace(
        "listen 443", f"listen 127.0.0.1:{https}"
    )


def test_the_site_says_which_settings_go_with_it(printed: Printed) -> None:
    text = printed("nginx", "plain", "--server-name", "pkg.example.net")
    assert '#   trusted_proxies = ["127.0.0.1"]' in text
    assert '#   public_url = "https://pkg.example.net"' in text
    assert "# Not set as these are printed: trusted_proxies, public_url." in text
    text = printed("nginx", "prefix")
    assert "server_name packages.example.org;" in text
    assert '#   prefix = "/python"' in text
    assert "location /python/ {" in text
    assert "Not set" not in text
    assert '#   host = "127.0.0.1"' in printed("nginx", "usual")
    assert '#   trusted_proxies = ["unix"]' in printed("nginx", "socket")


def test_nginx_stands_before_several_nodes(printed: Printed) -> None:
    text = printed(
        "nginx", "plain", "--node", "10.0.0.1:3141", "--node", "[fd00::2]:80", "--node", "b.example:1"
    )
    servers = [line.split()[1] for line in text.splitlines() if line.startswith("    server ")]
    assert servers == ["10.0.0.1:3141", "[fd00::2]:80", "b.example:1"]
    assert "trusted_proxies = [...]" in text
    assert '["127.0.0.1"]' not in text


@pytest.mark.parametrize(
    "node", ["", "host", "host:", ":3141", "host:0", "host:99999", "a b:1", "x;y:1", "x:٣", "fd00::2:80"]
)
def test_what_is_no_node_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], node: str) -> None:
    assert run(pidex, ["service", "nginx", str(tmp_path), "--node", node]) == 2
    assert "is no node: write HOST:PORT." in capsys.readouterr().err


def test_nginx_never_says_who_signed_in_by_what_a_client_claims(printed: Printed) -> None:
    text = printed("nginx", "socket")
    assert 'proxy_set_header x-forwarded-user "";' in text.lower()
    assert not re.search(r"(?m)^\s*proxy_set_header .*remote_user", text)
    for header in ("Forwarded", "X-Forwarded-Prefix", "X-Forwarded-Port"):
        assert f'proxy_set_header {header} "";' in text
    assert "proxy_add_x_forwarded_for" not in text


# --- docker -------------------------------------------------------------------------------------------------

INSTRUCTIONS = {"FROM", "COPY", "RUN", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
                "ENTRYPOINT", "CMD"}  # fmt: skip


def instructions(text: str) -> list[tuple[str, str]]:
    """The lines of a Containerfile, joined where they go on."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


@pytest.mark.parametrize("options", SETS)
def test_the_containerfile_is_one(printed: Printed, options: str) -> None:
    """No engine builds it here: its form, and what it starts, are checked."""
    found = instructions(printed("docker", options))
    names = [name for name, _ in found]
    assert set(names) <= INSTRUCTIONS
    assert names[0] == "FROM"
    last = dict(found)
    assert last["USER"] == "10001:10001"
    assert names.index("USER") < names.index("HEALTHCHECK") < names.index("ENTRYPOINT") < names.index("CMD")
    health = json.loads(last["HEALTHCHECK"].partition(" CMD ")[2])
    compile(health[2], "health", "exec")
    assert json.loads(last["VOLUME"]) == ["/srv"]
    assert json.loads(last["ENTRYPOINT"])[-1] == "serve"
    started = load(parsed(json.loads(last["CMD"])), {})
    assert started.folders == (Path("/srv/packages"),)
    assert (started.host, started.port, started.data) == ("0.0.0.0", 3141, Path("/srv/data"))
    for path in (started.passwords, started.tls_cert, started.welcome):
        assert path is None or path.parent == Path("/etc/pidex")
    assert started.socket is started.log_file is None
    assert ("pyftpdlib" in printed("docker", options)) == bool(started.ftp_port)
    exposed = last["EXPOSE"].split()
    assert exposed == (["3141", "2121", "60000-60010"] if started.ftp_port else ["3141"])


def parsed(words: list[str]) -> dict[str, object]:
    """Words as `serve` takes them apart."""
    from pidex.cli.serve import command

    return dict(command.make_context("serve", list(words)).params)


@pytest.mark.parametrize("options", SETS)
def test_the_compose_file_mounts_what_the_container_reads(
    printed: Printed, tmp_path: Path, options: str
) -> None:
    text = printed("docker", options, "--compose")
    values = re.findall(r'(?m)^\s+- (".*")$', text)
    items = [json.loads(value) for value in values]
    assert f"{tmp_path}/packages:/srv/packages" in items
    command = json.loads(re.findall(r"(?m)^    command: (.*)$", text)[0])
    for word in command:
        if word.startswith("/etc/pidex/"):
            assert any(item.endswith(f":{word}:ro") for item in items), word
    assert not any("\t" in line for line in text.splitlines())
    assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in text.splitlines())
    host, outer = ("0.0.0.0", 8080) if options == "usual" else ("127.0.0.1", 80 if options == "low" else 3141)
    assert f"{host}:{outer}:3141" in items
    assert re.search(r"stop_grace_period: (\d+)s", text)


# --- all ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["supervisor", "systemd", "nginx", "docker"])
def test_a_file_is_written_and_never_over_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder, output = tmp_path / "packages", tmp_path / "printed"
    folder.mkdir()
    words = ["service", kind, str(folder), "--output", str(output)]
    assert run(pidex, words) == 0
    assert capsys.readouterr().out == ""
    before = output.read_text()
    assert len(before) > 300
    assert run(pidex, words) == 1
    assert "is there already" in capsys.readouterr().err
    assert output.read_text() == before


@pytest.mark.parametrize("kind", ["supervisor", "systemd", "nginx"])
def test_a_wrong_setting_is_said_as_serve_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert run(pidex, ["service", kind, str(tmp_path), "--workers", "many"]) == 2
    assert "--workers must be" in capsys.readouterr().err
    assert run(pidex, ["service", kind, str(tmp_path / "absent")]) == 2
    assert "does not exist" in capsys.readouterr().err
