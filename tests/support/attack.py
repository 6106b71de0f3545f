"""A server under attack: the command in a process of its own, measured from outside and inside.

An attack is a generator that sends its frames and yields in between; at each yield a fresh client
has to be answered. With its limit the attack must be met by what it expects; without the limit it
must not, and its connections must still be served. Counted in frames and bounded in seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from h2wsgi.config.config import Config
from support.peer import Code as Code
from support.peer import ConnectionEnded, Peer, Type, name_of
from support.process import ServerProcess
from support.settled import eventually

ANSWER = 15.0
"""Seconds that a fresh client waits at most: what tells a hang from an answer."""
MET = 20.0
"""Seconds within which an attack has to be met."""
GROWTH = 8 * 1_048_576
"""Octets of resident memory that an attack may leave behind.

What a server gives back its allocator keeps in part, and threads that were started stay a while:
after the worst of these attacks 1 to 5 MiB remain, once, however often it is repeated. An attack
that is not met takes tens of them.
"""
PAGE = os.sysconf("SC_PAGE_SIZE")
COMMON: dict[str, object] = {
    "threads": 24,
    "max_threads": 40,
    "graceful_timeout": 1,
}


@dataclass(frozen=True)
class Sees:
    """What an attacker, or whoever looks into the server, has to see: how an attack was met."""

    what: str
    on_wire: Callable[[Peer], object] = lambda peer: False
    inside: Callable[[dict[str, Any]], object] | None = None

    def __str__(self) -> str:
        return self.what


def goaway(code: Code) -> Sees:
    return Sees(
        f"GOAWAY({code.name})",
        lambda peer: any(f.type == Type.GOAWAY and f.error_code == code for f in peer.log),
    )


def reset(code: Code) -> Sees:
    return Sees(
        f"RST_STREAM({code.name})",
        lambda peer: any(f.type == Type.RST_STREAM and f.error_code == code for f in peer.log),
    )


def status(number: int) -> Sees:
    return Sees(
        f"a {number} response",
        lambda peer: any(response.status == number for response in peer.responses.values()),
    )


HUNG_UP = Sees("end of file", lambda peer: peer.ended is not None)


def inside(what: str, holds: Callable[[dict[str, Any]], object]) -> Sees:
    return Sees(what, inside=holds)


def still_answers(peer: Peer) -> None:
    """What shows that nothing has met an attack: its connection is served as any other."""
    peer.roundtrip()


def met(sees: Sees, peer: Peer) -> bool:
    return bool(sees.on_wire(peer))


class Settings(NamedTuple):
    """Options and constants that are not as usual; equal ones may share a server."""

    options: tuple[tuple[str, object], ...]
    constants: tuple[tuple[str, object], ...]

    @classmethod
    def of(cls, options: Mapping[str, object], constants: Mapping[str, object]) -> Settings:
        usual = {f.name: f.default for f in dataclasses.fields(Config)}
        changed = {name: value for name, value in options.items() if value != usual[name]}
        set_ = {name: value for name, value in constants.items() if value is not None}
        return cls(tuple(sorted(changed.items())), tuple(set_.items()))


Run = Callable[["Field"], Iterator[None]]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row of docs/security.md.

    ``limit`` is an option, or ``module:NAME`` of a constant within h2wsgi.http2, or with the
    package before the module in another one, or in the library hpack, which has some for the h2
    engine. ``value`` is what
    it is in the test, scaled so that a second is enough, or None for a constant as it is; with
    ``off`` it lets everything through.
    """

    name: str
    run: Run
    sees: Sees
    limit: str
    value: object
    off: object = 0
    options: Mapping[str, object] = field(default_factory=dict)
    said: str | None = ""
    """What the log has to say of it, where that is not the name of the option; None: nothing."""
    counted: bool = True
    """Whether it counts in Server.limits_hit: a limit that is an option does."""
    watch: float = 0.0
    """Seconds to go on watching without the limit: several times what it would be."""
    lives: Callable[[Peer], None] = still_answers
    ends_anyway: bool = False
    """Whether the connection has failed for another reason by the time the limit counts."""
    engines: tuple[str, ...] = ("fast", "h2")
    """Those of which the limit is: the other one has nothing to limit there."""

    @property
    def is_option(self) -> bool:
        return ":" not in self.limit

    def settings(self, *, limited: bool) -> Settings:
        """Return what a server is started with."""
        value = self.value if limited else self.off
        if not self.is_option:
            return Settings.of(self.options, {self.limit: value})
        return Settings.of({**self.options, self.limit: value}, {})


