"""Whether a model's results agree with the reference: in units of plain loops' error, as for the layer.

Beyond what ``common.judging.agreement`` does, answers are discrete: a best token that rounding decides may fall either
way. So a decoder's results are held against a reference that was given the same tokens, and those tokens against the
right logits; a CRF's paths are held against the score of the best one; and the number of right answers may differ by
the answers that rounding decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from common.judging.agreement import Verdict, judge_tensors, thresholds, with_reasons
from common.judging.precision import epsilon, numpy_dtype, rounded
from common.judging.reordered import FURTHER_LOOPS, nudged_arrays, reordered
from common.judging.tf32 import TF32
from common.judging.yardstick import KINK_WIDTH, allowance, spread, truth_dtype
from common.models.batch import Batch, counted, labels, padding_mask
from common.models.crf.scores import Scores, restricted, scores_of
from common.models.crf.viterbi import best_paths, max_marginals, path_scores
from common.models.layers import Arithmetic, best
from common.models.reference import ModelReference, all_results, reference_of
from common.models.specification import Arrays, Model
from common.reference import Reference

if TYPE_CHECKING:
    from common.judging.yardstick import Yardstick


@dataclass(frozen=True)
class ModelYardstick:
    """What a model's results are held against; like ``common.judging.yardstick.Yardstick``, with a model for the case.

    Parameters
    ----------
    spec, weights, batch
        The model and its batch, floats rounded to ``dtype``.
    dtype
        The precision of the run.
    tf32
        Whether the plain loop multiplies as a GPU's fast lane does.
    truth, plain
        The tensors of the reference in a wider dtype and in ``dtype``, without ``correct``.
    correct
        How many answers of the truth are right.
    spread
        The largest error of further plain loops, elementwise.
    ambiguity
        Errors allowed beyond the plain loop's: of the loss, the mean error of its single losses; of gradients, what
        falling on either side of a ReLU's kink changes.
    """

    spec: Model
    weights: Arrays
    batch: Batch
    dtype: str
    tf32: bool
    truth: Arrays
    plain: Arrays
    correct: int
    spread: Arrays = field(default_factory=dict)
    ambiguity: Arrays = field(default_factory=dict)
    units: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What ``common.judging.agreement.units`` has computed of each tensor: every result needs it anew."""

    def allowance(self, name: str) -> np.ndarray:
        """The largest absolute error that the plain loops make in one tensor, elementwise, with the ambiguity added."""
        return allowance(self.truth, self.plain, self.spread, self.ambiguity, name)

    def tie(self) -> float:
        """How near two logits lie that rounding may order either way."""
        unit = np.maximum(self.allowance("logits").max(), epsilon(self.dtype) / 2 * np.abs(self.truth["logits"]).max())
        return float(2 * thresholds()[self.dtype]["max"] * unit)

    def path_tie(self) -> float:
        """How near the scores of two paths through a CRF's labels lie that rounding may order either way: what a tie
        of logits adds up to over the steps, by the size of the scores.
        """
        unit = np.maximum(self.allowance("logits").max(), epsilon(self.dtype) / 2 * np.abs(self.paths()).max())
        return float(2 * thresholds()[self.dtype]["max"] * unit * self.truth["logits"].shape[1])

    def paths(self) -> np.ndarray:
        """The best score of a path through each label of each step, (batch, seq_len, classes), for a CRF."""
        return max_marginals(self.truth["logits"], ~padding_mask(self.batch), self._scores())

    def path_gaps(self, labels: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        """How far each row's path through a CRF's labels (batch, seq_len) is below the best allowed one, (batch,)."""
        logits, real, scores = self.truth["logits"], ~padding_mask(self.batch), restricted(self._scores(), allowed)
        best = path_scores(logits, real, scores, best_paths(logits, real, scores))
        return best - path_scores(logits, real, scores, labels)

    def _scores(self) -> Scores:
        """The CRF's own scores, in the truth's dtype."""
        return Scores(*(each.astype(self.truth["logits"].dtype) for each in scores_of(self.weights)))

    def given(self, choices: np.ndarray) -> ModelYardstick:
        """The yardstick for a decoder that was given these tokens (batch, target_len) where it is not forced."""
        return _yardstick(self.spec, self.weights, self.batch, self.dtype, self.tf32, choices)


def model_yardstick(
    spec: Model, weights: Mapping[str, np.ndarray], batch: Batch, dtype: str, tf32: bool = False
) -> ModelYardstick:
    """Run the reference on the rounded model and batch: once wider than ``dtype``, and as plain loops in ``dtype``.

    Raises
    ------
    InputError
        If a weight or feature is too large for ``dtype``.
    """
    weights = {name: rounded(value, dtype) for name, value in weights.items()}
    with np.errstate(all="ignore"):  # what overflows cannot be told, and is said to be so
        return _yardstick(spec, weights, rounded_batch(batch, dtype), dtype, tf32, None)


def rounded_batch(batch: Batch, dtype: str) -> Batch:
    """The batch with its floats rounded to ``dtype`` and held as float64; x may hold anything past the lengths."""
    padding = padding_mask(batch)[..., None]
    floats = {name: value for name, value in batch.items() if value.dtype.kind == "f"}
    return {**batch, **{name: rounded(value, dtype, name == "x" and padding) for name, value in floats.items()}}


def _yardstick(
    spec: Model, weights: Arrays, batch: Batch, dtype: str, tf32: bool, choices: np.ndarray | None
) -> ModelYardstick:
    """The truth for a model and a batch, the plain loop's results, and how wide the limits are where a choice or a kink
    is near.
    """
    exact = Arithmetic(truth_dtype(dtype))
    true = reference_of(spec, weights, exact, choices)
    truth = all_results(true, batch)
    if spec.decodes and choices is None:
        choices = best(truth["logits"])
    kind: type[Reference] = TF32 if tf32 and dtype == "float32" else Reference
    plain = reference_of(spec, weights, Arithmetic(numpy_dtype(dtype), kind), choices)
    computed = all_results(plain, batch)
    correct = int(truth.pop("correct"))
    del computed["correct"]
    loops = [_further_loop(spec, weights, batch, dtype, kind, choices, number) for number in range(FURTHER_LOOPS)]
    spreads = spread(truth, (results for results, _ in loops))
    yard = ModelYardstick(spec, weights, batch, dtype, tf32, truth, computed, correct, spreads)
    losses = [plain.loss.each, *(each for _, each in loops)]
    off = max(np.abs(each.astype(exact.dtype) - true.loss.each).sum() for each in losses)
    yard.ambiguity["loss"] = np.asarray(off / max(int(counted(spec, batch).sum()), 1))
    kinks = _kink_widths(true, plain, dtype)
    if any(kinks):
        sides = [
            all_results(
                reference_of(spec, weights, replace(exact, kink=sign * kinks[0], head_kink=sign * kinks[1])), batch
            )
            for sign in (1, -1)
        ]
        yard.ambiguity.update({name: np.abs(sides[0][name] - sides[1][name]) for name in truth if name[:5] == "grad."})
    return yard


def _further_loop(
    spec: Model,
    weights: Arrays,
    batch: Batch,
    dtype: str,
    kind: type[Reference],
    choices: np.ndarray | None,
    number: int,
) -> tuple[Arrays, np.ndarray]:
    """The tensors of one of the further plain loops, and its single losses."""
    arithmetic = Arithmetic(numpy_dtype(dtype), reordered(kind, number), shares_by_logarithm=number % 2 == 1)
    moved = nudged_arrays(weights, dtype, np.random.default_rng(number))
    loop = reference_of(spec, moved, arithmetic, choices)
    return all_results(loop, batch), loop.loss.each


def _kink_widths(true: ModelReference, plain: ModelReference, dtype: str) -> tuple[float, float]:
    """How far from 0 what a ReLU reads may lie for its side to be rounding's: in the cell, and in the head."""
    cell = _width(true.stack.outputs, plain.stack.outputs, dtype) if true.spec.recurrent.cell == "rnn_relu" else 0.0
    return cell, _width(true.sums[:-1], plain.sums[:-1], dtype)


def _width(true: list[np.ndarray], plain: list[np.ndarray], dtype: str) -> float:
    """How near to 0 a number that ReLU is given may come before its sign is rounding."""
    width = 0.0
    for right, loop in zip(true, plain, strict=True):
        error = np.abs(loop.astype(right.dtype) - right).max()
        width = max(width, KINK_WIDTH * float(np.maximum(error, epsilon(dtype) * np.abs(right).max())))
    return width if np.isfinite(width) else np.inf


def judge_model(results: Arrays, yard: ModelYardstick) -> Verdict:
    """Hold a model's results against the truth, tensor by tensor, and its right answers against the right number."""
    if "correct" not in results:
        return Verdict(False, ["the result must have correct; it is missing"])
    tensors = {name: value for name, value in results.items() if name != "correct"}
    reasons: list[str] = []
    logits = tensors.get("logits")
    if yard.spec.decodes and logits is not None and logits.shape == yard.truth["logits"].shape:
        yard, reasons = _with_choices(best(logits), yard)
    # judge_tensors reads what both kinds of yardstick have, and no case.
    verdict = judge_tensors(tensors, cast("Yardstick", yard))
    if verdict.measures:
        reasons += _wrong_count(int(results["correct"]), yard)
    return with_reasons(verdict, reasons)


def _with_choices(choices: np.ndarray, yard: ModelYardstick) -> tuple[ModelYardstick, list[str]]:
    """The yardstick for what a decoder chose, and a sentence on a choice that was not the best one."""
    free = np.roll(~yard.batch["forced"], -1)  # whether the next step is given what this one chose
    free[-1] = False
    used = free & counted(yard.spec, yard.batch)
    if not (used & (choices != best(yard.truth["logits"]))).any():
        return yard, []
    yard = yard.given(choices)
    logits = yard.truth["logits"]
    behind = logits.max(axis=-1) - np.take_along_axis(logits, choices[..., None], axis=-1)[..., 0]
    wrong = np.argwhere(used & (behind > yard.tie()))
    if not wrong.size:
        return yard, []
    row, step = (int(i) for i in wrong[0])
    off = float(behind[row, step])
    return yard, [f"the choice of row {row}, step {step} must be the best token; its logit is {off:.3g} below the best"]


def judge_paths(answers: np.ndarray, yard: ModelYardstick, allowed: np.ndarray | None = None) -> list[str]:
    """A sentence where a CRF's answers (batch, seq_len) are not the best paths, give or take ties, of those allowed."""
    padding = padding_mask(yard.batch)
    if answers.shape != padding.shape or answers.dtype != np.int64:
        return [f"labels must be int64 {padding.shape}; got {answers.dtype} {answers.shape}"]
    if answers[padding].any() or answers.min() < 0 or answers.max() >= yard.truth["logits"].shape[-1]:
        return ["labels must be classes, and 0 past the lengths; they are not"]
    below = yard.path_gaps(answers, allowed)
    wrong = np.flatnonzero(~(below <= yard.path_tie()))
    if not wrong.size:
        return []
    kind = "the best path" if allowed is None else "the best allowed path"
    return [f"the labels of row {wrong[0]} must be {kind}; its score is {float(below[wrong[0]]):.3g} below the best"]


def _wrong_count(correct: int, yard: ModelYardstick) -> list[str]:
    """A sentence where the number of right answers differs by more than rounding can decide."""
    chain = yard.spec.head == "crf"
    logits, tie = (yard.paths(), yard.path_tie()) if chain else (yard.truth["logits"], yard.tie())
    label = labels(yard.spec, yard.batch)[..., None]
    own = np.take_along_axis(logits, label, axis=-1)[..., 0]
    others = logits.copy()
    np.put_along_axis(others, label, -np.inf, axis=-1)
    open_ones = int(((np.abs(own - others.max(axis=-1)) <= tie) & counted(yard.spec, yard.batch)).sum())
    if abs(correct - yard.correct) <= open_ones:
        return []
    return [f"correct must be {yard.correct}, give or take {open_ones} that rounding decides; got {correct}"]
