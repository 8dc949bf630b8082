"""The built-in cases: small ones that catch every known mistake, and a real one.

Each cell has a few programs, which is what JAX and TensorFlow compile, and many classes of mistake share each of them:
what varies without a compilation (lengths, states, magnitudes, cotangents, padding) varies within a program. Sizes are
pairwise different unless a case is about their being equal. tests/common/judging/test_blind_spots.py holds, class by
class, what the set would not see without them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common.case import Case
from common.cases.g2pm import g2pm_case
from common.cases.seeded import Shape, make_case
from common.specification import Specification

QUICK_FILE = Path(__file__).with_name("quick.json")
"""The file with the smallest set of cases that still catches every known mistake, and why each is there."""
CELLS: dict[str, dict[str, Any]] = {
    "rnn_tanh": {"cell": "rnn_tanh"},
    "rnn_relu": {"cell": "rnn_relu"},
    "gru": {"cell": "gru"},
    "gru_before": {"cell": "gru", "reset_after": False},
    "lstm": {"cell": "lstm"},
}
"""The five cells; ``gru_before`` resets before the recurrent product."""

SIZES: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "num_layers": 1, "bias": True, "merge": "concat"}
"""The specification of most cases, but for the cell."""
LAYERS = {"rnn_tanh": 2, "rnn_relu": 1, "gru": 3, "gru_before": 1, "lstm": 2}
"""Layers of the cases with concat and bias, by cell; where it is one, the wide cases are stacked."""
WIDE: dict[str, Any] = {"input_size": 71, "hidden_size": 67, "bias": False}
"""Sizes past 64 and no multiples of a vector's width, so that kernels have whole tiles and a rest."""
MERGES: dict[str, dict[str, Any]] = {
    "rnn_tanh": {"merge": "sum"},
    "rnn_relu": {"merge": "weighted", "num_layers": 2},
    "gru": {"merge": "mul"},
    "gru_before": {"merge": "weighted", "num_layers": 2},
    "lstm": {"merge": "ave"},
}
"""How the wide cases merge."""
ONES: dict[str, Any] = {"input_size": 1, "hidden_size": 1, "num_layers": 2, "bias": False, "merge": "weighted"}
"""The specification whose sizes are all 1."""
FORWARD: dict[str, Any] = {"merge": None, "num_directions": 1}
"""What makes a specification one of a single direction."""
FORWARD_LAYERS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 2, "gru_before": 1, "lstm": 2}
"""Layers of the cases with one direction, by cell."""
LONG = 210
"""Steps of the long cases: more than any implementation unrolls, and several pieces where one works in pieces."""
GRADIENTS = 2.0**8
"""What a case's cotangents are multiplied by for gradients past 100; float16 still holds them."""
LARGE = 200.0
"""What large inputs and states are multiplied by."""
SMALL = 1e-4
"""What small inputs and states are multiplied by."""
SUBNORMAL = 1e-39
"""What a case's cotangents are multiplied by for gradients below float32's smallest normal number, 1.2e-38."""


def builtin_cases() -> list[Case]:
    """All built-in cases, each with gradients."""
    return [*small_cases(), g2pm_case()]


def quick_cases() -> list[Case]:
    """The smallest part of the built-in cases that still catches every known mistake in every cell, and takes every
    path of every implementation; ``benchmarks/maintain/quick_set.py`` finds it.
    """
    names = alone_in_quick()
    return [case for case in small_cases() if case.name in names]


def alone_in_quick() -> dict[str, dict[str, Any]]:
    """The names of ``quick_cases``, each with something that no other of them catches or takes: the fields of a
    ``CaughtMistake`` or a ``TakenPath`` (benchmarks/maintain/quick_set.py).
    """
    return json.loads(QUICK_FILE.read_text())["alone"]


