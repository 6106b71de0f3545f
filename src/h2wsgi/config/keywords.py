"""What :func:`h2wsgi.serve`, ``serve_in_thread`` and the fixtures take, for type checkers. Pure.

The fields of :class:`~h2wsgi.Config`, each with what ``Config.build`` takes for it: sizes and times
may have units. ``tests/unit/test_keywords.py`` makes these lines from Config, and compares.
"""

from __future__ import annotations

from os import PathLike
from typing import Literal, TypedDict


class Options(TypedDict, total=False):
    """Options by name, such as ``{"max_streams": 1, "idle_timeout": "2m"}``."""

    app_dir: str | PathLike[str]
    factory: bool
    root_path: str
    unsized_content: Literal["buffer", "stream"]
    bind: str | list[str] | tuple[str, ...]
    bind_h2c: str | list[str] | tuple[str, ...]
    h2c: bool
    uds_permissions: str
    backlog: int
    cert: str | PathLike[str] | list[str] | tuple[str, ...]
    key: str | PathLike[str] | list[str] | tuple[str, ...]
    key_password: str
    tls_min: Literal["1.2", "1.3"]
    ciphers: str
    client_ca: str | PathLike[str]
    client_cert: Literal["required", "optional"]
    client_crl: str | PathLike[str]
    misdirected: bool
    forwarded_allow_ips: str | list[str] | tuple[str, ...]
    proxy_protocol: Literal["off", "optional", "required"]
    workers: int | Literal["auto"]
    worker_lifetime: float | str
    worker_max_rss: int | str
    max_requests: int
    worker_timeout: float | str
    reload: bool
    reload_dir: str | list[str] | tuple[str, ...]
    reload_include: str | list[str] | tuple[str, ...]
    reload_exclude: str | list[str] | tuple[str, ...]
    pid: str | PathLike[str]
    user: str
    group: str
    umask: str
    chdir: str | PathLike[str]
    env_file: str | PathLike[str]
    threads: int
    max_threads: int
    loop: Literal["auto", "asyncio", "uvloop"]
    engine: Literal["auto", "fast", "h2"]
    graceful_timeout: float | str
    drain_delay: float | str
    metrics: str
    access_log: bool
    access_log_file: str | PathLike[str]
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["text", "json"]
    access_log_format: str
    access_log_skip: str | list[str] | tuple[str, ...]
    log_config: str | PathLike[str]
    trace: bool | str
    trace_file: str | PathLike[str]
    record: bool
    inspect: bool | str
    max_body: int | str
    max_unsized: int | str
    max_unsized_total: int | str
    max_discarded: int | str
    max_connections: int
    max_requests_per_connection: int
    max_streams: int
    max_field_section: int | str
    max_fields: int
    max_continuations: int
    max_resets: int
    max_refusals: int
    max_glitches: int
    max_empty_frames: int
    min_rate: int
    stream_window: int | str
    connection_window: int | str
    stream_buffer: int | str
    connection_buffer: int | str
    max_buffered: int | str
    handshake_timeout: float | str
    preface_timeout: float | str
    settings_timeout: float | str
    fields_timeout: float | str
    idle_timeout: float | str
    max_connection_age: float | str
    read_timeout: float | str
    discard_timeout: float | str
    write_timeout: float | str
    request_timeout: float | str
    ping_interval: float | str
    ping_timeout: float | str
    fault: str | list[str] | tuple[str, ...]
    fault_seed: int
