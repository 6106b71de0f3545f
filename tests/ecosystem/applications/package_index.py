"""pypiserver, with uploads for whoever has the password."""

from __future__ import annotations

import os

import pypiserver

os.makedirs("packages", exist_ok=True)


def allowed(user: str, password: str) -> bool:
    return (user, password) == ("eva", "secret")


app = pypiserver.app(
    roots=[os.path.abspath("packages")], password_file=None, authenticate=["update"],
    auther=allowed, disable_fallback=True,
)  # fmt: skip
