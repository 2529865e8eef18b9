"""The rules that import-linter cannot hold: docstrings, sizes, clocks, environment, errors, the idle server.

`python -m tests.test_architecture` rewrites the tree in docs/architecture.md from the modules' docstrings.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.core import errors

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "architecture.md"
TREE_START, TREE_END = "<!-- tree: from the modules' docstrings -->", "<!-- end of tree -->"
MODULES = sorted((ROOT / "pidex").rglob("*.py"))

MODULE_LINES, FUNCTION_LINES = 500, 70
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "managers", "misc", "tools"}

#: Where a concrete clock may be named: app passes it in, the command line starts programs.
CLOCK_HOMES = ("pidex/app/", "pidex/cli/")
ENVIRONMENT = ("environ", "environb", "getenv", "getenvb")
CLOCKS = {
    "time": {"time", "time_ns"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}

#: Services whose public methods a face may call, and the methods that need not know who asks (why).
SERVICES = ("resolver", "curator", "search")
WITHOUT_BY = {
    "Search.follow": "keeps what is searched in step, and tells nothing",
    "Search.learn": "takes an upstream's names over, in the main process, and tells nothing",
    "Search.learnt": "tells the main process which names it need not take over",
    "Resolver.open": "takes a File, and only `locate`, `find` and `page` give one",
    "Resolver.link": "takes a File, as `open` does",
}

#: What an idle server must not load: each is imported where it is used, when it is used.
NOT_WHEN_IDLE = {
    "alembic": "only where a catalogue is migrated",
    "argon2": "only where a password is checked",
    "passlib": "only where a password file is set",
    "packaging.metadata": "only where an upload is checked",
    "docutils": "only where a README is rendered",
    "readme_renderer": "only where a README is rendered",
    "pypi_simple": "its import takes 0.4 s and 42 MB",
    "requests": "no request goes out",
    "httpx": "no request goes out",
    "aiohttp": "no request goes out",
    "rich": "only on a terminal",
    "obstore": "only with a bucket",
    "psycopg": "only for a catalogue in PostgreSQL",
    "sqlalchemy.dialects.postgresql": "only for a catalogue in PostgreSQL",
    "pyftpdlib": "only with ftp_port",
    "OpenSSL": "only with ftp_port",
    "watchfiles": "the worker watches nothing",
}


def name_of(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def parsed(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), str(module))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def described() -> list[str]:
    """The lines of the tree in docs/architecture.md: one a module, with its docstring."""
    lines = []
    for module in MODULES:
        name = name_of(module).removesuffix("__init__.py")
        if "/versions/" in name:
            continue
        lines.append(f"- `{name}`: {ast.get_docstring(parsed(module))}")
    return sorted(lines, key=lambda line: line.split("`")[1])


def tracked() -> list[Path]:
    """Every file of the repository, also where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
        return [path for path in paths if path.is_file()]
    skipped = {".git", ".venv", ".bench", ".hypothesis", "__pycache__", "build", "dist"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part in skipped or part.endswith("_cache") for part in path.relative_to(ROOT).parts)
    ]


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_says_its_purpose_in_one_line(module: Path) -> None:
    docstring = ast.get_docstring(parsed(module), clean=False)
    assert docstring, "no docstring"
    assert "\n" not in docstring, "more than one line"
    assert docstring.endswith("."), "not a sentence"


