"""The mistakes: a module's source -> every mutant of it, each one change of its text. Pure.

Left alone is what no test can notice, or none should have to: docstrings and other text,
annotations, imports, ``__slots__``, ``TYPE_CHECKING``, decorators, interfaces without a body.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}
OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}
SWAPPED_CALLS = {"min": "max", "max": "min"}
STATEMENTS = (ast.AugAssign, ast.Delete, ast.Raise)
"""What is left out, beside calls and what is assigned to more than a name of the function's own."""


class Mutant(NamedTuple):
    """One mistake in a module's source, between two places counted in octets."""

    line: int
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """Return the source with the mistake in it."""
        octets = source.encode("utf-8")
        return (octets[: self.start] + self.text.encode("utf-8") + octets[self.end :]).decode()

    def lines(self, source: str) -> tuple[str, str]:
        """Return the line of the mistake, stripped, as it is and as it is mutated."""
        at = self.line - 1
        before, after = source.splitlines()[at], self.apply(source).splitlines()[at]
        return before.strip(), after.strip()


def mutants_of(source: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines."""
    found = _Finder(source)
    found.visit(ast.parse(source))
    return sorted(set(found.mutants))


class _Finder(ast.NodeVisitor):
    """Walks a module and notes what may go wrong in it."""

    def __init__(self, source: str) -> None:
        self._octets = source.encode("utf-8")
        self._begins = [0]
        """Where each line begins, in octets."""
        for line in source.splitlines(keepends=True):
            self._begins.append(self._begins[-1] + len(line.encode("utf-8")))
        self._returns_bool = False
        self.mutants: list[Mutant] = []

    # ------------------------------------------------------------------------------- places

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._begins[node.lineno - 1] + node.col_offset
        return start, self._begins[node.end_lineno - 1] + node.end_col_offset

    def _add(self, start: int, end: int, text: str) -> None:
        line = self._octets.count(b"\n", 0, start) + 1
        self.mutants.append(Mutant(line, start, end, text))

    def _put(self, node: ast.expr | ast.stmt, text: str) -> None:
        """Put a text in the place of a node."""
        self._add(*self._span(node), text)

    def _text(self, node: ast.expr) -> str:
        start, end = self._span(node)
        return self._octets[start:end].decode("utf-8")

    def _change_between(
        self, left: ast.expr, right: ast.expr, sign: str, others: Iterable[str]
    ) -> None:
        """Put other signs in the place of the one between two operands."""
        begin, until = self._span(left)[1], self._span(right)[0]
        pattern = r"\s+".join(map(re.escape, sign.split()))
        if sign[0].isalpha():
            pattern = rf"\b{pattern}\b"
        between = re.sub(rb"#[^\n]*", lambda m: b" " * len(m[0]), self._octets[begin:until])
        if found := re.search(pattern.encode(), between):
            for other in others:
                self._add(begin + found.start(), begin + found.end(), other)

    # -------------------------------------------------------------------------- expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            sign, others = COMPARISONS[type(operator)]
            self._change_between(left, right, sign, others)
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in OPERATORS:
            sign, other = OPERATORS[type(node.op)]
            self._change_between(node.left, node.right, sign, (other,))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        sign, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._change_between(left, right, sign, (other,))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._put(node, f"({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._put(node, str(not value))
        elif isinstance(value, int):
            for other in (value + 1, value - 1):
                self._put(node, str(other) if other >= 0 else f"({other})")
        elif isinstance(value, float):
            self._put(node, str(value * 2 or 1.0))

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in SWAPPED_CALLS:
            self._put(node.func, SWAPPED_CALLS[node.func.id])
        if isinstance(node.func, ast.Name) and node.func.id in ("TypeVar", "cast"):
            return
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Text; and CPython 3.11 does not know where its parts are."""

    def _negate(self, test: ast.expr) -> None:
        # "not" and single comparisons have their opposite already.
        single = isinstance(test, ast.Compare) and len(test.ops) == 1
        if not single and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            self._put(test, f"not ({self._text(test)})")

    # --------------------------------------------------------------------------- statements

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, STATEMENTS):
            self._put(node, "pass")
        super().visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring, or "..."
        if isinstance(node.value, ast.Call):
            self._put(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if names & {"__slots__", "__all__"}:
            return
        if not names and not any(isinstance(target, ast.Tuple) for target in node.targets):
            self._put(node, "pass")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        value = node.value
        if value is None:
            self._put(node, "pass")
        elif not isinstance(value, ast.Constant):
            others = ("True", "False") if self._returns_bool else ("None",)
            for other in others:
                self._put(value, other)
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self._put(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self._put(node, "break")

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                self.visit(other)
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    # -------------------------------------------------------------------------- definitions

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        abstract = any("abstractmethod" in ast.dump(d) for d in node.decorator_list)
        if abstract or all(_says_nothing(statement) for statement in node.body):
            return
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        outer, self._returns_bool = self._returns_bool, _is_bool(node.returns)
        for statement in node.body:
            self.visit(statement)
        self._returns_bool = outer

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)


def _is_bool(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "bool"


def _says_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
