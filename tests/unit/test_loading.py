"""Targets: what they mean, and the sentence for each way in which one can be wrong."""

from __future__ import annotations

import importlib
import os
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
    "target", ["web:", ":app", "web:app(1", "a b:c", "", ".web:app", "web:a:b", "web:1()"]
)
def test_a_target_of_another_form_is_refused(target):
    assert "not of the form module:" in str(error_of(target))


def test_a_module_with_a_dash_is_told_how_to_name_its_file():
    hint = error_of("my-shop:app").hint
    assert hint == "A module's name has no '-': name the file my_shop.py."


def test_a_module_of_the_standard_library_is_told_from_ones_own(project):
    import platform

    folder = project(platform=APPLICATION.format(name="app"))
    assert f"imported from {platform.__file__}" in error_of("platform:app", app_dir=folder).hint
    assert "the interpreter itself" in error_of("sys:app", app_dir=folder).hint


def test_a_folder_without_init_says_so(project):
    folder = project(shop__in__views="", shop__in__site=APPLICATION.format(name="application"))
    hint = error_of("shop", app_dir=folder).hint
    assert hint.startswith("shop is a folder without __init__.py;")
    assert hint.endswith("such as shop.site:application.")
    project(empty__in__views="")
    assert error_of("empty", app_dir=folder).hint.endswith("such as empty.views:app.")


def test_a_folder_that_is_none_is_refused(tmp_path):
    assert "(--app-dir) does not exist" in str(error_of("web", app_dir=str(tmp_path / "no")))
    (tmp_path / "file").write_text("")
    assert "(--app-dir) is not a folder" in str(error_of("web", app_dir=str(tmp_path / "file")))


def test_a_missing_attribute_is_named_with_near_ones(project):
    folder = project(web="class Shop:\n  application = None\n")
    assert error_of("web:Shup", app_dir=folder).hint == "Did you mean web:Shop?"
    error = error_of("web:Shop.aplication", app_dir=folder)
    assert str(error) == "'web:Shop' has no attribute 'aplication'."
    assert error.hint == "Did you mean web:Shop.application?"


def test_without_a_near_name_what_looks_like_an_application_is_suggested(project):
    flask_like = "class F:\n  def __call__(self, environ, start_response): ...\nsite = F()\n"
    odd = "class Odd:\n  __signature__ = 3\n  __call__ = 3\nodd = Odd()\n"
    folder = project(site2=APPLICATION.format(name="shop") + flask_like + odd, empty="")
    assert error_of("site2", app_dir=folder).hint == "Did you mean site2:shop or site2:site?"
    assert error_of("site2:xyz", app_dir=folder).hint == "Did you mean site2:shop or site2:site?"
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
    source = "value = 3\ndef make(name): ...\nasync def late(): ...\nclass Big:\n"
    folder = project(web=source + "  def __init__(self, a): ...\n" + APPLICATION.format(name="app"))
    assert "is not callable" in str(error_of("web:value()", app_dir=folder))
    error = error_of("web:make()", app_dir=folder)
    assert "without arguments: make() missing 1" in str(error)
    assert error.hint == 'Give it its arguments: "web:make(...)"; it takes (name).'
    assert "with these arguments: make() takes 1" in str(error_of("web:make(1, 2)", app_dir=folder))
    assert error_of("web:Big()", app_dir=folder).hint.startswith("Leave out --factory")
    for written in ("web:app()", "web:app(1)"):
        error = error_of(written, app_dir=folder)
        assert str(error) == "'web:app' is the application itself, and no factory of it."
        assert error.hint == "Leave out --factory and the ()."
    assert "a coroutine function" in str(error_of("web:late()", app_dir=folder))


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("'prod'", (("prod",), {})),
        ("'a:b()', -1, [1, {'x': None}]", (("a:b()", -1, [1, {"x": None}]), {})),
        ("debug=True, ports=(1, 2)", ((), {"debug": True, "ports": (1, 2)})),
    ],
)
def test_a_factory_is_called_with_the_literals_behind_it(project, written, arguments):
    source = "def make(*args, **kwargs):\n  return lambda e, s: (args, kwargs)\n"
    folder = project(web=f"{source}class inner:\n  make = staticmethod(make)\n")
    for name in ("make", "inner.make"):
        assert load(f"web:{name}({written})", app_dir=folder)({}, None) == arguments


@pytest.mark.parametrize(
    ("target", "error", "hint"),
    [
        ("web:make(prod)", "The argument prod in", "If it is a text, it needs quotes: 'prod'."),
        ("web:make(1 + x)", "The argument 1 + x in", "Write a text, a number"),
        ("web:make(**{})", "The argument {} in", "Write a text, a number"),
        ("web:make(*[1])", "The argument *[1] in", "Write a text, a number"),
        ("web:make(1)(2)", "The target 'web:make(1)(2)' is not of the form module:factory", "For"),
        ("web:make(=)", "The target 'web:make(=)' is not of the form module:factory", "For"),
    ],
)
def test_what_is_no_literal_is_refused(target, error, hint):
    found = error_of(target)
    assert str(found).startswith(error)
    assert found.hint.startswith(hint)