def test_the_document_has_the_same_tree() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    tree = text.partition(TREE_START)[2].partition(TREE_END)[0].split("\n")
    written = [line for line in tree if line]
    assert written == described(), "run `python -m tests.test_architecture`"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_and_functions_stay_small(module: Path) -> None:
    lines = module.read_text(encoding="utf-8").count("\n")
    assert lines <= MODULE_LINES
    for function in functions(parsed(module)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= FUNCTION_LINES, f"{function.name}: {length} lines"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_named_after_a_noun(module: Path) -> None:
    assert not VAGUE & set(module.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_only_config_reads_the_environment(module: Path) -> None:
    if name_of(module) == "pidex/config.py":
        return
    reads = []
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Attribute) and _is(node.value, "os") and node.attr in ENVIRONMENT:
            reads.append(node.lineno)
        if isinstance(node, ast.ImportFrom) and node.module == "os" and _imports(node, *ENVIRONMENT):
            reads.append(node.lineno)
    assert reads == []


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_clock_comes_from_outside(module: Path) -> None:
    if name_of(module).startswith(CLOCK_HOMES):
        return
    tree, reads = parsed(module), []
    # As the default of a parameter it is passed in; anywhere else it is read.
    passed_in = {
        id(node) for function in functions(tree) for each in _defaults(function) for node in ast.walk(each)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node) not in passed_in:
            if node.attr in CLOCKS.get(node.value.id, ()):
                reads.append(f"line {node.lineno}: {node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom) and node.module == "time" and _imports(node, "time", "time_ns"):
            reads.append(f"line {node.lineno}: from time import")
    assert reads == []


def _defaults(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    return [each for each in (*function.args.defaults, *function.args.kw_defaults) if each is not None]


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _imports(node: ast.ImportFrom, *names: str) -> bool:
    return any(alias.name in names for alias in node.names)


def error_classes(root: type[errors.PidexError] = errors.PidexError) -> list[type[errors.PidexError]]:
    """All errors, from whichever module."""
    found = [root]
    for child in root.__subclasses__():
        found += error_classes(child)
    return found


def test_every_error_has_one_status_and_a_code_of_its_own() -> None:
    for module in MODULES:
        if "errors" in module.stem or "Error)" in module.read_text(encoding="utf-8"):
            importlib.import_module(".".join(module.relative_to(ROOT).with_suffix("").parts))
    classes = error_classes()
    assert len(classes) > 15
    codes = [cls.__dict__.get("code") for cls in classes]
    for cls, code in zip(classes, codes, strict=True):
        assert code is not None, f"{cls.__name__} has no code of its own"
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code), code
        assert 400 <= cls.status <= 599, cls.__name__
        assert cls.title, cls.__name__
    assert len(set(codes)) == len(codes), "two errors share a code"


def service_methods() -> list[tuple[str, inspect.Signature]]:
    found = []
    for name in SERVICES:
        if not any((ROOT / "pidex" / each).exists() for each in (f"{name}.py", f"{name}/__init__.py")):
            continue
        module = importlib.import_module(f"pidex.{name}")
        for class_name, cls in inspect.getmembers(module, inspect.isclass):
            if cls.__module__ != module.__name__ or class_name.startswith("_"):
                continue
            found += [
                (f"{class_name}.{method_name}", inspect.signature(method))
                for method_name, method in inspect.getmembers(cls, inspect.isfunction)
                if not method_name.startswith("_")
            ]
    return found


def test_services_are_told_who_asks() -> None:
    methods = service_methods()
    assert methods
    for name, signature in methods:
        if name in WITHOUT_BY:
            continue
        by = signature.parameters.get("by")
        assert by is not None, f"{name} does not take `by`"
        assert by.kind is inspect.Parameter.KEYWORD_ONLY, name


def test_no_file_names_a_registry_host_or_this_machine() -> None:
    # Put together here, so that this file does not contain them.
    hosts = ["pypi org", "pythonhosted org", "debian org", "npmjs com", "npmjs org"]
    places = ["work main", "work shared", "opt pypi", "opt wheels"]
    words = [host.replace(" ", ".") for host in hosts] + ["/" + place.replace(" ", "/") for place in places]
    if str(ROOT).count("/") > 1:
        words.append(f"{ROOT}/")
    pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE)
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


def test_pins_have_hashes_and_no_addresses() -> None:
    files = sorted((ROOT / "requirements").glob("*.txt"))
    assert {"serve.txt", "dev.txt"} <= {path.name for path in files}
    for path in files:
        for requirement in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            assert re.match(r"[a-z0-9-]+==\S+ ", requirement), requirement
            assert "--hash=sha256:" in requirement, requirement
            assert "://" not in requirement, requirement


SOURCE = """
import sys
from pidex import app
source = app.Source({"folders": (sys.argv[1],), "data": sys.argv[2]}, {})
"""
LOADED = "print('loaded', *sorted(sys.modules))"


def loaded_by(program: str, folder: Path) -> set[str]:
    """The modules that a new Python has loaded after running a program over a folder."""
    (folder / "packages").mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", f"{SOURCE}{program}\n{LOADED}", folder / "packages", folder / "data"],
        capture_output=True, text=True, timeout=60, check=False, env={"PATH": os.defpath},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines()[-1].split()[1:])


def test_an_idle_server_loads_only_what_it_needs(tmp_path: Path) -> None:
    make = "app.build(source.settings(), create=True).close()"
    assert "alembic" in loaded_by(make, tmp_path), "the first start makes the tables"
    for program in (make, "app.worker(source)"):
        loaded = loaded_by(program, tmp_path)
        assert "pidex" in loaded
        assert {name: NOT_WHEN_IDLE[name] for name in sorted(loaded & set(NOT_WHEN_IDLE))} == {}


def main() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(TREE_START)
    after = rest.partition(TREE_END)[2]
    DOCUMENT.write_text(
        before + TREE_START + "\n" + "\n".join(described()) + "\n" + TREE_END + after, encoding="utf-8"
    )


if __name__ == "__main__":
    main()
