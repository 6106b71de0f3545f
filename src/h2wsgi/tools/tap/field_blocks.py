"""Field blocks taken apart: which fields they hold, and how each was encoded (RFC 7541).

Pure. A reader keeps a dynamic table of its own for one direction of one connection. It never raises
on what it reads: a broken block says what is wrong with it. The table is then out of step with the
sender's, so the fields of later blocks are unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hpack.table import HeaderTable

from ...errors import ConnectionFailed
from ...http2.engines.huffman import huffman_decode
from ...http2.fields import FIELD_OVERHEAD

_STATIC = HeaderTable.STATIC_TABLE
STATIC_ENTRIES = len(_STATIC)
"""Indexes up to this one are the static table's (61)."""
TABLE_SIZE = 4096
"""Octets of a dynamic table, until SETTINGS allow another size."""
MAX_TABLE_UPDATES = 2
"""Updates of the dynamic table's size in one block (section 4.2)."""
LOST = "not decoded, as an earlier field block was broken"


class Representation(StrEnum):
    """How a field was written (RFC 7541 section 6)."""

    INDEXED = "indexed"
    """Name and value from a table: an index and nothing else."""
    INCREMENTAL = "incremental indexing"
    """A literal that is put into the dynamic table."""
    WITHOUT = "without indexing"
    """A literal that is not put into the dynamic table."""
    NEVER = "never indexed"
    """A literal that no intermediary may put into a table either."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field line, and how it was encoded. Octets above 0x7f are Latin-1."""

    name: str
    value: str
    representation: Representation
    index: int
    """Index of the whole field if it is ``indexed``, else of its name; 0 for a literal name.

    Indexes up to 61 are the static table's, higher ones the dynamic table's.
    """
    name_huffman: bool | None
    """Whether a literal name was Huffman-encoded; None for a name from a table."""
    value_huffman: bool | None
    """Whether a literal value was Huffman-encoded; None for a value from a table."""
    encoded: bytes
    """The octets that the field took on the wire."""

    @property
    def indexed(self) -> bool:
        """Whether the whole field came from a table."""
        return self.representation is Representation.INDEXED

    @property
    def table(self) -> str:
        """The table of ``index``: ``static`` or ``dynamic``; empty for a literal name."""
        if not self.index:
            return ""
        return "static" if self.index <= STATIC_ENTRIES else "dynamic"


@dataclass(frozen=True, slots=True)
class FieldBlock:
    """A whole field block: HEADERS and the CONTINUATION frames behind it."""

    fields: tuple[Field, ...]
    """All fields, or those before the error."""
    octets: int
    """Octets of the block as encoded, without padding and priority."""
    table_updates: tuple[int, ...]
    """The sizes that the block set the dynamic table to (section 6.3)."""
    table_size: int
    """Octets in the dynamic table after the block (section 4.1), 32 for each entry counted."""
    table_entries: int
    """Entries in the dynamic table after the block."""
    table_limit: int
    """The largest size of the dynamic table, as the last update set it."""
    problem: str = ""
    """What is wrong, as a phrase. ``fields`` are incomplete then."""


class _BrokenBlock(Exception):
    """The rest of the block cannot be read."""


class _String(NamedTuple):
    octets: bytes
    huffman: bool
    end: int


