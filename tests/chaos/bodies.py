"""Content that tells whether it is whole: a name, the process that made it, filler, a digest."""

from __future__ import annotations

import hashlib

DIGEST = 64
"""Octets of a digest: SHA-256 in hexadecimal."""


def make(name: str, pid: int, octets: int, note: str = "-") -> bytes:
    """Return content of at least so many octets that belongs to this name alone."""
    head = f"{name} {pid} {note}\n".encode()
    unit = f"{name}.".encode()
    filler = (unit * (octets // len(unit) + 1))[: max(octets - len(head) - DIGEST, 0)]
    return head + filler + hashlib.sha256(head + filler).hexdigest().encode()


def upload(name: str, octets: int) -> bytes:
    """Return what a client of that name sends."""
    return make(name, 0, octets)


def note_of(content: bytes) -> str:
    """Return what says of an upload that it came whole."""
    return hashlib.sha256(content).hexdigest()


def wrong(name: str, octets: int, body: bytes, note: str = "-") -> str:
    """Return what is wrong with the content that came for a name; "" if it is whole and right."""
    content, digest = body[:-DIGEST], body[-DIGEST:]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return f"its digest is another, of {len(body)} octets"
    asked, pid, noted = content.partition(b"\n")[0].decode().split()
    if (asked, noted) != (name, note) or body != make(name, int(pid), octets, note):
        return f"it is of {asked}, and what was read had the digest {noted}"
    return ""
