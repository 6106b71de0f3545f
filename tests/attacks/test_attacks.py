"""Every limit, twice: it stops its attack, and without it nothing does.

The rows are in tests/attacks; docs/security.md says what each is about. Two tests for each, so
that a limit which is taken away, or raised beyond use, fails here by its name.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from attacks import ATTACKS
from h2wsgi.config.config import Config
from support.attack import Attack, AttackedServer, Field, Settings
from support.peer import Code, Peer, Setting
from support.settled import eventually

ENGINE = {"h2": "h2"}.get(os.environ.get("TEST_ENGINE", ""), "fast")

Start = Callable[[Settings], AttackedServer]
STOPPED = ATTACKS
SUCCEEDING = [attack for attack in ATTACKS if ENGINE in attack.engines]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Return a running server with some settings; rows with the same ones share it, to the last."""
    left = Counter(attack.settings(limited=True) for attack in STOPPED)
    left += Counter(attack.settings(limited=False) for attack in SUCCEEDING)
    running: dict[Settings, AttackedServer] = {}

    def find(settings: Settings) -> AttackedServer:
        for done in [s for s in running if not left[s]]:
            running.pop(done).__exit__()
        left[settings] -= 1
        if settings not in running:
            folder = tmp_path_factory.mktemp("attacked")
            running[settings] = AttackedServer(folder, settings)
            running[settings].start()
        return running[settings]

    yield find
    for server in running.values():
        server.__exit__()


def named(attack: Attack) -> str:
    return attack.name


@pytest.mark.parametrize("attack", STOPPED, ids=named)
def test_attack_is_stopped(attack: Attack, start: Start) -> None:
    server = start(attack.settings(limited=True))
    resident = server.resident()
    with Field(server, attack, limited=True) as field:
        field.fights()
        field.met()
        field.counted_and_said()
        server.ask("/")
    server.recovers(resident)


@pytest.mark.parametrize("attack", SUCCEEDING, ids=named)
def test_attack_succeeds_without_its_limit(attack: Attack, start: Start) -> None:
    server = start(attack.settings(limited=False))
    with Field(server, attack, limited=False) as field:
        field.fights()
        field.watches()
        field.succeeds()
    server.ask("/release")


# ------------------------------------------------------- what does not fit into such a list

CROWD = 12
FEW = 6


def a_crowd(
    server: AttackedServer, stack: contextlib.ExitStack, count: int = CROWD, path: str = "/"
) -> list[Peer]:
    """Connect clients, each with a request."""
    crowd = [stack.enter_context(Peer.connect(server.address, tls=False)) for _ in range(count)]
    for peer in crowd:
        peer.request(path=path)
    return crowd


def test_idle_connections_leave_one_by_one_for_newcomers(start: Start) -> None:
    server = start(Settings.of({"max_connections": FEW}, {}))
    resident = server.resident()
    with contextlib.ExitStack() as stack:
        (busy,) = a_crowd(server, stack, 1, "/hold")
        busy.roundtrip()
        idle = a_crowd(server, stack, FEW - 1)
        for peer in idle:
            assert peer.response(1).status == 200
        for peer in a_crowd(server, stack, FEW - 1):
            assert peer.response(1).status == 200
        for peer in idle:
            assert peer.wait_goaway().error_code == Code.NO_ERROR
        server.ask("/release")
        assert busy.response(1).status == 200
        assert server.ask()["limits_hit"]["max_connections"] > 0
    server.recovers(resident)


def test_if_idle_connections_never_left_newcomers_would_wait(start: Start) -> None:
    server = start(Settings.of({"max_connections": FEW}, {"server.accept:IDLE_ENOUGH": 1e9}))
    with contextlib.ExitStack() as stack:
        for peer in a_crowd(server, stack, FEW):
            assert peer.response(1).status == 200
        (newcomer,) = a_crowd(server, stack, 1)
        assert not newcomer.read_available(1.5)


def test_connections_over_the_limit_wait_until_others_end(start: Start) -> None:
    """As long as each has a stream."""
    server = start(Settings.of({"max_connections": FEW}, {}))
    resident = server.resident()
    with contextlib.ExitStack() as stack:
        inside = a_crowd(server, stack, FEW, "/hold")
        for peer in inside:
            peer.roundtrip()
        waiting = a_crowd(server, stack, CROWD - FEW)
        said = f"the limit of {FEW} connections is reached"
        eventually(lambda: said in server.log.read_text(), "the log to say so")
        for peer in inside:
            peer.roundtrip()
        assert not any(peer.read_available() for peer in waiting)
        for leaving, entering in zip(inside, waiting, strict=True):
            leaving.close()
            assert entering.response(1).status == 200
        waiting[0].close()
        found = server.ask()
        assert found["connections"] == FEW
        assert found["limits_hit"]["max_connections"] > 0
    server.recovers(resident)


def test_without_a_limit_of_connections_every_client_is_let_in(start: Start) -> None:
    server = start(Settings.of({"max_connections": 1_000}, {}))
    with contextlib.ExitStack() as stack:
        for peer in a_crowd(server, stack):
            assert peer.response(1).status == 200
        assert server.ask()["connections"] == CROWD + 1


VANISHING: dict[str, Callable[[Peer], None]] = {
    "end of file": Peer.close,
    "reset": Peer.abort,
}


@pytest.mark.parametrize("vanish", VANISHING.values(), ids=VANISHING.keys())
def test_transfers_of_vanished_clients_leave_no_thread_behind(
    start: Start, vanish: Callable[[Peer], None]
) -> None:
    """Uploads in the middle and downloads without a window, from eight connections."""
    server = start(Settings.of({}, {}))
    resident = server.resident()
    before = server.ask()["started"]
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(
                Peer.connect(server.address, tls=False, settings={Setting.INITIAL_WINDOW_SIZE: 0})
            )
            for _ in range(8)
        ]
        for peer in peers * 2:
            length = [("content-length", "9000")]
            stream_id = peer.request("POST", "/read", fields=length, end_stream=False)
            peer.data(stream_id, bytes(5_000))
            peer.request(path="/big")
        for path in ("/read", "/big"):
            server.wait_started(path, before.get(path, 0) + 16)
        assert server.ask()["busy"] > 32
        for peer in peers:
            vanish(peer)
    server.recovers(resident)


# ---------------------------------------------------------------------- nothing left out

BOUNDS = {"stream_window", "connection_window", "stream_buffer", "connection_buffer"}
"""What is kept for a client at most: whoever has as much waits, and nothing ends."""
POLICIES = {"request_timeout", "max_requests_per_connection", "max_connection_age"}
"""No limits on what a client may do: test_request_timeout.py and test_rotation.py in tests/wire."""
SECURITY = (Path(__file__).parent.parent.parent / "docs" / "security.md").read_text("utf-8")


def test_every_limit_has_an_attack() -> None:
    options = {f.name for f in fields(Config) if f.metadata["group"] in ("Limits", "Timeouts")}
    tested = {attack.limit for attack in ATTACKS if attack.is_option}
    assert tested | {"max_connections"} == options - BOUNDS - POLICIES


@pytest.mark.parametrize("attack", ATTACKS, ids=named)
def test_the_documentation_has_a_row_for_every_attack(attack: Attack) -> None:
    (row,) = [line for line in SECURITY.splitlines() if line.startswith(f"| {attack.name} |")]
    assert str(attack.sees) in row
    if attack.is_option:
        assert f"`--{attack.limit.replace('_', '-')}`" in row
