"""A browser without script: it keeps cookies, follows redirects, reads forms, and fills them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import html5lib

from tests import samples
from tests.web.driver import Answer, House

ORIGIN = "http://index.test:8080"
BOUNDARY = "a-boundary-of-forms"


@dataclass
class Form:
    """A form as it stands in a page."""

    action: str
    method: str
    fields: list[tuple[str, str]]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.fields}


@dataclass
class Page:
    """A page that was opened: where it is in the end, its answer, and its tree."""

    url: str
    answer: Answer
    tree: Any
    hops: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join("".join(self.tree.itertext()).split())

    def all(self, tag: str) -> list[Any]:
        return list(self.tree.iter(tag))

    @property
    def links(self) -> list[str]:
        return [each.get("href") for each in self.all("a") if each.get("href")]

    def form(self, ending: str, without: str = "", **holding: str) -> Form:
        """The form whose action ends so, which has these values, and no field of that name."""
        for element in self.all("form"):
            action = urljoin(self.url, element.get("action") or "")
            fields = []
            for each in element.iter("input"):
                off = each.get("type") == "checkbox" and each.get("checked") is None
                if each.get("name") and not off:
                    fields.append((each.get("name"), each.get("value") or ""))
            for each in element.iter("textarea"):
                fields.append((each.get("name"), (each.text or "").strip()))
            for each in element.iter("select"):
                options = list(each.iter("option"))
                chosen = next((one for one in options if one.get("selected") is not None), options[0])
                fields.append((each.get("name"), chosen.get("value")))
            if (
                urlsplit(action).path.endswith(ending)
                and holding.items() <= dict(fields).items()
                and without not in dict(fields)
            ):
                return Form(action, (element.get("method") or "get").lower(), fields)
        raise AssertionError(f"no form {ending} {holding} on {self.url}")


class Browser:
    """Requests to one house, as a browser without script sends them."""

    def __init__(self, house: House, **headers: str) -> None:
        self.house, self.headers = house, headers
        self.cookies: dict[str, str] = {}
        self.flags: dict[str, str] = {}

    def open(
        self, target: str, *, method: str = "GET", body: bytes = b"", kind: str = "", origin: str = ORIGIN
    ) -> Page:
        hops: list[str] = []
        for _ in range(5):
            headers = [("accept", "text/html"), *self.headers.items()]
            if self.cookies:
                headers.append(
                    ("cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
                )
            if method == "POST":
                headers += [("content-type", kind), *([("origin", origin)] if origin else [])]
            answer = self.house.run(self.house.ask(target, headers, method=method, body=body))[0]
            self._keep(answer)
            if answer.status not in (301, 303):
                break
            target = urljoin(target, answer.headers["location"])
            hops.append(target)
            method, body = "GET", b""
        tree = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True, namespaceHTMLElements=False)
        return Page(target, answer, tree.parse(answer.body), hops)

    def _keep(self, answer: Answer) -> None:
        for header in answer.cookies:
            for name, morsel in SimpleCookie(header).items():
                self.flags[name] = header
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value

    def send(self, form: Form, *, origin: str = ORIGIN, **values: str | Sequence[str]) -> Page:
        """Fill a form in and send it."""
        fields: list[tuple[str, str]] = [pair for pair in form.fields if pair[0] not in values]
        for name, value in values.items():
            fields += [(name, each) for each in ([value] if isinstance(value, str) else value)]
        if form.method == "get":
            return self.open(f"{urlsplit(form.action).path}?{urlencode(fields)}")
        kind = "application/x-www-form-urlencoded"
        return self.open(
            form.action, method="POST", body=urlencode(fields).encode(), kind=kind, origin=origin
        )

    def upload(self, form: Form, *files: samples.Sample, **values: str) -> Page:
        out = b""
        told: Mapping[str, str] = dict(form.fields) | values
        for name, value in told.items():
            if name != "content":
                head = f'Content-Disposition: form-data; name="{name}"'
                out += f"--{BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n".encode()
        for filename, data in files:
            head = f'Content-Disposition: form-data; name="content"; filename="{filename}"'
            out += f"--{BOUNDARY}\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
            out += data + b"\r\n"
        out += f"--{BOUNDARY}--\r\n".encode()
        return self.open(
            form.action, method="POST", body=out, kind=f"multipart/form-data; boundary={BOUNDARY}"
        )

    def sign_in(self, name: str, password: str) -> Page:
        return self.send(self.open("/-/login").form("/-/login"), name=name, password=password)
