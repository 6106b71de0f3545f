"""--trace and --trace-file: every frame, as nghttp shows it and as JSON lines."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from conversations.frames import (
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITIZED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from conversations.frames import setting as entry
from conversations.recordings import load
from h2wsgi.command.cli import main
from h2wsgi.config.config import Config
from h2wsgi.errors import ConfigurationError
from h2wsgi.log.logs import command_log
from h2wsgi.log.terminal import LOUD, RESET
from h2wsgi.tools.tap.frames import Frame
from h2wsgi.tools.trace.as_json import JSONForm
from h2wsgi.tools.trace.filters import Filter, parse_filter
from h2wsgi.tools.trace.text import TextForm
from support import clients
from support.peer import Peer
from support.process import ServerProcess
from support.settled import eventually
from support.tap import Wire

RECORDINGS = load()
WHOLE = END_HEADERS | END_STREAM
SOURCE = """
def app(environ, start_response):
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"you sent ", content]
"""
ESCAPE = "\x1b"


def hello(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"hello"]


def text_of(frames: list[Frame], *, colour: bool = False, windows: bool = True) -> str:
    form = TextForm(colour=colour, windows=windows)
    return "".join(form.frame(f) for f in frames)


# ------------------------------------------------------------------------------ the lines


def test_a_request_looks_much_as_nghttp_shows_it() -> None:
    payload = b"\x02" + struct.pack("!LB", 11, 15) + b"\x82\x87\x04\x02/a\x41\x01h" + bytes(2)
    found = Wire().received(frame(HEADERS, WHOLE | PADDED | PRIORITIZED, 1, payload))
    assert text_of(found).splitlines() == [
        f"[  0.000] #1 recv HEADERS frame <length={len(payload)}, flags=0x2d, stream_id=1>",
        "          ; END_STREAM | END_HEADERS | PADDED | PRIORITY",
        "          (padlen=2, dep_stream_id=11, weight=16, exclusive=0)",
        "          ; request",
        "          :method: GET  ; indexed, static 2",
        "          :scheme: https  ; indexed, static 7",
        "          :path: /a  ; without indexing, name static 4, value raw",
        "          :authority: h  ; incremental indexing, name static 1, value raw",
        "          ; block of 9 octets; dynamic table: 1 entry, 43 of 4096 octets",
        "          ; client may send 65535, 65535 on the stream; server may send 65535, "
        "65535 on the stream",
    ]


def test_the_other_frames_show_their_numbers_by_name() -> None:
    shown = text_of(
        Wire().received(
            frame(SETTINGS, 0, 0, entry(4, 70_000) + entry(0xABC, 1)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack("!L", 5)),
            frame(PING, 1, 0, b"pingpong"),
            frame(RST_STREAM, 0, 1, struct.pack("!L", 8)),
            frame(GOAWAY, 0, 0, struct.pack("!LL", 7, 11) + b"calm\x1b[2J"),
            frame(0x42, 0, 0, b"?"),
            frame(5, 4, 1, b"\0\0\0\2"),
        )
    )
    for line in (
        "          (promised_stream_id=2)",
        "          [INITIAL_WINDOW_SIZE(0x04):70000]",
        "          [0xabc(0xabc):1]",
        "          (window_size_increment=5)",
        "          ; client may send 65535; server may send 65540",
        "          ; ACK",
        "          (opaque_data=70696e67706f6e67)",
        "          (error_code=CANCEL(0x08))",
        "          (last_stream_id=7, error_code=ENHANCE_YOUR_CALM(0x0b), "
        "opaque_data(8)=[calm\\x1b[2J])",
    ):
        assert line in shown.splitlines()
    assert "recv 0x42 frame <length=1" in shown


def test_what_is_wrong_is_shown() -> None:
    assert "          ! an increment of 0\n" in text_of(
        Wire().received(frame(WINDOW_UPDATE, 0, 0, bytes(4)))
    )


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_octet_of_a_client_reaches_the_terminal_unescaped(name: str) -> None:
    wire = Wire(preface=b"")
    wire.received(RECORDINGS[name])
    assert set(re.findall(r"[^ -~\n]", text_of(wire.heard.frames))) == set()


def test_control_octets_of_fields_are_escaped() -> None:
    shown = text_of(Wire().received(frame(HEADERS, WHOLE, 1, b"\x00\x02a\x1b\x03\n\x9b2")))
    assert "a\\x1b: \\x0a\\x9b2  ; without indexing, name raw, value raw" in shown


def test_a_long_value_and_a_long_list_of_fields_are_cut() -> None:
    long = Wire().received(
        frame(HEADERS, WHOLE, 1, b"\x40\x01a\x7f\xa1\x1f" + b"v" * 4_128),
    )
    assert f"a: {'v' * 1024}... (4128 octets)" in text_of(long)
    many = text_of(Wire().received(frame(HEADERS, WHOLE, 1, b"\x82" * 500)))
    assert "... and 300 fields more" in many
    assert many.count(":method") == 200


def test_colours_are_the_only_difference_on_a_terminal() -> None:
    wire = Wire(preface=b"")
    frames = wire.received(RECORDINGS["curl: form"]) + wire.sent(frame(SETTINGS, 0, 0))
    plain, coloured = text_of(frames), text_of(frames, colour=True)
    assert ESCAPE in coloured
    assert re.sub(r"\x1b\[[\d;]+m", "", coloured) == plain


def test_what_ends_something_stands_out() -> None:
    shown = text_of(
        Wire().received(
            frame(RST_STREAM, 0, 1, struct.pack("!L", 8)),
            frame(GOAWAY, 0, 0, struct.pack("!LL", 7, 11)),
            frame(PING, 0, 0, bytes(8)),
        ),
        colour=True,
    )
    assert f"{LOUD}RST_STREAM{RESET} frame" in shown
    assert f"{LOUD}(error_code=CANCEL(0x08)){RESET}" in shown
    assert f"{LOUD}GOAWAY{RESET} frame" in shown
    assert f"{LOUD}(last_stream_id=7, error_code=ENHANCE_YOUR_CALM(0x0b)" in shown
    assert shown.count(LOUD) == 4


def test_windows_are_shown_where_they_are_asked_for() -> None:
    frames = Wire().received(frame(SETTINGS, 0, 0), frame(HEADERS, WHOLE, 1, b"\x82"))
    assert text_of(frames).count("; client may send ") == 2
    assert "may send" not in text_of(frames, windows=False)
    for text in ("windows", "headers,windows", "window_update", "window"):
        assert parse_filter(text).windows
    for text in ("", "all", "headers", "-window_update"):
        assert not parse_filter(text).windows


def test_json_has_every_attribute_that_a_frame_carries() -> None:
    wire = Wire()
    (request,) = wire.received(frame(HEADERS, WHOLE, 1, b"\x20\x82\x41\x01h"))
    line = JSONForm().frame(request)
    assert line.endswith("}\n")
    values = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", values.pop("time"))
    assert values == {
        "event": "frame",
        "connection": 1,
        "number": 1,
        "direction": "received",
        "type": 1,
        "name": "HEADERS",
        "flags": 5,
        "flag_names": ["END_STREAM", "END_HEADERS"],
        "stream_id": 1,
        "length": 5,
        "windows": {
            "client_connection": 65535,
            "client_stream": 65535,
            "server_connection": 65535,
            "server_stream": 65535,
        },
        "open_streams": 1,
        "ends_stream": True,
        "section": "request",
        "block": {
            "fields": [
                {
                    "name": ":method",
                    "value": "GET",
                    "representation": "indexed",
                    "table": "static",
                    "index": 2,
                    "name_huffman": None,
                    "value_huffman": None,
                    "encoded": "82",
                },
                {
                    "name": ":authority",
                    "value": "h",
                    "representation": "incremental indexing",
                    "table": "static",
                    "index": 1,
                    "name_huffman": None,
                    "value_huffman": False,
                    "encoded": "410168",
                },
            ],
            "octets": 5,
            "table_updates": [0],
            "table_size": 0,
            "table_entries": 0,
            "table_limit": 0,
        },
    }


def test_json_of_the_other_frames() -> None:
    frames = Wire().received(
        frame(SETTINGS, 0, 0, entry(4, 9)),
        frame(PING, 0, 0, b"12345678"),
        frame(GOAWAY, 0, 0, struct.pack("!LL", 7, 11) + b"\xff\x7f"),
        frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        frame(2, 0, 3, struct.pack("!LB", 1, 15)),
        frame(0, PADDED, 3, b"\x02abcd"),
    )
    lines = [json.loads(JSONForm().frame(f)) for f in frames]
    settings, ping, goaway, window, priority, data = lines
    assert settings["settings"] == [{"id": 4, "name": "INITIAL_WINDOW_SIZE", "value": 9}]
    assert ping["opaque"] == b"12345678".hex()
    assert (goaway["last_stream_id"], goaway["error_code"], goaway["error_name"]) == (
        7,
        11,
        "ENHANCE_YOUR_CALM",
    )
    assert goaway["debug"] == "\xff\x7f"
    assert (window["increment"], window["problems"]) == (0, ["an increment of 0"])
    assert priority["priority"] == {"depends_on": 1, "weight": 16, "exclusive": False}
    assert (data["data_length"], data["padding"], data["length"]) == (2, 2, 5)


# ----------------------------------------------------------------------------- the filter


def names_shown(text: str, frames: list[Frame]) -> list[str]:
    wanted = parse_filter(text)
    return [f.name for f in frames if wanted.shows(f)]


@pytest.fixture(scope="module")
def conversation() -> list[Frame]:
    """Frames of all kinds: both directions, two streams, one frame with a problem."""
    wire = Wire()
    wire.received(
        frame(SETTINGS, 0, 0),
        frame(HEADERS, 0, 1, b"\x82"),
        frame(9, END_HEADERS, 1, b"\x87"),
        frame(0, 1, 1, b"a"),
        frame(HEADERS, WHOLE, 3, b"\x82"),
        frame(WINDOW_UPDATE, 0, 0, bytes(4)),
        frame(0x42, 0, 0),
    )
    wire.sent(frame(RST_STREAM, 0, 3, bytes(4)), frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"))
    return wire.heard.frames


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("headers", ["HEADERS", "CONTINUATION", "HEADERS"]),
        ("Headers, reset", ["HEADERS", "CONTINUATION", "HEADERS", "RST_STREAM"]),
        ("rst_stream", ["RST_STREAM"]),
        ("window", ["WINDOW_UPDATE"] * 2),
        ("window,sent", ["WINDOW_UPDATE"]),
        ("send", ["RST_STREAM", "WINDOW_UPDATE"]),
        ("stream=3", ["HEADERS", "RST_STREAM"]),
        ("stream=1,stream=3,recv,-data", ["HEADERS", "CONTINUATION", "HEADERS"]),
        ("conn=2", []),
        ("connection=1,data", ["DATA"]),
        ("unknown", ["0x42"]),
        ("problems", ["WINDOW_UPDATE"]),
        ("data,windows", ["DATA"]),
        ("-headers,-window_update,-settings,-unknown,all", ["DATA", "RST_STREAM"]),
    ],
)
def test_a_filter_shows_what_it_names(
    conversation: list[Frame], text: str, shown: list[str]
) -> None:
    assert names_shown(text, conversation) == shown


@pytest.mark.parametrize("text", ["", "all", " , all"])
def test_no_filter_shows_everything(conversation: list[Frame], text: str) -> None:
    assert names_shown(text, conversation) == [f.name for f in conversation]
    assert parse_filter(text) == Filter()


def test_what_is_not_http2_passes_every_filter_but_that_of_its_connection() -> None:
    frames = Wire(preface=b"").received(b"GET / HTTP/1.1\r\n")
    assert names_shown("headers,stream=7", frames) == ["NOT HTTP/2"]
    assert names_shown("conn=7", frames) == []


@pytest.mark.parametrize(
    ("text", "hint"),
    [("heders", "Did you mean headers?"), ("stream=x", "stream="), ("-pong", "ping"), ("??", "")],
)
def test_a_term_that_means_nothing_is_refused_with_the_nearest_one(text: str, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(repr(text))) as raised:
        parse_filter(text)
    assert hint in raised.value.hint


# ---------------------------------------------------------------------------- the options


@pytest.mark.parametrize(
    ("raw", "value"),
    [(True, "all"), ("on", "all"), ("1", "all"), (False, ""), ("no", ""), ("data", "data")],
)
def test_trace_is_switched_on_like_a_flag_or_with_a_filter(raw: Any, value: str) -> None:
    assert Config.build(trace=raw).trace == value
    if not isinstance(raw, str):
        assert Config(trace=raw).trace == value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; what a test imports from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    paths = list(sys.path)
    yield tmp_path
    sys.path[:] = paths
    sys.modules.pop("traced", None)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--trace", "web:app"], "all"),
        (["web:app", "--trace"], "all"),
        (["--trace=headers", "web:app"], "headers"),
        (["--trace=-data", "web:app"], "-data"),
    ],
)
def test_trace_alone_does_not_take_the_next_argument_for_its_filter(
    folder: Path, capsys: Any, arguments: list[str], value: str
) -> None:
    assert main([*arguments, "--print-config"]) == 0
    shown = capsys.readouterr().out
    assert re.search(f'^trace = "{value}" +# command line$', shown, re.MULTILINE)
    assert 'target = "web:app"' in shown


def test_behind_two_dashes_trace_is_a_target(folder: Path, capsys: Any) -> None:
    assert main(["--print-config", "--", "--trace"]) == 0
    assert 'target = "--trace"' in capsys.readouterr().out


def test_the_environment_and_a_file_switch_it_on(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "h2wsgi.toml").write_text('trace = true\ntrace_file = "t.jsonl"\n')
    assert main(["--print-config"]) == 0
    assert 'trace = "all"' in capsys.readouterr().out
    monkeypatch.setenv("H2WSGI_TRACE", "reset")
    assert main(["--print-config"]) == 0
    assert 'trace = "reset"' in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--trace=heders", "--check"], ["--trace=heders"], ["--trace-file", "no/where"]]
)
def test_a_mistake_in_them_is_one_sentence_and_a_hint(
    folder: Path, capsys: Any, arguments: list[str]
) -> None:
    (folder / "traced.py").write_text(SOURCE)
    where = ["traced:app", "--app-dir", str(folder), "--bind-h2c", "127.0.0.1:0"]
    assert main([*where, *arguments]) == 2
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error.startswith("h2wsgi: error: The trace ")
    assert hint.startswith("hint: ")


def test_in_a_program_a_mistake_is_raised_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for options in ({"trace": "heders"}, {"trace": "all", "trace_file": str(tmp_path)}):
        with pytest.raises(ConfigurationError), h2wsgi.serve_in_thread(hello, **options):
            pass


# ----------------------------------------------------------------------------- live servers


@pytest.mark.client
def test_the_trace_of_a_request_of_curl_is_what_curl_did(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, SOURCE, "--trace", "--h2c") as server:
        url = f"http://127.0.0.1:{server.port()}/path?query"
        argv = [clients.find("curl"), "--http2-prior-knowledge", "--no-progress-meter"]
        output = clients.run(
            [*argv, "-H", "x-token: t", "--data-binary", "@-", url], content=b"abc"
        )
        assert output == "you sent abc"
        eventually(lambda: events(server.lines(), "closed"), "the connection to close")
        lines = server.lines()
    (opened,) = events(lines, "opened")
    assert (opened["scheme"], opened["tls_version"]) == ("http", None)
    frames = events(lines, "frame")
    assert [f["number"] for f in frames] == list(range(1, len(frames) + 1))
    request = next(f for f in frames if f.get("section") == "request")
    fields = {field["name"]: field["value"] for field in request["block"]["fields"]}
    assert fields[":method"] == "POST"
    assert fields[":path"] == "/path?query"
    assert fields["x-token"] == "t"
    assert fields["user-agent"].startswith("curl/")
    data = {f["direction"]: f["data_length"] for f in frames if f["name"] == "DATA"}
    assert data == {"received": 3, "sent": len("you sent abc")}
    assert not any("problems" in f for f in frames)


def events(lines: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == name]


NGHTTP_FRAME = re.compile(
    r"(recv|send) (\w+) frame <length=(\d+), flags=0x([0-9a-f]{2}), stream_id=(\d+)>"
)


def frames_of(text: str) -> dict[str, list[tuple[str, ...]]]:
    """Return the frames of a verbose output in the words of both, by direction."""
    found: dict[str, list[tuple[str, ...]]] = {"recv": [], "send": []}
    for way, *rest in NGHTTP_FRAME.findall(text):
        found[way].append(tuple(rest))
    return found


@pytest.mark.client
def test_the_trace_says_the_frames_that_nghttp_says(
    serve: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(hello, trace="all")
    nghttp = clients.find("nghttp", package="nghttp2-client")
    said = re.sub(r"\x1b\[[0-9;]*m", "", clients.run([nghttp, "-nv", server.join("/path")]))
    eventually(lambda: server.server.open_connections == 0, "the connection to close")
    server.stop()
    trace = capfd.readouterr().err
    theirs, ours = frames_of(said), frames_of(trace)
    assert ours["recv"] == theirs["send"]
    # nghttp hangs up on its own GOAWAY; whatever we sent before it has read.
    assert ours["send"][: len(theirs["recv"])] == theirs["recv"]
    assert len(theirs["recv"]) >= 4
    assert "          :path: /path  ; " in trace


def test_a_filter_holds_on_a_live_server(
    serve: Any, connect: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    server = serve(hello, trace="headers,sent,conn=2")
    for _ in range(2):
        connect(server).get("/")
    server.stop()
    trace = capfd.readouterr().err
    assert [name for _, name, *_ in NGHTTP_FRAME.findall(trace)] == ["HEADERS"]
    assert "#1" not in trace
    assert "#2 opened by 127.0.0.1:" in trace
    assert "#2 closed: " in trace


def test_the_file_has_every_frame_as_a_json_line(serve: Any, connect: Any, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    server = serve(hello, trace_file=str(path))
    peer = connect(server)
    for _ in range(3):
        peer.get("/")
    peer.roundtrip()
    server.stop()
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["opened", "closed"]
    assert (lines[0]["alpn"], lines[-1]["reason"]) == ("h2", "the server closed it")
    sent = [f for f in events(lines, "frame") if f["direction"] == "sent"]
    seen = [(f.type, f.flags, f.stream_id, len(f.payload)) for f in peer.log]
    recorded = [(f["type"], f["flags"], f["stream_id"], f["length"]) for f in sent]
    assert recorded[: len(seen)] == seen


@pytest.fixture
def _open_umask() -> Iterator[None]:
    """Have new files readable and writable for everybody who is not kept out."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_open_umask")
