"""The one home of every option: its type, default, unit, group and help.

The command line, the ``H2WSGI_...`` environment variables, the TOML keys and the table in
docs/options.md are all made from the fields of :class:`Config`. Times are seconds, sizes are
octets, paths are absolute. Any thread. The invariant: a server can run with any Config that exists,
wherever the current folder is by then.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from ..errors import ConfigurationError
from .access_format import parse_format
from .addresses import from_the_root
from .fault_rules import parse_rules
from .options import (
    Source,
    absolute,
    check_range,
    convert,
    mode_of,
    option,
    option_name,
    unknown_name,
    usable_cpus,
)
from .trusted_peers import TrustedPeers

if TYPE_CHECKING:
    from .keywords import Options

GROUPS = (
    "Application",
    "Addresses",
    "TLS",
    "Proxies",
    "Process",
    "Logging",
    "Tools",
    "Limits",
    "Timeouts",
)

ASK_FOR_A_SUPERVISOR = (
    "worker_lifetime", "worker_max_rss", "max_requests", "worker_timeout", "user", "group",
    "reload",
)  # fmt: skip
"""Options that need a second process: one that starts others, or that keeps its user."""

DEFAULT_BIND = ("localhost:8443",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every option of a server. Immutable; :meth:`build` makes one from untyped values."""

    app_dir: str = option(
        "",
        "folder to import the application from (default: the current one)",
        group="Application",
        metavar="DIR",
    )
    factory: bool = option(
        False, "the target is a function that returns the application", group="Application"
    )
    root_path: str = option(
        "",
        "SCRIPT_NAME: the prefix under which a proxy mounts the application",
        group="Application",
        metavar="PATH",
    )

    unsized_content: Literal["buffer", "stream"] = option(
        "buffer",
        "request content that comes without a length: buffer it until it is whole, so that there "
        "is a CONTENT_LENGTH, or stream it, so that the application starts at once; an "
        "application may say so itself by its attribute h2wsgi_unsized_content",
        group="Application",
    )

    bind: tuple[str, ...] = option(
        (),
        "where to listen: HOST:PORT, [IPV6]:PORT, unix:PATH, fd://N, or fd:// for all sockets that "
        "systemd hands over; repeatable "
        "(default: localhost:8443, on both 127.0.0.1 and ::1)",
        group="Addresses",
        flags=("-b",),
        metavar="ADDRESS",
    )
    bind_h2c: tuple[str, ...] = option(
        (),
        "where to listen for cleartext HTTP/2; alone, it replaces the default address; same forms, "
        "repeatable",
        group="Addresses",
        metavar="ADDRESS",
    )
    h2c: bool = option(
        False, "cleartext HTTP/2 with prior knowledge on every --bind, no TLS", group="Addresses"
    )

    uds_permissions: str = option(
        "",
        "mode of the files of Unix sockets, octal, such as 660 (default: as the umask has it)",
        group="Addresses",
        metavar="MODE",
    )
    backlog: int = option(
        1024,
        "connections that may wait to be accepted, at each address",
        group="Addresses",
        minimum=1,
        maximum=2**31 - 1,
    )

    cert: tuple[str, ...] = option(
        (),
        "certificate chain, PEM; may hold the key too; repeatable: the one is shown whose name the "
        "client asks for (SNI), else the first",
        group="TLS",
        flags=("--certfile",),
        metavar="FILE",
    )
    key: tuple[str, ...] = option(
        (),
        "private key, PEM; repeatable, in the order of the certificates",
        group="TLS",
        flags=("--keyfile",),
        metavar="FILE",
    )
    key_password: str = option(
        "",
        "password of the private keys; others may read a command line, so better give it as "
        "H2WSGI_KEY_PASSWORD",
        group="TLS",
        secret=True,
    )
    tls_min: Literal["1.2", "1.3"] = option("1.2", "lowest TLS version accepted", group="TLS")
    ciphers: str = option(
        "",
        "OpenSSL cipher list for TLS 1.2 (default: ECDHE with AES-GCM or ChaCha20)",
        group="TLS",
        metavar="LIST",
    )

    client_ca: str = option(
        "", "ask clients for a certificate of this CA, PEM", group="TLS", metavar="FILE"
    )
    client_cert: Literal["required", "optional"] = option(
        "required", "with --client-ca: may a client come without a certificate", group="TLS"
    )
    client_crl: str = option(
        "",
        "with --client-ca: the CA's list of certificates that it has revoked, PEM",
        group="TLS",
        metavar="FILE",
    )
    misdirected: bool = option(
        False,
        "answer 421 to a request for a host that the connection's certificate is not for",
        group="TLS",
    )

    forwarded_allow_ips: tuple[str, ...] = option(
        (),
        "proxies that are believed what they say of their clients, in X-Forwarded-* and Forwarded "
        "as in a PROXY header: addresses, networks, unix: for Unix sockets, * for everybody; "
        "repeatable",
        group="Proxies",
        metavar="PEER",
    )
    proxy_protocol: Literal["off", "optional", "required"] = option(
        "off",
        "may, or must, a connection begin with a PROXY header; from peers of "
        "--forwarded-allow-ips alone",
        group="Proxies",
    )

    workers: int = option(
        1,
        "processes that serve, auto for as many as there are CPUs; all limits are each worker's",
        group="Process",
        flags=("-w",),
        metavar="N|auto",
        minimum=1,
        maximum=256,
        words={"auto": usable_cpus},
    )
    worker_lifetime: float = option(
        0.0,
        "after which a worker is replaced, one at a time; up to 10 % less, so that not all have "
        "had their time at once; 0 = off",
        group="Process",
        unit="seconds",
        minimum=0,
    )
    worker_max_rss: int = option(
        0,
        "resident memory above which a worker is replaced, one at a time, 0 = off",
        group="Process",
        unit="octets",
        minimum=0,
    )
    max_requests: int = option(
        0,
        "requests after which a worker is replaced, one at a time; up to 10 % less, likewise; "
        "0 = off",
        group="Process",
        minimum=0,
    )
    worker_timeout: float = option(
        0.0,
        "after which a worker whose event loop has not turned is replaced, and every thread of it "
        "shown on standard error, 0 = off",
        group="Process",
        unit="seconds",
        minimum=0,
    )
    reload: bool = option(
        False,
        "for development: start anew when a file of the application changes; needs watchfiles",
        group="Process",
    )
    reload_dir: tuple[str, ...] = option(
        (),
        "folder to watch with --reload, with all below it; repeatable (default: that of the "
        "application)",
        group="Process",
        metavar="DIR",
    )
    reload_include: tuple[str, ...] = option(
        (),
        "pattern of names to watch beside *.py, such as *.html; repeatable (default: none)",
        group="Process",
        metavar="GLOB",
    )
    reload_exclude: tuple[str, ...] = option(
        (),
        "pattern of names or paths not to watch, of folders too; repeatable (default: names "
        "that begin with a dot, and __pycache__, which are never watched)",
        group="Process",
        metavar="GLOB",
    )
    pid: str = option(
        "",
        "write the process's number to this file, the supervisor's if there is one",
        group="Process",
        metavar="FILE",
    )
    user: str = option(
        "",
        "whom workers run as, a name or a number; the supervisor opens sockets and reads keys "
        "before, and stays who starts it",
        group="Process",
    )
    group: str = option("", "group that workers run as (default: that of --user)", group="Process")
    umask: str = option(
        "",
        "mask for the mode of new files, octal, such as 027 (default: that of the start)",
        group="Process",
        metavar="MODE",
    )
    chdir: str = option(
        "",
        "folder that the application runs in; paths of options start at that of the start",
        group="Process",
        metavar="DIR",
    )
    env_file: str = option(
        "",
        "file of variables for the application, NAME=VALUE a line; those that are set stay",
        group="Process",
        metavar="FILE",
    )
    threads: int = option(
        128, "applications that may run at once", group="Process", minimum=1, maximum=10_000
    )
    max_threads: int = option(
        256,
        "threads in all, those that wait on slow clients included",
        group="Process",
        minimum=1,
        maximum=10_000,
    )
    loop: Literal["auto", "asyncio", "uvloop"] = option(
        "auto",
        "event loop; auto takes uvloop where it is installed, and gevent or eventlet have not "
        "replaced threads or sockets",
        group="Process",
    )
    engine: Literal["auto", "fast", "h2"] = option(
        "auto",
        "HTTP/2 engine; auto takes the fast one, h2 the library of that name",
        group="Process",
    )
    graceful_timeout: float = option(
        30.0,
        "how long running requests may take to finish at shutdown",
        group="Process",
        unit="seconds",
        minimum=0,
    )
    drain_delay: float = option(
        0.0,
        "how long a server that is told to stop goes on as before, but for /readyz, so that "
        "balancers look away first",
        group="Process",
        unit="seconds",
        minimum=0,
    )
    metrics: str = option(
        "",
        "serve /metrics for Prometheus, /healthz and /readyz, in HTTP/1.1, on this PORT of "
        "127.0.0.1, or HOST:PORT; of all workers together",
        group="Process",
        metavar="ADDRESS",
    )

    access_log: bool = option(True, "one line per request", group="Logging")
    access_log_file: str = option(
        "",
        "write the access log to this file, - for standard output (default: standard error)",
        group="Logging",
        metavar="FILE",
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info", "least severe events to show", group="Logging"
    )
    log_format: Literal["text", "json"] = option("text", "how log lines look", group="Logging")
    access_log_format: str = option(
        "",
        "how the line of a request looks: combined, common, or gunicorn's atoms, as in "
        '"%(h)s %(r)s %(s)s %(D)s"; see docs/logs.md (default: as --log-format says)',
        group="Logging",
        metavar="FORMAT",
    )
    access_log_skip: tuple[str, ...] = option(
        (),
        "log no requests for this path, such as /healthz, or with a * behind it for those that "
        "begin so; repeatable",
        group="Logging",
        metavar="PATH",
    )
    log_config: str = option(
        "",
        "have Python's logging write all lines, set up as this file says (dictConfig, TOML or "
        "JSON)",
        group="Logging",
        metavar="FILE",
    )

    trace: str = option(
        "",
        "show every frame on standard error; =FILTER for some of them, such as =headers,reset "
        "or =stream=5 or =all,-data",
        group="Tools",
        metavar="[=FILTER]",
        bare="all",
    )
    trace_file: str = option(
        "", "write every frame to this file, a JSON object a line", group="Tools", metavar="FILE"
    )
    record: bool = option(
        False,
        "keep every frame and request, for Server.connections and Server.requests in tests",
        group="Tools",
    )
    inspect: str = option(
        "",
        "serve a page that shows connections and streams as they run, on 127.0.0.1:8444 or a free "
        "port; =PORT or =HOST:PORT for another loopback address",
        group="Tools",
        metavar="[=ADDRESS]",
        bare="auto",
    )

    max_body: int = option(
        0, "largest request content, 0 for no limit", group="Limits", unit="octets", minimum=0
    )
    max_unsized: int = option(
        104_857_600,
        "largest request content that is buffered until it is whole, 0 for no limit",
        group="Limits",
        unit="octets",
        minimum=0,
    )
    max_unsized_total: int = option(
        1_073_741_824,
        "the same of all requests together, as far as it is in temporary files, 0 for no limit",
        group="Limits",
        unit="octets",
        minimum=0,
    )
    max_discarded: int = option(
        4_194_304,
        "request content behind an early answer that is taken and dropped before its stream is "
        "reset, for clients that read no answer before they have sent all",
        group="Limits",
        unit="octets",
        minimum=0,
    )
    max_connections: int = option(
        1000,
        "connections at once; at the limit the one that has been idle longest is drained for one "
        "that comes, and where all have a stream accepting pauses",
        group="Limits",
        minimum=1,
    )
    max_requests_per_connection: int = option(
        0,
        "requests after which a connection is drained as at shutdown, for its client to open "
        "another, 0 for no limit",
        group="Limits",
        minimum=0,
    )
    max_streams: int = option(
        100,
        "concurrent streams a client may open on one connection",
        group="Limits",
        minimum=1,
        maximum=2**31 - 1,
    )
    max_field_section: int = option(
        65_536,
        "largest decoded field section",
        group="Limits",
        unit="octets",
        minimum=1024,
        maximum=2**24,
    )
    max_fields: int = option(
        128,
        "fields in one section, the crumbs of a cookie being one",
        group="Limits",
        minimum=8,
    )
    max_continuations: int = option(
        8, "CONTINUATION frames for one field section, 0 = off", group="Limits", minimum=0
    )
    max_resets: int = option(
        1000,
        "streams that a client may reset or make the server reset, at once and in any 30 s, "
        "0 = off",
        group="Limits",
        minimum=0,
    )
    max_refusals: int = option(
        200,
        "streams over max_streams that are refused, likewise, before the connection ends, 0 = off",
        group="Limits",
        minimum=0,
    )
    max_glitches: int = option(
        10_000,
        "frames that bring neither request nor content, likewise (SETTINGS count ten times, "
        "WINDOW_UPDATE beyond what it may need), 0 = off",
        group="Limits",
        minimum=0,
    )
    max_empty_frames: int = option(
        100, "DATA frames without content, likewise, 0 = off", group="Limits", minimum=0
    )
    min_rate: int = option(
        240,
        "octets a second that a client must send while the application waits to read, in any "
        "read_timeout, and take of a response that waits for it, in any write_timeout; 0 = off",
        group="Limits",
        minimum=0,
    )
    stream_window: int = option(
        262_144,
        "request content buffered for one stream (its flow-control window)",
        group="Limits",
        unit="octets",
        minimum=16_384,
        maximum=2**31 - 1,
    )
    connection_window: int = option(
        1_048_576,
        "flow-control window of one connection",
        group="Limits",
        unit="octets",
        minimum=65_535,
        maximum=2**31 - 1,
    )
    stream_buffer: int = option(
        262_144,
        "response content buffered for one stream before write() waits",
        group="Limits",
        unit="octets",
        minimum=1024,
    )
    connection_buffer: int = option(
        4_194_304,
        "response content buffered for one connection before every write() waits",
        group="Limits",
        unit="octets",
        minimum=65_536,
    )
    max_buffered: int = option(
        268_435_456,
        "request content and large field sections buffered in the whole process, and as much "
        "response content",
        group="Limits",
        unit="octets",
        minimum=1_048_576,
    )

    handshake_timeout: float = option(
        10.0, "for the TLS handshake, 0 = off", group="Timeouts", unit="seconds", minimum=0
    )
    preface_timeout: float = option(
        10.0,
        "for the client's preface and first SETTINGS, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    settings_timeout: float = option(
        10.0,
        "for the client to acknowledge the server's SETTINGS, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    fields_timeout: float = option(
        10.0,
        "for a field section to come whole once it has begun, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    idle_timeout: float = option(
        120.0,
        "a connection may stay without a stream, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    max_connection_age: float = option(
        0.0,
        "after which a connection is drained as at shutdown, for its client to open another; up to "
        "10 % less, so that not all do so at once; 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    read_timeout: float = option(
        30.0,
        "the application's read() may wait on the client, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    discard_timeout: float = option(
        2.0,
        "for such content to come, before its stream is reset",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    write_timeout: float = option(
        60.0,
        "a response may wait on the client's window or socket without progress, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    request_timeout: float = option(
        0.0,
        "a request may take until it is answered whole, else the client gets a 503 or a reset; "
        "endless responses, such as event streams, need it off, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    ping_interval: float = option(
        0.0,
        "without a word from the client after which it is sent a PING, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )
    ping_timeout: float = option(
        20.0,
        "for the client to answer that PING, or say anything else, 0 = off",
        group="Timeouts",
        unit="seconds",
        minimum=0,
    )

    fault: tuple[str, ...] = option(
        (),
        "make requests fail: KIND[=VALUE] PATH PROBABILITY% NAME=VALUE, such as refuse /a times=1; "
        "repeatable, see docs/misbehaving.md",
        group="Tools",
        metavar="RULE",
    )
    fault_seed: int = option(
        0,
        "which requests --fault hits; the same seed hits the same ones again (default: 0)",
        group="Tools",
    )

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigurationError: a value is below its minimum or a field contradicts another.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("cert", "key") and isinstance(value, str | os.PathLike):
                value = (value,)  # a path may contain commas
            if option_types()[field.name] == tuple[str, ...] and not isinstance(value, tuple):
                # A lone string would silently be taken for a list of its characters.
                raise ConfigurationError(
                    f"{field.name} is {value!r}, but a tuple of strings is needed.",
                    f"Config.build({field.name}={value!r}) takes it as it is.",
                )
            kind = option_types()[field.name]
            if kind in (int, float, str, bool) and type(value) is kind:
                check_range(field, value, field.name)
            else:  # This is how a frozen dataclass sets its own fields.
                kept = convert(field, kind, value, field.name)
                object.__setattr__(self, field.name, kept)
            if field.metadata["metavar"] in ("FILE", "DIR") and value != "-":
                object.__setattr__(self, field.name, self._absolute(field.name))
        for name in ("bind", "bind_h2c"):
            kept = tuple(map(from_the_root, getattr(self, name)))
            object.__setattr__(self, name, kept)
        self._check_contradictions()

    def _absolute(self, name: str) -> str | tuple[str, ...]:
        value, where = getattr(self, name), "--" + name.replace("_", "-")
        if isinstance(value, str):
            return absolute(value, where)
        return tuple(absolute(path, where) for path in value if path)

    def _check_contradictions(self) -> None:
        if self.h2c and self.cert:
            raise ConfigurationError(
                f"The certificate {self.cert[0]} (--cert) is of no use with --h2c, which has no "
                "TLS.",
                "Leave out one of them; --bind-h2c serves cleartext beside TLS.",
            )
        if self.client_cert == "optional" and not self.client_ca:
            raise _client_cert_alone()
        if self.client_crl and not self.client_ca:
            raise ConfigurationError(
                f"The revocation list {self.client_crl} (--client-crl) says nothing without a "
                "client CA: no client is asked.",
                "Name the CA of the clients with --client-ca.",
            )
        if self.access_log_format:
            parse_format(self.access_log_format)
        for path in self.access_log_skip:
            if not path.startswith(("/", "*")):
                raise ConfigurationError(
                    f"No request has the path {path!r} (--access-log-skip).",
                    f"Did you mean /{path}?",
                )
        if self.log_config and (self.access_log_file or self.log_format != "text"):
            name = "--access-log-file" if self.access_log_file else "--log-format"
            raise ConfigurationError(
                f"{name} is of no use with --log-config: its handlers and formatters say where "
                "lines go, and how they look.",
                "Leave out one of them.",
            )
        if not TrustedPeers.of(self.forwarded_allow_ips) and self.proxy_protocol != "off":
            raise ConfigurationError(
                f"With --proxy-protocol {self.proxy_protocol} no peer may send a PROXY header, as "
                "none is named.",
                "Name the proxies with --forwarded-allow-ips, such as 127.0.0.1 or 10.0.0.0/8.",
            )
        if self.is_supervised:
            for tool in ("inspect", "record"):
                if getattr(self, tool):
                    raise ConfigurationError(
                        f"--{tool} sees what one process does, and with {self.supervised_by} there "
                        "are others.",
                        f"Leave out {self.supervised_by}, or --{tool}.",
                    )
        for name in ("umask", "uds_permissions"):
            mode_of(getattr(self, name), name)
        parse_rules(self.fault, self.fault_seed)
        if self.max_threads < self.threads:
            raise ConfigurationError(
                f"max_threads is {self.max_threads}, below threads, which is {self.threads}.",
                f"Raise max_threads to {self.threads} or more, or lower threads.",
            )

    @property
    def is_supervised(self) -> bool:
        """Whether workers serve, which a supervisor starts, in place of a single process."""
        return bool(self.supervised_by)

    @property
    def supervised_by(self) -> str:
        """The option that asks for a supervisor, as on the command line; empty if none does."""
        if self.workers > 1:
            return "--workers"
        asks = (name for name in ASK_FOR_A_SUPERVISOR if getattr(self, name))
        return next(("--" + name.replace("_", "-") for name in asks), "")

    @property
    def tls_binds(self) -> tuple[str, ...]:
        """The addresses served over TLS; the default address if none is given at all."""
        return () if self.h2c else self._binds

    @property
    def h2c_binds(self) -> tuple[str, ...]:
        """The addresses served in cleartext, with prior knowledge."""
        return self._binds + self.bind_h2c if self.h2c else self.bind_h2c

    @property
    def _binds(self) -> tuple[str, ...]:
        return self.bind or (() if self.bind_h2c else DEFAULT_BIND)

    @classmethod
    def build(cls, **values: Unpack[Options]) -> Self:
        """Return a Config from a library call's keywords: a lone string becomes a tuple of one.

        Raises:
            ConfigurationError: an unknown name or a value of the wrong kind.
        """
        return cls.merge((Source("argument", values),))

    @classmethod
    def merge(cls, sources: Iterable[Source], *, besides: tuple[str, ...] = ()) -> Self:
        """Return the Config that ``sources`` add up to, the weakest source first.

        ``besides`` are names in the sources that the caller reads itself.

        Raises:
            ConfigurationError: naming the source, the key and the nearest valid name or value.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        merged: dict[str, Any] = {}
        origins: dict[str, Source] = {}
        for source in sources:
            for key, raw in source.values.items():
                name = option_name(key)
                if name in known:
                    where = source.describe(key)
                    origins[name] = source
                    merged[name] = convert(known[name], option_types()[name], raw, where)
                elif name not in besides:
                    raise unknown_name(source, key, (*known, *besides), raw)
        _check_threads(merged, origins)
        if "client_cert" in merged and "client_ca" not in merged:
            raise _client_cert_alone()
        if merged.get("access_log_file") and not merged.get("access_log", True):
            raise ConfigurationError(
                f"The access log is off, so nothing is written to {merged['access_log_file']} "
                "(--access-log-file).",
                "Leave out --no-access-log or --access-log-file.",
            )
        return cls(**merged)


def _client_cert_alone() -> ConfigurationError:
    return ConfigurationError(
        "client_cert (--client-cert) says nothing without a client CA: no client is asked.",
        "Name the CA of the clients with --client-ca.",
    )


def _default(name: str) -> Any:
    return next(field.default for field in dataclasses.fields(Config) if field.name == name)


def _check_threads(merged: dict[str, Any], origins: dict[str, Source]) -> None:
    """Let ``max_threads`` follow ``threads`` if only ``threads`` is given; refuse a smaller one."""
    threads = merged.get("threads", _default("threads"))
    if "max_threads" not in merged:
        if "threads" in merged:
            merged["max_threads"] = max(threads, _default("max_threads"))
        return
    limit = merged["max_threads"]
    if threads > limit:
        most = origins["max_threads"].name("max_threads")
        few = origins.get("threads", origins["max_threads"]).name("threads")
        raise ConfigurationError(
            f"{few} is {threads}{'' if 'threads' in merged else ' unless given'}, "
            f"more than {most} ({limit}).",
            f"Raise {most} to {threads} or more, or lower {few}.",
        )


@functools.cache
def option_types() -> dict[str, Any]:
    """Return the resolved annotation of each field of Config, by name."""
    return typing.get_type_hints(Config)
