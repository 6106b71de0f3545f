"""HPACK field blocks -> field lists, with the limits that the hpack library leaves open.

Loop thread only. RFC 7541.
"""

from __future__ import annotations

from hpack import (
    Decoder,
    HPACKError,
    InvalidTableIndexError,
    InvalidTableSizeError,
    OversizedHeaderListError,
)

from ...codes import ErrorCode
from ...errors import ConnectionFailed
from ..fields import FieldList

MAX_TABLE_UPDATES = 2
"""In one field block: to the smallest size and to the last (RFC 7541 section 4.2)."""

KNOWN_BLOCKS = 16
KNOWN_BLOCK_SIZE = 64
"""Octets, each of which is a field."""


class BlockDecoder:
    """The decoder of one connection. ``max_octets`` of decoded fields, overhead counted."""

    def __init__(self, max_octets: int) -> None:
        self._decoder = Decoder(max_header_list_size=max_octets)
        self._known: dict[bytes, FieldList] = {}
        """Blocks that only refer to the tables, while the dynamic one does not change."""

    def decode(self, block: bytes) -> FieldList:
        """Return the fields of a whole block.

        Raises:
            ConnectionFailed: COMPRESSION_ERROR, or ENHANCE_YOUR_CALM over ``max_octets``; the
                dynamic table is not in step with the peer's any more.
        """
        if (known := self._known.get(block)) is not None:
            return known
        _check_table_updates(block)
        try:
            fields = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ConnectionFailed(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a field list is over {self._decoder.max_header_list_size} octets",
                limit="max_field_section",
            ) from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, _what_is_wrong(error)) from error
        checked = [(bytes(name), bytes(value)) for name, value in fields]
        self._remember(block, checked)
        return checked

    def _remember(self, block: bytes, fields: FieldList) -> None:
        # An octet from 0x81 to 0xfe is a field by its index, whole (RFC 7541 section 6.1). Any
        # other block may change the dynamic table, and with it what the indexes mean.
        indexes_only = block and min(block) > 0x80 and max(block) < 0xFF
        if not indexes_only or len(self._known) >= KNOWN_BLOCKS:
            self._known.clear()
        if indexes_only and len(block) <= KNOWN_BLOCK_SIZE:
            self._known[block] = fields


def _what_is_wrong(error: Exception) -> str:
    """Return what the client is told. hpack's own words show objects with their addresses."""
    if isinstance(error, InvalidTableIndexError):
        return "an index is beyond the table"
    if isinstance(error, InvalidTableSizeError):
        return "a table size update is too large"
    return "a field block is broken"


def _check_table_updates(block: bytes) -> None:
    """Refuse a block that begins with more table size updates than it can need.

    hpack takes any number of them, at a cost far above that of sending them.

    Raises:
        ConnectionFailed: COMPRESSION_ERROR.
    """
    position = updates = 0
    while position < len(block) and block[position] & 0xE0 == 0x20:
        updates += 1
        if updates > MAX_TABLE_UPDATES:
            raise ConnectionFailed(ErrorCode.COMPRESSION_ERROR, "too many table size updates")
        # The size goes on in further octets behind a full prefix, while their top bit is set.
        goes_on = block[position] & 0x1F == 0x1F
        position += 1
        while goes_on and position < len(block):
            goes_on = block[position] & 0x80 != 0
            position += 1
