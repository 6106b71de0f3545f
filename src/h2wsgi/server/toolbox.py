"""The tools that a server's options ask for: faults, recorder, traces, inspector, and no others.

Made and closed on the loop's thread, where connections are observed as well; what the recorder has
is read on any, the inspector serves on threads of its own. With no such option nothing of the
package ``tools`` is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config.config import Config
from ..config.fault_rules import FaultRules
from ..errors import ConfigurationError
from ..http2.interfaces import ObserverFactory
from ..log.logs import Log
from ..wsgi.runner import WSGIApplication

if TYPE_CHECKING:
    from ..tools.inspector.service import Inspector
    from ..tools.recording.recorder import Recorder
    from ..tools.recording.records import ConnectionRecord
    from ..tools.tap.tap import Taps


class Toolbox:
    """The tools of one server.

    Raises:
        ConfigurationError: a fault's rule is none.
    """

    def __init__(self, config: Config, log: Log) -> None:
        # immutable
        self._config = config
        self._log = log
        self.faults = FaultRules(config.fault, config.fault_seed)
        self._recorder: Recorder | None = None
        self._inspector: Inspector | None = None
        self.record_of: Callable[[int], ConnectionRecord | None] | None = None
        """Returns the record of the connection of a number; None: nothing is recorded."""
        # loop thread only
        self._taps: Taps | None = None
        if config.record:
            from ..tools.recording.recorder import Recorder

            self._recorder = Recorder()
            self.record_of = self._recorder.connection
        if config.inspect:
            from ..tools.inspector.service import Inspector

            self._inspector = Inspector(config.inspect, log)

    def in_front_of(self, app: WSGIApplication) -> WSGIApplication:
        """Return the application with faults in front of it, if there are rules now, and with who
        notes its calls."""
        if self.faults:
            from ..tools.faults import Faults

            app = Faults(app, self.faults, self._log)
        return app if self._inspector is None else self._inspector.watched(app)

    def settings_delay(self, what: str, peer: str) -> float:
        if not self.faults:
            return 0
        from ..tools.faults import settings_delay

        return settings_delay(self.faults, self._log, what, peer)

    def open(self) -> ObserverFactory | None:
        """Return who is to observe the connections, or None if no option asks for it.

        Raises:
            ConfigurationError: a file for the trace, or the inspector's address, cannot be used.
        """
        config = self._config
        if not (config.record or config.trace or config.trace_file or config.inspect):
            return None
        from ..tools.tap.tap import Taps
        from ..tools.trace.trace import open_traces

        sinks = open_traces(config, self._log)
        if self._recorder is not None:
            sinks.append(self._recorder)
        if self._inspector is not None:
            sinks.append(self._inspector.ledger)
        self._taps = Taps(sinks, self._log, config)
        if self._inspector is not None:
            self._inspector.start()
        return self._taps.observe

    def close(self) -> None:
        """Observe nothing more."""
        if self._inspector is not None:
            self._inspector.close()
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

    @property
    def inspect_url(self) -> str:
        """The URL of the inspector's page.

        Raises:
            ConfigurationError: the option ``inspect`` is off.
        """
        if self._inspector is None:
            raise ConfigurationError(
                "There is no inspector, as the option inspect is off.",
                "Turn it on with serve_in_thread(app, inspect=True) or --inspect.",
            )
        return self._inspector.url
