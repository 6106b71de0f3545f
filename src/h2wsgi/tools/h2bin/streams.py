"""Endpoints that end, hold up or decorate a stream or a connection by the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock

from ...codes import ErrorCode, code_name, error_code, setting, setting_name
from ...errors import ApplicationError
from .endpoints import endpoint
from .request import BadRequest, Request, as_json

ENDS = "Streams and connections that end"
FLOW = "Flow, settings and time"
FIELDS = "Trailers and informational responses"
RST_STREAM = 3
REQUESTS_LEFT = "h2bin.requests-left"
_lock = Lock()


def _code(request: Request) -> int:
    try:
        return error_code(request.names["code"])
    except ValueError as error:
        raise BadRequest(str(error)) from None


@endpoint(
    ENDS,
    "/reset/<code>",
    "RST_STREAM in place of an answer. The code is a name or a number.",
    example="/reset/REFUSED_STREAM",
)
def reset(request: Request) -> Iterable[bytes]:
    """Reset the stream."""
    request.stream.reset(_code(request))
    return request.json({})  # never leaves


@endpoint(
    ENDS,
    "/reset-after/<n>/<code>",
    "RST_STREAM behind n octets of an answer.",
    example="/reset-after/1000/CANCEL",
)
def reset_after(request: Request) -> Iterable[bytes]:
    """Reset the stream in the middle of its answer."""
    count, code = request.number("n", 1, 2**20), _code(request)
    write = request.text()
    write(b"*" * count)
    request.stream.reset(code)
    return []


@endpoint(
    ENDS,
    "/http-1-1-required",
    "RST_STREAM(HTTP_1_1_REQUIRED): the client is to use HTTP/1.1 instead.",
)
def http_1_1_required(request: Request) -> Iterable[bytes]:
    """Ask for HTTP/1.1."""
    request.stream.reset(ErrorCode.HTTP_1_1_REQUIRED)
    return request.json({})


@endpoint(
    ENDS,
    "/goaway/<code>",
    "GOAWAY, then the answer, then the connection closes. NO_ERROR is a graceful end.",
    example="/goaway/NO_ERROR",
)
def goaway(request: Request) -> Iterable[bytes]:
    """Send GOAWAY with the answer."""
    code = _code(request)
    request.stream.goaway(code, debug=b"h2bin")
    return request.json({"goaway": code_name(code), "answered_on": request.stream.id})


@endpoint(
    ENDS,
    "/goaway-after/<n>",
    "GOAWAY with the n-th request from here on. Requests above its last-stream-id were not "
    "processed, and may be sent again elsewhere.",
    example="/goaway-after/2",
)
def goaway_after(request: Request) -> Iterable[bytes]:
    """Count the requests of this connection down."""
    count = request.number("n", 0, 10_000)
    with _lock:
        request.stream.shared[REQUESTS_LEFT] = count
    if not count:
        request.stream.goaway()
    return request.json({"goaway_after": count})


def count_down(request: Request) -> None:
    """Send GOAWAY if this is the request that it was announced for."""
    shared = request.stream.shared
    if REQUESTS_LEFT not in shared:
        return
    with _lock:
        shared[REQUESTS_LEFT] -= 1
        due = shared[REQUESTS_LEFT] == 0
    if due:
        request.stream.goaway(debug=b"h2bin: goaway-after")


@endpoint(
    ENDS,
    "/early-response",
    "An answer before the request's content was read; RST_STREAM(NO_ERROR) follows, for the rest "
    "of it. Send a large POST.",
    example="",
)
def early_response(request: Request) -> Iterable[bytes]:
    """Answer without reading: the server refuses the rest by itself."""
    return request.json({"read": 0})


@endpoint(
    ENDS,
    "/no-error-reset",
    "A complete answer, and RST_STREAM(NO_ERROR) right behind it. The answer counts.",
)
def no_error_reset(request: Request) -> Iterable[bytes]:
    """Answer, and reset the stream that has ended."""
    content = as_json({"complete": True})
    request.text([("Content-Length", str(len(content)))])(content)
    request.stream.send_raw_frame(RST_STREAM, payload=bytes(4))
    return []


@endpoint(
    FLOW,
    "/stall/<seconds>",
    "Half of an answer, nothing for so many seconds, the other half. With of=connection the "
    "whole connection is silent.",
    example="/stall/2",
    query="of=stream",
)
def stall(request: Request) -> Iterable[bytes]:
    """Stop in the middle."""
    seconds = request.seconds("seconds", 60)
    of = request.query.get("of", "stream")
    if of not in ("stream", "connection"):
        raise BadRequest(f"of is {of!r}, which is neither stream nor connection")
    write = request.text()
    write(b"before\n")
    request.stream.stall(seconds, connection=of == "connection")
    write(b"after\n")
    return []


def _change(request: Request, settings: dict[int | str, int]) -> list[bytes]:
    """Change settings of ours, then read what came, then say so."""
    try:
        request.stream.change_settings(settings)
        names = {setting_name(setting(key)): value for key, value in settings.items()}
    except ValueError as error:
        raise BadRequest(str(error)) from None
    size = 0
    while piece := request.environ["wsgi.input"].read(65_536):
        size += len(piece)
    return request.json({"settings": names, "body_size": size})


@endpoint(
    FLOW,
    "/window/<n>",
    "SETTINGS with INITIAL_WINDOW_SIZE n: how much of a request's content may wait here. An "
    "upload to this path feels it at once.",
    example="/window/1000",
)
def window(request: Request) -> Iterable[bytes]:
    """Change the window that clients may fill."""
    return _change(request, {"INITIAL_WINDOW_SIZE": request.number("n", 0, 2**31 - 1)})


@endpoint(
    FLOW,
    "/max-streams/<n>",
    "SETTINGS with MAX_CONCURRENT_STREAMS n, in mid-flight. More are refused once acknowledged.",
    example="/max-streams/1",
)
def max_streams(request: Request) -> Iterable[bytes]:
    """Change how many streams a client may open."""
    return _change(request, {"MAX_CONCURRENT_STREAMS": request.number("n", 0, 2**31 - 1)})


@endpoint(
    FLOW,
    "/settings",
    "SETTINGS with these values, by name or number.",
    example="/settings?MAX_HEADER_LIST_SIZE=10000&INITIAL_WINDOW_SIZE=100000",
    query="NAME=value ...",
)
def change_settings(request: Request) -> Iterable[bytes]:
    """Change any setting."""
    if not request.query:
        raise BadRequest("say which setting: /settings?MAX_CONCURRENT_STREAMS=10")
    entries: dict[int | str, int] = {}
    for name in request.query:
        entries[name] = request.number(name, 0, 2**32 - 1)
    return _change(request, entries)


@endpoint(FLOW, "/ping", "PING, and how long its answer took. 5 seconds at most.")
def ping(request: Request) -> Iterable[bytes]:
    """Measure the way to the client and back."""
    seconds = request.stream.ping().wait(5)
    if seconds is None:
        return request.json({"error": "the PING was not answered"}, "504 Gateway Timeout")
    return request.json({"milliseconds": round(seconds * 1000, 3)})


@endpoint(
    FIELDS,
    "/trailers",
    "Content, then trailers: those of the query, or one of h2bin's. Those of the request are in "
    "the content.",
    example="/trailers?x-checksum=abc",
    query="name=value ...",
)
def trailers(request: Request) -> Iterable[bytes]:
    """Send trailers."""
    send = request.environ["wsgi.ext.http.send_trailers"]
    fields = list(request.query.items()) or [("x-h2bin-trailer", "behind the content")]
    try:
        send(fields)
    except ApplicationError as error:
        raise BadRequest(str(error)) from None
    while request.environ["wsgi.input"].read(65_536):
        continue
    came = request.environ["h2wsgi.trailers"]()
    names = ", ".join(name for name, _ in fields)
    return request.json({"trailers_received": came}, headers=[("Trailer", names)])


@endpoint(FIELDS, "/early-hints", "103 with two Link fields, then the answer.")
def early_hints(request: Request) -> Iterable[bytes]:
    """Send 103."""
    links = ["</style.css>; rel=preload; as=style", "</script.js>; rel=preload; as=script"]
    request.environ["wsgi.early_hints"]([("Link", link) for link in links])
    return request.json({"hints": links}, headers=[("Link", link) for link in links])


@endpoint(
    FIELDS,
    "/informational/<n>",
    "n responses with a 1xx status (102 and 103 in turn), then the answer.",
    example="/informational/3",
)
def informational(request: Request) -> Iterator[bytes] | list[bytes]:
    """Send 1xx responses."""
    count = request.number("n", 0, 1_000)
    for number in range(count):
        fields = [("x-number", str(number))]
        request.stream.send_informational(102 + number % 2, fields)
    return request.json({"informational": count})