class AttackedServer(ServerProcess):
    """The command with support/attacked.py; on TLS and, where most attacks go, in cleartext."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        arguments = ["--no-access-log", "--bind", "127.0.0.1:0", "--bind-h2c", "127.0.0.1:0"]
        arguments += ["--engine", os.environ.get("TEST_ENGINE", "auto")]
        arguments += ["--loop", os.environ.get("TEST_LOOP", "auto")]
        for name, value in (COMMON | dict(settings.options)).items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        super().__init__(folder, application_with(settings.constants), *arguments)

    def start(self) -> None:
        """Wait for the start, and until the first requests have left behind what they do."""
        endpoints = self.ready()["endpoints"]
        ports = [int(e["url"].rstrip("/").rpartition(":")[2]) for e in endpoints]
        self.tls_address, self.address = [("127.0.0.1", port) for port in ports]
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(Peer.connect(self.address, tls=False)) for _ in range(4)]
            held = [(peer, peer.request(path="/hold")) for peer in peers * 4]
            self.wait_started("/hold", len(held))
            self.ask("/release")
            for peer, stream_id in held:
                assert peer.response(stream_id).status == 200
        self.before = self.settled()

    def ask(self, path: str = "/inside") -> dict[str, Any]:
        """Ask on a connection of its own: it must be answered soon, whatever goes on."""
        with Peer.connect(self.address, tls=False) as peer:
            response = peer.get(path, timeout=ANSWER)
            assert response.status == 200
            return json.loads(response.body) if path == "/inside" else {}

    @property
    def threads_of_a_connection(self) -> int:
        """How many applications one connection may have running at most."""
        return int(str(COMMON["threads"])) - 8

    def wait_started(self, path: str, count: int) -> None:
        eventually(lambda: self.ask()["started"].get(path, 0) >= count, f"{count} calls for {path}")

    def resident(self) -> int:
        """Return the octets of memory that are resident."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def settled(self) -> dict[str, int]:
        """Wait until nothing lives but what answers the question; return what else there is."""
        found: dict[str, Any] = {}
        # The connection that asked before may be about to close.
        alone = {"streams": 1, "protocols": 1, "handovers": 1, "busy": 1, "connections": 1}

        def is_alone() -> bool:
            # Again, as those that waited for a thread begin until their client is found gone.
            self.ask("/release")
            found.update(self.ask())
            return all(found[name] == value for name, value in alone.items())

        try:
            eventually(is_alone, "every attacker to be forgotten", MET)
        except AssertionError as error:
            raise AssertionError(f"{error}: {found}") from None
        return {name: found[name] for name in ("tasks", "other threads", "descriptors")}

    def recovers(self, resident_before: int) -> None:
        """Hold everything that an attack may leave behind against how it was before."""
        eventually(
            lambda: self.settled() == self.before,
            f"descriptors, tasks and threads to be {self.before}",
            MET,
        )
        threads = len(os.listdir(f"/proc/{self.process.pid}/task"))
        most = self.before["other threads"] + int(str(COMMON["max_threads"]))
        assert threads <= most
        grown = self.resident() - resident_before
        assert grown < GROWTH, f"{grown / 1_048_576:.1f} MiB more than before"
        assert self.process.poll() is None


def application_with(constants: Iterable[tuple[str, object]]) -> str:
    """Return a module with the application, which sets constants of the server as it is loaded."""
    lines = [
        "from importlib import import_module",
        "from support.attacked import app, count_frames",
    ]
    for place, value in constants:
        for where in place.split(" "):
            module, _, name = where.rpartition(":")
            package = module.partition(".")[0]
            if package != "hpack":
                module = (
                    f"h2wsgi.{module}"
                    if package in ("server", "wsgi")
                    else f"h2wsgi.http2.{module}"
                )
            lines.append(f'import_module("{module}").{name} = {value!r}')
    return "\n".join([*lines, "count_frames()", ""])


