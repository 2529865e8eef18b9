"""XML-RPC as `pip search`, mirrors and Python's client speak it, and as those who mean harm do."""

from __future__ import annotations

import gzip
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pidex.core.xmlrpc import MAX_BODY
from pidex.web.xmlrpc import MAX_CALLS
from tests import samples
from tests.web.driver import Answer, House

XML = ("content-type", "text/xml")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    metadata = samples.core_metadata(
        "demo", "1.10", summary="Größe & <more>", extra="Project-URL: Home, https://a.test\n"
    )
    packages = (
        samples.wheel("demo", "1.9"),
        samples.wheel("demo", "1.10", metadata=metadata),
        samples.sdist("demo", "1.10"),
        samples.wheel("Foo.Bar", "2.0rc1"),
    )
    with House(tmp_path_factory.mktemp("house"), *packages) as built:
        yield built


def post(
    house: House, body: bytes, *, path: str = "/pypi", headers: tuple[tuple[str, str], ...] = (XML,)
) -> Answer:
    answer: Answer = house.run(house.ask(path, headers, method="POST", body=body))[0]
    return answer


def call(house: House, method: str, *params: object, **how: Any) -> Any:
    """A method's value; raises `xmlrpc.client.Fault`."""
    answer = post(house, xmlrpc.client.dumps(params, method).encode(), **how)  # type: ignore[arg-type]
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    (value,), _ = xmlrpc.client.loads(answer.body)
    return value


def refused(house: House, method: str, *params: object) -> tuple[int, str]:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        call(house, method, *params)
    return caught.value.faultCode, caught.value.faultString


@pytest.mark.parametrize(
    "path", ["/pypi", "/pypi/", "/RPC2", "/RPC2/", "/", "/main/pypi", "/main/pypi/", "/main/RPC2"]
)
@pytest.mark.parametrize("kind", ["text/xml", "Application/XML; charset=utf-8"])
def test_calls_are_answered_at_every_address(house: House, path: str, kind: str) -> None:
    assert call(house, "changelog_last_serial", path=path, headers=(("content-type", kind),)) > 0


def test_rpc2_needs_no_content_type(house: House) -> None:
    assert call(house, "changelog_last_serial", path="/RPC2", headers=()) > 0


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", ""])
def test_other_bodies_at_upload_addresses_are_no_calls(house: House, kind: str) -> None:
    body = xmlrpc.client.dumps((), "changelog_last_serial").encode()
    answer = post(house, body, headers=(("content-type", kind),))
    assert answer.status in (400, 401, 403, 405)
    assert not answer.headers["content-type"].startswith("text/xml")


def test_a_call_elsewhere_is_not_offered(house: House) -> None:
    body = xmlrpc.client.dumps((), "changelog_last_serial").encode()
    assert post(house, body, path="/simple/").status == 405
    assert post(house, body, path="/simple/demo/").status == 405


def test_pip_search(house: House) -> None:
    hits = call(house, "search", {"name": ["demo"], "summary": ["demo"]}, "or")
    assert hits == [{"name": "demo", "version": "1.10", "summary": "Größe & <more>", "_pypi_ordering": 3}]
    assert [hit["name"] for hit in call(house, "search", {"summary": "SAMPLE"})] == ["Foo.Bar"]
    assert [hit["name"] for hit in call(house, "search", {"name": "foo_bar"}, "and")] == ["Foo.Bar"]
    assert call(house, "search", {"name": "demo", "summary": "sample"}) == []
    assert len(call(house, "search", {})) == 2


def test_fields_that_are_not_searched_fit_nothing(house: House) -> None:
    assert call(house, "search", {"author": "x"}) == []
    assert call(house, "search", {"author": "x"}, "or") == []
    assert call(house, "search", {"author": "x", "name": "demo"}) == []
    assert [hit["name"] for hit in call(house, "search", {"author": "x", "name": "demo"}, "or")] == ["demo"]


