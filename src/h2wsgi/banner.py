"""What a start looks like: where the server listens, whom it claims to be, how to try it.

Any thread, once per start. The invariant: what is printed is true and can be pasted; the ``curl``
line names a host that the certificate is for and the file that makes ``curl`` trust it.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .config import Config
from .logs import Log

if TYPE_CHECKING:
    from .devcert import MadeCertificate
    from .tls import TLSIdentity

ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""What to connect to where a server listens on every address."""


class Endpoint(NamedTuple):
    """Where a server listens: ``https://localhost:8443/``, or ``unix:/run/app.sock``."""

    url: str
    tls: bool

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix domain socket."""
        return self.url.startswith("unix:")


def ready(
    log: Log,
    config: Config,
    *,
    target: str,
    version: str,
    endpoints: list[Endpoint],
    certificate: TLSIdentity | None,
) -> None:
    """Say that the server is ready, in one piece: several lines of text, or one of JSON."""
    lines = [f"h2wsgi {version} serves {target} with up to {config.threads} threads"]
    width = max((len(endpoint.url) for endpoint in endpoints), default=0)
    for endpoint in endpoints:
        how = "ALPN h2" if endpoint.tls else "cleartext, prior knowledge"
        lines.append(f"  {endpoint.url:<{width}}  HTTP/2 only ({how})")
    lines += [f"  {line}" for line in certificate_lines(certificate)]
    if endpoints:
        lines.append(f"  Try:  {curl_line(endpoints[0], certificate, path_of(target))}")
    lines.append("  Ctrl-C to stop")
    fields = {
        "version": version,
        "target": target,
        "threads": config.threads,
        "endpoints": [
            {"url": endpoint.url, "protocol": "h2" if endpoint.tls else "h2c"}
            for endpoint in endpoints
        ],
        "certificate": _certificate_fields(certificate),
    }
    log.events.info("ready", extra={"fields": fields, "lines": lines})


def path_of(target: str) -> str:
    """Return a path that the application surely has."""
    return "/get" if target.partition(":")[0] == "httpbin" else "/"


def certificate_lines(certificate: TLSIdentity | None) -> list[str]:
    """Return what to say of the certificate, loudly if it is one for development."""
    if certificate is None:
        return []
    lines = []
    facts = certificate.facts
    if facts is not None:
        names = ", ".join(facts.names) or "no names, so clients refuse it"
        lines.append(f"Certificate:  {names}; until {facts.not_after:%Y-%m-%d}")
    if certificate.development:
        made = "MADE JUST NOW" if certificate.made else "kept from an earlier start"
        lines += [
            f"DEVELOPMENT CERTIFICATE, {made}: trusted by nobody until told so. Its CA, good for",
            f"localhost only:  {certificate.ca_path}",
        ]
    return lines


def curl_line(endpoint: Endpoint, certificate: TLSIdentity | None, path: str) -> str:
    """Return a command that gets ``path`` from ``endpoint`` and works as it stands."""
    words = ["curl", "--http2" if endpoint.tls else "--http2-prior-knowledge"]
    scheme = "https" if endpoint.tls else "http"
    trust, name = _trust(endpoint, certificate)
    words += trust
    if endpoint.is_unix:
        words += ["--unix-socket", endpoint.url.removeprefix("unix:")]
        authority = name or "localhost"
    else:
        url = urlsplit(endpoint.url)
        host = ANYWHERE.get(url.hostname or "", url.hostname or "")
        authority = f"{_bracketed(name or host)}:{url.port}"
        if name and name != host:
            words += ["--resolve", f"{name}:{url.port}:{_bracketed(host)}"]
    return shlex.join([*words, f"{scheme}://{authority}{path}"])


def _trust(endpoint: Endpoint, certificate: TLSIdentity | None) -> tuple[list[str], str]:
    """Return curl's options to trust the certificate, and the name to ask for if it matters."""
    if not endpoint.tls or certificate is None:
        return [], ""
    trust = ["--cacert", certificate.ca_path] if certificate.ca_path else []
    names = certificate.facts.names if certificate.facts else ()
    host = "localhost" if endpoint.is_unix else urlsplit(endpoint.url).hostname or ""
    host = ANYWHERE.get(host, host)
    if not names or host in names:
        return trust, host
    if "localhost" in names and host.startswith(("127.", "::1")):
        return trust, "localhost"
    return trust, names[0].replace("*", "www")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _certificate_fields(certificate: TLSIdentity | None) -> dict[str, Any] | None:
    if certificate is None:
        return None
    facts = certificate.facts
    return {
        "path": certificate.cert_path,
        "names": list(facts.names) if facts else None,
        "not_after": facts.not_after.isoformat() if facts else None,
        "ca": certificate.ca_path,
        "development": certificate.development,
        "made": certificate.made,
    }


def trust_guide(made: MadeCertificate) -> str:
    """Return how the clients that people have come to trust a certificate of --make-cert."""
    cert, key, ca = (shlex.quote(path) for path in (made.cert, made.key, made.ca))
    host = _bracketed(made.names[0].replace("*", "www"))
    url = f"https://{host}:8443/"
    return f"""\
Wrote {cert}, {key} and {ca}
for {", ".join(made.names)}; until {made.not_after:%Y-%m-%d}. The CA's key was not kept.

Serve    h2wsgi module:app --cert {cert} --key {key}

A client accepts it once it trusts {ca}:
curl     curl --http2 --cacert {ca} {url}
Python   context = ssl.create_default_context(cafile={made.ca!r})
         httpx.Client(http2=True, verify=context).get({url!r})
Node     NODE_EXTRA_CA_CERTS={ca} node client.js
Chrome   Linux: certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n h2wsgi -i {ca}
         macOS: security add-trusted-cert -k ~/Library/Keychains/login.keychain-db {ca}
         Windows: certutil -user -addstore Root {ca}
Firefox  Settings, Privacy & Security, View Certificates, Authorities, Import
Remove it there again when you are done. Never commit {key}.
"""
