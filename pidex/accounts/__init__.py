"""Who is asking, and what they have been granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidex.accounts.htpasswd import read

if TYPE_CHECKING:
    from pidex.accounts.signing import Accounts

__all__ = ["OPEN", "Accounts", "read"]

#: The warning at a start with an empty guard (`-a . -P .`).
OPEN = "Nobody needs to sign in: everybody may upload and delete here. `guard` changes that."


def __getattr__(name: str) -> object:
    # The catalogue takes half a second to import; who reads a password file only does without it.
    if name == "Accounts":
        from pidex.accounts.signing import Accounts  # noqa: PLC0415

        return Accounts
    raise AttributeError(name)
