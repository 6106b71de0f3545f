"""Sessions at random, from a number: which steps to play, chosen by what happened so far.

Most clients are honest, or nearly so: what a server gets wrong it mostly gets wrong where the
conversation is still legal. A mind of a kind of its own for each session keeps them different.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

from conversations.frames import (
    BLOCKS,
    DATA,
    END_STREAM,
    LEGAL,
    PADDED,
    PATHS,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SECTIONS,
    SETTINGS,
    TRAILERS,
    WINDOW_UPDATE,
    Client,
    frame,
    setting,
    split,
)
from conversations.recordings import load

from .applications import Script
from .exchanges import Exchange
from .mutations import damaged
from .session import Session, Setting, Step

MOST_STEPS = 120
FORMS = (0, 0, 0, 1, 2, 4, 8, 12, 16, 32, 48, 63)
"""Of a field section; see `Client`."""
SIZES = (0, 1, 5, 100, 1_000, 1_024, 4_096, 16_383, 16_384, 16_385, 40_000, 65_535, 70_000)
WINDOWS = (0, 1, 5, 100, 1_000, 16_384, 65_535, 65_536, 1 << 20, 1 << 29)
FAR_WINDOWS = (2**30, 2**31 - 1, 2**31, 2**32 - 1)
TABLES = (0, 1, 31, 64, 100, 4_095, 4_096, 4_097, 65_536)
CODES = (0, 2, 5, 7, 8, 8, 8, 11, 0xFFFF_FFFF)
SECONDS = (0.01, 0.1, 0.25, 0.3, 1.0)
LONG = (5.0, 11.0, 31.0, 61.0, 121.0)
ENDS = ("drain", "drain", "drain", "stop", "hang_up", "vanish")
COMMANDS = (
    "", "", "", "ping", "ping", "stall", "stall", "stall all", "reset", "goaway", "leave", "hint",
    "hint", "frame", "frame", "window 1000", "window 16384", "window 65535", "window 1048576",
    "close", "abort",
)  # fmt: skip
STATUSES = ("200 OK",) * 6 + ("404 Not Found", "204 No Content", "304 Not Modified")
RECORDINGS = [split(octets) for octets in load().values()]


def setting_of(rng: random.Random, engine: str) -> Setting:
    """Return the options of a session."""
    options = {
        "max_streams": rng.choice((3, 10, 100, 100)),
        "stream_window": rng.choice((16_384, 20_000, 65_535, 262_144)),
        "connection_window": rng.choice((65_535, 70_000, 1_048_576)),
        "stream_buffer": rng.choice((1_024, 5_000, 20_000, 262_144)),
        "connection_buffer": rng.choice((65_536, 65_536, 4_194_304)),
    }
    if rng.random() < 0.2:
        options |= {"max_field_section": rng.choice((1_024, 4_096)), "max_fields": 12}
    if rng.random() < 0.1:
        options["max_body"] = rng.choice((1, 5_000, 40_000))
    if rng.random() < 0.3:
        options["request_timeout"] = rng.choice((1, 1, 2))
    buffered = rng.choice((30_000, 100_000, 1 << 28, 1 << 28))
    tls = rng.random() < 0.7
    # Of its own chance, so that sessions from before it was played choose the same steps.
    own = random.Random(f"{options}{buffered}")
    unsized = own.choice(("buffer", "stream", "stream"))
    return Setting(engine, tls, buffered, **options, unsized_content=unsized)


class Mind:
    """Chooses the steps of one session."""

    def __init__(self, rng: random.Random, session: Session) -> None:
        self._rng = rng
        self._session = session
        self._client = Client()
        self._history: list[bytes] = []
        self._damage = rng.choice((0.0, 0.0, 0.0, 0.01, 0.05, 0.2))
        """How often what the client sends is damaged."""
        self._odd = rng.choice((0.0, 0.0, 0.1, 0.3)) if self._damage else 0.0
        """How often the client chooses something that no honest one would."""
        self._eager = rng.choice((0.3, 0.7, 1.0))
        """How often the loop turns behind a step."""
        self._recording = rng.choice(RECORDINGS) if rng.random() < 0.15 else []
        self._weights = {
            kind: rng.choice((0, 1, 2, 4)) * weight
            for kind, weight in {
                "request": 4, "upload": 5, "end": 2, "reset": 1, "window": 4, "settings": 1,
                "answer": 1, "ping": 1, "stray": 1, "act": 9, "transport": 2, "time": 1, "turn": 3,
            }.items()
        }  # fmt: skip
        self._weights["request"] = rng.choice((2, 4, 8, 30))

    def steps(self) -> Iterator[Step]:
        """Yield steps until the session is long enough; play each before asking for the next."""
        rng = self._rng
        for _ in range(rng.randrange(6)):
            yield "script", self._script()
        yield from self._feed([PREFACE + frame(SETTINGS, 0, 0, self._entries())], whole=True)
        yield ("turn",)
        kinds, weights = list(self._weights), list(self._weights.values())
        for _ in range(rng.randrange(10, MOST_STEPS)):
            kind = rng.choices(kinds, weights)[0]
            yield from getattr(self, f"_{kind}")()
            if rng.random() < self._eager:
                yield ("turn",)
            if self._session.transport.lost:
                return
        if rng.random() < 0.3:
            yield (rng.choice(ENDS),)
        if rng.random() < 0.3:
            yield from self._act()

    # ------------------------------------------------------------------------- the client

    def _feed(self, frames: list[bytes], whole: bool = False) -> Iterator[Step]:
        rng = self._rng
        if not whole:
            frames = self._recorded() or frames
            if frames and rng.random() < self._damage:
                frames = damaged(rng, frames, self._history)
        self._history = [*self._history, *frames][-30:]
        octets = b"".join(frames)
        places = [0, len(octets)]
        if octets and rng.random() < 0.3:
            places += [rng.randrange(len(octets)) for _ in range(rng.randrange(1, 4))]
        places.sort()
        for start, end in itertools.pairwise(places):
            if start < end:
                yield "feed", octets[start:end]
                if rng.random() < 0.2:
                    yield ("turn",)

    def _recorded(self) -> list[bytes]:
        """Return the next frames of what a real client said, if this session follows one."""
        if not self._recording:
            return []
        number = self._rng.randrange(1, 6)
        frames, self._recording = self._recording[:number], self._recording[number:]
        frames[0] = frames[0].removeprefix(PREFACE)
        return [octets for octets in frames if octets]

    def _written(self, method: str, *arguments: Any) -> Iterator[Step]:
        """Let the client write by the steps of `conversations`."""
        self._client.frames.clear()
        getattr(self._client, f"on_{method}")(*arguments)
        yield from self._feed(list(self._client.frames))

    def _pick(self, exchanges: list[Exchange]) -> int:
        """Return a stream, mostly of those given, mostly a late one."""
        rng, known = self._rng, self._session.ledger.exchanges
        if rng.random() < self._odd and known:
            near = rng.choice(list(known))
            return rng.choice((near, near, near + 2, near + 1, 0, 2**31 - 1))
        if not exchanges:
            return 0
        return rng.choice(exchanges[-4:]).stream_id

    def _request(self) -> Iterator[Step]:
        rng = self._rng
        yield "script", self._script()
        form = rng.choice(FORMS)
        if rng.random() < self._odd:
            yield from self._odd_request(form)
            return
        if rng.random() < 0.1:
            yield from self._written("table", rng.choice((0, 100, 4_096)))
        section = rng.randrange(len(LEGAL))
        whole = rng.random() < 0.5 and section not in (2,)
        skip = 0 if rng.random() < 0.9 else rng.randrange(1, 4)
        yield from self._written("request", section, whole, form, skip)

    def _odd_request(self, form: int) -> Iterator[Step]:
        rng = self._rng
        match rng.randrange(4):
            case 0:
                section = rng.randrange(len(SECTIONS))
                yield from self._written("request", section, rng.random() < 0.5, form)
            case 1:
                yield from self._written("block", rng.randrange(len(BLOCKS)), True, form)
            case 2:
                yield from self._written("table", rng.choice(TABLES[:-2]))
            case _:
                parts = [rng.randrange(number) for number in (5, 5, len(PATHS), 8)]
                yield from self._written("path", *parts, rng.random() < 0.5)

    def _upload(self) -> Iterator[Step]:
        rng, ledger = self._rng, self._session.ledger
        uploading = [e for e in ledger.exchanges.values() if e.uploading]
        stream_id = self._pick(uploading)
        exchange = ledger.exchanges.get(stream_id)
        if exchange is None and rng.random() >= self._odd:
            return
        for _ in range(rng.choice((1, 1, 1, 5))):
            yield from self._content(stream_id, exchange)

    def _content(self, stream_id: int, exchange: Exchange | None) -> Iterator[Step]:
        rng, ledger = self._rng, self._session.ledger
        if exchange is not None and not exchange.uploading and rng.random() >= self._odd:
            return
        room = 16_384 if exchange is None else min(16_384, ledger.receive_window(exchange))
        octets = min(rng.choice((*SIZES[:9], 16_384)), room)
        if exchange is not None and exchange.left is not None and rng.random() >= self._odd:
            octets = min(octets, exchange.left)
        if octets < 0:
            return
        content = rng.randbytes(octets)
        flags = 0
        if exchange is not None and exchange.left == octets:
            flags = END_STREAM
        padding = rng.choice((0, 1, 10, 255))
        if rng.random() < 0.2 and octets + padding + 1 <= room:
            flags, content = flags | PADDED, bytes((padding,)) + content + bytes(padding)
        yield from self._feed([frame(DATA, flags, stream_id, content)])

    def _end(self) -> Iterator[Step]:
        rng, ledger = self._rng, self._session.ledger
        open_ = [e for e in ledger.exchanges.values() if e.uploading and not e.left]
        if not (stream_id := self._pick(open_)):
            return
        exchange = ledger.exchanges.get(stream_id)
        response_over = exchange is not None and exchange.response_ended
        if rng.random() < 0.25 and not response_over:
            number = rng.randrange(len(TRAILERS)) if rng.random() < self._odd else 0
            block = self._client._encode(TRAILERS[number], rng.choice((0, 1, 2)))
            self._client.frames.clear()
            self._client._headers(stream_id, block, True, rng.choice(FORMS))
            yield from self._feed(list(self._client.frames))
        else:
            yield from self._feed([frame(DATA, END_STREAM, stream_id)])

    def _reset(self) -> Iterator[Step]:
        rng = self._rng
        open_ = [e for e in self._session.ledger.exchanges.values() if not e.over]
        if stream_id := self._pick(open_):
            code = rng.choice(CODES).to_bytes(4, "big")
            yield from self._feed([frame(RST_STREAM, 0, stream_id, code)])

    def _window(self) -> Iterator[Step]:
        rng, exchanges = self._rng, self._session.ledger.exchanges
        stream_id = 0
        if rng.random() < 0.6:
            stream_id = self._pick([e for e in exchanges.values() if not e.over])
        octets = rng.choice(WINDOWS[1:-1])
        if rng.random() < self._odd:
            octets = rng.choice((0, *FAR_WINDOWS))
        if exchanges or not stream_id:
            yield from self._feed([frame(WINDOW_UPDATE, 0, stream_id, octets.to_bytes(4, "big"))])

    def _settings(self) -> Iterator[Step]:
        yield from self._feed([frame(SETTINGS, 0, 0, self._entries())])

    def _entries(self) -> bytes:
        rng = self._rng
        entries = b""
        for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
            match rng.randrange(6):
                case 0:
                    entries += setting(1, rng.choice(TABLES))
                case 1:
                    entries += setting(5, rng.choice((16_384, 16_385, 2**24 - 1)))
                case 2:
                    entries += setting(rng.choice((2, 3, 6, 0xABC)), rng.randrange(2))
                case _:
                    entries += setting(4, rng.choice(WINDOWS))
        if rng.random() < self._odd / 3:
            entries += setting(rng.choice((1, 2, 4, 5, 8)), rng.choice((2, 16_383, *FAR_WINDOWS)))
        return entries

    def _answer(self) -> Iterator[Step]:
        yield ("answer",)

    def _ping(self) -> Iterator[Step]:
        yield from self._written("ping", False, self._rng.getrandbits(63))

    def _stray(self) -> Iterator[Step]:
        """Send what has to be ignored, or changes the order of responses alone."""
        rng = self._rng
        stream_id = rng.choice([*self._session.ledger.exchanges, 1_001])
        ignored = (
            frame(PRIORITY, 0, stream_id, bytes(5)),
            frame(0xFE, 0xFF, rng.choice((0, stream_id)), rng.randbytes(9)),
            frame(0x10, 0, 0, stream_id.to_bytes(4, "big") + b"u=%d" % (stream_id % 8)),
        )
        # More than a slice of the input takes, now and then.
        many = 150 if rng.random() < 0.1 else 1
        yield from self._feed([rng.choice(ignored) for _ in range(many)])

    # ------------------------------------------------------------------------- the others

    def _act(self) -> Iterator[Step]:
        for _ in range(self._rng.choice((1, 1, 2, 5))):
            yield "act", self._rng.randrange(100)

    def _turn(self) -> Iterator[Step]:
        yield ("turn",)

    def _transport(self) -> Iterator[Step]:
        rng = self._rng
        if not self._session.transport.stalled:
            yield ("stall",)
        elif rng.random() < 0.3:
            yield ("flow",)
        else:
            yield "take", rng.choice((1, 9, 1_000, 16_393, 60_000, 200_000))

    def _time(self) -> Iterator[Step]:
        rng = self._rng
        yield "advance", rng.choice(LONG if rng.random() < 0.03 else SECONDS)
        if rng.random() < 0.05:
            yield ("drain",)
        elif rng.random() < 0.05:
            yield "give_up", rng.randrange(20)
        elif rng.random() < 0.05:
            yield ("neighbour",)

    def _script(self) -> Script:
        rng = self._rng
        sizes = tuple(rng.choice(SIZES) for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))))
        fails = rng.choice(("early", "middle", "late", "close")) if rng.random() < 0.15 else ""
        declared = None
        if rng.random() < 0.4:
            declared = rng.choice((0, 0, 0, 1, 5_000, -1, -100))
        status = rng.choice(STATUSES)
        if status[:3] in ("204", "304"):
            declared = None
        return Script(
            form=rng.choice(("list", "list", "tuple", "generator", "object", "write")),
            sizes=sizes,
            declared=declared,
            status=status,
            reads=rng.choice(("all", "all", "none", "some", "lines", "late")),
            fails=fails,
            halts=rng.random() < 0.7,
            races=rng.random() < 0.3,
            commands=self._commands(len(sizes)) if rng.random() < 0.2 else (),
            trailers=rng.random() < 0.15,
        )

    def _commands(self, pieces: int) -> tuple[str, ...]:
        return tuple(self._rng.choice(COMMANDS) for _ in range(pieces))
