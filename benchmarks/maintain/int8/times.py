"""How long the frameworks' own int8 kernels of a layer take beside their float32 layers, each held to the reference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.interface.gaps import DECLINED
from backends.pool.pool import NoAnswer
from backends.worker.int8 import FLOAT32
from backends.worker.messages import TimeInt8
from benchmarks.claims.workshop import Workshop
from benchmarks.machine import description
from benchmarks.machine.company import Watch
from benchmarks.maintain.int8.record import Declined, Timed
from common.case import Case, write_case
from common.errors import InputError
from common.reference import Reference
from common.specification import CELLS, Cell, Specification
from common.tensorfile import read
from common.weights import initialise

LAYERS = {
    "torch": "native",
    "jax": "native-linen",
    "tensorflow": "native",
    "mxnet": "native",
    "onnxruntime": "native",
}
"""The float32 layer of each framework."""
ROUNDS, SECONDS = 15, 0.05
"""How many rounds there are, and how long a block of calls in one is at least."""
CLOSE, NEAR = 1e-4, 0.1
"""How far outputs may be from the reference's, RMS over RMS: those in float32, and those in int8."""


class Shape(NamedTuple):
    """Rows, steps, and units of each direction, which is also how many features there are."""

    batch: int
    steps: int
    units: int


SHAPES = (Shape(1, 50, 128), Shape(32, 50, 256))
"""A sentence that somebody waits for, and a batch."""


def parts() -> list[tuple[str, Cell, Shape]]:
    """Everything that is timed."""
    return [(framework, cell, shape) for framework in LAYERS for cell in CELLS for shape in SHAPES]


def times_of(
    workshop: Workshop,
    framework: str,
    cell: Cell,
    shape: Shape,
    implementation: str,
    *,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
) -> list[Timed] | Declined:
    """The times of a framework's kernels of a bidirectional layer, or why it has none.

    Raises
    ------
    NoAnswer
        If the framework fails.
    InputError
        If an output is not near the reference's.
    """
    units = shape.units
    spec = Specification(cell=cell, input_size=units, hidden_size=units, num_layers=1, bias=True, merge="concat")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(shape.batch, shape.steps, units)).astype(np.float32).astype(np.float64)
    weights = {name: value.astype(np.float32).astype(np.float64) for name, value in initialise(spec, rng).items()}
    case, result = (workshop.pool.folder / f"int8-{framework}-{what}.safetensors" for what in ("case", "result"))
    write_case(Case("int8", "", spec, x, weights), case, durable=False)
    request = TimeInt8(case=case, implementation=implementation, result=result, rounds=rounds, seconds=seconds)
    watch = Watch(workshop.pool.pids)
    try:
        times = workshop.done(framework, request)
    except NoAnswer as error:
        if error.reply.status not in DECLINED:
            raise
        return Declined(framework=framework, cell=cell, reason=error.reply.reason)
    company = watch.company()
    outputs = read(result)[0]
    zeros = np.zeros((2, shape.batch, units))
    exact = Reference(spec, weights, np.float64).forward(x, None, zeros, zeros)["output"]
    errors = {name: away(output, exact) for name, output in outputs.items()}
    for name, apart in errors.items():
        most = CLOSE if FLOAT32 in name else NEAR
        if not apart < most:
            raise InputError(f"{framework}, {name}, {cell} must be as near the reference as {most}; it is {apart:.3g}")
    return [
        Timed(
            framework=framework,
            kernel=name,
            cell=cell,
            batch=shape.batch,
            steps=shape.steps,
            units=units,
            rounds=rounds,
            threads=1,
            float_seconds=float(np.median(times.seconds[FLOAT32])),
            seconds=float(np.median(taken)),
            float_error=errors[FLOAT32],
            error=errors[name],
            path=times.paths[name],
            instructions=description.int8_instructions(),
            others_cpu=company.taken,
        )
        for name, taken in times.seconds.items()
        if name != FLOAT32
    ]


def away(output: np.ndarray, exact: np.ndarray) -> float:
    """The RMS of the difference over the RMS of the exact output; infinite for another shape."""
    if output.shape != exact.shape:
        return float("inf")
    return float(np.sqrt(((output - exact) ** 2).mean() / (exact**2).mean()))
