"""What a worker may answer: anything else is a broken protocol, after which nothing that it says is believed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.interface.gaps import DECLINED
from common.errors import from_validation

LONGEST = 16 << 20
"""Bytes of a line that a worker answers; the longest are traces of some hundred numbers."""
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BrokenProtocol(Exception):
    """An answer is none; the text is a part of a sentence: what must hold, and what came."""


class _Object(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Description(_Object):
    status: Literal["ready"]
    name: str
    versions: dict[str, str]
    devices: dict[str, str]
    implementations: list[str]
    gaps: list[dict[str, Any]]


class _Refusal(_Object):
    reason: str


class _Packages(_Object):
    packages: dict[str, str]


class _Probes(_Object):
    probes: list[dict[str, str]]


class _Observation(_Object):
    observation: dict[str, str]


class _Product(_Object):
    flops_per_second: Positive
    size: int


class _Copy(_Object):
    bytes_per_second: Positive


class _Barrier(_Object):
    seconds: Seconds | None


class _Busy(_Object):
    threads: Seconds


class _Opened(_Object):
    build_seconds: Seconds
    first_call_seconds: Seconds
    samples: list[Seconds]
    path: str


class _Block(_Object):
    samples: Annotated[list[Seconds], Field(min_length=1)]


class _Kernels(_Object):
    kernels: list[str]


class _Steps(_Object):
    steps: list[dict[str, float]]


STATUSES = ("done", *DECLINED, "failed")
"""What an answer's status is."""
DONE: dict[str, type[_Object]] = {
    "packages": _Packages,
    "probes": _Probes,
    "probe": _Observation,
    "product": _Product,
    "copy": _Copy,
    "barrier": _Barrier,
    "busy": _Busy,
    "open": _Opened,
    "block": _Block,
    "kernels": _Kernels,
    "network_train": _Steps,
}
"""What an answer holds that is done, by the request's ``op``; those that are not here answer in files, or nothing."""


def description(line: bytes, name: str) -> dict[str, Any]:
    """A worker's first line, that of the backend ``name``; its status is ready, or broken with a reason.

    Raises
    ------
    BrokenProtocol
        If it is anything else.
    """
    found = _object(line)
    if found.get("status") == "broken":
        return _checked(found, _Refusal)
    _checked(found, _Description)
    if found["name"] != name:
        raise BrokenProtocol(f"its framework must be named {name!r}; got {found['name']!r}")
    return found


def reply(line: bytes, number: int, op: str) -> dict[str, Any]:
    """The answer to the request ``number`` for ``op``; its status is one of ``STATUSES``.

    Raises
    ------
    BrokenProtocol
        If it answers another request, as a stray line does, or lacks what belongs into it.
    """
    found = _object(line)
    if type(found.get("id")) is not int or found["id"] != number:
        raise BrokenProtocol(f"its answer must be to request {number}; got {line[:60]!r}")
    if found.get("status") not in STATUSES:
        raise BrokenProtocol(f"its answer must be {', '.join(STATUSES[:-1])} or {STATUSES[-1]}; got {line[:60]!r}")
    return _checked(found, DONE.get(op, _Object) if found["status"] == "done" else _Refusal)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BrokenProtocol(f"its answer must be a JSON object; got {line[:60]!r}")
    return found


def _checked(found: dict[str, Any], kind: type[_Object]) -> dict[str, Any]:
    try:
        kind.model_validate(found)
    except ValidationError as error:
        raise BrokenProtocol(str(from_validation(error, "its answer"))) from None
    return found
