"""Targets: what they mean, and the sentence for each way in which one can be wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from h2wsgi.errors import LoadError
from h2wsgi.server.loading import ApplicationLoadError, load

APPLICATION = """
def {name}(environ, start_response):
    start_response("200 OK", [])
    return [b"{name}"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Write modules into a folder of their own; importing them leaves no trace."""
    paths, modules = list(sys.path), set(sys.modules)

    def write(**files: str) -> str:
        for name, text in files.items():
            path = tmp_path / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return str(tmp_path)

    yield write
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def answer_of(application: Callable[..., Any]) -> bytes:
    return b"".join(application({}, lambda status, headers: None))


def error_of(target: str, **options: Any) -> LoadError:
    with pytest.raises(LoadError) as caught:
        load(target, **options)
    return caught.value


@pytest.mark.parametrize("name", ["app", "application"])
def test_a_module_alone_means_its_app_or_application(project, name):
    folder = project(web=APPLICATION.format(name=name))
    assert answer_of(load("web", app_dir=folder)) == name.encode()


def test_dots_lead_into_packages_and_into_attributes(project):
    source = "class Holder:\n  class inner:\n    app = staticmethod(lambda e, s: [b'deep'])\n"
    folder = project(pack__in____init__="", pack__in__web=source)
    assert answer_of(load("pack.web:Holder.inner.app", app_dir=folder)) == b"deep"


@pytest.mark.parametrize(("target", "factory"), [("web:make()", False), ("web:make", True)])
def test_a_factory_is_called_for_the_application(project, target, factory):
    folder = project(web=APPLICATION.format(name="inner") + "def make():\n  return inner\n")
    assert answer_of(load(target, app_dir=folder, factory=factory)) == b"inner"


def test_the_current_folder_is_importable_and_comes_first(project, monkeypatch):
    folder = project(wave=APPLICATION.format(name="app"))  # The standard library has one too.
    monkeypatch.chdir(folder)
    assert answer_of(load("wave:app")) == b"app"
    assert sys.path[0] == folder
    load("wave:app")
    assert sys.path[1] != folder


def test_a_class_whose_instances_are_answers_is_an_application(project):
    source = "class App:\n  def __init__(self, environ, start_response): pass\n"
    folder = project(web=source + "  def __iter__(self): yield b'class'\n")
    assert answer_of(load("web:App", app_dir=folder)) == b"class"


def test_a_callable_without_a_signature_is_taken_as_it_is(project):
    folder = project(web="class App(type): pass\napp = dict.fromkeys\n")
    assert load("web:app", app_dir=folder) is not None
    folder = project(
        web2="class App:\n  __signature__ = 3\n  def __call__(self, e, s): ...\napp=App()"
    )
    assert load("web2:app", app_dir=folder) is not None


def test_a_missing_module_is_named_with_the_nearest_one(project):
    folder = project(my_website="", pack__in____init__="", pack__in__views="")
    assert error_of("my_webiste", app_dir=folder).hint == "Did you mean my_website?"
    error = error_of("pack.veiws:app", app_dir=folder)
    assert str(error) == "There is no module 'pack.veiws'."
    assert error.hint == "Did you mean pack.views?"


def test_a_missing_module_without_a_like_says_where_it_was_looked_for(project):
    folder = project()
    error = error_of("quite_unknown_thing.inner:app", app_dir=folder)
    assert str(error) == "There is no module 'quite_unknown_thing'."
    assert folder in error.hint


def test_httpbin_not_installed_says_which_extra_brings_it(project, monkeypatch):
    folder = project()
    monkeypatch.setattr(sys, "path", [folder])
    for name in [name for name in sys.modules if name.split(".")[0] == "httpbin"]:
        monkeypatch.delitem(sys.modules, name)
    assert "h2wsgi[httpbin]" in error_of("httpbin:app", app_dir=folder).hint


def test_a_dot_for_a_colon_is_seen(project):
    folder = project(web=APPLICATION.format(name="app"))
    assert error_of("web.app", app_dir=folder).hint.endswith("did you mean web:app?")


@pytest.mark.parametrize(
    "target", ["web:", ":app", "web:app(1)", "a b:c", "", ".web:app", "web:a:b"]
)
def test_a_target_of_another_form_is_refused(target):
    assert "not of the form module:attribute" in str(error_of(target))


@pytest.mark.parametrize("target", ["src/web.py:app", "web.py", "src/web"])
def test_a_file_for_a_module_is_refused_with_the_way_to_write_it(target):
    error = error_of(target)
    assert "is a file" in str(error)
    assert error.hint.startswith("Write web:app, with --app-dir")


@pytest.mark.parametrize("target", ["shop/app", "shop/app.py", "shop/app.py:app"])
def test_a_file_in_a_package_is_written_with_dots(target):
    assert error_of(target).hint == "Write shop.app:app, or app:app with --app-dir shop."


def test_a_module_of_the_standard_library_is_told_from_ones_own(project):
    import platform

    folder = project(platform=APPLICATION.format(name="app"))
    assert f"imported from {platform.__file__}" in error_of("platform:app", app_dir=folder).hint
    assert "the interpreter itself" in error_of("sys:app", app_dir=folder).hint


def test_a_folder_without_init_says_so(project):
    folder = project(shop__in__web=APPLICATION.format(name="app"))
    hint = error_of("shop", app_dir=folder).hint
    assert hint.startswith("shop is a folder without __init__.py;")
    assert hint.endswith("such as shop.web:app.")


def test_a_folder_that_is_none_is_refused(tmp_path):
    assert "(--app-dir) does not exist" in str(error_of("web", app_dir=str(tmp_path / "no")))


def test_a_missing_attribute_is_named_with_near_ones(project):
    folder = project(web="class Shop:\n  application = None\n")
    assert error_of("web:Shup", app_dir=folder).hint == "Did you mean web:Shop?"
    error = error_of("web:Shop.aplication", app_dir=folder)
    assert str(error) == "'web:Shop' has no attribute 'aplication'."
    assert error.hint == "Did you mean web:Shop.application?"


def test_without_a_near_name_what_looks_like_an_application_is_suggested(project):
    flask_like = "class F:\n  def __call__(self, environ, start_response): ...\nsite = F()\n"
    odd = "class Odd:\n  __signature__ = 3\n  __call__ = 3\nodd = Odd()\n"
    folder = project(web=APPLICATION.format(name="shop") + flask_like + odd, empty="")
    assert error_of("web", app_dir=folder).hint == "Did you mean web:shop or web:site?"
    assert error_of("web:xyz", app_dir=folder).hint == "Did you mean web:shop or web:site?"
    assert error_of("empty", app_dir=folder).hint.startswith("Name the application after")


@pytest.mark.parametrize(
    ("source", "kind"),
    [("app = 3", "an int object"), ("import os as app", "a module"), ("app = ''", "a str object")],
)
def test_what_is_not_callable_is_refused(project, source, kind):
    folder = project(web=source)
    assert (
        str(error_of("web:app", app_dir=folder)) == f"'web:app' is {kind}, which is not callable."
    )


@pytest.mark.parametrize(
    "source",
    [
        "async def app(scope, receive, send): ...",
        "class A:\n  async def __call__(self, a, b, c): ...\nclass B(A): ...\napp = B()",
        "import functools\nasync def f(x, a, b, c): ...\napp = functools.partial(f, 1)",
        "def app(scope, receive, send): return None",
    ],
)
def test_an_asgi_application_is_recognised(project, source):
    error = error_of("web:app", app_dir=project(web=source))
    assert "is an ASGI application" in str(error)
    assert "a2wsgi" in error.hint


def test_a_factory_given_as_an_application_is_recognised(project):
    folder = project(web="def make(): ...\ndef other(a, b, c): ...")
    error = error_of("web:make", app_dir=folder)
    assert "takes ()" in str(error)
    assert "--factory" in error.hint
    assert "(environ, start_response)" in error_of("web:other", app_dir=folder).hint


def test_a_factory_that_cannot_be_called_is_refused(project):
    folder = project(web="value = 3\ndef make(name): ...")
    assert "is not callable" in str(error_of("web:value()", app_dir=folder))
    assert "without arguments: make() missing 1" in str(error_of("web:make()", app_dir=folder))


def test_the_traceback_of_an_import_begins_at_the_users_frame(project):
    folder = project(web="import inner\n", inner="1 / 0\n")
    error = error_of("web:app", app_dir=folder)
    assert isinstance(error, ApplicationLoadError)
    assert str(error) == "Importing 'web' raised ZeroDivisionError."
    first, second, *_ = error.traceback_text.splitlines()
    assert first == "Traceback (most recent call last):"
    assert second.endswith('web.py", line 1, in <module>')
    assert "importlib" not in error.traceback_text
    assert "loading.py" not in error.traceback_text


def test_a_module_that_the_application_misses_is_its_own_failure(project):
    folder = project(web="import surely_not_there_at_all\n")
    error = error_of("web:app", app_dir=folder)
    assert isinstance(error, ApplicationLoadError)
    assert "No module named 'surely_not_there_at_all'" in error.traceback_text


def test_a_syntax_error_shows_its_line(project):
    error = error_of("web:app", app_dir=project(web="x = = 3\n"))
    assert isinstance(error, ApplicationLoadError)
    assert "x = = 3" in error.traceback_text
    assert "importlib" not in error.traceback_text


@pytest.mark.parametrize(
    ("target", "source", "what"),
    [
        ("web:app", "raise SystemExit(3)", "Importing 'web' raised SystemExit."),
        ("web:make()", "def make():\n  raise OSError", "The factory 'web:make()' raised OSError."),
        ("web:make()", "def make():\n  len(3)", "The factory 'web:make()' raised TypeError."),
        (
            "web:a",
            "def __getattr__(n):\n  raise OSError",
            "Looking up 'a' in 'web' raised OSError.",
        ),
        ("web:a", "def __getattr__(n):\n  [].x", "Looking up 'a' in 'web' raised AttributeError."),
    ],
)
def test_whatever_the_application_raises_is_shown_with_its_traceback(project, target, source, what):
    error = error_of(target, app_dir=project(web=source))
    assert isinstance(error, ApplicationLoadError)
    assert str(error) == what
    assert error.traceback_text.splitlines()[1].strip().startswith("File")


def test_ctrl_c_during_an_import_is_not_swallowed(project):
    folder = project(web="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("web:app", app_dir=folder)
