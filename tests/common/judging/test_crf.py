"""Judging of a CRF: the mistakes that people make do not agree, nor do paths that are not the best; ties do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.judging.models import judge_model, judge_paths, model_yardstick
from common.judging.yardstick import truth_dtype
from common.models.batch import Batch, padding_mask
from common.models.crf.likelihood import CRF
from common.models.crf.scores import NAMES, Scores
from common.models.layers import Arithmetic, Loss
from common.models.reference import all_results, predict, reference_of
from common.models.sequence import SequenceReference
from common.models.small_cases import BatchShape, ModelCase, model_cases, random_batch
from common.models.specification import Arrays, SequenceModel

CASES = {case.name: case for case in model_cases()}
RAGGED, FULL = CASES["tagger-crf"], CASES["pipeline-crf"]


class PaddingInThePartition(CRF):
    """As without a mask: all paths go on through the padding."""

    def steps_of_partition(self, real: np.ndarray) -> np.ndarray:
        return np.ones_like(real)


class PaddingInThePath(CRF):
    def steps_of_path(self, real: np.ndarray) -> np.ndarray:
        return np.ones_like(real)


class PaddingInBoth(PaddingInThePartition, PaddingInThePath):
    pass


class Transposed(CRF):
    """Read as transitions[to, from]; the gradient is written back so, too."""

    def read(self, scores: Scores) -> Scores:
        return scores._replace(transitions=scores.transitions.T)

    def loss(self, *arguments: Any) -> Loss:
        loss = super().loss(*arguments)
        self.by_name[NAMES.transitions] = self.by_name[NAMES.transitions].T
        return loss


class WithoutEnd(CRF):
    def read(self, scores: Scores) -> Scores:
        return scores._replace(end=np.zeros_like(scores.end))


class WithoutStart(CRF):
    def read(self, scores: Scores) -> Scores:
        return scores._replace(start=np.zeros_like(scores.start))


class StartAndEndExchanged(CRF):
    def read(self, scores: Scores) -> Scores:
        return scores._replace(start=scores.end, end=scores.start)


class MaximumLeftOut(CRF):
    """The largest term is taken out of a sum of exponentials, and its logarithm not put back."""

    def joined(self, totals: np.ndarray, largest: np.ndarray) -> np.ndarray:
        return np.log(totals)


class EndUntrained(CRF):
    """All is right but for a gradient that is not there."""

    def loss(self, *arguments: Any) -> Loss:
        loss = super().loss(*arguments)
        self.by_name[NAMES.end] = np.zeros_like(self.by_name[NAMES.end])
        return loss


MISTAKES: dict[type[CRF], ModelCase] = {
    PaddingInThePartition: RAGGED,
    PaddingInThePath: RAGGED,
    PaddingInBoth: RAGGED,
    Transposed: RAGGED,
    WithoutEnd: FULL,
    WithoutStart: FULL,
    StartAndEndExchanged: FULL,
    MaximumLeftOut: FULL,
    EndUntrained: FULL,
}


class ChainWith(SequenceReference):
    """A model with a CRF of some kind."""

    kind: type[CRF] = CRF

    def chain(self) -> CRF:
        return self.kind(self.weights, self.arithmetic)


class MeanOverRows(SequenceReference):
    """As pytorch-crf's reduction="mean" is."""

    def divisor(self, counted: np.ndarray) -> int:
        return int(counted.any(axis=1).sum())


class SoftmaxInstead(SequenceReference):
    """The CRF's scores are not read."""

    def chain(self) -> Any:
        return None

    def backward(self) -> Arrays:
        return {name: np.zeros_like(self.weights[name]) for name in NAMES} | super().backward()


def disagreement(kind: type[SequenceReference], case: ModelCase, dtype: str) -> list[str]:
    yard = model_yardstick(case.spec, case.weights, case.batch, dtype)
    assert isinstance(case.spec, SequenceModel)
    reference = kind(case.spec, yard.weights, Arithmetic(truth_dtype(dtype)))
    return judge_model(all_results(reference, yard.batch), yard).reasons


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mistake", [CRF, *MISTAKES], ids=lambda kind: kind.__name__)
def test_a_mistake_is_caught_and_its_absence_is_not(mistake: type[CRF], dtype: str) -> None:
    kind = type(mistake.__name__, (ChainWith,), {"kind": mistake})
    reason = disagreement(kind, MISTAKES.get(mistake, RAGGED), dtype)
    assert bool(reason) == (mistake is not CRF)


@pytest.mark.parametrize("kind", [MeanOverRows, SoftmaxInstead])
def test_another_loss_is_caught(kind: type[SequenceReference]) -> None:
    assert disagreement(kind, RAGGED, "float32")


