"""Compare HTTP/2 servers for WSGI: one probe a behaviour, each on a server newly started.

    python -m venv /tmp/comparison
    /tmp/comparison/bin/pip install hypercorn granian 'gunicorn[http2]' 'httpx[http2]' '.[standard]'
    /tmp/comparison/bin/python docs/comparison/probe.py

prints three Markdown tables, a row a behaviour and a column a server; `--server`, `--probe` (part
of a row's text) choose some, COMPARISON_LOGS=1 shows what the servers logged. The client is the
raw one of h2wsgi's tests (tests/support/peer.py), so that illegal input can be sent and every
frame is seen. Every wait has a limit, and each server is ended by its own process id. It takes
some minutes, since only one server runs at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from servers import (
    HERE,
    SERVERS,
    Code,
    DidNotStart,
    Peer,
    Running,
    Server,
    Setting,
    Type,
    name_of,
    run,
)

Finding = tuple[bool, str]
"""Whether the server does it, and what there is to add."""

MIB = 1 << 20
MALFORMED = "RFC 9113 8.1.1; 5.4.1 allows closing"


@dataclass(frozen=True)
class Probe:
    behaviour: str
    ground: str
    """The rule that asks for it, or, where there is none, what it is good for."""
    run: Callable[[Running], Finding]


PROBES: list[Probe] = []


def probe(
    behaviour: str, ground: str
) -> Callable[[Callable[[Running], Finding]], Callable[[Running], Finding]]:
    def add(function: Callable[[Running], Finding]) -> Callable[[Running], Finding]:
        PROBES.append(Probe(behaviour, ground, function))
        return function

    return add


def end_of(peer: Peer, stream: int, timeout: float = 5) -> str:
    """Say in a few words how a stream ended."""
    try:
        response = peer.response(stream, timeout)
    except AssertionError as error:
        return f"{response_so_far(peer, stream)}{how_lost(peer, error)}"
    if response.reset is not None:
        return f"{response_so_far(peer, stream)}RST_STREAM({name_of(Code, response.reset)})"
    return f"{response.status} and a clean end after {len(response.body)} octets"


def response_so_far(peer: Peer, stream: int) -> str:
    status = peer.responses[stream].status if stream in peer.responses else 0
    return f"{status}, then " if status else ""


def how_lost(peer: Peer, error: AssertionError) -> str:
    """Say what became of a connection on which something did not come."""
    codes = [frame.error_code for frame in peer.log if frame.last_stream_id is not None]
    if codes and codes[-1] is not None:
        return f"GOAWAY({name_of(Code, codes[-1])}), connection closed"
    return shorten(error)


def shorten(error: BaseException) -> str:
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    if "handshake operation timed out" in line:
        return "no TLS handshake in 10 s"
    if "waiting for" in line:
        return "nothing in " + line.split(" s passed")[0] + " s"
    if "end of file" in line or "Error(" in line:
        return "connection dropped"
    return line[:80].replace("|", "/")


# --- Calling the application (PEP 3333) ---


@probe("`write()` works, its data first", "PEP 3333")
def _(server: Running) -> Finding:
    response = server.connect().get("/write")
    return response.body == b"one two three", str(response.status)


@probe("`wsgi.file_wrapper` is there and closes its file", "PEP 3333, optional")
def _(server: Running) -> Finding:
    response = server.connect().get("/file_wrapper")
    if response.body == b"absent":
        return False, "absent"
    closed = server.await_event(lambda events: "file closed" in events, 2)
    return response.body == b"x" * 100_000 and closed, "" if closed else "never closed"


@probe("`start_response` with `exc_info` replaces the headers", "PEP 3333")
def _(server: Running) -> Finding:
    response = server.connect().get("/exc_info")
    names = [name for name, _ in response.fields]
    good = response.status == 503 and "x-first" not in names and "x-second" in names
    if good:
        return True, ""
    twice = names.count("content-type") > 1 or "x-first" in names
    return False, f"{response.status}" + (", both sets sent" if twice else "")


@probe("`start_response` called only as the iteration begins", "PEP 3333")
def _(server: Running) -> Finding:
    response = server.connect().get("/late_start")
    note = f"{response.status}, {len(response.body)} octets"
    return (response.status, response.body) == (201, b"late"), note


@probe("200 with an empty iterable", "PEP 3333")
def _(server: Running) -> Finding:
    response = server.connect().get("/empty", timeout=5)
    return response.status == 200 and response.ended and not response.body, str(response.status)


@probe("204 with an empty iterable", "RFC 9110")
def _(server: Running) -> Finding:
    response = server.connect().get("/no_content", timeout=5)
    good = response.status == 204 and response.ended and response.header("content-length") is None
    with_length = ", with content-length" if response.header("content-length") else ""
    return good, f"{response.status}{with_length}"


@probe("HEAD gets no content, whatever the application returns", "RFC 9110")
def _(server: Running) -> Finding:
    response = server.connect().get("/page", method="HEAD", timeout=5)
    return response.status == 200 and not response.body, f"{len(response.body)} octets of content"


@probe("several Set-Cookie stay apart", "RFC 6265")
def _(server: Running) -> Finding:
    found = server.connect().get("/cookies").headers("set-cookie")
    return found == ["a=1", "b=2"], repr(found)


@probe("`SERVER_PORT` is a str", "PEP 3333")
def _(server: Running) -> Finding:
    shown = server.connect().get("/show?SERVER_PORT").body.decode()
    return shown == repr(str(server.port)), "int" if shown == str(server.port) else shown


@probe("a field `x_user` does not pass for `x-user`", "security")
def _(server: Running) -> Finding:
    peer = server.connect()
    fields = [("x-user", "anna"), ("x_user", "eve")]
    stream = peer.request(path="/show?HTTP_X_USER", fields=fields)
    shown = peer.response(stream).body.decode()
    return shown == "'anna'", "" if shown == "'anna'" else f"`HTTP_X_USER` is {shown}"


@probe("`wsgiref.validate` finds nothing to say on a POST", "PEP 3333")
def _(server: Running) -> Finding:
    peer = server.connect()
    response = peer.get("/valid", method="POST", body=b"data", fields=[("content-length", "4")])
    return (response.status, response.body) == (200, b"data"), str(response.status)


# --- Errors of the application ---


@probe("an exception midway resets that stream alone", "RFC 9113 8.1")
def _(server: Running) -> Finding:
    peer = server.connect()
    stream = peer.request(path="/error_midway")
    try:
        response = peer.response(stream, 5)
    except AssertionError as error:
        return False, "the stream never ends" if peer.ended is None else how_lost(peer, error)
    if response.reset is None:
        return False, f"clean end of a {response.status}, cut short"
    return peer.get("/ok", timeout=5).body == b"ok", ""


@probe("a body shorter than its Content-Length is not ended cleanly", "RFC 9113 8.1.1")
def _(server: Running) -> Finding:
    peer = server.connect()
    stream = peer.request(path="/short")
    try:
        response = peer.response(stream, 5)
    except AssertionError as error:
        return False, shorten(error)
    return response.reset is not None, "" if response.reset is not None else "clean end"


@probe("the page of a 500 does not tell the exception", "security")
def _(server: Running) -> Finding:
    response = server.connect().get("/error_before", timeout=5)
    told = b"hunter2" in response.body or "hunter2" in repr(response.fields)
    return response.status == 500 and not told, "its message is in the page" if told else str(
        response.status
    )


@probe("`sys.exit()` in an application costs one request only", "robustness")
def _(server: Running) -> Finding:
    peer = server.connect()
    first = end_of(peer, peer.request(path="/system_exit"))
    if _answers(lambda: peer.get("/ok", timeout=5).body == b"ok"):
        return "nothing in" not in first, ""
    time.sleep(2)
    if _answers(lambda: server.connect().get("/ok", timeout=5).body == b"ok"):
        return False, "its connection too; a new worker serves the next"
    return False, "the server answers nobody any more"


@probe("`close()` is called after the client's reset", "PEP 3333")
def _(server: Running) -> Finding:
    peer = server.connect()
    stream = peer.request(path="/ticks")
    peer.wait_data(stream, 4)
    peer.rst_stream(stream)
    began = time.monotonic()
    if not server.await_event(lambda events: "body closed" in events, 12):
        return False, "never"
    if "ran to its end" in server.events():
        return False, "only once it had run to its end"
    return True, f"after {time.monotonic() - began:.1f} s"


# --- The request's body ---


@probe("the application reads and answers before the upload ended", "streaming")
def _(server: Running) -> Finding:
    return _two_way(server, [("content-length", "6")])


@probe("the same where the upload comes without a content-length", "streaming")
def _(server: Running) -> Finding:
    return _two_way(server, [])


def _two_way(server: Running, fields: list[tuple[str, str]]) -> Finding:
    peer = server.connect()
    stream = peer.request("POST", "/two_way", fields=fields, end_stream=False)
    peer.data(stream, b"abc")
    try:
        peer.wait_data(stream, 9, 3)
        early = True
    except AssertionError:
        early = False
    peer.data(stream, b"def", end_stream=True)
    response = peer.response(stream, 5)
    good = response.body == b"first=abc rest=def"
    return early and good, "" if early and good else "only once the upload had ended"


@probe("an upload of 32 MiB arrives", "large files")
def _(server: Running) -> Finding:
    peer = server.connect()
    stream = peer.request("POST", "/digest", end_stream=False)
    data = os.urandom(MIB) * 32
    try:
        peer.upload(stream, data, timeout=10)
    except AssertionError as error:
        with contextlib.suppress(AssertionError):
            peer.wait_headers(stream, 2)
        return False, f"{response_so_far(peer, stream)}{shorten(error)}"
    response = peer.response(stream, 10)
    good = response.body.decode() == hashlib.sha256(data).hexdigest()
    return good, str(response.status)


@probe("an upload the client resets raises in `read()`", "RFC 9113 8.1.1")
def _(server: Running) -> Finding:
    peer = server.connect()
    stream = peer.request("POST", "/lost_upload", end_stream=False)
    peer.data(stream, b"half")
    peer.roundtrip()
    began = server.await_event(lambda events: "began" in events, 2)
    peer.rst_stream(stream)
    if not server.await_event(lambda events: events[-1:] not in ([], ["began"]), 4):
        return not began, "still waits after 4 s" if began else "the application is not called"
    last = server.events()[-1]
    if last.startswith("raised"):
        return True, last
    return False, f"{last} octets, as if that were all"


@probe("`Expect: 100-continue` is answered when the application reads", "RFC 9110 10.1.1")
def _(server: Running) -> Finding:
    peer = server.connect()
    fields = [("expect", "100-continue"), ("content-length", "4")]
    stream = peer.request("POST", "/digest", fields=fields, end_stream=False)
    peer.read_available(2)
    response = peer.responses.get(stream)
    early = bool(response and [status for status, _ in response.informational] == [100])
    peer.data(stream, b"data", end_stream=True)
    final = peer.response(stream, 5)
    return early and final.status == 200, "" if early else f"no 100 in 2 s, then {final.status}"


@probe("a body not read: whole response, then RST_STREAM(NO_ERROR)", "RFC 9113 8.1, may")
def _(server: Running) -> Finding:
    peer = server.connect()
    fields = [("content-length", "1000000")]
    stream = peer.request("POST", "/ok", fields=fields, end_stream=False)
    peer.data(stream, b"x" * 10_000)
    try:
        response = peer.wait_headers(stream, 5)
    except AssertionError:
        return False, "no answer before the upload has ended"
    peer.read_available(4.0)
    # The first counts: a second, for DATA that was under way, does no harm.
    resets = [f.error_code for f in peer.log if f.type == Type.RST_STREAM]
    if resets and resets[0] is not None:
        good = resets[0] == Code.NO_ERROR and response.body == b"ok" and response.ended
        return good, "" if good else f"RST_STREAM({name_of(Code, resets[0])})"
    return False, "no RST_STREAM: the client goes on uploading" if response.ended else "not ended"


@probe("trailers after a request body do no harm", "RFC 9113 8.1")
def _(server: Running) -> Finding:
    peer = server.connect()
    stream = peer.request("POST", "/digest", end_stream=False)
    peer.data(stream, b"data")
    peer.headers(stream, [("x-checksum", "1")], end_stream=True)
    response = peer.response(stream, 5)
    return response.body.decode() == hashlib.sha256(b"data").hexdigest(), str(response.status)


# --- Many at once ---


@probe("three requests of 0.5 s on one connection run side by side", "multiplexing")
def _(server: Running) -> Finding:
    peer = server.connect()
    began = time.monotonic()
    streams = [peer.request(path="/sleep?0.5") for _ in range(3)]
    good = all(peer.response(stream).body == b"slept" for stream in streams)
    seconds = time.monotonic() - began
    return good and seconds < 1, f"{seconds:.1f} s"


@probe("four stalled downloads delay no other stream and no other connection", "flow control")
def _(server: Running) -> Finding:
    peer = server.connect(settings={Setting.INITIAL_WINDOW_SIZE: 0})
    peer.wait_settings_ack()
    for _ in range(4):
        peer.request(path="/big")
    peer.read_available(0.5)
    began = time.monotonic()
    stream = peer.request(path="/ok")
    peer.window_update(stream, 1000)
    same = _answers(lambda: peer.response(stream, 3).body == b"ok")
    other = _answers(lambda: server.connect().get("/ok", timeout=3).body == b"ok")
    if same and other:
        return True, f"{time.monotonic() - began:.1f} s"
    which = [name for name, good in (("stream", same), ("connection", other)) if not good]
    return False, f"the other {' and the other '.join(which)} has to wait"


@probe("40 stalled downloads (more than threads) do not delay another connection", "robustness")
def _(server: Running) -> Finding:
    return _others_wait(server, 40, _stall_downloads)


@probe(
    "20 connections, each with a stalled download (more than threads), do not delay another",
    "robustness",
)
def _(server: Running) -> Finding:
    for _ in range(20):
        _stall_downloads(server, 1, 0.05)
    return _others_wait(server, 0, _stall_downloads)


@probe("40 uploads that never come do not delay another connection", "robustness")
def _(server: Running) -> Finding:
    return _others_wait(server, 40, _stall_uploads)


@probe("300 stalled downloads on four connections do not delay another", "robustness")
def _(server: Running) -> Finding:
    return _others_wait(server, 300, _stall_downloads)


@probe("300 uploads that never come, on four connections, do not delay another", "robustness")
def _(server: Running) -> Finding:
    return _others_wait(server, 300, _stall_uploads)


@probe("75 stalled downloads of 1 MiB do not pile up in memory", "flow control")
def _(server: Running) -> Finding:
    server.connect().get("/ok")
    before = server.resident_memory()
    _stall_downloads(server, 75, 2.0)
    grown = (server.resident_memory() - before) / MIB
    return grown < 75 / 2, f"{grown:+.0f} MiB"


def _stall_downloads(server: Running, count: int, seconds: float = 0.5) -> None:
    peer = server.connect(settings={Setting.INITIAL_WINDOW_SIZE: 0})
    peer.wait_settings_ack()
    for _ in range(count):
        peer.request(path="/big")
    peer.read_available(seconds)


def _stall_uploads(server: Running, count: int) -> None:
    peer = server.connect()
    for _ in range(count):
        peer.request("POST", "/digest", end_stream=False)
    peer.read_available(0.5)


def _others_wait(server: Running, count: int, stall: Callable[[Running, int], None]) -> Finding:
    # No connection has more than 75: servers allow 100 streams, or more.
    for part in [count] if count < 100 else [count // 4] * 4:
        stall(server, part)
    good = _answers(lambda: server.connect().get("/ok", timeout=4).body == b"ok")
    reset = 0
    for peer in server.peers:
        peer.read_available(0.05)
        reset += sum(frame.type == Type.RST_STREAM for frame in peer.log)
    if not good:
        return False, "no answer in 4 s"
    return True, f"{reset} of the stalled were reset" if reset else ""


def _answers(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except (AssertionError, OSError):
        return False


# --- Clients that are wrong ---


@probe("a malformed request (a `connection` field) costs its stream only", MALFORMED)
def _(server: Running) -> Finding:
    return _survives(server, {"fields": [("connection", "keep-alive")]})


@probe("a malformed request (an upper-case name) costs its stream only", MALFORMED)
def _(server: Running) -> Finding:
    return _survives(server, {"fields": [("X-Upper", "1")]})


def _survives(server: Running, request: dict[str, object]) -> Finding:
    peer = server.connect()
    stream = peer.request(path="/ok", **request)
    first = end_of(peer, stream)
    try:
        good = peer.get("/ok", timeout=5).body == b"ok"
    except AssertionError as error:
        return False, how_lost(peer, error)
    accepted = first.startswith("200")
    return good and not accepted, "accepted as if well-formed" if accepted else first


@probe("an HTTP/1.1 client over TLS gets an answer it can read", "convenience")
def _(server: Running) -> Finding:
    context = ssl.create_default_context(cafile=str(server.certs / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", server.port), 5) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as client,
    ):
        return _http1_answer(client)


@probe("a plain HTTP client on the TLS port gets an answer it can read", "convenience")
def _(server: Running) -> Finding:
    with socket.create_connection(("127.0.0.1", server.port), 5) as client:
        return _http1_answer(client)


def _http1_answer(client: socket.socket) -> Finding:
    client.settimeout(5)
    received = b""
    try:
        client.sendall(b"GET /ok HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while chunk := client.recv(4096):
            received += chunk
    except OSError as error:
        if not received:
            return False, "nothing in 5 s" if isinstance(error, TimeoutError) else "dropped"
    line = received.split(b"\r\n", 1)[0].decode("latin-1")
    if re.fullmatch(r"HTTP/1\.[01] \d{3}.*", line):
        return True, " ".join(line.split()[1:])
    return False, "dropped" if not received else "octets that are no HTTP/1.1"


# --- The end ---


@probe("SIGTERM: GOAWAY(NO_ERROR) to a connection with a running request", "RFC 9113 6.8")
def _(server: Running) -> Finding:
    peer, stream = _terminate_while_running(server)
    end_of(peer, stream, 8)
    peer.read_available(2)
    found = [frame for frame in peer.log if frame.last_stream_id is not None]
    if not found:
        return False, "none"
    said = ", then ".join(
        f"{name_of(Code, frame.error_code or 0)} with stream {frame.last_stream_id}"
        for frame in found
    ).replace(str(2**31 - 1), "2^31-1")
    # The first decides: what a second is about may be the client's frames under way.
    first = found[0]
    return first.error_code == Code.NO_ERROR and (first.last_stream_id or 0) >= stream, said


@probe("SIGTERM: a running request is answered in full, then the server ends", "robustness")
def _(server: Running) -> Finding:
    peer, stream = _terminate_while_running(server)
    answered = end_of(peer, stream, 8)
    peer.close()
    try:
        code = server.process.wait(12)
    except subprocess.TimeoutExpired:
        return False, f"{answered}; still there after 12 s"
    response = peer.responses.get(stream)
    if response is None or response.body != b"slept":
        return False, answered
    if not response.ended:
        return False, "all its content, but no END_STREAM"
    return code == 0, f"exit code {code}"


def _terminate_while_running(server: Running) -> tuple[Peer, int]:
    peer = server.connect()
    stream = peer.request(path="/sleep?1.5")
    # Not a PING: a server may answer that only once the request has ended.
    server.await_event(lambda events: "began" in events, 2)
    time.sleep(0.2)
    server.terminate()
    return peer, stream


# --- At the developer's desk ---


@probe("one command makes a certificate that clients verify", "convenience")
def _(server: Running) -> Finding:
    if server.server.name != "h2wsgi":
        offered = re.search(r"--\S*(make|generate|adhoc|self-?signed)\S*", help_of(server.server))
        return bool(offered), offered[0] if offered else "no such option"
    with contextlib.ExitStack() as stack:
        certs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        make_certificate(certs)
        with run(server.server, certs) as other:
            return other.connect().get("/ok").body == b"ok", "`--make-cert`"


@probe("runs in a thread of a test's process, and stops", "convenience")
def _(server: Running) -> Finding:
    command = [sys.executable, str(HERE / "fixtures.py"), server.server.name, str(server.certs)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=HERE)
    except subprocess.TimeoutExpired:
        return False, "nothing in 30 s"
    word, _, note = done.stdout.strip().splitlines()[-1].partition("|")
    return word == "yes", note or word.removeprefix("no: ")


# --- What others do ---

OTHERS: list[tuple[str, Callable[[Server, Path], Finding]]] = []


def other(behaviour: str) -> Callable[[Callable[[Server, Path], Finding]], None]:
    def add(function: Callable[[Server, Path], Finding]) -> None:
        OTHERS.append((behaviour, function))

    return add


@other("HTTP/1.1 and HTTP/2 on one port")
def _(server: Server, certs: Path) -> Finding:
    if server.http1 is None:
        return False, "HTTP/2 only, by intention"
    context = ssl.create_default_context(cafile=str(certs / "ca.crt"))
    context.set_alpn_protocols(["http/1.1"])
    with run(server, certs, options=server.http1) as running:
        second = running.connect().get("/ok").status == 200
        with (
            socket.create_connection(("127.0.0.1", running.port), 5) as sock,
            context.wrap_socket(sock, server_hostname="localhost") as client,
        ):
            good, note = _http1_answer(client)
    return good and note.startswith("200") and second, ""


@other("ASGI applications over HTTP/2")
def _(server: Server, certs: Path) -> Finding:
    if server.asgi is None:
        return False, "WSGI only"
    with run(server, certs, options=server.asgi, app="apps:asgi") as running:
        return running.connect().get("/").body == b"asgi", ""


@other("WebSocket (over HTTP/1.1, ASGI)")
def _(server: Server, certs: Path) -> Finding:
    if server.asgi is None:
        return False, ""
    context = ssl.create_default_context(cafile=str(certs / "ca.crt"))
    context.set_alpn_protocols(["http/1.1"])
    with (
        run(server, certs, options=server.asgi, app="apps:asgi") as running,
        socket.create_connection(("127.0.0.1", running.port), 5) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as client,
    ):
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = client.recv(4096).split(b"\r\n", 1)[0]
    return answer.startswith(b"HTTP/1.1 101"), "" if b" 101" in answer else answer.decode()


@other("an option for HTTP/3 (its presence only)")
def _(server: Server, certs: Path) -> Finding:
    found = re.search(r"--\S*(quic|http3)\S*", help_of(server))
    return bool(found), found[0] if found else ""


# --- Operations ---

OPERATIONS: list[tuple[str, Callable[[Server, Path], Finding]]] = []
CONNECTIONS = 60
PROXYS_CLIENT = "192.0.2.7"


def operation(behaviour: str) -> Callable[[Callable[[Server, Path], Finding]], None]:
    def add(function: Callable[[Server, Path], Finding]) -> None:
        OPERATIONS.append((behaviour, function))

    return add


def two_workers(server: Server) -> str:
    return f"{server.workers} {server.options}"


def worker_of(running: Running) -> bytes:
    with running.connect() as peer:
        return peer.get("/pid", timeout=5).body


@operation("two worker processes share the load")
def _(server: Server, certs: Path) -> Finding:
    with run(server, certs, options=two_workers(server)) as running:
        found = {worker_of(running) for _ in range(30)}
    return len(found) == 2, server.workers or ""


@operation(f"{CONNECTIONS} connections that stay are shared evenly by two workers")
def _(server: Server, certs: Path) -> Finding:
    with run(server, certs, options=two_workers(server)) as running:
        worker_of(running)
        time.sleep(2)  # the second may not be ready yet
        found: Counter[bytes] = Counter()
        for _ in range(CONNECTIONS):
            found[running.connect().get("/pid", timeout=5).body] += 1
    counts = sorted(found.values(), reverse=True) + [0]
    note = f"{counts[0]} and {counts[1]}"
    return counts[0] <= 1.3 * CONNECTIONS / 2, note


@operation("a worker that is killed is replaced")
def _(server: Server, certs: Path) -> Finding:
    with run(server, certs, options=two_workers(server)) as running:
        before = {worker_of(running) for _ in range(30)}
        os.kill(int(min(before)), signal.SIGKILL)
        began = time.monotonic()
        new = _another_worker(running, before, 8)
    after = f"after {time.monotonic() - began:.1f} s"
    return bool(new), after if new else "no other takes its place in 8 s"


def _another_worker(running: Running, before: set[bytes], seconds: float) -> bytes:
    """Return the first worker that answers and is none of those before; b"" if there is none."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(AssertionError, OSError):
            if (pid := worker_of(running)) not in before:
                return pid
    return b""


