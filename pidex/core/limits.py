"""How much of somebody else's archive is read: every bound, named with its unit."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

#: Characters of a file name. Longer ones are refused before anything in them is parsed.
MAX_FILENAME = 200
#: Characters of a version. Longer ones are compared as text: Python refuses numbers of over 4,300 digits.
MAX_VERSION = 128


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on reading one archive. The defaults let every file through that real indexes hold."""

    #: Bytes of METADATA or PKG-INFO.
    metadata_bytes: int = MIB
    #: Members of a zip or tar; also the long-name and attribute headers of a tar, counted apart.
    members: int = 50_000
    #: Bytes of a zip's central directory: 50,000 members with names of 600 characters.
    directory_bytes: int = 32 * MIB
    #: Bytes of all members together. The largest known wheels (CUDA) are 3 GB and expand to some 6 GB; 16 GiB
    #: leaves them room and still ends a bomb within a minute. The ratio below is what stops small bombs.
    expanded_bytes: int = 16 * GIB
    #: Expanded size over file size, looked at above `ratio_from_bytes`.
    ratio: int = 100
    ratio_from_bytes: int = 64 * MIB
    #: Bytes of a member's path, where the strict rules ask: a fourth of what Linux takes, unpacked anywhere.
    path_bytes: int = 1024
    #: Bytes of a wheel's RECORD, where the strict rules ask: 50,000 lines with long names.
    record_bytes: int = 16 * MIB
    #: Bytes of one pax or GNU long-name header.
    tar_header_bytes: int = MIB
    #: Bytes an xz stream may need for its dictionary (`xz -9` needs 65 MiB).
    xz_bytes: int = 128 * MIB
    #: Seconds without a change after which a file known by its header only counts as whole.
    still_seconds: float = 2.0
    #: Seconds without a change after which a missing end mark or padding after the end is taken as meant.
    settled_seconds: float = 60.0
    #: Bytes of address space of a child that reads archives.
    memory_bytes: int = 512 * MIB
    #: Seconds a look may take: `seconds`, and one more for each `bytes_per_second` of the file.
    seconds: float = 60.0
    bytes_per_second: int = 5_000_000
    #: Looks after which a child is replaced.
    jobs: int = 2_000

    def time(self, size: int) -> float:
        """Seconds that a look into a file of `size` bytes may take."""
        return self.seconds + size / self.bytes_per_second
