"""Field blocks in every representation, right and wrong (RFC 7541)."""

from __future__ import annotations

from ...codes import ErrorCode, Setting
from .. import octets
from ..case import Case, Level, Script, Step, Want
from ..conversation import Conversation, Request
from ..octets import block, indexed, integer, literal, string, table_size
from ..rules import Rule, that
from ..scripts import response, with_block
from ..server import Session
from .build import ends_connection, fine

COMPRESSION = ErrorCode.COMPRESSION_ERROR
STATUS = indexed(8)
TYPE = literal("content-type", "text/plain") + literal("access-control-allow-origin", "*")
CHECK = {"check": "right"}
BROKEN = "A field block that cannot be decoded is a connection error of type COMPRESSION_ERROR."
DECODES = "Every representation of a field has to be understood."
TABLE = "The dynamic table has to be kept as RFC 7541 section 4 says, or fields go wrong later."
ONES = b"\xff"
DATE = 33
"""An index of the static table."""


def _good(id: str, title: str, encoded: bytes, advice: str = DECODES) -> Case:
    return fine(id, title, with_block(title, STATUS + TYPE + encoded), advice, fields=CHECK)


def _bad(id: str, title: str, encoded: bytes, advice: str = BROKEN) -> Case:
    return ends_connection(
        id, title, with_block(title, STATUS + TYPE + encoded), advice, COMPRESSION
    )


def _head_and_trailers(title: str, head: bytes, trailers: bytes) -> Script:
    """Put something into the table with the head, and use it in the trailers."""

    def make(request: Request) -> bytes:
        return (
            octets.head(request.stream, STATUS + TYPE + head)
            + octets.data(request.stream, request.content)
            + octets.head(request.stream, trailers, end=True)
        )

    return response(f"a response with {title}", make)


def _with_trailers(id: str, title: str, head: bytes, trailers: bytes) -> Case:
    script = _head_and_trailers(title, head, trailers)
    return fine(id, title, script, TABLE, fields={"trailer": "right"})


def _breaks_trailers(id: str, title: str, head: bytes, trailers: bytes) -> Case:
    script = _head_and_trailers(title, head, trailers)
    return ends_connection(id, title, script, BROKEN, COMPRESSION)


def _second(c: Conversation) -> None:
    """Fields that the first response put into the table are all of the second one's."""
    c.greet()
    first = c.request()
    kept = STATUS + literal("content-type", "text/plain", kind=0x40)
    kept += literal("x-check", "right", kind=0x40)
    c.send(octets.head(first.stream, kept))
    c.content(first, first.content)
    second = c.request()
    c.reach()
    c.send(octets.head(second.stream, STATUS + indexed(62) + indexed(63)))
    c.content(second, second.content)


def _no_table(c: Conversation) -> None:
    """Tell the client that the server keeps no table, and see what its encoder does."""
    c.greet((Setting.HEADER_TABLE_SIZE, 0))
    c.respond(c.request())
    c.until(c.acknowledged, 2)
    second = c.request()
    c.reach()
    c.respond(second)


def _own_table(c: Conversation) -> None:
    """The server takes no table; what it sends uses the client's nevertheless."""
    c.greet((Setting.HEADER_TABLE_SIZE, 0))
    request = c.request()
    c.until(c.acknowledged, 2)
    c.reach()
    kept = literal("x-trailer", "right", kind=0x40)
    c.send(octets.head(request.stream, STATUS + TYPE + kept))
    c.content(request, request.content, end=False)
    c.send(octets.head(request.stream, indexed(62), end=True))


def _uses_no_table(session: Session) -> str:
    for conversation in session.conversations:
        blocks = [f.block for f in conversation.frames if f.block is not None]
        for number, read in enumerate(blocks):
            if read.problem:
                return f"its field block: {read.problem}"
            if number and read.table_entries:
                return "it goes on putting fields into the table"
    return ""


NO_TABLE: Rule = that("the client's field blocks use no dynamic table", _uses_no_table)
BIG = "v" * 1500

