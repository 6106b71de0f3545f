"""One run: a scenario in which something is done at the n-th line, and the looks behind it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from raising import checks, inside
from raising.notes import Interrupted, Notes
from raising.scenarios import Scenario
from raising.site import Site
from raising.talk import PATIENCE, Talk, play
from raising.tracer import Aim, Hit, Tracer, raising
from support.peer import ConnectionEnded, Peer, PeerError, TimedOut, Type

EXCEPTIONS: dict[str, type[BaseException]] = {
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
    "Interrupted": Interrupted,
}
ON_THE_LOOP = ("RecursionError", "MemoryError")
"""No timeout raises its exception there."""
ACTIONS = ("reset", "write", "read-other", "ping", "wait")
"""What a finalizer does."""
GC = "gc-"
"""Before the name of an action: a real garbage collection runs it."""
AT_ONCE = 2.0
"""Seconds for a call on the loop's thread that does not wait, on a machine that may stall."""
CONTENT_OF_HELPERS = (b"x" * 8000, b"")


@dataclass
class Outcome:
    """What came of a run."""

    lines: int = 0
    hit: Hit | None = None
    problems: list[str] = field(default_factory=list)
    end: str = ""
    """How the connection ended, where it did and need not have."""


class Finalizer:
    """What an application's ``__del__`` does, called at the n-th line."""

    def __init__(self, action: str, site: Site, role: str) -> None:
        self._collects = action.startswith(GC)
        self._name = action.removeprefix(GC)
        self._site = site
        self._role = role
        self.problems: list[str] = []

    def __call__(self) -> None:
        if self._collects:
            garbage = _Cycle(self._act)
            del garbage
            gc.collect()
        else:
            self._act()

    def _act(self) -> None:
        began = time.monotonic()
        raised = False
        try:
            self._call(self._site.notes)
        except BaseException:
            raised = True  # the interpreter ignores what a finalizer lets out
        took = time.monotonic() - began
        if self._role != inside.LOOP:
            return
        if took > AT_ONCE:
            self.problems.append(f"{self._name} waited {took:.2f} s on the loop's thread")
        elif not raised and (self._name == "read-other" or self._had_to_wait()):
            self.problems.append(f"{self._name} on the loop's thread did not raise")

    def _had_to_wait(self) -> bool:
        """Return whether it was to wait on a stream that is not over: else it need not."""
        stream = self._site.notes.stream or self._site.helpers[0].stream
        over = stream.application_done or stream.disconnected.is_set()
        return self._name == "wait" and not over

    def _call(self, notes: Notes) -> None:
        full, empty = self._site.helpers
        stream = notes.stream or full.stream
        if self._name == "reset":
            stream.reset()
        elif self._name == "write":
            if notes.write is not None:
                notes.write(b"x")
        elif self._name == "read-other":
            (empty if self._role == inside.LOOP else full).input.read(1)
        elif self._name == "ping":
            stream.ping()
        else:
            stream.disconnected.wait(0.01)


