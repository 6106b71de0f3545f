"""The differential tests themselves: an engine with a mistake must be told from one without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from conversations.recordings import load
from conversations.strategies import made_up
from engines.test_edges import EDGES
from h2wsgi.codes import (
    FLAG_ACK,
    PING,
)
from h2wsgi.config.config import Config
from h2wsgi.errors import ConnectionFailed
from h2wsgi.http2.engines.field_blocks import BlockDecoder
from h2wsgi.http2.engines.interface import EngineHandler
from h2wsgi.http2.engines.reference import ReferenceEngine
from h2wsgi.http2.fields import FieldList
from h2wsgi.seam.handover import Head
from support.engine_script import Conversation, Script, compare
from support.engines import Differs, MakeEngine

pytestmark = pytest.mark.timeout(600)
"""They compute for long, and a busy machine has little time for each."""

INTERNAL_ERROR = 2


class ShortCredit(ReferenceEngine):
    def credit(self, stream_id: int, octets: int) -> None:
        super().credit(stream_id, max(octets - 1, 1))


class LosesResets(ReferenceEngine):
    def reset_stream(self, stream_id: int, code: int) -> None:
        pass


class OtherReset(ReferenceEngine):
    def reset_stream(self, stream_id: int, code: int) -> None:
        super().reset_stream(stream_id, code + 1)


class OtherCode(ReferenceEngine):
    def receive_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        try:
            super().receive_frame(type_, flags, stream_id, payload)
        except ConnectionFailed as error:
            raise ConnectionFailed(INTERNAL_ERROR, str(error)) from error


class OtherLastStream(ReferenceEngine):
    @property
    def last_stream_id(self) -> int:
        return super().last_stream_id + 2


class OtherGoAway(ReferenceEngine):
    def go_away(self, last_stream_id: int, code: int, debug: bytes = b"") -> None:
        super().go_away(max(last_stream_id - 2, 0), code, debug)


class LargeWindow(ReferenceEngine):
    def send_window(self, stream_id: int) -> int:
        return super().send_window(stream_id) + 1


class SilentPing(ReferenceEngine):
    def receive_frame(self, type_: int, flags: int, stream_id: int, payload: bytes) -> None:
        if type_ != PING or flags & FLAG_ACK or stream_id:
            super().receive_frame(type_, flags, stream_id, payload)


class OtherStatus(ReferenceEngine):
    def send_headers(self, stream_id: int, head: Head, end_stream: bool) -> None:
        status = 201 if head.status == 200 else head.status
        super().send_headers(stream_id, Head(status, head.fields[1:]), end_stream)


class LosesEnd(ReferenceEngine):
    def send_data(self, stream_id: int, data: Any, end_stream: bool) -> None:
        super().send_data(stream_id, data, end_stream and not data)


class OneStreamMore(ReferenceEngine):
    def __init__(self, handler: EngineHandler, config: Config) -> None:
        super().__init__(handler, config)
        self._config = replace(config, max_streams=config.max_streams + 1)


class Unpadded:
    """A handler that is told less credit than came."""

    def __init__(self, handler: EngineHandler) -> None:
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def data_received(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> None:
        self._handler.data_received(stream_id, data, len(data), end_stream)


def loses_padding(handler: EngineHandler, config: Config) -> ReferenceEngine:
    unpadded: Any = Unpadded(handler)
    return ReferenceEngine(unpadded, config)


class StaleBlocks(BlockDecoder):
    def _remember(self, block: bytes, fields: FieldList) -> None:
        if block and min(block) > 0x80:
            self._known[block] = fields


class RemembersTooLong(ReferenceEngine):
    def __init__(self, handler: EngineHandler, config: Config) -> None:
        super().__init__(handler, config)
        self._decoder = StaleBlocks(4 * config.max_field_section)


BROKEN: dict[str, MakeEngine] = {
    "returns credit one octet short": ShortCredit,
    "loses resets": LosesResets,
    "resets with another code": OtherReset,
    "fails with another code": OtherCode,
    "names another last stream": OtherLastStream,
    "says another last stream in GOAWAY": OtherGoAway,
    "has a window one octet large": LargeWindow,
    "answers no PING": SilentPing,
    "sends another status": OtherStatus,
    "loses END_STREAM": LosesEnd,
    "opens one stream more": OneStreamMore,
    "does not count padding": loses_padding,
    "remembers blocks too long": RemembersTooLong,
}


generating = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def samples() -> list[Conversation]:
    """Return what the tests of the engines are made of."""
    found = [Conversation((octets,), Script()) for octets in load().values()]
    found += [edge.conversation() for edge in EDGES.values()]

    @generating
    @given(made_up())
    def collect(conversation: Conversation) -> None:
        found.append(conversation)

    collect()
    return found


def told_apart(samples: list[Conversation], left: MakeEngine, right: MakeEngine) -> bool:
    for conversation in samples:
        try:
            compare(conversation, left, right)
        except Differs:
            return True
    return False


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_an_engine_with_a_mistake_is_told_from_one_without(
    samples: list[Conversation], broken: MakeEngine
) -> None:
    assert told_apart(samples, ReferenceEngine, broken)
    assert told_apart(samples, broken, ReferenceEngine)


def test_an_engine_is_not_told_from_itself(samples: list[Conversation]) -> None:
    assert not told_apart(samples, ReferenceEngine, ReferenceEngine)
    assert not told_apart(samples, OtherCode, OtherCode)
