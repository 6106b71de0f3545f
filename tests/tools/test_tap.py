"""The seam that the tap sits on: every octet, before anybody acts on it, and no harm done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from h2wsgi.http2.observed import ObservedProtocol
from h2wsgi.http2.protocol import H2Protocol
from h2wsgi.seam.request import ConnectionFacts
from h2wsgi.server.running import ServerThread
from support.peer import PREFACE, Code, Peer, Type
from support.settled import eventually

ServeObserved = Callable[..., ServerThread]


def hello(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


class Observer:
    """Keeps the octets; raises in the method named."""

    def __init__(self, raises: str = "") -> None:
        self.raises = raises
        self.calls: list[str] = []
        self.octets = {"received": b"", "sent": b""}
        self.facts: ConnectionFacts | None = None
        self.alpn: str | None = None
        self.reason = ""

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self.raises:
            raise ValueError(f"no {name}")

    def opened(self, facts: ConnectionFacts, alpn: str | None) -> None:
        self.facts, self.alpn = facts, alpn
        self._called("opened")

    def received(self, octets: bytes) -> None:
        self.octets["received"] += octets
        self._called("received")

    def sent(self, octets: bytes) -> None:
        self.octets["sent"] += octets
        self._called("sent")

    def closed(self, reason: str) -> None:
        self.reason = reason
        self._called("closed")


@pytest.fixture
def serve_observed() -> Iterator[ServeObserved]:
    """Serve with the observers that a function makes."""
    with ExitStack() as stack:

        def start(observe: Callable[[], Any], app: Any = hello, **options: Any) -> ServerThread:
            options.setdefault("loop", os.environ.get("TEST_LOOP", "auto"))
            options.setdefault("engine", os.environ.get("TEST_ENGINE", "auto"))
            thread = h2wsgi.serve_in_thread(app, **options)
            thread.server.observe = observe
            return stack.enter_context(thread)

        yield start


def port_of(server: ServerThread) -> int:
    return int(server.url.rstrip("/").rpartition(":")[2])


def connect(server: ServerThread, **options: Any) -> Peer:
    tls = server.url.startswith("https")
    return Peer.connect(("127.0.0.1", port_of(server)), tls=tls, ca_file=server.ca_file, **options)


class Recording(Peer):
    """A peer that keeps the octets it sends and gets."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.sent_octets = self.received_octets = b""
        super().__init__(*args, **options)

    def send_raw(self, data: bytes, *args: Any) -> None:
        self.sent_octets += data
        super().send_raw(data, *args)

    def _fill(self, deadline: float) -> bool:
        before = len(self._buffer)
        more = super()._fill(deadline)
        self.received_octets += bytes(self._buffer[before:])
        return more


@pytest.mark.parametrize("options", [{}, {"h2c": True, "bind": "localhost:0"}], ids=["tls", "h2c"])
def test_an_observer_sees_every_octet_of_both_directions(
    serve_observed: ServeObserved, options: dict[str, Any]
) -> None:
    observer = Observer()
    server = serve_observed(lambda: observer, **options)
    tls = not options
    address = ("127.0.0.1", port_of(server))
    with Recording.connect(address, tls=tls, ca_file=server.ca_file) as peer:
        for _ in range(3):
            assert peer.get("/").body == b"hello"
        peer.roundtrip()
    eventually(lambda: observer.reason, "the connection to close")
    assert observer.calls[0] == "opened"
    assert observer.calls[-1] == "closed"
    assert observer.octets["received"] == peer.sent_octets
    received = peer.received_octets
    assert observer.octets["sent"][: len(received)] == received
    behind = observer.octets["sent"][len(received) :]
    # In cleartext a client that has hung up may only have shut down its half: GOAWAY is for that.
    assert behind[3:4] == (b"" if tls else bytes([Type.GOAWAY]))
    assert observer.alpn == ("h2" if tls else None)
    assert observer.facts is not None
    assert observer.facts.tls.get("SSL_PROTOCOL") == ("TLSv1.3" if tls else None)
    assert observer.reason == "the client hung up"


def test_octets_are_seen_before_the_application_runs_and_before_they_leave(
    serve_observed: ServeObserved,
) -> None:
    observer = Observer()
    seen_by_application = []

    def app(environ, start_response):
        seen_by_application.append(PREFACE in observer.octets["received"])
        return hello(environ, start_response)

    with connect(serve_observed(lambda: observer, app)) as peer:
        peer.get("/")
        assert b"hello" in observer.octets["sent"]
    assert seen_by_application == [True]


