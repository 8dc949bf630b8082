"""Errors that a user's input causes, each one sentence: what must hold, what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(Exception):
    """Bad input; its text is one sentence that names the file or option, what must hold and what came."""


def shown(value: object, limit: int = 60) -> str:
    """``value`` as it is shown in an error: its repr, cut to ``limit`` characters."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} nested too deep to show"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def from_validation(error: ValidationError, what: str) -> InputError:
    """Turn pydantic's first complaint about ``what`` into one sentence."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return InputError(f"{what} must have the key {where!r}; it is missing")
    if first["type"] == "extra_forbidden":
        return InputError(f"{what} must have no unknown keys; got {where!r}")
    rule = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    rule = rule[0].lower() + rule[1:]
    place = f"{what}: {where}" if where else what
    return InputError(f"{place} {rule}; got {shown(first['input'])}")
