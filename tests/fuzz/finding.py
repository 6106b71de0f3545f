"""What the fuzzer looks for."""

from __future__ import annotations


class Finding(AssertionError):
    """The server did what it must not. ``rule`` says which rule it broke, in few words."""

    def __init__(self, rule: str, detail: object = "") -> None:
        super().__init__(f"{rule}: {detail}" if detail != "" else rule)
        self.rule = rule


def require(true: object, rule: str, detail: object = "") -> None:
    """Report a finding unless ``true``."""
    if not true:
        raise Finding(rule, detail)
