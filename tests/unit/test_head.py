"""Heads, checked and remembered: what is sent is what was checked, and answers for itself alone."""

from __future__ import annotations

from typing import Any

import pytest

from h2wsgi.errors import ApplicationError
from h2wsgi.wsgi.head import HeadMemory


class Same(str):
    """A str that is equal to any text of the same length."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and len(other) == len(self)

    def __hash__(self) -> int:
        return len(self)


class Plain(str):
    """The same for plain text: it hashes as ``x``, which it is not, and says that it is equal."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("x")


class Liar(str):
    """A str whose methods say something else than its text."""

    def lower(self) -> str:
        return "x-lie\r\n"

    def strip(self, chars: str | None = None) -> str:
        return "a lie\r\n"

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"a lie\r\n"

    def __getitem__(self, index: Any) -> str:
        return "204"

    def __str__(self) -> str:
        return "a lie"


def values(memory: HeadMemory, status: str, headers: Any) -> tuple[int, list[bytes]]:
    """Return status and the values of ``x-a`` that would be sent."""
    head = memory.checked(status, headers).head
    return head.status, [value for name, value in head.fields if name == b"x-a"]


def test_the_same_arguments_have_the_same_head():
    memory = HeadMemory()
    memory._expires = float("inf")  # no second passes here
    memory._begin_second = lambda second: None  # type: ignore[method-assign]
    first = memory.checked("200 OK", [("x-a", "b")])
    assert memory.checked("200 OK", [("x-a", "b")]) is first
    other = memory.checked("200 OK", [("x-a", "c")])
    assert other is not first
    assert memory.checked("200 OK", [("x-a", "b")]) is first
    assert memory.checked("200 OK", [("x-a", "c")]) is other


@pytest.mark.parametrize("kind", [Same, Plain])
def test_a_str_that_is_equal_to_others_answers_for_none_of_them(kind):
    memory = HeadMemory()
    for _ in range(2):
        assert values(memory, "200 OK", [("x-a", kind("y"))]) == (200, [b"y"])
    assert values(memory, "200 OK", [("x-a", "x")]) == (200, [b"x"])
    assert values(memory, kind("404 OK"), [("x-a", "x")])[0] == 404
    assert values(memory, "200 OK", [("x-a", "x")]) == (200, [b"x"])


def test_a_list_that_is_equal_to_others_has_a_head_of_its_own():
    class Any(list[tuple[str, str]]):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    memory = HeadMemory()
    for _ in range(2):
        assert values(memory, "200 OK", [("x-a", "x")]) == (200, [b"x"])
        assert values(memory, "200 OK", Any([("x-a", "y")])) == (200, [b"y"])


def test_a_str_is_taken_by_its_text_whatever_its_methods_say():
    memory = HeadMemory()
    for _ in range(2):
        assert values(memory, Liar("200 OK"), [(Liar("X-A"), Liar("b"))]) == (200, [b"b"])


@pytest.mark.parametrize("field", [("x-a", Liar("b\r\nx: y")), (Liar("x\r\n"), "b")])
def test_a_str_is_checked_by_its_text(field):
    with pytest.raises(ApplicationError):
        HeadMemory().checked("200 OK", [field])


def test_fields_that_have_no_hash_are_taken():
    class Bare(str):
        def __eq__(self, other: object) -> bool:
            return str(self) == other

        __hash__ = None  # type: ignore[assignment]

    assert values(HeadMemory(), "200 OK", [("x-a", Bare("b"))]) == (200, [b"b"])
