"""The facts of a certificate: its names, its end, and whether it is self-signed.

The standard library reads a leaf certificate only in a handshake, and ``cryptography`` is optional,
so this module takes the few fields from the DER octets itself (RFC 5280 section 4.1). Nothing is
verified: these are facts for people, not for trust. Pure; any thread. The invariant: octets that
are not understood raise ``ValueError`` and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..process.clock import clock

SEQUENCE, INTEGER, UTC_TIME, GENERALIZED_TIME = 0x30, 0x02, 0x17, 0x18
VERSION, EXTENSIONS = 0xA0, 0xA3
OCTET_STRING, DNS_NAME, IP_ADDRESS = 0x04, 0x82, 0x87
SUBJECT_ALT_NAME = bytes.fromhex("551d11")


NOTICE = timedelta(days=14)
"""The log warns of a certificate this long before its end."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What people want to know of a certificate. ``issuer`` and ``subject`` are DER octets."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer: bytes
    subject: bytes

    @property
    def expired(self) -> bool:
        """Whether the certificate has expired by now."""
        return self.not_after <= clock.now()

    @property
    def self_signed(self) -> bool:
        """Whether issuer and subject are the same."""
        return self.issuer == self.subject

    @property
    def ends_soon(self) -> bool:
        """Whether it has expired or does so within 14 days, or a third of its life if that is less.

        Automatic renewal comes before that, even for a certificate that is good for a week.
        """
        notice = min(NOTICE, (self.not_after - self.not_before) / 3)
        return self.not_after - clock.now() <= notice


def read_certificate(der: bytes) -> CertificateFacts:
    """Return the facts of one DER certificate.

    Raises:
        ValueError: the octets are not a certificate.
    """
    (_, certificate), *_ = _elements(der)
    (_, tbs), *_ = _elements(certificate)
    fields = list(_elements(tbs))
    if fields[0][0] == VERSION:
        del fields[0]
    if len(fields) < 6:
        raise ValueError("not a certificate")
    _serial, _algorithm, (_, issuer), (_, validity), (_, subject), *rest = fields
    ends = list(_elements(validity))
    if len(ends) < 2:
        raise ValueError("no validity")
    extensions = [value for tag, value in rest if tag == EXTENSIONS]
    names = tuple(_names(extensions[0])) if extensions else ()
    return CertificateFacts(names, _time(*ends[0]), _time(*ends[1]), issuer, subject)


def end_of_list(der: bytes) -> datetime | None:
    """Return when a DER revocation list (RFC 5280 section 5.1) must be renewed, None for never.

    Raises:
        ValueError: the octets are not a revocation list.
    """
    (_, revocations), *_ = _elements(der)
    (_, tbs), *_ = _elements(revocations)
    fields = list(_elements(tbs))
    if fields[0][0] == INTEGER:  # the version
        del fields[0]
    if len(fields) < 3:
        raise ValueError("not a revocation list")
    _algorithm, _issuer, _this_update, *rest = fields
    if rest and rest[0][0] in (UTC_TIME, GENERALIZED_TIME):
        return _time(*rest[0])
    return None


def covers(names: Iterable[str], host: str) -> bool:
    """Return whether a certificate for ``names`` is one for ``host`` (RFC 6125 section 6.4).

    A wildcard stands for one label, the first. Names are compared as they are on the wire, IDNs as
    A-labels; an IP address has brackets or none.
    """
    host = host.lower().removesuffix(".")
    try:
        address = str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        label, _, parent = host.partition(".")
        wanted = (host, f"*.{parent}") if label and parent else (host,)
    else:
        wanted = (address,)
    return any(name.lower() in wanted for name in names)


def _elements(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the value of each DER element in ``octets``; at least one."""
    at = 0
    while at < len(octets) or not at:
        if len(octets) < at + 2:
            raise ValueError("cut short")
        tag, length, start = octets[at], octets[at + 1], at + 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(octets[at + 2 : start], "big")
        at = start + length
        if at > len(octets):
            raise ValueError("cut short")
        yield tag, octets[start:at]


def _names(extensions: bytes) -> Iterator[str]:
    (_, sequence), *_ = _elements(extensions)
    for _, extension in _elements(sequence):
        parts = list(_elements(extension))
        if parts[0][1] != SUBJECT_ALT_NAME or parts[-1][0] != OCTET_STRING:
            continue
        (_, general_names), *_ = _elements(parts[-1][1])
        for tag, value in _elements(general_names):
            if tag == DNS_NAME:
                yield value.decode("ascii", "backslashreplace")
            elif tag == IP_ADDRESS:
                yield str(ipaddress.ip_address(value))


def _time(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == UTC_TIME:  # Two digits: 1950 to 2049 (RFC 5280 section 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
