"""Settings: flags over environment over file over default; the only reader of the environment."""

# ruff: noqa: RUF009  # fields are made by one function of this module that returns dataclasses.field()

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from pidex.core import addresses, agreement
from pidex.core.errors import ConfigError
from pidex.core.model import DEFAULT_INDEX
from pidex.settings import Meta, allowed, read, shown

__all__ = [
    "Effective", "Meta", "Settings", "allowed", "data_dir", "drop_boxes", "environment", "explain", "flag",
    "load", "served_folders", "settings_fields", "shown",
]  # fmt: skip

ENV_PREFIX = "PIDEX_"
#: Bytes read of a configuration file at most.
FILE_LIMIT = 1 << 20
#: A variable of the scripts of a checkout: where their virtual environment is. No setting.
OUTSIDE = f"{ENV_PREFIX}VENV"
GUARDS = ("list", "download", "update")


class Effective(NamedTuple):
    """One setting as it is in force, and where it came from."""

    name: str
    value: object
    origin: str  # 'default', '--port', 'PIDEX_PORT', or the path of the file


def _setting(default: Any, kind: str, doc: str, **rest: Any) -> Any:
    return field(default=default, metadata={"setting": Meta(kind, doc, optional=default is None, **rest)})


def _ports(text: str) -> str:
    ports = addresses.port_range(text)
    return f"{ports[0]}-{ports[-1]}"