@operation("SIGHUP: running requests are answered in full, new workers serve")
def _(server: Server, certs: Path) -> Finding:
    with run(server, certs, options=two_workers(server)) as running:
        before = {worker_of(running) for _ in range(30)}
        peer = running.connect()
        stream = peer.request(path="/sleep?1.5")
        running.await_event(lambda events: "began" in events, 2)
        time.sleep(0.2)
        running.reload()
        end = end_of(peer, stream, 8)
        if not end.startswith("200 and a clean end"):
            return False, end
        new = _another_worker(running, before, 10)
    return bool(new), "" if new else "the old ones go on"


@operation("a new certificate in the old one's files is shown, by itself or on SIGHUP")
def _(server: Server, certs: Path) -> Finding:
    with tempfile.TemporaryDirectory() as name:
        ours, new = Path(name) / "ours", Path(name) / "new"
        shutil.copytree(certs, ours)
        make_certificate(new)
        wanted = ssl.PEM_cert_to_DER_cert((new / "cert.crt").read_text())
        with run(server, ours, options=two_workers(server)) as running:
            time.sleep(2)  # the second may not be ready yet, and would read the new ones
            for each in ("cert.key", "cert.crt"):
                shutil.copy(new / each, ours / each)
            if _shows(running, wanted, 6):
                return True, "by itself"
            running.reload()
            return _shows(running, wanted, 20), "on SIGHUP"


