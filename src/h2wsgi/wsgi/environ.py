"""RequestFields -> the environ of PEP 3333. Pure.

What all requests of a connection share is built once and copied; a field's environ key is
remembered, since real clients use few names.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from ..config.addresses import joined
from ..seam.forwarded import DEFAULT_PORTS, Forwarded, split_host
from ..seam.request import ConnectionFacts, RequestFields

# Names that environ carries in another place, or must not carry at all: content-type and
# content-length have keys of their own, host yields to :authority, and HTTP_PROXY is what
# libraries read as their proxy setting ("httpoxy", CVE-2016-5385).
_SPECIAL = frozenset({b"content-type", b"content-length", b"host", b"proxy"})
REMEMBERED_NAME = 64
"""Octets of the longest field name whose key is remembered: clients cannot make the cache large."""


def connection_template(
    facts: ConnectionFacts,
    *,
    root_path: str,
    multithread: bool,
    multiprocess: bool,
    errors: object,
    file_wrapper: object,
) -> dict[str, Any]:
    """Return the entries that are equal for every request of a connection."""
    template: dict[str, Any] = {
        "SCRIPT_NAME": _script_name(root_path),
        "SERVER_NAME": facts.server_name,
        "SERVER_PORT": facts.server_port,
        "SERVER_PROTOCOL": "HTTP/2.0",  # RFC 3875 section 4.1.16: digits on both sides of a dot
        "SERVER_SOFTWARE": "h2wsgi",
        "REMOTE_ADDR": facts.remote_address,
        "REMOTE_PORT": facts.remote_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": facts.scheme,
        "wsgi.input": None,
        "wsgi.errors": errors,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": file_wrapper,
        "wsgi.input_terminated": True,
        # Set for each request, as wsgi.input is; h2wsgi.trailers only for one with content.
        "wsgi.early_hints": None,
        "wsgi.ext.http.send_trailers": None,
        "h2wsgi.stream": None,
        "h2wsgi.trailers": _no_trailers,
    }
    template.update(facts.tls)
    if facts.proxy:
        template["h2wsgi.proxy"] = facts.proxied
    return template


def _no_trailers() -> list[tuple[str, str]]:
    """Return the trailers of a request without content."""
    return []


def _script_name(root_path: str) -> str:
    """Return a configured prefix as RFC 3875 wants it: empty, or a slash first and none last."""
    prefix = root_path.strip("/")
    # PEP 3333: each octet of a path is the character with that number.
    return "/" + prefix.encode("utf-8", "surrogateescape").decode("latin-1") if prefix else ""


def build_environ(
    request: RequestFields, connection: ConnectionFacts, dropped: list[bytes]
) -> dict[str, Any]:
    """Return a fresh environ: the connection's template plus this request's own entries.

    Fields with an underscore in their name are left out, and their names added to ``dropped``,
    unless that was done for an earlier request like this one.

    What does not depend on the path is kept on the request, for later ones that are like it. If
    two threads make it at once, their results are equal, and either may stay.
    """
    known = request.environ
    if known is None:
        like = request.like or request
        known = like.environ
        if known is None:
            known = like.environ = _known_part(like, connection, dropped)
        if like is not request:
            known = known.copy()
            _set_path(known, request.path)
            if not request.repeated:
                return known
            request.environ = known
    return known.copy()


def _known_part(
    request: RequestFields, connection: ConnectionFacts, dropped: list[bytes]
) -> dict[str, Any]:
    assert connection.environ_template is not None
    environ = connection.environ_template.copy()
    environ["REQUEST_METHOD"] = request.method
    if request.content_length is not None:
        environ["CONTENT_LENGTH"] = str(request.content_length)
    if request.authority is not None:
        environ["HTTP_HOST"] = request.authority.decode("latin-1")
    _add_fields(environ, request.fields, dropped)
    if connection.forwarded is not None:
        _set_forwarded(environ, connection.forwarded.read(request.fields))
    _set_path(environ, request.path)
    return environ


def _set_forwarded(environ: dict[str, Any], told: Forwarded) -> None:
    """Describe the client in place of its proxy, as far as the proxy told."""
    if told.address is not None:
        environ["REMOTE_ADDR"] = told.address
        environ["REMOTE_PORT"] = told.port or ""
    if told.scheme is not None:
        environ["wsgi.url_scheme"] = told.scheme
        environ.pop("HTTPS", None)
        if told.scheme == "https":
            environ["HTTPS"] = "on"
    if told.prefix is not None:
        environ["SCRIPT_NAME"] = told.prefix
    if told.scheme is None and told.host is None and told.server_port is None:
        return
    name, port = split_host(told.host or environ.get("HTTP_HOST", ""))
    default = DEFAULT_PORTS[environ["wsgi.url_scheme"]]
    port = told.server_port or port or default
    environ["SERVER_PORT"] = port
    if told.host is not None:
        environ["SERVER_NAME"] = name
    if told.host is not None or (told.server_port is not None and name):
        environ["HTTP_HOST"] = joined(name, "" if port == default else port)


def _set_path(environ: dict[str, Any], target: bytes) -> None:
    raw = target.decode("latin-1")
    path, _, query = raw.partition("?")
    root_path = environ["SCRIPT_NAME"]
    if root_path or "%" in path or path == "*":
        path = _path_info(path, root_path)
    environ["PATH_INFO"] = path
    environ["QUERY_STRING"] = query
    environ["RAW_URI"] = raw
    environ["REQUEST_URI"] = raw


def _path_info(path: str, root_path: str) -> str:
    if path == "*":
        return ""  # "OPTIONS *" has no path, and CGI's begins with a slash or is empty
    if "%" in path:
        # As octets: unquote_to_bytes would encode a str, which may have unescaped ones, as UTF-8.
        decoded = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    else:
        decoded = path
    # Proxies either pass the mount prefix on or strip it; both must give the same PATH_INFO.
    if root_path and (decoded == root_path or decoded.startswith(root_path + "/")):
        return decoded[len(root_path) :]
    return decoded


def _add_fields(
    environ: dict[str, Any], fields: tuple[tuple[bytes, bytes], ...], dropped: list[bytes]
) -> None:
    for name, value in fields:
        key = environ_key(name) if len(name) <= REMEMBERED_NAME else _make_key(name)
        if key is None:
            _add_special(environ, name, value)
            if b"_" in name:
                dropped.append(name)
        elif key in environ:
            # RFC 9113 section 8.2.3: cookie crumbs are joined before anything else sees them.
            separator = "; " if key == "HTTP_COOKIE" else ","
            environ[key] += separator + value.decode("latin-1")
        else:
            environ[key] = value.decode("latin-1")


def _add_special(environ: dict[str, Any], name: bytes, value: bytes) -> None:
    if name == b"content-type":
        environ["CONTENT_TYPE"] = value.decode("latin-1")
    elif name == b"host" and "HTTP_HOST" not in environ:
        environ["HTTP_HOST"] = value.decode("latin-1")


def _make_key(name: bytes) -> str | None:
    """Return the ``HTTP_`` key of a field name, or None where it must not get one.

    A name with an underscore would collide with the same name spelt with a hyphen, which lets a
    client forge fields that a proxy sets; such fields are dropped.
    """
    if name in _SPECIAL or b"_" in name:
        return None
    return "HTTP_" + name.decode("ascii").upper().replace("-", "_")


environ_key = lru_cache(maxsize=1024)(_make_key)
