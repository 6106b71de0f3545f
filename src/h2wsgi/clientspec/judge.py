"""The two judges: of the wire, and of what the caller was told. Pure.

A verdict needs proof that the client works: a good response that it took in the same run over the
same kind of connection; otherwise the case was not reached. So a client that does nothing, or
always reports an error, passes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .case import Case, Do, Level, Step, Want, content_of
from .drivers import Outcome
from .rules import request_fields
from .server import Session

MEMORY = 128 * 2**20
"""Octets that a client may take for one response, beyond what a good one took."""


class Verdict(StrEnum):
    """What became of a case."""

    PASS = "pass"
    FAIL = "fail"
    NOT_REACHED = "not reached"
    WORD = "word"
    """The case is optional: a word says what the client does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A case, judged."""

    case: Case
    verdict: Verdict
    word: str = ""
    """The word for an optional case; or why the case was not reached."""
    applies: bool = True
    """Whether the case is about something that the client does; if not, it was not reached."""
    problems: tuple[str, ...] = ()
    """What is wrong, if the case failed."""
    remarks: tuple[str, ...] = ()
    """What should be different on the wire, even if the case passed."""
    came: str = ""
    """What the caller was told."""
    frames: str = ""
    """The frames of each connection, as text."""
    seconds: float = 0.0

    @property
    def fails_must(self) -> bool:
        """Whether a MUST was not met."""
        return self.verdict is Verdict.FAIL and self.case.level is Level.MUST

    @property
    def fails_should(self) -> bool:
        """Whether anything less than a MUST was not met."""
        return bool(self.remarks) or (self.verdict is Verdict.FAIL and not self.fails_must)

    def __str__(self) -> str:
        said = f": {self.word}" if self.word else ""
        lines = [f"{self.case.id} {self.case.title}: {self.verdict}{said}"]
        lines += [f"  {problem}" for problem in self.problems]
        return "\n".join([*lines, f"  {self.case.advice}"] if self.problems else lines)


def judge(case: Case, outcomes: list[Outcome], session: Session, proof: Proof) -> Result:
    """Return the verdict on a case that was played."""
    asked = list(zip(outcomes, case.paths(), strict=True))
    came = "; ".join(dict.fromkeys(_told(outcome, path) for outcome, (_, path) in asked))
    if reason := _not_reached(case, outcomes, session, proof):
        applies = reason not in {c.reason for c in session.conversations if not c.applies}
        return Result(
            case=case, verdict=Verdict.NOT_REACHED, word=reason, applies=applies, came=came
        )
    problems, remarks = _wire(case, session)
    for outcome, (step, path) in asked:
        if problem := _caller(case, step, outcome, path, proof):
            problems.append(problem)
    problems = list(dict.fromkeys(problems))
    word = ""
    verdict = Verdict.FAIL if problems else Verdict.PASS
    if not problems and case.is_optional:
        verdict = Verdict.WORD
        word = case.words[0 if any(outcome.error for outcome in outcomes) else 1]
        if any(outcome.has_hung for outcome in outcomes):
            word = case.hangs
    return Result(
        case=case,
        verdict=verdict,
        word=word,
        problems=tuple(problems),
        # How the connection ended says nothing if the client did not mean it.
        remarks=() if problems else tuple(remarks),
        came=came,
    )


@dataclass(slots=True)
class Proof:
    """What good responses the client has taken in this run, by what it was told to do."""

    taken: frozenset[str] = frozenset()
    peak: int | None = None
    """Octets of memory it took for that."""
    reasons: dict[Do, str] = field(default_factory=dict)
    """Why it took none, for what is not among ``taken``."""

    def missing(self, case: Case) -> str:
        """Return why nothing can be said of the client in a case, or nothing."""
        lacking = sorted({step.do for step in case.steps} - self.taken)
        if not lacking:
            return ""
        reason = self.reasons.get(lacking[0], "")
        return f"it took no good response to a {lacking[0].upper()}{reason and f': {reason}'}"


def _not_reached(case: Case, outcomes: list[Outcome], session: Session, proof: Proof) -> str:
    if cannot := next((outcome.cannot for outcome in outcomes if outcome.cannot), ""):
        return cannot
    if missing := proof.missing(case):
        return missing
    if other := other_path(case, session):
        return other
    if case.tls in ("good", "prohibited") and not any(c.is_reached for c in session.conversations):
        if case.tls == "prohibited" and session.handshakes:
            return ""
        reasons = [c.reason for c in session.conversations if c.reason]
        if not reasons:
            reasons = [f"TLS {text}" for text in session.handshakes if text.startswith("failed")]
            came = "it left before the case began" if session.handshakes else "it did not connect"
            errors = [f": {outcome.error}" for outcome in outcomes if outcome.error]
            reasons = ["".join([*(reasons[:1] or [came]), *errors[-1:]])]
        return reasons[0]
    return "" if session.handshakes else "it did not connect"


def other_path(case: Case, session: Session) -> str:
    """Return what is wrong if the client asked for another path, so that it did not play the case.

    In the section about ``:path`` itself that is left to the cases.
    """
    wanted = {path for _, path in case.paths()}
    for fields in request_fields(session.conversations):
        path = dict(fields).get(":path", "")
        if path not in wanted and case.section != "8.3.1":
            return f"it asked for {path!r}, not {min(wanted)!r}"
    return ""


def _wire(case: Case, session: Session) -> tuple[list[str], list[str]]:
    findings = [rule.check(session) for rule in case.wire]
    problems = [finding.must for finding in findings if finding.must]
    remarks = [finding.should for finding in findings if finding.should]
    if any(conversation.is_starved for conversation in session.conversations):
        problems.append("it gave no credit for content that it had got, and waited for more")
    return problems, remarks


def _caller(case: Case, step: Step, outcome: Outcome, path: str, proof: Proof) -> str:
    content = content_of(path)
    if outcome.has_hung:
        return "" if case.hangs else outcome.error
    if case.is_costly and outcome.peak and proof.peak and outcome.peak - proof.peak > MEMORY:
        return f"it took {(outcome.peak - proof.peak) // 2**20} MiB of memory for it"
    is_whole = not outcome.error and outcome.is_whole(content)
    if step.do == "head":
        is_whole = not outcome.error and outcome.is_empty(content)
    if outcome.error:
        may_fail = step.want in (Want.ERROR, Want.EITHER, Want.EMPTY_OR_ERROR)
        return "" if may_fail else f"it says: {outcome.error}"
    if step.want in (Want.EMPTY, Want.EMPTY_OR_ERROR):
        return "" if outcome.is_empty(content) else "it took content that is none"
    if step.want is Want.ERROR:
        return "it took the response" if is_whole else _not_whole(outcome, content)
    if not is_whole and step.do == "head":
        return "it took content that is none"
    if not is_whole:
        return _not_whole(outcome, content)
    if not case.is_optional and outcome.status not in (None, int(case.fields.get("status", 200))):
        return f"it says that the status is {outcome.status}"
    for name, wanted in case.fields.items():
        told = (outcome.fields or {}).get(name, wanted)
        if told not in (wanted, wanted.encode("latin-1").decode("utf-8", "replace")):
            return f"it says that {name} is {told!r}, not {wanted!r}"
    return ""


def _not_whole(outcome: Outcome, content: bytes) -> str:
    took = outcome.length if outcome.content is None else len(outcome.content)
    if (took or 0) < len(content):
        return "it took a part for the whole response"
    return "it took something else for the response"


def _told(outcome: Outcome, path: str) -> str:
    if outcome.error or outcome.cannot:
        return outcome.error or outcome.cannot
    if outcome.is_whole(content_of(path)):
        return "the whole response"
    return "no content, and no error" if outcome.is_empty(content_of(path)) else "a part of it"
