"""User-Agents as installers send them, and as nobody should."""

from __future__ import annotations

import json

import pytest

from pidex.core.agents import PROGRAMS, client_of, wants_fresh

PIP = json.dumps({"ci": None, "implementation": {"name": "CPython", "version": "3.12.3"}, "python": "3.12.3"})


@pytest.mark.parametrize(
    ("agent", "client"),
    [
        (f"pip/24.0 {PIP}", ("pip", "3.12")),
        ('uv/0.9.1 {"installer":{"name":"uv","version":"0.9.1"},"python":"3.13.0"}', ("uv", "3.13")),
        ("uv/0.9.1", ("uv", "")),
        ("poetry/1.8.3 CPython/3.11.2 Linux/6.1.0", ("poetry", "3.11")),
        ('unearth/0.17.2 {"python":"3.10.14"}', ("pdm", "3.10")),
        ("pdm/2.20.1 CPython/3.9.2 Linux/5", ("pdm", "3.9")),
        ("setuptools/69.0.3 Python-urllib/3.8", ("setuptools", "3.8")),
        ("Python-urllib/2.7", ("urllib", "2.7")),
        ("bandersnatch/6.5 (CPython 3.12)", ("bandersnatch", "")),
        ("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101", ("browser", "")),
        ("curl/8.5.0", ("curl", "")),
        ("", ("other", "")),
        ("no such thing", ("other", "")),
        ("pip", ("pip", "")),
        ("pip/1 {", ("pip", "")),
        ('pip/1 {"python": 3}', ("pip", "")),
        ('pip/1 {"python": "3.99.1"}', ("pip", "")),
        ('pip/1 {"python": "4.1"}', ("pip", "")),
        ('pip/1 {"python": "<script>"}', ("pip", "")),
        ("pip/1 " + "[" * 900, ("pip", "")),
        ("pip/1 {" + '"a":{' * 180, ("pip", "")),
        ('pip/24.0 {"python":"3.12.1","distro":"' + "x" * 2000, ("pip", "3.12")),
        ("\x00\u0130p/1", ("other", "")),
    ],
)
def test_program_and_python(agent: str, client: tuple[str, str]) -> None:
    assert client_of(agent) == client


def test_what_is_counted_is_bounded() -> None:
    """Whatever is sent: a few names, and a few Pythons."""
    names = {client_of(f"{name}/1").name for name in (*PROGRAMS, "x", "evil", "a" * 500)}
    assert names == {*PROGRAMS.values(), "other"}
    pythons = {client_of(f"x CPython/{one}.{two}").python for one in range(10) for two in range(100)}
    assert len(pythons) < 90


@pytest.mark.parametrize(
    ("control", "agent", "wanted"),
    [
        ("no-cache", "uv/0.13.9", True),
        ("No-Cache", "pip/19.0", True),
        ("max-age=0", f"pip/26.2 {PIP}", True),
        ("max-age=0", f"pip/30.0 {PIP}", True),
        ("max-age=0", f"pip/26.1.2 {PIP}", False),
        ("max-age=0", f"pip/9.0.3 {PIP}", False),
        ("max-age=0", "pip/25.0", False),
        ("max-age=0", 'unearth/0.17.2 {"python":"3.10.14"}', False),
        ("max-age=0", "Mozilla/5.0", True),
        ("private, Max-Age=0", "", True),
        ("max-age=600", "Mozilla/5.0", False),
        ("max-age=01", "curl/8.5.0", False),
        ("no-store", "uv/0.13.9", False),
        ("", "", False),
        ("x" * 5_000 + ",no-cache", "", False),
    ],
)
def test_who_asks_for_what_is_fresh(control: str, agent: str, wanted: bool) -> None:
    assert wants_fresh(control, agent) is wanted
