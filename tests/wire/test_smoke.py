"""A request goes all the way through, from a raw peer to an application and back."""

from __future__ import annotations

from conftest import Connect, Serve


def hello(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"Hello, " + environ["PATH_INFO"].encode("latin-1")]


def echo(environ, start_response):
    start_response("200 OK", [("content-type", "application/octet-stream")])
    source = environ["wsgi.input"]
    return iter(lambda: source.read(10_000), b"")


def test_a_get_is_answered(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(hello))
    response = peer.get("/world")
    assert response.status == 200
    assert response.body == b"Hello, /world"
    assert response.header("content-length") == "13"


def test_an_upload_is_echoed_while_it_arrives(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(echo))
    content = bytes(range(256)) * 8_000
    stream_id = peer.request("POST", "/", end_stream=False)
    peer.upload(stream_id, content)
    assert peer.response(stream_id).body == content


def test_cleartext_with_prior_knowledge_is_answered(serve: Serve, connect: Connect) -> None:
    peer = connect(serve(hello, h2c=True))
    assert peer.get("/h2c").body == b"Hello, /h2c"