def test_another_formula_of_a_share_agrees_in_long_rows() -> None:
    """torch.logsumexp's derivative is off by the logarithm's rounding, and a long row's logarithms are large: right all
    the same, and beyond the limits were no plain loop to compute so.
    """
    spec = FULL.spec
    batch = random_batch(spec, BatchShape(8, 160), np.random.default_rng(1))
    yard = model_yardstick(spec, FULL.weights, batch, "float32")
    other = reference_of(spec, yard.weights, Arithmetic(np.dtype(np.float32), shares_by_logarithm=True))
    results = all_results(other, yard.batch)
    assert judge_model(results, yard).agrees
    assert not judge_model(results, replace(yard, spread={}, ambiguity={})).agrees


def asked(case: ModelCase) -> Arrays:
    return {name: case.batch[name] for name in ("tokens", "lengths")}


def path_with(weights: Arrays, **changed: np.ndarray) -> np.ndarray:
    """The best path with other scores."""
    assert isinstance(RAGGED.spec, SequenceModel)
    return predict(RAGGED.spec, weights | {f"crf.{name}": value for name, value in changed.items()}, asked(RAGGED))[
        "labels"
    ]


def without_lengths(weights: Arrays) -> np.ndarray:
    """The best path of the logits when padding is a step like others."""
    assert isinstance(RAGGED.spec, SequenceModel)
    return predict(RAGGED.spec, weights, {"tokens": RAGGED.batch["tokens"]})["labels"]


PATHS: dict[str, Callable[[Arrays], np.ndarray]] = {
    "each step's best label": lambda weights: path_with(weights, **{name[4:]: 0 * weights[name] for name in NAMES}),
    "without start scores": lambda weights: path_with(weights, start_transitions=np.zeros(7)),
    "without end scores": lambda weights: path_with(weights, end_transitions=np.zeros(7)),
    "transitions transposed": lambda weights: path_with(weights, transitions=weights[NAMES.transitions].T),
    "lengths ignored": without_lengths,
    "one label further": lambda weights: (path_with(weights) + 1) % 7,
    "backwards": lambda weights: path_with(weights)[:, ::-1],
}
"""Paths as mistakes give them."""


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_is_not_the_best_is_caught(name: str) -> None:
    yard = model_yardstick(RAGGED.spec, RAGGED.weights, RAGGED.batch, "float32")
    wrong = np.where(padding_mask(RAGGED.batch), 0, PATHS[name](yard.weights))
    (reason,) = judge_paths(wrong, yard)
    assert "must be the best path; its score is" in reason


def test_the_best_path_agrees_and_must_be_one_that_is_allowed() -> None:
    yard = model_yardstick(RAGGED.spec, RAGGED.weights, RAGGED.batch, "float32")
    assert isinstance(RAGGED.spec, SequenceModel)
    allowed, source = RAGGED.allowed(), asked(RAGGED)
    assert allowed is not None
    free = predict(RAGGED.spec, yard.weights, source)["labels"]
    bound = predict(RAGGED.spec, yard.weights, source | {"allowed": allowed})["labels"]
    assert judge_paths(free, yard) == []
    assert judge_paths(bound, yard, allowed) == []
    assert "must be the best allowed path; its score is inf below" in judge_paths(free, yard, allowed)[0]
    assert "must be the best path" in judge_paths(bound, yard)[0]
    assert judge_paths(free + padding_mask(source), yard) == [
        "labels must be classes, and 0 past the lengths; they are not"
    ]
    assert judge_paths(free[:, :2], yard) == ["labels must be int64 (5, 7); got int64 (5, 2)"]


def test_paths_that_tie_are_both_right_and_leave_the_count_open() -> None:
    """Two labels that score alike everywhere: rounding decides between them, and the right answers hang on it."""
    batch: Batch = {**RAGGED.batch, "labels": np.full_like(RAGGED.batch["labels"], 3)}
    weights = dict(RAGGED.weights)
    for name in (*NAMES, "head.0.weight", "head.0.bias"):
        weights[name] = weights[name].copy()
        weights[name][1] = weights[name][3]
    weights[NAMES.transitions][:, 1] = weights[NAMES.transitions][:, 3]
    yard = model_yardstick(RAGGED.spec, weights, batch, "float32")
    assert isinstance(RAGGED.spec, SequenceModel)
    first = predict(RAGGED.spec, yard.weights, asked(RAGGED))["labels"]
    second = np.where(first == 1, 3, first)
    assert (first != second).any()
    assert judge_paths(second, yard) == []
    open_ones = int((np.isin(first, (1, 3)) & batch["counted"]).sum())
    for count, agrees in ((yard.correct + open_ones, True), (yard.correct + open_ones + 1, False)):
        assert judge_model(yard.plain | {"correct": np.array(count)}, yard).agrees == agrees
