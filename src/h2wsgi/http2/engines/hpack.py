"""HPACK: field blocks to field lists and back (RFC 7541). Loop thread only.

The decoder keeps the dynamic table that the peer's encoder fills. The encoder is a function: it
never uses the dynamic table of the peer, so a block it made is right for every connection.

A block is a sequence of representations (section 6), told apart by the top bits of the first octet,
the rest of which begins an integer (section 5.1):

    1xxxxxxx    indexed field                                6.1      index
    01xxxxxx    literal with incremental indexing            6.2.1    index of the name, or 0
    001xxxxx    dynamic table size update                    6.3      size
    0001xxxx    literal never indexed                        6.2.3    index of the name, or 0
    0000xxxx    literal without indexing                     6.2.2    index of the name, or 0

Sizes are in octets and count 32 for each field beside its name and value, in the dynamic table
(section 4.1) as in a field list (RFC 9113 section 6.5.2).
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack.table import HeaderTable

from ...codes import ErrorCode
from ...errors import ConnectionFailed
from ..fields import FIELD_OVERHEAD, FieldList
from .huffman import huffman_decode, huffman_encode

__all__ = ["Decoder", "encode", "huffman_decode", "huffman_encode", "size_update"]

TABLE_SIZE = 4096
"""The dynamic table's largest size: SETTINGS_HEADER_TABLE_SIZE as it is unless changed."""

MAX_TABLE_UPDATES = 2
"""In one field block: to the smallest size and to the last (RFC 7541 section 4.2)."""

MAX_INTEGER_OCTETS = 5
"""Octets of an integer behind its full prefix: enough for any 32-bit number."""

NEVER_INDEXED = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})
"""Fields whose values no one on the way should keep in a table either (section 7.1.3)."""

_STATIC = HeaderTable.STATIC_TABLE
"""Appendix A: indexes 1 to 61."""

_NO_FIELDS: FieldList = [(b"", b"")] * 0x81

_NEWEST = len(_NO_FIELDS) + len(_STATIC)
"""Where the dynamic table begins, with index 62 (section 2.3.3)."""


def _size(name: bytes, value: bytes) -> int:
    return len(name) + len(value) + FIELD_OVERHEAD


_LONGEST_STATIC = max(_size(*field) for field in _STATIC)


def _malformed(reason: str) -> ConnectionFailed:
    return ConnectionFailed(ErrorCode.COMPRESSION_ERROR, reason)


# ------------------------------------------------------------------------------ decoding


class Decoder:
    """The decoder of one connection. ``max_octets``: the size of the longest field list."""

    def __init__(self, max_octets: int) -> None:
        self.generation = 0
        """Changes whenever the dynamic table may have; what indexes mean depends on it."""
        self._max_octets = max_octets
        self._table: FieldList = [*_NO_FIELDS, *_STATIC]
        """Index i is at 0x80 + i, the octet of an indexed field; the newest entry is first."""
        self._size = 0
        """Octets in the dynamic table."""
        self._max_size = TABLE_SIZE
        self._longest = _LONGEST_STATIC
        """The size of the longest entry there ever was."""

    def decode(self, block: bytes) -> FieldList:
        """Return the fields of a whole block.

        Raises:
            ConnectionFailed: COMPRESSION_ERROR, or ENHANCE_YOUR_CALM over ``max_octets``; the
                dynamic table is not in step with the peer's any more.
        """
        fields: FieldList = []
        try:
            self._decode(block, fields)
        except IndexError:
            # What every octet would have to be checked for otherwise.
            raise _malformed("a field block is cut short, or an index beyond the table") from None
        finally:
            # Counted after a mistake too, as the fields before it came first. Most lists are too
            # short to need it: a name or value is from the table or, an octet of Huffman code
            # making less than two, from the block.
            if (
                len(fields) * self._longest + 2 * len(block) > self._max_octets
                and sum([_size(*field) for field in fields]) > self._max_octets
            ):
                raise ConnectionFailed(
                    ErrorCode.ENHANCE_YOUR_CALM,
                    f"a field list is over {self._max_octets} octets",
                    limit="max_field_section",
                )
        return fields

    def _decode(self, block: bytes, fields: FieldList) -> None:
        # One loop over all representations, because a call for each would double the time.
        append = fields.append
        table = self._table
        most_fields = self._max_octets // FIELD_OVERHEAD
        updates = position = 0
        end = len(block)
        while position < end:
            octet = block[position]
            position += 1
            if 0x80 < octet < 0xFF:  # indexed field, most often
                append(table[octet])
                continue
            if octet == 0xFF:  # indexed field
                index, position = _long_integer(block, position, 0x7F)
                append(table[0x80 + index])
            elif octet == 0x80:
                raise _malformed("a field has index 0")
            elif 0x20 <= octet < 0x40:  # dynamic table size update
                updates += 1
                if fields or updates > MAX_TABLE_UPDATES:
                    raise _malformed("a table size update after a field, or too many of them")
                size = octet & 0x1F
                if size == 0x1F:
                    size, position = _long_integer(block, position, 0x1F)
                self._resize(size)
            else:  # literals
                prefix = 0x3F if octet >= 0x40 else 0x0F
                index = octet & prefix
                if index == prefix:
                    index, position = _long_integer(block, position, prefix)
                if index:
                    name = table[0x80 + index][0]
                else:
                    name, position = _string(block, position)
                value, position = _string(block, position)
                field = (name, value)
                if octet >= 0x40:
                    self._insert(field)
                append(field)
                if len(fields) > most_fields:
                    return  # over max_octets whatever they are, and the rest may be long

    def _resize(self, size: int) -> None:
        """Change the dynamic table's maximum size (RFC 7541 section 4.3)."""
        if size > TABLE_SIZE:
            raise _malformed(f"a table size update is over {TABLE_SIZE} octets")
        self.generation += 1
        self._max_size = size
        self._evict(size)

    def _insert(self, field: tuple[bytes, bytes]) -> None:
        """Add an entry; one that is larger than the table empties it (section 4.4)."""
        self.generation += 1
        size = _size(*field)
        if size > self._max_size:
            self._evict(0)
            return
        self._evict(self._max_size - size)
        self._table.insert(_NEWEST, field)
        self._size += size
        if size > self._longest:
            self._longest = size

    def _evict(self, size: int) -> None:
        """Drop the oldest entries until the dynamic table is no larger than ``size``."""
        while self._size > size:
            self._size -= _size(*self._table.pop())


