"""Say whether every test of an earlier revision is still there: ``same_tests.py REVISION``.

A test that moved to another file is the same if its decorators and its body are: comments, line
breaks and docstrings do not count. One that changed is listed: it must assert as much as it did, by
the count. One that went, or asserts less, needs a line in ``REPLACED``.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

REPLACED: dict[str, str] = {
    "test_the_seam_knows_the_stream_by_its_type_alone": "test_imports_point_down: the stream is of "
    "the seam now, and a table says which package may import which",
    "test_modules_of_one_layer_do_not_import_each_other_in_a_circle": "the same of all modules: "
    "test_no_modules_import_each_other_in_a_circle",
    "test_the_mailbox_tells_when_the_loop_was_woken_and_does_not_come": "nothing: what asked it, "
    "the wait of a crowd's threads for the loop, is gone",
    "test_a_thread_of_a_crowd_lets_a_late_loop_go_first_where_they_share_a_cpu": "nothing: that "
    "is what is gone (docs/decisions.md)",
    "test_h2_itself_is_known_to_one_engine_and_else_only_for_its_error_codes": (
        "test_h2_itself_is_known_to_one_engine_alone: the codes are our own"
    ),
    "test_connections_over_the_limit_wait_until_others_end": (
        "itself: those inside hold a stream now, and have no answer to look at"
    ),
    "test_slow_clients_do_not_keep_threads_from_others_at_the_hard_ceiling": (
        "itself: its last assertion is a wait that fails"
    ),
    "test_the_authority_cannot_vouch_for_other_names": (
        "tests of test_development.py: no constraints on addresses any more"
    ),
    "test_an_authority_for_one_kind_of_name_permits_no_other_kind": "the same",
    "test_a_path_is_taken_exactly_if_it_holds_visible_ascii_without_a_fragment": (
        "the same of octets above ASCII, which are taken now (test_fields.py)"
    ),
    "test_a_malformed_request_is_reset_and_never_starts": (
        "the same with a 400 before the reset (test_http2_fields.py)"
    ),
    "test_cookie_crumbs_are_joined_and_counted_one_by_one": (
        "tests that they count as one field (test_fields.py)"
    ),
    "test_a_file_for_a_module_is_refused_with_the_way_to_write_it": "test_targets.py",
    "test_a_file_in_a_package_is_written_with_dots": "test_targets.py",
    "test_wsgi_errors_makes_an_event_of_every_full_line": (
        "tests that it is text and no event (test_logs.py)"
    ),
    "test_wsgi_errors_as_a_handlers_stream_does_not_go_round_for_ever": "the same",
    "test_the_traceback_goes_to_the_log_of_wsgi_errors": "the same",
    "test_lines_written_to_errors_are_logged": "the same",
    "test_204_carries_no_content_length": "the same of 204, 205 and 304 (test_head.py)",
    "test_head_and_304_may_carry_a_content_length": "the same of HEAD alone",
    "test_files_that_are_linked_exist": "itself: that there are links is test_links_are_found's",
}
"""Name of a test -> what took its place, and why."""
ROOT = Path(__file__).parent.parent.parent


class Test(NamedTuple):
    """A test: its name, what it does, and how much it asserts."""

    name: str
    what: str
    """Its decorators, arguments and body as the parser sees them, without docstrings."""
    assertions: int


class Normal(ast.NodeTransformer):
    """Takes out docstrings."""

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None:
                del node.body[0]
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.returns = None
        return self.generic_visit(node)


def assertions(tree: ast.AST) -> int:
    """Count the assert statements and the calls of pytest.raises."""
    raises = (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "raises"
        for node in ast.walk(tree)
    )
    return sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) + sum(raises)


def is_test(node: ast.AST) -> bool:
    """Tell whether this is a test function, or a state machine, which is a test as a whole."""
    if isinstance(node, ast.ClassDef):
        return any("StateMachine" in ast.unparse(base) for base in node.bases)
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return is_function and node.name.startswith("test_")


def tests_in(tree: ast.AST) -> Iterator[Test]:
    for node in ast.walk(tree):
        if is_test(node):
            count = assertions(node)
            yield Test(node.name, ast.dump(Normal().visit(node)), count)  # type: ignore[attr-defined]


def sources_of(revision: str) -> Iterator[str]:
    """Return the text of every Python file that the tests of a revision have."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    for name in git("ls-tree", "-r", "--name-only", revision, "tests").splitlines():
        if name.endswith(".py"):
            yield git("show", f"{revision}:{name}")


def read(sources: Iterable[str]) -> tuple[list[Test], int]:
    """Return the tests in these files, and the assertions in them and in their helpers."""
    trees = [ast.parse(source) for source in sources]
    total = sum(map(assertions, trees))
    return [test for tree in trees for test in tests_in(tree)], total


def main(revision: str) -> int:
    before, asserted_before = read(sources_of(revision))
    here = Path(__file__)
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != here]
    after, asserted_after = read(path.read_text("utf-8") for path in files)
    left = Counter((test.name, test.what) for test in after)
    count_now = Counter[str]()
    for test in after:
        count_now[test.name] += test.assertions
    missing = 0
    for test in before:
        if left[test.name, test.what]:
            left[test.name, test.what] -= 1
        elif test.name in REPLACED:
            print(f"replaced: {test.name} ({test.assertions} assertions): {REPLACED[test.name]}")
        elif count_now.get(test.name, -1) >= test.assertions:
            print(f"changed: {test.name} ({test.assertions} assertions)")
        else:
            missing += 1
            now = f"{count_now[test.name]} now" if test.name in count_now else "gone"
            print(f"MISSING: {test.name} ({test.assertions} assertions before): {now}")
    for words, tests, total in (
        (revision, before, asserted_before),
        ("now", after, asserted_after),
    ):
        own = sum(test.assertions for test in tests)
        print(f"{words}: {len(tests)} tests, {own} assertions in them, {total} with helpers")
    print(f"{missing} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} REVISION")
    sys.exit(main(sys.argv[1]))
