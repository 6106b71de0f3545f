"""The command ``h2wsgi``: what the user typed becomes a running server, or one clear sentence.

Main thread. Options are the fields of :class:`~h2wsgi.Config`, so nothing is listed twice.
Heavy modules are imported where they are used, so that ``--help`` is quick. The invariant: a
mistake of the user's ends in exit code 2, a sentence and a hint on standard error, never in a
traceback; a traceback is shown only for what the application itself raises.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import sys
import typing
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from ..config.config import GROUPS, Config, option_types
from ..config.options import accepted, default_hint, default_text, meant, option_name
from ..errors import ConfigurationError
from .report import USER_ERROR, report, warn
from .sources import Settings, as_toml, gather

if TYPE_CHECKING:
    from ..server.signals import Signals
    from ..tls.development import Kind

OUTPUT_ERRORS = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EPIPE)
INTERRUPTED = 130

INSTEAD = "Instead of serving"
CERTIFICATES = "With --make-cert"
TRUST = "With --trust and --untrust"
HELP = """\
Serve a WSGI application over HTTP/2, and nothing else.

TARGET is module:attribute, module:factory(), whose arguments may be literals, or a module that has
an "app" or "application".
Without --cert, loopback addresses (localhost, 127.0.0.1, ::1) get a certificate for development.
"""
EPILOG = """\
Every option that serves is also an environment variable, as H2WSGI_THREADS is for --threads, and a
key of h2wsgi.toml, of [tool.h2wsgi] in pyproject.toml, or of the file of --config. The command
line overrides the environment, which overrides the file. Sizes may be written as 64KiB or 10MB,
times as 500ms or 2m.

\b
Examples:
  h2wsgi httpbin:app
  h2wsgi shop.wsgi --bind 0.0.0.0:443 --cert cert.crt --key cert.key
  h2wsgi "shop:make_app()" --h2c --bind unix:/run/shop.sock
