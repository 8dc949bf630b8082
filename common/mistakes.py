"""Mistakes that people really make with bidirectional RNNs, each applied to the reference.

Tests demand that the built-in cases catch every one; ``birnn verify`` names the one that explains a failure.

A mistake is either made around the network (weights or states loaded in the wrong order, and read back in it), or
inside it (a ``Reference`` with one method changed), or in its arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from common.case import Case
from common.cells import State
from common.reference import FORWARD, REVERSE, Arrays, Reference
from common.specification import GATES, NUM_DIRECTIONS, Specification
from common.tf32 import TF32
from common.weights import SUFFIXES, merge_weight_name
from common.yardstick import run_reference, truth_dtype

Weights = dict[str, np.ndarray]
Change = Callable[[Specification, Weights], Weights]


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Parameters
    ----------
    name
        What is done wrong, in words.
    applies
        Whether it can be made on a case in a precision, and would be wrong there.
    results
        What code with this mistake gives for a case (rounded to the precision), before rounding errors.
    arithmetic
        Whether it is the arithmetic that is wrong, so that only the size of the error tells.
    """

    name: str
    applies: Callable[[Case, str], bool]
    results: Callable[[Case, str], Arrays]
    arithmetic: bool = False


def mistakes(spec: Specification) -> list[Mistake]:
    """Every mistake that concerns a cell; ``applies`` then says whether it concerns a case."""
    return [*_weight_mistakes(spec), *_state_mistakes(), *_network_mistakes(), *_arithmetic_mistakes()]


# Mistakes around the network: weights loaded wrongly, and their gradients read back in the same wrong way.


def _weight_mistakes(spec: Specification) -> Iterator[Mistake]:
    gates = GATES[spec.cell]
    for order in permutations(range(len(gates))):
        if order != tuple(range(len(gates))):
            loaded = ", ".join(gates[i] for i in order)
            name = f"gates {', '.join(gates)} loaded in the order {loaded}"
            back = tuple(np.argsort(order))
            yield _remap(name, _always, _gate_order(order), _gate_order(back))
    yield _remap("recurrent kernel transposed", _always, _transpose_recurrent, _transpose_recurrent)
    yield _remap("recurrent kernel zeroed", _always, _zero("weight_hh"), _keep)
    yield _remap("bias_ih dropped", _has_bias, _zero("bias_ih"), _keep)
    yield _remap("bias_hh dropped", _has_bias, _zero("bias_hh"), _keep)
    yield _remap("the two directions' weights swapped", _equal_sizes, _swap_directions, _swap_directions)
    if spec.cell != "gru":
        return
    if spec.reset_after:  # elsewhere the two biases are only ever added
        yield _remap("bias_ih and bias_hh swapped", _has_bias, _swap_biases, _swap_biases)
    wrong = spec.model_copy(update={"reset_after": not spec.reset_after})
    name = (
        "reset before the recurrent product for after"
        if spec.reset_after
        else "reset after the recurrent product for before"
    )
    yield Mistake(
        name,
        _always,
        lambda case, dtype: run_reference(
            replace(case, spec=case.spec.model_copy(update={"reset_after": wrong.reset_after})), truth_dtype(dtype)
        ),
    )


def _remap(name: str, applies: Callable[[Case, str], bool], load: Change, read: Change) -> Mistake:
    def results(case: Case, dtype: str) -> Arrays:
        found = run_reference(replace(case, weights=load(case.spec, case.weights)), truth_dtype(dtype))
        gradients = {name: found.pop(f"grad.{name}") for name in case.weights if f"grad.{name}" in found}
        read_back = read(case.spec, gradients) if gradients else {}
        return found | {f"grad.{name}": value for name, value in read_back.items()}

    return Mistake(name, applies, results)


def _gate_order(order: tuple[int, ...]) -> Change:
    def change(spec: Specification, weights: Weights) -> Weights:
        return {
            name: value if name.startswith("merge") else np.concatenate([np.split(value, len(order))[i] for i in order])
            for name, value in weights.items()
        }

    return change


def _transpose_recurrent(spec: Specification, weights: Weights) -> Weights:
    def transpose(value: np.ndarray) -> np.ndarray:
        return np.concatenate([gate.T for gate in np.split(value, spec.num_gates)])  # each (hidden, hidden) gate

    return {name: transpose(value) if "weight_hh" in name else value for name, value in weights.items()}


def _zero(kind: str) -> Change:
    return lambda spec, weights: {
        name: np.zeros_like(value) if name.startswith(kind) else value for name, value in weights.items()
    }


def _keep(spec: Specification, weights: Weights) -> Weights:
    return weights


def _swap_directions(spec: Specification, weights: Weights) -> Weights:
    def other(name: str) -> str:
        if name.startswith("merge"):
            return name
        return name.removesuffix(SUFFIXES[1]) if name.endswith(SUFFIXES[1]) else name + SUFFIXES[1]

    return {name: weights[other(name)] for name in weights}


