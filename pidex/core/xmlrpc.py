"""XML-RPC: calls read from hostile XML, values and faults written so that every client can read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from pidex.core.markup import escaped

#: Bytes of a call at most.
MAX_BODY: Final = 1 << 20
#: How deep values of a call may be nested, and how many of them there may be.
MAX_DEPTH, MAX_VALUES = 16, 10_000
#: Bytes of an answer that are written at once.
_CHUNK: Final = 64 << 10

PARSE_ERROR, INVALID_CALL = -32700, -32600
UNKNOWN_METHOD, INVALID_PARAMS = -32601, -32602
APPLICATION_ERROR = -32500

Value = str | int | float | bool | bytes | list["Value"] | dict[str, "Value"]


class Call(NamedTuple):
    """One call."""

    method: str
    params: tuple[Value, ...]


class Fault(Exception):
    """A refusal in XML-RPC's own form, by the codes of the fault code interoperability list."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Pairs:
    """A struct whose members are made while it is written."""

    def __init__(self, members: Iterable[tuple[str, object]]) -> None:
        self.members = members


def parse(body: bytes) -> Call:
    """Read a call. Raises `Fault`: PARSE_ERROR for what is no XML or not safe, INVALID_CALL for no call.

    Document types, entities and references to the outside are refused, also where they would do no harm.
    """
    if len(body) > MAX_BODY:
        raise Fault(INVALID_CALL, f"a call has at most {MAX_BODY:,} bytes")
    try:
        root: Element = fromstring(body, forbid_dtd=True)
    except DefusedXmlException:
        raise Fault(PARSE_ERROR, "XML with a document type or entities is not read") from None
    except (ParseError, ValueError, LookupError):
        raise Fault(PARSE_ERROR, "this is not well-formed XML") from None
    method = root.findtext("methodName", "").strip() if root.tag == "methodCall" else ""
    if not method or len(method) > 100:
        raise Fault(INVALID_CALL, "this is not an XML-RPC call")
    reader = _Reader()
    params = root.find("params")
    values = [] if params is None else params.findall("param")
    return Call(method, tuple(reader.value(_only(param, "value"), 0) for param in values))


class _Reader:
    """Turns elements into values, counting them."""

    def __init__(self) -> None:
        self._count = 0

    def value(self, element: Element, depth: int) -> Value:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_VALUES:
            raise Fault(INVALID_CALL, f"a call has at most {MAX_VALUES:,} values, {MAX_DEPTH} deep")
        if not len(element):
            return element.text or ""
        kind = element[0]
        if kind.tag == "array":
            return [self.value(each, depth + 1) for each in _only(kind, "data")]
        if kind.tag == "struct":
            return {
                _only(member, "name").text or "": self.value(_only(member, "value"), depth + 1)
                for member in kind.findall("member")
            }
        return _scalar(kind.tag, kind.text or "")


def _only(element: Element, tag: str) -> Element:
    found = element.find(tag)
    if found is None:
        raise Fault(INVALID_CALL, f"a <{tag}> is missing in a <{element.tag}>"[:200])
    return found


def _scalar(tag: str, text: str) -> Value:
    """A value of a simple type. Times and binary data, which no method takes, stay text."""
    stripped = text.strip()
    if tag in ("int", "i1", "i2", "i4", "i8"):
        # Longer numbers are none of ours, and take time to read.
        if not 0 < len(stripped) <= 20 or not stripped.lstrip("+-").isascii():
            raise Fault(INVALID_PARAMS, "an integer in the call cannot be read")
        try:
            return int(stripped)
        except ValueError:
            raise Fault(INVALID_PARAMS, "an integer in the call cannot be read") from None
    if tag == "boolean":
        if stripped not in ("0", "1"):
            raise Fault(INVALID_PARAMS, "a boolean in the call is neither 0 nor 1")
        return stripped == "1"
    if tag == "double":
        try:
            return float(stripped)
        except ValueError:
            raise Fault(INVALID_PARAMS, "a number in the call cannot be read") from None
    if tag == "nil":
        return ""
    if tag in ("string", "dateTime.iso8601", "base64"):
        return text
    raise Fault(INVALID_CALL, "the call holds a value of an unknown type")


def answer(value: object) -> Iterator[bytes]:
    """A method's answer in pieces: str, int, float, bool, mappings, `Pairs`, iterables; the last two lazily.

    None is written as an empty string, since few clients read <nil/>.
    """
    yield from _chunks(_document(value))


def fault(error: Fault) -> bytes:
    """A refusal."""
    inside = "".join(_value({"faultCode": error.code, "faultString": error.text}))
    return f"<?xml version='1.0'?>\n<methodResponse><fault>{inside}</fault></methodResponse>\n".encode()


def _document(value: object) -> Iterator[str]:
    yield "<?xml version='1.0'?>\n<methodResponse><params><param>"
    yield from _value(value)
    yield "</param></params></methodResponse>\n"


def _value(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield f"<value><string>{escaped(value)}</string></value>"
    elif value is None:
        yield "<value><string></string></value>"
    elif isinstance(value, bool):
        yield f"<value><boolean>{value:d}</boolean></value>"
    elif isinstance(value, int):
        # <int> is 32 bits wide. A string would be the wrong type for whoever compares serials; Python's
        # clients have read <i8> since 3.6, Java's and PHP's for longer.
        kind = "int" if -(1 << 31) <= value < 1 << 31 else "i8"
        yield f"<value><{kind}>{value}</{kind}></value>"
    elif isinstance(value, float):
        yield f"<value><double>{value!r}</double></value>"
    elif isinstance(value, Mapping | Pairs):
        yield "<value><struct>\n"
        for name, member in value.members if isinstance(value, Pairs) else value.items():
            yield f"<member><name>{escaped(str(name))}</name>"
            yield from _value(member)
            yield "</member>\n"
        yield "</struct></value>"
    elif isinstance(value, Iterable):
        yield "<value><array><data>\n"
        for each in value:
            yield from _value(each)
            yield "\n"
        yield "</data></array></value>"
    else:
        raise TypeError(f"{type(value).__name__} has no form in XML-RPC")


def _chunks(texts: Iterator[str]) -> Iterator[bytes]:
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= _CHUNK:
            yield "".join(waiting).encode()
            waiting, size = [], 0
    yield "".join(waiting).encode()


def strings(value: Value) -> Sequence[str]:
    """A parameter that is a string or a list of them. Raises `Fault`."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return [each for each in value if isinstance(each, str)]
    raise Fault(INVALID_PARAMS, "a string, or a list of strings, is expected")