CASES: list[Case] = [
    # ---------------------------------------------------------------- representations (section 6)
    _good(
        "7541/6.2.1/1",
        "a literal that is put into the table",
        literal("x-check", "right", kind=0x40),
    ),
    _good("7541/6.2.2/1", "a literal without indexing", literal("x-check", "right")),
    _good(
        "7541/6.2.3/1", "a literal that is never indexed", literal("x-check", "right", kind=0x10)
    ),
    _good(
        "7541/6.2.1/2",
        "a field's name from the static table",
        literal(54, "clientspec", kind=0x40) + literal("x-check", "right"),
    ),
    _good(
        "7541/6.2.3/2",
        "a never indexed field whose name is from the static table",
        literal(54, "clientspec", kind=0x10) + literal("x-check", "right"),
    ),
    _good(
        "7541/6.1/1",
        "a field from the dynamic table in the same block",
        literal("x-other", "1", kind=0x40) + literal("x-check", "right", kind=0x40) + indexed(63),
    ),
    _good(
        "7541/6.2.1/3",
        "a name from the dynamic table",
        literal("x-other", "1", kind=0x40) + literal(62, "2") + literal("x-check", "right"),
    ),
    _good(
        "7541/6.1/2",
        "fields of the static table",
        b"".join(indexed(index) for index in (19, 21, 24, 29, 44, 59))
        + literal("x-check", "right"),
    ),
    _good("7541/6.2.2/2", "an empty value", literal("x-empty", "") + literal("x-check", "right")),
    _good(
        "7541/5.1/1", "a long value", literal("x-long", "l" * 5000) + literal("x-check", "right")
    ),
    _good(
        "7541/5.1/2",
        "an integer with more octets than it needs",
        b"\x00\x06x-long\x7f\x80\x00" + b"l" * 127 + literal("x-check", "right"),
    ),
    # -------------------------------------------------------------------------- Huffman (5.2)
    _good(
        "7541/5.2/1",
        "names and values in Huffman's code",
        literal("x-check", "right", huffman=True),
    ),
    _good(
        "7541/5.2/2",
        "every octet in Huffman's code",
        literal("x-octets", bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100)), huffman=True)
        + literal("x-check", "right"),
    ),
    _good(
        "7541/5.2/3",
        "an empty string in Huffman's code",
        b"\x00" + string("x-empty") + b"\x80" + literal("x-check", "right"),
    ),
    _bad(
        "7541/5.2/4",
        "padding of a whole octet",
        b"\x00" + string("x-padded") + integer(2, 7, 0x80) + b"\x07" + ONES,
    ),
    _bad(
        "7541/5.2/5",
        "padding that is not ones",
        b"\x00" + string("x-padded") + integer(1, 7, 0x80) + b"\x00",
    ),
    _bad(
        "7541/5.2/6",
        "EOS in a string",
        b"\x00" + string("x-eos") + integer(5, 7, 0x80) + b"\x1f\xff\xff\xff\xff",
    ),
    # ------------------------------------------------------------------ indexes and integers
    _bad("7541/6.1/3", "index 0", indexed(0)),
    _bad("7541/2.3.3/1", "an index beyond the table", indexed(62)),
    _bad("7541/2.3.3/2", "a name's index beyond the table", literal(100, "x", kind=0x40)),
    # In 32 or 64 bits these two are the index of a good field.
    _bad("7541/5.1/3", "an integer over 2^32", integer(2**32 + DATE, 7, 0x80)),
    _bad("7541/5.1/6", "an integer over 2^64", integer(2**64 + DATE, 7, 0x80)),
    _bad("7541/5.1/4", "an integer of a hundred octets", b"\xff" + b"\xff" * 100 + b"\x00"),
    _bad("7541/5.1/5", "an integer that is cut short", b"\xff\x80"),
    _bad("7541/5.2/7", "a string that is cut short", b"\x00" + b"\x7fx-short"),
    _bad("7541/6.2.2/3", "a field without its value", b"\x00" + string("x-none")),
    # ------------------------------------------------------------- dynamic table (sections 4, 6.3)
    fine(
        "7541/6.3/1",
        "a size update to 0 and back",
        with_block(
            "a size update to 0 and one to 4,096",
            table_size(0)
            + table_size(4096)
            + STATUS
            + TYPE
            + literal("x-check", "right", kind=0x40),
        ),
        "A block may begin with two size updates.",
        fields=CHECK,
    ),
    ends_connection(
        "7541/6.3/2",
        "a size update over the limit",
        response(
            "a response whose field block sets the table to more than the client allows",
            lambda r: (
                octets.head(r.stream, table_size(2**24) + STATUS + TYPE)
                + octets.data(r.stream, r.content, end=True)
            ),
        ),
        "A size update beyond SETTINGS_HEADER_TABLE_SIZE is a decoding error.",
        COMPRESSION,
    ),
    _bad(
        "7541/4.2/1",
        "a size update behind a field",
        table_size(100) + literal("x-check", "right"),
        "Size updates come at the beginning of a block: elsewhere they are a decoding error.",
    ),
    _with_trailers(
        "7541/2.3.2/1",
        "trailers from the dynamic table",
        literal("x-trailer", "right", kind=0x40),
        indexed(62),
    ),
    _with_trailers(
        "7541/4.4/1",
        "a field that evicts others",
        literal("x-old", BIG, kind=0x40)
        + literal("x-trailer", "right", kind=0x40)
        + literal("x-new", BIG, kind=0x40)
        + literal("x-newer", "x" * 1800, kind=0x40),
        indexed(64),
    ),
    _breaks_trailers(
        "7541/4.4/2",
        "an index that was evicted",
        literal("x-old", BIG, kind=0x40)
        + literal("x-new", BIG, kind=0x40)
        + literal("x-newer", "x" * 1800, kind=0x40),
        indexed(64),
    ),
    _with_trailers(
        "7541/4.4/3",
        "a field larger than the table",
        literal("x-old", "1", kind=0x40) + literal("x-huge", "h" * 4200, kind=0x40),
        literal("x-trailer", "right", kind=0x40),
    ),
    _breaks_trailers(
        "7541/4.4/4",
        "an index into a table that a field larger than it has emptied",
        literal("x-old", "1", kind=0x40) + literal("x-huge", "h" * 4200, kind=0x40),
        indexed(62),
    ),
    _breaks_trailers(
        "7541/4.3/1",
        "an index into a table that a size update has emptied",
        literal("x-old", "1", kind=0x40),
        table_size(0) + table_size(4096) + indexed(62),
    ),
    _breaks_trailers(
        "7541/6.2.2/4",
        "an index of a field that is not to be indexed",
        literal("x-old", "1"),
        indexed(62),
    ),
    Case(
        id="7541/2.3.2/2",
        title="a response from the table of the one before",
        level=Level.MUST,
        script=Script("Its second response is all from the dynamic table.", _second),
        steps=(Step(Want.WHOLE), Step(Want.WHOLE)),
        wire=(),
        advice=TABLE,
        fields=CHECK,
    ),
    Case(
        id="7541/4.2/2",
        title="HEADER_TABLE_SIZE of 0",
        level=Level.MUST,
        script=Script("It sets HEADER_TABLE_SIZE to 0.", _no_table),
        steps=(Step(Want.WHOLE), Step(Want.WHOLE)),
        wire=(NO_TABLE,),
        advice="An encoder keeps its table within the other side's SETTINGS_HEADER_TABLE_SIZE.",
    ),
    fine(
        "7541/4.2/3",
        "a table of the client's size under HEADER_TABLE_SIZE of 0",
        Script("It sets HEADER_TABLE_SIZE to 0, and uses the client's table.", _own_table),
        "SETTINGS_HEADER_TABLE_SIZE of a server is about what the client encodes, nothing else.",
        fields={"trailer": "right"},
    ),
    fine(
        "9113/4.3/1",
        "a response without any field but :status",
        with_block("nothing but :status", block([(":status", "200")])),
        "A response needs no field but :status.",
    ),
]
