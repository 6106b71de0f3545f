"""Clients put through the scenarios of support.misbehaving: how to run them, what became of it.

What a client said of a request comes from the client, all else (was it sent again, on which
connection, what did the client reset) from the server's record.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h2wsgi
from h2wsgi.server.running import ServerThread
from support.clients import environment, find, run
from support.misbehaving import PIECE, SCENARIOS, Misbehaving, Scenario
from support.settled import eventually

PROGRAMS = Path(__file__).parent.parent / "clients"
TIMEOUT = 150.0
"""Seconds for all scenarios of a client."""
HANGS = "hangs"
"""What clients/python_client.py calls a library that it had to end."""
LEFT = "the client left"
"""What the server sent to a client that hung up before it was answered."""
CURL_STAMP = "%{exitcode} %{http_code} %{size_download}\\n"

Results = dict[str, list[list[dict[str, Any]]]]
"""By scenario: for each step what became of its requests."""
Client = Callable[[ServerThread], tuple[dict[str, str], Results]]
"""Plays all scenarios; returns the versions of what it is made of, and what became of them."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one client did in one scenario."""

    text: str
    """In words, for the table."""
    right: bool
    """Whether RFC 9113 lets a client do so."""
    wire: str
    """What the server sent, to compare with ``Scenario.wire``; or LEFT."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A client's versions, and what it did in each scenario."""

    versions: dict[str, str]
    observed: dict[str, Observed]


# -------------------------------------------------------------------------------- the clients


def _orders(server: ServerThread) -> bytes:
    steps = {scenario.name: scenario.steps() for scenario in SCENARIOS}
    url = server.url.rstrip("/")
    return json.dumps({"url": url, "ca_file": server.ca_file, "scenarios": steps}).encode()


def _program(
    argv: list[str], server: ServerThread, **variables: str
) -> tuple[dict[str, str], Results]:
    env = environment(**variables)
    said = json.loads(run(argv, content=_orders(server), timeout=TIMEOUT, env=env))
    return said["versions"], said["results"]


def python_client(library: str, folder: Path | None = None) -> Client:
    """Return how to run a Python library; ``folder`` has it, if this environment has not."""
    argv = [sys.executable, "-W", "ignore", str(PROGRAMS / "python_client.py"), library]
    variables = {} if folder is None else {"PYTHONPATH": str(folder)}
    return lambda server: _program(argv, server, **variables)


def node_client(server: ServerThread) -> tuple[dict[str, str], Results]:
    """Run Node's http2 module."""
    return _program([find("node", package="nodejs"), str(PROGRAMS / "behaviour.mjs")], server)


def curl_client(server: ServerThread) -> tuple[dict[str, str], Results]:
    """Run curl, once for each scenario."""
    curl = find("curl")
    first_line = run([curl, "-q", "--version"]).splitlines()[0]
    named = dict(re.findall(r"(curl|nghttp2)[ /]([\d.]+)", first_line))
    return named, {scenario.name: _curl(curl, server, scenario) for scenario in SCENARIOS}


def _curl(curl: str, server: ServerThread, scenario: Scenario) -> list[list[dict[str, Any]]]:
    steps = scenario.steps()
    argv = [curl, "-q"]
    for number, step in enumerate(steps):
        if number:
            argv.append("--next")
        argv += [
            "--no-progress-meter",
            "--http2",
            "--cacert",
            str(server.ca_file),
            "-w",
            CURL_STAMP,
        ]
        argv += ["-s", "-o", os.devnull, "-m", str(step["timeout"]), "-X", step["method"]]
        if step["size"]:
            argv += ["--data-binary", "@-"]
        argv += [server.join(step["path"])] if step["times"] == 1 else []
        if step["times"] > 1:
            # curl either does all of its transfers side by side, or none.
            argv += ["-Z", server.join(step["path"]) + f"?[1-{step['times']}]"]
    said = run(argv, content=bytes(scenario.size), may_fail=True)
    rows = [_curl_result(*line.split()) for line in said.splitlines()]
    assert len(rows) == sum(step["times"] for step in steps), (argv, said)
    return [rows[:1], rows[1:]]


def _curl_result(exit_code: str, status: str, octets: str) -> dict[str, Any]:
    if exit_code != "0":
        return {"error": f"exit code {exit_code}"}
    return {"status": int(status), "octets": int(octets)}


