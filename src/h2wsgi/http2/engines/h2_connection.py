"""The h2 library as the reference engine wants it: a connection that leaves decisions to us.

Loop thread only.
"""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from h2.settings import SettingCodes, Settings
from hpack import Decoder, Encoder, HeaderTuple
from hyperframe.frame import DataFrame, WindowUpdateFrame

from ...config.config import Config
from .field_blocks import KNOWN_BLOCK_SIZE, KNOWN_BLOCKS
from .settings import DEFAULT_WINDOW

A_REQUEST = [
    HeaderTuple(b":method", b"GET"),
    HeaderTuple(b":scheme", b"https"),
    HeaderTuple(b":path", b"/"),
]
"""What h2 is told of every request: its own rules for fields were applied before, by ours."""


class CleanDecoder(Decoder):
    """Stands in for h2's decoder: the block was decoded and checked before h2 hears of it."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[HeaderTuple] = []

    def decode(self, _data: bytes, raw: bool = False) -> list[HeaderTuple]:
        """Return the list that was decoded before."""
        return self.fields


class RememberingEncoder(Encoder):
    """hpack's encoder, with the blocks that only refer to its tables remembered.

    Such a block is the same each time, until another one has changed the dynamic table.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[Any, ...], bytes] = {}

    @property
    def header_table_size(self) -> int:
        """The dynamic table's largest size, in octets."""
        return int(self.header_table.maxsize)

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        """Signal the smallest size since the last block, and this one (RFC 7541 section 4.2).

        hpack's own signals every one, and none if the same is set twice.
        """
        if value != self.header_table.maxsize:
            self.header_table.maxsize = value
            smallest = min([*self.table_size_changes, value])
            self.table_size_changes = [value] if smallest == value else [smallest, value]
            self.header_table.resized = True

    def encode(self, headers: Any, huffman: bool = True) -> bytes:
        """Return the block of ``headers``, a list of pairs of octets."""
        key = tuple(headers)
        if (known := self._known.get(key)) is not None and not self.header_table.resized:
            return known
        block = super().encode(key, huffman)
        # An octet from 0x81 to 0xfe is a field by its index, whole (RFC 7541 section 6.1).
        indexes_only = bool(block) and min(block) > 0x80 and max(block) < 0xFF
        if not indexes_only or len(self._known) >= KNOWN_BLOCKS:
            self._known.clear()
        if indexes_only and len(block) <= KNOWN_BLOCK_SIZE and b"set-cookie" not in dict(key):
            self._known[key] = block
        return block


class QuietDataFrame(DataFrame):
    """DATA that costs nothing to show.

    h2 has every frame shown to a log that is off: for DATA the hexadecimal of all its octets, a
    third of what a frame of an upload costs.
    """

    def _body_repr(self) -> str:
        return f"{self.body_len} octets"


class Connection(H2Connection):
    """h2's connection, without a GOAWAY of its own and without a memory for closed streams."""

    MAX_CLOSED_STREAMS = 1

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self._frame_dispatch_table[QuietDataFrame] = self._receive_data_frame

    def receive_content(
        self, stream_id: int, data: bytes, flow_octets: int, end_stream: bool
    ) -> list[Event]:
        """Receive one DATA frame, as receive_data would, past h2's buffer.

        Raises:
            ProtocolError: FLOW_CONTROL_ERROR.
        """
        frame = QuietDataFrame(stream_id, data)
        frame.body_len = flow_octets
        if end_stream:
            frame.flags.add("END_STREAM")
        if padding := flow_octets - len(data):
            frame.flags.add("PADDED")
            frame.pad_length = padding - 1
        return self._receive_frame(frame)

    @property
    def open_inbound_streams(self) -> int:
        """Zero: the engine keeps the limit, and tells h2 which streams to forget.

        h2 would count all that are open with every request, and drop the closed ones then.
        """
        return 0

    def take_outbound_window(self, stream_id: int, octets: int) -> None:
        """Count DATA that h2 has not sent itself, if need be to below zero."""
        self.outbound_flow_control_window -= octets
        if (stream := self.streams.get(stream_id)) is not None:
            stream.outbound_flow_control_window -= octets

    def forget(self, stream_id: int) -> None:
        """Drop a stream that is closed; no frame of it comes here any more."""
        self.streams.pop(stream_id, None)

    def _terminate_connection(self, error_code: object) -> None:
        """Leave GOAWAY and closing to the protocol, which lets earlier requests finish."""


def make_connection(config: Config) -> Connection:
    """Return a server's connection that checks no field and refuses no stream."""
    connection = Connection(
        H2Configuration(
            client_side=False,
            header_encoding=None,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    connection.encoder = RememberingEncoder()
    connection.local_settings = Settings(
        client=False,
        initial_values={
            # Above ours, so that the stream over the limit is refused by us, as a stream.
            SettingCodes.MAX_CONCURRENT_STREAMS: config.max_streams + 1_000,
            # Until it has acknowledged a smaller one, the peer may use the default (section 6.9.3);
            # the engine sets it then.
            SettingCodes.INITIAL_WINDOW_SIZE: max(config.stream_window, DEFAULT_WINDOW),
        },
    )
    return connection


def window_update(increment: int) -> WindowUpdateFrame:
    """Return WINDOW_UPDATE for the connection."""
    frame = WindowUpdateFrame(0)
    frame.window_increment = increment
    return frame
