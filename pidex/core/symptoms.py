"""What went wrong with a file, told from its bytes: transfers in text mode, pointers, error pages, holes."""

from __future__ import annotations

from typing import BinaryIO, Final

from pidex.core.errors import Damaged, Incomplete, Unsound
from pidex.core.limits import KIB, MIB, Limits

#: How files of each kind begin.
MAGIC: Final = {
    "zip": (b"PK\x03\x04", b"PK\x05\x06"),
    "gz": (b"\x1f\x8b",),
    "bz2": (b"BZh",),
    "xz": (b"\xfd7zXZ\x00",),
    "exe": (b"MZ",),
    "ole": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
    "rpm": (b"\xed\xab\xee\xdb",),
}
_KINDS: Final = {
    "zip": "a zip archive",
    "gz": "gzip data",
    "bz2": "bzip2 data",
    "xz": "xz data",
    "exe": "a Windows program",
    "ole": "a Windows installer",
    "rpm": "an RPM",
}
_LFS: Final = b"version https://git-lfs"
_MARKUP: Final = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")
_CONFLICT: Final = (b"<<<<<<< ", b"\n=======\n", b"\n>>>>>>> ")
_HEAD: Final = 512
#: Bytes read to count line ends, and to look for holes.
_COUNTED: Final = 8 * MIB
_SEARCHED: Final = 64 * MIB
#: A run of zeros that compressed data does not have.
_HOLE: Final = 64 * KIB


def beginning(file: BinaryIO, size: int, archive: str, *, shebang: bool = False) -> None:
    """Raise where the first bytes are not an `archive`'s; `shebang`: an egg may start as a script does."""
    if size == 0:
        raise Incomplete("the file is empty: nothing has arrived yet", code="empty")
    file.seek(0)
    head = file.read(_HEAD)
    if head.startswith(MAGIC[archive]) or (shebang and head.startswith(b"#!")):
        return
    if any(magic.startswith(head) for magic in MAGIC[archive]):
        raise Incomplete("only the first bytes have arrived", code="truncated")
    if not head.strip(b"\0"):
        raise Incomplete(
            "it begins with zeros: space is reserved, the content is not there yet", code="zeros"
        )
    if head.startswith(_LFS):
        raise Damaged(
            "it is a git-LFS pointer, not the file it points to: run 'git lfs pull' in the folder",
            code="lfs-pointer",
        )
    if _CONFLICT[0] in head or (_CONFLICT[1] in head and _CONFLICT[2] in head):
        raise Damaged("git's conflict marks are in it: check out one side", code="merge-conflict")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        raise Damaged(
            "it is a web page, probably an error saved under the package's name: download it again",
            code="html",
        )
    for other, magics in MAGIC.items():
        if head.startswith(magics):
            raise Damaged(
                f"it is {_KINDS[other]} and its name says {_KINDS[archive]}: rename or rebuild it",
                code="wrong-kind",
            )
    raise Damaged(
        f"it is not {_KINDS[archive]}: its first bytes are {head[:8].hex(' ')}", code="not-an-archive"
    )


def explained(file: BinaryIO, size: int, error: Unsound, limits: Limits, *, age: float) -> Unsound:
    """The likeliest cause of a fault that was found inside an archive, or the fault itself.

    A fault of the limits or the content stays what it is. Zeros at the end, or a hole in a file that changed
    a moment ago, mean that it is still being written.
    """
    if error.reason_code not in ("truncated", "trailing-bytes", "corrupt", "shifted"):
        return error
    if error.reason_code != "trailing-bytes" and _zeros_at_end(file, size):
        return Incomplete("it ends in zeros: space is reserved, the content is not there yet", code="zeros")
    said = _text_mode(file, size, error)
    if said is not None:
        return Damaged(
            f"{said}: it was probably transferred in FTP's ASCII mode: send it again in binary mode",
            code="ascii-mode",
        )
    if isinstance(error, Damaged) and age < limits.settled_seconds and _has_hole(file):
        return Incomplete("there is a hole in it: it is being written out of order", code="zeros")
    if error.reason_code in ("corrupt", "shifted"):
        return Damaged(f"{error}. If it came by FTP, use binary mode; build or send it again", code="corrupt")
    return error


def _zeros_at_end(file: BinaryIO, size: int) -> bool:
    length = min(size, 4 * KIB)
    file.seek(size - length)
    return size >= 64 and not file.read(length).strip(b"\0")


def _text_mode(file: BinaryIO, size: int, error: Unsound) -> str | None:
    """What a conversion of line ends did, where the counts leave hardly another explanation.

    Compressed bytes are as good as random: a line feed every 256 bytes, a pair CR LF every 65,536.
    """
    counted, pairs, feeds, returns = _line_ends(file)
    if feeds >= 8 and feeds == pairs:
        return "every line feed in it has a carriage return before it"
    if returns >= 32 and feeds == 0:
        return "every line feed in it became a carriage return"
    if feeds >= 32 and returns == 0:
        return "every carriage return in it is gone"
    if error.reason_code == "trailing-bytes":
        return None
    # By chance: 1 in 7 for 128 KiB of a damaged file, 1 in 9,000,000 for 1 MiB of a truncated one.
    enough = {"shifted": 0, "corrupt": 128 * KIB}.get(error.reason_code, MIB)
    if pairs == 0 and feeds >= 1 and counted >= enough:
        return "there is no pair of carriage return and line feed left in it"
    return None


def _line_ends(file: BinaryIO) -> tuple[int, int, int, int]:
    counted = pairs = feeds = returns = 0
    last = b""
    file.seek(0)
    while counted < _COUNTED and (data := file.read(MIB)):
        counted += len(data)
        pairs += data.count(b"\r\n") + (last == b"\r" and data[:1] == b"\n")
        feeds += data.count(b"\n")
        returns += data.count(b"\r")
        last = data[-1:]
    return counted, pairs, feeds, returns


def _has_hole(file: BinaryIO) -> bool:
    zeros = bytes(_HOLE)
    searched = 0
    file.seek(0)
    # Any run of twice the length covers one aligned piece.
    while searched < _SEARCHED and (data := file.read(_HOLE)):
        if data == zeros:
            return True
        searched += len(data)
    return False
