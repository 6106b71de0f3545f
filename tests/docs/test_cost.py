"""What a request costs is what bench/bytecodes.json says, so that a longer way is seen at once."""

from __future__ import annotations

import sys

from bench import bytecodes

NOISE = 1.02
"""Threads meet a little differently each time."""


def test_no_request_takes_more_bytecodes_than_it_did() -> None:
    kept = bytecodes.kept().get(bytecodes.VERSION)
    hint = "python -m bench bytecodes --write keeps what is right"
    assert kept is not None, f"nothing is kept for Python {bytecodes.VERSION}: {hint}"
    counts = bytecodes.measured(sys.executable)
    assert counts.keys() == kept.keys()
    longer = {n: (count, kept[n]) for n, count in counts.items() if count > NOISE * kept[n]}
    assert not longer, f"(now, kept): {longer}; {hint}, if there is a reason"
