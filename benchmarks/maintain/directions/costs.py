"""What two directions cost beside one: times side by side in one worker, and peak memory."""

from __future__ import annotations

import math

from backends.interface.gaps import DECLINED
from backends.interface.layer import PASSES
from backends.pool.pool import NoAnswer
from benchmarks.cases.case import BenchmarkCase, case_name
from benchmarks.claims.timing import TWIN, Variant, peak_bytes, time_side_by_side
from benchmarks.claims.workshop import Workshop
from benchmarks.maintain.directions.record import ONE, TWO, WIDE, Cost, Declined, Peak
from common.specification import Cell, Specification

CELLS: tuple[Cell, ...] = ("rnn_tanh", "gru", "lstm")
"""The cells that are timed."""
SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE = 100, 32, 64, 128
"""The sizes of what is timed."""
MEMORY_BATCH = 256
"""Rows of what the memory is taken of: with those that are timed, what the allocators round to is a part of it."""
MEMORY_TRIES = 2
"""How often a peak is asked for that cannot be told."""
IMPLEMENTATIONS = {
    "torch": ("native", "tuned"),
    "jax": ("native-linen", "tuned"),
    "tensorflow": ("native", "tuned"),
    "mxnet": ("native",),
}
"""The implementations that are timed."""


def specification(cell: Cell, variant: str, hidden_size: int = HIDDEN_SIZE) -> Specification:
    """One layer of a variant."""
    return Specification(
        cell=cell,
        input_size=INPUT_SIZE,
        hidden_size=2 * hidden_size if variant == WIDE else hidden_size,
        num_layers=1,
        bias=True,
        merge="concat" if variant == TWO else None,
        num_directions=2 if variant == TWO else 1,
    )


def layer_case(
    cell: Cell, variant: str, hidden_size: int = HIDDEN_SIZE, seq_len: int = SEQ_LEN, batch: int = BATCH
) -> BenchmarkCase:
    """The case of a variant, with full rows."""
    spec = specification(cell, variant, hidden_size)
    return BenchmarkCase(name=case_name(spec, seq_len, batch, False), spec=spec, seq_len=seq_len, batch=batch)


def costs_of(
    workshop: Workshop, framework: str, implementation: str, cell: Cell, passed: str, **sizes: int
) -> list[Cost] | Declined:
    """The times of all variants of a pass, each judged before it is timed; or that it is declined.

    Raises
    ------
    NoAnswer
        If one fails, or disagrees with the reference.
    """
    name = f"{framework}/{implementation}"
    try:
        timed = time_side_by_side(workshop, framework, _variants(implementation, cell, passed, **sizes))
    except NoAnswer as error:
        return _declined(error, name, cell, passed)
    return [
        Cost(
            implementation=name,
            cell=cell,
            passed=passed,
            variant=variant,
            seconds=timed[variant].seconds,
            ratio=_inverse(timed[variant].ratio.median),  # two directions over it; the contest has it over two
            low=_inverse(timed[variant].ratio.high),
            high=_inverse(timed[variant].ratio.low),
            twin=timed[TWIN].ratio.median,
            others_cpu=timed[variant].others_cpu,
        )
        for variant in (TWO, ONE, WIDE)
    ]


def peaks_of(
    workshop: Workshop,
    framework: str,
    implementation: str,
    cell: Cell,
    passed: str,
    batch: int = MEMORY_BATCH,
    **sizes: int,
) -> list[Peak] | Declined:
    """The memory of all variants of a pass, asked for again where it cannot be told; raises as ``costs_of``."""
    name = f"{framework}/{implementation}"
    variants = _variants(implementation, cell, passed, batch=batch, **sizes)
    peaks: dict[str, int | None] = {}
    try:
        for _ in range(MEMORY_TRIES):
            unknown = [variant for variant in variants if peaks.get(variant.name) is None]
            if unknown:
                peaks |= peak_bytes(workshop, framework, unknown)
    except NoAnswer as error:
        return _declined(error, name, cell, passed)
    return [
        Peak(implementation=name, cell=cell, passed=passed, variant=variant, peak_bytes=peaks[variant])
        for variant in (TWO, ONE, WIDE)
    ]


def _variants(implementation: str, cell: Cell, passed: str, **sizes: int) -> list[Variant]:
    """What is held against each other, two directions first."""
    return [
        Variant(variant, layer_case(cell, variant, **sizes), implementation, passed) for variant in (TWO, ONE, WIDE)
    ]


def _declined(error: NoAnswer, name: str, cell: Cell, passed: str) -> Declined:
    """That a pass is declined; the error again where it is not."""
    if error.reply.status not in DECLINED:
        raise error
    return Declined(implementation=name, cell=cell, passed=passed, reason=error.reply.reason)


def _inverse(ratio: float) -> float:
    """1 over a ratio; infinite for an end of an interval that is 0, where there were too few cycles."""
    return 1 / ratio if ratio > 0 else math.inf


def parts() -> list[tuple[str, str, Cell, str]]:
    """Framework, implementation, cell and pass of all that is timed."""
    return [
        (framework, implementation, cell, passed)
        for framework, group in IMPLEMENTATIONS.items()
        for implementation in group
        for cell in CELLS
        for passed in PASSES
    ]
