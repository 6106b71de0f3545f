"""A server of several processes, put together: sockets, certificate, supervisor. Main thread.

Imports neither the application nor the protocol: that is for workers.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .._version import __version__
from ..config.config import Config
from ..config.options import from_json
from ..errors import ConfigurationError
from ..log.logs import Log, command_log, named
from ..process.systemd import ServiceManager
from ..supervisor.plan import Plan
from ..supervisor.succession import taken_over
from ..supervisor.supervisor import Supervisor
from ..supervisor.survey import Meter
from ..tls.context import TLSIdentity, resolve
from ..tls.watch import warn
from .banner import Endpoint, ready
from .listeners import Listener, inherited, open_all
from .surroundings import account_of, check_folder, name_ignored, pid_file, set_umask, variables_of

FIXED = (
    "bind", "bind_h2c", "h2c", "uds_permissions", "backlog", "metrics", "pid", "user", "group",
    "umask",
)  # fmt: skip
"""Options that stay as they are until a restart: what is done once, at the start."""


def run_supervised(
    config: Config,
    *,
    target: str,
    read_again: Callable[[], tuple[Config, str]],
    ignored: Sequence[str] = (),
    has_command: bool = False,
) -> int:
    """Serve by workers until a signal says to stop; return the exit code.

    ``read_again`` returns options and target as they are at a reload; ``has_command`` says that the
    process can be started by its command line again.

    Raises:
        ConfigurationError: an address or a certificate cannot be used, or no worker starts.
    """
    if os.name != "posix":
        raise ConfigurationError(
            f"There are no workers on this system, which {config.supervised_by} asks for.",
            "Leave it out: one process serves.",
        )
    identity = resolve(config)
    # Requests are the workers'.
    log = command_log(dataclasses.replace(config, access_log=False, access_log_file=""))
    with ExitStack() as stack:
        stack.callback(log.close)
        name_ignored(log, ignored)
        state = taken_over()
        fixed = {name: from_json(value) for name, value in state.get("fixed", {}).items()}
        config = dataclasses.replace(config, **fixed)  # read_again() names those that changed
        if identity is not None:
            warn(identity, log.events)
        set_umask(config)
        account = account_of(config)
        owner = (-1, -1) if account is None else (account.uid, account.gid)
        manager = ServiceManager()
        plan = _plan(config, target)
        if state:
            listeners = [inherited(each) for each in state["listeners"]]
        else:
            listeners = open_all(config, owner)
        site = _Site(plan, listeners, identity, log, read_again, has_command)
        stack.callback(site.close)
        meter = _meter(config, log, state.get("metrics", {}))
        if meter is not None:
            stack.callback(meter.close)
            site.metrics_url = meter.url
        stack.enter_context(pid_file(config.pid))
        code = Supervisor(plan, site, log, manager, state, meter).run()
        log.events.info("stopped", extra=named("stopped"))
        return code


def _meter(config: Config, log: Log, handed: dict[str, int]) -> Meter | None:
    """Return who adds up what workers count, if anybody is to, or was before."""
    if not (config.metrics or handed):
        return None
    from .totals import meter_of

    return meter_of(config.metrics, log, handed)


def _plan(config: Config, target: str) -> Plan:
    """Return what workers are to serve.

    Raises:
        ConfigurationError: there is no such folder or user; a file cannot be read.
    """
    check_folder(config)
    variables = variables_of(config)
    if config.reload:
        # A file that changes twice in a second, and keeps its length, would be taken for the same.
        variables = {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    account = account_of(config)
    if account is None:
        return Plan(config, target, variables)
    if (identity := resolve(config)) is not None and identity.development:
        pair = (identity.cert_path,)
        config = dataclasses.replace(config, cert=pair, key=pair)
    return Plan(
        config,
        target,
        account.variables | variables,
        (account.uid, account.gid, account.groups),
        _opened(config),
    )


def _opened(config: Config) -> dict[str, int]:
    """Return the files of the options for TLS, as they are now, open for workers to read."""
    if not hasattr(os, "memfd_create"):
        return {}  # macOS: the user has to be one who may read them
    files = {}
    for field in dataclasses.fields(Config):
        if field.metadata["group"] != "TLS" or field.metadata["metavar"] != "FILE":
            continue
        value = getattr(config, field.name)
        for path in filter(None, [value] if isinstance(value, str) else value):
            files[path] = os.memfd_create("h2wsgi-file")
            os.write(files[path], Path(path).read_bytes())  # which resolve() has read before
    return files


class _Site:
    """See Site."""

    def __init__(
        self,
        plan: Plan,
        listeners: list[Listener],
        identity: TLSIdentity | None,
        log: Log,
        read_again: Callable[[], tuple[Config, str]],
        has_command: bool,
    ) -> None:
        self.has_command = has_command
        self.metrics_url = ""
        self._plan = plan
        self._listeners = listeners
        self._identity = identity
        self._log = log
        self._read_again = read_again

    def listeners(self) -> list[dict[str, Any]]:
        return [listener.description() for listener in self._listeners]

    def handed_over(self) -> list[dict[str, Any]]:
        return [listener.handed_over() for listener in self._listeners]

    def fixed(self) -> dict[str, Any]:
        return {name: getattr(self._plan.config, name) for name in FIXED}

    def prepare_to_go(self) -> None:
        self._log.settle()

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()

    def ready(self, workers: int) -> None:
        urls = dict.fromkeys((listener.url, listener.tls) for listener in self._listeners)
        ready(
            self._log,
            self._plan.config,
            target=self._plan.target,
            version=__version__,
            endpoints=[Endpoint(url, tls) for url, tls in urls],
            certificate=self._identity,
            workers=workers,
            metrics=self.metrics_url,
        )

    def read_again(self) -> Plan:
        config, target = self._read_again()
        fixed = self.fixed()
        changed = [name for name, value in fixed.items() if getattr(config, name) != value]
        if changed:
            self._log.events.warning(
                "%s changed, which a reload does not: it takes a restart",
                " and ".join("--" + name.replace("_", "-") for name in changed),
                extra=named("reload_leaves_options"),
            )
            config = dataclasses.replace(config, **fixed)
        return _plan(config, target)
