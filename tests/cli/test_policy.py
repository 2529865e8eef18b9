"""`pidex policy`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pidex.cli.group import FAILED, USAGE
from tests.cli.test_indexes import folder, said

__all__ = ["folder"]


def test_rules_are_set_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no rules" in said(capsys, folder, "policy", "show")
    assert "Changed" in said(capsys, folder, "policy", "set", "min_age=3d", "deny+=pycrypto")
    assert "Nothing changed" in said(capsys, folder, "policy", "set", "min_age=3d")
    assert json.loads(said(capsys, folder, "policy", "show", "--json"))["rules"] == {
        "deny": ["pycrypto"],
        "min_age": "3d",
    }
    assert "min_age = 3d" in said(capsys, folder, "policy", "show")
    assert "Did you mean min_age" in said(capsys, folder, "policy", "set", "minage=3d", code=FAILED)
    assert "EDIT" in said(capsys, folder, "policy", "set", code=USAGE)
    assert "no index" in said(capsys, folder, "policy", "show", "--index", "nowhere", code=FAILED)


def test_a_rule_comes_from_a_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# ours\nrequests==2.32.4\n*\n")
    said(capsys, folder, "policy", "set", f"constraints=@{constraints}")
    assert "requests==2.32.4 *" in said(capsys, folder, "policy", "show")
    assert "cannot be read" in said(capsys, folder, "policy", "set", "deny=@/nowhere", code=FAILED)


def test_exemptions_and_quarantine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exempt = ["policy", "exempt", "requests==2.32.4", "--reason", "fixes it"]
    assert "until 2999-12-01" in said(capsys, folder, *exempt, "--until", "2999-12-01")
    assert "is past" in said(capsys, folder, *exempt, "--until", "2001-12-01", code=FAILED)
    assert "in quarantine." in said(capsys, folder, "policy", "hold", "demo==1.0", "--reason", "steals")
    assert "already" in said(capsys, folder, "policy", "hold", "demo==1.0", "--reason", "steals")
    told = said(capsys, folder, "policy", "show")
    assert "exempt: requests==2.32.4" in told
    assert "in quarantine: demo 1" in told
    assert "whole project" in said(capsys, folder, "policy", "hold", "demo", "--reason", "x", code=USAGE)
    assert "not in quarantine any more" in said(capsys, folder, "policy", "unhold", "demo==1.0")
    assert "not in quarantine in" in said(capsys, folder, "policy", "unhold", "demo==1.0", code=FAILED)
    assert "hold for requests==2.32.4 again" in said(capsys, folder, "policy", "unexempt", exempt[2])
