"""The tools that a server's options ask for: faults, the recorder, traces. Nothing else is loaded.

Made and closed on the loop's thread, where connections are observed as well; what the recorder has
is read on any. With no such option nothing of the package ``tools`` is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .config import Config
from .errors import ConfigurationError
from .fault_rules import parse_rules
from .http2.observer import ObserverFactory
from .logs import Log
from .wsgi.runner import WSGIApplication

if TYPE_CHECKING:
    from .tools.faults import ConnectionFaults
    from .tools.recorder import Recorder
    from .tools.records import ConnectionRecord
    from .tools.tap import Taps


class Toolbox:
    """The tools of one server.

    Raises:
        ConfigurationError: a fault's rule is none.
    """

    def __init__(self, config: Config, log: Log) -> None:
        # immutable
        self._config = config
        self._log = log
        self._rules = parse_rules(config.fault, config.fault_seed)
        self._faults: ConnectionFaults | None = None
        self._recorder: Recorder | None = None
        self.record_of: Callable[[int], ConnectionRecord | None] | None = None
        """Returns the record of the connection of a number; None: nothing is recorded."""
        # loop thread only
        self._taps: Taps | None = None
        if self._rules:
            from .tools.faults import ConnectionFaults

            self._faults = ConnectionFaults(self._rules, log)
        if config.record:
            from .tools.recorder import Recorder

            self._recorder = Recorder()
            self.record_of = self._recorder.connection

    def spoil(self, app: WSGIApplication) -> WSGIApplication:
        """Return the application with the faults in front of it, if there are any."""
        if not self._rules:
            return app
        from .tools.faults import Faults

        return Faults(app, self._rules, self._log)

    def settings_delay(self, what: str, peer: str) -> float:
        """See ProtocolHost."""
        return 0 if self._faults is None else self._faults.delay(what, peer)

    def open(self) -> ObserverFactory | None:
        """Return who is to observe the connections, or None if no option asks for it.

        Raises:
            ConfigurationError: a file for the trace cannot be written.
        """
        config = self._config
        if not (config.record or config.trace or config.trace_file):
            return None
        from .tools.tap import Taps
        from .tools.trace import open_traces

        sinks = open_traces(config, self._log)
        if self._recorder is not None:
            sinks.append(self._recorder)
        self._taps = Taps(sinks, self._log, config)
        return self._taps.observe

    def close(self) -> None:
        """Observe nothing more."""
        if self._taps is not None:
            self._taps.close()

    @property
    def recorder(self) -> Recorder:
        """Where connections and requests are recorded.

        Raises:
            ConfigurationError: the option ``record`` is off.
        """
        if self._recorder is None:
            raise ConfigurationError(
                "Nothing is recorded, as the option record is off. Turn it on with "
                "serve_in_thread(app, record=True), Config(record=True) or --record."
            )
        return self._recorder
