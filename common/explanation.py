"""Which known mistake explains a result that disagrees."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np

from common.agreement import thresholds, units
from common.mistakes.every import mistakes
from common.precision import epsilon
from common.reference import Arrays
from common.yardstick import Yardstick

ARITHMETIC_FACTOR = 8.0
"""How far apart two results' errors may be when both come from the same too narrow arithmetic."""


class Explainer:
    """Compares wrong results with what each known mistake would give; keeps those for the next implementation."""

    def __init__(self) -> None:
        self._wrong: dict[tuple[str, str], list[tuple[str, bool, Arrays]]] = {}
        self._lock = threading.Lock()

    @np.errstate(over="ignore", invalid="ignore")  # some mistakes read the padding, which may hold NaN and infinity
    def explain(self, result: Arrays, yard: Yardstick) -> str:
        """The names of the mistakes that give this result, joined by "or"; empty when none does."""
        wrong = self._wrong_results(yard)
        if not _told_names(yard):
            return ""
        shaped = all(name in result and result[name].shape == yard.truth[name].shape for name in _forward_names(yard))
        if not shaped:
            return ""
        names = [name for name, arithmetic, found in wrong if not arithmetic and _same(result, found, yard)]
        names = names or [name for name, arithmetic, found in wrong if arithmetic and _as_far_off(result, found, yard)]
        return " or ".join(dict.fromkeys(names))

    def _wrong_results(self, yard: Yardstick) -> list[tuple[str, bool, Arrays]]:
        """What each mistake gives, by name: with the padding as it is and, where there is some, with zeros in it, since
        a layer may clear what it then reads by mistake.
        """
        key = (yard.case.sha256(), yard.dtype)
        with self._lock:
            if key not in self._wrong:
                case = replace(yard.case, cotangents={})
                padding = case.padding_mask()
                cases = [case, replace(case, x=np.where(padding[..., None], 0.0, case.x))] if padding.any() else [case]
                self._wrong[key] = [
                    (mistake.name, mistake.arithmetic, mistake.results(each, yard.dtype))
                    for mistake in mistakes(case.spec)
                    if mistake.applies(case, yard.dtype) and not mistake.gradients_alone
                    for each in cases
                ]
            return self._wrong[key]


_EXPLAINER = Explainer()


def explained(result: Arrays, yard: Yardstick) -> str:
    """``Explainer.explain`` by the one explainer that a process needs."""
    return _EXPLAINER.explain(result, yard)


def _forward_names(yard: Yardstick) -> list[str]:
    return [name for name in yard.truth if not name.startswith("grad.")]


def _told_names(yard: Yardstick) -> list[str]:
    """What a forward pass gives and can be told; where rounding is as large as an answer every mistake would fit."""
    return [name for name in _forward_names(yard) if not units(name, yard).untold(yard.dtype)]


def _same(result: Arrays, wrong: Arrays, yard: Yardstick) -> bool:
    """Whether a result is as near to the mistaken one as correct code is to the truth.

    What a mistake made of NaN or infinity in the padding must be the same in both; of that alone nothing can be told.
    """
    limit = thresholds()[yard.dtype]["max"]
    finite = {name: np.isfinite(wrong[name]) for name in _told_names(yard)}
    for name, numbers in finite.items():
        found, expected = result[name], wrong[name]
        unit = max(yard.allowance(name).max(), epsilon(yard.dtype) * np.abs(expected[numbers]).max(initial=0))
        if not np.abs(found[numbers] - expected[numbers]).max(initial=0) <= limit * unit:
            return False
        if not np.array_equal(found[~numbers], expected[~numbers].astype(found.dtype), equal_nan=True):
            return False
    return any(numbers.any() for numbers in finite.values())


def _as_far_off(result: Arrays, wrong: Arrays, yard: Yardstick) -> bool:
    """Whether a result is about as far from the truth as the mistaken arithmetic's is."""
    for name in _told_names(yard):
        truth = yard.truth[name]
        mine, theirs = (np.sqrt(np.mean((found[name] - truth) ** 2)) for found in (result, wrong))
        if not theirs / ARITHMETIC_FACTOR <= mine <= theirs * ARITHMETIC_FACTOR:
            return False
    return True
