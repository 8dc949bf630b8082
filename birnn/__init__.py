"""The public API, each name imported when it is first used, and the command line: both call other rooms and print."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from birnn.api import assert_agrees, cases, judge, make_case, reference
    from birnn.own_layer import Verification, verify
    from common.case import Case, read_case, write_case
    from common.errors import InputError
    from common.specification import Specification
    from common.weights import initialise

__all__ = [
    "Case",
    "InputError",
    "Specification",
    "Verification",
    "assert_agrees",
    "cases",
    "initialise",
    "judge",
    "make_case",
    "read_case",
    "reference",
    "verify",
    "write_case",
]
_MODULES = {
    "Case": "common.case",
    "InputError": "common.errors",
    "Specification": "common.specification",
    "Verification": "birnn.own_layer",
    "assert_agrees": "birnn.api",
    "cases": "birnn.api",
    "initialise": "common.weights",
    "judge": "birnn.api",
    "make_case": "birnn.api",
    "read_case": "common.case",
    "reference": "birnn.api",
    "verify": "birnn.own_layer",
    "write_case": "common.case",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'birnn' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
