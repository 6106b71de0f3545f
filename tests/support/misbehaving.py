"""Scenarios for clients: an application that misbehaves once for each, by RFC 9113's book.

Each scenario has a path of its own. The first request to it is wronged, the next ones are answered
well: so a client that sends a request again is seen to. Whether the server did what the scenario
says is told from its frames, which :attr:`Scenario.wire` lists.
"""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from hpack import Encoder

from h2wsgi import Config
from support.settled import eventually

DATA, HEADERS, RST_STREAM, GOAWAY, CONTINUATION, UNKNOWN = 0x0, 0x1, 0x3, 0x7, 0x9, 0xFA
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
PIECE = 1000
"""Octets of the part of a response that comes before it goes wrong."""
UPLOAD = 8 * 1024 * 1024
LARGE_FIELD = 40_000
STALL = 60.0
"""Seconds: longer than any client here waits."""
PATIENCE = 10.0
"""Seconds a client waits for what does come."""
LONG_PATIENCE = 40.0
"""The same where much has to come before."""
IMPATIENCE = 3.0
"""Seconds a client waits for what does not."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]
Want = Literal["response", "error", "either"]


@dataclass(frozen=True, slots=True)
class Step:
    """Requests that a client makes at once; it waits for all of them before its next step."""

    path: str
    method: str = "GET"
    size: int = 0
    """Octets of content."""
    timeout: float = PATIENCE
    times: int = 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """What goes wrong, what RFC 9113 wants of a client, and how the server's frames show it."""

    name: str
    what: str
    section: str
    right: str
    want: Want
    """What the first step has to end with."""
    wire: str
    """What the server sends on the first request's stream, GOAWAY and SETTINGS of it included."""
    status: int = 200
    method: str = "GET"
    size: int = 0
    timeout: float = PATIENCE
    then: int = 0
    """How many requests follow at once, each of which has to be answered."""

    @property
    def ends_connection(self) -> bool:
        """Whether the server hangs up: what the client sends then may come too late to be read."""
        return "GOAWAY" in self.wire or self.name == "drop"

    def steps(self) -> list[dict[str, Any]]:
        """Return what a client is told to do."""
        first = Step(f"/{self.name}", self.method, self.size, self.timeout)
        then = [Step(f"/{self.name}/then", times=self.then)] if self.then else []
        return [asdict(step) for step in (first, *then)]


def _reset(
    code: str, right: str, section: str = "8.1", want: Want = "error", status: int = 200
) -> Scenario:
    name = f"reset-{code.lower().replace('_', '-')}"
    what = f"RST_STREAM({code}) in place of a response"
    return Scenario(name, what, section, right, want, f"RST_STREAM({code})", status, then=1)


