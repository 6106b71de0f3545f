"""An HPACK decoder that forgives nothing but what a planted defect makes it forgive (RFC 7541)."""

from __future__ import annotations

from collections.abc import Callable

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.table import HeaderTable

STATIC = HeaderTable.STATIC_TABLE
EOS = 256
CODES = {
    (length, code): symbol
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
}
MAX_TABLE = 4096
Field = tuple[bytes, bytes]


class Broken(Exception):
    """The block cannot be decoded."""


class TooLarge(Exception):
    """The fields are more than this client takes."""


class Decoder:
    """``has`` tells whether a defect is planted."""

    def __init__(self, has: Callable[[str], bool], max_octets: int) -> None:
        self._has = has
        self._max_octets = max_octets
        self.table: list[Field] = []
        self.limit = MAX_TABLE

    def _refuse(self, defect: str) -> None:
        if not self._has(defect):
            raise Broken(defect)

    def decode(self, block: bytes) -> list[Field]:
        """Return the fields of a block."""
        fields: list[Field] = []
        at = octets = 0
        try:
            while at < len(block):
                if block[at] & 0xE0 == 0x20:
                    if fields:
                        self._refuse("takes a size update behind a field")
                    size, at = self._integer(block, at, 5)
                    if size > MAX_TABLE:
                        self._refuse("takes a size update over the limit")
                    self.limit = size
                    if not self._has("does not evict at a size update"):
                        self._evict()
                    continue
                field, at = self._field(block, at)
                octets += len(field[0]) + len(field[1]) + 32
                if octets > self._max_octets and not self._has("has no limit for fields"):
                    raise TooLarge
                fields.append(field)
        except IndexError:
            self._refuse("takes a block that is cut short")
        return fields

    def _field(self, block: bytes, at: int) -> tuple[Field, int]:
        first = block[at]
        if first & 0x80:
            index, at = self._integer(block, at, 7)
            return self._entry(index), at
        prefix = 6 if first & 0x40 else 4
        index, at = self._integer(block, at, prefix)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = self._string(block, at)
        value, at = self._string(block, at)
        is_added = bool(first & 0x40) or (
            self._has("adds fields that are not to be indexed") and first & 0xF0 == 0
        )
        if is_added and not self._has("has no dynamic table"):
            self.table.insert(0, (name, value))
            self._evict()
        return (name, value), at

    def _entry(self, index: int) -> Field:
        if index == 0:
            self._refuse("takes index 0")
            return (b"x-zero", b"")
        if index <= len(STATIC):
            return STATIC[index - 1]
        if index - len(STATIC) > len(self.table):
            self._refuse("takes an index beyond the table")
            return (b"x-beyond", b"")
        return self.table[index - len(STATIC) - 1]

    def _evict(self) -> None:
        if self._has("never evicts"):
            return
        while sum(len(n) + len(v) + 32 for n, v in self.table) > self.limit:
            self.table.pop()

    def _integer(self, block: bytes, at: int, prefix: int) -> tuple[int, int]:
        largest = (1 << prefix) - 1
        number = block[at] & largest
        at += 1
        if number < largest:
            return number, at
        for shift in range(0, 7 * 100, 7):
            octet = block[at]
            at += 1
            number += (octet & 0x7F) << shift
            if self._has("wraps integers at 32 bits"):
                number %= 2**32
            elif self._has("wraps integers at 64 bits"):
                number %= 2**64
            elif number >= 2**32:
                raise Broken("an integer that is too large")
            if octet < 0x80:
                break
        return number, at

    def _string(self, block: bytes, at: int) -> tuple[bytes, int]:
        is_huffman = bool(block[at] & 0x80)
        length, at = self._integer(block, at, 7)
        if at + length > len(block):
            self._refuse("takes a block that is cut short")
        text = block[at : at + length]
        return (self._huffman(text) if is_huffman else text), at + length

    def _huffman(self, text: bytes) -> bytes:
        out = bytearray()
        code = length = 0
        for octet in text:
            for bit in range(7, -1, -1):
                code = code << 1 | (octet >> bit & 1)
                length += 1
                symbol = CODES.get((length, code))
                if symbol is None:
                    continue
                code = length = 0
                if symbol != EOS:
                    out.append(symbol)
                else:
                    self._refuse("takes EOS in a string")
        if length > 7:
            self._refuse("takes padding of more than 7 bits")
        if code != (1 << length) - 1:
            self._refuse("takes padding that is not ones")
        return bytes(out)
