"""The negative log-likelihood of a linear-chain CRF and its gradients by hand: the forward algorithm, its adjoint."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from common.models.crf.scores import NAMES, PREFIX, Scores, scores_of
from common.models.crf.viterbi import best_paths
from common.models.layers import Arithmetic, Loss
from common.models.specification import Arrays


class CRF:
    """A linear-chain CRF on logits, in at least float32 as softmax is.

    The methods that a mistake would change are small and apart. A row is counted as a whole or not at all. The loss is
    the mean over the counted positions, as cross-entropy's: with scores of 0 it is cross-entropy.

    Parameters
    ----------
    weights
        ``crf.transitions``, ``crf.start_transitions`` and ``crf.end_transitions`` (``common.models.crf.scores``).
    arithmetic
        What to compute in.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        own = {name: value.astype(arithmetic.wide) for name, value in weights.items() if name.startswith(PREFIX)}
        self.scores = self.read(scores_of(own))
        self.by_name: Arrays = {}

    # What a mistake can change.

    def read(self, scores: Scores) -> Scores:
        """The scores as they are read."""
        return scores

    def steps_of_partition(self, real: np.ndarray) -> np.ndarray:
        """(batch, seq_len) bool: the steps that all paths of a row go through."""
        return real

    def steps_of_path(self, real: np.ndarray) -> np.ndarray:
        """(batch, seq_len) bool: the steps that the right path of a row goes through."""
        return real

    def joined(self, totals: np.ndarray, largest: np.ndarray) -> np.ndarray:
        """The logarithm of a sum of exponentials, of which the largest term was taken out."""
        return np.log(totals) + largest

    # The likelihood.

    def loss(self, logits: np.ndarray, labels: np.ndarray, counted: np.ndarray, real: np.ndarray, divisor: int) -> Loss:
        """The loss of each row (0 where it is not counted), their sum over ``divisor``, how many counted labels the
        best paths have right, and the gradient by the logits; ``by_name`` then has those of the scores.

        logits (batch, seq_len, classes); labels, counted and real (batch, seq_len).
        """
        wide = logits.astype(self.arithmetic.wide)
        rows = counted.any(axis=1)
        losses = self._log_partition(wide, self.steps_of_partition(real))
        losses = losses - self._score(wide, labels, self.steps_of_path(real))
        losses = np.where(rows, losses, np.zeros_like(losses))
        share = (rows / self.arithmetic.wide.type(divisor)).astype(wide.dtype)  # the loss's gradient by each row's
        gradient, partition = self._partition_gradient(share, self.steps_of_partition(real))
        path_gradient, path = self._score_gradient(share, labels, self.steps_of_path(real), wide.shape)
        dtype = self.arithmetic.dtype
        self.by_name = {name: (a - b).astype(dtype) for name, a, b in zip(NAMES, partition, path, strict=True)}
        right = (best_paths(wide, real, self.scores) == labels) & counted
        mean = np.asarray(losses.sum() / self.arithmetic.wide.type(divisor))
        return Loss(losses, mean, np.asarray(right.sum(), np.int64), (gradient - path_gradient).astype(dtype))

    def _log_partition(self, logits: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The logarithm of the sum of exp(score) over all paths (batch,): the forward algorithm (Rabiner 1989, III.A,
        in logarithms).
        """
        transitions, start, end = self.scores
        alpha = start + logits[:, 0]
        self._shares = []
        for t in range(1, logits.shape[1]):
            total, shares = self._log_sum(alpha[:, :, None] + transitions)  # (batch, from, to)
            self._shares.append(shares)
            alpha = np.where(steps[:, t, None], total + logits[:, t], alpha)
        total, self._last_shares = self._log_sum(alpha + end)
        return total

    def _log_sum(self, terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The logarithm of the sum of exp(terms) over axis 1, and each term's share in the sum."""
        largest = terms.real.max(axis=1, keepdims=True)
        exponentials = np.exp(terms - largest)
        totals = exponentials.sum(axis=1, keepdims=True)
        logarithms = self.joined(totals, largest)
        shares = np.exp(terms - logarithms) if self.arithmetic.shares_by_logarithm else exponentials / totals
        return logarithms[:, 0], shares

    def _partition_gradient(self, share: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, Scores]:
        """The gradients of the partition function times ``share``: by the logits, the probability of each label at
        each step, and by the scores, that of each pair of labels, summed up.
        """
        transitions = np.zeros_like(self.scores.transitions)
        d_alpha = self._last_shares * share[:, None]  # (batch, classes)
        end = d_alpha.sum(axis=0)
        d_logits = np.zeros((*steps.shape, d_alpha.shape[1]), d_alpha.dtype)
        for t in range(steps.shape[1] - 1, 0, -1):
            here = np.where(steps[:, t, None], d_alpha, np.zeros_like(d_alpha))
            d_logits[:, t] = here
            pairs = self._shares[t - 1] * here[:, None, :]  # (batch, from, to)
            transitions += pairs.sum(axis=0)
            d_alpha = np.where(steps[:, t, None], pairs.sum(axis=2), d_alpha)
        d_logits[:, 0] = d_alpha
        return d_logits, Scores(transitions, d_alpha.sum(axis=0), end)

    def _score(self, logits: np.ndarray, labels: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The score of the right path of each row (batch,)."""
        transitions, start, end = self.scores
        of_steps = np.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
        of_pairs = transitions[labels[:, :-1], labels[:, 1:]]  # from the label before, to this one
        last = self._last(labels, steps)
        inner = np.where(steps, of_steps, np.zeros_like(of_steps)).sum(axis=1)
        between = np.where(steps[:, 1:], of_pairs, np.zeros_like(of_pairs)).sum(axis=1)
        return start[labels[:, 0]] + inner + between + end[last]

    def _score_gradient(
        self, share: np.ndarray, labels: np.ndarray, steps: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, Scores]:
        """The gradients of the right paths' scores times ``share``."""
        d_logits = np.zeros(shape, share.dtype)
        of_steps = np.where(steps, share[:, None], np.zeros_like(share[:, None]))  # (batch, seq_len)
        np.put_along_axis(d_logits, labels[..., None], of_steps[..., None], axis=-1)
        transitions, start, end = (np.zeros_like(each) for each in self.scores)
        np.add.at(transitions, (labels[:, :-1], labels[:, 1:]), of_steps[:, 1:])
        np.add.at(start, labels[:, 0], share)
        np.add.at(end, self._last(labels, steps), share)
        return d_logits, Scores(transitions, start, end)

    def _last(self, labels: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The label of each row's last step (batch,)."""
        return np.take_along_axis(labels, steps.sum(axis=1, keepdims=True) - 1, axis=1)[:, 0]
