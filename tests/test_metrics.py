"""Metrics of several processes: told together, and never lost or counted twice when one ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pidex.metrics import SERIES, Counter, Level, Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(metrics.exposition({}).decode())
    found = [s.value for family in families for s in family.samples if s.name == name and s.labels == labels]
    assert len(found) == 1, (name, found)
    return found[0]


def other(folder: Path, amount: int) -> int:
    """A process that counts and ends; its id."""
    program = (
        "import os, sys; from pathlib import Path; from pidex.metrics import Metrics\n"
        "metrics = Metrics(Path(sys.argv[1])); metrics.histogram('h_seconds', 'H').observe(0.02)\n"
        "metrics.counter('c', 'C', ('k',)).add(int(sys.argv[2]), ('a',)); metrics.flush(); print(os.getpid())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, folder, str(amount)], capture_output=True, check=True
    )
    return int(done.stdout)


def test_processes_are_told_together_and_folded_when_they_end(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.clear()
    metrics.counter("c", "C", ("k",)).add(1, ("a",))
    for amount in (10, 100):
        other(tmp_path, amount)
    assert value(metrics, "c_total", k="a") == 111
    assert value(metrics, "h_seconds_count") == 2
    metrics.fold()
    assert value(metrics, "c_total", k="a") == 111
    assert value(metrics, "h_seconds_bucket", le="0.025") == 2
    assert [path.name for path in tmp_path.iterdir()] == [f"{os.getpid()}.json"]


def test_the_living_are_not_folded(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    path = tmp_path / f"{os.getppid()}.json"
    path.write_text(json.dumps([{"name": "c", "help": "C", "labels": [], "values": [[[], 5]]}]))
    metrics.fold()
    assert path.exists()
    assert value(metrics, "c_total") == 5


def test_a_damaged_file_is_passed_over(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path)
    metrics.counter("c", "C").add()
    (tmp_path / "999999999.json").write_text("[{")
    assert value(metrics, "c_total") == 1
    metrics.fold()
    assert value(metrics, "c_total") == 1


def test_what_an_earlier_run_left_is_forgotten(tmp_path: Path) -> None:
    other(tmp_path, 7)
    metrics = Metrics(tmp_path / "new")
    metrics.clear()
    again = Metrics(tmp_path)
    again.clear()
    again.counter("c", "C").add()
    assert value(again, "c_total") == 1


def test_labels_are_bounded() -> None:
    metrics = Metrics()
    counter = metrics.counter("c", "C", ("k",))
    for number in range(SERIES * 2):
        counter.add(1, (str(number),))
    assert len(counter.values) == SERIES + 1
    assert value(metrics, "c_total", k="other") == SERIES


def test_gauges_are_what_the_caller_says() -> None:
    text = Metrics().exposition({"pidex_files": ("Files.", 3)}).decode()
    assert "# HELP pidex_files Files." in text
    assert "pidex_files 3.0" in text


def test_what_others_count_is_told_and_how_things_stand_dies_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pidex.metrics import Counter, Level, Metrics\n"
        "metrics = Metrics(Path(sys.argv[1]))\n"
        "metrics.follow(Counter('c', 'C', ('k',)), lambda: {('a',): 5}); \n"
        "metrics.follow(Level('now', 'N', ('k',)), lambda: {('a',): 2}); metrics.flush()"
    )
    counts = {("a",): 1.0}
    metrics = Metrics(tmp_path)
    metrics.follow(Counter("c", "C", ("k",)), lambda: counts)
    metrics.follow(Level("now", "N", ("k",)), lambda: {("a",): 1.0})
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    assert (value(metrics, "c_total", k="a"), value(metrics, "now", k="a")) == (6, 3)
    counts["a",] = 4.0
    metrics.fold()
    assert (value(metrics, "c_total", k="a"), value(metrics, "now", k="a")) == (9, 1)
    # What was folded stays, and is not counted once more.
    metrics.fold()
    assert value(metrics, "c_total", k="a") == 9


def test_a_count_of_nothing_is_0() -> None:
    metrics = Metrics()
    metrics.counter("c", "C")
    assert value(metrics, "c_total") == 0