class _Cycle:
    """An object that only the garbage collector ends."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._itself = self
        self._act = act

    def __del__(self) -> None:
        self._act()


class Play:
    """Runs on one server."""

    def __init__(self, site: Site, tracer: Tracer) -> None:
        self._site = site
        self._tracer = tracer

    def raise_in_application(self, scenario: Scenario, exception: str, at: int) -> Outcome:
        """Raise at a line of an application's thread."""
        self._site.warm()
        talk = self._site.talk(scenario)
        aim = Aim(inside.APPLICATION, at, raising(EXCEPTIONS[exception]))
        outcome = self._run(talk, scenario, aim)
        outcome.problems += self._look(talk, scenario)
        outcome.problems += self._counts_while_it_lives(talk)
        outcome.end = _end(talk)
        outcome.problems += self._look_again(talk)
        return outcome

    def without_tracer(self, scenario: Scenario) -> Outcome:
        """Play a scenario to which something is done by itself, or by what is armed."""
        talk = self._site.talk(scenario)
        outcome = self._run(talk, scenario, Aim("", 0, lambda: None))
        outcome.problems += self._look(talk, scenario)
        outcome.problems += self._counts_while_it_lives(talk)
        outcome.problems += self._look_again(talk)
        return outcome

    def finalize(self, scenario: Scenario, action: str, role: str, at: int) -> Outcome:
        """Have a finalizer run at a line."""
        self._site.warm()
        if role == inside.LOOP:
            self._tracer.follow_loop(self._site.server)
        talk = self._site.talk(scenario)
        helpers = self._site.open_helpers(talk.peer, CONTENT_OF_HELPERS)
        finalizer = Finalizer(action, self._site, role)
        outcome = self._run(talk, scenario, Aim(role, at, finalizer), busy=len(helpers))
        outcome.problems += finalizer.problems
        spoilt = action.removeprefix(GC) in ("reset", "write")
        outcome.problems += self._look(talk, None if spoilt else scenario)
        if not talk.left:
            outcome.problems += self._site.end_helpers(talk.peer, helpers)
        self._site.release.set()
        outcome.problems += self._look_again(talk)
        return outcome

    def raise_on_loop(self, scenario: Scenario, exception: str, at: int) -> Outcome:
        """Raise at a line of the loop's thread, while another connection is busy."""
        site = self._site
        site.warm()
        neighbour = site.connect()
        stream = site.begin_helper(neighbour)
        site.release.clear()
        site.eventually(lambda: inside.busy(site.server) == 1)
        talk = site.talk(scenario)
        self._tracer.follow_loop(site.server)
        aim = Aim(inside.LOOP, at, raising(EXCEPTIONS[exception]))
        neighbour.data(stream, b"half of it, ")
        outcome = self._run(talk, scenario, aim, busy=1)
        outcome.problems += checks.streams_have_ended(talk) if talk.peer.ended is None else []
        outcome.problems += checks.responses_are_true(talk)
        outcome.end = _end(talk)
        outcome.problems += self._neighbour_lives(neighbour, stream, talk)
        if talk.peer.ended is None and _is_ending(site.keeper):
            # The line was one of the idle connection's own, such as its clocks': that one may end.
            site.keeper.close()
            site.keeper = site.connect()
        outcome.problems += self._look_again(talk)
        return outcome

    def _neighbour_lives(self, neighbour: Peer, stream: int, talk: Talk) -> list[str]:
        """The other connection is harmed only where the exception hit its own part."""
        self._site.release.set()
        with neighbour:
            try:
                neighbour.data(stream, b"the other half", end_stream=True)
                response = neighbour.response(stream, PATIENCE)
            except ConnectionEnded:
                if talk.peer.ended is not None and not talk.left and not talk.ends_connection:
                    return ["two connections ended"]
                return []
            except TimedOut:
                return ["the neighbour's stream did not end"]
            if response.ended and response.body == b"pong":
                wrong = self._site.answers(neighbour, "the neighbour's")
                # Its own end is no harm if the exception hit its own part, and so not the other's.
                return wrong if talk.peer.ended is not None and not talk.left else []
        return []

    # ------------------------------------------------------------------ steps of a run

    def _run(self, talk: Talk, scenario: Scenario, aim: Aim, busy: int = 0) -> Outcome:
        problems = []
        self._tracer.arm(aim)
        try:
            play(talk, scenario.script, scenario.leave, scenario.point)
            problems += checks.streams_have_ended(talk)
        except TimedOut as error:
            problems.append(f"the script waits for ever: {str(error).splitlines()[0]}")
        # What the threads do behind the end belongs to the run.
        self._site.eventually(lambda: inside.busy(self._site.server) <= busy)
        self._tracer.disarm()
        return Outcome(aim.lines, aim.hit, problems)

    def _look(self, talk: Talk, scenario: Scenario | None) -> list[str]:
        """Look at the connection of the run; without a scenario not at what was transferred."""
        problems = []
        if scenario is not None:
            if not talk.left:
                problems += checks.responses_are_true(talk)
            problems += checks.application_saw_truth(talk.notes, not talk.left)
        if talk.left != "gone" and talk.peer.ended is None and not _has_goaway(talk.peer):
            problems += self._answers_while_it_lives(talk)
        return problems

    def _answers_while_it_lives(self, talk: Talk) -> list[str]:
        wrong = self._site.answers(talk.peer, "the same")
        return wrong if talk.peer.ended is None and not _has_goaway(talk.peer) else []

    def _counts_while_it_lives(self, talk: Talk) -> list[str]:
        """What the connection of the run counts goes with it, so look before."""
        if talk.left == "gone" or talk.peer.ended is not None or _has_goaway(talk.peer):
            return []
        wrong = self._site.counts_are_back(connections=2)
        return wrong if wrong and not _is_ending(talk.peer) else []

    def _look_again(self, talk: Talk) -> list[str]:
        """Look at the rest of the server, once the run's connection is gone."""
        talk.peer.close()
        site = self._site
        return [
            *site.answers(site.keeper, "the idle"),
            *site.answers_fresh(),
            *site.counts_are_back(),
        ]


def _has_goaway(peer: Peer) -> bool:
    return any(frame.type == Type.GOAWAY for frame in peer.log)


def _is_ending(peer: Peer) -> bool:
    """Return whether a connection has ended, or is about to, as far as the client can see."""
    try:
        peer.read_available()
    except PeerError:
        return True
    return peer.ended is not None or _has_goaway(peer)


def _end(talk: Talk) -> str:
    """Return how a connection ended that nobody asked to."""
    if talk.left == "gone" or talk.ends_connection:
        return ""
    try:
        talk.peer.read_available()
    except PeerError as error:
        return str(error)
    if _has_goaway(talk.peer):
        return "GOAWAY"
    return talk.peer.ended or ""
