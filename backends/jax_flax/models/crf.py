"""The linear-chain CRF over a sequence model's labels in JAX; ``common.models.crf.scores`` has its equation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from common.models.crf.scores import Scores, allowed_parts


def negative_log_likelihood(logits: jax.Array, labels: jax.Array, real: jax.Array, scores: Scores) -> jax.Array:
    """The loss of each row's labels (batch,): the logarithm of the sum over all paths, less the right path's score.

    logits (batch, seq_len, classes) and scores in at least float32; labels and real (batch, seq_len).
    """
    return _log_partition(logits, real, scores) - _score(logits, labels, real, scores)


def best_paths(logits: jax.Array, real: jax.Array, scores: Scores, allowed: jax.Array | None = None) -> jax.Array:
    """The labels of each row's best path of those that are allowed (batch, seq_len), 0 past a length; int32."""
    transitions, start, end = scores
    if allowed is not None:
        parts = zip(allowed_parts(allowed), scores, strict=True)
        transitions, start, end = (jnp.where(part, score, -jnp.inf) for part, score in parts)
    every = jnp.arange(len(start), dtype=jnp.int32)

    def step(delta: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        logits, is_real = inputs[0], inputs[1][:, None]
        candidates = delta[:, :, None] + transitions  # (batch, from, to)
        before = jnp.where(is_real, candidates.argmax(axis=1).astype(jnp.int32), every)
        return jnp.where(is_real, candidates.max(axis=1) + logits, delta), before

    def back(label: jax.Array, before: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.take_along_axis(before, label[:, None], axis=1)[:, 0], label

    steps = _time_first(logits, real)
    delta, before = jax.lax.scan(step, start + logits[:, 0], steps)  # before (seq_len - 1, batch, classes)
    last = (delta + end).argmax(axis=1).astype(jnp.int32)
    first, others = jax.lax.scan(back, last, before, reverse=True)
    labels = jnp.concatenate([first[None], others]).T  # (seq_len, batch) to (batch, seq_len)
    return jnp.where(real, labels, 0)


def _log_partition(logits: jax.Array, real: jax.Array, scores: Scores) -> jax.Array:
    """The logarithm of the sum of exp(score) over all paths (batch,), by the forward algorithm."""

    def step(alpha: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        logits, is_real = inputs
        total = jax.nn.logsumexp(alpha[:, :, None] + scores.transitions, axis=1)  # (batch, from, to) to (batch, to)
        return jnp.where(is_real[:, None], total + logits, alpha), None

    alpha, _ = jax.lax.scan(step, scores.start + logits[:, 0], _time_first(logits, real))
    return jax.nn.logsumexp(alpha + scores.end, axis=1)


def _score(logits: jax.Array, labels: jax.Array, real: jax.Array, scores: Scores) -> jax.Array:
    """The score of the right path of each row (batch,)."""
    of_steps = jnp.where(real, jnp.take_along_axis(logits, labels[..., None], axis=2)[..., 0], 0)
    of_pairs = jnp.where(real[:, 1:], scores.transitions[labels[:, :-1], labels[:, 1:]], 0)
    last = jnp.take_along_axis(labels, real.sum(axis=1, keepdims=True) - 1, axis=1)[:, 0]
    return scores.start[labels[:, 0]] + of_steps.sum(axis=1) + of_pairs.sum(axis=1) + scores.end[last]


def _time_first(logits: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What each step but the first reads: (seq_len - 1, batch, classes) and (seq_len - 1, batch)."""
    return logits[:, 1:].swapaxes(0, 1), real[:, 1:].T  # (batch, seq_len, …) to (seq_len, batch, …)
