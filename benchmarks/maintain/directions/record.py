"""What was measured of two directions and one, as it is kept in a file, so that an interrupted command goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import InputError, from_validation
from common.tensorfile import json_from_text, write_bytes

TWO, ONE, WIDE = "two directions", "one direction", "one direction, twice the units"
"""What is held against each other: two of H units each, one of H, and one of 2·H, whose output is as wide as theirs."""


class Cost(BaseModel):
    """One variant of one pass in one implementation.

    ``seconds`` of the median call; ``ratio`` that of two directions over it, paired by cycle, with its 95 % interval;
    ``twin`` the ratio of two directions over themselves, which is noise; ``others_cpu`` the cores that others took
    while it was timed, None where the kernel does not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    implementation: str
    cell: str
    passed: str
    variant: str
    seconds: float
    ratio: float
    low: float
    high: float
    twin: float
    others_cpu: float | None


class Peak(BaseModel):
    """What a call of one variant takes at its peak, over what was resident before it; None where it cannot be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    implementation: str
    cell: str
    passed: str
    variant: str
    peak_bytes: int | None


class Learned(BaseModel):
    """The held-out accuracy of one variant of a task after its last epoch, from one seed; ``baseline`` a trivial
    answer's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    variant: str
    seed: int
    implementation: str
    accuracy: float
    baseline: float
    parameters: int


class Declined(BaseModel):
    """A pass that an implementation declares that it does not do, with the reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    implementation: str
    cell: str
    passed: str
    reason: str


class Taken(BaseModel):
    """Where and when something was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine: str
    commit: str
    day: str


class Measured(BaseModel):
    """All of it; each of ``costs_taken``, ``peaks_taken`` and ``learned_taken`` is of the last time that something was
    added.
    """

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    version: int = 1
    costs: list[Cost] = []
    peaks: list[Peak] = []
    declined: list[Declined] = []
    learned: list[Learned] = []
    costs_taken: Taken | None = None
    peaks_taken: Taken | None = None
    learned_taken: Taken | None = None


Kept = TypeVar("Kept", bound=BaseModel)
"""What a file of measurements holds."""


def read_measured(path: Path, kind: type[Kept]) -> Kept:
    """What a file holds; nothing where there is no file.

    Raises
    ------
    InputError
        If it is no such file.
    """
    if not path.exists():
        return kind()
    try:
        return kind.model_validate(json_from_text(path.read_text(), str(path)))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} must be a readable text file; got: {error}") from None
    except ValidationError as error:
        raise from_validation(error, str(path)) from None


def write_measured(measured: BaseModel, path: Path) -> None:
    """Write it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (measured.model_dump_json(indent=1) + "\n").encode())
