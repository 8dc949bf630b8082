"""The linear-chain CRF over a sequence model's labels in TensorFlow; ``common.models.crf.scores`` has its equation."""

from __future__ import annotations

import tensorflow as tf

from common.models.crf.scores import Scores, allowed_parts


def negative_log_likelihood(logits: tf.Tensor, labels: tf.Tensor, real: tf.Tensor, scores: Scores) -> tf.Tensor:
    """The loss of each row's labels (batch,): the logarithm of the sum over all paths, less the right path's score.

    logits (batch, seq_len, classes) and scores in at least float32; labels and real (batch, seq_len).
    """
    return _log_partition(logits, real, scores) - _score(logits, labels, real, scores)


def best_paths(logits: tf.Tensor, real: tf.Tensor, scores: Scores, allowed: tf.Tensor | None = None) -> tf.Tensor:
    """The labels of each row's best path of those that are allowed (batch, seq_len), 0 past a length; int64."""
    transitions, start, end = scores
    if allowed is not None:
        parts = zip(allowed_parts(allowed), scores, strict=True)
        transitions, start, end = (tf.where(part, score, -float("inf")) for part, score in parts)
    rows, seq_len, classes = logits.shape
    inputs, masks = _time_first(logits, real)
    every = tf.range(classes, dtype=tf.int64)

    def step(t: tf.Tensor, delta: tf.Tensor, before: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        candidates, is_real = delta[:, :, None] + transitions, masks.read(t)[:, None]  # (batch, from, to)
        before = before.write(t, tf.where(is_real, tf.argmax(candidates, axis=1), every))
        return t + 1, tf.where(is_real, tf.reduce_max(candidates, axis=1) + inputs.read(t), delta), before

    def back(t: tf.Tensor, label: tf.Tensor, labels: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        label = tf.gather(before.read(t), label, batch_dims=1)
        return t - 1, label, labels.write(t - 1, label)

    before = tf.TensorArray(tf.int64, seq_len, element_shape=(rows, classes), clear_after_read=False)
    _, delta, before = tf.while_loop(lambda t, *_: t < seq_len, step, (1, start + logits[:, 0], before))
    last = tf.argmax(delta + end, axis=1)
    labels = tf.TensorArray(tf.int64, seq_len, element_shape=(rows,)).write(seq_len - 1, last)
    *_, labels = tf.while_loop(lambda t, *_: t > 0, back, (seq_len - 1, last, labels))
    return tf.where(real, tf.transpose(labels.stack()), 0)  # (seq_len, batch) to (batch, seq_len)


def _log_partition(logits: tf.Tensor, real: tf.Tensor, scores: Scores) -> tf.Tensor:
    """The logarithm of the sum of exp(score) over all paths (batch,), by the forward algorithm."""
    seq_len = logits.shape[1]
    inputs, masks = _time_first(logits, real)

    def step(t: tf.Tensor, alpha: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        total = tf.reduce_logsumexp(alpha[:, :, None] + scores.transitions, axis=1)  # (batch, from, to) to (batch, to)
        return t + 1, tf.where(masks.read(t)[:, None], total + inputs.read(t), alpha)

    _, alpha = tf.while_loop(lambda t, _: t < seq_len, step, (1, scores.start + logits[:, 0]))
    return tf.reduce_logsumexp(alpha + scores.end, axis=1)


def _score(logits: tf.Tensor, labels: tf.Tensor, real: tf.Tensor, scores: Scores) -> tf.Tensor:
    """The score of the right path of each row (batch,)."""
    zero = tf.zeros((), logits.dtype)
    of_steps = tf.where(real, tf.gather(logits, labels, batch_dims=2), zero)
    pairs = tf.stack([labels[:, :-1], labels[:, 1:]], axis=-1)  # (batch, seq_len - 1, 2)
    of_pairs = tf.where(real[:, 1:], tf.gather_nd(scores.transitions, pairs), zero)
    last = tf.gather(labels, tf.math.count_nonzero(real, axis=1) - 1, batch_dims=1)
    inner = tf.reduce_sum(of_steps, axis=1) + tf.reduce_sum(of_pairs, axis=1)
    return tf.gather(scores.start, labels[:, 0]) + inner + tf.gather(scores.end, last)


def _time_first(logits: tf.Tensor, real: tf.Tensor) -> tuple[tf.TensorArray, tf.TensorArray]:
    """What each step reads: (batch, classes) and (batch,), seq_len of each."""
    inputs = tf.TensorArray(logits.dtype, logits.shape[1]).unstack(tf.transpose(logits, (1, 0, 2)))
    return inputs, tf.TensorArray(tf.bool, logits.shape[1]).unstack(tf.transpose(real))  # (seq_len, batch, …)