def _shows(running: Running, wanted: bytes, seconds: float) -> bool:
    """Say whether all who connect are shown a certificate within a time."""
    until = time.monotonic() + seconds
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    in_a_row = 0
    while time.monotonic() < until and in_a_row < 10:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", running.port), 5) as sock,
            context.wrap_socket(sock) as client,
        ):
            shown = client.getpeercert(binary_form=True) == wanted
            in_a_row = in_a_row + 1 if shown else 0
        time.sleep(0.1)
    return in_a_row >= 10


@operation("REMOTE_ADDR is the client's that a trusted proxy names (X-Forwarded-For)")
def _(server: Server, certs: Path) -> Finding:
    options = f"{server.forwarded or ''} {server.options}"
    with run(server, certs, options=options) as running:
        peer = running.connect()
        fields = [("x-forwarded-for", PROXYS_CLIENT)]
        shown = peer.response(peer.request(path="/show?REMOTE_ADDR", fields=fields)).body.decode()
    if shown == repr(PROXYS_CLIENT):
        return server.forwarded is not None, server.forwarded or "for everybody"
    return False, "no such option" if server.forwarded is None else "it stays the proxy's"


@operation("a PROXY header before TLS tells the client's address")
def _(server: Server, certs: Path) -> Finding:
    if server.proxy_protocol is None:
        return False, "no such option"
    options = f"{server.proxy_protocol} {server.options}"
    context = ssl.create_default_context(cafile=str(certs / "ca.crt"))
    context.set_alpn_protocols(["h2"])
    with (
        run(server, certs, options=options) as running,
        socket.create_connection(("127.0.0.1", running.port), 5) as sock,
    ):
        sock.sendall(f"PROXY TCP4 {PROXYS_CLIENT} 127.0.0.1 5000 443\r\n".encode())
        try:
            tls = context.wrap_socket(sock, server_hostname="localhost")
        except OSError:
            return False, "no TLS handshake behind it"
        with tls, Peer(tls) as peer:
            shown = peer.get("/show?REMOTE_ADDR", timeout=5).body.decode()
    return shown == repr(PROXYS_CLIENT), "" if shown == repr(PROXYS_CLIENT) else f"it is {shown}"


