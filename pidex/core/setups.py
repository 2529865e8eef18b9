"""Ready texts for the set-up of clients: installers, publishers and CI services, for one index's own URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

#: What stands for a project where none is known, and for a token that everybody puts in themselves.
EXAMPLE: Final = "some-package"
TOKEN: Final = "INDEX_TOKEN"  # noqa: S105  # the name of a variable


@dataclass(frozen=True, slots=True)
class Where:
    """An index as its reader sees it.

    `url`: absolute, without a slash at its end. `trusted_host`: what pip needs for plain http, or None.
    `guarded`: whether reading needs credentials. `project`: one that is there, for the line that tests it.
    """

    url: str
    trusted_host: str | None = None
    guarded: bool = False
    project: str = EXAMPLE
    name: str = "pidex"

    @property
    def simple(self) -> str:
        return f"{self.url}/simple/"

    @property
    def upload(self) -> str:
        return f"{self.url}/legacy/"

    @property
    def host(self) -> str:
        """The host alone, by which netrc knows it."""
        return urlsplit(self.url).hostname or ""

    @property
    def variable(self) -> str:
        """The index's name in names of variables."""
        return "".join(each if each.isalnum() else "_" for each in self.name).upper()


@dataclass(frozen=True, slots=True)
class Block:
    """A text to be copied. `title` and `note` are phrases in English, to be translated."""

    title: str
    text: str
    file: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """A client: `key` for URLs, its name, its purpose ('install', 'publish', 'ci', 'secret'), its texts."""

    key: str
    name: str
    kind: str
    blocks: Callable[[Where], Sequence[Block]]


def phrase(text: str) -> str:
    """Marks a text that pages translate."""
    return text


_ONCE: Final = phrase("Once for this machine")
_FILE: Final = phrase("Or by hand")
_TRY: Final = phrase("Try it")
_PROJECT: Final = phrase("In your project")
_SIGN: Final = phrase("Sign in")
_SEND: Final = phrase("Publish")
_BY_TOKEN: Final = phrase("It asks for user name and password: __token__ and a token.")
_SECRET: Final = phrase("Keep a token as the secret INDEX_TOKEN of the repository.")
_NETRC: Final = phrase("Credentials come from ~/.netrc: see “netrc”. Never put them into a URL.")


def _flags(where: Where) -> str:
    trusted = f" --trusted-host {where.trusted_host}" if where.trusted_host else ""
    return f"--index-url {where.simple}{trusted}"


def _pip(where: Where) -> Sequence[Block]:
    trusted = where.trusted_host
    lines = [f"pip config set global.index-url {where.simple}"]
    kept = f"[global]\nindex-url = {where.simple}"
    if trusted:
        lines.append(f"pip config set global.trusted-host {trusted}")
        kept += f"\ntrusted-host = {trusted}"
    return [
        Block(_ONCE, "\n".join(lines)),
        Block(_FILE, kept, "pip.conf"),
        *_signing(where),
        Block(_TRY, f"pip download --no-deps {_flags(where)} {where.project}"),
    ]


def _uv(where: Where) -> Sequence[Block]:
    table = f'name = "{where.name}"\nurl = "{where.simple}"\npublish-url = "{where.upload}"\ndefault = true'
    found = [
        Block(_PROJECT, f"[[tool.uv.index]]\n{table}", "pyproject.toml"),
        Block(_ONCE, f"[[index]]\n{table}", "uv.toml"),
    ]
    if where.guarded:
        text = f"export UV_INDEX_{where.variable}_USERNAME=__token__\n"
        text += f"export UV_INDEX_{where.variable}_PASSWORD=${TOKEN}"
        found.append(Block(_SIGN, text, note=phrase("Or by ~/.netrc: see “netrc”.")))
    # With credentials of its own, the index has to be that of the files above.
    index = "" if where.guarded else f"--default-index {where.simple} "
    found.append(Block(_TRY, f"uv pip install {index}--target try-pidex --no-deps {where.project}"))
    found.append(Block(_SEND, f"uv build\nuv publish --index {where.name}", note=_BY_TOKEN))
    return found


