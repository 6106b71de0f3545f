"""``--serve``: a page that has a browser play the cases with ``fetch``, and tells their verdicts.

For a client that somebody drives by hand, ``/by-hand/`` and a case's identifier open the case and
answer with its URL; what the wire shows is reported when each connection ends.

A thread for each connection. The page, too, is served by the suite's own server; each case has an
origin of its own, whose responses have CORS fields. A bounded number of cases is open at once.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from importlib import resources
from urllib.parse import parse_qsl, urlsplit

from . import octets
from .case import Case, Script
from .certificates import CASES_HOST, Identities
from .conversation import Conversation, Request
from .drivers import Outcome, short
from .judge import Proof, Result, Verdict
from .run import TIMEOUT, Playing, frames_of, proof_case
from .server import Session

MAX_OPEN = 16
"""Cases that are open at once; the oldest makes room for another."""
BY_HAND = "/by-hand/"
WITHOUT_CORS = frozenset({"9113/4.3/1"})
"""Cases whose good response a page may not read."""


class PageServer:
    """Serves the page until it is told to end; ``tell`` is called with each result."""

    def __init__(
        self,
        cases: Sequence[Case],
        identities: Identities,
        tell: Callable[[Result], None],
        tell_by_hand: Callable[[Case, list[str], str], None] = lambda case, findings, frames: None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._all_cases = {case.id: case for case in cases}
        self._cases = {case.id: case for case in cases if plays_in_a_browser(case)}
        self._identities = identities
        self._tell = tell
        self._tell_by_hand = tell_by_hand
        self._timeout = timeout
        self._lock = threading.Lock()
        self._open: dict[str, Playing] = {}
        self._numbers = itertools.count(1)
        self._proof = Proof()
        self.results: list[Result] = []
        self._page = resources.files(__package__).joinpath("page.html").read_bytes()
        self._session = Session(Script("It serves the page.", self._converse), identities)
        self.url = f"{self._session.url}/"

    def __enter__(self) -> PageServer:
        self._session.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.end()
        with self._lock:
            left, self._open = list(self._open.values()), {}
        for playing in left:
            playing.session.end()

    def _converse(self, c: Conversation) -> None:
        c.greet()
        for request in c.requests():
            kind, content = self._answer(request)
            status = "200" if content else "404"
            fields = [(":status", status), ("content-type", kind), ("cache-control", "no-store")]
            c.send(octets.headers(request.stream, fields))
            c.content(request, content)

    def _answer(self, request: Request) -> tuple[str, bytes]:
        url = urlsplit(request.path)
        values = dict(parse_qsl(url.query))
        if url.path == "/":
            return "text/html; charset=utf-8", self._page
        if url.path.startswith(BY_HAND):
            return "text/plain", self._opened_by_hand(url.path.removeprefix(BY_HAND))
        answer = {
            "/cases": self._list,
            "/open": self._opened,
            "/judge": self._judged,
            "/end": self._summary,
        }.get(url.path)
        if answer is None:
            return "text/plain", b""
        return "application/json", json.dumps(answer(values)).encode()

    def _list(self, values: dict[str, str]) -> object:
        return {"cases": [{"id": case.id, "title": case.title} for case in self._cases.values()]}

    def _opened(self, values: dict[str, str]) -> object:
        """Open the case that is named, or a good server for the proof."""
        id_ = values.get("id", "")
        case = self._cases.get(id_) or proof_case("get")
        host = f"{next(self._numbers)}.{CASES_HOST}"
        playing = self._play(id_, Playing(case, self._identities, host=host))
        seconds = self._timeout * case.patience
        return {"url": playing.session.url + case.paths()[0][1], "seconds": seconds}

    def _opened_by_hand(self, id_: str) -> bytes:
        """Open any case, and return its URL; or nothing, if there is no such case."""
        case = self._all_cases.get(id_)
        if case is None:
            return b""

        def ended() -> None:
            findings = [rule.check(playing.session) for rule in case.wire]
            said = [text for finding in findings for text in finding if text]
            with self._lock:
                self._tell_by_hand(case, said, frames_of(playing.session))

        playing = Playing(case, self._identities, ended=ended)
        self._play(BY_HAND + id_, playing)
        return f"{playing.session.url}{case.paths()[0][1]}\n".encode()

    def _play(self, key: str, playing: Playing) -> Playing:
        """Begin to play a case; the oldest one ends if too many are open."""
        playing.__enter__()
        with self._lock:
            oldest = self._open.pop(key, None)
            if oldest is None and len(self._open) >= MAX_OPEN:
                oldest = self._open.pop(next(iter(self._open)))
            self._open[key] = playing
        if oldest is not None:
            oldest.session.end()
        return playing

    def _judged(self, values: dict[str, str]) -> object:
        id_ = values.get("id", "")
        with self._lock:
            playing = self._open.pop(id_, None)
        if playing is None:
            return {"verdict": str(Verdict.NOT_REACHED), "said": "it was not opened"}
        outcome = _outcome(values)
        result = playing.judged([outcome], Proof(frozenset({"get"})) if not id_ else self._proof)
        playing.session.end()
        if not id_:
            self._proof = Proof(frozenset({"get"} if result.verdict is Verdict.PASS else ()))
        else:
            with self._lock:
                self.results.append(result)
                self._tell(result)
        said = "; ".join((*result.problems, result.word, *result.remarks))
        return {"verdict": str(result.verdict), "said": said.strip("; ")}

    def _summary(self, values: dict[str, str]) -> object:
        failed = sum(result.verdict is Verdict.FAIL for result in self.results)
        return {"summary": f"Done: {len(self.results)} cases, {failed} failed."}


def plays_in_a_browser(case: Case) -> bool:
    """Return whether a page can play a case: one GET, to an origin that it trusts."""
    return not case.needs_driver and case.tls == "good" and case.id not in WITHOUT_CORS


def _outcome(values: dict[str, str]) -> Outcome:
    """Return what the page says, which may be anything."""
    if "hung" in values:
        return Outcome(error=f"no end within {short(values['hung'])} s", has_hung=True)
    if "error" in values:
        return Outcome(error=short(values["error"]) or "an error")
    status, length = values.get("status", ""), values.get("length", "")
    return Outcome(
        status=int(status) if status.isdecimal() and len(status) < 10 else None,
        length=int(length) if length.isdecimal() and len(length) < 10 else None,
        digest=values.get("digest", ""),
    )
