"""How much of a wrong result's error a mistake explains, and whether it gives the same numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from common.judging.agreement import thresholds
from common.judging.precision import epsilon
from common.judging.yardstick import Yardstick
from common.reference import Arrays

GRADIENT_SLACK = 16.0
"""How many limits a gradient may be off that of a mistaken network: the yardstick knows the right network's rounding
errors, and one whose gates are saturated otherwise has others."""


@dataclass(frozen=True)
class Share:
    """How much of an error is explained.

    Parameters
    ----------
    explained
        1 less the squared distance from the result to what explains it, over that to the truth; tensors count alike,
        each by its error relative to its own size. At most 1, and negative where the truth is nearer.
    numbers
        How many numbers the error is spread over (its participation number): 1 when one of them has all of it.
    finite
        Whether all of the error is; what NaN and infinity have spread over says little of what let them in.
    """

    explained: float
    numbers: float
    finite: bool = True

    def chance(self, tries: int) -> float:
        """A bound of the probability that one of so many errors in random directions explains as much of one.

        Of a sphere in n dimensions, a share of at most (1 − cos²)^((n − 1) / 2) lies nearer to a line than that.
        """
        return float(tries * (1 - min(self.explained, 1.0)) ** max((self.numbers - 1) / 2, 0))


NOTHING = Share(-np.inf, 0.0)
"""The share of what explains nothing: no error left over is smaller, and no number is counted."""


class Error:
    """A result's error over some tensors, each in units of its root mean square in the truth.

    Parameters
    ----------
    result, truth
        Tensors by name.
    names
        Which of them count.
    """

    def __init__(self, result: Arrays, truth: Arrays, names: Iterable[str]) -> None:
        self._names = list(names)
        self._result, right = self._flat(result), self._flat(truth)
        units = [np.full(truth[name].size, _unit(truth[name])) for name in self._names]
        self._units = np.concatenate(units) if units else np.zeros(0)
        sizes = [np.full(truth[name].size, 1 / np.sqrt(truth[name].size)) for name in self._names]
        self._sizes = np.concatenate(sizes) if sizes else np.zeros(0)
        self._error = (self._result - right) / self._units

    def share(self, explaining: Arrays) -> Share:
        """How much of the error another result explains.

        Numbers that are not finite must be the same in both; each that is counts as one that is off by its tensor's
        size.
        """
        other = self._flat(explaining)
        finite = np.isfinite(self._result) & np.isfinite(other)
        if not finite.any() or not np.array_equal(self._result[~finite], other[~finite], equal_nan=True):
            return NOTHING
        squares = np.square(np.where(finite, self._error, self._sizes))
        left = np.square((self._result - other)[finite] / self._units[finite]).sum()
        total = squares.sum()
        if not 0 < total < np.inf:
            return NOTHING
        return Share(float(1 - left / total), float(total**2 / np.square(squares).sum()), bool(finite.all()))

    def _flat(self, arrays: Arrays) -> np.ndarray:
        """The tensors that count, one after the other in float64: (their sizes' sum,)."""
        flat = [np.asarray(arrays[name], np.float64).ravel() for name in self._names]
        return np.concatenate(flat) if flat else np.zeros(0)


def _unit(truth: np.ndarray) -> float:
    """What a tensor's errors are divided by: its norm; where that is 0, that of ones."""
    size = float(np.linalg.norm(np.asarray(truth, np.float64).ravel()))
    return size if size > 0 else float(np.sqrt(truth.size))


def share(result: Arrays, explaining: Arrays, truth: Arrays, names: Iterable[str]) -> Share:
    """How much of a result's error another explains, over some tensors."""
    return Error(result, truth, names).share(explaining)


def scaled(result: Arrays, truth: Arrays, names: Iterable[str]) -> Arrays:
    """The truth with each tensor multiplied by the number that brings it nearest to the result: what a mistake must
    explain more than, since a scale is none.
    """
    nearest = {}
    for name in names:
        mine, right = (np.asarray(each[name], np.float64) for each in (result, truth))
        size = float(np.square(right).sum())
        factor = float((np.where(np.isfinite(mine), mine, 0) * right).sum()) / size if size else 1.0
        nearest[name] = factor * right
    return nearest


def same_forward(result: Arrays, wrong: Arrays, yard: Yardstick, names: Iterable[str]) -> bool:
    """Whether what a forward pass gave is as near to the mistaken one as correct code is to the truth.

    What a mistake made of NaN or infinity in the padding must be the same in both; of that alone nothing can be told.
    """
    limit = thresholds()[yard.dtype]["max"]
    names = list(names)
    finite = {name: np.isfinite(wrong[name]) for name in names}
    for name, numbers in finite.items():
        actual, expected = result[name], wrong[name]
        unit = max(yard.allowance(name).max(), epsilon(yard.dtype) * np.abs(expected[numbers]).max(initial=0))
        if not np.abs(actual[numbers] - expected[numbers]).max(initial=0) <= limit * unit:
            return False
        if not np.array_equal(actual[~numbers], expected[~numbers].astype(actual.dtype), equal_nan=True):
            return False
    return any(numbers.any() for numbers in finite.values())


def same_gradients(result: Arrays, wrong: Arrays, yard: Yardstick, names: Iterable[str]) -> bool:
    """Whether gradients are the mistaken network's, within ``GRADIENT_SLACK`` limits.

    What is not finite in either is passed over: a framework's backward pass may multiply by 0 what the reference leaves
    out.
    """
    limit = GRADIENT_SLACK * thresholds()[yard.dtype]["max"]
    for name in names:
        actual, expected = result[name], wrong[name]
        numbers = np.isfinite(expected) & np.isfinite(actual)
        size = np.abs(expected[numbers]).max(initial=0)
        growth = max(1.0, float(size / max(np.abs(yard.truth[name]).max(), np.finfo(float).tiny)))
        unit = max(growth * yard.allowance(name).max(), epsilon(yard.dtype) * size)
        if not np.abs(actual - expected)[numbers].max(initial=0) <= limit * unit:
            return False
    return True


def with_unused(wrong: Arrays, result: Arrays, unused: tuple[str, ...]) -> Arrays:
    """What a mistake gives, with 0 where the result has 0 in gradients whose names begin with one of ``unused``."""
    return {
        name: np.where(result[name] == 0, np.zeros_like(value), value)
        if name in result and name.startswith(unused)
        else value
        for name, value in wrong.items()
    }
