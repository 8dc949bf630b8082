"""Trainings in workers: a task in one implementation, with what it answers at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.claims.workshop import Workshop
from common.data.batching import batches
from common.models.batch import counted, labels
from common.models.specification import Arrays, Seq2Seq
from common.tasks.task import Task, right_answers, unlabelled

CHUNK = 16
"""Steps that a worker is asked for at once, so that Ctrl-C is heard in between."""
DTYPE = "float32"
"""The precision that models are trained in."""


@dataclass(frozen=True)
class Learned:
    """What a training gave: the ``losses`` of its steps; ``accuracies`` on the held-out examples after each epoch; the
    last ``answers`` to them, batch by batch; and those to what was asked ``besides``.
    """

    losses: Sequence[float]
    accuracies: Sequence[float]
    answers: Sequence[np.ndarray]
    besides: Sequence[np.ndarray] = ()


def train(
    workshop: Workshop,
    name: str,
    task: Task,
    *,
    epochs: int | None = None,
    weights: Arrays | None = None,
    forcing: Callable[[int], float] | None = None,
    also: list[Arrays] | None = None,
    besides: Sequence[Arrays] = (),
) -> Learned:
    """Train a task in ``framework/implementation``, from other first ``weights`` than its own where they are given.

    Parameters
    ----------
    epochs
        Default: the task's.
    forcing
        The share of teacher forcing in each epoch, from 0 on; default: the task's.
    also
        Filled with all parameters after the last step, where it is given.
    besides
        Further batches without labels that are asked at the end.

    Raises
    ------
    NoAnswer
        If the implementation declines, or fails.
    """
    framework, _, implementation = name.partition("/")
    network = workshop.network(framework, f"{task.name}-{implementation}")
    spec = task.spec
    start = task.weights if weights is None else weights
    optimizer = task.optimizer.over(len(task.epoch(0)) * (epochs or task.epochs))
    network.open(spec, implementation, DTYPE, "cpu", start, task.largest(), optimizer)
    evaluation = task.evaluation()
    asked = [unlabelled(batch) for batch in evaluation]
    most = task.max_steps() if isinstance(spec, Seq2Seq) else None
    losses: list[float] = []
    accuracies: list[float] = []
    answers: list[np.ndarray] = []
    for epoch in range(epochs or task.epochs):
        batching = task.batching if forcing is None else replace(task.batching, forcing=forcing(epoch))
        steps = list(batches(spec, task.training, batching, task.seed, epoch))
        for first in range(0, len(steps), CHUNK):
            losses += [step.loss for step in network.train(steps[first : first + CHUNK])]
        answers = [each[spec.answer] for each in network.answers(spec.question, asked, most)]
        counts = np.array([right_answers(spec, *pair) for pair in zip(evaluation, answers, strict=True)])
        accuracies.append(float(counts[:, 0].sum() / counts[:, 1].sum()))
    if also is not None:
        also.append(network.save()[0])
    others = [each[spec.answer] for each in network.answers(spec.question, besides, most)] if besides else []
    network.close()
    return Learned(losses, accuracies, answers, others)


def right_by_length(task: Task, answers: Sequence[np.ndarray]) -> dict[int, tuple[int, int]]:
    """How many answers are right, and how many there are, by the length of the source that they belong to."""
    counts: dict[int, tuple[int, int]] = {}
    for batch, answer in zip(task.evaluation(), answers, strict=True):
        right, where = labels(task.spec, batch), counted(task.spec, batch)
        width = right.shape[1]
        same = np.pad(answer, ((0, 0), (0, max(0, width - answer.shape[1]))))[:, :width] == right
        for row, length in enumerate(batch["lengths"].tolist()):
            before = counts.get(length, (0, 0))
            counts[length] = (before[0] + int((same & where)[row].sum()), before[1] + int(where[row].sum()))
    return counts


def over_seeds(name: str, values: Sequence[float]) -> dict[str, float]:
    """The mean of a number over seeds, with the least and the greatest as its interval."""
    return {name: float(np.mean(values)), f"{name}_low": min(values), f"{name}_high": max(values)}