def test_octets_that_a_stall_keeps_back_are_seen_once_when_they_leave(
    serve_observed: ServeObserved,
) -> None:
    observer = Observer()

    def app(environ, start_response):
        environ["h2wsgi.stream"].stall(0.1, connection=True)
        return hello(environ, start_response)

    server = serve_observed(lambda: observer, app, bind_h2c="127.0.0.1:0", bind=())
    address = ("127.0.0.1", port_of(server))
    with Recording.connect(address, tls=False) as peer:
        assert peer.get("/").body == b"hello"
        peer.roundtrip()
        assert observer.octets["sent"] == peer.received_octets


@pytest.mark.parametrize("method", ["opened", "received", "sent", "closed"])
def test_an_observer_that_raises_is_logged_once_and_hurts_nobody(
    serve_observed: ServeObserved, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    observers = [Observer(method), Observer()]
    waiting = iter(observers)
    server = serve_observed(lambda: next(waiting))
    for _ in range(2):
        with connect(server) as peer:
            assert peer.get("/").body == b"hello"
            assert peer.get("/").body == b"hello"
    eventually(lambda: server.server.open_connections == 0, "the connections to be forgotten")
    failures = [r.getMessage() for r in caplog.records if "observer" in r.getMessage()]
    assert len(failures) == 1
    assert failures[0].endswith("the observer of the connection failed; going on without it")
    assert observers[0].calls[-1] == method
    assert observers[1].calls[-1] == "closed"


def test_a_maker_of_observers_that_raises_hurts_nobody(
    serve_observed: ServeObserved, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> None:
        raise ValueError("none today")

    with connect(serve_observed(make)) as peer:
        assert peer.get("/").body == b"hello"
    assert "going on without it" in caplog.text


@pytest.mark.parametrize("alpn", [("http/1.1",), ()], ids=["http1", "none"])
def test_a_client_that_is_refused_is_seen_with_its_answer(
    serve_observed: ServeObserved, alpn: tuple[str, ...]
) -> None:
    observer = Observer()
    server = serve_observed(lambda: observer)
    with connect(server, alpn=alpn, settings=None, preface=False) as peer:
        peer.send_raw(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        eventually(lambda: observer.reason, "the connection to close")
    assert observer.octets["received"].startswith(b"GET / HTTP/1.1\r\n")
    assert observer.octets["sent"].startswith(b"HTTP/1.1 505 ")
    assert observer.alpn is None


def test_a_bad_preface_is_seen_with_the_goaway_that_answers_it(
    serve_observed: ServeObserved,
) -> None:
    observer = Observer()
    server = serve_observed(lambda: observer)
    with connect(server, settings=None, preface=False) as peer:
        peer.send_raw(b"PRI * HTTP/1.0\r\n\r\nSM\r\n\r\n")
        assert peer.wait_goaway().error_code == Code.PROTOCOL_ERROR
        peer.wait_closed()
        eventually(lambda: observer.reason, "the connection to close")
    assert observer.octets["received"].startswith(b"PRI * HTTP/1.0\r\n\r\nSM\r\n\r\n")
    assert b"the preface is wrong" in observer.octets["sent"]
    assert observer.reason == "the server closed it"


def test_an_abort_of_the_server_is_its_own_doing(serve_observed: ServeObserved) -> None:
    observer = Observer()
    server = serve_observed(lambda: observer)
    with connect(server) as peer:
        peer.get("/")
        (protocol,) = server.server._protocols
        server.server.mailbox.post_threadsafe(protocol.abort)
        peer.wait_closed()
        eventually(lambda: observer.reason, "the connection to close")
    assert observer.reason == "the server closed it"


def test_with_an_observer_the_protocol_is_another_class(serve_observed: ServeObserved) -> None:
    server = serve_observed(Observer)
    with connect(server) as peer:
        peer.get("/")
        assert [type(p) for p in server.server._protocols] == [ObservedProtocol]


def test_without_one_the_protocol_is_what_it_always_was(serve: Any, connect: Any) -> None:
    server = serve(hello)
    connect(server).get("/")
    assert [type(p) for p in server.server._protocols] == [H2Protocol]


PROGRAM = """
import sys
import h2wsgi

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

with h2wsgi.serve_in_thread(app, bind_h2c="127.0.0.1:0") as server:
    from support.peer import Peer
    with Peer.connect(("127.0.0.1", int(server.url[:-1].rpartition(":")[2])), tls=False) as peer:
        assert peer.get("/").body == b"hello"
        print([type(protocol).__name__ for protocol in server.server._protocols])
names = ("h2wsgi.tools", "observed", "http.server")
print([module for module in sys.modules if any(name in module for name in names)])
"""


def test_without_the_options_that_need_them_no_tool_is_even_imported() -> None:
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["['H2Protocol']", "[]"]
