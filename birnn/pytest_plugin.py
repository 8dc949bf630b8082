"""A plug-in of pytest's: cases as parameters have their names as ids."""

from __future__ import annotations


def pytest_make_parametrize_id(config: object, val: object, argname: str) -> str | None:
    """The name of a case; None for what is no case, which pytest then names itself."""
    kind = type(val)
    if (kind.__module__, kind.__qualname__) == ("common.case", "Case"):
        return str(val.name)  # type: ignore[attr-defined]
    return None
