"""What git's hooks are told by the server that runs git: who pushes, as one line in their environment."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pidex.core.model import Principal
from pidex.core.tokens import TokenScope

#: The variable.
PUSHER = "INDEX_PUSHER"


def principal_text(by: Principal) -> str:
    """A caller as one line, for a child process of ours."""
    token = None if by.token is None else asdict(by.token)
    return json.dumps({**by._asdict(), "groups": sorted(by.groups), "token": token})


def principal(text: str) -> Principal:
    """The caller of `principal_text`. Raises `ValueError`."""
    try:
        told: dict[str, Any] = json.loads(text)
        if told["token"] is not None:
            lists = ("indexes", "projects", "scopes")
            told["token"] = TokenScope(**{**told["token"], **{n: tuple(told["token"][n]) for n in lists}})
        return Principal(**{**told, "groups": frozenset(told["groups"])})
    except (KeyError, TypeError) as error:
        raise ValueError("nobody that this server named") from error
