"""Which event loop a server runs on."""

from __future__ import annotations

import _thread
import asyncio
import builtins
import queue
import select
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

import h2wsgi
from h2wsgi.server.running import Loop, loop_factory


def test_without_uvloop_auto_takes_asyncios_loop_and_uvloop_is_refused(monkeypatch):
    real_import = builtins.__import__

    def without_uvloop(name, *args, **kwargs):
        if name == "uvloop":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_uvloop)
    assert loop_factory("auto") is Loop
    with pytest.raises(h2wsgi.ConfigurationError, match=r"uvloop .* not installed"):
        loop_factory("uvloop")


PLACES = {
    "threads": (_thread, "start_new_thread"),
    "sockets": (socket, "socket"),
    "select": (select, "select"),
    "queue": (queue, "SimpleQueue"),
}


def patch(monkeypatch, package, *names):
    def replaced() -> None: ...

    replaced.__module__ = f"{package}.inner"
    for name in names:
        monkeypatch.setattr(*PLACES[name], replaced)


@pytest.mark.parametrize("package", ["gevent", "eventlet"])
@pytest.mark.parametrize("names", [("sockets",), ("threads", "queue", "select"), tuple(PLACES)])
def test_where_sockets_or_threads_are_patched_asyncios_loop_is_taken(monkeypatch, package, names):
    patch(monkeypatch, package, *names)
    assert loop_factory("auto") is Loop
    assert loop_factory("asyncio") is Loop
    with pytest.raises(h2wsgi.ConfigurationError, match=f"cannot be used with {package}"):
        loop_factory("uvloop")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("threads", "sockets", "queue"), "replaced Python's threads, but not its select"),
        (("threads", "select"), "replaced Python's threads, but not its queue"),
        (("sockets", "select", "queue"), "replaced Python's queue, but not its threads"),
    ],
)
def test_a_patch_of_a_part_that_cannot_work_is_refused(monkeypatch, names, sentence):
    patch(monkeypatch, "gevent", *names)
    for loop in ("auto", "asyncio", "uvloop"):
        with pytest.raises(h2wsgi.ConfigurationError, match=sentence) as caught:
            loop_factory(loop)
        assert "patch_all()" in caught.value.hint


def test_serve_off_the_main_thread_says_so_before_anything_is_loaded():
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as threads:
        error = threads.submit(h2wsgi.serve, "no_such_module").exception()
    assert isinstance(error, h2wsgi.ConfigurationError)
    assert str(error).startswith("serve() was called on the thread 'mine_0', but signals")
    assert "serve_in_thread" in error.hint


def test_serve_in_a_running_loop_says_so():
    async def call() -> None:
        h2wsgi.serve("no_such_module")

    with pytest.raises(h2wsgi.ConfigurationError, match="in a running event loop") as caught:
        asyncio.run(call())
    assert "async with Server" in caught.value.hint


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


def test_a_server_that_has_not_started_says_that_it_has_no_url():
    server = h2wsgi.serve_in_thread(hello)
    for ask in (lambda: server.url, lambda: server.join("/get")):
        with pytest.raises(h2wsgi.H2WSGIError, match="enter its with block"):
            ask()
    server.stop()  # which there is no need for


def test_a_server_starts_once():
    with h2wsgi.serve_in_thread(hello) as server:
        with pytest.raises(h2wsgi.H2WSGIError, match="only once"):
            server.__enter__()
        assert server.is_running
    with pytest.raises(h2wsgi.H2WSGIError, match="only once"):
        server.__enter__()