# A table: one look shows a whole row.
# fmt: off
@dataclass(frozen=True)
class Settings:
    """Everything that can be set. A field is a flag, a `PIDEX_` variable and a key of the file.

    Durations are in seconds, sizes in MiB; paths are absolute. Made by `load`; a value made by hand
    is not checked.
    """

    folders: tuple[Path, ...] = _setting(
        (), "paths", "The folders of packages to serve, with their sub-folders.")
    config: Path | None = _setting(
        None, "path", "The configuration file (TOML).", flags=("-c", "--config"), in_file=False)
    host: str = _setting(
        "127.0.0.1", "text", "The address to listen on: 0.0.0.0 is every IPv4 address, :: every address.",
        flags=("-i", "--host"), pattern=r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?\]?",
        check=lambda text: text.strip("[]"), allowed="an address or a host name")
    port: int = _setting(
        3141, "integer", "The TCP port to listen on.", flags=("-p", "--port"), least=0, most=65535)
    socket: Path | None = _setting(
        None, "path", "A Unix socket to listen on, instead of host and port.")
    workers: int = _setting(
        1, "integer", "Processes that answer requests.", least=1, most=256)
    data: Path | None = _setting(
        None, "path", "The data directory: catalogue, kept copies, snapshots. Default: `.pidex-NAME` beside"
        " the first folder NAME; where that cannot be written, or there is a bucket and no folder,"
        " `$XDG_STATE_HOME/pidex/NAME-HASH`.")
    catalogue: str | None = _setting(
        None, "text", "The catalogue's database, `postgresql://USER@HOST/NAME`, shared by all nodes of a"
        " cluster. Default: a file in the data directory. Needs the extra `postgres`.",
        check=addresses.database, allowed="a URL such as postgresql://pidex@db.example/pidex")
    prefix: str = _setting(
        "", "text", "The path below which everything is served, such as `/python`.",
        pattern=r"/*+((?!\.\.?(/|$))[A-Za-z0-9._~-]+(/|$))*/*",
        check=lambda text: f"/{text.strip('/')}".rstrip("/"),
        allowed="a path such as /python, of letters, digits and . _ ~ -")
    public_url: str | None = _setting(
        None, "text", "The URL at which clients reach this server, prefix included. Default: as asked for.",
        check=lambda text: addresses.url(text).rstrip("/"),
        allowed="an http or https URL without credentials or a query")
    trusted_proxies: tuple[str, ...] = _setting(
        (), "words", "Reverse proxies whose X-Forwarded-* headers are believed: addresses, networks"
        " (10.0.0.0/8), or `unix` for whoever connects by the Unix socket.",
        check=addresses.proxy, allowed="addresses, networks or 'unix', separated by commas")
    tls_cert: Path | None = _setting(
        None, "path", "The certificate chain for https and HTTP/2 (PEM). Needs tls_key.")
    tls_key: Path | None = _setting(
        None, "path", "The private key of tls_cert (PEM, without a passphrase).")
    check: str = _setting(
        "whole", "choice", "`whole`: a file is listed once it is a whole archive. `none`: every file is"
        " listed at once, whatever it contains, as pypiserver does.", choices=("whole", "none"))
    mutability: str = _setting(
        "folder", "choice", "What a changed file in the folder means. `folder`: the change is followed."
        " `immutable`: it is withheld. `volatile`: overwriting is a right.",
        choices=("folder", "immutable", "volatile"))
    watch: str = _setting(
        "auto", "choice", "How changes are noticed between scans. `auto`: by the system's notices, else by"
        " polling. `poll`: by polling (network file systems). `off`: only by scans.",
        choices=("auto", "poll", "off"))
    scan_interval: float = _setting(
        60.0, "number", "Time between two full scans of the folders.", unit="seconds", least=1, most=86400)
    page_wait: float = _setting(
        10.0, "number", "How long a page waits while files of its project are still being read, before 503.",
        unit="seconds", least=0, most=300)
    page_cache: int = _setting(
        64, "integer", "Memory for finished pages, in each worker.", unit="MiB", least=0, most=65536)
    unmatched_accept: str = _setting(
        "html", "choice", "What a page answers where the client accepts none of its media types.",
        choices=("html", "406"))
    max_age: int = _setting(
        0, "integer", "How long clients and proxies may use a page without asking again.",
        unit="seconds", least=0, most=31536000)
    file_cache_control: str | None = _setting(
        None, "text", "The Cache-Control header of files. Default: one for URLs whose bytes never change.",
        pattern=r"[\x20-\x7e]+", allowed="printable ASCII, such as 'public, max-age=3600'")
    log: str = _setting("text", "choice", "The form of log lines.", choices=("text", "json", "none"))
    log_level: str = _setting(
        "info", "choice", "The least serious lines to log.", choices=("debug", "info", "warning", "error"))
    log_file: Path | None = _setting(
        None, "path", "Log to this file instead of standard output. Reopened on SIGHUP.")
    access_log: bool = _setting(True, "boolean", "One log line for each request.")
    grace: float = _setting(
        8.0, "number", "How long running downloads may go on after a stop is asked for.",
        unit="seconds", least=0, most=3600)
    fallback_url: str | None = _setting(
        None, "text", "Redirect unknown projects to this simple index, as pypiserver does. Beware: a"
        " misspelt private name is then asked there.",
        check=lambda text: addresses.url(text).rstrip("/") + "/",
        allowed="an http or https URL without credentials or a query")
    welcome: Path | None = _setting(
        None, "path", "The welcome page's HTML, in which {{URL}}, {{SIMPLE}}, {{PACKAGES}}, {{NUMPKGS}} and"
        " {{VERSION}} are filled in; no code in it is run.")
    health_path: str = _setting(
        "/health", "text", "A second path of the health check, beside /-/health.",
        pattern=r"/(?!(simple|packages|pypi|legacy|-)(/|$))[a-z0-9_-]+(/[a-z0-9_-]+)*/?",
        allowed="a path of a-z, 0-9, / _ -, which is not one of the server's own")
    passwords: Path | None = _setting(
        None, "path", "An htpasswd file (bcrypt, SHA-crypt, apr1 or SHA-1) with the people who may sign in.")
    guard: frozenset[str] = _setting(
        frozenset({"update"}), "words", "What needs signing in: `list` (pages), `download` (files), `update`"
        " (changes), separated by commas.", choices=GUARDS)
    login_header: str | None = _setting(
        None, "text", "The header in which a trusted proxy says who signed in to it, as X-Forwarded-User."
        " The proxy has to remove it from what clients send. Needs trusted_proxies.",
        pattern=r"[A-Za-z][A-Za-z0-9-]{0,63}", check=addresses.login_header,
        allowed="the name of a header of its own, such as X-Forwarded-User")
    hash_fragment: str = _setting(
        "sha256", "choice", "The hash in the links of HTML pages; without one, clients check nothing.",
        choices=("sha256", "none"))
    drop_folders: tuple[str, ...] = _setting(
        (), "words", "Drop boxes: folders out of which packages are moved into an index as soon as they are"
        " whole. `/srv/drop` for the default index, `team=/srv/drop` for another one.",
        pattern=r"([A-Za-z0-9][A-Za-z0-9._-]*=)?/[^=]*",
        allowed="absolute paths, each with NAME= of its index before it where that is not the default one")
    ftp_port: int = _setting(
        0, "integer", "The TCP port of the FTP server; 0: there is none. Needs the extra `ftp`.",
        least=0, most=65535)
    ftp_host: str | None = _setting(
        None, "text", "The address on which FTP listens. Default: that of host.",
        pattern=r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?\]?",
        check=lambda text: text.strip("[]"), allowed="an address or a host name")
    ftp_passive_ports: str | None = _setting(
        None, "text", "The ports of FTP's passive data connections, such as 60000-60100, to be opened in a"
        " firewall. Default: any free port.", pattern=r"[0-9]{1,5}-[0-9]{1,5}", check=_ports,
        allowed="two ports from 1024 to 65535, the lower first, such as 60000-60100")
    ftp_tls: str = _setting(
        "off", "choice", "TLS for FTP (AUTH TLS), with tls_cert and tls_key: not at all, where the client"
        " asks for it, or always.", choices=("off", "optional", "required"))
    ftp_masquerade: str | None = _setting(
        None, "text", "The IPv4 address under which clients reach FTP's passive ports, behind NAT.",
        check=addresses.ipv4, allowed="an IPv4 address")
    upstream: tuple[str, ...] = _setting(
        (), "words", "Indexes that are asked, in order, for what nobody here has: `pypi`, names of upstreams"
        " that were added, or URLs. Default: `pypi`. Names of yours are never asked for there.", many=True,
        check=addresses.upstream, allowed="names or http(s) URLs without credentials, separated by commas")
    no_upstream: bool = _setting(False, "boolean", "Ask nobody else: serve only what lies here.")
    offline: bool = _setting(
        False, "boolean", "Serve what is held of upstreams, however old, and ask none of them.")
    mirror_size: float = _setting(
        50.0, "number", "Files of upstreams that are kept, the ones unused for longest deleted first.",
        unit="GiB", least=0.01, most=1e6)
    mirror_age: float = _setting(
        90.0, "number", "How long a file of an upstream is kept that nobody uses.", unit="days", least=0.01,
        most=36500)
    storage: str | None = _setting(
        None, "text", "A bucket in which uploads and what is promoted are kept: s3://BUCKET/PREFIX, gs:// or"
        " az:// (Azure). Indexes that have folders keep using them.",
        pattern=r"(s3|gs|az)://[A-Za-z0-9._-]{1,255}(/[A-Za-z0-9._=-]{1,255}){0,16}/?|file:///[^?#]{1,1024}",
        check=lambda text: text.rstrip("/"), allowed="a URL such as s3://bucket/prefix, gs:// or az://")
    storage_endpoint: str | None = _setting(
        None, "text", "The URL of the object server, where it is not the cloud's own.",
        check=lambda text: addresses.url(text).rstrip("/"),
        allowed="an http or https URL without credentials or a query")
    storage_region: str | None = _setting(
        None, "text", "The region of the bucket, such as eu-central-1.", pattern=r"[A-Za-z0-9-]{1,64}",
        allowed="the name of a region")
    storage_credentials: Path | None = _setting(
        None, "path", "A TOML file with the keys for the bucket (`aws_access_key_id`, ...), readable by pidex"
        " alone. Default: the variables that the cloud's own tools read, such as AWS_ACCESS_KEY_ID, else the"
        " machine's role.")
    storage_ca: Path | None = _setting(
        None, "path", "Certificates (PEM) of an authority that the object server's was signed by.")
    storage_timeout: float = _setting(
        30.0, "number", "How long one request to the object server may take.", unit="seconds", least=1,
        most=600)
    storage_redirect: bool = _setting(
        False, "boolean", "Send clients to the bucket for files, by URLs that are good for a few minutes, in"
        " place of handing the bytes on. They have to reach the bucket.")
    storage_cache: float = _setting(
        10.0, "number", "Files of the bucket that are kept on this machine's disk to be read again, the ones"
        " read longest ago deleted first.", unit="GiB", least=0.001, most=1e6)
    snapshots: int = _setting(
        7, "integer", "Daily snapshots of the catalogue to keep; 0 takes none.", least=0, most=3650)
    scrub_days: float = _setting(
        30.0, "number", "Every stored byte is read and compared with its hash once in this time; 0: never.",
        unit="days", least=0, most=3650)
    sandbox_children: int = _setting(
        2, "integer", "Child processes that look into archives.", least=1, most=64)
    inspect_timeout: float = _setting(
        60.0, "number", "How long looking into one archive may take.", unit="seconds", least=1, most=3600)

