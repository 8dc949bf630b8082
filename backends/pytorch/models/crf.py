"""The linear-chain CRF over a sequence model's labels in PyTorch; ``common.models.crf.scores`` has its equation."""

from __future__ import annotations

import torch

from common.models.crf.scores import Scores, allowed_parts


def negative_log_likelihood(
    logits: torch.Tensor, labels: torch.Tensor, real: torch.Tensor, scores: Scores
) -> torch.Tensor:
    """The loss of each row's labels (batch,): the logarithm of the sum over all paths, less the right path's score.

    logits (batch, seq_len, classes) and scores in at least float32; labels and real (batch, seq_len).
    """
    return _log_partition(logits, real, scores) - _score(logits, labels, real, scores)


def best_paths(
    logits: torch.Tensor, real: torch.Tensor, scores: Scores, allowed: torch.Tensor | None = None
) -> torch.Tensor:
    """The labels of each row's best path of those that are allowed (batch, seq_len), 0 past a length."""
    transitions, start, end = (score.detach() for score in scores)
    if allowed is not None:
        parts = zip(allowed_parts(allowed), (transitions, start, end), strict=True)
        transitions, start, end = (score.masked_fill(~part, -torch.inf) for part, score in parts)
    logits = logits.detach()
    delta = start + logits[:, 0]  # the best score of a path that ends in each label
    every = torch.arange(len(start), device=logits.device)
    before = []  # the label before each on that path
    for t in range(1, logits.shape[1]):
        candidates = delta[:, :, None] + transitions  # (batch, from, to)
        is_real = real[:, t, None]
        before.append(torch.where(is_real, candidates.argmax(dim=1), every))
        delta = torch.where(is_real, candidates.amax(dim=1) + logits[:, t], delta)
    labels = [(delta + end).argmax(dim=1)]
    for step in reversed(before):
        labels.append(step.gather(1, labels[-1][:, None])[:, 0])
    return torch.stack(labels[::-1], dim=1).masked_fill(~real, 0)


def _log_partition(logits: torch.Tensor, real: torch.Tensor, scores: Scores) -> torch.Tensor:
    """The logarithm of the sum of exp(score) over all paths (batch,), by the forward algorithm."""
    alpha = scores.start + logits[:, 0]
    for t in range(1, logits.shape[1]):
        total = torch.logsumexp(alpha[:, :, None] + scores.transitions, dim=1)  # (batch, from, to) to (batch, to)
        alpha = torch.where(real[:, t, None], total + logits[:, t], alpha)
    return torch.logsumexp(alpha + scores.end, dim=1)


def _score(logits: torch.Tensor, labels: torch.Tensor, real: torch.Tensor, scores: Scores) -> torch.Tensor:
    """The score of the right path of each row (batch,)."""
    of_steps = logits.gather(2, labels[..., None])[..., 0].masked_fill(~real, 0)
    of_pairs = scores.transitions[labels[:, :-1], labels[:, 1:]].masked_fill(~real[:, 1:], 0)
    last = labels.gather(1, real.sum(dim=1, keepdim=True) - 1)[:, 0]
    return scores.start[labels[:, 0]] + of_steps.sum(dim=1) + of_pairs.sum(dim=1) + scores.end[last]
