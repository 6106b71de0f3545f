"""Sockets opened for addresses: both families, Unix sockets, and those handed over."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from h2wsgi.errors import ConfigurationError
from h2wsgi.server import listeners as sockets
from h2wsgi.server.listeners import open_listeners


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "8443", "localhost:", "localhost:http", "localhost:-1", "localhost:65536",
     "::1:8443", "[::1]", "[::1:8443", "localhost:\uff18\uff14", "localhost:+1", "localhost: 1"],
)  # fmt: skip
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(ConfigurationError, match="--bind") as raised:
        open_listeners((address,), tls=True)
    assert raised.value.hint


def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="path too long") as raised:
        open_listeners((f"unix:{tmp_path}/{'x' * 120}",), tls=True)
    assert "107 octets" in raised.value.hint


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets")
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        (
            "nowhere/app.sock",
            "The folder {}/nowhere of the address unix:{}/nowhere/app.sock (--bind) "
            "does not exist.",
        ),
        (
            "file/app.sock",
            "The folder {}/file of the address unix:{}/file/app.sock (--bind) is not a folder.",
        ),
    ],
)
def test_a_path_without_its_folder_is_named(tmp_path: Path, path: str, sentence: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError) as raised:
        open_listeners((f"unix:{tmp_path}/{path}",), tls=True)
    assert str(raised.value) == sentence.replace("{}", str(tmp_path))
    assert raised.value.hint.startswith("Make the folder first")


@pytest.mark.parametrize(
    ("address", "number", "hint"),
    [
        ("127.0.0.1:443", errno.EACCES, "Ports below 1024 need privileges"),
        ("127.0.0.1:8443", errno.EACCES, ""),
        ("unix:/run/app.sock", errno.EACCES, "Check the folder's owner and mode"),
        ("127.0.0.1:8443", errno.EADDRINUSE, "Stop what listens there, or choose another; port 0"),
        ("192.0.2.1:8443", errno.EADDRNOTAVAIL, "Name an address of this machine; 0.0.0.0"),
        ("unix:", 0, "For example unix:/run/"),
    ],
)
def test_each_refusal_of_an_address_has_its_hint(
    address: str, number: int, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sockets, "_bound", refuse)
    with pytest.raises(ConfigurationError, match=r"\(--bind\)") as raised:
        open_listeners((address,), tls=True)
    assert raised.value.hint.startswith(hint)
    assert bool(raised.value.hint) == bool(hint)


@pytest.fixture
def opened() -> Iterator[Callable[..., list[sockets.Listener]]]:
    listeners: list[sockets.Listener] = []

    def open_(*names: str, tls: bool = True) -> list[sockets.Listener]:
        found = open_listeners(names, tls=tls)
        listeners.extend(found)
        return found

    yield open_
    for listener in listeners:
        listener.close()


Opened = Callable[..., list[sockets.Listener]]


def test_localhost_is_both_families_on_one_port(opened: Opened) -> None:
    listeners = opened("localhost:0")
    assert [listener.sock.family for listener in listeners] == [socket.AF_INET, socket.AF_INET6]
    ports = {listener.port for listener in listeners}
    assert len(ports) == 1
    assert {listener.url for listener in listeners} == {f"https://localhost:{ports.pop()}/"}


def test_localhost_finds_a_port_that_both_families_have(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, refused = sockets._bound, []

    def bind(family: int, address: Any, backlog: int) -> socket.socket:
        if family == socket.AF_INET6 and len(refused) < 3:
            refused.append(address)
            raise OSError(errno.EADDRINUSE, "in use")
        return bound(family, address, backlog)

    monkeypatch.setattr(sockets, "_bound", bind)
    assert len(opened("localhost:0")) == 2
    assert len(refused) == 3


@pytest.mark.parametrize("missing", [socket.AF_INET, socket.AF_INET6])
def test_localhost_is_one_family_where_there_is_no_other(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    bound = sockets._bound

    def bind(family: int, address: Any, backlog: int) -> socket.socket:
        if family == missing:
            raise OSError(errno.EADDRNOTAVAIL, "no such family")
        return bound(family, address, backlog)

    monkeypatch.setattr(sockets, "_bound", bind)
    (listener,) = opened("localhost:0")
    assert listener.sock.family != missing


def test_an_address_in_use_is_named_and_nothing_stays_open(opened: Opened) -> None:
    (taken,) = opened("127.0.0.1:0")
    with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{taken.port} .*is in use"):
        open_listeners(("127.0.0.1:0", f"127.0.0.1:{taken.port}"), tls=True)


@pytest.mark.parametrize(("port", "hint"), [(80, "privileges"), (8443, "")])
def test_an_address_that_may_not_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, port: int, hint: str
) -> None:
    def refuse(*_: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(sockets, "_bound", refuse)
    with pytest.raises(ConfigurationError, match="may not be used") as raised:
        open_listeners((f"127.0.0.1:{port}",), tls=True)
    assert hint in raised.value.hint
    assert bool(hint) == bool(raised.value.hint)


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match="cannot be resolved"):
        open_listeners(("host.invalid:8443",), tls=True)


def test_an_address_of_another_machine_cannot_be_used() -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_listeners(("192.0.2.1:0",), tls=True)


def test_a_cleartext_address_says_http(opened: Opened) -> None:
    (listener,) = opened("127.0.0.1:0", tls=False)
    assert listener.url == f"http://127.0.0.1:{listener.port}/"


def test_an_ipv6_address_is_in_brackets(opened: Opened) -> None:
    (listener,) = opened("[::1]:0")
    assert listener.url == f"https://[::1]:{listener.port}/"


def connect_once(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_comes_and_goes(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    (listener,) = opened(f"unix:{path}")
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert (listener.url, listener.port) == (f"unix:{path}", 0)
    listener.close()
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    (listener,) = opened(f"unix:{path}")
    connect_once(path)
    assert listener.unix_path == str(path)


def test_a_unix_socket_that_is_served_is_left_alone(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    opened(f"unix:{path}")
    with pytest.raises(ConfigurationError, match="in use"):
        open_listeners((f"unix:{path}",), tls=True)
    connect_once(path)


def test_a_unix_socket_whose_server_accepts_nothing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:  # until its backlog is full
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(ConfigurationError, match="in use"):
            open_listeners((f"unix:{path}",), tls=True)


def test_the_unix_socket_of_another_server_is_not_removed(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    (before,) = opened(f"unix:{path}")
    path.unlink()
    opened(f"unix:{path}")
    before.close()
    connect_once(path)


def test_of_servers_that_start_on_one_unix_socket_at_once_one_does(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    bound = sockets._bound

    def slowly(*address: Any) -> socket.socket:
        time.sleep(0.05)  # in which the others would look
        return bound(*address)

    monkeypatch.setattr(sockets, "_bound", slowly)
    monkeypatch.setattr(sockets, "LOCK_TRIES", 10_000)  # one may be held up that has the lock

    def start(_: int) -> str:
        try:
            (listener,) = opened(f"unix:{path}")
        except ConfigurationError as error:
            return str(error)
        return listener.unix_path

    with ThreadPoolExecutor(4) as threads:
        said = list(threads.map(start, range(4)))
    assert said.count(str(path)) == 1
    assert sum("in use" in words for words in said) == 3
    connect_once(path)


def test_a_folder_that_another_process_has_locked_is_no_obstacle(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl  # which Windows has not

    monkeypatch.setattr(sockets, "LOCK_TRIES", 3)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (listener,) = opened(f"unix:{tmp_path}/server.sock")
        assert Path(listener.unix_path).exists()
    finally:
        os.close(descriptor)


def test_a_file_in_the_way_of_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("content")
    with pytest.raises(ConfigurationError, match="is a file, not a socket") as raised:
        open_listeners((f"unix:{path}",), tls=True)
    assert "port 0" not in raised.value.hint
    assert path.read_text() == "content"


@pytest.mark.parametrize("path", ["", "/nowhere/at/all/server.sock"])
def test_a_unix_socket_without_a_place_is_named(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unix:.*--bind"):
        open_listeners((f"unix:{path}",), tls=True)


def test_a_listening_socket_can_be_handed_over(opened: Opened) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        descriptor = os.dup(sock.fileno())
        os.set_inheritable(descriptor, True)  # as systemd's are
        (listener,) = opened(f"fd://{descriptor}")
        assert not os.get_inheritable(descriptor)  # what the application starts gets none of it
        assert listener.port == sock.getsockname()[1]
        assert not listener.sock.getblocking()
        with socket.create_connection(("127.0.0.1", listener.port)):
            pass


def test_a_listening_unix_socket_can_be_handed_over(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "handed.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        (listener,) = opened(f"fd://{os.dup(sock.fileno())}")
        assert listener.url == f"unix:{path}"
        listener.close()
        assert path.exists()  # its maker's to remove


@pytest.mark.parametrize("number", ["", "x", "-1", "99999"])
def test_what_is_no_descriptor_is_named(number: str) -> None:
    with pytest.raises(ConfigurationError, match="fd://"):
        open_listeners((f"fd://{number}",), tls=True)


def test_a_descriptor_that_does_not_listen_is_named_and_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket() as idle:
        for handed in (file, idle):
            with pytest.raises(ConfigurationError, match="fd://"):
                open_listeners((f"fd://{handed.fileno()}",), tls=True)
            os.fstat(handed.fileno())
