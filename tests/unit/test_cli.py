"""The command as people type it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import h2wsgi
from h2wsgi.command.cli import main
from h2wsgi.server import running
from h2wsgi.server.signals import Signals
from h2wsgi.tls.development import make_certificates
from support.clients import find
from support.peer import Peer
from support.process import START_PATIENCE

APPLICATION = """
def app(environ, start_response):
    start_response("200 OK", [("content-type", "text/plain")])
    return [b"served"]
"""
CACHE = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with an application in web.py and nothing set in the environment."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "web.py").write_text(APPLICATION)
    monkeypatch.chdir(project)
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("H2WSGI_")]:
        monkeypatch.delenv(name)
    paths, modules = list(sys.path), set(sys.modules)
    yield project
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        if not name.startswith("h2wsgi"):
            del sys.modules[name]


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Run the command, which must refuse; return its sentence and its hint."""

    def run(*arguments: str) -> tuple[str, str]:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        error, hint = captured.err.splitlines()
        return error.removeprefix("h2wsgi: error: "), hint.removeprefix("hint: ")

    return run


def spawn(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-m", "h2wsgi", *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_the_version_is_shown(folder, capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"h2wsgi {h2wsgi.__version__}\n"


def test_the_package_runs_as_the_command_does():
    command = [sys.executable, "-m", "h2wsgi", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == f"h2wsgi {h2wsgi.__version__}\n"


def test_help_lists_every_option_by_group_with_unit_and_default(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    text = " ".join(shown.split())
    groups = re.findall(r"^([A-Z][\w -]+):$", shown, re.MULTILINE)
    assert groups == [
        "Application",
        "Addresses",
        "TLS",
        "Proxies",
        "Process",
        "Logging",
        "Tools",
        "Limits",
        "Timeouts",
        "Instead of serving",
        "With --make-cert",
        "With --trust and --untrust",
    ]
    for expected in (
        "-b, --bind ADDRESS",
        "--cert, --certfile FILE",
        "--access-log / --no-access-log one line per request [default: on]",
        "--tls-min 1.2|1.3",
        "--stream-window OCTETS",
        "[default: 256KiB]",
        "[default: 1MiB]",
        "[default: 0 octets]",
        "--graceful-timeout SECONDS",
        "[default: 30 seconds]",
        "H2WSGI_THREADS",
        "h2wsgi httpbin:app",
    ):
        assert expected in text


def test_help_and_version_import_nothing_that_is_slow():
    code = (
        "import sys; from h2wsgi.command.cli import main; main(['--help']); main(['--version']); "
        "print(sorted({'asyncio', 'ssl', 'h2', 'cryptography'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout.splitlines()[-1] == b"[]"


def test_what_the_user_wrote_reaches_the_server(folder, monkeypatch):
    seen: dict[str, Any] = {}

    def run(
        app: Any, config: Any, *, signals: Signals, target: str, ignored: Any, ends: bool
    ) -> int:
        assert ends
        signals.restore()
        seen.update(app=app, config=config, target=target)
        return 7

    monkeypatch.setattr(running, "run", run)
    monkeypatch.setenv("H2WSGI_MAX_STREAMS", "9")
    (folder / "h2wsgi.toml").write_text("max_fields = 20\nthreads = 2")
    arguments = ["web:app", "--certfile", "c", "--keyfile", "k", "-b", "localhost:1", "--bind"]
    assert main([*arguments, "[::1]:2", "--no-access-log", "--threads", "4"]) == 7
    config = seen["config"]
    assert seen["target"] == "web:app"
    assert seen["app"]({}, lambda *_: None) == [b"served"]
    assert (config.cert, config.key) == ((str(folder / "c"),), (str(folder / "k"),))
    assert config.bind == ("localhost:1", "[::1]:2")
    assert (config.access_log, config.h2c) == (False, False)
    assert (config.threads, config.max_streams, config.max_fields) == (4, 9, 20)


def test_the_target_can_come_from_a_file_or_a_variable(folder, monkeypatch, capsys):
    (folder / "h2wsgi.toml").write_text('target = "web:app"\nbind = "localhost:0"')
    assert main(["--check"]) == 0
    assert capsys.readouterr().out.startswith("web:app is a WSGI application (function).\n")
    monkeypatch.setenv("H2WSGI_TARGET", "web")
    assert main(["--check"]) == 0
    assert capsys.readouterr().out.startswith("web is")


def test_check_says_what_is_well(folder, capsys):
    arguments = ["web:app", "--check", "--bind", "localhost:0", "--bind-h2c", "127.0.0.1:0"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "localhost:0  HTTP/2 only (ALPN h2)" in captured.out
    assert "127.0.0.1:0  HTTP/2 only (cleartext, prior knowledge)" in captured.out
    assert "DEVELOPMENT CERTIFICATE, MADE JUST NOW" in captured.out
    assert captured.out.endswith("All is well.\n")
    assert captured.err == ""


def test_check_warns_of_an_expired_certificate_and_is_well(folder, capsys):
    made = make_certificates("certs", kind="expired")
    arguments = ["web", "--check", "--cert", made.cert, "--key", made.key, "-b", "localhost:0"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert f"warning: The certificate {folder / made.cert} expired on" in captured.err
    assert captured.out.endswith("Usable, with 1 warning.\n")


def test_check_warns_of_a_development_ca_that_clients_have_to_trust_anew(folder, capsys):
    arguments = ["web", "--check", "--bind", "localhost:0"]
    assert main(arguments) == 0
    cache = folder.parent / "cache" / "h2wsgi"
    (cache / "ca.key").write_text("damaged")
    capsys.readouterr()
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert f"h2wsgi: warning: The development CA {cache / 'ca.crt'} is new, as" in captured.err
    assert captured.out.endswith("Usable, with 1 warning.\n")


def test_check_says_that_an_address_is_in_use(refused):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        error, _ = refused("web", "--check", "--bind", address)
    assert error == f"The address {address} (--bind) is in use."


@pytest.mark.parametrize("option", ["--trace-file", "--access-log-file"])
def test_check_says_that_a_file_cannot_be_written(refused, option):
    error, _ = refused("web", "--check", "--bind", "localhost:0", option, "nowhere/log")
    assert error.endswith(f"nowhere/log ({option}) cannot be opened: No such file or directory.")


@pytest.mark.parametrize("option", ["--trace-file", "--access-log-file"])
def test_check_makes_no_file_and_changes_none(folder, option):
    assert main(["web", "--check", "--bind", "localhost:0", option, "new.log"]) == 0
    assert not (folder / "new.log").exists()
    (folder / "old.log").write_text("kept")
    assert main(["web", "--check", "--bind", "localhost:0", option, "old.log"]) == 0
    assert (folder / "old.log").read_text() == "kept"


def test_help_fits_a_terminal_of_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 79] == []


def test_print_config_is_toml_that_says_where_values_came_from(folder, capsys, monkeypatch):
    monkeypatch.setenv("H2WSGI_KEY_PASSWORD", "secret")
    assert main(["--print-config", "--threads", "3"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^threads = 3 +# command line$", shown, re.MULTILINE)
    assert re.search(r"^key_password = .* # H2WSGI_KEY_PASSWORD$", shown, re.MULTILINE)
    assert re.search(r"^max_streams = 100 +# default$", shown, re.MULTILINE)
    assert "secret" not in shown
    assert tomllib.loads(shown)["threads"] == 3


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ([], "No application is named.", "For example: h2wsgi httpbin:app"),
        (["--treads", "3"], "No such option: --treads.", "Did you mean --threads"),
        (["--port", "1"], "No such option: --port.", "--bind takes both, as HOST:PORT."),
        (["--processes", "1"], "No such option: --processes.", "--workers says how many processes"),
        (["--workers", "many"], "--workers: 'many' is not a whole number or auto.", "The default"),
        (["--h2"], "No such option: --h2.", "Did you mean --h2c?"),
        (["--zzzzz"], "No such option: --zzzzz.", "See h2wsgi --help."),
        (["--threads"], "Option '--threads' requires an argument.", "It takes a whole number. The"),
        (
            ["--certfile"],
            "Option '--certfile' requires an argument.",
            "It takes the name of a file.",
        ),
        (["--config"], "Option '--config' requires an argument.", "See h2wsgi --help."),
        (["-b"], "Option '-b' requires an argument.", "It takes an address, or a list of them."),
        (
            ["--h2c=on"],
            "Option '--h2c' does not take a value.",
            "It is a switch: --h2c, or --no-h2c",
        ),
        (["serve", "web"], "Got unexpected extra argument (web)", "One application is served, and"),
        (["--timeout", "4"], "No such option: --timeout.", "--request-timeout bounds a request"),
        (
            ["web", "-b", "localhost:99999"],
            "The address localhost:99999 (--bind) has a",
            "Ports go",
        ),
        (["web.py"], "The target 'web.py' is a file, but a module is needed.", "Write web:app."),
        (["web", "--threads", "x"], "--threads: 'x' is not a whole number.", "The default is 128."),
        (["web", "--log-format", "jsn"], "--log-format: 'jsn' is not one", "Did you mean 'json'?"),
        (["web", "--config", "no.toml"], "no.toml (--config) cannot be read", "Without --config"),
        (["wep"], "There is no module 'wep'.", "Did you mean web?"),
        (["web:ap"], "'web' has no attribute 'ap'.", "Did you mean web:app?"),
        (["web", "--cert", "/no.crt"], "The certificate /no.crt (--cert) does not exist.", "Check"),
        (["web", "--key", "/k"], "The private key /k (--key) has no certificate.", "Give its"),
        (["web", "-b", "0.0.0.0:1"], "The address 0.0.0.0:1 (--bind) can be reached", "Give one"),
        (["--name", "x.test"], "--name, --expired, --wrong-host and --keep-ca say", "Add --make"),
        (["--no-keep-ca"], "--name, --expired, --wrong-host and --keep-ca say", "Add --make"),
        (["--make-cert", "d", "--expired", "--wrong-host"], "--expired and --wrong-host", "Make"),
        (["--make-cert", "d", "--wrong-host", "--name", "a"], "--wrong-host has a name", "Leave"),
        (["--make-cert", "d", "--name", "a b"], "The name 'a b' (--name) is neither", "For exam"),
        (["web\x1b[31m:app"], "The target 'web\\x1b[31m:app' is not of the form", "For example"),
        (["\x9bweb", "--threads", "\x9b"], "--threads: '\\x9b' is not a whole", "The default"),
    ],
)
def test_a_mistake_is_a_sentence_and_a_hint(refused, arguments, error, hint):
    shown_error, shown_hint = refused(*arguments)
    assert shown_error.startswith(error)
    assert shown_hint.startswith(hint)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's full device")
@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("web:app", "--check")])
def test_output_that_cannot_be_written_is_a_sentence(folder, arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "h2wsgi", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment)
        silent = subprocess.run(command, stdout=full, stderr=full, env=environment)
    assert (done.returncode, silent.returncode) == (2, 2)
    assert done.stderr.startswith(b"h2wsgi: error: The output cannot be written: No space left")
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are POSIX's")
def test_closed_standard_descriptors_are_not_given_to_sockets(folder):
    code = (
        "import os; from h2wsgi.command.cli import main; main(['--version']); "
        "open('seen', 'w').write(str([os.path.samestat(os.fstat(n), os.stat(os.devnull)) "
        "for n in (0, 1, 2)]))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = shlex.join([sys.executable, "-c", code]) + " <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", command], env=environment)
    assert done.returncode == 0
    assert (folder / "seen").read_text() == "[True, True, True]"


MOVING = """
import os
os.mkdir("elsewhere")
os.chdir("elsewhere")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a Unix socket is one of the paths")
@pytest.mark.parametrize("source", ["command line", "environment", "file"])
def test_relative_paths_stay_where_they_were_if_the_application_moves(folder, source, monkeypatch):
    made = make_certificates("certs")
    (folder / "web.py").write_text(MOVING + APPLICATION)
    options = {
        "app_dir": ".", "bind": "unix:run.sock", "bind_h2c": "127.0.0.1:0",
        "cert": "certs/cert.crt", "key": "certs/cert.key",
        "client_ca": "certs/ca.crt", "client_cert": "optional",
        "access_log_file": "access.log", "trace_file": "trace.jsonl",
    }  # fmt: skip
    if source == "environment":
        for name, value in options.items():
            monkeypatch.setenv(f"H2WSGI_{name.upper()}", value)
    elif source == "file":
        rows = (f"{name} = {json.dumps(value)}\n" for name, value in options.items())
        (folder / "h2wsgi.toml").write_text("".join(rows))
    monkeypatch.setenv("SSLKEYLOGFILE", "keys.log")
    typed = (f"--{name.replace('_', '-')}={value}" for name, value in options.items())
    arguments = tuple(typed) if source == "command line" else ()
    server = spawn("web:app", "--log-format", "json", *arguments, cwd=folder)
    try:
        lines = [json.loads(server.stderr.readline()) for _ in range(2)]
        assert lines[1]["event"] == "ready", lines
        with Peer.connect(str(folder / "run.sock"), ca_file=made.ca) as peer:
            assert peer.get().body == b"served"
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=START_PATIENCE)
    assert server.returncode == 0
    assert list((folder / "elsewhere").iterdir()) == []
    for name in ("access.log", "trace.jsonl", "keys.log"):
        assert (folder / name).stat().st_size > 0
    assert not (folder / "run.sock").exists()


def test_a_mistyped_variable_is_a_sentence_and_a_hint(refused, monkeypatch):
    monkeypatch.setenv("H2WSGI_THRADS", "3")
    assert refused("web") == (
        "H2WSGI_THRADS is not an option of h2wsgi.",
        "Did you mean H2WSGI_THREADS?",
    )


def test_variables_that_tell_of_a_service_are_ignored_with_a_line_of_debugging(folder):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "H2WSGI_PORT": "tcp://10.96.0.1:8443",
        "H2WSGI_SERVICE_HOST": "10.96.0.1",
    }
    command = [sys.executable, "-m", "h2wsgi", "web", "--h2c", "--bind", "localhost:0"]
    command += ["--log-level", "debug", "--log-format", "json"]
    server = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
    try:
        lines = [json.loads(server.stderr.readline()) for _ in range(3)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=START_PATIENCE)
    assert server.returncode == 0
    assert [(line["level"], line["message"]) for line in lines] == [
        ("debug", "H2WSGI_PORT is ignored: it tells of a service of that name"),
        ("debug", "H2WSGI_SERVICE_HOST is ignored: it tells of a service of that name"),
        ("info", "ready"),
    ]


def test_what_an_application_raises_is_shown_from_its_first_frame(folder, capsys):
    (folder / "broken.py").write_text("import web\n1 / 0\n")
    assert main(["broken:app", "--h2c"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('broken.py", line 2, in <module>')
    assert lines[-3] == "ZeroDivisionError: division by zero"
    assert lines[-2] == "h2wsgi: error: Importing 'broken' raised ZeroDivisionError."
    assert lines[-1].startswith("hint: ")


def test_ctrl_c_while_the_application_loads_ends_quietly(folder, capsys):
    (folder / "slow.py").write_text("raise KeyboardInterrupt")
    assert main(["slow:app", "--h2c"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_make_cert_says_how_clients_come_to_trust_it(folder, capsys):
    assert main(["--make-cert", "my certs", "--name", "*.web.test", "--name", "192.0.2.1"]) == 0
    shown = capsys.readouterr().out
    assert "for *.web.test, 192.0.2.1; until 20" in shown
    ca = shlex.quote(str(Path("my certs/ca.crt")))
    resolve = "--resolve www.web.test:8443:127.0.0.1"
    assert f"curl --http2 --cacert {ca} {resolve} https://www.web.test:8443/" in shown
    assert f"NODE_EXTRA_CA_CERTS={ca} node" in shown
    assert "ssl.create_default_context(cafile=" in shown
    assert "Firefox" in shown
    files = {path.name for path in (folder / "my certs").iterdir()}
    assert files == {"ca.crt", "ca.key", "cert.crt", "cert.key"}
    assert "Its key is kept in 'my certs/ca.key'" not in shown
    assert "The CA: its key is kept in 'my certs/ca.key', for the next one made here." in shown
    assert "Never commit 'my certs/cert.key' or 'my certs/ca.key'." in shown


def test_make_cert_says_when_clients_have_to_trust_another_ca(folder, capsys):
    new = "THE CA IS NEW, as "
    assert main(["--make-cert", "certs", "--name", "web.test"]) == 0
    assert main(["--make-cert", "certs", "--name", "www.web.test"]) == 0
    assert new not in capsys.readouterr().out
    assert main(["--make-cert", "certs", "--name", "shop.test"]) == 0
    said = capsys.readouterr().out
    assert f"{new}the one before may not sign for these names: clients have to trust it." in said
    assert main(["--make-cert", "certs", "--name", "shop.test", "--no-keep-ca"]) == 0
    said = capsys.readouterr().out
    assert f"{new}no CA was to be kept" in said
    assert "Its key was not kept, so it signs nothing more." in said
    assert not (folder / "certs/ca.key").exists()
    assert main(["--make-cert", "certs", "--name", "shop.test"]) == 0
    assert f"{new}the key of the one before was not kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "names"),
    [("--expired", "localhost, 127.0.0.1, ::1"), ("--wrong-host", "wrong-host.invalid")],
)
def test_make_cert_makes_the_bad_ones_that_clients_are_tested_with(folder, capsys, flag, names):
    assert main(["--make-cert", "bad", flag]) == 0
    shown = capsys.readouterr().out
    assert f"for {names}; until 20" in shown
    assert "still refuses it,\nbecause it " in shown
    assert "https://localhost:8443/" in shown
    assert "Chrome" not in shown


def test_make_cert_quotes_what_a_shell_would_take_apart(folder, capsys):
    assert main(["--make-cert", "six", "--name", "::1"]) == 0
    assert " 'https://[::1]:8443/'\n" in capsys.readouterr().out


@pytest.mark.client
def test_the_advice_for_chrome_works_on_a_fresh_profile_and_again(folder, capsys):
    find("certutil", package="libnss3-tools")
    assert main(["--make-cert", "certs"]) == 0
    _, advice = capsys.readouterr().out.split("nss-tools:\n")
    add, remove = advice.split("and to remove it:")
    environment = os.environ | {"HOME": str(folder)}
    for script in (add, add, remove.splitlines()[0]):
        tolerant = script.replace("2>/dev/null", "|| true")  # Nothing to delete at first.
        subprocess.run(["sh", "-ec", tolerant], env=environment, check=True)
    listed = "certutil -d sql:$HOME/.pki/nssdb -L"
    shown = subprocess.check_output(["sh", "-c", f"{add}\n{listed}"], env=environment, text=True)
    assert shown.count("h2wsgi") == 1


@pytest.mark.client
def test_the_curl_line_for_another_name_works_as_it_stands(folder):
    for names in (("shop.test",), ("192.0.2.7",)):
        made = make_certificates(folder / "certs", names)
        options = ("--cert", made.cert, "--key", made.key, "--bind", "localhost:0")
        server = spawn("web:app", *options, cwd=folder)
        try:
            lines = [server.stderr.readline()]
            while lines[-1] and "Ctrl-C to stop" not in lines[-1]:
                lines.append(server.stderr.readline())
            (curl,) = (line.split("Try:")[1] for line in lines if "Try:" in line)
            command = [*shlex.split(curl), "--silent", "--write-out", " %{http_version}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_PATIENCE)
            assert done.stdout == "served 2"
            assert names[0] in curl
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=START_PATIENCE)


def test_a_server_on_every_address_says_where_to_go(folder):
    server = spawn("web:app", "--h2c", "--bind", "*:0", cwd=folder)
    try:
        lines = [server.stderr.readline() for _ in range(2)]
        assert re.search(r"  http://127.0.0.1:\d+/ .*, all IPv4$", lines[1])
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=START_PATIENCE)


def test_a_start_fits_into_80_columns(folder, capsys):
    assert main(["web:app", "--check", "--bind", "localhost:0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) < 76 for line in lines if "ca.crt" not in line)


@pytest.mark.client
def test_the_curl_line_of_a_start_works_as_it_stands(folder):
    server = spawn("web:app", "--bind", "localhost:0", cwd=folder)
    try:
        lines = []
        while not lines or "Ctrl-C to stop" not in lines[-1]:
            lines.append(server.stderr.readline())
            assert lines[-1], "".join(lines)
        (curl,) = (line.split("Try:")[1] for line in lines if "Try:" in line)
        command = [*shlex.split(curl), "--silent", "--write-out", " %{http_version}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_PATIENCE)
        assert done.stdout == "served 2"
        assert re.search(" GET +/ +200 ", server.stderr.readline())
    finally:
        server.send_signal(signal.SIGINT)
        _, rest = server.communicate(timeout=START_PATIENCE)
    assert server.returncode == 0
    assert "Traceback" not in rest


def test_a_start_in_json_carries_the_real_addresses_and_ends_with_code_0(folder):
    arguments = ("web:app", "--bind", "localhost:0", "--bind-h2c", "127.0.0.1:0")
    server = spawn(*arguments, "--log-format", "json", cwd=folder)
    try:
        shown = json.loads(server.stderr.readline())
    finally:
        server.send_signal(signal.SIGTERM)
        _, rest = server.communicate(timeout=START_PATIENCE)
    assert server.returncode == 0
    assert shown["event"] == "ready"
    assert [endpoint["protocol"] for endpoint in shown["endpoints"]] == ["h2", "h2c"]
    assert all(re.search(r":[1-9]\d+/$", endpoint["url"]) for endpoint in shown["endpoints"])
    for line in rest.splitlines():
        json.loads(line)


def test_an_address_in_use_is_a_sentence_and_a_hint(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = spawn("web:app", "--bind", address, cwd=folder)
        output, errors = process.communicate(timeout=START_PATIENCE)
    assert process.returncode == 2
    assert output == ""
    error, hint = errors.splitlines()
    assert error == f"h2wsgi: error: The address {address} (--bind) is in use."
    assert hint.startswith("hint: ")
