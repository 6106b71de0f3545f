"""What an application in green threads has to be able to do, with gevent and with eventlet."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from support.clients import find, run, running


class Neighbour(BaseHTTPRequestHandler):
    """Another server, which the application asks something."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the neighbour")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class GreenTests:
    """Needs a fixture ``site``."""

    @pytest.fixture
    def neighbour(self) -> Iterator[str]:
        with ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()
            thread.join()

    def test_a_page_is_answered(self, site):
        with site.client() as client:
            assert client.get("/").text == "hello over HTTP/2.0"

    def test_ten_requests_wait_for_each_other(self, site):
        """On one connection, of which httpx lets threads take the same stream twice."""

        async def ten() -> list[httpx.Response]:
            async with site.async_client() as client:
                return await asyncio.gather(*(client.get("/together") for _ in range(10)))

        assert {answer.text for answer in asyncio.run(ten())} == {"all ten are here"}

    def test_a_response_that_pauses_is_streamed(self, site):
        with site.client() as client, client.stream("GET", "/slowly") as answer:
            assert "".join(answer.iter_text()) == "0\n1\n2\n3\n4\n"

    def test_an_upload_arrives_whole(self, site):
        with site.client() as client:
            assert client.post("/upload", content=b"x" * 2_000_000).text == "2000000"

    def test_content_without_a_length_arrives_whole(self, site):
        with site.client() as client:
            parts = iter([b"x" * 1_000_000, b"y"])
            assert client.post("/upload", content=parts).text == "1000001"

    def test_the_application_asks_another_server(self, site, neighbour):
        with site.client() as client:
            answer = client.get("/fetch", params={"url": neighbour})
            assert answer.text == "from the neighbour"

    def test_a_forked_child_ends_and_has_nothing_of_the_server(self, site):
        with site.client() as client:
            client.get("/")
        with site.client() as client:
            assert client.get("/fork").text == "it ended with 3"
            assert client.get("/").text == "hello over HTTP/2.0"

    @pytest.mark.client
    def test_curl_is_answered(self, site):
        told = run([find("curl"), "-sS", "--cacert", site.ca_file, f"{site.url}/"])
        assert told == "hello over HTTP/2.0"

    @pytest.mark.client
    def test_it_stops_behind_the_request_that_runs(self, site):
        command = [find("curl"), "-sSN", "--cacert", site.ca_file, f"{site.url}/slowly"]
        with running(command, stdout=subprocess.PIPE) as curl:
            assert curl.stdout is not None
            first = curl.stdout.readline()
            site.stop()
            assert first + curl.stdout.read() == b"0\n1\n2\n3\n4\n"
            assert curl.wait(20) == 0
