"""An accepted connection -> what environ says of both ends. Pure, but asks the transport."""

from __future__ import annotations

import functools
import re
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from ..config.trusted_peers import TrustedPeers
from ..seam.forwarded import ForwardedReader
from ..seam.request import ConnectionFacts
from ..tls.certificate import covers
from ..tls.context import facts_of
from .listeners import Listener
from .proxy_header import ProxyHeader

NOBODY = TrustedPeers()
WILDCARDS = frozenset({"", "0.0.0.0", "::"})

# OpenSSL's long names, which ssl gives -> its short names, which RFC 2253 asks for.
_SHORT = {
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "commonName": "CN",
    "domainComponent": "DC",
    "givenName": "GN",
    "surname": "SN",
    "streetAddress": "street",
    "userId": "UID",
}
# Suffixes of mod_ssl's variables that differ from the short names.
_SUFFIXES = {
    "emailAddress": "Email",
    "title": "T",
    "initials": "I",
    "GN": "G",
    "SN": "S",
    "description": "D",
}
_ESCAPED = re.compile(r'[,+"\\<>;]|^[ #]| $|[\x00-\x1f\x7f]')


class Transport(Protocol):
    """What an asyncio transport tells of its connection."""

    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


def connection_facts(
    transport: Transport,
    listener: Listener,
    trusted: TrustedPeers = NOBODY,
    header: ProxyHeader | None = None,
    *,
    number: int = 0,
    misdirected: bool = False,
) -> ConnectionFacts:
    """Return the facts that environ needs (PEP 3333's SERVER_NAME and so on).

    ``header`` is the PROXY header that came, ``trusted`` who is believed what it says of its client
    in a request, ``number`` what the connection is called, ``misdirected`` what the option says.
    """
    facts = _facts_of_socket(transport, listener, number)
    if misdirected:
        facts.covers = _covers(transport)
    if header is not None:
        _apply(header, facts)
        if header.source is None and not header.is_local:
            return facts  # the address is the proxy's, but what is said is somebody else's
    if trusted and trusted.include(facts.remote_address):
        facts.forwarded = ForwardedReader(trusted)
    return facts


def _covers(transport: Transport) -> Callable[[str], bool] | None:
    """Return what says whether the connection's certificate is for a host, if that is known."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None or (certificate := facts_of(tls.context)) is None:
        return None
    return functools.partial(covers, certificate.names)


def _apply(header: ProxyHeader, facts: ConnectionFacts) -> None:
    """Describe the connection that a proxy passes on, in place of the proxy's own."""
    facts.proxy, facts.proxied = facts.peer, header.told
    if header.source is not None:
        facts.remote_address, facts.remote_port = header.source
    facts.server_name = header.server_name or facts.server_name
    facts.server_port = header.destination[1] or facts.server_port
    if header.tls is not None:
        facts.tls = header.tls
        facts.scheme = "https" if header.tls else "http"


def _facts_of_socket(transport: Transport, listener: Listener, number: int) -> ConnectionFacts:
    local = transport.get_extra_info("sockname")
    remote = transport.get_extra_info("peername")
    tls = transport.get_extra_info("ssl_object")
    scheme = "http" if tls is None else "https"
    name, port = listener.name, "443" if tls is not None else "80"
    if isinstance(local, tuple):
        port = str(local[1])
        # No client can use a wildcard for a name; it can use the address that it reached.
        name = str(local[0]) if name in WILDCARDS else name
    address, remote_port = "", ""
    if isinstance(remote, tuple):
        address, remote_port = str(remote[0]), str(remote[1])
    return ConnectionFacts(
        scheme, name, port, address, remote_port, tls_variables(tls), number=number
    )


def tls_variables(tls: ssl.SSLObject | None) -> dict[str, str]:
    """Return what mod_ssl puts into the environment of a request, under its names."""
    if tls is None:
        return {}
    variables = {"HTTPS": "on", "SSL_PROTOCOL": tls.version() or ""}
    if (cipher := tls.cipher()) is not None:
        variables["SSL_CIPHER"] = cipher[0]
        variables["SSL_CIPHER_USEKEYSIZE"] = str(cipher[2])
    certificate = tls.getpeercert()
    variables["SSL_CLIENT_VERIFY"] = "SUCCESS" if certificate else "NONE"
    if certificate and (der := tls.getpeercert(binary_form=True)):
        variables.update(_client_variables(dict(certificate)))
        variables["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(der)
    return variables


def _client_variables(certificate: dict[str, Any]) -> dict[str, str]:
    variables = {
        "SSL_CLIENT_M_SERIAL": str(certificate.get("serialNumber", "")),
        "SSL_CLIENT_M_VERSION": str(certificate.get("version", "")),
        "SSL_CLIENT_V_START": str(certificate.get("notBefore", "")),
        "SSL_CLIENT_V_END": str(certificate.get("notAfter", "")),
    }
    for prefix, part in (("SSL_CLIENT_S_DN", "subject"), ("SSL_CLIENT_I_DN", "issuer")):
        pairs = [
            # PEP 3333: octets, here of UTF-8, one latin-1 character each.
            (_SHORT.get(name, name), value.encode().decode("latin-1"))
            for relative in certificate.get(part, ())
            for name, value in relative
        ]
        # RFC 2253: the most specific attribute comes first, separators are escaped.
        variables[prefix] = ",".join(
            f"{name}={_ESCAPED.sub(_escape, value)}" for name, value in reversed(pairs)
        )
        seen: Counter[str] = Counter()
        for name, value in pairs:
            suffix = _SUFFIXES.get(name, name)
            number = f"_{seen[suffix]}" if seen[suffix] else ""
            variables[f"{prefix}_{suffix}{number}"] = value
            seen[suffix] += 1
    return variables


def _escape(match: re.Match[str]) -> str:
    # A control character as its octet in hexadecimal: a name must not make a line of its own.
    return f"\\{match[0]}" if match[0].isprintable() else f"\\{ord(match[0]):02X}"
