"""XML-RPC: calls are read, what harms is refused, and Python's own client reads what is written."""

from __future__ import annotations

import time
import xmlrpc.client
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.xmlrpc import (
    INVALID_CALL,
    INVALID_PARAMS,
    MAX_BODY,
    PARSE_ERROR,
    Call,
    Fault,
    Pairs,
    answer,
    fault,
    parse,
)


def refused(body: bytes) -> int:
    with pytest.raises(Fault) as caught:
        parse(body)
    assert caught.value.text
    return caught.value.code


def called(inside: str) -> bytes:
    return f"<methodCall><methodName>m</methodName><params>{inside}</params></methodCall>".encode()


def param(value: str) -> bytes:
    return called(f"<param><value>{value}</value></param>")


def read(value: object) -> Any:
    (got,), _ = xmlrpc.client.loads(b"".join(answer(value)))
    return got


@pytest.mark.parametrize(
    "params",
    [(), ("foo",), ({"name": ["a", "b"], "summary": "c"}, "or"), (7, -7, True, 1.5, [[], {}]), ("ä<&>\r\n",)],
)
def test_what_pythons_client_sends_is_read(params: tuple[Any, ...]) -> None:
    sent = xmlrpc.client.dumps(params, "search", encoding="utf-8").encode()
    expected = tuple("ä<&>\n" if value == "ä<&>\r\n" else value for value in params)
    assert parse(sent) == Call("search", expected)


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ("plain", "plain"),
        ("<string>text</string>", "text"),
        ("<string/>", ""),
        ("", ""),
        ("<i8>9223372036854775807</i8>", 9223372036854775807),
        ("<int> 5 </int>", 5),
        ("<boolean>1</boolean>", True),
        ("<nil/>", ""),
        ("<base64>eA==</base64>", "eA=="),
        ("<dateTime.iso8601>20240101T00:00:00</dateTime.iso8601>", "20240101T00:00:00"),
    ],
)
def test_every_type_is_read(value: str, read_as: object) -> None:
    assert parse(param(value)).params == (read_as,)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff\xfe\x00",
        b"<methodCall>",
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b'<?xml version="1.0" encoding="utf-7"?><a/>',
        b"<!DOCTYPE methodCall><methodCall/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><methodCall>&b;</methodCall>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><methodCall/>',
        b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1:9/">%b;]><methodCall/>',
        b"<methodCall>&undefined;</methodCall>",
    ],
)
def test_what_is_no_safe_xml_is_a_parse_error(body: bytes) -> None:
    assert refused(body) == PARSE_ERROR


def test_entities_that_grow_are_not_expanded() -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 30))
    began = time.process_time()
    assert refused(f'<!DOCTYPE a [<!ENTITY e0 "x">{levels}]><a>&e29;</a>'.encode()) == PARSE_ERROR
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "body",
    [
        b"<a/>",
        b"<methodCall/>",
        b"<methodResponse/>",
        b"<methodCall><methodName> </methodName></methodCall>",
        b"<methodCall><methodName>" + b"m" * 101 + b"</methodName></methodCall>",
        called("<param/>"),
        param("<unheard>1</unheard>"),
        param("<array/>"),
        param("<array><data><value>" * 20 + "</value></data></array>" * 20),
        param("<array><data>" + "<value/>" * 20_000 + "</data></array>"),
        param("<struct><member><name>a</name></member></struct>"),
        param("<struct><member><value>a</value></member></struct>"),
        b" " * (MAX_BODY + 1),
    ],
    ids=lambda body: body[:60],
)
def test_what_is_no_call_is_refused(body: bytes) -> None:
    assert refused(body) == INVALID_CALL


@pytest.mark.parametrize(
    "value",
    [
        "<int>x</int>",
        "<int></int>",
        "<int>+-1</int>",
        "<int>٣</int>",
        f"<int>{'9' * 5000}</int>",
        "<boolean>yes</boolean>",
        "<double>x</double>",
    ],
)
def test_values_that_are_not_of_their_type_are_bad_parameters(value: str) -> None:
    assert refused(param(value)) == INVALID_PARAMS


def test_deep_nesting_ends_nothing() -> None:
    depth = 30_000
    assert refused(b"<a>" * depth + b"</a>" * depth) == INVALID_CALL
    assert (
        refused(param("<array><data><value>" * 15_000 + "</value></data></array>" * 15_000)) == INVALID_CALL
    )


def test_what_is_written_is_read_by_pythons_client() -> None:
    value = {
        "name": "x",
        "serial": 5,
        "wide": 1 << 40,
        "least": -(1 << 31),
        "rows": [["a", True], []],
        "f": 1.5,
    }
    assert read(value) == value


@pytest.mark.parametrize("number", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1])
def test_numbers_beyond_32_bits_are_i8(number: int) -> None:
    written = b"".join(answer(number))
    assert (b"<i8>" in written) == (not -(2**31) <= number < 2**31)
    assert read(number) == number


def test_nothing_is_an_empty_string_everywhere() -> None:
    written = b"".join(answer({"a": None, "b": [None]}))
    assert b"nil" not in written
    assert read({"a": None, "b": [None]}) == {"a": "", "b": [""]}


@given(st.text())
def test_whatever_the_text_the_answer_is_well_formed(text: str) -> None:
    impossible = {chr(code) for code in [*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF]}
    kept = "".join(c for c in text if c not in impossible and not "\ud800" <= c <= "\udfff")
    assert read({"text": text}) == {"text": kept}
    assert list(read({text: 1})) == [kept]
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(fault(Fault(-1, text)))
    assert (caught.value.faultCode, caught.value.faultString) == (-1, kept)


def test_long_answers_come_in_pieces_and_are_made_on_the_way() -> None:
    made = 0

    def members() -> Any:
        nonlocal made
        for number in range(20_000):
            made += 1
            yield f"name-{number}", number

    pieces = answer(Pairs(members()))
    first = next(pieces)
    assert made < 2_000
    (got,), _ = xmlrpc.client.loads(first + b"".join(pieces))
    assert len(got) == made == 20_000


def test_what_has_no_form_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError):
        b"".join(answer(object()))
