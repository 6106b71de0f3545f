"""Headless Chromium, driven through its DevTools protocol over two pipes.

No driver, no WebSocket, no package: Chromium reads commands from descriptor 3 and answers on
descriptor 4, JSON with a zero octet behind each message (``--remote-debugging-pipe``).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from support.clients import TIMEOUT, environment, find, running

OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--no-proxy-server", "--remote-debugging-pipe",
    "--hide-scrollbars", "--window-size=1280,800",
]  # fmt: skip
# Puts two pipes where Chromium expects them, then becomes Chromium.
LAUNCH = """
import os, sys
for source, target in zip(map(int, sys.argv[1:3]), (3, 4)):
    os.dup2(source, target)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
    "Home": (36, ""),
    "End": (35, ""),
    " ": (32, " "),
}


class Browser:
    """One Chromium with one page, ended with its ``with`` block."""

    def __init__(self, home: Path) -> None:
        self.requested: list[str] = []
        """The URLs that the page has asked for."""
        self.complaints: list[str] = []
        """What was written to its console as an error, exceptions included."""
        self._number = 0
        self._received = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self._session = ""
        self._stack = ExitStack()
        try:
            self._launch(home)
        except BaseException:
            self._stack.close()
            raise

    def _launch(self, home: Path) -> None:
        theirs, self._to = self._pipe()
        self._from, theirs_too = self._pipe()
        log = self._stack.enter_context((home / "chromium.log").open("wb"))
        argv = [sys.executable, "-c", LAUNCH, str(theirs), str(theirs_too), find("chromium")]
        argv += [*OPTIONS, f"--user-data-dir={home / 'profile'}", "about:blank"]
        options = {"stdout": log, "stderr": log, "env": environment(HOME=str(home))}
        self._stack.enter_context(running(argv, pass_fds=(theirs, theirs_too), **options))
        os.close(theirs)
        os.close(theirs_too)
        targets = self._command("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self._command("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._command(f"{domain}.enable")

    def _pipe(self) -> tuple[int, int]:
        """Return a pipe with descriptors above those that the launcher overwrites."""
        made = []
        for end in os.pipe():
            made.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
            os.close(end)
        # The test's end of either is closed at the end, Chromium's as soon as it has it.
        return made[0], made[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        os.close(self._to)
        os.close(self._from)

    # -------------------------------------------------------------------------- the protocol

    def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while self._number not in self._answers:
            self._receive(deadline)
        answer = self._answers.pop(self._number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([self._from], [], [], max(0.0, left))
        assert readable, "Chromium did not answer"
        octets = os.read(self._from, 1 << 20)
        assert octets, "Chromium has ended"
        *whole, self._received = (self._received + octets).split(b"\0")
        for text in whole:
            self._take(json.loads(text))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
        elif message["method"] == "Network.requestWillBeSent":
            self.requested.append(message["params"]["request"]["url"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(message["params"]["exceptionDetails"]))
        elif message["method"] == "Log.entryAdded":
            entry = message["params"]["entry"]
            if entry["level"] == "error":
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")

    # ------------------------------------------------------------------------------ the page

    def open(self, url: str) -> None:
        """Load a page."""
        self._command("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = self._command(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str, timeout: float = TIMEOUT) -> Any:
        """Return the value of an expression as soon as it is true."""
        deadline = time.monotonic() + timeout
        while not (value := self.run(condition)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{timeout} s passed waiting for {condition}")
            time.sleep(0.02)
        return value

    def text(self, selector: str) -> str:
        """Return the text of the first element that fits."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: those of KEYS by name, others as characters."""
        for key in keys:
            code, text = KEYS[key] if key in KEYS else (ord(key.upper()), key)
            what = {"key": key, "windowsVirtualKeyCode": code, "text": text}
            self._command(
                "Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **what
            )
            self._command("Input.dispatchKeyEvent", type="keyUp", **what)

    def type(self, text: str) -> None:
        """Type characters."""
        self._command("Input.insertText", text=text)

    def prefer(self, scheme: str) -> None:
        """Have the page be ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._command("Emulation.setEmulatedMedia", features=[feature])

    def size(self, width: int, height: int) -> None:
        """Give the page a size in CSS pixels."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.wait(f"innerWidth === {width} && innerHeight === {height}")

    def screenshot(self) -> bytes:
        """Return a PNG of what is seen."""
        return base64.b64decode(self._command("Page.captureScreenshot", format="png")["data"])