@operation("an urgent response (RFC 9218, `u=0`) goes before one that is not, whichever came first")
def _(server: Server, certs: Path) -> Finding:
    with run(server, certs) as running:
        shares = [_urgent_share(running, order) for order in (("u=6", "u=0"), ("u=0", "u=6"))]
    return min(shares) > 0.7, "it has {:.0%} and {:.0%} of what is sent".format(*shares)


def _urgent_share(running: Running, order: tuple[str, str]) -> float:
    """Return how much of what is sent for two large responses is the urgent one's."""
    peer = running.connect(settings={Setting.INITIAL_WINDOW_SIZE: 1 << 24})
    peer.auto_window = False
    streams = [peer.request(path="/big", fields=[("priority", each)]) for each in order]
    peer.read_available(1.0)
    before = _received(peer, streams)
    for _ in range(20):  # as a client that reads
        peer.window_update(0, 20_000)
        peer.read_available(0.05)
    sent = [now - was for now, was in zip(_received(peer, streams), before, strict=True)]
    return sent[order.index("u=0")] / max(sum(sent), 1)


def _received(peer: Peer, streams: list[int]) -> list[int]:
    found = (peer.responses.get(stream) for stream in streams)
    return [response.received if response else 0 for response in found]


@operation("an option for metrics (its presence only)")
def _(server: Server, certs: Path) -> Finding:
    found = re.search(r"--(metrics|statsd-host)\b", help_of(server))
    return bool(found), found[0] if found else ""


