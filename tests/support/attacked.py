"""The application of a server under attack, which also tells what is alive inside its process.

Runs in the server's process, in application threads. ``/hold`` blocks until somebody asks for
``/release``; ``/sip`` reads an octet at a time and is busy in between; ``/inside`` counts by the
garbage collector, so that nothing that is kept alive by whatever reference can hide.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from h2wsgi.codes import DATA, HEADERS
from h2wsgi.http2.protocol import H2Protocol
from h2wsgi.seam.handover import Handover
from h2wsgi.seam.stream import Stream
from h2wsgi.server.server import Server

HOLD = 60.0
"""Seconds after which a held application ends by itself."""
BIG = 32
"""Pieces of 256 KiB in a large response."""
WHOLE = 200_000
"""Octets of a response that is handed over in one piece."""

_release = threading.Event()
_started: Counter[str] = Counter()
_lock = threading.Lock()


def app(environ: dict[str, Any], start_response: Any) -> Any:
    global _release
    path = environ["PATH_INFO"]
    with _lock:
        _started[path] += 1
    content = b"hello"
    if path == "/hold":
        _release.wait(HOLD)
    elif path == "/release":
        _release.set()
        _release = threading.Event()
    elif path == "/read":
        content = environ["wsgi.input"].read()
    elif path == "/sip":
        while environ["wsgi.input"].read(1):
            time.sleep(0.08)
    elif path == "/lines":
        content = b"%d" % len(list(environ["wsgi.input"]))
    elif path == "/whole":
        content = bytes(WHOLE)
    elif path == "/big":
        start_response("200 OK", [])
        return big()
    elif path == "/inside":
        content = json.dumps(inside()).encode()
    start_response("200 OK", [])
    return [content]


def big() -> Iterator[bytes]:
    for _ in range(BIG):
        yield bytes(262_144)


@functools.cache
def server() -> Server:
    return next(o for o in gc.get_objects() if type(o) is Server)


def inside() -> dict[str, Any]:
    """Return counts of what is alive, that of the request that asks included."""
    gc.collect()
    kinds = Counter(type(o) for o in gc.get_objects() if type(o) in (Stream, H2Protocol, Handover))
    tasks = [o for o in gc.get_objects() if isinstance(o, asyncio.Task) and not o.done()]
    names = [thread.name for thread in threading.enumerate()]
    connections = [protocol.connection for protocol in list(server()._protocols)]
    engines = [connection.engine for connection in connections]
    return {
        "streams": kinds[Stream],
        "protocols": kinds[H2Protocol],
        "handovers": kinds[Handover],
        "tasks": len(tasks),
        "busy": server().busy_threads,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "other threads": len([name for name in names if not name.startswith("h2wsgi-app")]),
        "connections": server().open_connections,
        "limits_hit": server().limits_hit,
        "started": _started,
        "unsent": max((protocol.unsent for protocol in list(server()._protocols)), default=0),
        "buffered": server().input_budget.used,
        "output": server().output_budget.used,
        "resets remembered": max(map(resets_remembered, engines), default=0),
        "gaps remembered": max((len(e._streams._skipped) for e in engines), default=0),
        "settings kept": max(map(settings_kept, engines), default=0),
        "frames in a slice": _frames["most"],
    }


def resets_remembered(engine: Any) -> int:
    """Return how many streams an engine remembers that are not open, those that h2 does too."""
    h2 = getattr(engine, "_h2", None)
    kept = len(h2.streams) + len(h2._closed_streams) - len(engine._streams.open) if h2 else 0
    return max(kept, len(engine._streams._reset_by_us))


def settings_kept(engine: Any) -> int:
    """Return how many settings of the peer an engine remembers; the fast one has no such table."""
    return len(engine._h2.remote_settings) if hasattr(engine, "_h2") else 0


_frames = {"now": 0, "most": 0}
"""In the slice of input that a connection is at, and in the longest one there ever was."""


def count_frames() -> None:
    """Have the frames counted that a connection may process before others get their turn."""
    process_slice = H2Protocol._process_slice

    def counted(protocol: H2Protocol) -> None:
        engine: Any = protocol.connection.engine
        receivers = ("receive_frame", "receive_headers", "receive_data")

        def counting(receive: Callable[..., None], name: str) -> Callable[..., None]:
            def receive_one(first: int, *rest: Any) -> None:
                # What receive_frame hands on is counted there.
                if name != "receive_frame" or first not in (DATA, HEADERS):
                    _frames["now"] += 1
                receive(first, *rest)

            return receive_one

        _frames["now"] = 0
        for name in receivers:
            setattr(engine, name, counting(getattr(engine, name), name))
        try:
            process_slice(protocol)
        finally:
            for name in receivers:
                delattr(engine, name)
            _frames["most"] = max(_frames["most"], _frames["now"])

    H2Protocol._process_slice = counted  # type: ignore[method-assign]
