"""wsgi.input, the content of a request as a file: rules 17 to 20, on live connections over TLS."""

from __future__ import annotations

import contextlib
import io
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Connect, Serve
from h2wsgi import ClientDisconnected
from h2wsgi.seam.stream import Stream
from support.peer import TIMEOUT, Code, Peer, Response, Type

CONTINUE = [("expect", "100-continue")]


class Reader:
    """An application whose calls of wsgi.input the test makes, one by one, from its own thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[Any], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __call__(self, environ, start_response):
        start_response("200 OK", [("content-type", "text/plain")])
        self._results.put("started")
        while (call := self._calls.get()) is not None:
            try:
                self._results.put(call(environ["wsgi.input"]))
            except Exception as error:
                self._results.put(error)
        self._calls.put(None)
        return [b"done"]

    def begin(self, method: str, *arguments: Any) -> None:
        """Let the application call a method; it may wait for more to come."""
        self._calls.put(lambda source: getattr(source, method)(*arguments))

    def result(self) -> Any:
        """Return what the oldest call returned or raised."""
        return self._results.get(timeout=TIMEOUT)

    def call(self, method: str, *arguments: Any) -> Any:
        self.begin(method, *arguments)
        return self.result()

    def finish(self) -> None:
        """Let every call of the application return, any later one at once."""
        self._calls.put(None)


class Upload:
    """A request whose content the test sends, read by a Reader."""

    def __init__(self, peer: Peer, reader: Reader, **request: Any) -> None:
        self.peer = peer
        self.reader = reader
        self.stream_id = peer.request("POST", end_stream=False, **request)
        assert reader.result() == "started"

    def send(self, data: bytes, end: bool = False) -> None:
        self.peer.upload(self.stream_id, data, end_stream=end)

    def finish(self) -> Response:
        self.reader.finish()
        return self.peer.response(self.stream_id)


@pytest.fixture
def upload(serve: Serve, connect: Connect) -> Iterator[Callable[..., Upload]]:
    """Begin a POST, content still to come; give what is passed as its whole content."""
    reader = Reader()

    def begin(content: bytes | None = None, **request: Any) -> Upload:
        begun = Upload(connect(serve(reader)), reader, **request)
        if content is not None:
            begun.send(content, end=True)
        return begun

    yield begin
    reader.finish()


# ---------------------------------------------------------------- Rule 17: reading


def read_as_text(environ, start_response):
    """Read the content as text, in a file that closes it, and say what it was."""
    source = environ["wsgi.input"]
    kind = isinstance(source, io.BufferedIOBase), source.seekable(), source.readable()
    with io.TextIOWrapper(source, encoding="utf-8") as text:
        answer = f"{kind} {text.read()} "
    start_response("200 OK", [("content-type", "text/plain")])
    return [f"{answer}{source.closed}".encode()]


@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("length", [[], [("content-length", "6")]])
def test_the_input_is_of_one_kind_however_the_content_comes(
    serve: Serve, connect: Connect, pieces, apart, length
):
    """17: in one segment with its request, in pieces, each a while after the other, or none."""
    peer = connect(serve(read_as_text))
    octets = "ä\nü\n".encode() if pieces else b""
    for _ in range(3):  # on one connection: closing one closes no other
        with contextlib.nullcontext() if apart else in_one_segment(peer):
            stream_id = peer.request("POST", end_stream=not pieces, fields=length if pieces else [])
            for piece in range(pieces):
                if apart:
                    peer.roundtrip()
                data = octets[piece * 6 // pieces : (piece + 1) * 6 // pieces]
                peer.data(stream_id, data, end_stream=piece == pieces - 1)
        text = octets.decode()
        assert peer.response(stream_id).body.decode() == f"(True, False, True) {text} True"


@contextlib.contextmanager
def in_one_segment(peer: Peer) -> Iterator[None]:
    """Send the frames that are made meanwhile at once."""
    frames: list[bytes] = []
    peer.send_raw = lambda data, timeout=TIMEOUT: frames.append(data)
    try:
        yield
    finally:
        del peer.send_raw
    peer.send_raw(b"".join(frames))


@pytest.mark.parametrize("size", [(), (-1,), (None,), (-5,)])
def test_read_without_a_size_reads_all(upload, size):
    """17: read(), read(-1), read(None) read all, over many frames."""
    content = bytes(range(256)) * 800
    assert upload(content).reader.call("read", *size) == content


def test_read_without_a_size_waits_for_the_end(upload):
    """17: all is all, not what has come."""
    post = upload()
    post.send(b"first, ")
    post.reader.begin("read")
    post.peer.roundtrip()
    post.send(b"second", end=True)
    assert post.reader.result() == b"first, second"


def test_read_of_nothing_is_empty_and_waits_for_nothing(upload):
    """17: read(0) is b"", though nothing has come."""
    post = upload()
    assert post.reader.call("read", 0) == b""
    post.send(b"content", end=True)
    assert post.reader.call("read", 0) == b""
    assert post.reader.call("read") == b"content"


def test_read_with_a_size_waits_for_all_of_it(upload):
    """17: read(n) is short only at the end."""
    post = upload()
    post.reader.begin("read", 10)
    for part in (b"012", b"3456", b"789ab"):
        post.send(part)
        post.peer.roundtrip()
    assert post.reader.result() == b"0123456789"
    post.send(b"c", end=True)
    assert post.reader.call("read", 10) == b"abc"


def test_reading_at_the_end_returns_nothing_time_and_again(upload):
    """17: the end is the end for every method."""
    post = upload(b"")
    for method in ("read", "read1", "readline"):
        assert post.reader.call(method) == b""
        assert post.reader.call(method, 10) == b""
    assert post.reader.call("readlines") == []
    assert post.reader.call("readinto", bytearray(4)) == 0


def test_a_request_without_content_is_at_its_end_at_once(serve: Serve, connect: Connect):
    """17: reading it waits for nobody."""

    def app(environ, start_response):
        start_response("200 OK", [])
        return [repr(environ["wsgi.input"].read()).encode()]

    assert connect(serve(app)).get().body == b"b''"


@pytest.mark.parametrize("size", [(), (-1,), (None,), (100,)])
def test_read1_returns_what_is_there(upload, size):
    """17: read1(n) does not wait for n."""
    post = upload()
    post.send(b"hello")
    assert post.reader.call("read1", *size) == b"hello"
    post.reader.begin("read1", *size)
    post.send(b"world")
    assert post.reader.result() == b"world"


def test_read1_returns_at_most_its_size(upload):
    """17: and loses nothing of the rest."""
    post = upload(b"hello")
    assert post.reader.call("read1", 3) == b"hel"
    assert post.reader.call("read1", 0) == b""
    assert post.reader.call("read1", 3) == b"lo"


def test_a_stream_can_be_a_conversation(serve: Serve, connect: Connect):
    """17: interactive two-way streams, the reason for read1."""

    def app(environ, start_response):
        start_response("200 OK", [("content-type", "text/plain")])
        return iter(lambda: environ["wsgi.input"].read1(1000).upper(), b"")

    peer = connect(serve(app))
    stream_id = peer.request("POST", end_stream=False)
    expected = b""
    for word in (b"how ", b"are ", b"you"):
        peer.data(stream_id, word)
        expected += word.upper()
        assert peer.wait_data(stream_id, len(expected)) == expected
    peer.data(stream_id, b"", end_stream=True)
    assert peer.response(stream_id).ended


def test_readline_stops_at_the_newline(upload):
    """17: it reads no further than it must: not the rest of what has come, nor what has not."""
    post = upload()
    post.send(b"one\ntw")
    assert post.reader.call("readline") == b"one\n"
    post.reader.begin("readline")
    post.send(b"o\n")
    assert post.reader.result() == b"two\n"


def test_readline_with_a_size_stops_at_it(upload):
    """17: readline(size), on either side of a newline."""
    post = upload(b"a long line\nb\n")
    assert post.reader.call("readline", 6) == b"a long"
    assert post.reader.call("readline", 0) == b""
    assert post.reader.call("readline", 6) == b" line\n"
    assert post.reader.call("readline", 2) == b"b\n"


def test_readline_with_a_size_does_not_wait_beyond_it(upload):
    """17: nor for a newline that may come."""
    post = upload()
    post.send(b"no newline")
    assert post.reader.call("readline", 10) == b"no newline"


@pytest.mark.parametrize("size", [(), (-1,), (None,)])
def test_a_line_may_come_in_many_pieces(upload, size):
    """17: it is whole all the same."""
    post = upload()
    post.reader.begin("readline", *size)
    for part in (b"a", b"bc", b"\n", b"next"):
        post.send(part)
    assert post.reader.result() == b"abc\n"


def test_no_newline_is_invented(upload):
    """17: at an end that has none."""
    post = upload(b"one\ntwo")
    assert post.reader.call("readlines") == [b"one\n", b"two"]


@pytest.mark.parametrize(
    ("hint", "lines"),
    [((), 3), ((-1,), 3), ((0,), 3), ((None,), 3), ((1,), 1), ((4,), 1), ((5,), 2), ((99,), 3)],
)
def test_readlines_returns_whole_lines_until_the_hint(upload, hint, lines):
    """17: readlines(hint) returns whole lines, and the rest stays."""
    content = [b"one\n", b"two\n", b"three"]
    post = upload(b"".join(content))
    assert post.reader.call("readlines", *hint) == content[:lines]
    assert post.reader.call("read") == b"".join(content[lines:])


def test_iteration_yields_lines(upload):
    """17: with their newlines, empty lines too, and CR is left alone."""
    lines = [b"one\n", b"\n", b"two\r\n", b"last"]
    post = upload(b"".join(lines))
    post.reader._calls.put(list)
    assert post.reader.result() == lines


def test_an_iterator_yields_a_line_before_the_next_has_come(upload):
    """17 and 18: lines are streamed."""
    post = upload()
    post.send(b"one\ntwo")
    iterators: list[Iterator[bytes]] = []

    def first(source: Any) -> bytes:
        iterators.append(iter(source))
        return next(iterators[0])

    post.reader._calls.put(first)
    assert post.reader.result() == b"one\n"


def test_nothing_is_lost_between_mixed_calls(upload):
    """17: each goes on where the one before stopped."""
    post = upload(b"0123456789\nabc\ndef\nghi\n-rest-")
    call = post.reader.call
    assert call("read", 2) == b"01"
    assert call("readline", 3) == b"234"
    assert call("read1", 2) == b"56"
    assert call("readline") == b"789\n"
    assert call("readlines", 1) == [b"abc\n"]
    post.reader._calls.put(lambda source: next(iter(source)))
    assert post.reader.result() == b"def\n"
    target = bytearray(2)
    assert (call("readinto", target), bytes(target)) == (2, b"gh")
    assert call("readline") == b"i\n"
    assert call("read") == b"-rest-"


def test_padding_is_no_content(upload):
    """17: nor are frames without content."""
    post = upload()
    post.peer.data(post.stream_id, b"one", padding=7)
    post.peer.data(post.stream_id, b"", padding=255)
    post.peer.data(post.stream_id, b"")
    post.peer.data(post.stream_id, b"two", padding=0, end_stream=True)
    assert post.reader.call("read") == b"onetwo"


# -------------------------------------------------------------- Rule 18: streaming


def test_the_application_starts_before_any_content_has_come(upload):
    """18: the application starts before the body has ended; Upload waits for that."""
    post = upload()
    post.send(b"late", end=True)
    assert post.reader.call("read") == b"late"
    assert post.finish().body == b"done"


def test_content_is_read_while_it_comes(upload):
    """18: more of it than any window or buffer holds."""
    post = upload()
    block = b"x" * 50_000
    for _ in range(60):
        post.send(block)
        assert post.reader.call("read", len(block)) == block
    post.send(b"", end=True)
    assert post.reader.call("read") == b""


def test_trailers_end_the_content(upload):
    """18: and are no part of it."""
    post = upload()
    post.send(b"content")
    post.peer.headers(post.stream_id, [("x-trailer", "value")], end_stream=True)
    assert post.reader.call("read") == b"content"


READS = {
    "read": lambda source: source.read(),
    "read sized": lambda source: source.read(100),
    "read1": lambda source: [source.read1(7), source.read1(7)],
    "readline": lambda source: source.readline(),
    "readline sized": lambda source: source.readline(100),
    "readlines": lambda source: source.readlines(),
    "iteration": list,
    "readinto": lambda source: source.readinto(bytearray(100)),
}

LEAVING = {
    "reset": lambda post: post.peer.rst_stream(post.stream_id),
    "reset without an error": lambda post: post.peer.rst_stream(post.stream_id, Code.NO_ERROR),
    "abort": lambda post: post.peer.abort(),
    "hang up": lambda post: post.peer.close(),
}


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("method", READS)
def test_a_read_that_waits_raises_when_the_client_leaves(upload, method, how):
    """18: reset or lost connection mid-body raises, never EOF."""
    post = upload()
    post.send(b"partial")
    post.reader._calls.put(READS[method])
    post.peer.roundtrip()
    LEAVING[how](post)
    raised = post.reader.result()
    assert isinstance(raised, ClientDisconnected)
    assert isinstance(raised, OSError)


@pytest.mark.parametrize("method", READS)
def test_a_read_after_the_client_left_raises_every_time(upload, method):
    """18: not only the read that was waiting."""
    post = upload()
    post.send(b"partial")
    post.peer.rst_stream(post.stream_id)
    post.peer.roundtrip()
    for _ in range(2):
        post.reader._calls.put(READS[method])
        assert isinstance(post.reader.result(), ClientDisconnected)


def test_content_shorter_than_its_content_length_raises(upload):
    """18: the stream is malformed (RFC 9113 section 8.1.1), which is not the end either."""
    post = upload(fields=[("content-length", "10")])
    post.reader.begin("read")
    post.peer.data(post.stream_id, b"short", end_stream=True)
    assert isinstance(post.reader.result(), ClientDisconnected)
    assert post.peer.wait_reset(post.stream_id) == Code.PROTOCOL_ERROR


def test_a_reset_of_another_stream_is_not_noticed(serve: Serve, connect: Connect):
    """18: only the reader of that stream fails."""

    def app(environ, start_response):
        content = environ["wsgi.input"].read()
        start_response("200 OK", [("content-type", "text/plain")])
        return [content]

    peer = connect(serve(app))
    kept, left = (peer.request("POST", end_stream=False) for _ in range(2))
    peer.rst_stream(left)
    peer.roundtrip()
    peer.upload(kept, b"whole")
    assert peer.response(kept).body == b"whole"


# ------------------------------------------------------ Rule 19: Expect: 100-continue


def informational(post: Upload) -> list[tuple[int, list[tuple[str, str]]]]:
    """Return the 1xx heads that have come, after all that was sent before this call."""
    post.peer.roundtrip()
    stream = post.peer.responses.get(post.stream_id)
    return stream.informational if stream else []


def test_100_goes_out_on_the_first_read_and_no_sooner(upload):
    """19: 100 goes out on the first read."""
    post = upload(fields=CONTINUE)
    assert informational(post) == []
    post.reader.begin("read")
    post.peer.wait_for(lambda frame: frame.fields == [(":status", "100")])
    post.send(b"content", end=True)
    assert post.reader.result() == b"content"


@pytest.mark.parametrize("method", READS)
def test_100_goes_out_for_every_way_to_read(upload, method):
    """19: whichever method reads first."""
    post = upload(fields=CONTINUE)
    post.reader._calls.put(READS[method])
    post.peer.wait_for(lambda frame: frame.fields == [(":status", "100")])
    post.send(b"content", end=True)
    assert not isinstance(post.reader.result(), Exception)


def test_100_goes_out_once(upload):
    """19: on the first read, not on the second."""
    post = upload(fields=CONTINUE)
    post.send(b"content")
    assert post.reader.call("read", 3) == b"con"
    assert post.reader.call("read1", 9) == b"tent"
    post.send(b"more", end=True)
    assert post.reader.call("read") == b"more"
    response = post.finish()
    assert response.informational == [(100, [])]
    assert (response.status, response.body) == (200, b"done")


def test_100_does_not_go_out_for_a_read_of_nothing(upload):
    """19: read(0) asks for no content."""
    post = upload(fields=CONTINUE)
    assert post.reader.call("read", 0) == b""
    assert informational(post) == []


def test_100_does_not_go_out_when_the_application_never_reads(upload):
    """19: the final response comes without it, so that the client can keep its content."""
    post = upload(fields=CONTINUE)
    response = post.finish()
    assert response.informational == []
    assert (response.status, response.body) == (200, b"done")


def test_100_does_not_go_out_after_the_final_head(serve: Serve, connect: Connect):
    """19: RFC 9110 section 15.2: informational responses precede the final one."""

    def app(environ, start_response):
        start_response("200 OK", [("content-type", "text/plain")])
        yield b"head first, "
        yield environ["wsgi.input"].read()

    peer = connect(serve(app))
    stream_id = peer.request("POST", end_stream=False, fields=CONTINUE)
    peer.wait_data(stream_id, 1)
    peer.upload(stream_id, b"then content")
    response = peer.response(stream_id)
    assert response.informational == []
    assert response.body == b"head first, then content"


def test_100_goes_out_only_to_those_who_expect_it(upload):
    """19: others have sent their content anyway."""
    post = upload(b"content")
    assert post.reader.call("read") == b"content"
    assert post.finish().informational == []


def test_100_does_not_go_out_where_there_is_no_content(serve: Serve, connect: Connect):
    """19: END_STREAM on HEADERS leaves nothing to continue with."""

    def app(environ, start_response):
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"fine"]

    response = connect(serve(app)).get(fields=CONTINUE)
    assert (response.informational, response.body) == ([], b"fine")


def test_expect_is_compared_without_case(upload):
    """19: RFC 9110 section 10.1.1."""
    post = upload(fields=[("expect", "100-Continue")])
    post.reader.begin("read")
    post.peer.wait_for(lambda frame: frame.fields == [(":status", "100")])
    post.send(b"", end=True)
    assert post.reader.result() == b""


# --------------------------------------------------------- Rule 20: early responses

EARLY = b"early " * 30_000


def early(environ, start_response):
    start_response("403 Forbidden", [("content-type", "text/plain")])
    return [EARLY]


def test_an_early_response_is_sent_whole_and_then_the_stream_is_reset(
    serve: Serve, connect: Connect
):
    """20: the response is sent whole, then RST_STREAM(NO_ERROR)."""
    peer = connect(serve(early))
    stream_id = peer.request("POST", end_stream=False)
    peer.data(stream_id, b"x" * 10_000)
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    response = peer.responses[stream_id]
    assert (response.status, response.body, response.ended) == (403, EARLY, True)
    last = [frame for frame in peer.log if frame.stream_id == stream_id][-2:]
    assert last[0].end_stream
    assert last[1].type == Type.RST_STREAM


def test_an_early_response_without_content_is_followed_by_a_reset_too(
    serve: Serve, connect: Connect
):
    """20: END_STREAM on HEADERS, then RST_STREAM(NO_ERROR)."""

    def app(environ, start_response):
        start_response("204 No Content", [])
        return []

    peer = connect(serve(app))
    stream_id = peer.request("POST", end_stream=False)
    assert peer.wait_reset(stream_id) == Code.NO_ERROR
    assert peer.responses[stream_id].ended


def test_a_request_that_had_ended_is_not_reset(serve: Serve, connect: Connect):
    """20: there is nothing left to refuse, read or not."""
    peer = connect(serve(early))
    stream_id = peer.request("POST", body=b"x" * 10_000)
    assert peer.response(stream_id).ended
    peer.roundtrip()
    assert peer.responses[stream_id].reset is None


def test_a_response_that_ended_first_leaves_the_rest_to_be_read(serve: Serve, connect: Connect):
    """20: what counts is that the application has returned, not that its response is whole."""
    results: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def app(environ, start_response):
        start_response("200 OK", [("content-length", "2")])
        yield b"ok"
        results.put(environ["wsgi.input"].read())

    peer = connect(serve(app))
    stream_id = peer.request("POST", end_stream=False)
    assert peer.response(stream_id).body == b"ok"
    peer.upload(stream_id, b"the rest")
    assert results.get(timeout=TIMEOUT) == b"the rest"
    peer.roundtrip()
    assert peer.responses[stream_id].reset is None


def test_the_credit_of_content_that_nobody_read_returns(serve: Serve, connect: Connect):
    """20: the credit returns, also for what arrives after the reset."""
    peer = connect(serve(early, connection_window=100_000, discard_timeout=0.3))
    for _ in range(10):
        stream_id = peer.request("POST", end_stream=False)
        sent = 0
        while sent < 60_000:
            peer.wait_until(lambda: peer.connection_send_window >= 10_000, "credit")
            peer.data(stream_id, b"x" * 10_000)
            sent += 10_000
        assert peer.wait_reset(stream_id) == Code.NO_ERROR
        assert peer.responses[stream_id].ended
    peer.wait_until(lambda: peer.connection_send_window >= 50_000, "half the window")


def test_a_thread_that_is_held_up_behind_its_request_holds_up_no_reset(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
):
    """20: as by the system, between what it hands over last and the note that it is done."""
    go_on = threading.Event()
    leave = Stream._leave_content

    def leave_and_be_held_up(stream: Stream) -> None:
        leave(stream)
        assert go_on.wait(TIMEOUT)

    monkeypatch.setattr(Stream, "_leave_content", leave_and_be_held_up)
    peer = connect(serve(early, discard_timeout=0))
    stream_id = peer.request("POST", end_stream=False)
    try:
        assert peer.response(stream_id).body == EARLY  # so large that the loop hears of both before
        assert peer.wait_reset(stream_id) == Code.NO_ERROR
    finally:
        go_on.set()


def test_the_credit_of_content_that_waited_unread_returns(serve: Serve, connect: Connect):
    """20: also of content that was buffered before the application returned."""
    content_is_there = threading.Semaphore(0)

    def app(environ, start_response):
        assert content_is_there.acquire(timeout=TIMEOUT)
        return early(environ, start_response)

    peer = connect(serve(app, connection_window=100_000, discard_timeout=0.3))
    for _ in range(5):
        peer.wait_until(lambda: peer.connection_send_window >= 50_000, "half the window")
        stream_id = peer.request("POST", body=b"x" * 50_000, end_stream=False)
        peer.roundtrip()
        content_is_there.release()
        assert peer.wait_reset(stream_id) == Code.NO_ERROR
        assert peer.responses[stream_id].body == EARLY


# --------------------------------------------------- Rule 20: what comes behind an early answer

MORE_THAN_A_WINDOW = 1_000_000
REFUSED = [("expect", "100-continue"), ("content-length", "1000")]


@pytest.mark.parametrize("unread", [0, 262_144])
def test_an_upload_that_is_answered_early_may_end(serve: Serve, connect: Connect, unread):
    """20: some more of it is taken and dropped, as many clients read no answer before its end."""
    go_on = threading.Event()

    def app(environ, start_response):
        assert go_on.wait(TIMEOUT)
        return early(environ, start_response)

    peer = connect(serve(app, discard_timeout=60))
    stream_id = peer.request("POST", end_stream=False)
    peer.upload(stream_id, bytes(unread), end_stream=False)
    go_on.set()
    peer.wait_data(stream_id, len(EARLY))
    sent = unread
    while sent < MORE_THAN_A_WINDOW:
        peer.wait_until(lambda: peer.send_window(stream_id) >= 10_000, "credit")
        peer.data(stream_id, bytes(10_000))
        sent += 10_000
    peer.data(stream_id, b"", end_stream=True)
    assert peer.get().status == 403
    assert peer.responses[stream_id].reset is None
    assert peer.responses[stream_id].body == EARLY


def test_an_upload_that_is_answered_early_is_reset_where_it_does_not_end(
    serve: Serve, connect: Connect
):
    """20: after so many octets, whatever time it has left."""
    peer = connect(serve(early, max_discarded=300_000, discard_timeout=60))
    stream_id = peer.request("POST", end_stream=False)
    peer.wait_data(stream_id, len(EARLY))
    sent = 0
    while peer.responses[stream_id].reset is None:
        if peer.send_window(stream_id) >= 10_000:
            peer.data(stream_id, bytes(10_000))
            sent += 10_000
        peer.read_available(0.001)
    assert peer.responses[stream_id].reset == Code.NO_ERROR
    assert 300_000 <= sent <= 300_000 + 262_144


@pytest.mark.parametrize(
    "options", [{"max_requests_per_connection": 1}, {"idle_timeout": 0.2}], ids=["number", "idle"]
)
def test_a_connection_that_is_to_end_waits_for_what_comes_behind_an_early_answer(
    serve: Serve, connect: Connect, options
):
    """20: the client may look at its answer only when it has sent all."""
    peer = connect(serve(early, **options))
    stream_id = peer.request("POST", end_stream=False)
    peer.wait_data(stream_id, len(EARLY))
    for _ in range(10):
        peer.read_available(0.1)
        assert peer.ended is None
        peer.data(stream_id, bytes(10_000))
    peer.data(stream_id, b"", end_stream=True)
    assert peer.wait_goaway().error_code == Code.NO_ERROR
    assert peer.responses[stream_id].reset is None


def test_a_connection_waits_no_longer_for_what_its_client_has_reset(serve: Serve, connect: Connect):
    """20: nothing more of that request comes."""
    peer = connect(serve(early, max_requests_per_connection=1, discard_timeout=60))
    stream_id = peer.request("POST", end_stream=False)
    peer.wait_data(stream_id, len(EARLY))
    peer.rst_stream(stream_id)
    assert peer.wait_goaway().error_code == Code.NO_ERROR


def test_a_client_that_waits_behind_an_early_answer_is_reset(serve: Serve, connect: Connect):
    """20: after a while, many of them too, each in its time; and none that has ended."""
    peer = connect(serve(early, discard_timeout=0.5))
    waiting = [peer.request("POST", end_stream=False) for _ in range(20)]
    ending = []
    for _ in range(20):  # one by one, for each to be in time
        ending.append(peer.request("POST", end_stream=False))
        peer.wait_data(ending[-1], len(EARLY))
        peer.data(ending[-1], b"x", end_stream=True)
    for stream_id in waiting:
        assert peer.wait_reset(stream_id) == Code.NO_ERROR
    peer.roundtrip()
    assert not any(peer.responses[stream_id].reset for stream_id in ending)


@pytest.mark.parametrize("end", ["data", "trailers"])
@pytest.mark.parametrize("sent", [b"", b"some of it"])
def test_a_client_may_leave_out_what_an_answer_makes_needless(
    serve: Serve, connect: Connect, caplog, end, sent
):
    """19, 20: as after a final answer to Expect. No reset, no line in the log."""
    server = serve(early)
    peer = connect(server)
    with caplog.at_level(logging.DEBUG, "h2wsgi"):
        stream_id = peer.request("POST", fields=REFUSED, end_stream=False)
        peer.wait_data(stream_id, len(EARLY))
        if sent:
            peer.data(stream_id, sent)
        if end == "data":
            peer.data(stream_id, b"", end_stream=True)
        else:
            peer.headers(stream_id, peer.encode([("x-sum", "1")]), end_stream=True)
        assert peer.get().status == 403
    assert peer.responses[stream_id].reset is None
    assert peer.responses[stream_id].body == EARLY
    assert "reset" not in caplog.text
    assert server.server.limits_hit == {}


def test_an_answer_that_goes_on_is_not_cut_off_by_content_left_out(serve: Serve, connect: Connect):
    """19: the application that still wants to read is told, and its answer is whole."""
    raised: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"begun, "
        try:
            environ["wsgi.input"].read()
        except ClientDisconnected as error:
            raised.put(error)
        yield b"done"

    peer = connect(serve(app))
    stream_id = peer.request("POST", fields=REFUSED, end_stream=False)
    peer.wait_data(stream_id, 7)
    peer.data(stream_id, b"short", end_stream=True)
    assert peer.response(stream_id).body == b"begun, done"
    assert "ended its content early" in str(raised.get(timeout=TIMEOUT))


def test_content_that_is_too_long_is_an_error_behind_an_answer_too(serve: Serve, connect: Connect):
    """18: it is malformed whatever was answered."""
    peer = connect(serve(early))
    stream_id = peer.request("POST", fields=REFUSED, end_stream=False)
    peer.wait_data(stream_id, len(EARLY))
    peer.data(stream_id, bytes(1_001), end_stream=True)
    assert peer.wait_reset(stream_id) == Code.PROTOCOL_ERROR
