"""Running cases side by side, each on ports of its own, in bounded time. Any thread."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

from ..process.clock import clock
from ..tools.trace.text import TextForm
from .case import Case, Do, Level, Script, Step, Want
from .certificates import Identities
from .conversation import Conversation
from .drivers import Caller, Order, Outcome
from .judge import Proof, Result, Verdict, judge, other_path
from .server import Session

TIMEOUT = 10.0
"""Seconds that a client gets for a step."""
SETTLE = 1.0
"""Seconds that a client gets, once its caller has an answer, for what it does in the end."""
UNREAD = 5.0
"""Seconds for the suite itself to read what has come."""
GLANCE = 0.1
"""Seconds for what was sent before the caller had its answer."""
SHOWN = 60
"""Frames shown of a connection: one half from its beginning, the other from its end."""


def _serve_well(conversation: Conversation) -> None:
    conversation.greet()
    conversation.reach()
    conversation.serve()


def proof_case(do: Do) -> Case:
    """Return a case that a client must pass before anything can be said of it."""
    return Case(
        id=f"proof/{do}/1",
        title=f"a good response to a {do.upper()}",
        level=Level.MUST,
        script=Script("It answers well.", _serve_well),
        steps=(Step(Want.EMPTY if do == "head" else Want.WHOLE, do, size=1000),),
        wire=(),
        advice="Without a good response nothing can be said of a client.",
    )


@dataclass(slots=True)
class Runner:
    """Runs cases on a client. ``make_caller`` makes one for each worker."""

    make_caller: Callable[[], Caller]
    identities: Identities
    jobs: int = 8
    timeout: float = TIMEOUT

    def prove(self, cases: Sequence[Case]) -> Proof:
        """Have the client take good responses, of each kind that the cases need."""
        proof = Proof()
        caller = self.make_caller()
        try:
            asked = {step.do for case in cases for step in case.steps}
            for do in sorted(asked if caller.keeps_connections else asked & {"get"}):
                assumed = Proof(frozenset({do}))
                result, outcomes = self._play(proof_case(do), caller, assumed)
                if result.verdict is Verdict.PASS:
                    proof.taken |= {do}
                    proof.peak = max((proof.peak or 0, *(o.peak or 0 for o in outcomes)))
                else:
                    proof.reasons[do] = result.problems[0] if result.problems else result.word
        finally:
            caller.close()
        return proof

    def run(self, cases: Sequence[Case], proof: Proof) -> Generator[Result, None, None]:
        """Yield a result for each case, in the order of the cases, as they are done."""
        callers: queue.SimpleQueue[Caller] = queue.SimpleQueue()
        jobs = max(1, min(self.jobs, len(cases)))
        made = [self.make_caller() for _ in range(jobs)]
        for caller in made:
            callers.put(caller)

        def one(case: Case) -> Result:
            caller = callers.get()
            try:
                return self.one(case, caller, proof)
            finally:
                callers.put(caller)

        pool = ThreadPoolExecutor(jobs, "clientspec")
        # Cases that may take all of their time begin first, or all wait for them in the end.
        first = sorted(range(len(cases)), key=lambda number: not cases[number].hangs)
        played = {number: pool.submit(one, cases[number]) for number in first}
        try:
            for number in range(len(cases)):
                yield played[number].result()
        except BaseException:
            for caller in made:  # Nobody waits for clients once the user has had enough.
                caller.abort()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            for caller in made:
                caller.close()

    def one(self, case: Case, caller: Caller, proof: Proof) -> Result:
        """Run one case."""
        if case.needs_driver and not caller.keeps_connections:
            word = "it takes a driver, see --driver"
            return Result(case=case, verdict=Verdict.NOT_REACHED, word=word)
        if missing := proof.missing(case):
            return Result(case=case, verdict=Verdict.NOT_REACHED, word=missing)
        return self._play(case, caller, proof)[0]

    def _play(self, case: Case, caller: Caller, proof: Proof) -> tuple[Result, list[Outcome]]:
        outcomes: list[Outcome] = []
        seconds = self.timeout * case.patience
        with Playing(case, self.identities) as playing:
            orders = [
                Order(step.do, playing.session.url + path, step.size) for step, path in case.paths()
            ]
            if all(step.do == "get" and step.times == 1 for step in case.steps):
                urls = [order.url for order in orders]
                orders = [replace(o, next=" ".join(urls[n:])) for n, o in enumerate(orders, 1)]
            for step in case.steps:
                now, orders = orders[: step.times], orders[step.times :]
                outcomes += caller.ask(now, seconds)
            # Before the client is told to close its connections: that it does so says nothing.
            result = playing.judged(outcomes, proof)
            caller.rest()
        return result, outcomes


class Playing:
    """A case that is being played on a session of its own."""

    def __init__(
        self,
        case: Case,
        identities: Identities,
        *,
        host: str = "localhost",
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.case = case
        self.session = Session(case.script, identities, tls=case.tls, host=host, ended=ended)
        self._began = clock.monotonic()

    def __enter__(self) -> Self:
        self.session.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.session.end()

    def judged(self, outcomes: list[Outcome], proof: Proof) -> Result:
        """Return the verdict, once the wire has settled."""
        _settle(self.case, self.session)
        result = judge(self.case, outcomes, self.session, proof)
        if self.session.failures and not other_path(self.case, self.session):
            word = f"the suite itself failed: {self.session.failures[0]!r}"
            result = Result(case=self.case, verdict=Verdict.NOT_REACHED, word=word)
        taken = clock.monotonic() - self._began
        return replace(result, seconds=taken, frames=frames_of(self.session))


def _settle(case: Case, session: Session) -> None:
    """Wait until nothing more can come on the wire, or the time for it is over."""
    waits = any(rule.waits for rule in case.wire)
    began = clock.monotonic()
    while (passed := clock.monotonic() - began) < UNREAD:
        if session.conversations and all(c.ended for c in session.conversations):
            return
        # What the client sent before its caller had an answer is judged, on a busy machine too.
        is_read = all(c.ended or c.idle_since > began for c in session.conversations)
        is_settled = passed > SETTLE or (
            passed > GLANCE and not (waits and any(any(r.check(session)) for r in case.wire))
        )
        if is_read and is_settled:
            return
        time.sleep(0.01)


def frames_of(session: Session) -> str:
    """Return what went over each connection, as text."""
    text = []
    for conversation in session.conversations:
        form = TextForm(colour=False, windows=True)
        frames = conversation.exchanged
        assert conversation.info is not None
        text.append(f"connection {conversation.number}\n")
        text.append(form.opened(conversation.info))
        first, last = frames[: SHOWN // 2], frames[SHOWN // 2 :][-SHOWN // 2 :]
        text += [form.frame(frame) for frame in first]
        if (left_out := len(frames) - len(first) - len(last)) > 0:
            text.append(f"... {left_out} frames\n")
        text += [form.frame(frame) for frame in last]
        text.append(f"the client: {conversation.ended or 'still connected'}\n")
    return "".join(text)
