"""Cases around the edges that matter: what a fuzzer draws, and the case that it stands for.

A draw is a few small numbers and words, so that Hypothesis can make it smaller while it still fails, and so that it
says in a line what is special about its case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from common.case import Case
from common.cases.builtin import CELLS
from common.cases.seeded import Shape, make_case
from common.specification import Directions, Merge, Specification

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
"""Features, units and rows: 1, primes, and the widths of vectors and tiles with their neighbours."""
STEPS = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65, 130)
"""The numbers of steps that are drawn from: around powers of two, where kernels cut sequences."""
LAYERS = (1, 2, 3)
"""The numbers of layers that are drawn from."""
MERGES = ("concat", "sum", "mul", "ave", "weighted")
"""The merges that are drawn from."""
LENGTHS = ("none", "full", "drawn", "descending", "ascending", "ones", "first empty", "last empty", "all empty")
"""The kinds of lengths that are drawn from."""
MAGNITUDES = ("usual", "large inputs", "tiny inputs", "large states", "saturated", "sparse", "zeros", "subnormal")
"""The kinds of numbers that are drawn from."""
STATES = ("given", "absent", "zeros")
"""The kinds of first states that are drawn from."""
COTANGENTS = ("all", "output", "states", "none")
"""The results by which gradients are asked for."""
MOST_FLOPS = 3e7
"""Flops of a forward pass at most: the reference takes a tenth of a second for it."""
LARGE, TINY, SUBNORMAL = 200.0, 1e-4, 1e-39
"""What numbers are multiplied by to be large, tiny or subnormal."""


@dataclass(frozen=True)
class Draw:
    """What is drawn for one case; each field's first value is the simplest.

    ``cell`` is one of ``common.cases.builtin.CELLS``; ``reverse`` the reverse direction's units where they differ,
    else 0; ``directions`` how many there are, of which one ignores ``merge`` and ``reverse``; ``seed`` draws the
    numbers.
    """

    cell: str
    input_size: int
    hidden_size: int
    reverse: int
    directions: int
    num_layers: int
    bias: bool
    merge: str
    batch: int
    seq_len: int
    lengths: str
    magnitude: str
    states: str
    cotangents: str
    dtype: str
    seed: int

    def spec(self) -> Specification:
        """The specification."""
        return Specification(
            **CELLS[self.cell],
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bias=self.bias,
            merge=cast(Merge, self.merge) if self.directions == 2 else None,
            hidden_size_reverse=(self.reverse or None) if self.directions == 2 else None,
            num_directions=cast(Directions, self.directions),
        )

    def fits(self) -> bool:
        """Whether the specification can be, and the reference takes no longer than a fuzzer has."""
        two_sizes = self.reverse and self.directions == 2
        if two_sizes and (self.merge != "concat" or self.reverse == self.hidden_size):
            return False
        spec = self.spec()
        per_step = sum(spec.layer_input_size(layer) + spec.state_size for layer in range(spec.num_layers))
        return (
            2 * spec.num_directions * spec.num_gates * spec.state_size * per_step * self.batch * self.seq_len
            <= MOST_FLOPS
        )

    def __str__(self) -> str:
        shape = f"T{self.seq_len} B{self.batch}"
        words = [str(self.spec()), shape, f"lengths {self.lengths}", self.magnitude, f"states {self.states}"]
        return ", ".join([*words, f"cotangents {self.cotangents}", self.dtype, f"seed {self.seed}"])


def draws(
    dtypes: Sequence[str],
    gradients: bool = True,
    cells: Sequence[str] = tuple(CELLS),
    directions: Sequence[int] = (1, 2),
) -> Any:
    """Hypothesis' strategy of draws, in these dtypes and cells and of so many directions; without ``gradients`` no
    cotangents.
    """
    from hypothesis import strategies

    def one_of(*values: Any) -> Any:
        return strategies.sampled_from(values)

    return strategies.builds(
        Draw,
        cell=one_of(*cells),
        input_size=one_of(*SIZES),
        hidden_size=one_of(*SIZES),
        reverse=one_of(0, 0, 0, 0, 1, 2, 5, 16, 33),
        directions=one_of(*sorted(directions)),
        num_layers=one_of(*LAYERS),
        bias=one_of(True, False),
        merge=one_of(*MERGES),
        batch=one_of(*SIZES),
        seq_len=one_of(*STEPS),
        lengths=one_of(*LENGTHS),
        magnitude=one_of(*MAGNITUDES),
        states=one_of(*STATES),
        cotangents=one_of(*(COTANGENTS if gradients else ("none",))),
        dtype=one_of(*dtypes),
        seed=strategies.integers(0, 2**16),
    ).filter(Draw.fits)


def case_of(draw: Draw) -> Case:
    """The case that a draw stands for."""
    lengths = _lengths(draw)
    case = make_case(
        f"fuzz-{draw.cell}-{draw.seed}",
        draw.spec(),
        Shape(draw.batch, draw.seq_len, lengths),
        seed=draw.seed,
        with_states=draw.states != "absent",
        with_cotangents=draw.cotangents != "none",
        source=f"drawn by birnn fuzz: {draw}",
    )
    if draw.states == "zeros":
        case = _scaled(case, h_0=0.0, c_0=0.0)
    wanted = {"all": case.cotangents, "output": {"output"}, "states": set(case.cotangents) - {"output"}}
    kept = wanted.get(draw.cotangents, ())
    case = replace(case, cotangents={name: value for name, value in case.cotangents.items() if name in kept})
    return _with_magnitude(case, draw)


def _lengths(draw: Draw) -> tuple[int, ...] | None:
    """The lengths that a draw asks for."""
    rng = np.random.default_rng([draw.seed, 1])
    drawn = rng.integers(1, draw.seq_len, draw.batch, endpoint=True)
    match draw.lengths:
        case "none":
            return None
        case "full":
            drawn[:] = draw.seq_len
        case "descending":
            drawn = np.sort(drawn)[::-1]
        case "ascending":
            drawn = np.sort(drawn)
        case "ones":
            drawn[:] = 1
        case "first empty":
            drawn[0] = 0
        case "last empty":
            drawn[-1] = 0
        case "all empty":
            drawn[:] = 0
    return tuple(map(int, drawn))


def _with_magnitude(case: Case, draw: Draw) -> Case:
    """The case with numbers of the kind that a draw asks for."""
    match draw.magnitude:
        case "large inputs":
            weights = {
                name: value / LARGE if name.startswith("weight_ih_l0") else value
                for name, value in case.weights.items()
            }
            return replace(_scaled(case, x=LARGE), weights=weights)
        case "tiny inputs":
            return _scaled(case, x=TINY, h_0=TINY, c_0=TINY)
        case "large states":
            return _scaled(case, h_0=LARGE / 10, c_0=LARGE)
        case "saturated":
            return replace(case, weights={name: 8 * value for name, value in case.weights.items()})
        case "sparse":
            rng = np.random.default_rng([draw.seed, 2])
            return replace(case, x=np.where(rng.random(case.x.shape) < 0.9, 0.0, case.x))
        case "zeros":
            return _scaled(case, x=0.0)
        case "subnormal":
            return replace(case, cotangents={name: SUBNORMAL * value for name, value in case.cotangents.items()})
    return case


def _scaled(case: Case, **scales: float) -> Case:
    """The case with inputs and states, by name, multiplied."""
    given = {name: getattr(case, name) for name in scales}
    return replace(case, **{name: scales[name] * value for name, value in given.items() if value is not None})
