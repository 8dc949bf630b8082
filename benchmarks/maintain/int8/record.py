"""What was measured of int8, as it is kept in a file, so that an interrupted command goes on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from benchmarks.maintain.directions.record import Taken

TRAINED, KERNELS, DYNAMIC = "as trained", "kernels alone", "dynamic"
"""A model as it was trained, with its kernels in int8, and with its activations rounded besides."""
WAYS = (TRAINED, KERNELS, DYNAMIC)
"""How a model is computed, in the order of the tables."""


class Answered(BaseModel):
    """What one trained model answers to its held-out examples, computed in one of ``WAYS``.

    ``same`` is the share of the answers that are those of the model as it was trained; ``perplexity`` of a language
    model, None elsewhere; ``float32_bytes`` and ``int8_bytes`` of its parameters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    way: str
    seed: int
    accuracy: float
    same: float
    perplexity: float | None
    float32_bytes: int
    int8_bytes: int


class Grown(BaseModel):
    """How far the output of a layer in one direction is from float64's, by step.

    ``errors`` are, after each of ``steps``, the RMS of the difference over the RMS of the output; ``largest`` the
    largest difference over that RMS. ``factor`` is what the drawn weights were multiplied with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell: str
    way: str
    factor: float
    steps: list[int]
    errors: list[float]
    largest: list[float]


class Timed(BaseModel):
    """How long a framework's own kernel of a layer takes beside its float32 layer: medians of ``rounds``, in turn.

    ``error`` and ``float_error`` are the RMS of the differences to the reference's output, over that output's RMS;
    ``units`` are those of a direction; ``path`` is what ran, ``instructions`` what the CPU has for products of int8.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    framework: str
    kernel: str
    cell: str
    batch: int
    steps: int
    units: int
    rounds: int
    threads: int
    float_seconds: float
    seconds: float
    float_error: float
    error: float
    path: str
    instructions: list[str]
    others_cpu: float | None


class Declined(BaseModel):
    """A framework that has no int8 kernel for a cell, with the reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    framework: str
    cell: str
    reason: str


class Measured(BaseModel):
    """All of it; each of ``answered_taken``, ``grown_taken`` and ``timed_taken`` is of the last time that something was
    added.
    """

    model_config = ConfigDict(extra="forbid")

    version: int = 1
    implementation: str = ""
    answered: list[Answered] = []
    grown: list[Grown] = []
    timed: list[Timed] = []
    declined: list[Declined] = []
    answered_taken: Taken | None = None
    grown_taken: Taken | None = None
    timed_taken: Taken | None = None
