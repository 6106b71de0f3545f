"""The command: what it prints, writes and exits with."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import unittest
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from h2wsgi.clientspec import cases
from h2wsgi.clientspec.catalogue import CATALOGUE, chosen
from h2wsgi.clientspec.cli import main
from h2wsgi.clientspec.judge import Result, Verdict
from h2wsgi.clientspec.report import Terminal, as_json, as_junit, as_markdown, wrapped
from h2wsgi.errors import ConfigurationError
from support.clients import TIMEOUT, find, running
from support.settled import eventually

CURL = ["-sS", "--http2", "--cacert", "{ca}", "{url}"]


@pytest.mark.client
def test_curl_is_put_through_a_section(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    curl = find("curl")
    files = {form: tmp_path / f"report.{form}" for form in ("junit", "json", "markdown")}
    options = [word for form, path in files.items() for word in (f"--{form}", str(path))]
    code = main(["--only", "5.5", "--only", "9113/8.1/1", *options, "--", curl, *CURL])
    shown = capsys.readouterr().out
    assert code == 0
    assert "✔ 9113/5.5/1 a frame of an unknown type\n" in shown
    assert " 0 failed" in shown
    report = json.loads(files["json"].read_text("utf-8"))
    verdicts = {case["id"]: case["verdict"] for case in report["cases"]}
    assert verdicts["9113/8.1/1"] == "pass"
    suite = ElementTree.parse(files["junit"]).getroot()
    assert suite.get("tests") == str(len(verdicts))
    assert "| 9113/5.5/1 a frame of an unknown type | MUST | pass |  |" in files[
        "markdown"
    ].read_text("utf-8")
    assert main(["--compare", str(files["json"]), str(files["json"])]) == 0
    table = capsys.readouterr().out
    assert f"| pass | {len(verdicts)} | {len(verdicts)} |" in table
    assert f"{len(verdicts)} of {len(verdicts)} cases are passed by all." in table


def test_a_failure_says_what_was_wanted_and_what_came(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    client = tmp_path / "client.py"
    # It takes whatever comes before the connection ends, or the stream, for a response.
    client.write_text(CARELESS)
    files = [str(tmp_path / name) for name in ("junit.xml", "report.json", "report.md")]
    reports = ["--junit", files[0], "--json", files[1], "--markdown", files[2]]
    only = ["--only", "9113/8.1/3", "--only", "9113/6.4/7", "--only", "9113/10.5.1/2"]
    code = main(["-v", *only, *reports, "--", sys.executable, str(client), "{url}"])
    shown = capsys.readouterr().out
    assert code == 1
    assert "✘ 9113/8.1/3 connection closed in the middle of the content" in shown
    assert "wanted: the caller gets an error\n" in shown
    assert "came:   it took a part for the whole response\n" in shown
    assert "recv HEADERS frame" in shown
    assert "1 failed a MUST:\n  9113/8.1/3" in shown
    suite = ElementTree.parse(files[0]).getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert suite[0].find("skipped") is not None
    assert "recv HEADERS frame" in (suite[1].findtext("failure") or "")
    assert main(["--compare", files[1]]) == 0
    table = capsys.readouterr().out
    assert "| 9113/8.1/3 connection closed in the middle of the content | ✘ MUST |" in table
    assert "| 9113/6.4/7 RST_STREAM during an upload | - |" in table
    assert "| 9113/10.5.1/2 fields of 40,000 octets | takes it |" in table
    assert "it took a part for the whole response" in Path(files[2]).read_text("utf-8")


CARELESS = """
import socket, ssl, struct, sys
from urllib.parse import urlsplit
url = urlsplit(sys.argv[1])
context = ssl._create_unverified_context()
context.set_alpn_protocols(["h2"])
raw = socket.create_connection(("127.0.0.1", url.port))
sock = context.wrap_socket(raw, server_hostname=url.hostname)
path = url.path.encode()
block = b"\\x82\\x87\\x04" + bytes([len(path)]) + path
frame = struct.pack("!LBL", len(block) << 8 | 1, 5, 1) + block
settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
sock.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + settings + frame)
file = sock.makefile("rb")
while len(head := file.read(9)) == 9:
    word, flags, stream = struct.unpack("!LBL", head)
    payload = file.read(word >> 8)
    if word & 255 == 0:
        sys.stdout.buffer.write(payload)
    if stream and flags & 1:
        break
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "No client is named."),
        (["--only", "99"], "No case is named 99."),
        (["--", "no-such-client", "{url}"], "The client no-such-client cannot be run."),
        (["--", sys.executable], "The command has no {url}"),
        (["--", sys.executable, "-c", "", "{url}"], "took no good response"),
        (["--", sys.executable, "-c", "raise SystemExit('no')", "{url}"], "took no good response"),
        (["--", sys.executable, "-c", "raise SystemExit('no')", "{url}"], "exit code 1: no"),
        (["--only", "6.88"], "Near to it: 6.8."),
        (["--only", "6.8", "--only", "goaway"], "No case is named goaway."),
        (["--error-text", "(", "--", sys.executable, "{url}"], "is no regular expression"),
        (["--error-text", "x", "--driver", "--", sys.executable], "is about a command"),
        (["--junit", "/no/such/file", "--", sys.executable, "{url}"], "cannot be written"),
        (["--json", "/", "--", sys.executable, "{url}"], "cannot be written"),
        (["--serve", "--driver"], "--serve takes no client"),
        (["--list", "--", "curl"], "--list takes no client"),
        (["--list", "--serve"], "--list and --serve cannot both be had"),
        (["curl", "--cacert", "x"], "Put -- before COMMAND"),
        (["--compare"], "No reports are named"),
        (["--compare", __file__], "is no report of h2wsgi-clientspec"),
        (["--compare", "/no/such/file"], "is no report of h2wsgi-clientspec"),
        (["--compare", "--markdown", "table.md", __file__], "--compare writes no report"),
        (["--compare", "--only", "6.8", __file__], "compares all that the reports have"),
        (["--timeout", "x"], "is not a valid float"),
        (["--timeout", "nan", "--", sys.executable, "{url}"], "is no time"),
        (["--timeout", "inf", "--", sys.executable, "{url}"], "is not in the range"),
        (["--json", "-", "--", sys.executable, "{url}"], "The report - cannot be written"),
        (["--json", f"{__file__}/x", "--", sys.executable, "{url}"], "cannot be written"),
        (["--json", "x", "--junit", "x", "--", sys.executable, "{url}"], "cannot be one file"),
    ],
)
def test_mistakes_end_in_a_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--driver"]])
@pytest.mark.parametrize(
    ("text", "said"),
    [("no script", "Exec format error"), ("#!/no/such/interpreter", "No such file")],
)
def test_a_client_that_the_system_does_not_run_is_a_mistake(
    text: str, said: str, more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = tmp_path / "client"
    client.write_text(text)
    client.chmod(0o755)
    assert main([*more, "--only", "9113/6.7/1", "--", str(client), "{url}"]) == 2
    shown = capsys.readouterr().err
    assert f"The client {client} cannot be run: {said}" in shown
    assert "has to begin with #!" in shown


def test_what_the_system_refuses_is_no_verdict_and_no_traceback(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)); "
    start = "import sys; from h2wsgi.clientspec.cli import main; sys.exit(main())"
    client = tmp_path / "client.py"
    client.write_text(CARELESS)
    argv = ["-c", limit + start, "-j", "20", "--", sys.executable, str(client), "{url}"]
    code, _, error = run_elsewhere(*argv)
    assert code == 2
    assert "Too many open files" in error
    assert "Traceback" not in error


