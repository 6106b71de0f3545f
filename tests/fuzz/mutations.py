"""Damage to frames, one at a time: a field of the header, a length, a payload, the order."""

from __future__ import annotations

import random

from conversations.frames import CONTINUATION, MUTATIONS, PUSH_PROMISE, mutated

HEADER_SIZE = 9
KINDS = ("list", "list", "header", "header", "length", "payload", "again", "between")
FLAGS = (0x0, 0x1, 0x4, 0x5, 0x8, 0x9, 0xD, 0x20, 0x25, 0x2D, 0xFF)
NUMBERS = (0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1)


def damaged(rng: random.Random, frames: list[bytes], history: list[bytes]) -> list[bytes]:
    """Return ``frames`` with one mutation; ``history`` is what the client sent before."""
    frames = list(frames)
    at = rng.randrange(len(frames))
    kind = rng.choice(KINDS)
    if any(octets[3:4] == b"\x09" for octets in frames) and rng.random() < 0.5:
        kind = "block"
    match kind:
        case "block":
            return _broken_block(rng, frames)
        case "list":
            damage = (rng.choice(MUTATIONS), rng.randrange(1 << 16), rng.randrange(1 << 16))
            return mutated([b"", *frames], [damage])[1:]
        case "header":
            frames[at] = _with_header(rng, frames[at])
        case "length":
            frames[at] = _lying(rng, frames[at])
        case "payload":
            frames[at] = _with_payload(rng, frames[at])
        case "again" if history:
            frames.insert(at, rng.choice(history))
        case "between":
            frames.insert(at, _any(rng))
    return frames


def _broken_block(rng: random.Random, frames: list[bytes]) -> list[bytes]:
    """Damage a field block that comes in several frames."""
    places = [at for at, octets in enumerate(frames) if octets[3:4] == b"\x09"]
    at = rng.choice(places)
    match rng.randrange(4):
        case 0:
            frames.insert(at, _any(rng))
        case 1:
            del frames[at]
        case 2:
            stream_id = (int.from_bytes(frames[at][5:9], "big") + rng.choice((2, -2))) % 2**31
            frames[at] = frames[at][:5] + stream_id.to_bytes(4, "big") + frames[at][9:]
        case _:
            frames[at] = frames[at][:4] + bytes((frames[at][4] ^ 4,)) + frames[at][5:]
    return frames


def _with_header(rng: random.Random, frame: bytes) -> bytes:
    """Change type, flags or stream to something that means something."""
    if len(frame) < HEADER_SIZE:
        return frame
    type_, flags = frame[3], frame[4]
    stream_id = int.from_bytes(frame[5:9], "big")
    match rng.randrange(3):
        case 0:
            type_ = rng.choice((*range(10), PUSH_PROMISE, CONTINUATION, 10, 0xFE))
        case 1:
            flags = rng.choice(FLAGS) if rng.random() < 0.5 else flags ^ 1 << rng.randrange(6)
        case _:
            near = (stream_id + 2, stream_id + 1, max(0, stream_id - 2), stream_id + 1_000)
            stream_id = rng.choice((*near, 0, 1, 2, 2**31 - 1, 2**31 + stream_id % 2**31))
    return frame[:3] + bytes((type_, flags)) + stream_id.to_bytes(4, "big") + frame[9:]


def _lying(rng: random.Random, frame: bytes) -> bytes:
    """Let the length say something else than what follows."""
    length = max(0, len(frame) - HEADER_SIZE)
    lie = rng.choice((0, max(0, length - 1), length + 1, length + 9, 16_384, 16_385, 2**24 - 1))
    return lie.to_bytes(3, "big") + frame[3:]


def _with_payload(rng: random.Random, frame: bytes) -> bytes:
    """Change an octet, or a number at the end, where settings and increments are."""
    if len(frame) <= HEADER_SIZE:
        return frame
    if rng.random() < 0.5 and len(frame) >= HEADER_SIZE + 4:
        return frame[:-4] + rng.choice(NUMBERS).to_bytes(4, "big")
    at = rng.randrange(HEADER_SIZE, len(frame))
    return frame[:at] + bytes((rng.randrange(256),)) + frame[at + 1 :]


def _any(rng: random.Random) -> bytes:
    """Make a frame up."""
    payload = rng.randbytes(rng.choice((0, 1, 4, 5, 6, 8, 12, 100)))
    stream_id = rng.choice((0, 1, 2, 3, 5, 101))
    header = bytes((rng.choice((*range(11), 0x10, 0xFE)), rng.choice(FLAGS)))
    return len(payload).to_bytes(3, "big") + header + stream_id.to_bytes(4, "big") + payload
