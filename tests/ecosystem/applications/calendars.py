"""Radicale with its storage in the current folder; whoever has a password is let in."""

from __future__ import annotations

import os

with open("radicale.conf", "w") as file:
    file.write(
        f"""
[auth]
type = htpasswd
htpasswd_filename = {os.path.abspath("users")}
htpasswd_encryption = plain
[storage]
filesystem_folder = {os.path.abspath("collections")}
[logging]
level = warning
"""
    )
with open("users", "w") as file:
    file.write("eva:secret\n")
os.environ["RADICALE_CONFIG"] = os.path.abspath("radicale.conf")

from radicale import application as app

__all__ = ["app"]
