"""Workers accept from the same sockets: each gets its share, and none takes others' with it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.peer import Peer
from support.process import START_PATIENCE
from support.settled import eventually
from support.workers import TELLING, WorkersProcess

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")

CONNECTIONS = 200
WORKERS = 4
MOST = 1.3
"""Times the mean that the fullest worker may have."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkersProcess]:
    folder = tmp_path_factory.mktemp("shares")
    with WorkersProcess(folder, workers=WORKERS, measured=False) as running:
        running.ready()
        yield running


def pid_of(peer: Peer) -> int:
    return int(json.loads(peer.get(timeout=START_PATIENCE).body)["pid"])


def shares_of(peers: list[Peer]) -> Counter[int]:
    return Counter(map(pid_of, peers))


def is_fair(shares: Counter[int]) -> bool:
    mean = shares.total() / WORKERS
    return len(shares) == WORKERS and max(shares.values()) <= MOST * mean


def test_connections_that_come_one_by_one_are_shared(server: WorkersProcess) -> None:
    with ExitStack() as stack:
        peers = []
        for _ in range(CONNECTIONS):
            peers.append(stack.enter_context(server.connect(tls=False)))
        shares = shares_of(peers)
    assert is_fair(shares), shares


def test_connections_that_all_wait_at_once_are_shared(server: WorkersProcess) -> None:
    with ExitStack() as stack:
        for pid in server.workers():
            os.kill(pid, signal.SIGSTOP)
        try:
            peers = [stack.enter_context(server.connect(tls=False)) for _ in range(CONNECTIONS)]
        finally:
            for pid in server.workers():
                os.kill(pid, signal.SIGCONT)
        shares = shares_of(peers)
    assert is_fair(shares), shares


def test_a_worker_that_is_stuck_keeps_no_connection_waiting_for_long(
    server: WorkersProcess,
) -> None:
    stuck, *_ = server.workers()
    with ExitStack() as stack:
        peers = [stack.enter_context(server.connect(tls=False)) for _ in range(4 * WORKERS)]
        assert set(shares_of(peers)) == set(server.workers())
        os.kill(stuck, signal.SIGSTOP)  # it has as many as the others, and will have fewest
        try:
            for _ in range(2 * WORKERS):
                peer = stack.enter_context(server.connect(tls=False))
                assert pid_of(peer) != stuck
        finally:
            os.kill(stuck, signal.SIGCONT)


def test_no_connection_is_lost_while_workers_come_and_go(server: WorkersProcess) -> None:
    """Each client connects anew for each request, so most of them wait to be accepted."""
    failures: list[BaseException] = []
    answered = Counter[int]()
    done = threading.Event()

    def connect_again_and_again() -> None:
        while not done.is_set():
            try:
                with server.connect(tls=False) as peer:
                    answered[pid_of(peer)] += 1
            except BaseException as error:
                failures.append(error)

    clients = [threading.Thread(target=connect_again_and_again) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        before = set(server.workers())
        for pid in before:
            os.kill(pid, signal.SIGTERM)
        eventually(
            lambda: not before & set(server.workers()) and len(server.workers()) == WORKERS,
            "all workers to be replaced, one after the other",
            3 * START_PATIENCE,
        )
        time.sleep(0.2)  # for the new ones to answer some
    finally:
        done.set()
        for client in clients:
            client.join()
    assert not failures, failures[:3]
    assert set(answered) - before


def test_a_worker_that_leaves_leaves_the_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "h2.sock"
    options = ("--bind=127.0.0.1:0", f"--bind=unix:{path}")
    with WorkersProcess(tmp_path, TELLING, *options) as running:
        running.ready()
        first, _ = running.workers()
        os.kill(first, signal.SIGTERM)
        running.wait_for_workers(2, without=(first,))
        with Peer.connect(str(path), tls=False) as peer:
            assert pid_of(peer) in running.workers()
