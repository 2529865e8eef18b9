"""Who is asking, and what they have been granted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pidex.accounts.htpasswd import read

if TYPE_CHECKING:
    from pidex.accounts.signing import Accounts

__all__ = ["Accounts", "read"]


def __getattr__(name: str) -> object:
    # The catalogue takes half a second to import; who reads a password file only does without it.
    if name == "Accounts":
        from pidex.accounts.signing import Accounts  # noqa: PLC0415

        return Accounts
    raise AttributeError(name)
