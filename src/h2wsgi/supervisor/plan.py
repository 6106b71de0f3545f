"""What workers are to serve, and where: all that one is told at its start. Main thread."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass, field
from typing import Any, Protocol

from .._version import __version__
from ..config.config import Config


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """An application and the options to serve it with. Workers of one reload have one plan.

    ``variables`` are what a worker's environment has beside ours; ``account`` is the user, group
    and further groups that it runs as, if not as we do; ``files`` are files that it could not open
    itself: the descriptors by which they are open here, by path.
    """

    config: Config
    target: str
    variables: dict[str, str] = field(default_factory=dict)
    account: tuple[int, int, tuple[int, ...]] | None = None
    files: dict[str, int] = field(default_factory=dict)

    def close(self) -> None:
        """No further worker is started by this plan."""
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files.clear()

    def order(self, listeners: list[dict[str, Any]], shares: int, row: int) -> dict[str, Any]:
        """Return what a worker is told first."""
        config = {f.name: getattr(self.config, f.name) for f in dataclasses.fields(Config)}
        return {
            "version": __version__,
            "config": config,
            "target": self.target,
            "listeners": listeners,
            "shares": shares,
            "row": row,
            "files": self.files,
            "argv": sys.argv,
            "path": sys.path,
        }


class Site(Protocol):
    """The side that put the supervisor together: it has the sockets, and reads the options."""

    has_command: bool
    """Whether there is a command line by which this process can be started."""

    def listeners(self) -> list[dict[str, Any]]:
        """Return the sockets that listen, as a worker is told of them."""

    def handed_over(self) -> list[dict[str, Any]]:
        """Return the same for a successor, which keeps them."""

    def fixed(self) -> dict[str, Any]:
        """Return the options that stay until a restart, by name."""

    def prepare_to_go(self) -> None:
        """Finish what would be lost when this process executes another program."""

    def close(self) -> None:
        """Stop listening here; workers may still have the sockets."""

    def ready(self, workers: int) -> None:
        """Say that so many workers serve now."""

    def read_again(self) -> Plan:
        """Return what is to be served from now on.

        Raises:
            ConfigurationError: the options cannot be read, or make no sense.
        """
