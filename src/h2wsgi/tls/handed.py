"""Files that a process was handed open, as it may not open them itself: keys, for one.

Filled in before anything is served; any thread reads it. OpenSSL wants names of files, so that is
what is given for them.
"""

from __future__ import annotations

_places: dict[str, str] = {}


def take(descriptors: dict[str, int]) -> None:
    """Have files be those of descriptors, by their paths."""
    _places.update({path: f"/proc/self/fd/{number}" for path, number in descriptors.items()})


def are_some() -> bool:
    """Return whether files were handed over."""
    return bool(_places)


def place_of(path: str) -> str:
    """Return where the file of a path is to be opened."""
    return _places.get(path, path)