# ------------------------------------------------------------------------------ what they did


def observe(client: Client) -> Behaviour:
    """Put a client through all scenarios."""
    engine = os.environ.get("TEST_ENGINE", "auto")
    options = {"engine": engine, "record": True, "graceful_timeout": 1}
    with h2wsgi.serve_in_thread(Misbehaving(), **options) as server:
        versions, results = client(server)
        # Its process has ended, so what it sent last is on its way.
        eventually(lambda: all(c.closed for c in server.connections), "the client to be gone")
        observed = {s.name: _look(s, results[s.name], server) for s in SCENARIOS}
    return Behaviour(versions, observed)


def _look(
    scenario: Scenario, results: list[list[dict[str, Any]]], server: ServerThread
) -> Observed:
    requests = [r for r in server.requests if r.path == f"/{scenario.name}"]
    first = requests[0] if requests else None
    then = [r for r in server.requests if r.path.startswith(f"/{scenario.name}/then")]
    result = results[0][0]
    text = result.get("error") or str(result["status"])
    if "error" not in result and result["status"] != 505 and result["octets"] != PIECE:
        text += f" with {result['octets']:,} octets"
    if "note" in result:
        text += f" ({result['note']})"
    if len(requests) > 1:
        text += ", sent again" if len(requests) == 2 else f", sent {len(requests)} times"
    connection = first and next(c for c in server.connections if c.id == first.connection)
    if first and not scenario.ends_connection:
        text += _frames_of_the_client(connection, first.stream_id)
    good = _is_right(scenario, result)
    if scenario.then and len(results) > 1:
        refused = sum(r.reset is not None and r.reset.name == "REFUSED_STREAM" for r in then)
        same = first is not None and {r.connection for r in then} <= {first.connection}
        said, went_well = _then(results[1], same)
        text += f"; {said}" + (f", {refused} refused" if refused else "")
        good = good and went_well and not refused
    # A client that gives up may hang up before its request has come through.
    return Observed(text, good, _wire(connection, first) if first else LEFT)


def _frames_of_the_client(connection: Any, stream_id: int) -> str:
    """Return how the client ended the stream and the connection, if by frames."""
    resets = [r for r in connection.resets if r.direction == "received"]
    resets = [r for r in resets if r.stream_id == stream_id]
    ends = [g for g in connection.goaways if g.direction == "received" and g.code]
    text = "".join(f", {_reset(reset.name)}" for reset in resets[:1])
    return text + "".join(f", GOAWAY({end.name})" for end in ends[:1])


def _reset(name: str) -> str:
    return f"RST_STREAM({name})"


def _is_right(scenario: Scenario, result: dict[str, Any]) -> bool:
    if "error" in result:
        return scenario.want != "response" and result["error"] != HANGS
    whole = result["octets"] == PIECE or result["status"] == 505  # that has content of ours
    return whole and result["status"] == scenario.status and scenario.want != "error"


def _then(results: list[dict[str, Any]], same_connection: bool) -> tuple[str, bool]:
    """Return what became of the requests behind the first, in words and whether it is well."""
    errors = [result["error"] for result in results if "error" in result]
    if errors:
        return f"next: {errors[0]}", False
    if len(results) > 1:
        return "all answered", True
    return ("goes on" if same_connection else "reconnects"), True


def _wire(connection: Any, request: Any) -> str:
    """Return what the server sent for a request, DATA joined, without what others cause."""
    words: list[str] = []
    for frame in connection.frames:
        if frame.received or frame.time < request.started:
            continue
        if frame.name == "GOAWAY":
            word = f"GOAWAY({frame.error_name}, {frame.last_stream_id})"
        elif frame.name == "SETTINGS" and frame.settings:
            entries = ", ".join(f"{entry.name}={entry.value}" for entry in frame.settings)
            word = f"SETTINGS({entries})"
        elif frame.stream_id != request.stream_id or frame.name == "WINDOW_UPDATE":
            continue
        elif frame.name == "RST_STREAM":
            word = _reset(frame.error_name)
        else:
            word = frame.name
        if word != "DATA" or words[-1:] != ["DATA"]:
            words.append(word)
        if frame.ends_stream:
            words.append("END_STREAM")
    return " ".join(words) or LEFT