def test_changes(house: House) -> None:
    last = call(house, "changelog_last_serial")
    every = call(house, "changelog_since_serial", 0)
    assert [row[4] for row in every] == sorted(row[4] for row in every)
    assert every[-1][4] == last
    assert ["demo", "", "create"] in [[row[0], row[1], row[3]] for row in every]
    assert ["demo", "1.9", "new release"] in [[row[0], row[1], row[3]] for row in every]
    assert all(isinstance(row[2], int) and 1_500_000_000 < row[2] < 10_000_000_000 for row in every)
    assert call(house, "changelog_since_serial", last) == []
    assert call(house, "changelog_since_serial", last - 1) == every[-1:]
    assert call(house, "changelog", 0) == [row[:4] for row in every]
    assert call(house, "changelog", 0, True) == every
    assert call(house, "changelog", 1 << 30) == [row[:4] for row in every]


def test_numbers_beyond_32_bits_are_taken(house: House) -> None:
    body = (
        b"<methodCall><methodName>changelog_since_serial</methodName><params><param><value>"
        b"<i8>4611686018427387904</i8></value></param></params></methodCall>"
    )
    (value,), _ = xmlrpc.client.loads(post(house, body).body)
    assert value == []
    (value,), _ = xmlrpc.client.loads(post(house, body.replace(b"_since_serial", b"")).body)
    assert value == []


def test_lists(house: House) -> None:
    assert call(house, "list_packages") == ["demo", "Foo.Bar"]
    serials = call(house, "list_packages_with_serial")
    assert set(serials) == {"demo", "Foo.Bar"}
    assert max(serials.values()) == call(house, "changelog_last_serial")


def test_releases(house: House) -> None:
    assert call(house, "package_releases", "demo") == ["1.10", "1.9"]
    assert call(house, "package_releases", "DEMO", True) == ["1.10", "1.9"]
    assert call(house, "package_releases", "foo_bar") == ["2.0rc1"]
    assert call(house, "package_releases", "absent") == []
    assert call(house, "package_releases", "not a name") == []


def test_files(house: House) -> None:
    urls = call(house, "release_urls", "demo", "1.10")
    assert sorted(file["packagetype"] for file in urls) == ["bdist_wheel", "sdist"]
    for file in urls:
        assert file["url"].startswith("http://index.test:8080/packages/")
        assert file["url"].endswith(file["filename"])
        assert house.get(file["url"].removeprefix("http://index.test:8080")).status == 200
        assert file["comment_text"] == ""
    assert call(house, "package_urls", "demo", "1.10") == urls
    assert call(house, "release_urls", "demo", "7") == []
    assert call(house, "release_urls", "absent", "7") == []
    (named,) = call(house, "release_urls", "demo", "1.9", path="/main/pypi")
    assert named["url"].startswith("http://index.test:8080/main/packages/")


def test_metadata(house: House) -> None:
    data = call(house, "release_data", "demo", "1.10")
    assert (data["name"], data["version"], data["summary"]) == ("demo", "1.10", "Größe & <more>")
    assert data["project_urls"] == ["Home, https://a.test"]
    assert data["maintainer"] == ""
    assert call(house, "package_data", "demo", "1.10") == data
    assert call(house, "release_data", "demo", "7") == {}
    assert call(house, "release_data", "absent", "7") == {}


def test_people_are_not_told(house: House) -> None:
    assert call(house, "package_roles", "demo") == []
    assert call(house, "user_packages", "alice") == []


@pytest.mark.parametrize("method", ["browse", "top_packages", "updated_releases", "changed_packages"])
def test_what_is_not_offered_is_explained(house: House, method: str) -> None:
    code, text = refused(house, method)
    assert code == -32500
    assert method in text


