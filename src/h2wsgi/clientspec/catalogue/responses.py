"""What is a response and what is not (RFC 9113 section 8, RFC 9110)."""

from __future__ import annotations

from collections.abc import Callable

from ...codes import ErrorCode
from ..case import Case, Level, Script, Step, Want
from ..conversation import OK, Conversation, Request
from ..octets import Fields, data, headers
from ..scripts import response, with_head
from .build import ends_stream, error, fine, optional

PROTOCOL = ErrorCode.PROTOCOL_ERROR
MALFORMED = "A malformed response must not be taken: it is a stream error."
NAMES = "Names and values that may not be make a response malformed."
LENGTH = "A Content-Length that is not the length of the content makes a response malformed."
INTERIM = "1xx responses come before the final one, any number of them, and are not it."
TRAILERS = "Trailers come behind the content, end the stream, and have no pseudo-fields."
STATUS = (":status", "200")
SNOWMAN = "a snow\xe2\x98\x83man\tin UTF-8"


def _malformed(id: str, title: str, fields: Fields, advice: str = MALFORMED) -> Case:
    return ends_stream(id, title, with_head(title, tuple(fields)), advice, PROTOCOL)


def _with(id: str, title: str, *fields: tuple[str | bytes, str | bytes]) -> Case:
    return _malformed(id, title, (*OK, *fields), NAMES)


def _frames(thing: str, *make: Callable[[Request], bytes]) -> Script:
    return response(thing, lambda request: b"".join(part(request) for part in make))


def _head(*more: tuple[str, str], end: bool = False) -> Callable[[Request], bytes]:
    return lambda r: headers(r.stream, (*OK, *more), end=end)


def _status(status: str, *more: tuple[str, str], end: bool = False) -> Callable[[Request], bytes]:
    fields = ((":status", status), ("access-control-allow-origin", "*"), *more)
    return lambda r: headers(r.stream, fields, end=end)


def _content(r: Request) -> bytes:
    return data(r.stream, r.content)


def _all(r: Request) -> bytes:
    return data(r.stream, r.content, end=True)


def _fields(*fields: tuple[str, str], end: bool) -> Callable[[Request], bytes]:
    return lambda r: headers(r.stream, fields, end=end)


def _length(change: int) -> Script:
    def make(r: Request) -> bytes:
        fields = (*OK, ("content-length", str(len(r.content) + change)))
        return headers(r.stream, fields) + data(r.stream, r.content, end=True)

    words = {0: "right", 10: "10 too large", -10: "10 too small"}[change]
    return response(f"a response whose Content-Length is {words}", make)


def _two_lengths(r: Request) -> bytes:
    lengths = [("content-length", str(len(r.content) + more)) for more in (0, 7)]
    return headers(r.stream, (*OK, *lengths)) + data(r.stream, r.content, end=True)


def _empty(status: str, *more: tuple[str, str]) -> Script:
    return _frames(f"a {status} without content", _status(status, *more, end=True))


