"""What the suite's server shows of itself: a good certificate, bad ones, and odd TLS.

Made on the main thread, used on any. All leaves are signed by the development CA, so that each bad
one has one thing wrong with it; the CA of ``unknown-ca`` signs once, and its key is never written.
"""

from __future__ import annotations

import ssl
import tempfile
import typing
from datetime import timedelta
from pathlib import Path

from ..process.clock import clock
from ..tls.development import (
    NAMES,
    cache_folder,
    ensure_development_certificate,
    write_file,
)
from .case import TLS

CASES_HOST = "case.localhost"
"""Each case that a browser plays has a host in this domain: what a browser has learned of a host,
such as to speak HTTP/1.1 from now on, it keeps for all its ports."""
OTHER_NAMES: tuple[str, ...] = ("other.localhost",)
PROHIBITED = "ECDHE-ECDSA-AES128-SHA"
"""A suite of TLS 1.2 that RFC 9113 appendix A lists."""
DAY = timedelta(days=1)


class Identities:
    """A TLS context for each kind of server, and the CA that clients are to trust."""

    def __init__(self) -> None:
        made = ensure_development_certificate()
        self.ca = made.ca
        self._contexts = {kind: self._make(kind) for kind in typing.get_args(TLS)}

    def context(self, kind: TLS) -> ssl.SSLContext:
        """Return the context of a kind."""
        return self._contexts[kind]

    def _make(self, kind: TLS) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if kind != "no-alpn":
            context.set_alpn_protocols(["http/1.1" if kind == "http/1.1" else "h2"])
        if kind == "prohibited":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(PROHIBITED)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "leaf.pem"
            write_file(path, _leaf(kind), mode=0o600)
            context.load_cert_chain(path)
        return context


def _leaf(kind: TLS) -> bytes:
    """Return a certificate and its key as PEM."""
    from ..tls.issuing import Pair, authority, leaf

    now = clock.now()
    folder = cache_folder()
    issuer = Pair.from_pem((folder / "ca.crt").read_bytes(), (folder / "ca.key").read_bytes())
    begins, ends = now - DAY, now + DAY
    names: tuple[str, ...] = (*NAMES, f"*.{CASES_HOST}")
    if kind == "expired":
        begins, ends = now - 60 * DAY, now - DAY
    elif kind == "wrong-host":
        names = OTHER_NAMES
    elif kind == "unknown-ca":
        issuer = authority("h2wsgi unknown CA", NAMES, begins, ends)
    made = leaf(issuer, names, begins, ends)
    return made.certificate_pem() + made.key_pem()
