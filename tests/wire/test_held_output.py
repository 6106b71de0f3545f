"""Clients that hold all the output the process may have: what others get, and who has to go."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi.http2 import hoards
from h2wsgi.server.running import ServerThread
from support.peer import Code, Peer, Setting, Type
from support.settled import PATIENCE, eventually, settle
from wire.test_flow_control import LARGE, NO_WINDOW, pattern, sized

SMALL: dict[str, Any] = {"max_buffered": 1_048_576, "max_connections": 16}
SOON = 1.0
"""Seconds in which a fresh client is answered, whoever holds what."""
ALL = "/list/200000"


def attack(server: ServerThread, connect: Connect, connections: int = 3) -> list[Peer]:
    """Ask for more than the process may hold, and take nothing of it."""
    peers = [connect(server, settings=NO_WINDOW) for _ in range(connections)]
    for peer in peers:
        peer.wait_settings_ack()
        for _ in range(5):
            peer.request(path=ALL)
    eventually(lambda: server.server.output_budget.full, "the process to be full")
    return peers


def resets(peer: Peer) -> list[int | None]:
    peer.read_available()
    return [frame.error_code for frame in peer.log if frame.type == Type.RST_STREAM]


@pytest.fixture
def nobody_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hoards, "TOO_LONG", 1e12)


@pytest.mark.usefixtures("nobody_goes")
@pytest.mark.parametrize("path", ["/list/100", "/pieces/100", "/list/500000", "/pieces/500000"])
def test_a_fresh_client_is_answered_while_others_hold_all_output(
    serve: Serve, connect: Connect, path: str
) -> None:
    server = serve(sized, **SMALL)
    attackers = attack(server, connect)
    for _ in range(3):
        with connect(server) as fresh:
            response = fresh.get(path, timeout=PATIENCE)
        assert response.body == pattern(int(path.rpartition("/")[2]))
    assert server.server.output_budget.full
    for peer in attackers:
        peer.close()
    settle(server)


@pytest.mark.usefixtures("nobody_goes")
def test_without_a_share_of_its_own_a_fresh_client_would_wait(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hoards, "KEPT_PART", 10**12)
    server = serve(sized, **SMALL)
    attackers = attack(server, connect)
    fresh = connect(server)
    stream_id = fresh.request(path="/list/100")
    assert not fresh.read_available(SOON) or stream_id not in fresh.responses
    for peer in attackers:
        peer.close()
    assert fresh.response(stream_id).body == pattern(100)


def test_the_process_holds_no_more_than_it_may_though_each_connection_keeps_a_share(
    serve: Serve, connect: Connect, nobody_goes: None
) -> None:
    """Every connection there may be takes its share, of pieces and of whole responses."""
    server = serve(sized, **SMALL)
    attackers = attack(server, connect)
    before = set(server.server._protocols)
    others = [connect(server, settings=NO_WINDOW) for _ in range(10)]
    for number, peer in enumerate(others):
        peer.wait_settings_ack()
        for _ in range(5):
            peer.request(path="/list/300000" if number % 2 else "/pieces/300000")
    kept = server.server.output_budget.kept
    holders = [p.connection for p in set(server.server._protocols) - before]
    eventually(
        lambda: all(len(each._handover.ceiling_waiters) == 5 for each in holders),
        "every application to wait for room",
    )
    eventually(
        lambda: all(kept // 2 <= each._queued.used <= kept for each in holders),
        "each connection to hold its share and no more",
    )
    for peer in attackers + others:
        peer.close()
    settle(server)


def test_clients_that_take_nothing_are_reset_one_stream_after_the_other_and_logged(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = serve(sized, **SMALL)
    attackers = attack(server, connect)
    eventually(lambda: all(resets(peer) for peer in attackers), "each to see a reset")
    for peer in attackers:
        assert set(resets(peer)) == {Code.ENHANCE_YOUR_CALM}
        peer.roundtrip()
    said = [r.getMessage() for r in caplog.records if "(--max-buffered)" in r.getMessage()]
    assert any("gave up GET /list/200000" in line for line in said)
    assert server.server.limits_hit["max_buffered"] >= len(attackers)


def test_a_slow_download_survives_beside_clients_that_take_nothing(
    serve: Serve, connect: Connect
) -> None:
    """It was there first, holds more than any of them, and opens its window now and then."""
    server = serve(sized, **SMALL)
    slow = connect(server, settings={Setting.INITIAL_WINDOW_SIZE: 20_000}, window=LARGE)
    slow.auto_window = False
    stream_id = slow.request(path="/list/400000")
    slow.wait_data(stream_id, 20_000)
    attackers = attack(server, connect)
    began = time.monotonic()
    while time.monotonic() < began + 4:
        slow.window_update(stream_id, 10_000)
        slow.read_available(1.3)
    assert any(resets(peer) for peer in attackers)
    slow.window_update(stream_id, 400_000)
    assert slow.response(stream_id).body == pattern(400_000)


def test_of_one_connection_of_many_users_only_the_streams_that_stall_are_reset(
    serve: Serve, connect: Connect
) -> None:
    """As a proxy has it: the others of its users get what they ask for all along."""
    server = serve(sized, **SMALL)
    proxy = connect(server, settings=NO_WINDOW, window=LARGE)
    proxy.wait_settings_ack()
    stalled = [proxy.request(path=ALL) for _ in range(6)]
    eventually(lambda: server.server.output_budget.full, "the process to be full")
    for _ in range(8):
        stream_id = proxy.request(path="/list/300000")
        proxy.window_update(stream_id, 300_000)
        assert proxy.response(stream_id).body == pattern(300_000)
    # Those that are left hold what there is room for.
    eventually(lambda: resets(proxy), "those that stall to be reset")
    assert set(resets(proxy)) == {Code.ENHANCE_YOUR_CALM}
    assert all(f.stream_id in stalled for f in proxy.log if f.type == Type.RST_STREAM)
    proxy.roundtrip()


def test_a_thread_that_waits_for_room_costs_the_stream_that_holds_it(
    serve: Serve, connect: Connect, nobody_goes: None
) -> None:
    """No thread is left for one connection, whose streams that stall hold all its room."""
    server = serve(sized, **SMALL, threads=4, max_threads=4)
    proxy = connect(server, settings=NO_WINDOW, window=LARGE)
    proxy.wait_settings_ack()
    stalled = [proxy.request(path=ALL) for _ in range(4)]
    eventually(lambda: server.server.output_budget.full, "the process to be full")
    for stream_id in (others := [proxy.request(path="/list/100") for _ in range(8)]):
        proxy.window_update(stream_id, 100)
    for stream_id in others:
        assert proxy.response(stream_id).body == pattern(100)
    assert set(resets(proxy)) == {Code.ENHANCE_YOUR_CALM}
    assert all(f.stream_id in stalled for f in proxy.log if f.type == Type.RST_STREAM)


def test_applications_that_wait_for_a_share_are_told_when_their_client_goes(
    serve: Serve, connect: Connect, nobody_goes: None
) -> None:
    left = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return sized(environ, start_response)
        finally:
            if environ["PATH_INFO"] == "/list/300000":
                left.set()

    server = serve(app, **SMALL)
    attackers = attack(server, connect)
    waiting = connect(server, settings=NO_WINDOW)
    waiting.wait_settings_ack()
    waiting.request(path="/list/300000")
    assert left.wait(PATIENCE)
    waiting.abort()
    for peer in attackers:
        peer.abort()
    settle(server)
