"""Mistakes around the network: weights loaded wrongly, and their gradients read back in the same wrong way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np

from common.case import Case
from common.judging.mistakes.mistake import Applies, Mistake, always, equal_sizes, has_bias
from common.judging.yardstick import run_reference, truth_dtype
from common.reference import Arrays
from common.specification import GATES, Specification
from common.weights import SUFFIXES

Weights = dict[str, np.ndarray]
"""Weights, or their gradients, by their canonical names."""
Change = Callable[[Specification, Weights], Weights]
"""A change of weights, or of their gradients, that belong to a specification."""


def weight_mistakes(spec: Specification) -> Iterator[Mistake]:
    """Every mistake in loading a cell's weights."""
    gates = GATES[spec.cell]
    for order in permutations(range(len(gates))):
        if order != tuple(range(len(gates))):
            loaded = ", ".join(gates[i] for i in order)
            name = f"gates {', '.join(gates)} loaded in the order {loaded}"
            back = tuple(np.argsort(order))
            yield _remap(name, always, _gate_order(order), _gate_order(back))
    yield _remap("recurrent kernel transposed", always, _transpose_recurrent, _transpose_recurrent)
    yield _remap("recurrent kernel zeroed", always, _zero("weight_hh"), _keep, unused="weight_hh")
    for used, unused in (("bias_hh", "bias_ih"), ("bias_ih", "bias_hh")):
        yield _remap(f"{unused} dropped", has_bias, _zero(unused), _keep, unused=unused)
        yield _remap(f"{used} used twice, {unused} never", has_bias, _for_both(used, unused), _sum(used, unused))
    yield _remap("the two directions' weights swapped", equal_sizes, _swap_directions, _swap_directions, each=False)
    if spec.cell == "gru":
        # z is the gate's sigmoid, and 1 − sigmoid(a) = sigmoid(−a).
        yield _remap("update gate inverted: h' = z·n + (1 − z)·h", always, _negate_update, _negate_update)
    if spec.cell == "gru" and spec.reset_after:  # elsewhere the two biases are only ever added
        yield _remap("bias_ih and bias_hh swapped", has_bias, _swap_biases, _swap_biases)


def _remap(name: str, applies: Applies, load: Change, read: Change, *, unused: str = "", each: bool = True) -> Mistake:
    """Weights changed by ``load``, their gradients by ``read``; ``each`` where every direction's are changed alone."""

    def results(case: Case, dtype: str, direction: int | None = None) -> Arrays:
        loaded = _of(direction, load(case.spec, case.weights), case.weights)
        computed = run_reference(replace(case, weights=loaded), truth_dtype(dtype))
        gradients = {name: computed.pop(f"grad.{name}") for name in case.weights if f"grad.{name}" in computed}
        read_back = _of(direction, read(case.spec, gradients), gradients) if gradients else {}
        return computed | {f"grad.{name}": value for name, value in read_back.items()}

    return Mistake(name, applies, results, results if each else None, (f"grad.{unused}",) if unused else ())


def _of(direction: int | None, changed: Weights, others: Weights) -> Weights:
    """The changed weights of one direction and the others as they are; all changed where no direction is given."""
    if direction is None:
        return changed
    return {name: changed[name] if _direction(name) == direction else value for name, value in others.items()}


def _direction(name: str) -> int | None:
    """The direction that a weight belongs to; None for a merge's."""
    return None if name.startswith("merge") else int(name.endswith(SUFFIXES[1]))


def _gate_order(order: tuple[int, ...]) -> Change:
    """The change that puts the gates' blocks, of which the rows are made, into another order."""

    def change(spec: Specification, weights: Weights) -> Weights:
        def reordered(value: np.ndarray) -> np.ndarray:
            gates = np.split(value, len(order))
            return np.concatenate([gates[i] for i in order])

        return {name: value if name.startswith("merge") else reordered(value) for name, value in weights.items()}

    return change


def _negate_update(spec: Specification, weights: Weights) -> Weights:
    """Negate the update gate's rows in a GRU's weights and biases, so that its sigmoid gives 1 − z for z."""

    def negate(value: np.ndarray) -> np.ndarray:
        r, z, n = np.split(value, spec.num_gates)
        return np.concatenate([r, -z, n])

    return {name: value if name.startswith("merge") else negate(value) for name, value in weights.items()}


def _transpose_recurrent(spec: Specification, weights: Weights) -> Weights:
    """Transpose each gate's recurrent kernel, (hidden_size, hidden_size)."""

    def transpose(value: np.ndarray) -> np.ndarray:
        return np.concatenate([gate.T for gate in np.split(value, spec.num_gates)])  # each (hidden, hidden) gate

    return {name: transpose(value) if "weight_hh" in name else value for name, value in weights.items()}


def _zero(kind: str) -> Change:
    """The change that sets tensors to 0 whose names begin with ``kind``."""
    return lambda spec, weights: {
        name: np.zeros_like(value) if name.startswith(kind) else value for name, value in weights.items()
    }


def _keep(spec: Specification, weights: Weights) -> Weights:
    """Leave everything as it is."""
    return weights


def _swap_directions(spec: Specification, weights: Weights) -> Weights:
    """Exchange the forward and the reverse direction's tensors in every layer."""

    def other(name: str) -> str:
        if name.startswith("merge"):
            return name
        return name.removesuffix(SUFFIXES[1]) if name.endswith(SUFFIXES[1]) else name + SUFFIXES[1]

    return {name: weights[other(name)] for name in weights}


def _swap_biases(spec: Specification, weights: Weights) -> Weights:
    """Exchange ``bias_ih`` and ``bias_hh`` of every layer and direction."""
    swap = {"bias_ih": "bias_hh", "bias_hh": "bias_ih"}
    return {name: weights[swap.get(name[:7], name[:7]) + name[7:]] for name in weights}


def _for_both(used: str, unused: str) -> Change:
    """One bias in the place of the other, too."""
    return lambda spec, weights: {
        name: weights[used + name[7:]] if name.startswith(unused) else value for name, value in weights.items()
    }


def _sum(used: str, unused: str) -> Change:
    """The gradient of what is used in both places, and 0 for what is not used."""
    return lambda spec, gradients: {
        name: value + gradients[unused + name[7:]]
        if name.startswith(used)
        else np.zeros_like(value)
        if name.startswith(unused)
        else value
        for name, value in gradients.items()
    }
