"""What a failed test shows of a server: it fits a screen or two, whatever a client has done."""

from __future__ import annotations

import re
import socket
from typing import Any

from conftest import Connect, Serve
from h2wsgi.config.fault_rules import FaultRules
from h2wsgi.testing.report import LogLine, report
from h2wsgi.tools.recording.records import Records
from support.peer import Setting, Type

NO_FAULTS = FaultRules((), 0)
MOST_LINES = 160


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def shown(server: Any) -> str:
    since = server.connections[0].opened_at if server.connections else 0.0
    return report(server.connections, 0, [], NO_FAULTS, since)


def test_requests_and_frames_are_told_line_by_line(serve: Serve, connect: Connect) -> None:
    server = serve(app, record=True, fault="refuse /no")
    with connect(server) as peer:
        peer.get("/a?b=c")
        stream_id = peer.request("POST", "/upload", end_stream=False)
        peer.data(stream_id, b"12345", end_stream=True)
        peer.response(stream_id)
        peer.wait_reset(peer.request(path="/no"))
    server.wait_for(lambda: server.connections[0].closed)
    text = shown(server)
    first, *requests = text.splitlines()[:4]
    assert first.startswith("#1 from 127.0.0.1:")
    assert re.search(r", ALPN h2, 3 requests; closed at \d+\.\d{3}: the client hung up$", first)
    assert requests[0].startswith("    stream 1: GET /a?b=c -> 200, 5 octets in ")
    assert requests[1].startswith("    stream 3: POST /upload with 5 octets -> 200, 5 octets in ")
    assert requests[2].endswith(
        "GET /no -> no answer, then RST_STREAM(REFUSED_STREAM) of the server"
    )
    ends = [line[14:] for line in text.splitlines() if "stream 3  " in line or "stream 5  " in line]
    assert ends == [
        "recv HEADERS       stream 3   POST /upload",
        "recv DATA          stream 3   5 octets, END_STREAM",
        "send HEADERS       stream 3   200",
        "send DATA          stream 3   5 octets, END_STREAM",
        "recv HEADERS       stream 5   GET /no, END_STREAM",
        "send RST_STREAM    stream 5   REFUSED_STREAM",
    ]


def test_a_window_that_keeps_the_server_waiting_is_told(serve: Serve, connect: Connect) -> None:
    server = serve(app, record=True)
    with connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 3}) as peer:
        peer.wait_settings_ack()
        peer.auto_window = False
        stream_id = peer.request(path="/")
        peer.wait_data(stream_id, 3)
        assert "-> 200, 3 octets, no end so far" in shown(server)
        assert "send DATA          stream 1   3 octets, the stream's window is full" in shown(
            server
        )


def test_settings_goaway_and_what_is_wrong_are_told(serve: Serve, connect: Connect) -> None:
    server = serve(app, record=True)
    with connect(server, settings={Setting.MAX_FRAME_SIZE: 20_000}) as peer:
        peer.get("/")
        peer.goaway(0, 2, b"I \x1b[31mgo\n")
        peer.roundtrip()
        peer.send_frame(Type.PING, 0, 0, b"short")
        peer.wait_goaway()
    text = shown(server)
    assert "recv SETTINGS      connection MAX_FRAME_SIZE=20000" in text
    assert "last stream 0, INTERNAL_ERROR, 'I \\x1b[31mgo\\n'" in text
    assert "recv PING          connection" in text
    assert "! " in text
    assert "send GOAWAY        connection last stream 1, FRAME_SIZE_ERROR" in text


def test_octets_of_a_client_steer_no_terminal(serve: Serve) -> None:
    server = serve(app, record=True, h2c=True)
    port = int(server.url.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\x1b[31m\r\n\r\n")
        while sock.recv(1000):
            pass
    text = report(server.connections, 0, [LogLine(1.0, "app: \x1b[31m\rred")], NO_FAULTS, 0.0)
    assert "that are not HTTP/2; begins with" in text
    assert "cleartext" in text
    assert "app: \\x1b[31m\\x0dred" in text
    assert text.replace("\n", "").isprintable()


def test_it_is_bounded(serve: Serve, connect: Connect) -> None:
    server = serve(app, record=True, bind=("localhost:0",), bind_h2c=("127.0.0.1:0",))
    for _ in range(6):
        with connect(server) as peer:
            for _ in range(30):
                peer.get("/" + "x" * 3000)
    log = [LogLine(1.0, "app: " + "y" * 3000)] * 200
    text = report(server.connections, 0, log, NO_FAULTS, 0.0)
    assert len(text.splitlines()) < MOST_LINES
    assert max(map(len, text.splitlines())) < 160
    assert text.startswith("... 2 connections more, and then\n#3 from")
    assert "    ... 22 requests more, and then" in text
    assert "    ... 170 lines more, and then" in text


def test_it_says_why_there_is_nothing() -> None:
    assert "the option record is off" in report(None, 0, [], NO_FAULTS, 0.0)


def test_faults_are_told_with_what_they_hit(serve: Serve, connect: Connect) -> None:
    rules = FaultRules(["refuse /a times=1"], 0)
    (rule,) = rules
    assert rule.strikes()
    rule.struck()
    assert not rule.strikes()
    assert "fault 'refuse /a times=1': hit 1 of 2" in report(None, 0, [], rules, 0.0)


def test_applications_that_have_not_returned_are_counted() -> None:
    assert "not returned from 1 request" in report(Records(), 1, [], NO_FAULTS, 0.0)
    assert "not returned from 3 requests" in report(Records(), 3, [], NO_FAULTS, 0.0)