# fmt: on


def settings_fields() -> Iterator[tuple[Field[Any], Meta]]:
    """Every field of `Settings` with what is known of it, in order."""
    for each in fields(Settings):
        yield each, each.metadata["setting"]


def flag(name: str, meta: Meta) -> str:
    """The long form of a setting on the command line: '--scan-interval'; the folders are arguments."""
    if name == "folders":
        return "FOLDER"
    return meta.flags[-1] if meta.flags else "--" + name.replace("_", "-")


def environment() -> dict[str, str]:
    """The process's environment: the only place where it is read."""
    return dict(os.environ)


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """The settings in force: flags over environment over file over default.

    `flags` maps field names to text as typed or to values; None means not given. Raises `ConfigError`
    with one sentence a line: which setting, where it came from, what is allowed.
    """
    values: dict[str, Any] = {each.name: each.value for each in explain(flags, environ)}
    return Settings(**values)


def explain(flags: Mapping[str, object], environ: Mapping[str, str]) -> list[Effective]:
    """As `load`, and says of each setting where it came from."""
    faults: list[str] = []
    known = {each.name: meta for each, meta in settings_fields()}
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    faults += [_unknown("flag", name, known) for name in given if name not in known]
    variables = {ENV_PREFIX + name.upper(): name for name in known}
    faults += [
        _unknown("environment variable", name, known, ENV_PREFIX)
        for name in sorted(environ)
        if name.startswith(ENV_PREFIX) and name not in variables and name != OUTSIDE
    ]
    here = Path.cwd()
    found: dict[str, tuple[object, str]] = {}  # name: raw value, origin
    for variable, name in variables.items():
        if name in given:
            found[name] = (given[name], flag(name, known[name]))
        elif environ.get(variable):  # an empty variable is one that is not set
            found[name] = (environ[variable], variable)
    values: dict[str, tuple[object, str]] = {}
    for name, (raw, origin) in found.items():
        try:
            values[name] = (read(known[name], raw, typed=True, base=here), origin)
        except (ValueError, TypeError, RuntimeError):
            faults.append(_wrong(origin, known[name], raw))
    path = values.get("config", (None, ""))[0]
    if isinstance(path, Path):
        for key, raw in _file(path, faults).items():
            if key not in known or not known[key].in_file:
                faults.append(_unknown(f"key in {path}", key, [n for n, m in known.items() if m.in_file]))
                continue
            try:  # checked even where something stronger is given
                values.setdefault(key, (read(known[key], raw, typed=False, base=path.parent), str(path)))
            except (ValueError, TypeError, RuntimeError):
                faults.append(_wrong(f"{key} in {path}", known[key], raw))
    if faults:
        raise ConfigError("\n".join(faults))
    agreement.one_of(values, "upstream", "no_upstream")
    result = [
        Effective(each.name, *values.get(each.name, (each.default, "default")))
        for each, _ in settings_fields()
    ]
    agreement.check({each.name: (each.value, each.origin) for each in result})
    return result


