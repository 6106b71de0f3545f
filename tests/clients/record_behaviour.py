"""Record what clients do: ``cd tests; python -m clients.record_behaviour [CLIENT...]``.

Writes behaviour.json and the tables of docs/testing-clients.md, for the clients that are named or
for all. What is wrong with a client has to be explained in ``REMARKS``; a test compares all of it.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from support.behaviour import (
    LEFT,
    Behaviour,
    Client,
    Observed,
    curl_client,
    node_client,
    observe,
    python_client,
)
from support.clients import install
from support.misbehaving import SCENARIOS

RECORD = Path(__file__).parent / "behaviour.json"
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "testing-clients.md"
MARKS = ("versions", "behaviour", "wrong")
RFC = "https://www.rfc-editor.org/rfc/rfc9113#section-"
CLIENTS: dict[str, Callable[[Path], Client]] = {
    "httpx": lambda _: python_client("httpx"),
    "urllib3": lambda folder: python_client("urllib3", folder),
    "niquests": lambda _: python_client("niquests"),
    "curl": lambda _: curl_client,
    "Node.js http2": lambda _: node_client,
}
"""How to run each. The folder is one with urllib3: niquests' fork takes its place otherwise."""

_H2_CLOSES = (
    "h2 counts the connection as closed once GOAWAY came, and refuses the frames of the response "
    "that follow. "
)
_H2_ISSUE = "[h2#1181](https://github.com/python-hyper/h2/issues/1181)"
_SPINS = (
    "It does not look at the end of the connection and reads on for ever, with a whole CPU; no "
    "time-out ends it. [urllib3#5167](https://github.com/urllib3/urllib3/issues/5167)"
)
_NO_ERROR_EVENT = (
    "`end` and `close`, but neither `error` nor `aborted`: only `rstCode`, 8, tells that the "
    "response is not whole. [node#56627](https://github.com/nodejs/node/issues/56627)"
)
REMARKS = {
    ("httpx", "goaway-graceful"): _H2_CLOSES
    + f"{_H2_ISSUE}, [httpcore#730](https://github.com/encode/httpcore/issues/730)",
    (
        "httpx",
        "early-response",
    ): "It reads no response before all of the request is sent, and asks "
    "for the window of a stream that is closed.",
    ("urllib3", "goaway-below"): _SPINS,
    ("urllib3", "goaway-below-post"): _SPINS,
    ("urllib3", "goaway-graceful"): _H2_CLOSES + _H2_ISSUE,
    ("urllib3", "early-response"): "It does not wait for the flow-control window, so every upload "
    "that is larger fails.",
    ("urllib3", "drop"): _SPINS,
    ("curl", "early-response"): "It drops the response when the reset comes while it uploads.",
    ("Node.js http2", "cancel-mid-body"): _NO_ERROR_EVENT,
    ("Node.js http2", "drop"): _NO_ERROR_EVENT,
}
"""What is wrong, by client and scenario, and where it is tracked if that is known."""


def load() -> dict[str, Behaviour]:
    """Return what was recorded, by client."""
    clients = json.loads(RECORD.read_text("utf-8"))["clients"]
    wires = {scenario.name: scenario.wire for scenario in SCENARIOS}
    return {
        client: Behaviour(
            said["versions"],
            {name: Observed(wire=wires.get(name, ""), **o) for name, o in said["observed"].items()},
        )
        for client, said in clients.items()
    }


def save(recorded: dict[str, Behaviour]) -> None:
    """Write what was recorded."""
    clients = {client: asdict(behaviour) for client, behaviour in recorded.items()}
    for said in clients.values():
        for observed in said["observed"].values():
            del observed["wire"]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = json.dumps({"recorded": today, "clients": clients}, indent=2, ensure_ascii=False)
    RECORD.write_text(text + "\n", "utf-8")


def tables(recorded: dict[str, Behaviour]) -> dict[str, str]:
    """Return the text behind each of ``MARKS``."""
    return {
        "versions": _versions(recorded),
        "behaviour": _behaviour(recorded),
        "wrong": _wrong(recorded),
    }


def _versions(recorded: dict[str, Behaviour]) -> str:
    day = json.loads(RECORD.read_text("utf-8"))["recorded"]
    said = [
        " with ".join(f"{name} {version}" for name, version in behaviour.versions.items())
        for behaviour in recorded.values()
    ]
    return f"Recorded on {day}: " + "; ".join(said) + ".\n"


def _behaviour(recorded: dict[str, Behaviour]) -> str:
    lines = ["| the server | " + " | ".join(recorded) + " |", "|---" * (len(recorded) + 1) + "|"]
    for scenario in SCENARIOS:
        cells = [scenario.what]
        for behaviour in recorded.values():
            observed = behaviour.observed[scenario.name]
            cells.append(observed.text if observed.right else f"**{observed.text}**")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _wrong(recorded: dict[str, Behaviour]) -> str:
    lines = ["| the server | the client | RFC 9113 | and |", "|---|---|---|---|"]
    for scenario in SCENARIOS:
        rule = f"{scenario.right} ([{scenario.section}]({RFC}{scenario.section}))"
        for client, behaviour in recorded.items():
            observed = behaviour.observed[scenario.name]
            if not observed.right:
                remark = REMARKS.get((client, scenario.name), "")
                cells = (scenario.what, f"{client}: {observed.text}", rule, remark)
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def replaced(text: str, made: dict[str, str]) -> str:
    """Return the document with its tables as they were made."""
    for mark, table in made.items():
        pattern = rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)"
        text = re.sub(pattern, lambda m, t=table: m[1] + t + m[2], text, flags=re.DOTALL)
    return text


def main() -> None:
    """Record the clients that are named on the command line, or all."""
    chosen = sys.argv[1:] or list(CLIENTS)
    known = load() if RECORD.exists() else {}
    recorded = {}
    with tempfile.TemporaryDirectory() as folder:
        if "urllib3" in chosen:
            install("urllib3[h2]", Path(folder))
        for name, client in CLIENTS.items():
            recorded[name] = observe(client(Path(folder))) if name in chosen else known[name]
    for name, behaviour in recorded.items():
        for scenario in SCENARIOS:
            seen = behaviour.observed[scenario.name].wire
            assert seen in (scenario.wire, LEFT), f"{name}, {scenario.name}: the server sent {seen}"
    save(recorded)
    DOCUMENT.write_text(replaced(DOCUMENT.read_text("utf-8"), tables(recorded)), "utf-8")


if __name__ == "__main__":
    main()