"""


class GroupedOption(click.Option):
    """An option that knows the heading it is listed under."""

    def __init__(self, *declarations: str, group: str, bare: str = "", **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.group = group
        self.bare = bare
        """The value if the option is written without one."""


class GroupedCommand(click.Command):
    """A command whose ``--help`` lists its options by group."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give options that stand alone a value: Click would take the next argument as theirs."""
        alone = {
            flag: f"{flag}={option.bare}"
            for option in self.params
            if isinstance(option, GroupedOption) and option.bare
            for flag in option.opts
        }
        end = args.index("--") if "--" in args else len(args)
        args = [*(alone.get(argument, argument) for argument in args[:end]), *args[end:]]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group, in the order in which the groups first appear."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                group = getattr(parameter, "group", INSTEAD)  # Click's own --help has no group.
                sections.setdefault(group, []).append(record)
        for group, records in sections.items():
            with formatter.section(group):
                formatter.write_dl(records, col_max=32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with ``arguments``, or those of the process; return the exit code."""
    _open_standard_descriptors()
    try:
        return _main(arguments)
    except OSError as error:
        if error.errno not in OUTPUT_ERRORS or error.filename is not None:
            raise
        with suppress(OSError):
            report(f"The output cannot be written: {error.strerror}.", "Is the disk full?")
        _drop_output()
        return USER_ERROR


def _open_standard_descriptors() -> None:
    """Open those of descriptors 0 to 2 that are closed, or a socket would become standard error."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _drop_output() -> None:
    """Discard what is still buffered: the interpreter would fail to write it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(null, stream.fileno())
    os.close(null)


def _main(arguments: Sequence[str] | None) -> int:
    try:
        result = command().main(arguments, prog_name="h2wsgi", standalone_mode=False)
    except ConfigurationError as error:
        if shown := getattr(error, "traceback_text", ""):  # An ApplicationLoadError.
            click.echo(shown, err=True, nl=False)
        return report(str(error), error.hint)
    except click.NoSuchOption as error:
        flags = [flag for option in command().params for flag in option.opts]
        hint = meant(error.option_name, flags, lambda name: "--" + name.replace("_", "-"))
        return report(f"No such option: {error.option_name}.", hint)
    except click.ClickException as error:
        return report(error.format_message(), _usage_hint(error))
    except click.Abort:
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _usage_hint(error: click.ClickException) -> str:
    """Return a hint for what Click refuses: an option without its value, a word too many."""
    if isinstance(error, click.BadOptionUsage):
        fields = {field.name: field for field in dataclasses.fields(Config)}
        name = option_name(error.option_name.lstrip("-").removeprefix("no-"))
        aliases = {flag: f.name for f in fields.values() for flag in f.metadata["flags"]}
        field = fields.get(aliases.get(error.option_name, name))
        if field is None:
            return ""
        kind = option_types()[field.name]
        if kind is bool:
            flag = field.name.replace("_", "-")
            return f"It is a switch: --{flag}, or --no-{flag}."
        if field.metadata["metavar"] == "FILE":
            return "It takes the name of a file."
        return f"It takes {accepted(kind, field)}. {default_hint(field)}"
    if "unexpected extra argument" in error.format_message():
        return "One application is served, and there are no subcommands: h2wsgi module:app"
    return ""


@functools.cache
def command() -> click.Command:
    """Return the command, its options made from the fields of Config."""
    fields = sorted(
        dataclasses.fields(Config), key=lambda field: GROUPS.index(field.metadata["group"])
    )
    return GroupedCommand(
        "h2wsgi",
        params=[
            click.Argument(["target"], required=False),
            *map(config_option, fields),
            *_further_options(),
        ],
        callback=run,
        help=HELP,
        epilog=EPILOG,
        context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    )


def config_option(field: dataclasses.Field[Any]) -> GroupedOption:
    """Return the command-line option of one field of Config, which leaves values as typed."""
    flag = "--" + field.name.replace("_", "-")
    kind = option_types()[field.name]
    meta = field.metadata
    names = [field.name, flag, *meta["flags"]]
    attributes: dict[str, Any] = {
        "group": meta["group"],
        "help": f"{meta['help']}{_default_text(field)}",
        "default": None,
    }
    if kind is bool:
        names[1] = f"{flag}/--no-{flag.removeprefix('--')}"
    else:
        attributes["metavar"] = meta["metavar"] or _metavar(kind, meta["unit"])
        attributes["multiple"] = kind == tuple[str, ...]
        attributes["bare"] = meta["bare"]
    return GroupedOption(*names, **attributes)


def _metavar(kind: Any, unit: str) -> str:
    if typing.get_origin(kind) is Literal:
        return "|".join(typing.get_args(kind))
    return unit.upper() or {int: "N", str: "TEXT"}[kind]


def _default_text(field: dataclasses.Field[Any]) -> str:
    shown = default_text(field)
    return f"  [default: {shown}]" if shown else ""


def _further_options() -> list[GroupedOption]:
    option = functools.partial(GroupedOption, group=INSTEAD)
    certificate = functools.partial(GroupedOption, group=CERTIFICATES)
    trust = functools.partial(GroupedOption, group=TRUST)
    flag: dict[str, Any] = {"is_flag": True, "default": False}
    return [
        GroupedOption(
            "--config",
            group="Application",
            metavar="FILE",
            help="TOML file with options  "
            "[default: h2wsgi.toml, or pyproject.toml, in the current folder]",
        ),
        option("--check", help="load everything, say whether it is well, and exit", **flag),
        option("--print-config", help="show every option, and where its value is from", **flag),
        option("--make-cert", metavar="DIR", help="write cert.crt, cert.key and ca.crt to DIR"),
        option(
            "--trust",
            help="have browsers and this machine trust the development CA, once you agree",
            **flag,
        ),
        option("--untrust", help="have them trust it no longer", **flag),
        option("--version", help="show the version", **flag),
        certificate(
            "names",
            "--name",
            metavar="HOST",
            multiple=True,
            help="host name or IP address to certify; repeatable  "
            "[default: localhost, 127.0.0.1, ::1]",
        ),
        certificate("--expired", help="make one that ended yesterday", **flag),
        certificate("--wrong-host", help="make one for another host", **flag),
        certificate(
            "--keep-ca/--no-keep-ca",
            default=None,
            help="keep the CA's key in DIR, so that the next certificate there is trusted too  "
            "[default: on]",
        ),
        trust("--yes", help="do not ask", **flag),
    ]


def run(
    *,
    target: str | None,
    check: bool,
    print_config: bool,
    make_cert: str | None,
    trust: bool,
    untrust: bool,
    version: bool,
    names: tuple[str, ...],
    expired: bool,
    wrong_host: bool,
    keep_ca: bool | None,
    yes: bool,
    **_options: Any,
) -> int:
    """Do what the command line asks for; return the exit code."""
    from .._version import __version__

    if version:
        click.echo(f"h2wsgi {__version__}")
        return 0
    if make_cert is not None:
        if trust or untrust or yes:
            raise ConfigurationError(
                "--trust and --untrust are about the development CA, and --make-cert makes others.",
                "Run one after the other.",
            )
        return make_certificate(
            make_cert, names, expired=expired, wrong_host=wrong_host, keep_ca=keep_ca is not False
        )
    if names or expired or wrong_host or keep_ca is not None:
        raise ConfigurationError(
            "--name, --expired, --wrong-host and --keep-ca say what --make-cert makes.",
            "Add --make-cert DIR, or leave them out.",
        )
    if trust or untrust:
        return change_trust(target, trust=trust, untrust=untrust, yes=yes)
    if yes:
        raise ConfigurationError(
            "--yes is an answer to what --trust and --untrust ask.", "Leave it out."
        )
    settings = gather(_given(), os.environ)
    if print_config:
        click.echo(as_toml(settings, __version__), nl=False)
        return 0
    if not settings.target:
        raise ConfigurationError(
            "No application is named.", "For example: h2wsgi httpbin:app, or h2wsgi myproject:app."
        )
    return check_settings(settings) if check else serve(settings)


def _given() -> dict[str, Any]:
    """Return the typed options, as far as files and variables can set them too."""
    context = click.get_current_context()
    mergeable = {"target", "config", *option_types()}
    return {
        name: value
        for name, value in context.params.items()
        if name in mergeable and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def serve(settings: Settings) -> int:
    """Serve until the server is told to stop; return its exit code."""
    if settings.config.is_supervised:
        return serve_by_workers(settings)
    # Imported before the application's folder is importable, which may have a module of that name.
    from ..server.signals import Signals, Stopped

    try:
        with ExitStack() as stack:
            signals = stack.enter_context(Signals())
            signals.stop_if_asked()
            from ..server import running
            from ..server.surroundings import enter, pid_file

            enter(settings.config)
            with pid_file(settings.config.pid):
                application = running.load_application(settings.target, settings.config)
                exit_code = running.run(
                    application,
                    settings.config,
                    signals=signals,
                    target=settings.target,
                    ignored=settings.ignored,
                    ends=True,
                )
            stack.pop_all()  # a second signal is heard until the process has ended
            return exit_code
    except Stopped as stopped:
        click.echo(f"h2wsgi: {stopped}", err=True)
        return 0


def serve_by_workers(settings: Settings) -> int:
    """Have workers serve until they are told to stop; return the exit code."""
    from ..server.supervised import run_supervised

    given = _given()

    def read_again() -> tuple[Config, str]:
        again = gather(given, os.environ)
        return again.config, again.target

    return run_supervised(
        settings.config,
        target=settings.target,
        read_again=read_again,
        ignored=settings.ignored,
        has_command=True,
    )


def check_settings(settings: Settings) -> int:
    """Load everything that serving needs and say that all is well."""
    from ..server.signals import Signals, Stopped

    try:
        with Signals() as signals:
            signals.stop_if_asked()
            return _check(settings, signals)
    except Stopped as stopped:
        click.echo(f"h2wsgi: {stopped.name}: not all was checked", err=True)
        return 128 + stopped.number


def _check(settings: Settings, signals: Signals) -> int:
    from ..log.logs import check_file
    from ..log.text import printable
    from ..server.banner import certificate_lines
    from ..server.listeners import open_all
    from ..server.running import load_application, loop_factory
    from ..server.surroundings import account_of, check_folder, variables_of
    from ..supervisor.succession import taken_over
    from ..tls.context import resolve

    config = settings.config
    if config.access_log and config.access_log_file not in ("", "-"):
        check_file(config.access_log_file, "access log", "--access-log-file")
    if config.log_config:
        from ..log.configured import read

        read(config.log_config)
    if config.trace_file:
        check_file(config.trace_file, "trace", "--trace-file")
    if config.trace:
        from ..tools.trace.filters import parse_filter

        parse_filter(config.trace)
    if config.inspect:
        from ..tools.inspector.address import open_socket

        open_socket(config.inspect).close()
    check_folder(config)
    variables_of(config)
    account_of(config)
    before = taken_over()  # from a running supervisor that has new code checked
    if config.metrics:
        from ..tools.metrics.service import open_socket as open_metrics_socket
        from ..tools.metrics.service import require_client

        require_client()
        if before.get("metrics", True):
            open_metrics_socket(config.metrics).close()
    certificate = resolve(config)
    if not before:
        for listener in open_all(config):
            listener.close()
    lines = []
    if before.get("application", True):
        application = load_application(settings.target, config)
        signals.stop_if_asked()
        lines = [f"{settings.target} is a WSGI application ({type(application).__name__})."]
    loop_factory(config.loop)
    lines += [
        *(f"{address}  HTTP/2 only (ALPN h2)" for address in config.tls_binds),
        *(f"{address}  HTTP/2 only (cleartext, prior knowledge)" for address in config.h2c_binds),
        *certificate_lines(certificate),
    ]
    for line in lines:
        click.echo(printable(line))
    warnings = certificate.warnings() if certificate is not None else []
    for warning in warnings:
        warn(warning)
    many = "1 warning" if len(warnings) == 1 else f"{len(warnings)} warnings"
    click.echo(f"Usable, with {many}." if warnings else "All is well.")
    return 0


def change_trust(target: str | None, *, trust: bool, untrust: bool, yes: bool) -> int:
    """Have this machine's clients trust the development CA, or no longer."""
    from . import trusting

    if trust and untrust:
        raise ConfigurationError(
            "--trust and --untrust are two opposite things.", "Leave out one of them."
        )
    flag = "--trust" if trust else "--untrust"
    if target:
        raise ConfigurationError(
            f"{flag} is done instead of serving, so it takes no application.",
            f"First h2wsgi {flag}, then h2wsgi {target}.",
        )
    return trusting.change_trust(trusted=trust, yes=yes)


def make_certificate(
    directory: str, names: tuple[str, ...], *, expired: bool, wrong_host: bool, keep_ca: bool
) -> int:
    """Make a certificate for tests and say how clients come to trust it."""
    from ..server.banner import trust_guide
    from ..tls.development import make_certificates

    if expired and wrong_host:
        raise ConfigurationError(
            "--expired and --wrong-host are two different certificates.",
            "Make each of them in a folder of its own.",
        )
    if wrong_host and names:
        raise ConfigurationError(
            "--wrong-host has a name of its own, so --name cannot be given with it.",
            "Leave out --name, or leave out --wrong-host to choose the name yourself.",
        )
    kind: Kind = "expired" if expired else "wrong-host" if wrong_host else "valid"
    made = make_certificates(directory, names, kind=kind, keep_ca=keep_ca)
    click.echo(trust_guide(made), nl=False)
    return 0
