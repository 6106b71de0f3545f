"""Cases for the suite of a client in Python: ``case.run(get)``. Runs on the test's thread."""

from __future__ import annotations

import functools
import unittest
from dataclasses import dataclass

from .case import Case
from .catalogue import CATALOGUE, chosen
from .certificates import Identities
from .drivers import Function, GetFunction
from .judge import Result, Verdict
from .run import Runner


@functools.cache
def identities() -> Identities:
    """Return the certificates of this process, made once."""
    return Identities()


@dataclass(frozen=True, slots=True)
class Trial:
    """A case that a function can be put through."""

    case: Case

    @property
    def __name__(self) -> str:  # What pytest calls the parameter.
        return self.case.id

    def run(self, get: GetFunction) -> Result:
        """Play the case with ``get(url, ca_file)`` of a client.

        It returns the content of a response and raises any exception for an error.

        Raises:
            AssertionError: the client fails the case, or never got to it.
            SkipTest: the case is about something that the client does not do (unittest's, which
                pytest knows too).
        """
        known = identities()
        runner = Runner(lambda: Function(get, known.ca), known)
        result = runner.one(self.case, runner.make_caller(), runner.prove([self.case]))
        if not result.applies:
            raise unittest.SkipTest(str(result))
        if result.verdict in (Verdict.FAIL, Verdict.NOT_REACHED):
            raise AssertionError(f"{result}\n{result.frames}")
        return result


def cases(*only: str) -> list[Trial]:
    """Return the cases that one GET can play, of the sections or identifiers that are named."""
    return [Trial(case) for case in chosen(CATALOGUE, only) if not case.needs_driver]
