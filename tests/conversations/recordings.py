"""What real clients sent: their octets, decrypted, one file of JSON for each client.

`record.py` makes the files anew.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

FOLDER = Path(__file__).parent


def load() -> dict[str, bytes]:
    """Return every recording: all that one connection's client sent, by client and what it did."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        for name, lines in json.loads(path.read_text("ascii")).items():
            found[f"{path.stem}: {name}"] = base64.b64decode("".join(lines))
    return found


def save(client: str, conversations: dict[str, bytes]) -> None:
    """Write one client's recordings, in lines that a diff can show."""
    content = {}
    for name, octets in conversations.items():
        text = base64.b64encode(octets).decode("ascii")
        content[name] = [text[at : at + 96] for at in range(0, len(text), 96)]
    path = FOLDER / f"{client}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", "ascii")
