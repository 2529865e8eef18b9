"""Counters of every process of a server, kept as plain numbers and told in Prometheus' format."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

#: Seconds between two flushes into the file that other processes read.
FLUSH_SECONDS = 0.5
#: Label combinations that one metric counts apart; more go into the one without labels.
SERIES = 1_000
#: Upper ends of the latency buckets, in seconds.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = tuple[str, ...]


@dataclass(slots=True)
class Counter:
    """A number that only grows, one for each combination of label values."""

    name: str
    help: str
    labels: Labels = ()
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, amount: float = 1, labels: Labels = ()) -> None:
        """Count `amount` more."""
        if labels not in self.values and len(self.values) >= SERIES:
            labels = ("other",) * len(self.labels)
        self.values[labels] = self.values.get(labels, 0) + amount


class Level(Counter):
    """A number that goes up and down, told as the sum over the processes that live."""

    __slots__ = ()


@dataclass(slots=True)
class Histogram:
    """How often a measure fell into which bucket; `total` is its sum."""

    name: str
    help: str
    bounds: tuple[float, ...] = SECONDS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count one measure."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The metrics of one process, beside those of the others.

    `folder`: where each process leaves its numbers for the one that is asked for all (None: alone). Not
    locked: a lost increment between two threads is a price worth its speed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._metrics: dict[str, Counter | Histogram] = {}
        self._followed: list[tuple[Counter, Callable[[], Mapping[Labels, float]]]] = []
        self._written = ""

    def counter(self, name: str, help: str, labels: Labels = ()) -> Counter:  # noqa: A002
        """The counter of that name, made at the first call. `name` without `_total`."""
        found = self._metrics.setdefault(name, Counter(name, help, labels))
        assert isinstance(found, Counter)
        return found

    def histogram(self, name: str, help: str) -> Histogram:  # noqa: A002
        """The histogram of that name, made at the first call. `name` ends in its unit."""
        found = self._metrics.setdefault(name, Histogram(name, help))
        assert isinstance(found, Histogram)
        return found

    def follow(self, metric: Counter, values: Callable[[], Mapping[Labels, float]]) -> None:
        """Tell numbers too that somebody else counts: `values` is asked for them, twice a second."""
        self._followed.append((metric, values))

    def flush(self) -> None:
        """Write this process's numbers where the others find them; nothing where nothing changed."""
        if self._folder is None:
            return
        text = json.dumps(self._states())
        if text == self._written:
            return
        target = self._folder / f"{os.getpid()}.json"
        unfinished = target.with_suffix(".new")
        with suppress(OSError):  # metrics never stop a server: a full disk has louder signs
            unfinished.write_text(text)
            os.replace(unfinished, target)
            self._written = text

    def fold(self) -> None:
        """Add the numbers of processes that have ended to this one's, and forget their files."""
        for path in self._files():
            if _alive(int(path.stem)):
                continue
            for state in _read(path):
                if not state.get("level"):  # how things stood where nobody is any more
                    self._merge(state)
            self.flush()
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget what an earlier run left behind."""
        if self._folder is None:
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.iterdir():
            if path.suffix in (".json", ".new"):
                path.unlink(missing_ok=True)

    def exposition(self, gauges: Mapping[str, tuple[str, float]]) -> bytes:
        """All processes' numbers and the given gauges (name: help, value) in Prometheus' text format."""
        self.flush()
        everything = Metrics()
        own = self._states()
        others = [state for path in self._files() if path.stem != str(os.getpid()) for state in _read(path)]
        for state in own + others:
            everything._merge(state)
        return _text(everything._metrics.values(), gauges)

    def _states(self) -> list[dict[str, Any]]:
        followed = [replace(metric, values=dict(values())) for metric, values in self._followed]
        return [_state(each) for each in (*self._metrics.values(), *followed)]

    def _files(self) -> list[Path]:
        if self._folder is None:
            return []
        return sorted(path for path in self._folder.glob("*.json") if path.stem.isdigit())

    def _merge(self, state: Mapping[str, Any]) -> None:
        if "bounds" in state:
            histogram = self.histogram(state["name"], state["help"])
            if list(histogram.bounds) == state["bounds"]:
                histogram.counts = [a + b for a, b in zip(histogram.counts, state["counts"], strict=True)]
                histogram.total += state["total"]
            return
        kind = Level if state.get("level") else Counter
        made = kind(state["name"], state["help"], tuple(state["labels"]))
        counter = self._metrics.setdefault(made.name, made)
        assert isinstance(counter, Counter)
        for labels, value in state["values"]:
            counter.add(value, tuple(labels))


def _state(metric: Counter | Histogram) -> dict[str, Any]:
    state: dict[str, Any] = {"name": metric.name, "help": metric.help}
    if isinstance(metric, Histogram):
        return state | {"bounds": list(metric.bounds), "counts": list(metric.counts), "total": metric.total}
    if isinstance(metric, Level):
        state["level"] = True
    return state | {"labels": metric.labels, "values": list(metric.values.items())}


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _text(metrics: Iterable[Counter | Histogram], gauges: Mapping[str, tuple[str, float]]) -> bytes:
    # Only who asks for metrics pays for the library: 2 MB and 60 ms.
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415
    from prometheus_client.core import (  # noqa: PLC0415
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Everything(Collector):
        def collect(self) -> Iterator[Metric]:
            for name, (text, value) in gauges.items():
                yield GaugeMetricFamily(name, text, value=value)
            for each in metrics:
                if isinstance(each, Counter):
                    kind = GaugeMetricFamily if isinstance(each, Level) else CounterMetricFamily
                    family = kind(each.name, each.help, labels=each.labels)
                    for labels, value in sorted(each.values.items() or [((), 0.0)] * (not each.labels)):
                        family.add_metric(labels, value)
                    yield family
                    continue
                buckets, so_far = [], 0
                for bound, count in zip([*map(str, each.bounds), "+Inf"], each.counts, strict=True):
                    so_far += count
                    buckets.append((bound, so_far))
                yield HistogramMetricFamily(each.name, each.help, buckets=buckets, sum_value=each.total)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything())
    return generate_latest(registry)