def _long_integer(block: bytes, position: int, number: int) -> tuple[int, int]:
    """Return an integer behind its full prefix ``number``, and where it ends (section 5.1)."""
    shift = 0
    last = position + MAX_INTEGER_OCTETS
    while position < last:
        octet = block[position]
        position += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, position
        shift += 7
    raise _malformed("an integer is too long")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """Return the string literal at ``position``, decoded, and where it ends (section 5.2)."""
    octet = block[position]
    start = position + 1
    length = octet & 0x7F
    if length == 0x7F:
        length, start = _long_integer(block, start, 0x7F)
    end = start + length
    if end > len(block):
        raise _malformed("a string is longer than its field block")
    string = block[start:end]
    return huffman_decode(string) if octet & 0x80 else string, end


# ------------------------------------------------------------------------------ encoding

_INDEXES = {field: index for index, field in enumerate(_STATIC, 1)}
# Reversed, so that of several entries with one name the first is found.
_NAME_INDEXES = {name: index for (name, _), index in reversed(_INDEXES.items())}


def encode(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the block of ``fields``, which uses the static table alone."""
    block = bytearray()
    for name, value in fields:
        if (index := _INDEXES.get((name, value))) is not None:
            block.append(0x80 | index)
            continue
        index = _NAME_INDEXES.get(name, 0)
        block += _encode_integer(index, 0x0F, 0x10 if name in NEVER_INDEXED else 0)
        if not index:
            block += _encode_string(name)
        block += _encode_string(value)
    return bytes(block)


def size_update(size: int) -> bytes:
    """Return the instruction that sets the peer's dynamic table to ``size`` (section 6.3)."""
    return _encode_integer(size, 0x1F, 0x20)


def _encode_integer(number: int, prefix: int, flags: int) -> bytes:
    """Return ``number`` (section 5.1). ``prefix`` is its largest value, ``flags`` the bits above.

    >>> _encode_integer(1337, 0x1F, 0)
    b'\\x1f\\x9a\\n'
    """
    if number < prefix:
        return bytes((flags | number,))
    octets = bytearray((flags | prefix,))
    number -= prefix
    while number >= 0x80:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _encode_string(string: bytes) -> bytes:
    """Return a string literal, Huffman-encoded where that is shorter (section 5.2)."""
    encoded = huffman_encode(string)
    if len(encoded) < len(string):
        return _encode_integer(len(encoded), 0x7F, 0x80) + encoded
    return _encode_integer(len(string), 0x7F, 0) + string
