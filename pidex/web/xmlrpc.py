"""XML-RPC: search for `pip search`, serials and changelogs for mirrors, PyPI's old project methods (13.2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, Final

from pidex.core import metadata, pypijson
from pidex.core.errors import BadRequest, NotFound, PidexError, TooLarge
from pidex.core.model import Change, Page
from pidex.core.names import canonical_version, is_name, normalize, version_key
from pidex.core.negotiation import encoding
from pidex.core.queries import Query
from pidex.core.xmlrpc import (
    APPLICATION_ERROR,
    INVALID_PARAMS,
    MAX_BODY,
    PARSE_ERROR,
    UNKNOWN_METHOD,
    Fault,
    Pairs,
    Value,
    answer,
    fault,
    parse,
    strings,
)
from pidex.history import MAX_CHANGES
from pidex.web.bodies import condense, unpack
from pidex.web.call import Call
from pidex.web.files import BLOCK_BYTES
from pidex.web.replies import SAFE, Headers, Reply
from pidex.web.site import Site

#: Paths below an index that answer calls; on the first three only where the body is said to be XML.
PATHS: Final = frozenset({"/", "/pypi", "/pypi/", "/RPC2", "/RPC2/"})
_ALWAYS: Final = frozenset({"/RPC2", "/RPC2/"})
_XML: Final = frozenset({"text/xml", "application/xml"})
_TYPE: Final = "text/xml; charset=utf-8"
#: Projects that a search gives, and calls in one `system.multicall`, at most.
MAX_HITS, MAX_CALLS = 100, 50

Method = Callable[..., object]


def is_call(call: Call) -> bool:
    """Whether a POST is an XML-RPC call: `/pypi` and `/` are upload addresses too."""
    if call.rest not in PATHS:
        return False
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in _XML or call.rest in _ALWAYS


async def respond(site: Site, call: Call) -> None:
    """Answer a call: the method's value, or a fault. Both are 200, as clients want it, but for bad XML."""
    call.kind = "xmlrpc"
    try:
        await site.admit(call, "list")
    except PidexError:
        await call.drain()  # so that the refusal is heard
        raise
    try:
        body = await call.body(MAX_BODY, "An XML-RPC call")
    except TooLarge:
        await call.drain()
        raise
    coding = encoding(call.headers.get("accept-encoding"))
    methods = Methods(site, call)

    def work() -> tuple[int, bytes, str | None, bool, int]:
        try:
            asked = parse(body)
            value = methods.invoke(asked.method, asked.params)
        except Fault as error:
            data = fault(error)
            return 400 if error.code == PARSE_ERROR else 200, data, None, False, len(data)
        packed, used, compressed, length, _ = condense(answer(value), coding, _TYPE)
        return 200, packed, used, compressed, length

    status, data, used, packed, length = await site.pages.patiently(work, call.index, None)
    headers: Headers = {"content-type": _TYPE, "content-length": str(length), "cache-control": "no-store"}
    headers |= SAFE
    if used:
        headers["content-encoding"] = used
    if not packed:
        await call.reply(Reply(status, headers.items(), data))
        return
    # A long answer for a client that takes it only as it is: kept small here, unpacked on the way.
    await call.stream(Reply(status, headers.items()), unpack(data, BLOCK_BYTES))


