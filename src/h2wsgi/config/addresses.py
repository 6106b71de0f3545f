"""``HOST:PORT``, ``[IPV6]:PORT``, ``unix:PATH``, ``fd://N``, ``fd://``: what an address says.

Pure, except :func:`from_the_root`, which asks for the current folder, and :func:`check_host`, which
blocks in name resolution.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket

from ..errors import ConfigurationError
from .options import absolute

MAX_PORT = 65535
SERVICES = {"http": 80, "https": 443}
ALL_HANDED = "fd://"
"""All sockets that a service manager has handed over."""
SOCKET_PATH = 107
"""Octets that the path of a Unix socket may have, on Linux; other systems have fewer."""


def check_addresses(addresses: tuple[str, ...]) -> None:
    """Check every address before any is opened.

    Raises:
        ConfigurationError: an address is malformed or given twice.
    """
    seen: set[str] = set()
    for address in addresses:
        port = 1
        if address == ALL_HANDED:
            pass
        elif address.startswith("fd://"):
            address = f"fd://{descriptor_of(address)}"
            if ALL_HANDED in addresses:
                raise ConfigurationError(
                    f"The address {address} (--bind) is given twice, as {ALL_HANDED} is all "
                    "sockets that are handed over.",
                    f"Give {ALL_HANDED} alone, or each by its number.",
                )
        elif not address.startswith("unix:"):
            _, port = parse_host_port(address)
        key = address if address.startswith("unix:") else address.lower()
        if key in seen and port:  # Port 0 is a different port each time.
            raise ConfigurationError(
                f"The address {address} (--bind) is given twice.",
                "Give it once: an address is served over TLS or in cleartext, not both.",
            )
        seen.add(key)


def from_the_root(address: str) -> str:
    """Return an address with its path, if it has one, made absolute.

    Raises:
        ConfigurationError: there is no current folder.
    """
    if not address.startswith("unix:"):
        return address
    path = absolute(address.removeprefix("unix:"), "--bind")
    # A relative path may be short enough for a socket even if the absolute one is not.
    return f"unix:{path}" if len(os.fsencode(path)) <= SOCKET_PATH else address


def check_host(address: str) -> None:
    """Resolve the host of ``HOST:PORT``, to be sure that it exists.

    Raises:
        ConfigurationError: the host does not exist.
    """
    if address.startswith(("unix:", "fd://")):
        return
    host, port = parse_host_port(address)
    try:
        socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise unresolved(address, error) from None


def unresolved(address: str, error: Exception) -> ConfigurationError:
    """Return what to raise for an address whose host has no IP address."""
    reason = getattr(error, "strerror", None) or error
    return ConfigurationError(
        f"The host of {address} (--bind) cannot be resolved: {reason}.",
        "Give a name or an IP address of this machine, such as localhost:8443.",
    )


def parse_host_port(address: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; brackets come off an IPv6 literal, ``*`` becomes an empty host.

    Raises:
        ConfigurationError: it is something else.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    valid_host = _is_ipv6(host[1:-1]) if bracketed else not set(host) & set(":/[] ")
    is_number = port.isascii() and port.isdigit()
    if colon and valid_host and is_number and (len(port) > 5 or int(port) > MAX_PORT):
        raise ConfigurationError(
            f"The address {address} (--bind) has a port that does not exist.",
            f"Ports go up to {MAX_PORT}; 0 takes a free one.",
        )
    if not colon or not valid_host or not is_number or host == "fd":
        raise ConfigurationError(
            f"The address {address} (--bind) is not HOST:PORT, [IPV6]:PORT, unix:PATH or fd://N.",
            _address_hint(address),
        )
    return (host[1:-1] if bracketed else "" if host == "*" else host), int(port)


def joined(host: str, port: str) -> str:
    """Return a host and, if there is one, its port, as one text."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else shown


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _address_hint(address: str) -> str:
    """Return what was probably meant by a malformed address."""
    scheme, _, rest = address.rpartition("://")
    if scheme:
        authority = rest.partition("/")[0]
        return f"Leave out the scheme: {authority if ':' in authority else authority + ':8443'}."
    if address.isascii() and address.isdigit() and len(address) < 6 and int(address) <= MAX_PORT:
        return f"Did you mean localhost:{address}?"
    if number := re.fullmatch(r"fd[:@]/{0,3}(\d+)", address, re.ASCII):
        return f"Did you mean fd://{number[1]}?"
    if address.startswith(("/", "./", "../", "~")) or address.endswith((".sock", ".socket")):
        return f"Did you mean unix:{address}?"
    if found := re.fullmatch(r"([\w.-]+|\[[\w:.]+\])[:\s]\s*(\d+)/?", address.strip(), re.ASCII):
        if found[1].startswith("[") and not _is_ipv6(found[1][1:-1]):
            return f"{found[1][1:-1]} is no IPv6 address."
        return f"Did you mean {found[1]}:{found[2]}?"
    host, _, port = address.rpartition(":")
    if _is_ipv6(host) and re.fullmatch(r"\d{2,5}", port, re.ASCII):
        return f"Did you mean [{host}]:{port}?"
    if port in SERVICES and ":" not in host:
        return f"Did you mean {host}:{SERVICES[port]}?"
    if host and not port and ":" not in host:
        return f"Did you mean {host}:8443?"
    if _is_ipv6(inner := address.strip("[]")):
        return f"Did you mean [{inner}]:8443?"
    if address == "*" or re.fullmatch(r"[a-zA-Z][\w.-]*|\d+(\.\d+){3}", address, re.ASCII):
        return f"Did you mean {address}:8443?"
    return "For example localhost:8443, [::1]:8443 or unix:/run/h2wsgi.sock."


def descriptor_of(address: str) -> int:
    """Return the number of ``fd://N``.

    Raises:
        ConfigurationError: there is none.
    """
    number = address.removeprefix("fd://")
    if number.isascii() and number.isdigit() and len(number) < 10:
        return int(number)
    raise ConfigurationError(
        f"The address {address} (--bind) names no file descriptor.",
        "fd:// takes the number of a listening socket, such as fd://3.",
    )