def _poetry(where: Where) -> Sequence[Block]:
    found = [
        Block(_PROJECT, f"poetry source add --priority=primary {where.name} {where.simple}"),
        Block(_TRY, f"poetry add --dry-run {where.project}"),
    ]
    asks = phrase("Poetry asks for the token and keeps it in the keyring.")
    if where.guarded:
        found.insert(1, Block(_SIGN, f"poetry config http-basic.{where.name} __token__", note=asks))
    text = f"poetry config repositories.{where.name} {where.upload}\n"
    text += f"poetry config http-basic.{where.name} __token__\n"
    text += f"poetry publish --build --repository {where.name}"
    return [*found, Block(_SEND, text, note=asks)]


def _pdm(where: Where) -> Sequence[Block]:
    checked = "true" if where.simple.startswith("https:") else "false"
    source = f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{where.simple}"\nverify_ssl = {checked}'
    named = phrase("The name pypi puts it in the place of the default source.")
    upload = f"pdm config repository.{where.name}.url {where.upload}\n"
    upload += f"pdm config repository.{where.name}.username __token__\npdm publish --repository {where.name}"
    return [
        Block(_PROJECT, source, "pyproject.toml", named),
        *_signing(where),
        Block(_TRY, f"pdm add --dry-run {where.project}"),
        Block(_SEND, upload, note=phrase("The token comes from the variable PDM_PUBLISH_PASSWORD.")),
    ]


def _hatch(where: Where) -> Sequence[Block]:
    text = f"export PIP_INDEX_URL={where.simple}\nexport UV_DEFAULT_INDEX={where.simple}"
    if where.trusted_host:
        text += f"\nexport PIP_TRUSTED_HOST={where.trusted_host}"
    kept = f'[publish.index.repos.{where.name}]\nurl = "{where.upload}"\nuser = "__token__"'
    send = f"hatch build\nhatch publish --repo {where.name}"
    return [
        Block(_ONCE, text, note=phrase("Hatch installs with pip or uv, which read these variables.")),
        *_signing(where),
        Block(_TRY, f"pip download --no-deps {where.project}"),
        Block(phrase("Where to publish"), kept, "hatch config.toml"),
        Block(_SEND, send, note=phrase("The token comes from the variable HATCH_INDEX_AUTH.")),
    ]


def _twine(where: Where) -> Sequence[Block]:
    once = f"twine upload --repository-url {where.upload} --username __token__ dist/*"
    return [
        Block(_SEND, once, note=phrase("Twine asks for the token. In CI it comes from TWINE_PASSWORD.")),
        Block(phrase("With a .pypirc"), f"twine upload --repository {where.name} dist/*"),
        *_pypirc(where),
    ]


def _pypirc(where: Where) -> Sequence[Block]:
    text = f"[distutils]\nindex-servers =\n    {where.name}\n\n[{where.name}]\n"
    text += f"repository = {where.upload}\nusername = __token__"
    note = phrase("Without a password, so that it comes from the keyring: keyring set URL __token__.")
    return [Block(_ONCE, text, "~/.pypirc", note)]


def _netrc(where: Where) -> Sequence[Block]:
    text = f"machine {where.host}\nlogin __token__\npassword {TOKEN}"
    return [
        Block(_ONCE, text, "~/.netrc", phrase("Put your token in the place of INDEX_TOKEN.")),
        Block(phrase("Let nobody else read it"), "chmod 600 ~/.netrc"),
        Block(_TRY, f"pip download --no-deps {_flags(where)} {where.project}"),
    ]


def _docker(where: Where) -> Sequence[Block]:
    lines = ["# syntax=docker/dockerfile:1", "FROM python:3", f"ENV PIP_INDEX_URL={where.simple}"]
    if where.trusted_host:
        lines.append(f"ENV PIP_TRUSTED_HOST={where.trusted_host}")
    run = f"pip install {where.project}"
    if where.guarded:
        lines.append(f"RUN --mount=type=secret,id=netrc,target=/root/.netrc {run}")
    else:
        lines.append(f"RUN {run}")
    secret = " --secret id=netrc,src=$HOME/.netrc" if where.guarded else ""
    note = phrase("The secret is there while that line runs, and in no layer of the image.")
    return [
        Block(phrase("Image"), "\n".join(lines), "Dockerfile", note if where.guarded else ""),
        Block(_TRY, f"docker build{secret} ."),
    ]