AGAIN = "may send the request again: it was not processed"
TELL = "must not take it for a response"
IGNORE = "must ignore them"
SCENARIOS = [
    Scenario(
        "goaway-below",
        "GOAWAY whose last-stream-id is below the request",
        "6.8",
        AGAIN + ", on a new connection",
        "either",
        "GOAWAY(NO_ERROR, 0)",
        then=1,
    ),
    Scenario(
        "goaway-below-post",
        "GOAWAY whose last-stream-id is below a POST with content",
        "8.7",
        AGAIN + ", whatever the method",
        "either",
        "GOAWAY(NO_ERROR, 0)",
        method="POST",
        size=PIECE,
        then=1,
    ),
    Scenario(
        "goaway-graceful",
        "GOAWAY beside a whole response, then another request",
        "6.8",
        "must take the response, and open no stream on that connection any more",
        "response",
        "GOAWAY(NO_ERROR, 1) HEADERS DATA END_STREAM",
        then=1,
    ),
    Scenario(
        "goaway-error",
        "GOAWAY(ENHANCE_YOUR_CALM) beside a whole response",
        "6.8",
        "the stream is not above last-stream-id and may go on",
        "either",
        "GOAWAY(ENHANCE_YOUR_CALM, 1) HEADERS DATA END_STREAM",
        then=1,
    ),
    _reset("REFUSED_STREAM", AGAIN, "8.7", "either"),
    Scenario(
        "refused-post",
        "RST_STREAM(REFUSED_STREAM) for a POST with content",
        "8.7",
        AGAIN + ", whatever the method",
        "either",
        "RST_STREAM(REFUSED_STREAM)",
        method="POST",
        size=PIECE,
        then=1,
    ),
    _reset("INTERNAL_ERROR", TELL),
    _reset("CANCEL", TELL),
    _reset("ENHANCE_YOUR_CALM", TELL),
    _reset(
        "HTTP_1_1_REQUIRED",
        "may ask by HTTP/1.1 instead (which gets a 505 here)",
        "7",
        "either",
        505,
    ),
    Scenario(
        "reset-mid-body",
        "RST_STREAM(INTERNAL_ERROR) behind 1,000 octets of a response",
        "8.1",
        TELL,
        "error",
        "HEADERS DATA RST_STREAM(INTERNAL_ERROR)",
        then=1,
    ),
    Scenario(
        "cancel-mid-body",
        "RST_STREAM(CANCEL) behind 1,000 octets of a response",
        "8.1",
        TELL,
        "error",
        "HEADERS DATA RST_STREAM(CANCEL)",
        then=1,
    ),
    Scenario(
        "no-error-after-response",
        "a whole response, then RST_STREAM(NO_ERROR)",
        "8.1",
        "must not discard the response",
        "response",
        "HEADERS DATA END_STREAM RST_STREAM(NO_ERROR)",
        then=1,
    ),
    Scenario(
        "early-response",
        "a whole response, then RST_STREAM(NO_ERROR), while 8 MiB are being uploaded",
        "8.1",
        "must not discard the response",
        "response",
        "HEADERS DATA END_STREAM RST_STREAM(NO_ERROR)",
        status=403,
        method="POST",
        size=UPLOAD,
        timeout=LONG_PATIENCE,
        then=1,
    ),
    Scenario(
        "max-streams",
        "MAX_CONCURRENT_STREAMS lowered to 1, then five requests at once",
        "5.1.2",
        "must not have more streams open than that",
        "response",
        "SETTINGS(MAX_CONCURRENT_STREAMS=1) HEADERS DATA END_STREAM",
        then=5,
    ),
    Scenario(
        "trailers",
        "trailers behind the content",
        "8.1",
        "takes the response, trailers or no",
        "response",
        "HEADERS DATA HEADERS END_STREAM",
    ),
    Scenario(
        "early-hints",
        "103 before the response",
        "8.1",
        "must not take it for the final one",
        "response",
        "HEADERS HEADERS DATA END_STREAM",
    ),
    Scenario(
        "stall",
        "a response that stops in the middle, for a client that waits 3 s",
        "5.4.2",
        "may give up, and then resets the stream alone",
        "error",
        "HEADERS DATA",
        timeout=IMPATIENCE,
        then=1,
    ),
    Scenario(
        "drop",
        "the connection ends behind 1,000 octets of a response",
        "8.1",
        TELL,
        "error",
        "HEADERS DATA",
        then=1,
    ),
    Scenario(
        "content-length-short",
        "content 500 octets shorter than its content-length",
        "8.1.1",
        "must treat it as malformed",
        "error",
        "HEADERS DATA END_STREAM",
        then=1,
    ),
    Scenario(
        "content-length-long",
        "content 500 octets longer than its content-length",
        "8.1.1",
        "must treat it as malformed",
        "error",
        "HEADERS DATA END_STREAM",
        then=1,
    ),
    Scenario(
        "continuation",
        "a head of 40,000 octets in HEADERS and two CONTINUATION frames",
        "6.10",
        "takes the response",
        "response",
        "HEADERS CONTINUATION CONTINUATION DATA END_STREAM",
    ),
    Scenario(
        "padding",
        "HEADERS and DATA with 200 octets of padding",
        "6.1",
        "takes the response",
        "response",
        "HEADERS DATA END_STREAM",
    ),
    Scenario(
        "unknown-frame",
        "frames of an unknown type on the stream and on the connection",
        "5.5",
        IGNORE,
        "response",
        "0xfa HEADERS DATA END_STREAM",
    ),
]


class Misbehaving:
    """The application. It answers with 200 and 1,000 octets where nothing is to go wrong."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"].strip("/")
        with self._lock:
            self._seen[path] += 1
            first = self._seen[path] == 1
        handlers = HANDLERS if first else {}
        return handlers.get(path, answer)(environ, start_response)


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Read the request, and answer it well."""
    while environ["wsgi.input"].read(65_536):
        continue
    start_response("200 OK", [("content-type", "application/octet-stream")])
    return [bytes(PIECE)]


HANDLERS: dict[str, Application] = {}


def handles(*names: str) -> Callable[[Application], Application]:
    """Make what is decorated the handler of scenarios."""

    def add(handler: Application) -> Application:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return add


def head(status: int, *fields: tuple[str, str]) -> bytes:
    """Return a field block that depends on no other."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode([(":status", str(status)), *fields], huffman=False)


def raw(
    environ: dict[str, Any],
    start_response: Callable[..., Any],
    *frames: tuple[int, int, bytes],
    before: Iterable[tuple[int, int, bytes, int]] = (),
) -> list[bytes]:
    """Have ``frames`` (type, flags, payload) be the whole response.

    Those ``before`` them may be of other streams, and leave in one piece with them.
    """
    stream = environ["h2wsgi.stream"]
    stream.send_raw_frames([*before, *((*frame, None) for frame in frames)])
    stream.abandon()
    return nothing(environ, start_response)


def nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Return what never leaves, as the stream is done with."""
    start_response("200 OK", [])
    return []


