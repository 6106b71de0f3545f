"""What clients do to a server that must not go down: one list, a row for each attack and limit.

Raw frames over loopback, bounded in count and in seconds. test_attacks.py runs each twice:
with its limit, and without; docs/security.md has the same rows for people.
"""

from __future__ import annotations

from attacks import buffers, clocks, fields, frames, resets

ATTACKS = [*resets.ATTACKS, *fields.ATTACKS, *frames.ATTACKS, *clocks.ATTACKS, *buffers.ATTACKS]
