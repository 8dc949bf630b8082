"""The built-in cases: small ones that catch every known mistake, and a real one.

Their shapes repeat on purpose, so that JAX and TensorFlow compile few programs: what varies without a compilation
(lengths, states, padding, weights) varies within a shape. Sizes are pairwise different unless a case is about their
being equal.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from common.case import Case
from common.g2pm import g2pm_case
from common.making import Shape, make_case
from common.specification import Specification

CELLS: dict[str, dict[str, Any]] = {
    "rnn_tanh": {"cell": "rnn_tanh"},
    "rnn_relu": {"cell": "rnn_relu"},
    "gru": {"cell": "gru"},
    "gru_before": {"cell": "gru", "reset_after": False},
    "lstm": {"cell": "lstm"},
}
"""The five cells; ``gru_before`` resets before the recurrent product."""

SIZES: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "num_layers": 1, "bias": True, "merge": "concat"}
SQUARE: dict[str, Any] = {"input_size": SIZES["hidden_size"]}
"""For the cases whose kernels are square, so that a transposed one has the right shape."""
STACK_MERGES = {"rnn_tanh": "sum", "rnn_relu": "weighted", "gru": "mul", "gru_before": "weighted", "lstm": "ave"}


def builtin_cases() -> list[Case]:
    """All built-in cases, each with gradients."""
    return [*small_cases(), g2pm_case()]


def small_cases() -> Iterator[Case]:
    """The made-up cases, drawn from a seed that is their name's CRC-32."""
    for cell in CELLS:
        sizes = SQUARE if cell == "rnn_relu" else {}
        yield _case(f"{cell}-ragged", cell, Shape(3, 5, (5, 3, 2)), **sizes)
        yield _case(f"{cell}-empty-row", cell, Shape(3, 5, (1, 5, 0)), **sizes)
        yield _case(f"{cell}-no-states", cell, Shape(3, 5, (4, 5, 1)), with_states=False, **sizes)
        yield _case(f"{cell}-full", cell, Shape(3, 5, (5, 5, 5)), **sizes)
        stack: dict[str, Any] = {"num_layers": 2, "merge": STACK_MERGES[cell], "bias": False}
        name = f"{cell}-two-layers-{STACK_MERGES[cell]}-no-bias"
        yield _case(name, cell, Shape(3, 5), **stack)
        yield _case(f"{name}-no-states", cell, Shape(3, 5), with_states=False, **stack)
    for cell in ("rnn_tanh", "gru", "lstm"):
        yield _case(f"{cell}-weighted", cell, Shape(3, 5, (5, 3, 2)), merge="weighted")
    yield _case("gru-unequal", "gru", Shape(3, 5, (5, 0, 2)), hidden_size_reverse=3)
    yield _case("lstm-unequal", "lstm", Shape(3, 5, (4, 5, 1)), num_layers=2, hidden_size_reverse=7)
    yield _case("gru-two-layers", "gru", Shape(3, 5), num_layers=2)
    yield _case("gru-two-layers-no-states", "gru", Shape(3, 5), with_states=False, num_layers=2)
    yield _case("lstm-batch-is-seq-len", "lstm", Shape(4, 4, (3, 4, 1, 2)))
    yield _case("lstm-batch-is-seq-len-empty-row", "lstm", Shape(4, 4, (4, 0, 3, 1)))
    yield _case("lstm-batch-is-seq-len-full", "lstm", Shape(4, 4, (4, 4, 4, 4)))
    yield _case("lstm-batch-is-seq-len-no-states", "lstm", Shape(4, 4, (2, 1, 4, 3)), with_states=False)
    yield _case("lstm-one-step", "lstm", Shape(3, 1))
    yield _case("lstm-one-long-row", "lstm", Shape(1, 200, (131,)))
    yield _case("lstm-all-rows-empty", "lstm", Shape(3, 5, (0, 0, 0)))
    yield _case("gru-all-rows-empty", "gru", Shape(3, 5, (0, 0, 0)))


def _case(name: str, cell: str, shape: Shape, with_states: bool = True, **changes: Any) -> Case:
    spec = Specification(**(SIZES | CELLS[cell] | changes))
    seed = zlib.crc32(name.encode())
    return make_case(
        name, spec, shape, seed=seed, with_states=with_states, with_cotangents=True, source=f"built in, seed {seed}"
    )
