"""Print the table of options in docs/options.md, made from the fields of Config.

    python docs/options_table.py

The page holds it between two marks; a test compares.
"""

from __future__ import annotations

import dataclasses
import sys
import typing

from h2wsgi.config.config import GROUPS, Config, option_types


def size(octets: int) -> str:
    """Return a number of octets as people write it: 65536 as 64KiB."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if octets and octets % factor == 0:
            return f"{octets // factor}{unit}"
    return str(octets)


def default_of(field: dataclasses.Field[object]) -> str:
    """Return a field's default as the table shows it."""
    value = field.default
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return size(value) if field.metadata["unit"] == "octets" else str(value)
    if isinstance(value, float):
        return f"{value:g} s"
    return str(value) if value else ""


def choices_of(name: str) -> str:
    """Return the values that an option may have, if they are few."""
    kind = option_types()[name]
    if typing.get_origin(kind) is not typing.Literal:
        return ""
    return ": " + ", ".join(f"`{choice}`" for choice in typing.get_args(kind))


def table() -> str:
    """Return one Markdown table per group."""
    parts = []
    for group in GROUPS:
        rows = [f"| {group} | default | |", "|---|---|---|"]
        for field in dataclasses.fields(Config):
            if field.metadata["group"] == group:
                flags = ["--" + field.name.replace("_", "-"), *field.metadata["flags"]]
                names = ", ".join(f"`{flag}`" for flag in flags)
                shown = field.metadata["help"] + choices_of(field.name)
                rows.append(f"| {names} | {default_of(field)} | {shown} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