def _wrong(subject: str, meta: Meta, raw: object) -> str:
    return f"{subject} must be {allowed(meta)}, not {shown(raw)!r}."


def _unknown(what: str, name: str, known: Iterable[str], prefix: str = "") -> str:
    import difflib  # noqa: PLC0415  # only on the way to an error

    word = name.removeprefix(prefix).replace("-", "_").lower()
    near = [prefix + (each.upper() if prefix else each) for each in difflib.get_close_matches(word, known, 1)]
    hint = f" Did you mean {near[0]}?" if near else " `pidex config schema` lists what there is."
    return f"Unknown {what}: {name}.{hint}"


def _file(path: Path, faults: list[str]) -> dict[str, object]:
    import tomllib  # noqa: PLC0415  # most servers have no file

    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise ConfigError(f"{path} is longer than {FILE_LIMIT} bytes: is it the configuration file?")
        return tomllib.loads(data.decode())
    except OSError as error:
        faults.append(f"The configuration file {path} cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        faults.append(f"{path} is not UTF-8, which TOML has to be.")
    except tomllib.TOMLDecodeError as error:
        faults.append(f"{path} is not TOML: {error}.")
    return {}


def served_folders(settings: Settings) -> tuple[Path, ...]:
    """The folders to serve, none where there is a bucket. Raises `ConfigError` where one cannot be read."""
    if not settings.folders and settings.storage is None:
        raise ConfigError(
            "No folder to serve is named. Run `pidex serve FOLDER`, or set folders in the"
            " configuration file or PIDEX_FOLDERS."
        )
    for folder in settings.folders:
        if not folder.exists():
            raise ConfigError(f"The folder {folder} does not exist. Create it or name another one.")
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder. Name the folder that holds the packages.")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise ConfigError(
                f"The folder {folder} cannot be read by this user. Give it read and search permission."
            )
    return settings.folders


