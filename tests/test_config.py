"""Settings: precedence, sentences about what is wrong, and where the data directory is."""

from __future__ import annotations

import json
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex import config
from pidex.config import Settings, data_dir, explain, load, settings_fields
from pidex.core.errors import ConfigError
from tests.nobody import UID, as_nobody, needs_root


def fault(flags: dict[str, object], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(flags, environ or {})
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_given_is_the_defaults() -> None:
    assert load({}, {}) == Settings()
    assert load({"port": None, "folders": ()}, {"PATH": "/bin", "PIDEX_PORT": ""}) == Settings()


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = write(tmp_path / "pidex.toml", "port = 1\nworkers = 2\nlog = 'json'\n")
    flags = {"config": str(file), "port": "3"}
    environ = {"PIDEX_PORT": "4", "PIDEX_WORKERS": "5"}
    found = {each.name: each for each in explain(flags, environ)}
    assert (found["port"].value, found["port"].origin) == (3, "--port")
    assert (found["workers"].value, found["workers"].origin) == (5, "PIDEX_WORKERS")
    assert (found["log"].value, found["log"].origin) == ("json", str(file))
    assert (found["check"].value, found["check"].origin) == ("whole", "default")
    assert load({}, {"PIDEX_CONFIG": str(file)}).port == 1


def test_an_empty_flag_takes_back_what_the_file_says(tmp_path: Path) -> None:
    file = write(tmp_path / "pidex.toml", "welcome = 'x.html'\nfallback_url = 'http://x.example/'\n")
    settings = load({"config": str(file), "welcome": ""}, {})
    assert settings.welcome is None
    assert settings.fallback_url == "http://x.example/"


def test_every_setting_has_three_forms(tmp_path: Path) -> None:
    given: dict[str, tuple[object, str]] = {
        "folders": (["a", "b"], f"a{os.pathsep}b"),
        "drop_folders": (["/srv/drop", "team=/srv/x"], "/srv/drop, team=/srv/x"),
        "trusted_proxies": (["10.0.0.0/8", "unix"], "10.0.0.0/8, unix"),
        "guard": (["list", "update"], "list,UPDATE"),
        "upstream": (["pypi", "http://x.example/simple/"], "pypi, http://x.example/simple/"),
        "access_log": (False, "no"),
        "prefix": ("/a/b", "a/b/"),
        "host": ("::1", "[::1]"),
        "public_url": ("https://x.example/p", "https://x.example/p/"),
        "fallback_url": ("http://x.example/simple", "http://x.example/simple/"),
        "health_path": ("/up", "/up"),
        "file_cache_control": ("no-store", "no-store"),
        "passwords": ("pw", "pw"),
        "catalogue": ("postgresql://u@db.example/x", "postgresql://u@db.example/x"),
        "storage": ("s3://packages/pidex", "s3://packages/pidex/"),
        "storage_endpoint": ("https://objects.example/", "https://objects.example/"),
        "ftp_passive_ports": ("60000-60100", "60000-60100"),
        "ftp_masquerade": ("192.0.2.10", "192.0.2.10"),
    }
    for field, meta in settings_fields():
        if not meta.in_file:
            continue
        default = config.shown(field.default)
        native, text = given.get(field.name, (default, str(default)))
        if native is None:
            native, text = "some", "some"
        rest: dict[str, object] = {}
        if field.name in ("tls_cert", "tls_key"):
            rest = {"tls_cert": "x", "tls_key": "x"}
            del rest[field.name]
        if field.name == "login_header":
            rest = {"trusted_proxies": "unix"}
        file = write(tmp_path / "pidex.toml", f"{field.name} = {toml(native)}\n")
        base = {"config": str(file), **rest}
        from_file = getattr(load(base, {}), field.name)
        by_env = getattr(load(rest, {f"PIDEX_{field.name.upper()}": text}), field.name)
        by_flag = getattr(load({**rest, field.name: text}, {}), field.name)
        assert by_env == by_flag, field.name
        if meta.kind in ("path", "paths"):  # relative to the file, and to where one stands
            assert str(from_file).replace(str(tmp_path), str(Path.cwd())) == str(by_env)
        else:
            assert from_file == by_env, field.name
            assert type(from_file) is type(by_env), field.name


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    return repr(value)


@pytest.mark.parametrize(
    ("flags", "environ", "sentence"),
    [
        ({"port": "x"}, {}, "--port must be a whole number from 0 to 65535, not 'x'."),
        ({"port": "65536"}, {}, "--port must be a whole number from 0 to 65535, not '65536'."),
        ({"port": "9" * 5000}, {}, "--port must be"),
        ({"port": "٣"}, {}, "--port must be"),
        ({"port": True}, {}, "--port must be"),
        ({}, {"PIDEX_CHECK": "all"}, "PIDEX_CHECK must be whole or none, not 'all'."),
        ({}, {"PIDEX_GRACE": "-1"}, "PIDEX_GRACE must be a number from 0 to 3600 seconds, not '-1'."),
        ({}, {"PIDEX_GRACE": "nan"}, "PIDEX_GRACE must be"),
        ({}, {"PIDEX_ACCESS_LOG": "maybe"}, "PIDEX_ACCESS_LOG must be true or false, not 'maybe'."),
        (
            {},
            {"PIDEX_WORKER": "2"},
            "Unknown environment variable: PIDEX_WORKER. Did you mean PIDEX_WORKERS?",
        ),
        ({}, {"PIDEX_QQQQ": "2"}, "Unknown environment variable: PIDEX_QQQQ. `pidex config schema` lists"),
        (
            {"guard": "list,read"},
            {},
            "--guard must be some of list, download and update, separated by commas",
        ),
        ({"trusted_proxies": "10.0.0.0/99"}, {}, "--trusted-proxies must be addresses, networks or 'unix'"),
        ({"tls_cert": "x"}, {}, "tls_cert (--tls-cert) needs tls_key beside it"),
        ({}, {"PIDEX_TLS_KEY": "x"}, "tls_key (PIDEX_TLS_KEY) needs tls_cert beside it"),
        ({"prefix": "/a/../b"}, {}, "--prefix must be a path such as /python"),
        ({"prefix": "/a b"}, {}, "--prefix must be"),
        ({"host": "a b"}, {}, "--host must be an address or a host name, not 'a b'."),
        ({"public_url": "ftp://x"}, {}, "--public-url must be an http or https URL"),
        ({"public_url": "http://x:y/"}, {}, "--public-url must be"),
        ({"public_url": "http://x/?q"}, {}, "--public-url must be"),
        ({"health_path": "/simple/x"}, {}, "--health-path must be"),
        ({"health_path": "/UP"}, {}, "--health-path must be"),
        ({"file_cache_control": "a\nb"}, {}, "--file-cache-control must be printable ASCII"),
        ({"folders": ("",)}, {}, "FOLDER must be one or more folders"),
        ({"data": "~nosuchuser/x"}, {}, "--data must be a path"),
        (
            {"config": "/nonexistent/x.toml"},
            {},
            "/nonexistent/x.toml cannot be read: No such file or directory.",
        ),
        ({"prot": 1}, {}, "Unknown flag: prot. Did you mean port?"),
    ],
)
def test_what_is_wrong_is_named(flags: dict[str, object], environ: dict[str, str], sentence: str) -> None:
    assert sentence in fault(flags, environ)


def test_credentials_are_not_repeated() -> None:
    sentence = fault({"fallback_url": "https://me:secret@x.example/simple/"})
    assert "secret" not in sentence
    assert "***@x.example" in sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prot = 1", "Unknown key in {file}: prot. Did you mean port?"),
        ("scan-interval = 1", "Unknown key in {file}: scan-interval. Did you mean scan_interval?"),
        ("config = 'x'", "Unknown key in {file}: config."),
        ("[serve]\nport = 1", "Unknown key in {file}: serve."),
        ("port = '80'", "port in {file} must be a whole number from 0 to 65535, not '80'."),
        ("port = 80.0", "port in {file} must be a whole number"),
        ("port = true", "port in {file} must be a whole number"),
        ("access_log = 1", "access_log in {file} must be true or false, not 1."),
        ("folders = [1]", "folders in {file} must be one or more folders, not [1]."),
        ("grace = inf", "grace in {file} must be a number from 0 to 3600 seconds"),
        ("log = ['text']", "log in {file} must be text, json or none"),
        ("port = ", "{file} is not TOML: "),
        ("\udcff", "{file} is not UTF-8"),
        ("#" * ((1 << 20) + 1), "{file} is longer than 1048576 bytes"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "pidex.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert sentence.format(file=file) in fault({"config": file})
    # A stronger source does not hide what is wrong in the file.
    assert sentence.format(file=file) in fault({"config": file}, {"PIDEX_PORT": "1", "PIDEX_LOG": "none"})


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    file = write(tmp_path / "pidex.toml", "port = -1\nprot = 1\n")
    assert len(fault({"config": file, "workers": "0"}).splitlines()) == 3


def test_no_folder_a_missing_one_and_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Run `pidex serve FOLDER`"):
        config.served_folders(Settings())
    with pytest.raises(ConfigError, match="does not exist"):
        config.served_folders(Settings(folders=(tmp_path / "no",)))
    file = write(tmp_path / "file", "")
    with pytest.raises(ConfigError, match="is not a folder"):
        config.served_folders(Settings(folders=(file,)))
    assert config.served_folders(Settings(folders=(tmp_path,))) == (tmp_path,)


def test_the_data_directory_is_beside_the_first_folder(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "sub" / "two"
    one.mkdir()
    two.mkdir(parents=True)
    assert data_dir(Settings(folders=(one, two))) == tmp_path / ".pidex-one"
    assert not (tmp_path / ".pidex-one").exists()
    made = data_dir(Settings(folders=(one, two)), create=True)
    assert made.stat().st_mode & 0o777 == 0o700
    named = tmp_path / "data"
    assert data_dir(Settings(folders=(one,), data=named), create=True) == named
    # A linked folder is where it leads: the hard links of the data directory must reach it.
    (tmp_path / "link").symlink_to(two)
    assert data_dir(Settings(folders=(tmp_path / "link",))) == tmp_path / "sub" / ".pidex-two"


def test_a_data_directory_in_a_served_folder_is_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (tmp_path / "link").symlink_to(two)
    for data in (one, one / "data", tmp_path / "link" / "x"):
        with pytest.raises(ConfigError, match="lies in the served folder"):
            data_dir(Settings(folders=(one, two), data=data))
    # The second folder holds the first: beside the first is inside the second.
    state = tmp_path.parent / "state"
    found = data_dir(Settings(folders=(one, tmp_path)), {"XDG_STATE_HOME": str(state)})
    assert found.parent == state / "pidex"


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    file = write(tmp_path / "file", "")
    with pytest.raises(ConfigError, match="is a file"):
        data_dir(Settings(folders=(folder,), data=file), create=True)
    with pytest.raises(ConfigError, match="cannot be made: Not a directory"):
        data_dir(Settings(folders=(folder,), data=file / "x"), create=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and nobody but its owner may write."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@needs_root
def test_where_nobody_may_write_the_state_directory_is_taken_with_a_warning(open_folder: Path) -> None:
    folder, home = open_folder / "packages", open_folder / "home"
    folder.mkdir(mode=0o755)
    home.mkdir()
    os.chown(home, UID, UID)

    def choose() -> str:
        said: list[str] = []
        said.append(
            str(data_dir(Settings(folders=(folder,)), {"HOME": str(home)}, create=True, warn=said.append))
        )
        return "\n".join(said)

    warning, path = as_nobody(choose).splitlines()
    assert f"{open_folder}/.pidex-packages cannot be made" in warning
    assert path.startswith(f"{home}/.local/state/pidex/packages-")
    assert "cannot be made: Permission denied" in as_nobody(
        lambda: fault_of(Settings(folders=(folder,), data=open_folder / "x"))
    )
    # Once it exists beside the folder, that one is used, or refused; never another one silently.
    (open_folder / ".pidex-packages").mkdir(mode=0o700)
    assert "cannot be written by this user. Run as its owner" in as_nobody(
        lambda: fault_of(Settings(folders=(folder,)))
    )
    folder.chmod(0o700)
    assert "cannot be read by this user" in as_nobody(
        lambda: str(config.served_folders(Settings(folders=(folder,))))
    )


def fault_of(settings: Settings) -> str:
    with pytest.raises(ConfigError) as caught:
        data_dir(settings, create=True)
    return str(caught.value)


def test_a_login_header_needs_a_trusted_proxy() -> None:
    with pytest.raises(ConfigError, match=r"login_header \(--login-header\) is believed of trusted proxies"):
        load({"login_header": "X-User"}, {})
    assert load({"login_header": "X-User", "trusted_proxies": "unix"}, {}).login_header == "x-user"
    for wrong in ("Authorization", "cookie", "a b", "X_User:"):
        with pytest.raises(ConfigError, match="the name of a header of its own"):
            load({"login_header": wrong, "trusted_proxies": "unix"}, {})


# --- the documentation --------------------------------------------------------------------------------------

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
#: What an example says for settings without a default.
EXAMPLES: dict[str, object] = {
    "folders": ["/srv/packages"],
    "socket": "/run/pidex/pidex.sock",
    "data": "/srv/.pidex-packages",
    "prefix": "/python",
    "public_url": "https://packages.example.org/python",
    "trusted_proxies": ["127.0.0.1", "10.0.0.0/8"],
    "tls_cert": "/etc/pidex/cert.pem",
    "tls_key": "/etc/pidex/key.pem",
    "file_cache_control": "public, max-age=3600",
    "log_file": "/var/log/pidex.log",
    "fallback_url": "https://index.example.org/simple/",
    "welcome": "/etc/pidex/welcome.html",
    "passwords": "/etc/pidex/htpasswd",
    "login_header": "x-forwarded-user",
    "ftp_host": "0.0.0.0",
    "ftp_passive_ports": "60000-60100",
    "ftp_masquerade": "192.0.2.10",
    "catalogue": "postgresql://pidex@db.example.org/pidex",
    "storage": "s3://packages/pidex",
    "storage_endpoint": "https://objects.example.org",
    "storage_region": "eu-central-1",
    "storage_credentials": "/etc/pidex/bucket.toml",
    "storage_ca": "/etc/pidex/bucket-ca.pem",
}


def settings_table() -> str:
    """The settings as a table."""
    lines = ["| key | flag | variable | default | allowed | |", "| --- | --- | --- | --- | --- | --- |"]
    for field, meta in settings_fields():
        flags = ", ".join(f"`{each}`" for each in (meta.flags or (config.flag(field.name, meta),)))
        if meta.kind == "boolean":
            flags += f", `--no-{field.name.replace('_', '-')}`"
        default = config.shown(field.default)
        shown = "" if default in (None, "", []) else f"`{json.dumps(default, ensure_ascii=False)}`"
        asked = ", ".join(f"`{each}`" for each in meta.choices) or config.allowed(meta)
        key = f"`{field.name}`" if meta.in_file else ""
        lines.append(f"| {key} | {flags} | `PIDEX_{field.name.upper()}` | {shown} | {asked} | {meta.doc} |")
    assert not any(line.count("|") != 7 for line in lines)
    return "\n".join(lines) + "\n"


def example() -> str:
    """A configuration file that names every key."""
    lines = []
    for field, meta in settings_fields():
        if not meta.in_file:
            continue
        unit = f" In {meta.unit}." if meta.unit else ""
        lines += textwrap.wrap(
            meta.doc.replace("`", "") + unit, 100, initial_indent="# ", subsequent_indent="# "
        )
        value = EXAMPLES.get(field.name, config.shown(field.default))
        mark = "" if field.name == "folders" else "#"
        lines += [f"{mark}{field.name} = {json.dumps(value)}", ""]
    return "```toml\n" + "\n".join(lines).rstrip() + "\n```\n"


def block(name: str, text: str, replacement: str | None = None) -> str:
    """What stands in the document between two markers, or the document with that replaced."""
    start = text.index("\n", text.index(f"<!-- {name}:")) + 1
    end = text.index(f"<!-- end of {name} -->")
    return text[start:end] if replacement is None else text[:start] + replacement + text[end:]


def test_the_documentation_has_every_setting() -> None:
    text = DOCUMENT.read_text()
    assert block("settings", text) == settings_table(), "run `python -m tests.test_config`"
    assert block("example", text) == example(), "run `python -m tests.test_config`"


def test_the_documented_example_is_a_good_file(tmp_path: Path) -> None:
    text = block("example", DOCUMENT.read_text()).removeprefix("```toml\n").removesuffix("```\n")
    file = write(tmp_path / "pidex.toml", text)
    assert load({"config": file}, {}) == Settings(folders=(Path("/srv/packages"),), config=file)
    whole = re.sub(r"(?m)^#(?=[a-z_]+ = )", "", text)
    assert whole != text
    found = load({"config": write(file, whole)}, {})
    for field, meta in settings_fields():
        if meta.in_file and field.name not in EXAMPLES:
            assert getattr(found, field.name) == field.default, field.name
        elif meta.in_file:
            assert getattr(found, field.name) != field.default, field.name


def test_what_only_a_restart_changes_is_documented() -> None:
    from pidex.app import main

    named = DOCUMENT.read_text().partition("Only a restart changes")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", named)) == set(main.FIXED)


if __name__ == "__main__":
    written = block("settings", DOCUMENT.read_text(), settings_table())
    DOCUMENT.write_text(block("example", written, example()))