class Field:
    """Where one attack happens: its connections, and how much time it has."""

    def __init__(self, server: AttackedServer, attack: Attack, *, limited: bool) -> None:
        self.server = server
        self.attack = attack
        self.limited = limited
        self.peers: list[Peer] = []
        self._until = 0.0

    def __enter__(self) -> Field:
        self.before = self.server.ask()
        self._lines_before = len(self.server.lines())
        self._until = time.monotonic() + (MET if self.limited else self.attack.watch)
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.peers:
            peer.close()

    def connect(self, *, ready: bool = True, **options: Any) -> Peer:
        """Open a connection of the attacker; ``ready`` when both sides' SETTINGS are through."""
        peer = self.own(Peer.connect(self.server.address, tls=False, **options))
        if ready:
            peer.wait_settings()
            peer.wait_settings_ack()
        return peer

    def own(self, peer: Peer) -> Peer:
        """Take a connection that was opened otherwise."""
        self.peers.append(peer)
        return peer

    def lasts(self, peer: Peer, every: float = 0.03) -> Iterator[None]:
        """Go on, reading, until the attack is met, or has lasted long enough without its limit.

        Once at least, as on a busy machine it may have been met by then.
        """
        yield
        while time.monotonic() < self._until:
            self.read(peer, every)
            if peer.ended is not None or self.attack.sees.on_wire(peer):
                return
            yield

    def until_hit(self, option: str) -> Iterator[None]:
        """The same, reading nothing, until the limit of an option is hit."""
        yield
        while time.monotonic() < self._until and not self.hits(option):
            yield

    def read(self, peer: Peer, seconds: float = 0.0) -> None:
        peer.read_available(seconds)

    def send(self, peer: Peer, octets: bytes) -> None:
        """Send frames, unless the server has had enough: then what it said is read later."""
        try:
            peer.send_raw(octets)
        except ConnectionEnded:
            assert self.limited, "the server hung up without a limit"

    def flood(
        self, peer: Peer, frames: list[bytes], parts: int = 4, *, read: bool = True
    ) -> Iterator[None]:
        """Send frames in several parts, so that others come between."""
        size = -(-len(frames) // parts)
        for start in range(0, len(frames), size):
            self.send(peer, b"".join(frames[start : start + size]))
            yield
            if read:
                self.read(peer)

    def fights(self) -> None:
        """Run the attack to its end, with fresh clients all along."""
        answered = 0
        for _ in self.attack.run(self):
            self.server.ask("/")
            answered += 1
        assert answered, "no fresh client came in between"

    def is_met(self) -> bool:
        sees = self.attack.sees
        if sees.inside is not None:
            return bool(sees.inside(self.server.ask()))
        return all(sees.on_wire(peer) for peer in self.peers)

    def met(self) -> None:
        """Wait until every connection of the attacker has seen how the attack is met."""
        sees = self.attack.sees
        if sees.inside is not None:
            eventually(self.is_met, str(sees), MET)
            return
        for peer in self.peers:
            try:
                peer.wait_until(partial(met, sees, peer), str(sees), MET)
            except ConnectionEnded:
                if not met(sees, peer):
                    raise

    def counted_and_said(self) -> None:
        """The option counts in limits_hit, and the log names it once for each connection."""
        attack = self.attack
        if attack.counted and attack.is_option:
            assert self.hits(attack.limit), self.server.ask()["limits_hit"]
        said = attack.said
        if said == "" and attack.is_option:
            said = f"(--{attack.limit.replace('_', '-')})"
        if said:
            count = len(self.peers)
            eventually(lambda: len(self._said(said)) >= count, f"the log to say {said!r}")
            assert len(self._said(said)) == len(self.peers), self._said(said)
            assert all("127.0.0.1" in line for line in self._said(said))

    def hits(self, option: str) -> int:
        """Return how often the limit of an option was hit since the attack began."""
        now: int = self.server.ask()["limits_hit"].get(option, 0)
        return now - int(self.before["limits_hit"].get(option, 0))

    def _said(self, text: str) -> list[str]:
        events = [line.get("message", "") for line in self.server.lines()[self._lines_before :]]
        return [event for event in events if text in event]

    def watches(self) -> None:
        """Without the limit: leave the attack the time that it would not have had."""
        for _ in self.lasts_for_all():
            self.server.ask("/")

    def lasts_for_all(self) -> Iterator[None]:
        while time.monotonic() < self._until:
            for peer in self.peers:
                self.read(peer, 0.05)
            yield

    def succeeds(self) -> None:
        """Without the limit: nothing has met the attack, and its connections go on."""
        for peer in self.peers:
            self.attack.lives(peer)
        assert not self.is_met(), f"{self.attack.sees} came although the limit is off"
        if self.attack.ends_anyway:
            return
        ends = [name_of(Code, f.error_code or 0) for p in self.peers for f in p.log if f.type == 7]
        assert not ends, f"GOAWAY with {ends} although the limit is off"
