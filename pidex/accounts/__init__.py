"""Who is asking, and what they have been granted."""

from __future__ import annotations

from pidex.accounts.htpasswd import read
from pidex.accounts.signing import Accounts

__all__ = ["Accounts", "read"]
