"""The rules that a result must keep exactly, checked with equality."""

from __future__ import annotations

import numpy as np

from common.case import Case
from common.reference import Arrays


def broken_rules(result: Arrays, case: Case) -> list[str]:
    """The exact rules that a result breaks, checked with equality; one sentence each.

    Outputs and the input gradient are 0 past a length; a row of length 0 keeps its initial states; where the top
    layer's output holds each direction's, its h_n equals the outputs at the last step (forward) and the first
    (reverse). Of tensors that are missing nothing is said.
    """
    broken = []
    padding = case.padding_mask()
    for name in ("output", "grad.x"):
        if name in result and (places := np.argwhere((result[name] != 0) & padding[..., None])).size:
            broken.append(
                f"{name} must be 0 past the length; got {result[name][tuple(places[0])]} at {index_of(places[0])}"
            )
    lengths = np.full(case.batch, case.seq_len) if case.lengths is None else case.lengths
    empty = lengths == 0
    beyond = np.arange(case.spec.state_size) >= np.array(case.spec.hidden_sizes * case.spec.num_layers)[:, None, None]
    for name in result:
        if name in ("h_n", "c_n", "grad.h_0", "grad.c_0") and ((result[name] != 0) & beyond).any():
            index = index_of(np.argwhere((result[name] != 0) & beyond)[0])
            broken.append(f"{name} must be 0 beyond the units of its direction; got {result[name][index]} at {index}")
    for state in (each for each in case.state_names if f"{each}_n" in result):
        differs = (result[f"{state}_n"] != case.initial_state(state)) & empty[:, None]
        if differs.any():
            index = index_of(np.argwhere(differs)[0])
            broken.append(f"{state}_n must equal {state}_0 where the length is 0; it differs at {index}")
    if case.spec.keeps_directions and not empty.all() and {"output", "h_n"} <= set(result):
        rows = np.flatnonzero(~empty)
        halves = np.split(result["output"], [case.spec.hidden_size], axis=-1)[: case.spec.num_directions]
        for direction, half in enumerate(halves):
            h_n = result["h_n"][direction - case.spec.num_directions][rows, : half.shape[-1]]
            if not np.array_equal(h_n, half[rows, 0 if direction else lengths[rows] - 1], equal_nan=True):
                step = "step 0" if direction else "the last step"
                broken.append(
                    f"the top layer's {direction_name(direction)} h_n must equal its outputs at {step}; they differ"
                )
    return broken


def differing(first: Arrays, second: Arrays) -> list[str]:
    """Sentences on the tensors of two results that are not equal to the last bit (the padding's content apart)."""
    reasons = []
    for name in first | second:
        shapes = [tensors[name].shape if name in tensors else "no such tensor" for tensors in (first, second)]
        if shapes[0] != shapes[1]:
            reasons.append(f"{name} must not depend on the padding's content; got {shapes[0]}, then {shapes[1]}")
        elif not np.array_equal(first[name], second[name], equal_nan=True):
            index = index_of(np.argwhere(first[name] != second[name])[0])
            reasons.append(f"{name} must not depend on the padding's content; it differs at {index}")
    return reasons


def index_of(place: np.ndarray) -> tuple[int, ...]:
    """A position as a tuple of Python's integers."""
    return tuple(int(i) for i in place)


def direction_name(direction: int) -> str:
    """The name of a direction."""
    return ("forward", "reverse")[direction]
