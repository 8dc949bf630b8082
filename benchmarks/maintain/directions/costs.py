"""What two directions cost beside one: time side by side in one worker, peak memory, and parameters."""

from __future__ import annotations

import math

from backends.interface.gaps import DECLINED
from backends.interface.layer import PASSES
from backends.pool.pool import NoAnswer
from benchmarks.cases.case import BenchmarkCase, case_name
from benchmarks.claims.timing import TWIN, Variant, time_side_by_side
from benchmarks.claims.workshop import Workshop
from benchmarks.maintain.directions.record import ONE, TWO, WIDE, Cost, Declined
from common.specification import Cell, Specification

CELLS: tuple[Cell, ...] = ("rnn_tanh", "gru", "lstm")
"""The cells that are timed."""
SEQ_LEN, BATCH, INPUT_SIZE, HIDDEN_SIZE = 100, 32, 64, 128
"""The sizes of what is timed."""
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


def layer_case(cell: Cell, variant: str, hidden_size: int = HIDDEN_SIZE, seq_len: int = SEQ_LEN) -> BenchmarkCase:
    """The case of a variant, with full rows."""
    spec = specification(cell, variant, hidden_size)
    return BenchmarkCase(name=case_name(spec, seq_len, BATCH, False), spec=spec, seq_len=seq_len, batch=BATCH)


def costs_of(
    workshop: Workshop, framework: str, implementation: str, cell: Cell, passed: str, **sizes: int
) -> list[Cost] | Declined:
    """The costs of all variants of a pass, each judged before it is timed; or that it is declined.

    Raises
    ------
    NoAnswer
        If one fails, or disagrees with the reference.
    """
    name = f"{framework}/{implementation}"
    variants = [
        Variant(variant, layer_case(cell, variant, **sizes), implementation, passed) for variant in (TWO, ONE, WIDE)
    ]
    try:
        timed = time_side_by_side(workshop, framework, variants)
    except NoAnswer as error:
        if error.reply.status not in DECLINED:
            raise
        return Declined(implementation=name, cell=cell, passed=passed, reason=error.reply.reason)
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
            peak_bytes=timed[variant].peak_bytes,
            twin=timed[TWIN].ratio.median,
        )
        for variant in (TWO, ONE, WIDE)
    ]


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