def small_cases() -> Iterator[Case]:
    """The made-up cases, drawn from a seed that is their name's CRC-32."""
    for cell in CELLS:
        layers: dict[str, Any] = {"num_layers": LAYERS[cell]}
        # No row fills seq_len, and to sort the rows takes a cycle of three.
        yield _case(f"{cell}-ragged", cell, Shape(3, 9, (2, 8, 5)), **layers)
        no_states = _case(f"{cell}-empty-row-no-states", cell, Shape(3, 9, (0, 3, 9)), with_states=False, **layers)
        yield replace(no_states, cotangents={"output": no_states.cotangents["output"]})
        yield _scaled(_case(f"{cell}-full", cell, Shape(3, 9, (9, 9, 9)), **layers), cotangents=GRADIENTS)
        wide = f"{cell}-wide-{MERGES[cell]['merge']}"
        yield _case(wide, cell, Shape(3, 3, (1, 3, 2)), **WIDE, **MERGES[cell])
        yield _with_large_inputs(_case(f"{wide}-large", cell, Shape(3, 3, (3, 3, 3)), **WIDE, **MERGES[cell]))
        forward = FORWARD | {"num_layers": FORWARD_LAYERS[cell]}
        yield _case(f"{cell}-forward-ragged", cell, Shape(3, 9, (2, 8, 5)), **forward)
        yield _case(f"{cell}-forward-full", cell, Shape(3, 9, (9, 9, 9)), **forward)
    for cell in ("rnn_tanh", "gru", "lstm"):
        yield _case(f"{cell}-ones", cell, Shape(1, 1), **ONES)
    for cell in ("rnn_tanh", "lstm"):
        small = _case(f"{cell}-wide-small", cell, Shape(3, 3, (3, 3, 3)), **WIDE, **MERGES[cell])
        yield _scaled(small, x=SMALL, h_0=SMALL, c_0=SMALL)
    yield _scaled(_case("lstm-subnormal", "lstm", Shape(3, 9, (9, 9, 9)), num_layers=2), cotangents=SUBNORMAL)
    yield _case("lstm-all-rows-empty", "lstm", Shape(3, 9, (0, 0, 0)), num_layers=2)
    yield _case("lstm-unequal", "lstm", Shape(3, 5, (4, 5, 1)), num_layers=2, hidden_size_reverse=7)
    yield _case("rnn_tanh-one-long-row", "rnn_tanh", Shape(1, LONG, (LONG - 9,)))
    # Enough rows, and few enough units, for what works with the batch last, or in spans that fit into a cache.
    yield _case("gru-many-rows-sum", "gru", Shape(170, LONG), hidden_size=15, merge="sum")
    lengths = np.random.default_rng(0).integers(1, LONG, 140, endpoint=True)
    yield _case("lstm-many-rows", "lstm", Shape(140, LONG, tuple(map(int, lengths))), hidden_size=3)


def _case(name: str, cell: str, shape: Shape, with_states: bool = True, **changes: Any) -> Case:
    """A case of a cell, its arrays drawn from its name."""
    spec = Specification(**(SIZES | CELLS[cell] | changes))
    seed = zlib.crc32(name.encode())
    return make_case(
        name, spec, shape, seed=seed, with_states=with_states, with_cotangents=True, source=f"built in, seed {seed}"
    )


def _scaled(case: Case, cotangents: float = 1.0, **scales: float) -> Case:
    """The case with inputs and states, by name, and all cotangents multiplied."""
    given = {name: getattr(case, name) for name in scales}
    changes = {name: scales[name] * value for name, value in given.items() if value is not None}
    return replace(case, cotangents={name: cotangents * value for name, value in case.cotangents.items()}, **changes)


def _with_large_inputs(case: Case) -> Case:
    """The case with large inputs, and with large states in the first row alone; in all rows of a relu, whose kink would
    else be within rounding of a large row's numbers for some unit of a small one.

    Its input kernels are as much smaller: gates that are saturated do not tell one input from another. For that an
    LSTM's h_0 is less large than its c_0, which no kernel is multiplied by.
    """
    first = (np.arange(case.batch)[:, None] == 0) | (case.spec.cell == "rnn_relu")
    scales = {"h_0": LARGE / 10 if case.spec.cell == "lstm" else LARGE, "c_0": LARGE}
    states = {name: getattr(case, name) for name in scales}
    changes = {
        name: np.where(first, scales[name] * value, value) for name, value in states.items() if value is not None
    }
    weights = {
        name: value / LARGE if name.startswith("weight_ih_l0") else value for name, value in case.weights.items()
    }
    return replace(case, x=LARGE * case.x, weights=weights, **changes)