def _github(where: Where) -> Sequence[Block]:
    lines = [
        "env:",
        f"  PIP_INDEX_URL: {where.simple}",
        *([f"  PIP_TRUSTED_HOST: {where.trusted_host}"] if where.trusted_host else []),
        f"  UV_DEFAULT_INDEX: {where.simple}",
        "steps:",
    ]
    if where.guarded:
        told = f"machine {where.host} login __token__ password $TOKEN"
        lines += [
            f'  - run: install -m 600 /dev/null ~/.netrc && echo "{told}" > ~/.netrc',
            f"    env: {{TOKEN: '${{{{ secrets.{TOKEN} }}}}'}}",
        ]
    lines.append(f"  - run: pip install {where.project}")
    send = [
        "  - run: python -m twine upload dist/*",
        "    env:",
        f"      TWINE_REPOSITORY_URL: {where.upload}",
        "      TWINE_USERNAME: __token__",
        f"      TWINE_PASSWORD: ${{{{ secrets.{TOKEN} }}}}",
    ]
    return [
        Block(phrase("Install"), "\n".join(lines), ".github/workflows/*.yml"),
        Block(_SEND, "\n".join(send), ".github/workflows/*.yml", _SECRET),
    ]


def _gitlab(where: Where) -> Sequence[Block]:
    lines = [
        "variables:",
        f"  PIP_INDEX_URL: {where.simple}",
        *([f"  PIP_TRUSTED_HOST: {where.trusted_host}"] if where.trusted_host else []),
        f"  UV_DEFAULT_INDEX: {where.simple}",
        "install:",
        "  script:",
    ]
    if where.guarded:
        told = f"machine {where.host} login __token__ password ${TOKEN}"
        lines.append(f'    - install -m 600 /dev/null ~/.netrc && echo "{told}" > ~/.netrc')
    lines.append(f"    - pip install {where.project}")
    send = [
        "publish:",
        "  variables:",
        f"    TWINE_REPOSITORY_URL: {where.upload}",
        "    TWINE_USERNAME: __token__",
        f"    TWINE_PASSWORD: ${TOKEN}",
        "  script:",
        "    - python -m twine upload dist/*",
    ]
    note = phrase("Keep a token as the masked variable INDEX_TOKEN of the project.")
    return [
        Block(phrase("Install"), "\n".join(lines), ".gitlab-ci.yml"),
        Block(_SEND, "\n".join(send), ".gitlab-ci.yml", note),
    ]


def _signing(where: Where) -> Sequence[Block]:
    if not where.guarded:
        return []
    text = f"machine {where.host}\nlogin __token__\npassword {TOKEN}"
    return [Block(_SIGN, text, "~/.netrc", _NETRC)]


#: All clients, in the order of the page.
CLIENTS: Final[Sequence[Client]] = (
    Client("pip", "pip", "install", _pip),
    Client("uv", "uv", "install", _uv),
    Client("poetry", "Poetry", "install", _poetry),
    Client("pdm", "PDM", "install", _pdm),
    Client("hatch", "Hatch", "install", _hatch),
    Client("twine", "twine", "publish", _twine),
    Client("pypirc", ".pypirc", "publish", _pypirc),
    Client("netrc", "netrc", "secret", _netrc),
    Client("docker", "Dockerfile", "ci", _docker),
    Client("github", "GitHub Actions", "ci", _github),
    Client("gitlab", "GitLab CI", "ci", _gitlab),
)


def install_lines(where: Where, project: str, version: str | None = None) -> Sequence[tuple[str, str]]:
    """(client, command) by which one project, or one release of it, is installed from here."""
    pinned = f"{project}=={version}" if version else project
    return (
        ("pip", f"pip install {_flags(where)} {pinned}"),
        ("uv", f"uv pip install --default-index {where.simple} {pinned}"),
    )


def requirement_line(project: str, version: str, sha256s: Sequence[str]) -> str:
    """A line of a requirements file that takes only these bytes."""
    hashes = "".join(f" \\\n    --hash=sha256:{each}" for each in sha256s)
    return f"{project}=={version}{hashes}"
