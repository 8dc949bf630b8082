"""Mistakes in the gradients alone: a backward pass that is cut somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from common.case import Case
from common.cells import Cell, State
from common.judging.mistakes.mistake import Applies, Mistake, RightForward, has_gradients, inside, ragged, several_steps
from common.judging.mistakes.states import GRADIENTS
from common.reference import Arrays, Pass


class StatesDetached(Pass):
    """No gradient from a step to the one before it, as when the state is detached after every step (truncated
    backpropagation through time of one step, Williams and Peng 1990); through steps that hold the state it passes.
    """

    def before_step(self, t: int, real: np.ndarray, d_step: State, d_held: State) -> State:
        before = super().before_step(t, real, d_step, d_held)
        if t == 0:
            return before
        zero = np.zeros_like(before.h)
        return State(np.where(real, zero, before.h), np.where(real, zero, before.c))


class HeldStatesDetached(Pass):
    """No gradient from a step to the one before it, through steps that hold the state neither."""

    def before_step(self, t: int, real: np.ndarray, d_step: State, d_held: State) -> State:
        before = super().before_step(t, real, d_step, d_held)
        return State(np.zeros_like(before.h), np.zeros_like(before.c)) if t else before


class CutBetweenSteps(RightForward):
    """A right forward pass whose gradient stops at every real step and passes through those past the length."""

    def over_time(self, cell: Cell, mask: np.ndarray) -> Pass:
        return StatesDetached(cell, mask)


class CutBetweenAllSteps(RightForward):
    """A right forward pass whose gradient stops at every step of the array, those past the length included."""

    def over_time(self, cell: Cell, mask: np.ndarray) -> Pass:
        return HeldStatesDetached(cell, mask)


class InitialStatesDetached(RightForward):
    """A right network that gives 0 for the gradients of its initial states."""

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray, d_c_n: np.ndarray) -> Arrays:
        gradients = super().backward(d_output, d_h_n, d_c_n)
        return gradients | {name: np.zeros_like(gradients[name]) for name in GRADIENTS if name in gradients}


class FinalStatesDetached(RightForward):
    """A right network whose backward pass leaves out what comes in by the final states, h_n and c_n."""

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray, d_c_n: np.ndarray) -> Arrays:
        return super().backward(d_output, np.zeros_like(d_h_n), np.zeros_like(d_c_n))


def gradient_mistakes() -> Iterator[Mistake]:
    """Every mistake in the gradients alone."""
    yield _between_steps("gradient cut between steps", CutBetweenSteps, several_steps)
    yield _between_steps("gradient cut between steps, those past the length included", CutBetweenAllSteps, ragged)
    yield inside("gradient of the initial states cut", InitialStatesDetached, has_gradients)
    yield inside("gradient from the final states cut", FinalStatesDetached, _reaches_final_states)


def _between_steps(name: str, kind: type[RightForward], where: Applies) -> Mistake:
    """A cut that may begin before the first step, too, so that the initial states have no gradient."""

    def applies(case: Case, dtype: str) -> bool:
        return has_gradients(case, dtype) and where(case, dtype)

    return replace(inside(name, kind, applies, each_direction=True), unused=GRADIENTS)


def _reaches_final_states(case: Case, dtype: str) -> bool:
    """Whether a case asks for gradients of h_n or c_n, not of the output alone."""
    return any(case.cotangents[name].any() for name in case.cotangents if name != "output")