def run_elsewhere(*argv: str, **streams: Any) -> tuple[int, bytes, str]:
    """Run Python in a process of its own; return its exit code and what it printed."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | streams.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    done = subprocess.run([sys.executable, *argv], env=env, timeout=60, **pipes)  # type: ignore[call-overload]
    return done.returncode, done.stdout or b"", (done.stderr or b"").decode()


def test_marks_are_ascii_where_the_encoding_has_no_others(tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text(CARELESS)
    only = ["--only", "9113/8.1/3", "--only", "9113/6.7/1", "--only", "9113/6.4/7"]
    argv = ["-m", "h2wsgi.clientspec.cli", *only, "--name", "\u263a"]
    argv += ["--", sys.executable, str(client), "{url}"]
    code, shown, error = run_elsewhere(*argv, env={"PYTHONIOENCODING": "latin-1"})
    assert (code, error) == (1, "")
    assert b"conformance of \\u263a\n" in shown
    assert b"    x 9113/8.1/3 connection closed in the middle" in shown
    assert b"    - 9113/6.4/7 " in shown


@pytest.mark.parametrize("closed", [1, 2])
def test_a_run_needs_no_output(closed: int, tmp_path: Path) -> None:
    client, report = tmp_path / "client.py", tmp_path / "report.json"
    client.write_text(CARELESS)
    shell = f"import os, sys; os.close({closed}); os.execv(sys.executable, sys.argv[1:])"
    argv = ["-m", "h2wsgi.clientspec.cli", "--only", "9113/5.5/1", "--json", str(report)]
    argv += ["--", sys.executable, str(client), "{url}"]
    code, _, _ = run_elsewhere("-c", shell, sys.executable, *argv)
    assert code == 0
    assert len(json.loads(report.read_text("utf-8"))["cases"]) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_ends_its_clients_and_tells_what_it_knows(
    number: signal.Signals, tmp_path: Path
) -> None:
    client, report = tmp_path / "client.py", tmp_path / "report.json"
    client.write_text(f"import time\n{CARELESS}time.sleep(600 * (b'8.1/3' in path))\n")
    argv = [sys.executable, "-m", "h2wsgi.clientspec.cli", "--timeout", "500", "-j", "2"]
    argv += ["--only", "9113/8.1/1", "--only", "9113/8.1/3", "--json", str(report)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    argv += ["--", sys.executable, str(client), "{url}"]
    with running(argv, env=env, **pipes) as process:
        assert process.stdout is not None
        while b"9113/8.1/1" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Stopped with 1 of 2 cases not played." in output
    assert [case["id"] for case in json.loads(report.read_text("utf-8"))["cases"]] == ["9113/8.1/1"]


def test_the_reports_are_written_though_the_terminal_has_gone(tmp_path: Path) -> None:
    client, report, begun = (tmp_path / name for name in ("client.py", "report.json", "begun"))
    waits = f"open({str(begun)!r}, 'w').close(); import time; time.sleep(600)"
    client.write_text(f"{CARELESS}if b'8.1/3' in path: {waits}\n")
    # A session of its own, whose terminal this becomes as it is opened.
    opens = "import os, sys; os.dup2(os.open(os.ttyname(0), os.O_RDWR), 2)"
    opens += "; os.execv(sys.argv[1], sys.argv[1:])"
    argv = [sys.executable, "-c", opens]
    argv += [sys.executable, "-m", "h2wsgi.clientspec.cli", "--only", "9113/8.1/3"]
    argv += ["--json", str(report), "--", sys.executable, str(client), "{url}"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    master, slave = pty.openpty()
    with running(argv, env=env, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        eventually(begun.exists, "the client to wait", TIMEOUT)
        os.close(master)
        assert process.wait(30) == 2
    assert json.loads(report.read_text("utf-8"))["cases"] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        '{"client": "a", "cases": [{}]}',
        "\ud800",
        '{"cases": 3}',
    ],
)
def test_what_is_no_report_is_not_compared(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    report.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert main(["--compare", str(report)]) == 2
    assert f"The file {report} is no report of h2wsgi-clientspec." in capsys.readouterr().err


def test_what_a_client_says_breaks_no_report() -> None:
    said = "it | said \x1b[31m \ud800 \ufffe <x> & ]]>\r\n"
    result = Result(case=CATALOGUE[0], verdict=Verdict.FAIL, problems=(said,), came=said)
    suite = ElementTree.fromstring(as_junit(said, [result]).encode())
    assert "<x> & ]]>" in (suite[0].findtext("failure") or "")
    assert json.loads(as_json(said, [result]).encode())["cases"][0]["problems"] == [said]
    lines = as_markdown(said, [result]).encode().splitlines()
    assert len(lines) == 5
    shown = Terminal(colour=False, verbose=True).result(result)
    assert "\x1b" not in shown
    shown.encode()


def test_sentences_are_wrapped_to_the_terminal() -> None:
    shown = wrapped("a sentence that is long " * 5, "    wanted: ", 40)
    assert len(shown) > 2
    assert max(map(len, shown)) <= 40
    assert shown[0].startswith("    wanted: a sentence")
    assert shown[1].startswith(" " * 12 + "sentence")
    assert wrapped("word " * 50, "  ", 0) == [("  " + "word " * 50).rstrip()]


def test_cases_are_named_by_section_rfc_and_pattern() -> None:
    def ids(*names: str) -> list[str]:
        return [case.id for case in chosen(CATALOGUE, names)]

    assert ids("9113/6.8/1") == ["9113/6.8/1"]
    assert ids("6.8") == ids("9113/6.8") == ids("9113/6.8/*")
    assert {id_.split("/")[0] for id_ in ids("7541")} == {"7541"}
    assert ids("7541") == ids("7541/*")
    assert ids("*") == ids()
    assert {id_.split("/")[1] for id_ in ids("6.9")} == {"6.9", "6.9.1", "6.9.2"}
    with pytest.raises(ConfigurationError, match=r"No case is named 6\.88\."):
        cases("6.88")


def test_the_page_for_browsers_is_served_until_ctrl_c() -> None:
    argv = [sys.executable, "-m", "h2wsgi.clientspec.cli", "--serve", "--only", "6.8"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with running(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"Open https://localhost:")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"0 cases in" in output


def test_the_cases_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "6.8"]) == 0
    shown = capsys.readouterr().out
    assert "9113/6.8/1     MUST   GOAWAY that lets the response come\n" in shown
    assert "9113/8.1/1" not in shown


@pytest.mark.parametrize("case", cases("9113/8.1/1", "9113/6.8/1"))
def test_a_suite_of_python_takes_cases_in(case) -> None:
    from clientspec.strict_client import StrictClient
    from h2wsgi.clientspec.drivers import Order

    def get(url: str, ca_file: str) -> bytes:
        client = StrictClient(ca_file)
        outcome = client.ask([Order("get", url)], 5)[0]
        client.close()
        if outcome.error:
            raise OSError(outcome.error)
        return outcome.content or b""

    case.run(get)


def test_a_suite_of_python_learns_what_is_wrong() -> None:
    (case,) = cases("9113/8.1/1")
    with pytest.raises(AssertionError, match="no good response"):
        case.run(lambda url, ca_file: b"")


def failing(error: BaseException) -> Callable[[str, str], bytes]:
    def get(url: str, ca_file: str) -> bytes:
        raise error

    return get


@pytest.mark.parametrize(
    ("get", "said"),
    [
        (lambda url, ca_file: "text", "it returned str, not bytes"),
        (lambda url, ca_file: 10**12, "it returned int, not bytes"),
        (failing(asyncio.CancelledError()), "CancelledError"),
        (failing(SystemExit("no")), "SystemExit: no"),
        (failing(pytest.fail.Exception("mine")), "Failed: mine"),
    ],
)
def test_what_a_function_does_wrong_is_said_at_once(
    get: Callable[[str, str], bytes], said: str
) -> None:
    (case,) = h2wsgi.clientspec.cases("9113/8.1/1")
    with pytest.raises(AssertionError, match=f"not reached: it took no good .*{said}"):
        case.run(get)


def test_a_case_that_does_not_apply_to_a_client_is_skipped() -> None:
    def get(url: str, ca_file: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-c", CARELESS, url], capture_output=True, check=True, timeout=60
        )
        return done.stdout

    (case,) = cases("9113/6.6/1")
    with pytest.raises(unittest.SkipTest, match="not reached: it has not turned push off"):
        case.run(get)
    (case,) = cases("9113/8.1/3")
    with pytest.raises(AssertionError, match="a part for the whole"):
        case.run(get)


def test_cases_that_take_a_driver_are_not_for_a_function() -> None:
    assert len(cases()) == sum(not case.needs_driver for case in CATALOGUE)
