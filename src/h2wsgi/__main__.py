"""``python -m h2wsgi``: the same as the command ``h2wsgi``. Main thread."""

from __future__ import annotations

import sys

from .command.cli import main

if __name__ == "__main__":
    sys.exit(main())
