"""What was measured of streaming, as it is kept in a file, so that an interrupted command goes on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from benchmarks.maintain.directions.record import Taken
from common.models.streaming import Streaming

ONE_LAYER, TWO_LAYERS, ONE_DIRECTION = "one layer", "two layers", "one direction"
"""The taggers that are streamed; the last has one layer, too."""


class Counts(BaseModel):
    """What follows of a pace and the lengths of the rows alone, exactly.

    ``wait`` is the mean, over the rows, of how many steps must have come before the first one is answered; ``computed``
    the steps of a cell, over all layers and directions, over the steps that are answered; ``exact`` the share of the
    steps that are answered as the whole sequence would be, whatever it holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: float
    computed: float
    exact: float


class Answered(BaseModel):
    """What one tagger answers to the held-out rows at one pace; None as the pace is the whole sequence at once.

    ``same`` is the share of the answers that are those of the whole sequence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    seed: int
    streaming: Streaming | None
    accuracy: float
    same: float
    counts: Counts


class Timed(BaseModel):
    """How long one row of ``steps`` takes at a pace, medians of ``rounds``.

    ``first_seconds`` from when the first window's steps were there to its answers; ``step_seconds`` all windows' times
    over the steps; ``others_cpu`` the cores that others took meanwhile, None where the kernel does not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    implementation: str
    model: str
    streaming: Streaming
    steps: int
    rounds: int
    first_seconds: float
    step_seconds: float
    others_cpu: float | None


class Measured(BaseModel):
    """All of it; ``answered_taken`` and ``timed_taken`` are of the last time that something was added."""

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    implementation: str = ""
    answered: list[Answered] = []
    timed: list[Timed] = []
    answered_taken: Taken | None = None
    timed_taken: Taken | None = None
