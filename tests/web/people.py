"""An index of which strangers may see some projects, and people with one role each."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pidex.core.model import DEFAULT_INDEX, OPERATOR
from pidex.core.tokens import SCOPES
from tests import samples
from tests.web.driver import Answer, House

#: Owned by olga; hidden and nobody's; seen by everybody.
MINE, OTHER, OPEN = "owned-thing", "other-thing", "pub-one"
ROLES = ("stranger", "outsider", "reader", "uploader", "maintainer", "owner", "admin")
#: From another machine, so that nobody is trusted for where they come from.
FAR = ("192.0.2.7", 40000)
BOUNDARY = "a-boundary"


def package(project: str, version: str = "1.0") -> samples.Sample:
    """The same bytes each time."""
    return samples.wheel(project, version, requires=["pub-one"])


class Town:
    """A house whose strangers see `pub-*` alone, and a token of each role."""

    def __init__(self, place: Path, *packages: samples.Sample, **flags: object) -> None:
        self.house = House(place, *packages, **flags)
        self.people = people = self.house.pidex.administration()
        self.tokens = {"wrong": "pidex_nobody"}
        for name in (*ROLES[1:], "spare"):
            people.add_user(name, by=OPERATOR)
            self.tokens[name] = self.token(name)
        self.only("pub-*")
        for name in ("reader", "uploader", "maintainer", "admin"):
            people.grant(f"user:{name}", name, index=DEFAULT_INDEX, by=OPERATOR)
        people.grant("user:owner", "owner", index=DEFAULT_INDEX, project=MINE, by=OPERATOR)

    def token(self, user: str, **scope: Any) -> str:
        """A token of a user, unless said otherwise one that reaches as far as they do."""
        return self.people.create_token(user, **{"scopes": SCOPES, **scope}, by=OPERATOR).text

    def only(self, pattern: str) -> None:
        """Show strangers these projects, where they saw all."""
        self.people.grant("group:anonymous", "reader", index=DEFAULT_INDEX, project=pattern, by=OPERATOR)
        self.people.ungrant("group:anonymous", "reader", index=DEFAULT_INDEX, by=OPERATOR)

    def ask(
        self,
        method: str,
        target: str,
        who: str = "stranger",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Answer:
        """One request of somebody, by role or by the text of a token, from another machine."""
        given = [*headers]
        if who != "stranger":
            secret = base64.b64encode(f"__token__:{self.tokens.get(who, who)}".encode()).decode()
            given.append(("authorization", f"Basic {secret}"))
        asked = self.house.ask(target, given, method=method, body=body, client=FAR)
        answer: Answer = self.house.run(asked)[0]
        return answer

    def close(self) -> None:
        self.house.close()


def form(sample: samples.Sample, **fields: str) -> tuple[list[tuple[str, str]], bytes]:
    """Headers and body of an upload."""
    filename, data = sample
    name, version = filename.split("-")[:2]
    told: Mapping[str, str] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "filetype": "bdist_wheel",
        "pyversion": "py3",
        "name": name,
        "version": version,
        **fields,
    }
    out = b""
    for key, value in told.items():
        out += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
    head = f'Content-Disposition: form-data; name="content"; filename="{filename}"'
    out += f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return [("content-type", f"multipart/form-data; boundary={BOUNDARY}")], out
