"""Files that a process was handed open, as it may not open them itself: private keys, for example.

Filled in before anything is served; any thread reads it. OpenSSL wants paths, so each file gets one
that names its descriptor.
"""

from __future__ import annotations

_places: dict[str, str] = {}


def take(descriptors: dict[str, int]) -> None:
    """Read these files, by path, from their descriptors from now on."""
    _places.update({path: f"/proc/self/fd/{number}" for path, number in descriptors.items()})


def are_some() -> bool:
    """Return whether files were handed over."""
    return bool(_places)


def place_of(path: str) -> str:
    """Return the path at which a file is to be opened."""
    return _places.get(path, path)
