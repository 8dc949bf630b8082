"""What a mistake is, and on which cases one can be made.

A mistake is either made around the network (weights or states loaded in the wrong order, and read back in it), or
inside it (a ``Reference`` with one method changed), or in its arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from common.case import Case
from common.cells import State
from common.judging.yardstick import run_network, run_reference, truth_dtype
from common.reference import FORWARD, REVERSE, Arrays, Reference
from common.specification import NUM_DIRECTIONS, Specification

DIRECTIONS = {FORWARD: "forward", REVERSE: "reverse"}
"""The directions' names in texts, by their places in states."""
Applies = Callable[[Case, str], bool]
"""Whether a mistake can be made, and would be wrong, on a case in a precision."""


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
    in_direction
        The same with the mistake made in one direction alone, the other being right; None where that would be another
        mistake, or none.
    unused
        How the names of those gradients begin that code gives as 0 where it never reads the tensor, and otherwise where
        it reads what stands in its place.
    reads_padding
        Whether what lies past a row's length makes a difference.
    gradients_alone
        Whether the forward pass is right.
    arithmetic
        Whether it is the arithmetic that is wrong, so that only the size of the error tells.
    """

    name: str
    applies: Applies
    results: Callable[[Case, str], Arrays]
    in_direction: Callable[[Case, str, int], Arrays] | None = None
    unused: tuple[str, ...] = field(default=())
    reads_padding: bool = False
    gradients_alone: bool = False
    arithmetic: bool = False


class InOneDirection(Reference):
    """A network whose two directions are run by references of their own, such as a right and a mistaken one."""

    def __init__(self, spec: Specification, dtype: np.dtype, members: tuple[Reference, Reference]) -> None:
        weights = members[FORWARD].weights | members[REVERSE].weights
        super().__init__(spec, weights, dtype)
        self._members = members

    def run_direction(self, x: np.ndarray, state: State, layer: int, direction: int) -> tuple[np.ndarray, State]:
        self._members[direction]._lengths = self._lengths
        return self._members[direction].run_direction(x, state, layer, direction)

    def back_direction(
        self, d_output: np.ndarray, d_state: State, layer: int, direction: int, gradients: Arrays
    ) -> tuple[np.ndarray, State]:
        return self._members[direction].back_direction(d_output, d_state, layer, direction, gradients)


def inside(
    name: str,
    kind: type[Reference],
    applies: Applies,
    *,
    each_direction: bool = False,
    reads_padding: bool = False,
) -> Mistake:
    """A mistake that is another kind of reference; ``each_direction`` where its methods are those of one direction."""

    def in_direction(case: Case, dtype: str, direction: int) -> Arrays:
        kinds = [kind if each == direction else Reference for each in range(NUM_DIRECTIONS)]
        forward, reverse = (each(case.spec, case.weights, truth_dtype(dtype)) for each in kinds)
        return run_network(InOneDirection(case.spec, truth_dtype(dtype), (forward, reverse)), case)

    return Mistake(
        name,
        applies,
        lambda case, dtype: run_reference(case, truth_dtype(dtype), kind),
        in_direction if each_direction else None,
        reads_padding=reads_padding,
        gradients_alone=issubclass(kind, RightForward),
    )


class RightForward(Reference):
    """A reference whose mistake is in the gradients alone."""


def always(case: Case, dtype: str) -> bool:
    """Whether a mistake concerns every case in every precision, as most do: True."""
    return True


def equal_sizes(case: Case, dtype: str) -> bool:
    """Whether there are two directions of equal sizes; else shapes do not fit, and what cannot be made need not be
    caught.
    """
    return two_directions(case, dtype) and case.spec.hidden_size_reverse is None


def two_directions(case: Case, dtype: str) -> bool:
    """Whether there is a reverse direction."""
    return case.spec.num_directions == NUM_DIRECTIONS


def has_bias(case: Case, dtype: str) -> bool:
    """Whether the network has biases."""
    return case.spec.bias


def ragged(case: Case, dtype: str) -> bool:
    """Whether there is padding."""
    return bool(case.padding_mask().any())


def several_steps(case: Case, dtype: str) -> bool:
    """Whether a row may have more than one step."""
    return case.seq_len > 1


def has_gradients(case: Case, dtype: str) -> bool:
    """Whether gradients are computed."""
    return bool(case.cotangents)
