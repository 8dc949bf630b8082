"""Mistakes around the network: states and halves in the wrong order, or left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from common.case import Case
from common.judging.mistakes.mistake import Applies, Mistake, equal_sizes, two_directions
from common.judging.yardstick import run_reference, truth_dtype
from common.reference import FORWARD, REVERSE, Arrays
from common.specification import NUM_DIRECTIONS

GRADIENTS = ("grad.h_0", "grad.c_0")
"""The names of the initial states' gradients."""


def state_mistakes() -> Iterator[Mistake]:
    """Every mistake with states and the halves of the output."""

    def by_direction(num_layers: int) -> np.ndarray:
        return np.arange(num_layers * NUM_DIRECTIONS).reshape(num_layers, NUM_DIRECTIONS).T.ravel()

    def reverse_first(num_layers: int) -> np.ndarray:
        return np.arange(num_layers * NUM_DIRECTIONS).reshape(num_layers, NUM_DIRECTIONS)[:, ::-1].ravel()

    def stacked(case: Case, dtype: str) -> bool:
        return case.spec.num_layers > 1 and equal_sizes(case, dtype)

    for order, applies, rows in (
        ("all forward, then all reverse", stacked, by_direction),
        ("reverse, forward", equal_sizes, reverse_first),
    ):
        yield _state_order(f"states in the order: {order}", applies, rows)
        yield _state_order(f"final states alone in the order: {order}", applies, rows, initial=False)
    yield Mistake("(c, h) for (h, c)", lambda case, _: case.spec.cell == "lstm", _swapped_states)
    yield Mistake(
        "(c, h) for (h, c) in the initial states alone",
        lambda case, dtype: case.spec.cell == "lstm" and _has_states(case, dtype),
        _swapped_initial_states,
    )
    yield Mistake("initial states ignored", _has_states, _without_initial_states, unused=GRADIENTS)
    yield Mistake(
        "initial states of the reverse half ignored",
        lambda case, dtype: _has_states(case, dtype) and two_directions(case, dtype),
        _without_reverse_initial_states,
        unused=GRADIENTS,
    )
    yield Mistake(
        "initial states of the forward half given to both",
        lambda case, dtype: _has_states(case, dtype) and equal_sizes(case, dtype),
        _forward_initial_states_for_both,
    )
    yield Mistake(
        "the two halves of the output swapped",
        lambda case, dtype: case.spec.merge == "concat" and equal_sizes(case, dtype),
        _swapped_halves,
    )


def _has_states(case: Case, dtype: str) -> bool:
    """Whether the case gives its initial states, which are zeros otherwise."""
    return case.h_0 is not None


def _state_order(name: str, applies: Applies, rows: Callable[[int], np.ndarray], *, initial: bool = True) -> Mistake:
    """Row i of the states that the code reads (where ``initial``) and writes is row ``rows[i]`` of the canonical
    ones.
    """

    def results(case: Case, dtype: str) -> Arrays:
        order = rows(case.spec.num_layers)
        back = np.argsort(order)
        wrong = replace(
            case, cotangents={key: value if key == "output" else value[back] for key, value in case.cotangents.items()}
        )
        if initial:
            wrong = replace(wrong, h_0=case.initial_state("h")[back], c_0=case.initial_state("c")[back])
        canonical = run_reference(wrong, truth_dtype(dtype))
        states = {"h_n", "c_n", *(GRADIENTS if initial else ())}
        return {key: value[order] if key in states else value for key, value in canonical.items()}

    return Mistake(name, applies, results)


def _swapped_states(case: Case, dtype: str) -> Arrays:
    """An LSTM's results where h and c stand in each other's places, as they come in and as they go out."""
    swap = {"h_n": "c_n", "c_n": "h_n", "grad.h_0": "grad.c_0", "grad.c_0": "grad.h_0"}
    cotangents = {swap.get(name, name): value for name, value in case.cotangents.items()}
    wrong = replace(case, h_0=case.initial_state("c"), c_0=case.initial_state("h"), cotangents=cotangents)
    results = run_reference(wrong, truth_dtype(dtype))
    return {name: results[swap.get(name, name)] for name in results}


def _swapped_initial_states(case: Case, dtype: str) -> Arrays:
    """An LSTM's results where h_0 and c_0 stand in each other's places, and h_n and c_n in their own."""
    swap = {"grad.h_0": "grad.c_0", "grad.c_0": "grad.h_0"}
    wrong = replace(case, h_0=case.initial_state("c"), c_0=case.initial_state("h"))
    results = run_reference(wrong, truth_dtype(dtype))
    return {name: results[swap.get(name, name)] for name in results}


def _without_initial_states(case: Case, dtype: str) -> Arrays:
    """Results that begin with zeros in place of the initial states."""
    return run_reference(replace(case, h_0=None, c_0=None), truth_dtype(dtype))


def _without_reverse_initial_states(case: Case, dtype: str) -> Arrays:
    """Results that begin with zeros in the reverse direction of every layer."""

    def without(state: np.ndarray) -> np.ndarray:
        state = state.copy()
        state[REVERSE::NUM_DIRECTIONS] = 0
        return state

    wrong = replace(case, h_0=without(case.initial_state("h")), c_0=without(case.initial_state("c")))
    return run_reference(wrong, truth_dtype(dtype))


def _forward_initial_states_for_both(case: Case, dtype: str) -> Arrays:
    """Results where both directions of a layer begin with the forward one's state, so that its gradient is the sum of
    two and the reverse one's is 0.
    """

    def for_both(state: np.ndarray) -> np.ndarray:
        return np.repeat(state[FORWARD::NUM_DIRECTIONS], NUM_DIRECTIONS, axis=0)  # (num_layers·2, batch, hidden_size)

    wrong = replace(case, h_0=for_both(case.initial_state("h")), c_0=for_both(case.initial_state("c")))
    results = run_reference(wrong, truth_dtype(dtype))
    for name in GRADIENTS:
        if name in results:
            results[name][FORWARD::NUM_DIRECTIONS] += results[name][REVERSE::NUM_DIRECTIONS]
            results[name][REVERSE::NUM_DIRECTIONS] = 0
    return results


def _swapped_halves(case: Case, dtype: str) -> Arrays:
    """Results whose output has the reverse direction's half first."""

    def swap(value: np.ndarray) -> np.ndarray:
        return np.concatenate(np.split(value, 2, axis=-1)[::-1], axis=-1)  # forward and reverse half exchanged

    cotangents = {name: swap(value) if name == "output" else value for name, value in case.cotangents.items()}
    results = run_reference(replace(case, cotangents=cotangents), truth_dtype(dtype))
    return results | {"output": swap(results["output"])}
