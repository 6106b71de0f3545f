"""Octets held by the whole process: full at the limit, relieved below three quarters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from h2wsgi.seam.budget import Budget

patient = settings(deadline=None)
"""A busy machine may be slow with any one example."""


@patient
@given(st.integers(4, 1_000), st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=60))
def test_a_budget_is_full_from_its_limit_until_three_quarters(
    limit: int, changes: list[tuple[bool, int]]
) -> None:
    reliefs = []
    budget = Budget(limit, lambda: reliefs.append(budget.used))
    used, full, expected = 0, False, []
    for adds, octets in changes:
        if adds:
            budget.add(octets)
            used += octets
            full = full or used >= limit
        else:
            octets = min(octets, used)
            budget.release(octets)
            used -= octets
            if full and used < limit * 3 // 4:
                full = False
                expected.append(used)
        assert (budget.used, budget.full) == (used, full)
    assert reliefs == expected
