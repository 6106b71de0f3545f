"""Targets that name a file or a folder, and how they are to be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2wsgi.errors import LoadError
from h2wsgi.server.targets import parse

FILES = {
    "manage.py": "def main(): ...",
    "mysite/__init__.py": "",
    "mysite/wsgi.py": "application = get_wsgi_application()",
    "mysite/views.py": "",
    "shop/web.py": "def create_app(): ...",
    "src/pack/__init__.py": "",
    "src/pack/inner/__init__.py": "from .web import app",
    "src/pack/inner/web.py": "app: object = make()",
    "empty/readme.txt": "",
    "single.py": "def serve(environ, start_response): ...",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(target: str) -> LoadError:
    with pytest.raises(LoadError) as caught:
        parse(target)
    return caught.value


@pytest.mark.parametrize(
    ("target", "meant", "hint"),
    [
        ("mysite.wsgi.py", "mysite/wsgi.py", "Write mysite.wsgi:application."),
        ("mysite.wsgi.py:other", "mysite/wsgi.py", "Write mysite.wsgi:other."),
        ("wsgi.py", "mysite/wsgi.py", "Write mysite.wsgi:application."),
        ("src.pack.inner.web.py", "src/pack/inner/web.py", "Write pack.inner.web:app with "),
    ],
)
def test_a_file_that_is_elsewhere_is_found(project, target, meant, hint):
    error = error_of(target)
    file = target.partition(":")[0]
    assert str(error) == f"There is no file {file}, which the target {target!r} names."
    assert error.hint.startswith(f"If {meant} is meant: {hint}")


@pytest.mark.parametrize("target", ["no.such.py", "..py", "a..py", ".py", "/", "no/such.thing.py"])
def test_a_file_that_is_nowhere_is_no_failure(project, target):
    assert error_of(target).hint.startswith(("Name a module", "For example"))


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("mysite/wsgi.py", "Write mysite.wsgi:application."),
        ("mysite/wsgi", "Write mysite.wsgi:application."),
        ("./mysite/wsgi.py:other", "Write mysite.wsgi:other."),
        ("mysite/views.py:app", "Write mysite.views:app."),
        ("manage.py", "Write mysite.wsgi:application."),
        ("single.py", "Write single:serve."),
        ("shop/web.py", "Write web:create_app() with --app-dir shop, or shop.web:create_app()."),
        ("src/pack/inner/web.py", "Write pack.inner.web:app with --app-dir src."),
        ("src/pack/inner/__init__.py", "Write pack.inner:app with --app-dir src."),
    ],
)
def test_a_file_is_refused_with_the_way_to_write_it(project, target, hint):
    error = error_of(target)
    assert str(error) == f"The target {target!r} is a file, but a module is needed."
    assert error.hint == hint


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (".", "Write mysite.wsgi:application."),
        ("mysite/", "Write mysite.wsgi:application."),
        ("./src/pack/inner", "Write pack.inner.web:app with --app-dir src."),
        ("empty/", "Name a module in it: module:attribute."),
    ],
)
def test_a_folder_is_refused_with_what_is_in_it(project, target, hint):
    error = error_of(target)
    assert str(error) == f"The target {target!r} is a folder, but a module is needed."
    assert error.hint == hint


def test_a_file_that_does_not_exist_is_named_with_the_nearest(project):
    error = error_of("mysite/wsgy.py")
    assert str(error).startswith("There is no file mysite/wsgy.py, which the target")
    assert error.hint == "If wsgi.py is meant: Write mysite.wsgi:application."
    assert error_of("no/such/thing.py").hint.startswith("Name a module, as Python imports it")


@pytest.mark.parametrize("content", [b"app = (", b"\0", b"\xff", b"x = 1 " + b"#" * 1_000_001])
def test_a_file_that_cannot_be_understood_holds_no_application(project, content):
    (project / "mysite" / "wsgi.py").write_bytes(content)
    assert error_of("mysite/wsgi.py").hint == "Write mysite.wsgi:app."


@pytest.mark.parametrize(
    "source",
    [
        "if True:\n  x = 1\nelse:\n  app = 1",
        "try:\n  app = 1\nexcept OSError: ...",
        "with x:\n  app = 1",
        "class app: ...",
        "import site as app",
    ],
)
def test_names_are_found_in_branches_too(project, source):
    (project / "mysite" / "wsgi.py").write_text(source)
    assert error_of("mysite/wsgi.py").hint == "Write mysite.wsgi:app."