def _swap_biases(spec: Specification, weights: Weights) -> Weights:
    swap = {"bias_ih": "bias_hh", "bias_hh": "bias_ih"}
    return {name: weights[swap.get(name[:7], name[:7]) + name[7:]] for name in weights}


# Mistakes around the network: states and halves in the wrong order.


def _state_mistakes() -> Iterator[Mistake]:
    def by_direction(num_layers: int) -> np.ndarray:
        return np.arange(num_layers * NUM_DIRECTIONS).reshape(num_layers, NUM_DIRECTIONS).T.ravel()

    def reverse_first(num_layers: int) -> np.ndarray:
        return np.arange(num_layers * NUM_DIRECTIONS).reshape(num_layers, NUM_DIRECTIONS)[:, ::-1].ravel()

    yield _state_order(
        "states in the order: all forward, then all reverse",
        lambda case, dtype: case.spec.num_layers > 1 and _equal_sizes(case, dtype),
        by_direction,
    )
    yield _state_order("states in the order: reverse, forward", _equal_sizes, reverse_first)
    yield Mistake("(c, h) for (h, c)", lambda case, _: case.spec.cell == "lstm", _swapped_states)
    yield Mistake("initial states ignored", lambda case, _: case.h_0 is not None, _without_initial_states)
    yield Mistake(
        "the two halves of the output swapped",
        lambda case, dtype: case.spec.merge == "concat" and _equal_sizes(case, dtype),
        _swapped_halves,
    )


def _state_order(name: str, applies: Callable[[Case, str], bool], rows: Callable[[int], np.ndarray]) -> Mistake:
    """Row i of the states that the code reads and writes is row ``rows[i]`` of the canonical ones."""

    def results(case: Case, dtype: str) -> Arrays:
        order = rows(case.spec.num_layers)
        back = np.argsort(order)
        wrong = replace(
            case,
            h_0=case.initial_state("h")[back],
            c_0=case.initial_state("c")[back],
            cotangents={key: value if key == "output" else value[back] for key, value in case.cotangents.items()},
        )
        found = run_reference(wrong, truth_dtype(dtype))
        states = {"h_n", "c_n", "grad.h_0", "grad.c_0"}
        return {key: value[order] if key in states else value for key, value in found.items()}

    return Mistake(name, applies, results)


def _swapped_states(case: Case, dtype: str) -> Arrays:
    swap = {"h_n": "c_n", "c_n": "h_n", "grad.h_0": "grad.c_0", "grad.c_0": "grad.h_0"}
    cotangents = {swap.get(name, name): value for name, value in case.cotangents.items()}
    wrong = replace(case, h_0=case.initial_state("c"), c_0=case.initial_state("h"), cotangents=cotangents)
    found = run_reference(wrong, truth_dtype(dtype))
    return {name: found[swap.get(name, name)] for name in found}


def _without_initial_states(case: Case, dtype: str) -> Arrays:
    return run_reference(replace(case, h_0=None, c_0=None), truth_dtype(dtype))


def _swapped_halves(case: Case, dtype: str) -> Arrays:
    def swap(value: np.ndarray) -> np.ndarray:
        return np.concatenate(np.split(value, 2, axis=-1)[::-1], axis=-1)  # forward and reverse half exchanged

    cotangents = {name: swap(value) if name == "output" else value for name, value in case.cotangents.items()}
    found = run_reference(replace(case, cotangents=cotangents), truth_dtype(dtype))
    return found | {"output": swap(found["output"])}


# Mistakes inside the network.


