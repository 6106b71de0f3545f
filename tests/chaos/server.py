"""The server, what is done to it, and what it must say to that."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import ssl
import time
from itertools import pairwise
from pathlib import Path
from random import Random

from chaos.judge import Kill
from support.certificates import Authority
from support.process import START_PATIENCE
from support.settled import eventually
from support.workers import WorkersProcess, children_of, is_alive

WORKERS = 3
SOURCE = "from chaos.application import app\n"
BROKEN = "raise LookupError('no such database')\n"
PATIENCE = 3 * START_PATIENCE
LOG_ROOM = 60_000
"""Octets for which there is room yet, so that the disk is full in the middle of a line."""
LOOKS = 50
ANEW = 8
"""Connections in a row that show the new certificate: as many as ask all workers."""


class Server(WorkersProcess):
    """``h2wsgi --workers 3`` with certificates, an access log and a ledger."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.random = random
        self.kills: list[Kill] = []
        self.authority = Authority()
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.authority.pem)
        self.certificate, self.key = map(Path, self._new_pair(folder, "site"))
        self.access = folder / "access.log"
        self.logs: list[Path] = []
        """All files that the access log has been before."""
        options = (f"--cert={self.certificate}", f"--key={self.key}")
        options += (f"--access-log-file={self.access}", "--graceful-timeout=60")
        super().__init__(folder, SOURCE, *options, workers=WORKERS, measured=False)

    def _new_pair(self, folder: Path, name: str) -> tuple[str, str]:
        return self.authority.write(folder / name, "localhost", "127.0.0.1")

    # --------------------------------------------------------------------------- what is known

    def serving(self) -> list[int]:
        """Return the workers, those that start or leave included, and no check of new code."""
        return [pid for pid in children_of(self.process.pid) if _is_worker(pid)]

    def count(self, text: str) -> int:
        """Return how many lines have this text."""
        return sum(text in line for line in self.events())

    def await_said(self, before: dict[str, int]) -> str:
        """Wait until one of these texts was said more often than before; return which."""

        def said() -> list[str]:
            return [text for text, count in before.items() if self.count(text) > count]

        eventually(said, f"one of {list(before)}; the last words: {self.events()[-5:]}", PATIENCE)
        return said()[0]

    # ------------------------------------------------------------------------------- to workers

    def kill_one(self, pid: int) -> None:
        """Kill a worker, knowing which connections it had: it stands still when they are counted.

        What it has not accepted waits in the backlog, and is another worker's.
        """
        _signal(pid, signal.SIGSTOP)
        _await_stopped(pid)
        ports = _client_ports(pid, self.port())
        moment = time.time()
        _signal(pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pid), f"worker {pid} to be gone", PATIENCE)
        # A busy machine gives it the time to end late, and its connections end with it.
        self.kills.append(Kill(pid, moment, ports, time.time()))

    def kill(self) -> str:
        """SIGKILL of a worker, any of those that are there."""
        pid = self.random.choice(self.serving())
        self.kill_one(pid)
        self._await_workers()
        return f"worker {pid}, with {len(self.kills[-1].ports)} connections"

    def kill_all(self) -> str:
        """SIGKILL of all at once: who comes meanwhile waits."""
        pids = self.serving()
        for pid in pids:
            self.kill_one(pid)
        self._await_workers()
        return f"{len(pids)} workers"

    def kill_in_reload(self) -> str:
        """SIGKILL in the middle of a reload, of an old or a new worker."""
        before = self._reload_words()
        self.process.send_signal(signal.SIGHUP)
        time.sleep(self.random.uniform(0, 1.5))
        pid = self.random.choice(self.serving())
        self.kill_one(pid)
        said = self.await_said(before)
        self._await_workers()
        return f"worker {pid}; {said}"

    def leave(self) -> str:
        """SIGTERM to one worker: another takes its place before it leaves."""
        before = self.serving()
        pid = self.random.choice(before)
        _signal(pid, signal.SIGTERM)
        eventually(lambda: not is_alive(pid), f"worker {pid} to leave", PATIENCE)
        self._await_workers()
        return f"worker {pid}"

    def stand_still(self) -> str:
        """SIGSTOP for a moment, as of a machine that swaps."""
        pid = self.random.choice(self.serving())
        _signal(pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.1, 1.0))
        _signal(pid, signal.SIGCONT)
        return f"worker {pid}"

    def _await_workers(self) -> None:
        """Wait until as many workers serve as there should be, and none starts or leaves."""
        # Those that were killed young are replaced after a pause, of 30 s at most.
        eventually(
            lambda: len(self.serving()) == WORKERS,
            f"{WORKERS} workers; the last words: {self.events()[-5:]}",
            PATIENCE,
        )

    # --------------------------------------------------------------------------- to all of them

    def _reload_words(self) -> dict[str, int]:
        words = ("reloaded: ", "the reload failed", "all stays as it is")
        return {text: self.count(text) for text in words}

    def reload(self) -> str:
        """SIGHUP, and perhaps another before it is through."""
        before = self._reload_words()
        self.process.send_signal(signal.SIGHUP)
        if twice := self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, 1))
            self.process.send_signal(signal.SIGHUP)
        said = self.await_said(before)
        assert said == "reloaded: ", self.events()[-5:]
        self._await_workers()
        return "twice" if twice else ""

    def reload_broken(self) -> str:
        """SIGHUP with code that cannot be loaded: all stays as it is."""
        before = self._reload_words()
        web = self.folder / "web.py"
        web.write_text(BROKEN)
        try:
            self.process.send_signal(signal.SIGHUP)
            said = self.await_said(before)
        finally:
            web.write_text(SOURCE)
        assert said == "the reload failed", self.events()[-5:]
        self._await_workers()
        return ""

    def change_their_number(self) -> str:
        """SIGTTIN and SIGTTOU."""
        self.process.send_signal(signal.SIGTTIN)
        eventually(lambda: len(self.serving()) > WORKERS, "one worker more", PATIENCE)
        time.sleep(self.random.uniform(0, 1))
        self.process.send_signal(signal.SIGTTOU)
        self._await_workers()
        return ""

    def upgrade(self) -> str:
        """SIGUSR2: the supervisor is executed anew."""
        before = self._reload_words()
        self.process.send_signal(signal.SIGUSR2)
        said = self.await_said(before | {"nothing changes": self.count("nothing changes")})
        assert said == "reloaded: ", self.events()[-5:]
        self._await_workers()
        return ""

    # ----------------------------------------------------------------------------- certificates

    def certificate_shown(self) -> bytes:
        """Return the certificate that a new connection is shown."""
        tls = ssl.create_default_context(cafile=str(self.ca))
        tls.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", self.port()), PATIENCE) as sock,
            tls.wrap_socket(sock, server_hostname="localhost") as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""

    def change_certificate(self) -> str:
        """A good new pair, written in place, one file after the other, or renamed into it."""
        in_place = self.random.random() < 0.5
        if in_place:
            self._new_pair(self.folder, "site")
        else:
            new = self._new_pair(self.folder, "next")
            os.rename(new[0], self.certificate)
            os.rename(new[1], self.key)
        wanted = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        in_a_row = 0

        def all_show_it() -> bool:
            nonlocal in_a_row
            shown = self.certificate_shown() == wanted
            in_a_row = in_a_row + 1 if shown else 0
            time.sleep(0.02)
            return in_a_row >= ANEW

        began = time.monotonic()
        eventually(all_show_it, "all workers to show the new certificate", PATIENCE)
        how = "in place" if in_place else "renamed"
        return f"{how}, shown by all after {time.monotonic() - began:.1f} s"

    def break_certificate(self) -> str:
        """A new pair that is none: the old one goes on, whatever happens meanwhile."""
        kept = self.certificate.read_bytes(), self.key.read_bytes()
        shown = self.certificate_shown()
        before = self.count("THE NEW CERTIFICATES ARE NOT USED")
        how = self.random.choice(("another key", "cut short", "gone"))
        if how == "another key":
            other = self._new_pair(self.folder, "other")
            os.rename(other[1], self.key)
        elif how == "cut short":
            self.certificate.write_bytes(kept[0][: len(kept[0]) // 2])
        else:
            self.certificate.unlink()
        try:
            eventually(
                lambda: self.count("THE NEW CERTIFICATES ARE NOT USED") > before,
                "a word on the new certificates",
                PATIENCE,
            )
            meanwhile = self.random.choice(("", "reload", "kill"))
            if meanwhile == "reload":
                words = self._reload_words()
                self.process.send_signal(signal.SIGHUP)
                said = self.await_said(words)
                assert said != "reloaded: ", self.events()[-5:]
            elif meanwhile == "kill":
                self.kill_one(self.random.choice(self.serving()))
                time.sleep(self.random.uniform(0, 1))
            how += f", and a {meanwhile}" * bool(meanwhile)
            assert self.certificate_shown() == shown
        finally:
            self.certificate.write_bytes(kept[0])
            self.key.write_bytes(kept[1])
        self._await_workers()
        return how

    # -------------------------------------------------------------------------------------- logs

    def rotate(self) -> str:
        """The access log is renamed, and SIGUSR1 has it opened anew."""
        self.logs.append(self.folder / f"access.log.{len(self.logs) + 1}")
        self.access.rename(self.logs[-1])
        self.process.send_signal(signal.SIGUSR1)
        self._await_lines()
        return ""

    def fill_disk(self) -> str:
        """No room for the logs: nobody is to notice but those who read them."""
        if self.random.random() < 0.5:
            self.logs.append(self.folder / f"access.log.{len(self.logs) + 1}")
            self.access.rename(self.logs[-1])
            self.access.symlink_to("/dev/full")
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(self.random.uniform(0.5, 1.5))
            self.access.unlink()
            self.process.send_signal(signal.SIGUSR1)
            how = "/dev/full"
        else:
            size = self.access.stat().st_size if self.access.exists() else 0
            room = self.random.randrange(LOG_ROOM // 2, LOG_ROOM)
            limited = self.serving()
            for pid in limited:
                _limit_files(pid, size + room)
            eventually(
                lambda: self.access.stat().st_size >= size + room, "the disk to be full", PATIENCE
            )
            time.sleep(self.random.uniform(0.1, 1.0))
            self._make_room(limited)
            how = "in the middle of a line"
        self._await_lines()
        return how

    def _make_room(self, limited: list[int]) -> None:
        """Let all write again, at a moment when nobody is about to take a part of a line back.

        One who had room then would write behind it, which nobody can help.
        """
        for _ in range(LOOKS):
            for pid in limited:
                _signal(pid, signal.SIGSTOP)
            for pid in limited:
                _await_stopped(pid)
            if self.access.read_bytes()[-1:] in (b"", b"\n"):
                break
            for pid in limited:
                _signal(pid, signal.SIGCONT)
            time.sleep(0.01)
        for pid in limited:
            _limit_files(pid, resource.RLIM_INFINITY)
            _signal(pid, signal.SIGCONT)

    def _await_lines(self) -> None:
        """Wait until requests are logged again."""
        size = self.access.stat().st_size if self.access.exists() else 0
        eventually(
            lambda: self.access.exists() and self.access.stat().st_size > size,
            "lines in the access log",
            PATIENCE,
        )

    def torn_lines(self) -> list[str]:
        """Return the lines of the access log that are none, each with the one before."""
        found = []
        for path in [*self.logs, self.access]:
            lines = path.read_text().splitlines() if path.exists() else []
            for before, line in pairwise(["", *lines]):
                try:
                    json.loads(line)
                except ValueError:
                    found.append(f"a line of the access log is torn: {line!r} behind {before!r}")
        return found

    # --------------------------------------------------------------------------------------- end

    def stop(self) -> str:
        """SIGTERM to all, under load."""
        self.process.send_signal(signal.SIGTERM)
        code = self.exit_code(PATIENCE)
        assert code == 0, f"exit code {code}"
        return ""

    def lose_supervisor(self) -> str:
        """SIGKILL of the supervisor: its workers finish what they have, and end."""
        workers = self.serving()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(START_PATIENCE)
        eventually(lambda: not any(map(is_alive, workers)), "the workers to end", PATIENCE)
        return f"{len(workers)} workers ended"

    def complaints(self) -> list[str]:
        """Return what the server said that it must not have had to say."""
        wrong = re.compile(r"did not end in time|the supervisor failed|Traceback|internal error")
        return [
            f"the server said: {line}"
            for line in map(str, self.lines())
            if wrong.search(line) and "no such database" not in line
        ]


EVENTS = (
    "kill", "kill", "kill_all", "kill_in_reload", "leave", "stand_still", "reload", "reload",
    "reload_broken", "change_their_number", "upgrade", "change_certificate", "break_certificate",
    "rotate", "fill_disk", "fill_disk",
)  # fmt: skip
"""What happens, each as often in a round."""
ENDS = ("stop", "lose_supervisor")


def _state_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def _await_stopped(pid: int) -> None:
    eventually(lambda: _state_of(pid) in "TZ", f"worker {pid} to stand still", PATIENCE)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_worker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"h2wsgi.server.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _limit_files(pid: int, octets: int) -> None:
    """Bound the size of files that a process may write."""
    with contextlib.suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (octets, hard))


def _client_ports(pid: int, port: int) -> frozenset[int]:
    """Return the ports of those who have a connection with this process at that port."""
    inodes = set()
    with contextlib.suppress(OSError):  # it has ended by itself
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                inodes.add(found[1])
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, ours, theirs, *rest = line.split()
        if rest[6] in inodes and int(ours.rpartition(":")[2], 16) == port:
            ports.add(int(theirs.rpartition(":")[2], 16))
    return frozenset(ports)
