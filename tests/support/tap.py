"""A tap without a server: octets in, frames out."""

from __future__ import annotations

from collections.abc import Iterable

from conversations.frames import PREFACE
from h2wsgi.config.config import Config
from h2wsgi.log.logs import library_log
from h2wsgi.seam.request import ConnectionFacts
from h2wsgi.tools.tap.frames import ConnectionInfo, Frame
from h2wsgi.tools.tap.tap import Taps

FACTS = ConnectionFacts("https", "localhost", "8443", "127.0.0.1", "50000", {}, number=1)


class Heard:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.connections: list[ConnectionInfo] = []
        self.frames: list[Frame] = []
        self.contents: list[bytes] = []
        self.reasons: list[str] = []

    def opened(self, connection: ConnectionInfo) -> None:
        self.connections.append(connection)

    def frame(self, frame: Frame, content: bytes) -> None:
        self.frames.append(frame)
        self.contents.append(content)

    def closed(self, connection: ConnectionInfo, reason: str, at: float) -> None:
        self.reasons.append(reason)

    def close(self) -> None:
        """Nothing is left to do."""


class Wire:
    """One connection as its tap sees it; the client's preface goes first, unless told otherwise."""

    def __init__(self, *, preface: bytes = PREFACE, max_field_section: int = 65_536) -> None:
        self.heard = Heard()
        config = Config(max_field_section=max_field_section)
        self.taps = Taps([self.heard], library_log(config), config)
        self.tap = self.taps.observe()
        self.tap.opened(FACTS, "h2")
        if preface:
            self.tap.received(preface)

    def received(self, *octets: bytes) -> list[Frame]:
        """Return the frames that the client's ``octets`` make."""
        return self._new(self.tap.received, octets)

    def sent(self, *octets: bytes) -> list[Frame]:
        """Return the frames that the server's ``octets`` make."""
        return self._new(self.tap.sent, octets)

    def _new(self, take: object, octets: Iterable[bytes]) -> list[Frame]:
        assert callable(take)
        before = len(self.heard.frames)
        for piece in octets:
            take(piece)
        return self.heard.frames[before:]
