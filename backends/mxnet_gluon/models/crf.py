"""The linear-chain CRF over a sequence model's labels in MXNet; ``common.models.crf.scores`` has its equation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

from backends.mxnet_gluon.layer.lengths import Tensor, step_mask, unstack
from common.models.crf.scores import Scores


@dataclass(frozen=True)
class Rows:
    """What symbols do not tell: how many steps and classes there are, and the lengths (batch,), None for full rows."""

    seq_len: int
    classes: int
    lengths: Tensor | None

    def masks(self, F: ModuleType) -> list[Tensor] | None:
        """A mask of each step, (batch,) int32, 1 where it is real; None where all are."""
        return None if self.lengths is None else unstack(F, step_mask(F, self.lengths, self.seq_len), self.seq_len)

    def steps(self, F: ModuleType, x: Tensor) -> list[Tensor]:
        """The steps of x (batch, seq_len, …)."""
        return unstack(F, F.swapaxes(x, 0, 1), self.seq_len)  # (batch, seq_len, …) to (seq_len, batch, …)


def negative_log_likelihood(F: ModuleType, logits: Tensor, labels: Tensor, real: Rows, scores: Scores) -> Tensor:
    """The loss of each row's labels (batch,): the logarithm of the sum over all paths, less the right path's score.

    logits (batch, seq_len, classes) and scores in at least float32; labels (batch, seq_len).
    """
    return _log_partition(F, logits, real, scores) - _score(F, logits, labels, real, scores)


def best_paths(F: ModuleType, logits: Tensor, real: Rows, scores: Scores, allowed: Tensor | None = None) -> Tensor:
    """The labels of each row's best path of those that are allowed (batch, seq_len), 0 past a length; int32."""
    transitions, start, end = (F.BlockGrad(score) for score in _as_rows(F, scores))
    if allowed is not None:
        cuts = ((0, real.classes), (real.classes, real.classes + 1), (real.classes + 1, real.classes + 2))
        parts = [F.slice_axis(allowed, axis=0, begin=begin, end=end) for begin, end in cuts]
        given = zip(parts, (F.squeeze(transitions, axis=0), start, end), strict=True)
        transitions, start, end = (F.where(part, score, F.zeros_like(score) - math.inf) for part, score in given)
        transitions = F.expand_dims(transitions, axis=0)
    steps, masks = real.steps(F, F.BlockGrad(logits)), real.masks(F)
    delta = F.broadcast_add(start, steps[0])  # the best score of a path that ends in each label
    every = F.broadcast_like(F.expand_dims(F.arange(real.classes, dtype="int32"), axis=0), steps[0])
    before = []  # the label before each on that path
    for t in range(1, real.seq_len):
        candidates = F.broadcast_add(F.expand_dims(delta, axis=2), transitions)  # (batch, from, to)
        best, new = F.cast(F.argmax(candidates, axis=1), "int32"), F.max(candidates, axis=1) + steps[t]
        before.append(best if masks is None else F.where(masks[t], best, every))
        delta = new if masks is None else F.where(masks[t], new, delta)
    labels = [F.cast(F.argmax(F.broadcast_add(delta, end), axis=1), "int32")]
    for step in reversed(before):
        labels.append(F.pick(step, labels[-1], axis=1))
    if masks is not None:
        labels = [label * mask for label, mask in zip(labels, masks[::-1], strict=True)]
    return F.stack(*labels[::-1], axis=1)


def _log_partition(F: ModuleType, logits: Tensor, real: Rows, scores: Scores) -> Tensor:
    """The logarithm of the sum of exp(score) over all paths (batch,), by the forward algorithm."""
    transitions, start, end = _as_rows(F, scores)
    steps, masks = real.steps(F, logits), real.masks(F)
    alpha = F.broadcast_add(start, steps[0])
    for t in range(1, real.seq_len):
        new = _log_sum(F, F.broadcast_add(F.expand_dims(alpha, axis=2), transitions)) + steps[t]  # (batch, from, to)
        alpha = new if masks is None else F.where(masks[t], new, alpha)
    return _log_sum(F, F.broadcast_add(alpha, end))


def _log_sum(F: ModuleType, terms: Tensor) -> Tensor:
    """The logarithm of the sum of exp(terms) over axis 1."""
    largest = F.BlockGrad(F.max(terms, axis=1, keepdims=True))
    total = F.sum(F.exp(F.broadcast_sub(terms, largest)), axis=1, keepdims=True)
    return F.squeeze(F.log(total) + largest, axis=1)


def _score(F: ModuleType, logits: Tensor, labels: Tensor, real: Rows, scores: Scores) -> Tensor:
    """The score of the right path of each row (batch,)."""
    classes, label = real.classes, real.steps(F, labels)
    masks = real.masks(F)
    total = _looked_up(F, scores.start, label[0], classes)
    last = label[0]
    for t, step in enumerate(real.steps(F, logits)):
        part = F.pick(step, label[t], axis=1)
        if t > 0:
            part = part + F.pick(F.Embedding(last, scores.transitions, input_dim=classes, output_dim=classes), label[t])
        total = total + (part if masks is None else F.where(masks[t], part, F.zeros_like(part)))
        last = label[t] if masks is None else F.where(masks[t], label[t], last)
    return total + _looked_up(F, scores.end, last, classes)


def _looked_up(F: ModuleType, score: Tensor, label: Tensor, classes: int) -> Tensor:
    """The score (classes,) of each label (batch,)."""
    return F.squeeze(F.Embedding(label, F.expand_dims(score, axis=1), input_dim=classes, output_dim=1), axis=1)


def _as_rows(F: ModuleType, scores: Scores) -> Scores:
    """The scores with an axis for the batch before them."""
    return Scores(*(F.expand_dims(score, axis=0) for score in scores))
