"""Files on their way into an index: what was sent, what is known of it by now, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from pidex.catalogue import intents
from pidex.core import uploads
from pidex.core.errors import InvalidFile, TooLarge
from pidex.core.folder import Key
from pidex.core.interfaces import Staged
from pidex.core.model import Distribution, Facts, PackageType, Principal
from pidex.core.names import canonical_version
from pidex.core.uploads import Form, UploadPolicy

#: Warnings that one answer gives.
MOST_WARNINGS = 20


class Stage:
    """A file on its way into an index: what is written is hashed in the same pass. Close it, always."""

    def __init__(self, index: str, file: Staged, limit: int = 0) -> None:
        self.index = index
        self.file = file
        self._limit = limit
        self._hashes: dict[str, hashlib._Hash | hashlib.blake2b] = {
            "sha256": hashlib.sha256(),
            "blake2_256": hashlib.blake2b(digest_size=32),
            "md5": hashlib.md5(usedforsecurity=False),
        }

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.file.size

    def write(self, data: bytes) -> None:
        """Append; blocks on the disk. Raises `TooLarge` or `StorageFull`."""
        if self._limit and self.file.size + len(data) > self._limit:
            raise TooLarge(f"File too large. Limit is {self._limit / (1 << 20):g} MiB.")
        self.file.write(data)
        for hashed in self._hashes.values():
            hashed.update(data)

    def digests(self) -> Mapping[str, str]:
        """Of what was written, in hexadecimal: 'sha256', 'blake2_256', 'md5'."""
        return {name: hashed.hexdigest() for name, hashed in self._hashes.items()}

    def close(self) -> None:
        """Let go of the file: it is gone unless it was received. Any number of times."""
        self.file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Receipt:
    """`status` is 'stored', 'replaced' or 'identical' (it was there already); `warnings` are sentences."""

    status: str
    filename: str
    project: str
    version: str
    sha256: str
    blake2b_256: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parcel:
    """All that `Intake.receive` was given."""

    index: str
    stage: Stage
    filename: str
    form: Form | None
    signature: bytes | None
    overwrite: bool
    how: str
    by: Principal
    claim: bool = False


@dataclass(frozen=True, slots=True)
class Sound:
    """A parcel that was looked into."""

    facts: Facts
    warnings: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Order:
    """A parcel on its way, what is known of it by now, and what became of it."""

    parcel: Parcel
    distribution: Distribution
    policy: UploadPolicy
    sound: Sound | None = None
    intent: intents.Intent | None = None
    status: str = "stored"
    error: BaseException | None = None
    instead: Key | None = None  # where the bytes lie that these replace, if not at their own path

    @property
    def announced(self) -> intents.Intent:
        assert self.intent is not None
        return self.intent

    @property
    def facts(self) -> Facts:
        assert self.sound is not None
        return self.sound.facts

    def receipt(self, status: str) -> Receipt:
        """What the sender is told."""
        warnings = uploads.form_warnings(self.parcel.form)
        if self.sound is not None and status != "identical":
            warnings += self.sound.warnings
        digests, of = self.parcel.stage.digests(), self.distribution
        sha256, blake2 = digests["sha256"], digests["blake2_256"]
        return Receipt(status, self.parcel.filename, of.project, of.version, sha256, blake2, warnings)


def order(parcel: Parcel, policy: UploadPolicy) -> Order:
    """A parcel whose name, size and digests are right. Raises `BadRequest` or `TooLarge`."""
    distribution = uploads.check_filename(parcel.filename, parcel.form, policy)
    uploads.check_size(parcel.stage.size, policy, distribution.project)
    if parcel.form is not None:
        uploads.check_digests(parcel.form, parcel.stage.digests())
    return Order(parcel, distribution, policy)


def framed(facts: Facts, policy: UploadPolicy) -> tuple[str, ...]:
    """What the strict rules found, as far as the policy lets it pass (ARC-6)."""
    found = facts.framing
    if found is None:
        return ()
    if found.errors and policy.framing == "error":
        raise InvalidFile(f"Invalid distribution file. {sentence(found.errors[0])}")
    return (*found.errors, *found.warnings)


def agreeing(facts: Facts, distribution: Distribution, policy: UploadPolicy) -> tuple[str, ...]:
    """The archive's own metadata, checked; the archive decides, the name (and so the form) must agree."""
    kind = distribution.packagetype
    strict = kind in (PackageType.SDIST, PackageType.WHEEL)
    if facts.metadata is None:
        if strict and policy.metadata == "error":
            raise InvalidFile(
                "Invalid distribution file. It holds no metadata (PKG-INFO, METADATA) that names the "
                f"project {distribution.project!r}."
            )
        return ()
    if facts.version is not None and not _same_version(facts.version, distribution.version):
        raise InvalidFile(
            f"Invalid distribution file. Its metadata says version {facts.version!r}, its name "
            f"{distribution.version!r}."
        )
    lenient = policy if strict else replace(policy, metadata="warn", unknown_fields="warn")
    return (
        *uploads.name_warnings(distribution, policy),
        *uploads.check_metadata(facts.metadata, lenient),
    )


def _same_version(one: str, other: str) -> bool:
    return canonical_version(one) == canonical_version(other)


def sentence(text: str) -> str:
    """A reason as a sentence on one line."""
    line = " ".join(text.split())
    line = line[:1].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else line + "."
