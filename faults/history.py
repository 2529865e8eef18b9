"""The model: what each file name may be by now, after what was acknowledged, rejected and left unknown."""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from faults.server import Broken


class State(enum.Enum):
    """What a file name can be."""

    ABSENT = "absent"
    PRESENT = "present"
    BURNT = "burnt"


class Outcome(enum.Enum):
    """What is known of an operation."""

    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


def outcome(status: int) -> Outcome:
    """What an answer says: success, a refusal that changed nothing, or a failure that may have."""
    if 200 <= status < 300:
        return Outcome.ACKNOWLEDGED
    return Outcome.REJECTED if status < 500 or status in (503, 507) else Outcome.UNKNOWN


@dataclass
class Name:
    """One file name: its bytes, what it may be, and since when that is certain.

    A name belongs to one client, whose operations on it come one after another. `busy`: one is under way.
    """

    filename: str
    project: str
    data: bytes
    states: set[State] = field(default_factory=lambda: {State.ABSENT})
    since: float = 0.0
    busy: bool = False
    group: frozenset[str] = frozenset()  # names that came in one push: all or none

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class History:
    """All names, and how many operations ended how."""

    def __init__(self) -> None:
        self.names: dict[str, Name] = {}
        self.counts: Counter[str] = Counter()

    def begin(self, filename: str, data: bytes, wanted: State) -> Name:
        """An operation begins that would leave the name `wanted`."""
        project = filename.split("-", maxsplit=1)[0].replace("_", "-").lower()
        name = self.names.setdefault(filename, Name(filename, project, data))
        name.busy, name.since = True, monotonic()
        name.states.add(wanted)
        return name

    def end(self, name: Name, before: set[State], wanted: State, how: Outcome, what: str) -> None:
        """It ended so."""
        self.counts[f"{what} {how.value}"] += 1
        if how is Outcome.ACKNOWLEDGED:
            name.states = {wanted}
        elif how is Outcome.REJECTED:
            name.states = before
        name.busy, name.since = False, monotonic()

    def by_project(self, names: Iterable[Name]) -> dict[str, list[Name]]:
        """Names by their project."""
        found: dict[str, list[Name]] = {}
        for name in names:
            found.setdefault(name.project, []).append(name)
        return found

    def possible(self) -> list[Name]:
        """Names that may be listed now."""
        return [name for name in self.names.values() if State.PRESENT in name.states]

    def settle(self, names: Iterable[Name], listed: Mapping[str, str]) -> None:
        """Hold names that nothing happens to against what is listed of them: file name to sha256.

        What was unknown is known from here on: it may not change any more. Raises `Broken`.
        """
        for name in names:
            there = name.filename in listed
            if there and State.PRESENT not in name.states:
                raise Broken(f"{name.filename} is listed and cannot be: {_said(name)}")
            if not there and name.states == {State.PRESENT}:
                raise Broken(f"LOST: {name.filename} was acknowledged and is not listed")
            if there and listed[name.filename] != name.sha256:
                raise Broken(f"{name.filename} is listed with other bytes")
            if there:
                name.states = {State.PRESENT}
            else:
                name.states = name.states - {State.PRESENT}
            self.counts["names checked"] += 1
        for name in names:
            together = {State.PRESENT in self.names[each].states for each in name.group if each in self.names}
            if len(together) > 1:
                raise Broken(f"of one push {sorted(name.group)} a part is there, and a part is not")


def _said(name: Name) -> str:
    return " or ".join(sorted(state.value for state in name.states))