@pytest.mark.parametrize(
    ("source", "target", "sentence", "hint"),
    [
        (
            "class app:\n  def __init__(self, x=1, y=2): ...\n  def __call__(self, e, s): ...",
            "web",
            "'web' is a class, and its instances are applications.",
            "Name an instance, or add () to have one made.",
        ),
        (
            "def app(config=None, testing=False): ...",
            "web",
            "'web' takes (config=None, testing=False), not the two arguments",
            "If it returns the application, add () to the target or give --factory.",
        ),
        (
            "async def app(environ, start_response): yield b''",
            "web",
            "'web' is asynchronous (async def), and a WSGI application is not.",
            "Make it a function (def)",
        ),
        ("def app(scope): ...", "web", "'web' is an ASGI application", "Use an ASGI server"),
        (
            "class Dash: ...\napp = Dash()\napp.server = lambda environ, start_response: []",
            "web:app",
            "'web:app' is a Dash object, which is not callable.",
            "Did you mean web:app.server?",
        ),
        (
            "import sys\napp = sys.modules[__name__]\ndef site(environ, start_response): ...",
            "web",
            "'web' is a module, which is not callable.",
            "Did you mean web:site?",
        ),
        ("import no_such_thing", "web", "Importing 'web' raised ModuleNotFound", "h2wsgi runs in"),
        ("from . import x", "web", "Importing 'web' raised ImportError.", "Name the module with"),
        ("def create_app(): ...", "web", "'web' has neither", "Did you mean web:create_app()?"),
        (
            "def get_app(): ...\ndef create_app(): ...\ndef hook(environ, start_response): ...",
            "web",
            "'web' has neither",
            "Did you mean web:create_app() or web:get_app() or web:hook?",
        ),
        ("def get_app(): ...", "web:app", "'web' has no", "Did you mean web:get_app()?"),
        ("def get_app(): ...", "web:get_ap()", "'web' has no", "Did you mean web:get_app()?"),
        (
            "def create_app(): ...\napplication = 3",
            "web:app",
            "'web' has no",
            "Did you mean web:application or web:create_app()?",
        ),
        ("async def run(environ, start_response): ...", "web:x", "'web' has no", "Name the app"),
    ],
)
def test_what_is_no_application_is_told_what_it_is(project, source, target, sentence, hint):
    error = error_of(target, app_dir=project(web=source))
    assert str(error).startswith(sentence)
    assert error.hint.startswith(hint)


def test_optional_arguments_are_no_reason_to_refuse_an_application(project):
    folder = project(web="def app(environ=None, start_response=None): return [b'optional']")
    assert answer_of(load("web:app", app_dir=folder)) == b"optional"


def test_djangos_two_modules_are_told_apart(project):
    folder = project(
        mysite__in____init__="", mysite__in__asgi="async def application(a, b, c): ..."
    )
    hint = error_of("mysite.asgi:application", app_dir=folder).hint
    assert hint == "Did you mean mysite.wsgi:application? Or use a2wsgi."


@pytest.mark.parametrize("target", ["mysite", "manage"])
def test_a_project_is_told_where_its_application_is(project, target):
    folder = project(
        manage="def main(): ...",
        mysite__in____init__="",
        mysite__in__settings="",
        mysite__in__wsgi="from x import y\napplication = y()",
    )
    error = error_of(target, app_dir=folder)
    assert str(error) == f"{target!r} has neither 'app' nor 'application'."
    assert error.hint == "Did you mean mysite.wsgi:application?"


@pytest.mark.parametrize("target", ["mysite:wsgi", "mysite:wsgi.application"])
def test_a_module_behind_the_colon_is_told_from_an_attribute(project, target):
    folder = project(mysite__in____init__="", mysite__in__wsgi="from x import y\napplication = y()")
    error = error_of(target, app_dir=folder)
    assert str(error) == "'mysite' has no attribute 'wsgi'."
    assert error.hint == "wsgi is a module of mysite: write mysite.wsgi:application."


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


def test_a_module_that_cannot_be_read_is_a_sentence(project, monkeypatch):
    folder = project()
    monkeypatch.setattr(importlib, "import_module", os.listdir)  # It has no frame of its own.
    error = error_of("surely_not_there", app_dir=folder)
    assert str(error).startswith("The module 'surely_not_there' cannot be read from surely_not_")
    assert error.hint.startswith("Check its owner and mode")


def test_a_folder_that_may_not_be_read_is_named(project, monkeypatch):
    folder = project()
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)
    assert error_of("web", app_dir=folder).hint.startswith(f"The folder {folder} may not be read")


def test_ctrl_c_during_an_import_is_not_swallowed(project):
    folder = project(web="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("web:app", app_dir=folder)
