"""Frames made by hand, and the endpoints that answer with legal but rare ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...codes import CONTINUATION, DATA, FLAG_END_HEADERS, FLAG_END_STREAM, FLAG_PADDED, HEADERS
from .endpoints import endpoint
from .request import BadRequest, Request, as_json

GROUP = "Frames that are rare"

UNKNOWN = 0xFA
"""A type that nobody has registered."""


class Frame(NamedTuple):
    """A frame as StreamControl.send_raw_frames takes it; None is the request's own stream."""

    type: int
    flags: int = 0
    payload: bytes = b""
    stream_id: int | None = None


Fields = list[tuple[str, str]]
OK: Fields = [(":status", "200"), ("content-type", "text/plain")]


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a field block of literals that enter no table (RFC 7541 section 6.2.2)."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)


def _string(text: str) -> bytes:
    octets = text.encode("latin-1")
    length = len(octets)
    if length < 0x7F:
        return bytes((length,)) + octets
    length -= 0x7F
    prefix = bytearray((0x7F,))
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(prefix) + bytes((length,)) + octets


def headers(fields: Fields, flags: int = FLAG_END_HEADERS, stream_id: int | None = None) -> Frame:
    """Return HEADERS with these fields."""
    return Frame(HEADERS, flags, encode(fields), stream_id)


def padded(frame: Frame, octets: int) -> Frame:
    """Return a frame with padding (RFC 9113 section 6.1)."""
    payload = bytes((octets,)) + frame.payload + bytes(octets)
    return frame._replace(flags=frame.flags | FLAG_PADDED, payload=payload)


def answer_with(request: Request, frames: list[Frame]) -> list[bytes]:
    """Answer with frames that are the whole response, whatever they say."""
    request.stream.send_raw_frames(frames)
    request.stream.abandon()
    return request.json({})  # never leaves


def _json_frames(content: bytes, fields: Fields) -> list[Frame]:
    length = [("content-length", str(len(content)))]
    head = [(":status", "200"), ("content-type", "application/json"), *length, *fields]
    return [headers(head), Frame(DATA, FLAG_END_STREAM, content)]


@endpoint(
    GROUP, "/padding/<n>", "HEADERS and DATA with n octets of padding.", example="/padding/100"
)
def padding(request: Request) -> Iterable[bytes]:
    """Pad all frames of an answer."""
    count = request.number("n", 0, 255)
    frames = _json_frames(as_json({"padding": count}), [])
    return answer_with(request, [padded(frame, count) for frame in frames])


@endpoint(
    GROUP,
    "/continuation/<n>",
    "The head of an answer in HEADERS and n CONTINUATION frames.",
    example="/continuation/5",
)
def continuation(request: Request) -> Iterable[bytes]:
    """Split a head."""
    count = request.number("n", 0, 1_000)
    head, data = _json_frames(as_json({"continuation": count}), [("x-long", "x" * count)])
    block = head.payload
    step = max(1, len(block) // (count + 1))
    parts = [block[step * n : step * (n + 1)] for n in range(count)] + [block[step * count :]]
    frames = [Frame(CONTINUATION, 0, part) for part in parts]
    frames[0] = Frame(HEADERS, 0, parts[0])
    frames[-1] = frames[-1]._replace(flags=FLAG_END_HEADERS)
    return answer_with(request, [*frames, data])


@endpoint(
    GROUP,
    "/unknown-frame",
    "Frames of an unknown type on the stream and on the connection, then the answer. They are to "
    "be ignored.",
)
def unknown_frame(request: Request) -> Iterable[bytes]:
    """Send what nobody knows (RFC 9113 section 5.5)."""
    request.stream.send_raw_frames(
        [Frame(UNKNOWN, 0xFF, b"unknown"), Frame(UNKNOWN, 0, b"unknown", 0)]
    )
    return request.json({"unknown_frames": 2})


@endpoint(
    GROUP,
    "/content-length/<what>",
    "An answer that is short, or long, for its Content-Length. It is malformed.",
    example="/content-length/short",
)
def content_length(request: Request) -> Iterable[bytes]:
    """Lie about the length (RFC 9113 section 8.1.1)."""
    sizes = {"short": 50, "long": 150}
    if (size := sizes.get(request.names["what"])) is None:
        raise BadRequest(f"{request.names['what']!r} is neither short nor long")
    head = headers([*OK, ("content-length", "100")])
    return answer_with(request, [head, Frame(DATA, FLAG_END_STREAM, b"*" * size)])