@operation("an option to restart when the code changes (its presence only)")
def _(server: Server, certs: Path) -> Finding:
    return bool(re.search(r"--reload\b", help_of(server))), ""


# --- Running and printing ---


def help_of(server: Server) -> str:
    command = [sys.executable, "-m", server.name, "--help"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def make_certificate(folder: Path) -> None:
    command = [sys.executable, "-m", "h2wsgi", "--make-cert", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def attempt(look: Callable[[], Finding]) -> str:
    """Return a table's cell: yes or no, with what there is to add."""
    try:
        good, note = look()
    except DidNotStart as error:
        good, note = False, f"did not start: {shorten(error)}"
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        good, note = False, shorten(error)
    word = "yes" if good else "**no**"
    ordinary = good and re.fullmatch(r"\d+|\d+, \d+ octets|0 octets of content|\[.*\]|'.*'", note)
    return f"{word}: {note}" if note and not ordinary else word


def look_at(each: Probe, server: Server, certs: Path) -> Finding:
    with run(server, certs) as running:
        return each.run(running)


def table(rows: list[tuple[str, ...]]) -> str:
    head, *rest = rows
    lines = [head, tuple("---" for _ in head), *rest]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    names = [server.name for server in SERVERS]
    parser.add_argument("--server", action="append", choices=names, help="only this; repeatable")
    parser.add_argument("--probe", default="", help="only rows that contain this text")
    chosen = parser.parse_args()
    servers = [each for each in SERVERS if each.name in (chosen.server or names)]
    head = [f"{each.name} {version(each.name)}" for each in servers]
    first = [("Behaviour", "Ground", *head)]
    second, third = [("Behaviour", *head)], [("Behaviour", *head)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        certs = Path(folder)
        make_certificate(certs)
        for each in PROBES:
            if chosen.probe in each.behaviour:
                cells = [attempt(lambda s=s, e=each: look_at(e, s, certs)) for s in servers]
                first.append((each.behaviour, each.ground, *cells))
                progress(cells, each.behaviour)
        for rows, looks in ((second, OPERATIONS), (third, OTHERS)):
            for behaviour, look in looks:
                if chosen.probe in behaviour:
                    cells = [attempt(lambda s=s, f=look: f(s, certs)) for s in servers]
                    rows.append((behaviour, *cells))
                    progress(cells, behaviour)
    for rows in (first, second, third):
        if len(rows) > 1:
            sys.stdout.write(table(rows) + "\n")
    sys.stdout.write(
        f"{date.today()}, {platform.python_implementation()} {platform.python_version()} on"
        f" {platform.system()}, h2 {version('h2')}; {time.monotonic() - began:.0f} s in all.\n"
    )


def progress(cells: list[str], behaviour: str) -> None:
    words = " ".join(cell.strip("*")[:3].strip("*:") for cell in cells)
    sys.stderr.write(f"{words}  {behaviour}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
