"""TLS: certificates that are not to be trusted, ALPN, cipher suites (RFC 9113 section 9.2)."""

from __future__ import annotations

from ..case import TLS, Case, Level, Script
from ..conversation import Conversation
from ..octets import HEADERS
from ..rules import that
from ..server import Session
from .build import error, optional

TRUST = "A server whose certificate is not good for it must not be talked to."


def _well(c: Conversation) -> None:
    c.greet()
    c.reach()
    c.serve()


def _no_request(session: Session) -> str:
    asked = any(f.type == HEADERS for c in session.conversations for f in c.frames)
    return "it sent its request nevertheless" if asked else ""


def _no_http2(session: Session) -> str:
    spoke = any(greeting.startswith(b"PRI ") for greeting in session.greetings)
    return "it speaks HTTP/2 that was not agreed on" if spoke else ""


def _certificate(number: int, title: str, kind: TLS) -> Case:
    script = Script(f"It shows {title}.", _well)
    rule = that("no request is sent", _no_request)
    return error(f"9110/4.3.4/{number}", title, script, TRUST, rule, tls=kind)


def _alpn(number: int, title: str, kind: TLS) -> Case:
    return optional(
        f"9113/3.2/{number}",
        title,
        Script(f"TLS ends with {title}.", _well),
        "HTTP/2 is spoken only where TLS has agreed on h2.",
        ("gives up", "speaks HTTP/1.1"),
        that("no HTTP/2 is spoken", _no_http2),
        level=Level.MUST,
        tls=kind,
    )


CASES: list[Case] = [
    _certificate(1, "a certificate that has expired", "expired"),
    _certificate(2, "a certificate for another host", "wrong-host"),
    _certificate(3, "a certificate of a CA that nobody trusts", "unknown-ca"),
    _alpn(1, "no protocol agreed on", "no-alpn"),
    _alpn(2, "HTTP/1.1 agreed on", "http/1.1"),
    optional(
        "9113/9.2.2/1",
        "a cipher suite of TLS 1.2 that HTTP/2 prohibits",
        Script("It has nothing but TLS 1.2 with ECDHE-ECDSA-AES128-SHA.", _well),
        "Such a suite may be refused, with INADEQUATE_SECURITY.",
        ("refuses it", "takes it"),
        tls="prohibited",
    ),
    error(
        "9110/4.3.4/4",
        "a connection closed before TLS",
        Script("It closes each connection before TLS begins.", _well),
        "A server that does not speak is an error for the caller.",
        level=Level.ROBUST,
        tls="none",
    ),
]
