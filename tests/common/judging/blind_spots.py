"""Wrong implementations, each right but on one class of cases: what a set without that class would call correct.

Each is the reference with something changed, where ``where`` holds, that code really does: a tile's rest left out, a
branch for one row, a sort that is not undone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.case import Case
from common.cells import State
from common.judging.yardstick import run_reference, truth_dtype
from common.reference import Arrays, Reference

OF_ONES = ("rnn_tanh", "gru", "lstm")
"""The cells whose built-in cases go to the ends of sizes; the other two differ from them by an activation, or by where
they reset."""
TILE = 8
"""Units that a vector of float32 holds, with 256 bits."""
SPAN = 5


@dataclass(frozen=True)
class BlindSpot:
    """One wrong implementation.

    Parameters
    ----------
    name
        Which cases it is wrong on, and how.
    where
        Whether it is wrong on a case; nowhere else is it.
    results
        What it gives for a case (rounded to the dtype) that it is wrong on.
    cells, dtypes
        Names in ``common.cases.builtin.CELLS`` and dtypes in which it can be made; every one of them must see it.
    """

    name: str
    where: Callable[[Case], bool]
    results: Callable[[Case, str], Arrays]
    cells: tuple[str, ...] = ("rnn_tanh", "rnn_relu", "gru", "gru_before", "lstm")
    dtypes: tuple[str, ...] = ("float32", "float64")


def right(case: Case, dtype: str, kind: type[Reference] = Reference) -> Arrays:
    """The reference's tensors, or those of another kind of it."""
    return run_reference(case, truth_dtype(dtype), kind)


def on(change: Callable[[Case], Case]) -> Callable[[Case, str], Arrays]:
    """What code gives that reads the case's inputs or weights wrongly."""
    return lambda case, dtype: right(change(case), dtype)


def by(kind: type[Reference]) -> Callable[[Case, str], Arrays]:
    """What a changed network gives."""
    return lambda case, dtype: right(case, dtype, kind)


# Layers.