class FieldBlockReader:
    """Reads the blocks of one direction, in order."""

    def __init__(self, max_octets: int) -> None:
        """A block is read up to ``max_octets`` of decoded fields, counted as in section 4.1."""
        self.max_table_size = TABLE_SIZE
        """What the reading side's SETTINGS_HEADER_TABLE_SIZE allows."""
        self._max_octets = max_octets
        self._table: list[tuple[bytes, bytes]] = []
        """The dynamic table, the newest entry first."""
        self._size = 0
        self._limit = TABLE_SIZE
        self._lost = False

    def read(self, block: bytes) -> FieldBlock:
        """Return what is in ``block``."""
        if self._lost:
            return self._result((), block, [], LOST)
        fields: list[Field] = []
        updates: list[int] = []
        problem = ""
        try:
            problem = self._read(block, fields, updates)
        except _BrokenBlock as error:
            problem = str(error)
        except ConnectionFailed as error:  # From the Huffman decoder.
            problem = str(error)
        except IndexError:
            problem = "the field block is cut short"
        else:
            return self._result(fields, block, updates, problem)
        self.lose()
        return self._result(fields, block, updates, problem)

    def lose(self) -> None:
        """Read nothing more, as a block was missed and the table is out of step."""
        self._lost = True
        self._table.clear()
        self._size = 0

    def _result(
        self,
        fields: list[Field] | tuple[()],
        block: bytes,
        updates: list[int],
        problem: str,
    ) -> FieldBlock:
        return FieldBlock(
            tuple(fields),
            len(block),
            tuple(updates),
            self._size,
            len(self._table),
            self._limit,
            problem,
        )

    def _read(self, block: bytes, fields: list[Field], updates: list[int]) -> str:
        """Fill ``fields`` and ``updates``; return an error after which the rest is readable."""
        position, decoded, problem = 0, 0, ""
        while position < len(block):
            octet = block[position]
            if 0x20 <= octet < 0x40:
                size, position = _integer(block, position, 0x1F)
                self._resize(size)
                if fields:
                    problem = "a table size update after a field"
                if len(updates) < MAX_TABLE_UPDATES:
                    updates.append(size)
                else:
                    problem = "too many table size updates"
                continue
            field, position = self._field(block, position)
            decoded += len(field.name) + len(field.value) + FIELD_OVERHEAD
            if decoded > self._max_octets:
                raise _BrokenBlock(f"the fields are over {self._max_octets} octets")
            fields.append(field)
        return problem

    def _field(self, block: bytes, start: int) -> tuple[Field, int]:
        octet = block[start]
        if octet >= 0x80:
            index, end = _integer(block, start, 0x7F)
            name, value = self._entry(index)
            return _field(name, value, Representation.INDEXED, index, block[start:end]), end
        representation, prefix = _literal_kind(octet)
        index, position = _integer(block, start, prefix)
        name_huffman = None
        if index:
            name = self._entry(index)[0]
        else:
            name, name_huffman, position = _string(block, position)
        value, value_huffman, end = _string(block, position)
        if representation is Representation.INCREMENTAL:
            self._insert(name, value)
        encoded = block[start:end]
        return (
            _field(name, value, representation, index, encoded, name_huffman, value_huffman),
            end,
        )

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if not index:
            raise _BrokenBlock("a field has index 0")
        if index <= STATIC_ENTRIES:
            return _STATIC[index - 1]
        if index - STATIC_ENTRIES > len(self._table):
            raise _BrokenBlock(f"index {index} is beyond the table")
        return self._table[index - STATIC_ENTRIES - 1]

    def _insert(self, name: bytes, value: bytes) -> None:
        size = len(name) + len(value) + FIELD_OVERHEAD
        self._evict(max(self._limit - size, 0))
        if size <= self._limit:
            self._table.insert(0, (name, value))
            self._size += size

    def _resize(self, size: int) -> None:
        if size > self.max_table_size:
            raise _BrokenBlock(f"a table size update to {size}, over {self.max_table_size} octets")
        self._limit = size
        self._evict(size)

    def _evict(self, size: int) -> None:
        while self._size > size:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + FIELD_OVERHEAD


def _field(
    name: bytes,
    value: bytes,
    representation: Representation,
    index: int,
    encoded: bytes,
    name_huffman: bool | None = None,
    value_huffman: bool | None = None,
) -> Field:
    return Field(
        name.decode("latin-1"),
        value.decode("latin-1"),
        representation,
        index,
        name_huffman,
        value_huffman,
        encoded,
    )


def _literal_kind(octet: int) -> tuple[Representation, int]:
    """Return what a literal's first octet says, and the length of its index's prefix."""
    if octet >= 0x40:
        return Representation.INCREMENTAL, 0x3F
    return (Representation.NEVER if octet & 0x10 else Representation.WITHOUT), 0x0F


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """Return the integer at ``position``, and the position behind it (section 5.1)."""
    number = block[position] & prefix
    position += 1
    if number < prefix:
        return number, position
    for shift in (0, 7, 14, 21, 28):
        octet = block[position]
        position += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, position
    raise _BrokenBlock("an integer is too long")


def _string(block: bytes, position: int) -> _String:
    """Return the string literal at ``position``, decoded (section 5.2)."""
    huffman = block[position] >= 0x80
    length, start = _integer(block, position, 0x7F)
    end = start + length
    if end > len(block):
        raise _BrokenBlock("a string is longer than its field block")
    octets = block[start:end]
    return _String(huffman_decode(octets) if huffman else octets, huffman, end)