class Methods:
    """The methods, for one caller of one index. They block, and raise `Fault`, or `Busy`: try again."""

    def __init__(self, site: Site, call: Call) -> None:
        self._resolver, self._index, self._by, self._url = site.resolver, call.index, call.by, call.url
        self._methods: Mapping[str, Method] = {
            "changelog": self.changelog,
            "changelog_last_serial": self.changelog_last_serial,
            "changelog_since_serial": self.changelog_since_serial,
            "list_packages": self.list_packages,
            "list_packages_with_serial": self.list_packages_with_serial,
            "search": self.search,
            "system.multicall": self.multicall,
            **self._small(),
        }

    def _small(self) -> dict[str, Method]:
        """The methods that `system.multicall` may call: none has a long answer."""
        return {
            "package_data": self.release_data,
            "package_releases": self.package_releases,
            "package_roles": self.package_roles,
            "package_urls": self.release_urls,
            "release_data": self.release_data,
            "release_urls": self.release_urls,
            "user_packages": self.user_packages,
        }

    def invoke(self, name: str, params: Sequence[Value]) -> object:
        """Call a method by its name."""
        method = self._methods.get(name)
        if method is None:
            if name in _GONE:
                raise Fault(APPLICATION_ERROR, f"RuntimeError: {name} is not offered here. {_GONE[name]}")
            raise Fault(UNKNOWN_METHOD, f"server error; method {name[:100]!r} not found")
        return _applied(method, params)

    def changelog_last_serial(self) -> int:
        return self._resolver.serial(self._index, by=self._by)

    def changelog_since_serial(self, since: int) -> list[object]:
        found = self._resolver.changes(self._index, _number(since), MAX_CHANGES, by=self._by)
        return [[*_told(change), change.serial] for change in found]

    def changelog(self, since: int, with_ids: bool = False) -> list[object]:
        after = min(_number(since), 1 << 40) * 1_000_000
        found = self._resolver.changes(self._index, 0, MAX_CHANGES, by=self._by, after=after)
        return [[*_told(change), change.serial] if with_ids else _told(change) for change in found]

    def list_packages(self) -> Iterator[str]:
        _, names = self._resolver.names(self._index, by=self._by)
        return (line.name for line in names)

    def list_packages_with_serial(self) -> Pairs:
        _, names = self._resolver.names(self._index, by=self._by)
        return Pairs((line.name, line.serial) for line in names)

    def search(self, spec: Mapping[str, Value], operator: str = "and") -> list[object]:
        if not isinstance(spec, dict) or operator not in ("and", "or"):
            raise Fault(INVALID_PARAMS, "search takes a struct of fields, and 'and' or 'or'")
        terms = {field: tuple(strings(value)) for field, value in spec.items()}
        every = operator == "and"
        if every and not terms.keys() <= {"name", "summary"}:
            return []  # other fields are not searched, so nothing is known to fit them
        if not terms.keys() & {"name", "summary"} and terms:
            return []
        try:
            query = Query(terms.get("name", ()), terms.get("summary", ()), every)
        except BadRequest as error:
            raise Fault(INVALID_PARAMS, str(error)) from None
        return [
            {"name": hit.name, "version": hit.version, "summary": hit.summary, "_pypi_ordering": hit.score}
            for hit in self._resolver.search(self._index, query, MAX_HITS, by=self._by)
        ]

    def package_releases(self, name: str, show_hidden: bool = False) -> list[str]:
        """Versions, the newest first; those whose files are all yanked only where asked for."""
        page = self._page(name)
        if page is None:
            return []
        offered = {canonical_version(file.version) for file in page.files if file.yanked is None}
        versions = sorted(page.versions, key=version_key, reverse=True)
        return [text for text in versions if show_hidden or canonical_version(text) in offered]

    def release_urls(self, name: str, version: str) -> object:
        return self._release(name, version).get("urls", [])

    def release_data(self, name: str, version: str) -> object:
        info = self._release(name, version).get("info", {})
        if info:
            urls = info.get("project_urls") or {}
            info["project_urls"] = info["project_url"] = [f"{label}, {url}" for label, url in urls.items()]
            info |= {"_pypi_hidden": False, "_pypi_ordering": 0, "stable_version": ""}
        return info

    def package_roles(self, name: str) -> list[object]:
        """Nobody: who may do what is not told to strangers."""
        _text(name)
        return []

    def user_packages(self, user: str) -> list[object]:
        """None, for the same reason."""
        _text(user)
        return []

    def multicall(self, calls: Sequence[Value]) -> list[object]:
        if not isinstance(calls, list) or len(calls) > MAX_CALLS:
            raise Fault(INVALID_PARAMS, f"system.multicall takes an array of at most {MAX_CALLS} calls")
        return [self._one_of_many(call) for call in calls]

    def _one_of_many(self, call: Value) -> object:
        try:
            asked = call if isinstance(call, dict) else {}
            name, params = asked.get("methodName"), asked.get("params", [])
            if not isinstance(name, str) or not isinstance(params, list):
                raise Fault(INVALID_PARAMS, "a call is a struct of methodName and params")
            method = self._small().get(name)
            if method is None:
                known = name in self._methods or name in _GONE
                code = APPLICATION_ERROR if known else UNKNOWN_METHOD
                raise Fault(code, f"{name[:100]!r} cannot be called by system.multicall")
            return [_applied(method, params)]
        except Fault as error:
            return {"faultCode": error.code, "faultString": error.text}

    def _page(self, name: str) -> Page | None:
        if not is_name(_text(name)):
            return None
        try:
            return self._resolver.page(self._index, normalize(name), by=self._by)
        except NotFound:
            return None

    def _release(self, name: str, version: str) -> dict[str, Any]:
        """A release as the JSON API tells it; empty where there is none."""
        _text(version)
        page = self._page(name)
        if page is None:
            return {}
        told = None
        try:
            file = pypijson.metadata_file(page, pypijson.chosen_version(page, version))
            if file is not None:
                told = metadata.parse(self._resolver.metadata(self._index, file, by=self._by))
        except NotFound:
            pass  # of such a release, or of metadata
        try:
            found: dict[str, Any] = json.loads(pypijson.project_json(page, version, told, base_url=self._url))
        except NotFound:
            return {}
        return found


#: What PyPI has or had, and this server has not.
_GONE: Final = {
    "browse": "Classifiers are not indexed.",
    "top_packages": "Downloads are not counted by project.",
    "updated_releases": "Use changelog_since_serial.",
    "changed_packages": "Use changelog_since_serial.",
}


def _applied(method: Method, params: Sequence[Value]) -> object:
    try:
        signature(method).bind(*params)
    except TypeError as error:
        raise Fault(INVALID_PARAMS, f"server error; {error}") from None
    return method(*params)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Fault(INVALID_PARAMS, "server error; a string is expected")
    return value


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise Fault(INVALID_PARAMS, "server error; a serial or a time in seconds is expected")
    return value


def _told(change: Change) -> list[object]:
    return [change.project, change.version, change.at // 1_000_000, change.action]
