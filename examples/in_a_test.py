"""How to use h2wsgi in a test suite: a client, or an application, tested over real HTTP/2.

Run it from the repository root:

    python -m pytest examples/in_a_test.py
    python -m unittest examples/in_a_test.py

The server runs in a background thread on a free port, with a certificate that is made by itself.
"""

import json
import ssl
import unittest

import httpx
import pytest

import h2wsgi


def application(environ, start_response):
    """Stand in for yours, or for the service that your client talks to."""
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("content-type", "application/json")])
    if environ["PATH_INFO"] == "/breaks-off":
        yield b'{"half": '
        raise RuntimeError("what comes after half an answer")
    yield json.dumps({"protocol": environ["SERVER_PROTOCOL"], "octets": len(content)}).encode()


def connect(server):
    """Return a client that trusts the server's certificate."""
    context = ssl.create_default_context(cafile=server.ca_file)
    return httpx.Client(http2=True, verify=context, base_url=server.url)


# With pytest: a fixture. One server serves all tests of the module.


@pytest.fixture(scope="module")
def client():
    with h2wsgi.serve_in_thread(application) as server, connect(server) as client:
        yield client


def test_the_client_speaks_http2(client):
    response = client.get("/")
    assert response.http_version == "HTTP/2"
    assert response.json()["protocol"] == "HTTP/2.0"


def test_an_upload_arrives_whole(client):
    assert client.post("/", content=bytes(1_000_000)).json()["octets"] == 1_000_000


def test_half_an_answer_is_an_error_and_the_connection_goes_on(client):
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/breaks-off")
    assert client.get("/").status_code == 200


# With unittest: a context of the class, left after its last test.


class OverHTTP2(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        server = cls.enterClassContext(h2wsgi.serve_in_thread(application))
        cls.client = cls.enterClassContext(connect(server))

    def test_the_client_speaks_http2(self):
        assert self.client.get("/").http_version == "HTTP/2"