@handles("goaway-below", "goaway-below-post")
def goaway_below(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    stream = environ["h2wsgi.stream"]
    stream.goaway("NO_ERROR", last_stream_id=stream.id - 1)
    return nothing(environ, start_response)


@handles("goaway-graceful", "goaway-error")
def goaway(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    stream_id = environ["h2wsgi.stream"].id
    code = 0x0B if environ["PATH_INFO"] == "/goaway-error" else 0  # ENHANCE_YOUR_CALM
    # Raw and so in one piece: httpx fails in another way if it reads GOAWAY before the response.
    return raw(
        environ,
        start_response,
        (HEADERS, END_HEADERS, head(200)),
        (DATA, END_STREAM, bytes(PIECE)),
        before=[(GOAWAY, 0, struct.pack("!II", stream_id, code), 0)],
    )


def resets(code: str) -> Application:
    """Return a handler that resets its stream."""

    def handler(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        environ["h2wsgi.stream"].reset(code)
        return nothing(environ, start_response)

    return handler


for _scenario in SCENARIOS:
    if _scenario.wire.startswith("RST_STREAM"):
        HANDLERS[_scenario.name] = resets(_scenario.wire[11:-1])


@handles("reset-mid-body", "cancel-mid-body", "drop", "stall")
def half(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    stream = environ["h2wsgi.stream"]
    start_response("200 OK", [("content-type", "application/octet-stream")])(bytes(PIECE))
    name = environ["PATH_INFO"].strip("/")
    if name == "drop":
        stream.close_transport()
    elif name == "stall":
        stream.stall(STALL)
    else:
        stream.reset("CANCEL" if name == "cancel-mid-body" else "INTERNAL_ERROR")
    return []


@handles("no-error-after-response", "early-response")
def no_error(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    if environ["PATH_INFO"] == "/early-response":
        # In the middle of the content: what a client does depends on when it hears.
        held_up = "the client to have used its window"
        eventually(lambda: _is_held_up(environ), held_up, LONG_PATIENCE / 2)
        status = 403
    else:
        status = 200
    return raw(
        environ,
        start_response,
        (HEADERS, END_HEADERS, head(status)),
        (DATA, END_STREAM, bytes(PIECE)),
        (RST_STREAM, 0, bytes(4)),
    )


def _is_held_up(environ: dict[str, Any]) -> bool:
    """Return whether the client has sent all that it may, or is gone."""
    stream = environ["h2wsgi.stream"]
    data = [f for f in environ["h2wsgi.record"]().received("DATA") if f.stream_id == stream.id]
    sent = sum(frame.data_length for frame in data)
    return sent >= Config().stream_window or stream.disconnected.is_set()


@handles("max-streams")
def max_streams(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    environ["h2wsgi.stream"].change_settings({"MAX_CONCURRENT_STREAMS": 1})
    return answer(environ, start_response)


@handles("trailers")
def trailers(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    environ["wsgi.ext.http.send_trailers"]([("x-trailer", "behind")])
    return answer(environ, start_response)


@handles("early-hints")
def early_hints(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    environ["h2wsgi.stream"].send_informational(103, [("link", "</style.css>; rel=preload")])
    return answer(environ, start_response)


@handles("content-length-short", "content-length-long")
def content_length(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    size = PIECE - 500 if environ["PATH_INFO"].endswith("short") else PIECE + 500
    fields = head(200, ("content-length", str(PIECE)))
    return raw(
        environ, start_response, (HEADERS, END_HEADERS, fields), (DATA, END_STREAM, bytes(size))
    )


@handles("continuation")
def continuation(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    block = head(200, ("x-large", "x" * LARGE_FIELD))
    parts = [block[start : start + 16_000] for start in range(0, len(block), 16_000)]
    return raw(
        environ,
        start_response,
        (HEADERS, 0, parts[0]),
        *[(CONTINUATION, 0, part) for part in parts[1:-1]],
        (CONTINUATION, END_HEADERS, parts[-1]),
        (DATA, END_STREAM, bytes(PIECE)),
    )


@handles("padding")
def padding(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    def padded(content: bytes) -> bytes:
        return bytes((200,)) + content + bytes(200)

    return raw(
        environ,
        start_response,
        (HEADERS, END_HEADERS | PADDED, padded(head(200))),
        (DATA, END_STREAM | PADDED, padded(bytes(PIECE))),
    )


@handles("unknown-frame")
def unknown_frame(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    stream = environ["h2wsgi.stream"]
    stream.send_raw_frames([(UNKNOWN, 0xFF, b"what", None), (UNKNOWN, 0, b"what", 0)])
    return answer(environ, start_response)
