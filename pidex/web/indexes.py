"""Which indexes there are, the default one first, and whose contents each has too; follows the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import overload

from pidex.core.model import DEFAULT_INDEX

#: The indexes in order, each with those that it has contents of (`resolver.lineages`).
Load = Callable[[], Mapping[str, Sequence[str]]]


class Indexes(Sequence[str]):
    """The names of all indexes, as they are now. `load` may block; for the event loop's thread."""

    def __init__(self, load: Load = lambda: {DEFAULT_INDEX: ()}) -> None:
        self._load = load
        self._others: dict[str, tuple[str, ...]] = {}
        self.renew()

    def renew(self) -> frozenset[str]:
        """Look again: an index came, went, or has other bases; which ones are gone."""
        before = frozenset(self._others)
        self._others = {name: tuple(others) for name, others in self._load().items()}
        self._names = tuple(self._others)
        return before - frozenset(self._others)

    def others(self, index: str) -> tuple[str, ...]:
        """The indexes beside itself that an index has contents of: their rights hold, too."""
        return self._others.get(index, ())

    def __contains__(self, name: object) -> bool:
        return name in self._others

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...

    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        return self._names[at]
