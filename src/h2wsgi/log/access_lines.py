"""A request as a line in the user's own format: see ``--access-log-format``. Any thread.

Every value that a peer may choose is cut, and all that could end it early is escaped, quotation
marks and backslashes as ``\\x22`` and ``\\x5c``: programs read these lines. A missing value is a
hyphen.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import time
from collections.abc import Callable, Iterable

from ..config.access_format import Atom, parse_format
from ..process.clock import clock
from .text import MAX_METHOD, MAX_SHOWN, UTC_OFFSET, AccessRecord, cut, printable

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
"""In English, whatever language the process speaks."""

Value = Callable[[AccessRecord], str]


def line_maker(text: str) -> Callable[[AccessRecord], str]:
    """Return a function that makes a line, with its newline, in the format ``text``."""
    parts = [_value_of(part) for part in (*parse_format(text), "\n")]
    return lambda record: "".join([part(record) for part in parts])


def _value_of(part: str | Atom) -> Value:
    if isinstance(part, str):
        return lambda record: part
    if not part.name:
        return _VALUES[part.kind]
    if part.kind == "e":
        variable = part.name
        return lambda record: _safe(record.variables.get(variable, ""))
    name = part.name.lower().encode("latin-1", "replace")
    if part.kind == "i":
        return lambda record: _safe(field_of(record, name))
    return lambda record: _safe(_joined(record.response_fields, name))


def field_of(record: AccessRecord, name: bytes) -> str:
    """Return a field of the request; Host is :authority if the request has that."""
    if name == b"host" and record.authority is not None:
        return record.authority.decode("latin-1")
    return _joined(record.fields, name)


def _joined(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return ",".join([value.decode("latin-1") for other, value in fields if other == name])


def _safe(text: str, most: int = MAX_SHOWN) -> str:
    if not text:
        return "-"
    text = cut(text, most).replace("\\", "\\x5c").replace('"', "\\x22")
    return printable(text)


def _host(record: AccessRecord) -> str:
    """Return the client's address, without the port, which a proxy may have left out."""
    for host in (record.remote, record.remote.rpartition(":")[0]):
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    return "-"  # a Unix socket, or a name that a proxy has made up


def _port(record: AccessRecord) -> str:
    host, colon, port = record.remote.rpartition(":")
    is_alone = ":" in host and not host.endswith("]")  # an IPv6 address without brackets
    return port if colon and port.isdecimal() and not is_alone else "-"


def _user(record: AccessRecord) -> str:
    """Return the name that Basic authentication gives; nobody has verified it."""
    scheme, _, credentials = field_of(record, b"authorization").partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        decoded = base64.b64decode(credentials.encode("latin-1"), validate=True)
    except ValueError:
        return "-"
    # What follows a space would look like the next value.
    return _safe(decoded.partition(b":")[0].decode("utf-8", "replace")).replace(" ", "\\x20")


def _date(_: AccessRecord) -> str:
    t = time.gmtime(clock.time() + UTC_OFFSET)
    sign, minutes = ("-", -UTC_OFFSET // 60) if UTC_OFFSET < 0 else ("+", UTC_OFFSET // 60)
    return (
        f"[{t.tm_mday:02}/{MONTHS[t.tm_mon - 1]}/{t.tm_year}:{t.tm_hour:02}:{t.tm_min:02}:"
        f"{t.tm_sec:02} {sign}{minutes // 60:02}{minutes % 60:02}]"
    )


def _request(record: AccessRecord) -> str:
    return f"{_method(record)} {_safe(record.path)} {record.protocol}"


def _method(record: AccessRecord) -> str:
    return _safe(record.method, MAX_METHOD)


_VALUES: dict[str, Value] = {
    "h": _host,
    "l": lambda record: "-",
    "u": _user,
    "t": _date,
    "r": _request,
    "m": _method,
    "U": lambda record: _safe(record.path.partition("?")[0]),
    "q": lambda record: _safe(record.path.partition("?")[2]),
    "H": lambda record: record.protocol,
    "s": lambda record: str(record.status or "-"),
    "B": lambda record: str(record.octets),
    "b": lambda record: str(record.octets or "-"),
    "f": lambda record: _safe(field_of(record, b"referer")),
    "a": lambda record: _safe(field_of(record, b"user-agent")),
    "T": lambda record: str(int(record.seconds)),
    "D": lambda record: str(int(record.seconds * 1_000_000)),
    "M": lambda record: str(int(record.seconds * 1_000)),
    "L": lambda record: f"{record.seconds:.6f}",
    "p": lambda record: f"<{os.getpid()}>",
    "port": _port,
    "stream": lambda record: str(record.stream_id or "-"),
    "outcome": lambda record: printable(record.outcome or "complete"),
}