class NotFlippedBack(Reference):
    def from_direction(self, output: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return output


class FlippedOverThePadding(Reference):
    """The whole row is flipped, so the reverse half starts in the padding; the mask is where it was."""

    def to_direction(self, x: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return super().to_direction(x, None, direction)

    def from_direction(self, output: np.ndarray, lengths: np.ndarray | None, direction: int) -> np.ndarray:
        return super().from_direction(output, None, direction)


class LengthsIgnored(Reference):
    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        return super().forward(x, None, h_0, c_0)


class LengthsIgnoredInReverse(FlippedOverThePadding):
    """The forward half stops at the length; the reverse half runs over the whole row, padding first."""

    def mask(self, lengths: np.ndarray | None, batch: int, seq_len: int, direction: int) -> np.ndarray:
        return super().mask(lengths if direction == FORWARD else None, batch, seq_len, direction)


class LengthsIgnoredOutputsMasked(LengthsIgnored):
    """As ``LengthsIgnored``, with the outputs past the length set to 0 in the end."""

    def forward(self, x: np.ndarray, lengths: np.ndarray | None, h_0: np.ndarray, c_0: np.ndarray) -> Arrays:
        self._real = np.asarray(super().mask(lengths, x.shape[0], x.shape[1], FORWARD))[..., None]
        found = super().forward(x, lengths, h_0, c_0)
        return found | {"output": np.where(self._real, found["output"], np.zeros_like(found["output"]))}

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray, d_c_n: np.ndarray) -> Arrays:
        return super().backward(np.where(self._real, d_output, np.zeros_like(d_output)), d_h_n, d_c_n)


class LastOutputForState(Reference):
    """h_n is the output at the last index of the array, in both directions; c_n stays right."""

    def final_state(self, output: np.ndarray, state: State) -> State:
        return State(output[:, -1], state.c)

    def final_state_gradient(self, d_output: np.ndarray, d_state: State) -> tuple[np.ndarray, State]:
        d_output = d_output.copy()
        d_output[:, -1] += d_state.h
        return d_output, State(np.zeros_like(d_state.h), d_state.c)


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
        found: Arrays = {}
        d_h_n, d_c_n = d_h_n.astype(self.dtype), d_c_n.astype(self.dtype)
        d_h_0, d_c_0 = np.empty_like(d_h_n), np.empty_like(d_c_n)
        d_inputs = []
        d_tops = self.merge_gradient(self._top, found, d_output.astype(self.dtype), *self._tops)
        for direction in (FORWARD, REVERSE):
            d_current = d_tops[direction]
            for layer in reversed(range(self.spec.num_layers)):
                row = layer * NUM_DIRECTIONS + direction
                d_state = State(d_h_n[row], d_c_n[row])
                d_current, d_state = self.back_direction(d_current, d_state, layer, direction, found)
                d_h_0[row], d_c_0[row] = d_state
            d_inputs.append(d_current)
        found |= {"grad.x": d_inputs[FORWARD] + d_inputs[REVERSE], "grad.h_0": d_h_0}
        for layer in range(self._top if self.spec.merge == "weighted" else 0):  # never used
            name = merge_weight_name(layer)
            found[f"grad.{name}"] = np.zeros_like(self.weights[name])
        return found | ({"grad.c_0": d_c_0} if self.spec.cell == "lstm" else {})


class MergeWeightsSwapped(Reference):
    """A learned merge whose rows are taken for the other direction."""

    def merge(self, layer: int, forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
        return super().merge(layer, reverse, forward)

    def merge_gradient(
        self, layer: int, found: Arrays, d_output: np.ndarray, forward: np.ndarray, reverse: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        d_reverse, d_forward = super().merge_gradient(layer, found, d_output, reverse, forward)
        return d_forward, d_reverse


def _network_mistakes() -> Iterator[Mistake]:
    yield _inside("reverse half not flipped back", NotFlippedBack, lambda case, _: case.seq_len > 1)
    yield _inside("flipped over the padding", FlippedOverThePadding, _ragged)
    yield _inside("lengths ignored", LengthsIgnored, _ragged)
    yield _inside("lengths ignored in the reverse direction", LengthsIgnoredInReverse, _ragged)
    yield _inside("lengths ignored, outputs masked in the end", LengthsIgnoredOutputsMasked, _ragged)
    yield _inside("last output taken for the final state", LastOutputForState, lambda case, _: case.seq_len > 1)
    yield _inside(
        "the rows of a learned merge swapped", MergeWeightsSwapped, lambda case, _: case.spec.merge == "weighted"
    )
    yield _inside(
        "merge after the stack only",
        MergedAfterTheStackOnly,
        lambda case, _: case.spec.num_layers > 1 and case.spec.merge != "concat",
    )


def _inside(name: str, kind: type[Reference], applies: Callable[[Case, str], bool]) -> Mistake:
    return Mistake(name, applies, lambda case, dtype: run_reference(case, truth_dtype(dtype), kind))


# Mistakes in the arithmetic.


def _arithmetic_mistakes() -> Iterator[Mistake]:
    yield Mistake(
        "float32 arithmetic in a float64 lane",
        lambda _, dtype: dtype == "float64",
        lambda case, _: run_reference(case, np.float32),
        arithmetic=True,
    )
    yield Mistake(
        "TF32-like rounding in a float32 lane",
        lambda _, dtype: dtype == "float32",
        lambda case, _: run_reference(case, np.float32, TF32),
        arithmetic=True,
    )


def _always(case: Case, dtype: str) -> bool:
    return True


def _equal_sizes(case: Case, dtype: str) -> bool:
    """Otherwise shapes would not fit, and a mistake that cannot be made need not be caught."""
    return case.spec.hidden_size_reverse is None


def _has_bias(case: Case, dtype: str) -> bool:
    return case.spec.bias


def _ragged(case: Case, dtype: str) -> bool:
    return bool(case.padding_mask().any())