@pytest.mark.parametrize("method", ["nothing", "__init__", "invoke", "_page", "system.listMethods", "a/b"])
def test_unknown_methods(house: House, method: str) -> None:
    assert refused(house, method)[0] == -32601


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("changelog_last_serial", (1,)),
        ("changelog_since_serial", ()),
        ("changelog_since_serial", ("0",)),
        ("changelog_since_serial", (-1,)),
        ("changelog_since_serial", (True,)),
        ("changelog_since_serial", (0, 1)),
        ("changelog", (1.5,)),
        ("search", ()),
        ("search", ("demo",)),
        ("search", ({"name": "demo"}, "nor")),
        ("search", ({"name": "demo"}, ["or"])),
        ("search", ({"name": 7},)),
        ("search", ({"name": ["x"] * 21},)),
        ("search", ({"name": "x" * 101},)),
        ("package_releases", (7,)),
        ("package_releases", ()),
        ("release_urls", ("demo",)),
        ("release_data", ("demo", 1)),
        ("package_roles", ({},)),
        ("user_packages", ()),
        ("system.multicall", ("x",)),
        ("system.multicall", ([{"methodName": "package_roles", "params": ["a"]}] * (MAX_CALLS + 1),)),
    ],
)
def test_bad_parameters(house: House, method: str, params: tuple[object, ...]) -> None:
    code, text = refused(house, method, *params)
    assert code == -32602
    assert "Traceback" not in text


def test_many_calls_in_one(house: House) -> None:
    calls = [
        {"methodName": "package_releases", "params": ["demo"]},
        {"methodName": "package_roles", "params": ["demo"]},
        {"methodName": "package_roles", "params": []},
        {"methodName": "nothing", "params": []},
        {"methodName": "list_packages", "params": []},
        {"methodName": "system.multicall", "params": [[]]},
        {"params": []},
        7,
    ]
    told = call(house, "system.multicall", calls)
    assert told[:2] == [[["1.10", "1.9"]], [[]]]
    assert [value["faultCode"] for value in told[2:]] == [-32602, -32601, -32500, -32500, -32602, -32602]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><methodCall><methodName>&b;</methodName></methodCall>',
        b'<!DOCTYPE a [<!ENTITY b "bbbb">]><methodCall><methodName>search</methodName></methodCall>',
    ],
)
def test_bad_xml_is_a_bad_request_with_a_fault(house: House, body: bytes) -> None:
    answer = post(house, body)
    assert answer.status == 400
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(answer.body)
    assert caught.value.faultCode == -32700
    assert b"root:" not in answer.body


def test_a_long_call_is_refused(house: House) -> None:
    answer = post(house, b" " * (MAX_BODY + 1))
    assert answer.status == 413
    assert "1,048,576" in answer.text


def test_long_answers_are_compressed_where_wanted(house: House) -> None:
    answer = post(house, xmlrpc.client.dumps((0,), "changelog_since_serial").encode(),
                  headers=(XML, ("accept-encoding", "gzip")))  # fmt: skip
    assert answer.headers["content-encoding"] == "gzip"
    (value,), _ = xmlrpc.client.loads(gzip.decompress(answer.body))
    assert value == call(house, "changelog_since_serial", 0)


def test_a_very_long_answer_arrives_whole(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of answers over some megabytes, which are kept compressed."""
    monkeypatch.setattr("pidex.web.bodies.LONG_BYTES", 100)
    assert call(house, "list_packages") == ["demo", "Foo.Bar"]


def test_the_next_call_sees_a_new_package(own: House) -> None:
    before = call(own, "changelog_last_serial")
    own.add(samples.wheel("fresh", "1.0"))
    assert call(own, "list_packages") == ["demo", "fresh"]
    assert {row[0] for row in call(own, "changelog_since_serial", before)} == {"fresh"}


def test_whoever_may_not_list_may_not_call(tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")  # "password"
    with House(
        tmp_path, samples.wheel("demo", "1.0"), passwords=str(passwords), guard="list,download,update"
    ) as own:
        body = xmlrpc.client.dumps((), "list_packages").encode()
        answer = post(own, body)
        assert answer.status == 401
        assert b"demo" not in answer.body
        basic = ("authorization", "Basic YWxpY2U6cGFzc3dvcmQ=")
        answer = post(own, body, headers=(XML, basic))
        assert xmlrpc.client.loads(answer.body)[0] == (["demo"],)
