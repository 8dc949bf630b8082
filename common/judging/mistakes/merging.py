"""Mistakes where the two directions are merged, and where a merged output goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from common.case import Case
from common.cells import State
from common.judging.mistakes.mistake import DIRECTIONS, Mistake, equal_sizes, inside
from common.judging.yardstick import run_reference, truth_dtype
from common.reference import FORWARD, REVERSE, Arrays, Reference
from common.specification import NUM_DIRECTIONS
from common.weights import merge_weight_name


class MergedAfterTheStackOnly(Reference):
    """Each direction is a stack of its own; the two are merged once, at the end."""

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        self._lengths, self._passes = lengths, {}
        self._top = self.spec.num_layers - 1
        h_0, c_0 = h_0.astype(self.dtype), c_0.astype(self.dtype)
        h_n, c_n = np.empty_like(h_0), np.empty_like(c_0)
        tops = []
        for direction in (FORWARD, REVERSE):
            current = x.astype(self.dtype)
            for layer in range(self.spec.num_layers):
                row = layer * NUM_DIRECTIONS + direction
                current, state = self.run_direction(current, State(h_0[row], c_0[row]), layer, direction)
                h_n[row], c_n[row] = state
            tops.append(current)
        self._tops = tops
        return {"output": self.merge(self._top, *tops), "h_n": h_n} | ({"c_n": c_n} if self.spec.cell == "lstm" else {})

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray, d_c_n: np.ndarray) -> Arrays:
        gradients: Arrays = {}
        d_h_n, d_c_n = d_h_n.astype(self.dtype), d_c_n.astype(self.dtype)
        d_h_0, d_c_0 = np.empty_like(d_h_n), np.empty_like(d_c_n)
        d_inputs = []
        d_tops = self.merge_gradient(self._top, gradients, d_output.astype(self.dtype), *self._tops)
        for direction in (FORWARD, REVERSE):
            d_current = d_tops[direction]
            for layer in reversed(range(self.spec.num_layers)):
                row = layer * NUM_DIRECTIONS + direction
                d_state = State(d_h_n[row], d_c_n[row])
                d_current, d_state = self.back_direction(d_current, d_state, layer, direction, gradients)
                d_h_0[row], d_c_0[row] = d_state
            d_inputs.append(d_current)
        gradients |= {"grad.x": d_inputs[FORWARD] + d_inputs[REVERSE], "grad.h_0": d_h_0}
        for layer in range(self._top if self.spec.merge == "weighted" else 0):  # never used
            name = merge_weight_name(layer)
            gradients[f"grad.{name}"] = np.zeros_like(self.weights[name])
        return gradients | ({"grad.c_0": d_c_0} if self.spec.cell == "lstm" else {})


class MergeWeightsSwapped(Reference):
    """A learned merge whose rows are taken for the other direction."""

    def merge(self, layer: int, forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
        return super().merge(layer, reverse, forward)

    def merge_gradient(
        self, layer: int, gradients: Arrays, d_output: np.ndarray, forward: np.ndarray, reverse: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        d_reverse, d_forward = super().merge_gradient(layer, gradients, d_output, reverse, forward)
        return d_forward, d_reverse


class FedOneHalf(Reference):
    """Every layer above the first is fed one direction's output and not the other's; the last output is right.

    Where a layer reads both, ``twice`` says whether the one stands in the other's place, too, or zeros do.
    """

    half = FORWARD
    twice = False

    def merge(self, layer: int, forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
        if layer == self.spec.num_layers - 1:
            return super().merge(layer, forward, reverse)
        kept = (forward, reverse)[self.half]
        if self.spec.merge != "concat":
            return kept
        other = kept if self.twice else np.zeros_like((forward, reverse)[1 - self.half])
        return np.concatenate([other, kept] if self.half else [kept, other], axis=-1)

    def merge_gradient(
        self, layer: int, gradients: Arrays, d_output: np.ndarray, forward: np.ndarray, reverse: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if layer == self.spec.num_layers - 1:
            return super().merge_gradient(layer, gradients, d_output, forward, reverse)
        if self.spec.merge == "weighted":  # never used
            name = merge_weight_name(layer)
            gradients[f"grad.{name}"] = np.zeros_like(self.weights[name])
        d_halves = [np.zeros_like(forward), np.zeros_like(reverse)]
        if self.spec.merge == "concat":
            parts = np.split(d_output, [self.spec.hidden_size], axis=-1)
            d_halves[self.half] = parts[0] + parts[1] if self.twice else parts[self.half]
        else:
            d_halves[self.half] = d_output
        return d_halves[FORWARD], d_halves[REVERSE]


def merging_mistakes() -> Iterator[Mistake]:
    """Every mistake where directions are merged, or a merged output goes on."""
    yield inside(
        "the rows of a learned merge swapped", MergeWeightsSwapped, lambda case, _: case.spec.merge == "weighted"
    )
    yield inside(
        "merge after the stack only",
        MergedAfterTheStackOnly,
        lambda case, _: case.spec.num_layers > 1 and not case.spec.keeps_directions,
    )
    yield _merged_as("ave", "sum")
    yield _merged_as("sum", "ave")
    for direction, name in DIRECTIONS.items():
        yield inside(
            f"upper layers fed the {name} half twice",
            _fed(direction, twice=True),
            lambda case, dtype: _reads_both(case) and equal_sizes(case, dtype),
        )
        yield inside(
            f"upper layers fed the {name} half and zeros",
            _fed(direction, twice=False),
            lambda case, _: _reads_both(case),
        )
        yield inside(
            f"upper layers fed the {name} half alone",
            _fed(direction, twice=False),
            lambda case, _: case.spec.num_layers > 1 and not case.spec.keeps_directions,
        )


def _reads_both(case: Case) -> bool:
    """Whether an upper layer reads both directions side by side."""
    return case.spec.num_layers > 1 and case.spec.merge == "concat"


def _fed(direction: int, *, twice: bool) -> type[Reference]:
    """``FedOneHalf`` with the half of ``direction``, in both places where ``twice``."""
    return type("FedOneHalf", (FedOneHalf,), {"half": direction, "twice": twice})


def _merged_as(merge: str, other: str) -> Mistake:
    """The mistake that merges the directions by ``other`` where the specification says ``merge``."""

    def results(case: Case, dtype: str) -> Arrays:
        spec = case.spec.model_copy(update={"merge": other})
        return run_reference(replace(case, spec=spec), truth_dtype(dtype))

    return Mistake(f"merge {other} for {merge}", lambda case, _: case.spec.merge == merge, results)