def _to_head(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.head(request, ("content-length", str(len(request.content))), end=True)


def _content_to_head(c: Conversation) -> None:
    c.greet()
    request = c.request()
    c.reach()
    c.head(request)
    c.content(request, request.content)


EMPTY = (Step(Want.EMPTY),)
HEAD = (Step(Want.EMPTY, "head"),)

CASES: list[Case] = [
    # -------------------------------------------------------------------------------- :status
    _malformed("9113/8.3.2/1", "no :status", OK[1:]),
    _malformed("9113/8.3/1", "two :status fields", (STATUS, *OK)),
    _malformed("9113/8.3/2", ":status behind a field", (*OK[1:], STATUS)),
    _malformed("9113/8.3/3", "a pseudo-field that nobody knows", (STATUS, (":unknown", "1"))),
    _malformed("9113/8.3/4", "a pseudo-field of requests", (STATUS, (":path", "/"), *OK[1:])),
    _malformed("9113/8.3.2/2", "an empty :status", ((":status", ""), *OK[1:])),
    _malformed("9113/8.3.2/3", "a :status that is no number", ((":status", "abc"), *OK[1:])),
    optional(
        "9113/8.3.2/4",
        "a :status of four digits",
        with_head("a :status of four digits", ((":status", "2000"), *OK[1:])),
        "A status has three digits.",
        ("refuses it", "takes it"),
    ),
    ends_stream(
        "9113/5.4.2/1",
        "a malformed head, and nothing behind it",
        response(
            "a malformed head, and leaves the stream open",
            lambda r: headers(r.stream, (*OK, ("X-Upper", "1"))),
        ),
        "A stream error ends the stream, with RST_STREAM: nobody else does.",
        PROTOCOL,
    ),
    # ------------------------------------------------------------------------ names and values
    _with("9113/8.2.1/1", "a name in upper case", ("X-Upper", "1")),
    _with("9113/8.2.1/2", "a name with a blank", ("x blank", "1")),
    _with("9113/8.2.1/3", "a name with a colon", ("x:colon", "1")),
    _with("9113/8.2.1/4", "a name with a control character", ("x\x01control", "1")),
    _with("9113/8.2.1/5", "a name with an octet above 0x7f", ("x\xe9", "1")),
    _with("9113/8.2.1/6", "an empty name", ("", "1")),
    _with("9113/8.2.1/7", "a value with NUL", ("x-value", "a\0b")),
    _with("9113/8.2.1/8", "a value with CR", ("x-value", "a\rb")),
    _with("9113/8.2.1/9", "a value with LF", ("x-value", "a\nb")),
    _with("9113/8.2.1/10", "a value with CR LF and a field", ("x-value", "a\r\nx-more: b")),
    _with("9113/8.2.1/11", "a value that begins with a blank", ("x-value", " a")),
    _with("9113/8.2.1/12", "a value that ends with a tab", ("x-value", "a\t")),
    fine(
        "9113/8.2.1/13",
        "values with octets above 0x7f and tabs inside",
        with_head("a value with octets above 0x7f and a tab", (*OK, ("x-check", SNOWMAN))),
        "These octets are allowed in a value, and are all of it.",
        level=Level.SHOULD,
        fields={"check": SNOWMAN},
    ),
    _with("9113/8.2.2/1", "connection", ("connection", "close")),
    _with("9113/8.2.2/2", "transfer-encoding", ("transfer-encoding", "chunked")),
    _with("9113/8.2.2/3", "keep-alive", ("keep-alive", "timeout=5")),
    _with("9113/8.2.2/4", "proxy-connection", ("proxy-connection", "keep-alive")),
    _with("9113/8.2.2/5", "upgrade", ("upgrade", "h2c")),
    # -------------------------------------------------------------------------- content-length
    fine("9113/8.1.1/1", "a Content-Length that is right", _length(0), LENGTH),
    ends_stream("9113/8.1.1/2", "content shorter than its length", _length(10), LENGTH, PROTOCOL),
    ends_stream("9113/8.1.1/3", "content longer than its length", _length(-10), LENGTH, PROTOCOL),
    ends_stream(
        "9113/8.1.1/4",
        "a Content-Length, and END_STREAM on the head",
        _frames(
            "a response with a Content-Length whose head has END_STREAM",
            _head(("content-length", "1000"), end=True),
        ),
        LENGTH,
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1.1/5",
        "content shorter than its length, and trailers",
        _frames(
            "content shorter than its length and trailers behind it",
            _head(("content-length", "10000")),
            _content,
            _fields(("x-trailer", "1"), end=True),
        ),
        LENGTH,
        PROTOCOL,
    ),
    error(
        "9110/8.6/1",
        "two lengths that differ",
        response("a response with two lengths, the first of them right", _two_lengths),
        "Two lengths that differ make a response invalid.",
    ),
    error(
        "9110/8.6/2",
        "a length that is no number",
        with_head("a length that is no number", (*OK, ("content-length", "many"))),
        "A length that is no number makes a response invalid.",
        level=Level.SHOULD,
    ),
    error(
        "9110/8.6/3",
        "a negative length",
        with_head("a negative length", (*OK, ("content-length", "-1"))),
        "A length that is no number makes a response invalid.",
        level=Level.SHOULD,
    ),
    # ------------------------------------------------------------------- responses without content
    fine(
        "9110/15.3.5/1",
        "204",
        _empty("204"),
        "204 has no content, and ends with its head.",
        steps=EMPTY,
    ),
    fine(
        "9110/15.4.5/1",
        "304 with a Content-Length",
        _empty("304", ("content-length", "1000")),
        "A 304 tells the length of what it does not send.",
        steps=EMPTY,
    ),
    optional(
        "9110/8.6/4",
        "204 with a Content-Length",
        _empty("204", ("content-length", "1000")),
        "RFC 9110 forbids servers to send it; RFC 9113 section 8.1.1 lets clients take it.",
        ("refuses it", "takes it"),
        steps=(Step(Want.EMPTY_OR_ERROR),),
    ),
    optional(
        "9110/15.3.5/2",
        "204 with content",
        _frames("a 204 with content", _status("204"), _all),
        "204 has no content.",
        ("refuses it", "takes the content"),
    ),
    fine(
        "9113/8.1/6",
        "200 without content",
        _frames("a 200 whose head ends the stream", _head(end=True)),
        "A response may end with its head.",
        steps=EMPTY,
    ),
    fine(
        "9110/9.3.2/1",
        "HEAD and a Content-Length",
        Script("It answers HEAD with a Content-Length, and no content.", _to_head),
        "A response to HEAD has the fields of GET, and no content.",
        steps=HEAD,
    ),
    error(
        "9110/9.3.2/2",
        "HEAD and content",
        Script("It answers HEAD with content.", _content_to_head),
        "A response to HEAD has no content: what comes must not be taken for any.",
        level=Level.ROBUST,
        steps=(Step(Want.EITHER, "head"),),
    ),
    # ------------------------------------------------------------------------------------- 1xx
    fine(
        "9113/8.1/7",
        "100 before the response",
        _frames("100 and a good response", _status("100"), _head(), _all),
        INTERIM,
    ),
    fine(
        "9113/8.1/8",
        "103 with fields before the response",
        _frames(
            "103 with fields and a good response",
            _status("103", ("link", "</style.css>; rel=preload"), ("x-check", "early")),
            _head(("x-check", "right")),
            _all,
        ),
        INTERIM,
        fields={"check": "right"},
    ),
    fine(
        "9113/8.1/9",
        "five 1xx before the response",
        _frames(
            "five 1xx and a good response", *[_status("102")] * 4, _status("199"), _head(), _all
        ),
        INTERIM,
    ),
    ends_stream(
        "9113/8.1/10",
        "1xx that ends the stream",
        _frames("a 103 with END_STREAM", _status("103", end=True)),
        "1xx with END_STREAM is malformed: the final response is missing.",
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1/11",
        "1xx behind the head",
        _frames("a 103 between head and content", _head(), _status("103"), _all),
        INTERIM,
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.6/1",
        "101",
        _frames("101 and a good response", _status("101"), _head(), _all),
        "HTTP/2 has no 101.",
        PROTOCOL,
    ),
    # -------------------------------------------------------------------------------- trailers
    fine(
        "9113/8.1/12",
        "trailers",
        _frames(
            "a response with trailers",
            _head(("trailer", "x-trailer")),
            _content,
            _fields(("x-trailer", "right"), end=True),
        ),
        TRAILERS,
        fields={"trailer": "right"},
    ),
    fine(
        "9110/6.5.1/1",
        "a trailer with the name of a field",
        _frames(
            "a response with a field that is in its trailers too",
            _head(("x-check", "head")),
            _content,
            _fields(("x-check", "trailer"), end=True),
        ),
        "Trailers are kept apart from the fields of the head.",
        fields={"check": "head"},
    ),
    fine(
        "9113/8.1/13",
        "trailers without content",
        _frames("a head and trailers", _head(), _fields(("x-trailer", "1"), end=True)),
        TRAILERS,
        steps=EMPTY,
    ),
    ends_stream(
        "9113/8.1/14",
        "trailers with a pseudo-field",
        _frames(
            "trailers with :status",
            _head(),
            _content,
            _fields(STATUS, ("x-trailer", "1"), end=True),
        ),
        TRAILERS,
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1/15",
        "trailers that do not end the stream",
        _frames(
            "trailers without END_STREAM, and the end behind them",
            _head(),
            _content,
            _fields(("x-trailer", "1"), end=False),
            lambda r: data(r.stream, b"", end=True),
        ),
        TRAILERS,
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1/16",
        "a second head",
        _frames(
            "a response with a second head behind its content", _head(), _content, _head(), _all
        ),
        "A field section behind the content is trailers, and has to end the stream.",
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1/17",
        "trailers with upper case",
        _frames("trailers in upper case", _head(), _content, _fields(("X-Trailer", "1"), end=True)),
        NAMES,
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1/18",
        "trailers with a connection field",
        _frames(
            "trailers with Connection",
            _head(),
            _content,
            _fields(("connection", "close"), end=True),
        ),
        NAMES,
        PROTOCOL,
    ),
    # ----------------------------------------------------------------------------------- order
    ends_stream(
        "9113/8.1/19",
        "DATA before the head",
        _frames("DATA before HEADERS", _content, _head(), _all),
        "A response begins with HEADERS.",
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1/20",
        "DATA without any head",
        _frames("DATA alone", _all),
        "A response begins with HEADERS.",
        PROTOCOL,
    ),
    ends_stream(
        "9113/8.1/21",
        "DATA behind 1xx, and no head",
        _frames("100, and content without a head", _status("100"), _all),
        "The content follows the head of the final response.",
        PROTOCOL,
    ),
    fine(
        "9113/8.1/22",
        "a status that nobody knows",
        _frames("status 299", _status("299"), _all),
        "A status that is not known counts as the x00 of its class.",
        fields={"status": "299"},
    ),
]