def drop_boxes(settings: Settings) -> dict[Path, str]:
    """The folders of `drop_folders`, and the index of each. Raises `ConfigError` where one cannot be one."""
    found: dict[Path, str] = {}
    for text in settings.drop_folders:
        index, _, name = text.rpartition("=")
        folder = Path(name)
        others = [*settings.folders, *found, *([settings.data] if settings.data is not None else [])]
        for other in map(Path.resolve, others):
            if folder.resolve().is_relative_to(other) or other.is_relative_to(folder.resolve()):
                raise ConfigError(
                    f"The drop box {folder} and {other} lie in one another. What comes into a drop box leaves"
                    " it again: name a folder of its own."
                )
        found[folder] = index or DEFAULT_INDEX
    return found


def data_dir(
    settings: Settings,
    environ: Mapping[str, str] | None = None,
    *,
    create: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Path:
    """The data directory: `data`, else `.pidex-NAME` beside the first folder, else in XDG's state directory.

    One that exists is preferred over one that would have to be made. `create` makes it, for its owner only.
    `warn` is told where the fallback is taken. Raises `ConfigError` where it lies in a served folder or
    cannot be written.
    """
    chosen = settings.data
    if chosen is None and not settings.folders and settings.storage is not None:
        bucket = Path(settings.storage.partition("://")[2])
        chosen = _state_dir(bucket, environment() if environ is None else environ)
    elif chosen is None:
        first = served_folders(settings)[0].resolve()
        chosen = first.parent / f".pidex-{first.name or 'root'}"
        apart = not any(chosen.is_relative_to(each.resolve()) for each in settings.folders)
        if not chosen.exists() and not (apart and os.access(first.parent, os.W_OK | os.X_OK)):
            beside, chosen = chosen, _state_dir(first, environment() if environ is None else environ)
            warn(
                f"The data directory is {chosen}: {beside} cannot be made. Name one on the folder's own file"
                " system with --data, so that a replaced file's last good version can be kept."
            )
    real = chosen.resolve()
    for folder in settings.folders:
        if real.is_relative_to(folder.resolve()):
            raise ConfigError(
                f"The data directory {chosen} lies in the served folder {folder}, where others"
                " write. Name one outside it with --data."
            )
    if create:
        _make(chosen)
    return chosen


def _state_dir(folder: Path, environ: Mapping[str, str]) -> Path:
    home = environ.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path(environ.get("HOME") or "/") / ".local" / "state"
    mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return base / "pidex" / f"{folder.name or 'root'}-{mark}"


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"The data directory {path} is a file. Name a directory with --data.") from None
    except OSError as error:
        raise ConfigError(
            f"The data directory {path} cannot be made: {error.strerror}. Name another one with"
            " --data, or change the permissions."
        ) from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(
            f"The data directory {path} cannot be written by this user. Run as its owner, or"
            " name another one with --data."
        )