def test_a_trace_file_is_its_owners_alone(serve: Any, connect: Any, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    server = serve(hello, trace_file=str(path))
    connect(server).get("/", fields=[("cookie", "secret=1")])
    server.stop()
    assert "secret=1" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("_open_umask")
def test_a_trace_file_that_others_may_read_is_warned_of(
    serve: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be meant so: a file that was there keeps its mode."""
    private, public = tmp_path / "private.jsonl", tmp_path / "public.jsonl"
    private.touch(0o600)
    public.touch(0o644)
    for path in (private, public, tmp_path / "new.jsonl", Path(os.devnull)):
        serve(hello, trace_file=str(path)).stop()
    (said,) = [r.getMessage() for r in caplog.records if "others may read" in r.getMessage()]
    assert str(public) in said
    assert "mode 644" in said
    assert public.stat().st_mode & 0o777 == 0o644


@pytest.mark.usefixtures("_open_umask")
def test_an_access_logs_mode_is_the_umasks(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    command_log(Config(access_log_file=str(path))).close()
    assert path.stat().st_mode & 0o777 == 0o666


def test_both_traces_and_the_recorder_listen_to_one_tap(
    serve: Any, connect: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.jsonl"
    server = serve(hello, trace="all", trace_file=str(path), record=True)
    connect(server).get("/")
    server.stop()
    frames = len(server.connections[0].frames)
    assert frames == len(events(list(map(json.loads, path.read_text().splitlines())), "frame"))
    assert frames == len(NGHTTP_FRAME.findall(capfd.readouterr().err))


def test_a_blocked_standard_error_does_not_stall_the_loop(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    trace = tmp_path / "trace.jsonl"
    arguments = ["--trace", "--trace-file", str(trace), "--h2c", "--bind", "127.0.0.1:0"]
    server = ServerProcess(tmp_path, SOURCE, *arguments, stderr=writing)
    os.close(writing)
    with server, open(reading, "rb", buffering=0) as pipe:
        said = b""
        while b"\n" not in said:
            said += pipe.read(65_536)
        (endpoint,) = json.loads(said.splitlines()[0])["endpoints"]
        port = int(endpoint["url"].rstrip("/").rpartition(":")[2])
        with Peer.connect(("127.0.0.1", port), tls=False) as peer:
            # Nobody reads the pipe, which holds 64 KiB: a tenth of what is traced.
            for number in range(500):
                assert peer.get(f"/{number}").status == 200
        server.signal(signal.SIGTERM)
        assert server.exit_code(20) == 0
    frames = [json.loads(line) for line in trace.read_text().splitlines()]
    assert len({f["stream_id"] for f in events(frames, "frame")}) == 501


def test_the_trace_goes_to_a_terminal_in_colour(tmp_path: Path) -> None:
    (tmp_path / "web.py").write_text(SOURCE)
    terminal, end = os.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    argv = [sys.executable, "-m", "h2wsgi", "web:app", "--app-dir", str(tmp_path), "--trace"]
    process = subprocess.Popen(
        [*argv, "--bind-h2c", "127.0.0.1:0"], stderr=end, env=environment, cwd=tmp_path
    )
    os.close(end)
    said = b""
    try:
        with open(terminal, "rb", buffering=0) as screen:
            while not (found := re.search(rb"http://127.0.0.1:(\d+)/.*Ctrl-C", said, re.DOTALL)):
                said += screen.read(65_536)
            with Peer.connect(("127.0.0.1", int(found[1])), tls=False) as peer:
                peer.get("/")
            while b"closed: " not in said:
                said += screen.read(65_536)
    finally:
        process.kill()
        process.wait(10)
    assert b"recv\x1b[0m \x1b[1mHEADERS\x1b[0m frame" in said


# --------------------------------------------------------------------------------- the page

TRACING = (Path(__file__).parent.parent.parent / "docs" / "tracing.md").read_text("utf-8")


def test_the_page_lists_the_keys_that_frames_have() -> None:
    wire = Wire()
    frames = wire.received(
        *(frame(type_, 0x2D, 1, bytes(8) + b"x") for type_ in range(10)),
        frame(GOAWAY, 0, 0, bytes(8) + b"debug"),
        frame(SETTINGS, 0, 0, entry(1, 1)),
        frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        frame(RST_STREAM, 0, 1, bytes(4)),
    )
    keys = {key for f in frames for key in json.loads(JSONForm().frame(f))}
    table = TRACING.partition("<!-- frame keys -->")[2].partition("<!-- /frame keys -->")[0]
    rows = [row.split("|")[1] for row in table.splitlines()[3:]]
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == keys - {"time", "event"}


def test_the_example_of_the_page_passes(tmp_path: Path) -> None:
    example = TRACING.partition("<!-- test example -->\n```python\n")[2].partition("```")[0]
    fixture = (
        "\n\nimport pytest\n\n\n@pytest.fixture\ndef my_app():\n"
        "    def app(environ, start_response):\n"
        '        start_response("200 OK", [])\n        return [b"hello"]\n\n    return app\n'
    )
    (tmp_path / "test_example.py").write_text(example + fixture)
    without = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "pytest_cov")]
    argv = [sys.executable, "-m", "pytest", "-q", *without, str(tmp_path)]
    result = subprocess.run(
        argv,
        cwd=tmp_path,
        env=clients.environment(PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        timeout=clients.INSTALL_TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout
