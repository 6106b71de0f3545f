"""The tree is the architecture: what may import what, and who may be called from where."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import h2wsgi

ROOT = Path(h2wsgi.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Which package may import which, from the top down; each may import itself. A name with a dot is a
# module that stands on its own.
AT_THE_BOTTOM = {"errors", "codes", "process", "_version"}
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"command"},
    "command": {"server", "supervisor", "tools", "tls", "log", "config"},
    "clientspec": {"tools", "seam", "tls", "log", "config"},
    "testing": {"h2bin", "server", "tools", "wsgi", "tls", "log", "config"},
    "h2bin": {"tools"},
    "server": {"supervisor", "tools", "http2", "wsgi", "seam", "tls", "log", "config"},
    "supervisor": {"log", "config"},
    "tools": {"http2", "wsgi", "seam", "log", "config"},
    "http2": {"seam", "log", "config"},
    "wsgi": {"seam", "log", "config"},
    "seam": {"log", "config"},
    "tls": {"log", "config"},
    "log": {"config"},
    "config": set(),
    "errors": set(),
    "codes": set(),
    "process": set(),
    "_version": set(),
}
DIRECTLY_INSIDE = {"", "__main__", "_version", "errors", "codes", "h2bin"}
"""The modules of the package that are in none of its packages."""


def name_of(path: Path) -> str:
    """Return a module's name within the package, dotted; ``""`` for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(path: Path) -> set[str]:
    """Return everything a module imports, wherever it does, our own as ``h2wsgi.`` and so on."""
    found: set[str] = set()
    package = ["h2wsgi", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *([node.module] if node.module else [])]
            found.update(".".join([*base, alias.name]) for alias in node.names)
    return found


def imports_any(path: Path, *modules: str) -> bool:
    return any(
        name == module or name.startswith(f"{module}.")
        for name in imports(path)
        for module in modules
    )


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def marks(function: Function) -> set[str]:
    return {node.id for node in function.decorator_list if isinstance(node, ast.Name)}


def called_attributes(node: ast.AST) -> set[str]:
    return {
        call.func.attr
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    }


def in_package(name: str) -> list[Path]:
    return [path for path in MODULES if name_of(path).split(".")[0] == name]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


# -------------------------------------------------------------------------------- imports


def test_every_module_has_its_place() -> None:
    names = [name_of(path) for path in MODULES if path.name != "__init__.py"]
    packages = {name.partition(".")[0] for name in names if "." in name}
    assert packages <= set(MAY_IMPORT)
    assert {name for name in names if "." not in name} | {""} == DIRECTLY_INSIDE


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p)], ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = name_of(path).partition(".")[0]
    allowed = {own, *MAY_IMPORT[own], *AT_THE_BOTTOM}
    for name in imports(path):
        if name.partition(".")[0] == "h2wsgi":
            assert name.split(".")[1] in allowed, f"{name_of(path)} imports {name}"


def test_the_table_has_no_way_up() -> None:
    order = list(MAY_IMPORT)
    for package, below in MAY_IMPORT.items():
        assert all(order.index(name) > order.index(package) for name in below), package


def test_asyncio_is_imported_where_the_loop_is_and_nowhere_else() -> None:
    found = {name_of(path) for path in MODULES if imports_any(path, "asyncio")}
    protocol = {"http2.protocol", "http2.closing", "http2.observed"}
    in_server = {f"server.{name}" for name in ("server", "accept", "running", "signals", "worker")}
    assert found == in_server | {"seam.mailbox"} | protocol


def test_what_time_it_is_comes_from_the_clock_that_nobody_stops() -> None:
    """See process/clock.py."""
    names = {"monotonic", "monotonic_ns", "time", "time_ns", "now", "utcnow", "today"}
    found = {
        f"{name_of(path)}: {ast.unparse(node)}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "datetime", "date")
    }
    assert {one for one in found if not one.startswith("process.clock: ")} == set()


def test_the_event_loop_uvloop_is_known_to_running_alone() -> None:
    found = {name_of(path) for path in MODULES if imports_any(path, "uvloop")}
    assert found == {"server.running"}


@pytest.mark.parametrize("path", in_package("wsgi"), ids=name_of)
def test_wsgi_knows_neither_asyncio_nor_http2(path: Path) -> None:
    assert not imports_any(path, "asyncio", "h2", "hyperframe", "hpack", "h2wsgi.http2")


@pytest.mark.parametrize("path", in_package("http2"), ids=name_of)
def test_http2_does_not_know_wsgi(path: Path) -> None:
    assert not imports_any(path, "h2wsgi.wsgi")


def test_the_protocol_libraries_are_known_to_http2_and_to_the_tools_that_read_octets() -> None:
    found = {name_of(p) for p in MODULES if imports_any(p, "h2", "hyperframe", "hpack")}
    assert {name.split(".")[0] for name in found} == {"http2", "tools", "clientspec"}


def test_the_tools_are_known_to_who_starts_a_server_alone() -> None:
    found = {name_of(path) for path in MODULES if imports_any(path, "h2wsgi.tools")}
    outside = {name for name in found if not name.startswith("tools")}
    outside = {name for name in outside if not name.startswith(("testing", "clientspec"))}
    metrics = {f"server.{name}" for name in ("metering", "measuring", "totals", "worker")}
    starts = {"server.server", "server.toolbox", "server.running", "command.cli", "h2bin"}
    assert outside <= starts | metrics


@pytest.mark.parametrize("path", in_package("clientspec"), ids=name_of)
def test_the_suite_for_clients_uses_nothing_of_the_server(path: Path) -> None:
    assert not imports_any(path, "h2", "h2wsgi.http2", "h2wsgi.wsgi", "h2wsgi.server")


def test_h2_itself_is_known_to_one_engine_alone() -> None:
    for path in MODULES:
        if name_of(path) not in ("http2.engines.reference", "http2.engines.h2_connection"):
            assert not imports_any(path, "h2"), name_of(path)


def imports_at_run_time(path: Path) -> set[str]:
    """Return what a module imports, but for types."""
    for_types: set[ast.AST] = set()
    for node in ast.walk(tree_of(path)):
        if is_type_checking(node):
            for_types.update(ast.walk(node))
    package = ["h2wsgi", *path.relative_to(ROOT).parts[:-1]]
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            base = package[: len(package) - node.level + 1] if node.level else []
            found.add(".".join([*base, *([node.module] if node.module else [])]))
            found.update(f"{'.'.join([*base, *([node.module] if node.module else [])])}.{a.name}"
                         for a in node.names)  # fmt: skip
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = {name_of(path): path for path in MODULES if path.name != "__init__.py"}
    graph = {
        name: {
            target
            for imported in imports_at_run_time(path)
            if (target := imported.removeprefix("h2wsgi.")) in known and target != name
        }
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_importing_the_package_imports_neither_server_nor_protocol_libraries() -> None:
    runtime: set[str] = set()
    for node in tree_of(ROOT / "__init__.py").body:
        if isinstance(node, ast.Import):
            runtime.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            runtime.add("." * node.level + (node.module or ""))
    assert runtime <= {"__future__", "importlib", "typing", "._version"}


# -------------------------------------------------------------------------------- threads


def test_what_wakes_the_loop_says_so_in_its_name() -> None:
    found = []
    own_it = {"server.running", "server.signals"}
    for path in [p for p in MODULES if name_of(p) not in own_it]:
        for function in functions(path):
            if "call_soon_threadsafe" in called_attributes(function):
                found.append(function.name)
                assert function.name.endswith("_threadsafe"), f"{name_of(path)}: {function.name}"
    assert found


def test_what_the_applications_side_is_given_of_the_loop_says_so_in_its_name() -> None:
    """A callable handed to the seam or the pool is called on any thread, unless named here."""
    # On an application thread; on the loop, by what it scheduled.
    others = {"run", "exhausted", "full", "failed"}
    checked = set()
    pool = [ROOT / "wsgi" / name for name in ("thread_pool.py", "growth.py")]
    for path in (ROOT / "seam" / "handover.py", ROOT / "seam" / "stream.py", *pool):
        for function in functions(path):
            if function.name != "__init__":
                continue
            for arg in (*function.args.args, *function.args.kwonlyargs):
                if arg.annotation and ast.unparse(arg.annotation).startswith("Callable"):
                    checked.add(arg.arg)
    assert {name for name in checked if not name.endswith("_threadsafe")} <= others
    assert {"wake_threadsafe", "schedule_threadsafe"} <= checked


def test_no_method_that_any_thread_may_call_is_bound_to_one() -> None:
    for path in MODULES:
        for function in functions(path):
            bound = marks(function) & {"loop_thread", "application_thread"}
            assert len(bound) < 2
            assert not (bound and function.name.endswith("_threadsafe")), function.name


def test_application_threads_call_nothing_that_belongs_to_the_loop() -> None:
    loops = {f.name for path in MODULES for f in functions(path) if "loop_thread" in marks(f)}
    assert {"receive", "drain", "flush"} <= loops
    # Names that the other side, or the language, has too.
    loops -= {"add", "release", "flush"}
    for path in MODULES:
        for function in functions(path):
            if "application_thread" in marks(function):
                assert not called_attributes(function) & loops, f"{name_of(path)}: {function.name}"


def test_the_loops_packages_never_block_on_a_thread() -> None:
    blocking = {"acquire", "take", "sleep"}
    for path in in_package("http2"):
        assert not imports_any(path, "threading", "queue", "concurrent"), name_of(path)
        assert not called_attributes(tree_of(path)) & blocking, name_of(path)


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: name_of(path) or "h2wsgi")
def test_every_package_says_which_thread_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(tree_of(path)) or ""
    assert "thread" in docstring.lower()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path) or "h2wsgi")
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))