class UpperLayersFlipThePadding(Reference):
    """Layers above the first reverse the whole row."""

    def run_direction(self, x: np.ndarray, state: State, layer: int, direction: int) -> tuple[np.ndarray, State]:
        self._layer = layer
        return super().run_direction(x, state, layer, direction)

    def to_direction(self, x: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return super().to_direction(x, None if self._layer else lengths, direction)


def stacked(case: Case) -> bool:
    spec = case.spec
    return spec.num_layers > 1 and spec.merge == "concat" and spec.hidden_size_reverse is None


def padded(case: Case) -> bool:
    return bool(case.padding_mask().any())


def without_upper_biases(case: Case) -> Case:
    weights = {
        name: np.zeros_like(value) if name.startswith("bias") and "_l0" not in name else value
        for name, value in case.weights.items()
    }
    return replace(case, weights=weights)


def third_layer_is_the_second(case: Case) -> Case:
    """Layers beyond the second read the second's weights, as an index that ends at 1 does."""
    return replace(case, weights={name: case.weights[name.replace("_l2", "_l1")] for name in case.weights})


def merges(merge: str, where: Callable[[Case], bool]) -> Callable[[Case], bool]:
    return lambda case: case.spec.merge == merge and where(case)


def merged_as(merge: str) -> Callable[[Case], Case]:
    return lambda case: replace(case, spec=case.spec.model_copy(update={"merge": merge}))


# Lengths and steps.


def without_lengths(case: Case) -> Case:
    return replace(case, lengths=None)


def rows_fill(case: Case) -> bool:
    return case.lengths is None or bool((case.lengths == case.seq_len).any())


def cut_at_the_longest(case: Case, dtype: str) -> Arrays:
    tensors = right(case, dtype)
    assert case.lengths is not None
    longest = int(case.lengths.max())
    return tensors | {name: tensors[name][:, :longest] for name in ("output", "grad.x") if name in tensors}


def order(case: Case) -> np.ndarray:
    """The rows by length, the longest first."""
    assert case.lengths is not None
    return np.argsort(-case.lengths, kind="stable")


def sorting_is_not_its_own_inverse(case: Case) -> bool:
    return case.lengths is not None and not np.array_equal(order(case)[order(case)], np.arange(case.batch))


def sorted_twice(case: Case, dtype: str) -> Arrays:
    """Outputs and states brought back with the order that sorted them, where its inverse would be right."""
    tensors, twice = right(case, dtype), order(case)[order(case)]
    states = {name: tensors[name][:, twice] for name in ("h_n", "c_n") if name in tensors}
    return tensors | {"output": tensors["output"][twice]} | states


def first_row_is_the_longest(case: Case) -> Case:
    assert case.lengths is not None
    return replace(case, lengths=np.minimum(case.lengths, case.lengths[0]))


class SpansStartAgain(Reference):
    """Every span of steps starts from the initial state; gradients are right."""

    span = SPAN

    def run_direction(self, x: np.ndarray, state: State, layer: int, direction: int) -> tuple[np.ndarray, State]:
        _, final = super().run_direction(x, state, layer, direction)
        mine = self._passes[layer, direction]
        source = self.to_direction(x, self._lengths, direction)
        outputs, kept, mask = [], list(mine._kept), mine.mask
        for start in range(0, x.shape[1], self.span):
            mine.mask = mask[:, start : start + self.span]
            outputs.append(mine.forward(source[:, start : start + self.span], state)[0])
        mine.mask, mine._kept = mask, kept
        return self.from_direction(np.concatenate(outputs, axis=1), self._lengths, direction), final


class LongSpansStartAgain(SpansStartAgain):
    span = 200


def longer_than(steps: int) -> Callable[[Case], bool]:
    return lambda case: case.seq_len > steps


def steps_swapped(case: Case, dtype: str) -> Arrays:
    """One step, whose two directions are told from each other by nothing but their weights: the halves change place."""
    tensors = right(case, dtype)
    rows = np.arange(len(tensors["h_n"])).reshape(-1, 2)[:, ::-1].ravel()
    return tensors | {"h_n": tensors["h_n"][rows]}


def without_states(case: Case) -> Case:
    return replace(case, h_0=None, c_0=None)


# Sizes.


def recurrent_columns(kept: Callable[[int], int]) -> Callable[[Case], Case]:
    """The recurrent kernel's columns past some are left out, as a loop over whole tiles does."""

    def change(case: Case) -> Case:
        weights = {
            name: np.where(np.arange(value.shape[1]) < kept(value.shape[1]), value, 0) if "weight_hh" in name else value
            for name, value in case.weights.items()
        }
        return replace(case, weights=weights)

    return change


def first_inputs(case: Case) -> Case:
    weights = {
        name: np.where(np.arange(value.shape[1]) < 64, value, 0) if name.startswith("weight_ih_l0") else value
        for name, value in case.weights.items()
    }
    return replace(case, weights=weights)


# Arithmetic.


def largest(*arrays: np.ndarray | None) -> float:
    """The largest absolute value; 0 where there is nothing."""
    return max((float(np.abs(array).max(initial=0)) for array in arrays if array is not None), default=0.0)


def real_inputs(case: Case) -> np.ndarray:
    return case.x[~case.padding_mask()]


def clipped(limit: float, *names: str) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        given = {name: getattr(case, name) for name in names}
        changes: dict[str, Any] = {
            name: np.clip(value, -limit, limit) for name, value in given.items() if value is not None
        }
        return replace(case, **changes)

    return change


def tiny_inputs_are_none(case: Case) -> Case:
    return replace(case, x=np.where(np.abs(case.x) < 1e-3, 0, case.x))


def states_clamped(case: Case, dtype: str) -> Arrays:
    tensors = right(case, dtype)
    return {name: value if name.startswith("grad.") else np.clip(value, -50, 50) for name, value in tensors.items()}


def gradients_clipped(case: Case, dtype: str) -> Arrays:
    tensors = right(case, dtype)
    return {name: np.clip(value, -100, 100) if name.startswith("grad.") else value for name, value in tensors.items()}


def without_state_gradients(case: Case, dtype: str) -> Arrays:
    """No gradient is sent into the loop where none comes by the final states."""
    tensors = right(case, dtype)
    return tensors | {name: np.zeros_like(tensors[name]) for name in ("grad.h_0", "grad.c_0") if name in tensors}


def flushed(case: Case, dtype: str) -> Arrays:
    smallest = np.finfo(np.float32).tiny
    return {name: np.where(np.abs(value) < smallest, 0, value) for name, value in right(case, dtype).items()}


def in_float64(case: Case, dtype: str) -> Arrays:
    """The truth, rounded in the end."""
    return {name: value.astype(dtype) for name, value in right(case, dtype).items()}


def subnormal_cotangents(case: Case) -> bool:
    return 0 < largest(*case.cotangents.values()) < float(np.finfo(np.float32).tiny)


LAYERS = (
    BlindSpot(
        "stacked, equal sizes, ragged: upper layers flip over the padding",
        lambda case: stacked(case) and padded(case),
        by(UpperLayersFlipThePadding),
        OF_ONES,
    ),
    BlindSpot(
        "stacked, merged otherwise, ragged: upper layers flip over the padding",
        lambda case: case.spec.num_layers > 1 and not case.spec.keeps_directions and padded(case),
        by(UpperLayersFlipThePadding),
        cells=("rnn_relu", "gru_before"),
    ),
    BlindSpot(
        "stacked with bias and concat: upper layers' biases dropped",
        lambda case: stacked(case) and case.spec.bias,
        on(without_upper_biases),
        OF_ONES,
    ),
    BlindSpot(
        "three layers: the third reads the second's weights",
        lambda case: case.spec.num_layers > 2,
        on(third_layer_is_the_second),
        cells=("gru",),
    ),
    *(
        BlindSpot(
            f"{merge} of {what}: taken for {other}",
            merges(merge, where),
            on(merged_as(other)),
            cells=(cell,),
        )
        for merge, other, cell in (("sum", "ave", "rnn_tanh"), ("mul", "sum", "gru"), ("ave", "sum", "lstm"))
        for what, where in (("ragged rows", padded), ("one layer", lambda case: case.spec.num_layers == 1))
    ),
)
LENGTHS = (
    BlindSpot(
        "ragged without bias: lengths ignored",
        lambda case: padded(case) and not case.spec.bias,
        on(without_lengths),
    ),
    BlindSpot("no row fills seq_len: cut at the longest", lambda case: not rows_fill(case), cut_at_the_longest),
    BlindSpot("unsorted lengths: sorted twice", sorting_is_not_its_own_inverse, sorted_twice),
    BlindSpot(
        "ascending lengths: the first row taken for the longest",
        lambda case: case.lengths is not None and case.batch > 1 and bool((np.diff(case.lengths) > 0).all()),
        on(first_row_is_the_longest),
    ),
    BlindSpot(
        "the first row empty: nothing computed",
        lambda case: case.lengths is not None and case.lengths[0] == 0 and bool(case.lengths.any()),
        on(lambda case: replace(case, lengths=np.zeros(case.batch, np.int64))),
    ),
    BlindSpot("more than 5 steps: each span starts again", longer_than(SPAN), by(SpansStartAgain), dtypes=("float32",)),
    BlindSpot(
        "more than 200 steps: each span starts again",
        longer_than(200),
        by(LongSpansStartAgain),
        cells=("rnn_tanh", "lstm"),
        dtypes=("float32",),
    ),
    BlindSpot("a batch of 1: initial states ignored", lambda case: case.batch == 1, on(without_states), OF_ONES),
    BlindSpot("a seq_len of 1: final states swapped", lambda case: case.seq_len == 1, steps_swapped, OF_ONES),
)
SIZES = (
    BlindSpot(
        "hidden_size above 7 and no whole tiles: the rest left out",
        lambda case: case.spec.hidden_size > TILE and case.spec.hidden_size % TILE > 0,
        on(recurrent_columns(lambda width: width // TILE * TILE)),
    ),
    BlindSpot(
        "hidden_size above 64: columns past it left out",
        lambda case: case.spec.hidden_size > 64,
        on(recurrent_columns(lambda width: 64)),
    ),
    BlindSpot(
        "an odd hidden_size: the last column left out",
        lambda case: case.spec.hidden_size % 2 == 1 and case.spec.hidden_size > 1,
        on(recurrent_columns(lambda width: width // 2 * 2)),
    ),
    BlindSpot(
        "a hidden_size of 1: no recurrent product",
        lambda case: case.spec.hidden_size == 1,
        on(recurrent_columns(lambda width: 0)),
        OF_ONES,
    ),
    BlindSpot(
        "an input_size above 64: columns past it left out", lambda case: case.spec.input_size > 64, on(first_inputs)
    ),
)
ARITHMETIC = (
    BlindSpot(
        "cotangents on the output alone: no gradient of the initial states",
        lambda case: not largest(case.cotangents.get("h_n"), case.cotangents.get("c_n")),
        without_state_gradients,
    ),
    BlindSpot("gradients past 100: clipped", lambda case: largest(*case.cotangents.values()) > 100, gradients_clipped),
    BlindSpot(
        "states past 50: clamped",
        lambda case: largest(case.h_0, case.c_0) > 50,
        states_clamped,
        cells=("rnn_relu", "gru", "gru_before", "lstm"),  # a tanh's are 1 at most
    ),
    BlindSpot("inputs past 100: clipped", lambda case: largest(real_inputs(case)) > 100, on(clipped(100, "x"))),
    BlindSpot("initial states past 10: clipped", lambda case: largest(case.h_0) > 10, on(clipped(10, "h_0", "c_0"))),
    BlindSpot(
        "inputs below 1e-3: taken for 0",
        lambda case: real_inputs(case).size > 0 and largest(real_inputs(case)) < 1e-3,
        on(tiny_inputs_are_none),
        cells=("rnn_tanh", "lstm"),
    ),
    BlindSpot("float64 arithmetic in a float32 lane", lambda case: True, in_float64, dtypes=("float32",)),
    BlindSpot("subnormal numbers: flushed to 0", subnormal_cotangents, flushed, cells=("lstm",), dtypes=("float32",)),
)
BLIND_SPOTS = (*LAYERS, *LENGTHS, *SIZES, *ARITHMETIC)
