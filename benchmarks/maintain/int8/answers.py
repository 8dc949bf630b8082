"""What trained models answer with their kernels in int8, and with dynamic products, beside what they answer else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.claims.training import DTYPE, train
from benchmarks.claims.workshop import Workshop
from benchmarks.maintain.int8.record import DYNAMIC, KERNELS, TRAINED, WAYS, Answered
from common.models.specification import Arrays, parameters
from common.quantization.dynamic import answer_of, dynamic_reference
from common.quantization.kernels import rounded, sizes
from common.tasks.building import build_task
from common.tasks.language import cross_entropy, perplexity
from common.tasks.task import Options, Task, right_answers, unlabelled

TASKS: dict[str, dict[str, Any]] = {
    "pipeline": {},
    "tagger": {},
    "language": {"directions": 1},
    "seq2seq": {"limit": 4000},
}
"""The tasks with their options."""
OF_FILES = ("tagger",)
"""The tasks that need ``--conllu``."""


def answered(
    workshop: Workshop, name: str, task: str, seed: int, epochs: int | None = None, **options: Any
) -> Iterator[Answered]:
    """Train a task in ``framework/implementation``, and have the model answer in every way: as trained and with its
    kernels in int8 by the same implementation in float32, with dynamic products by the reference.

    Raises
    ------
    NoAnswer
        If the implementation declines, or fails.
    """
    files = tuple(workshop.conllu) if task in OF_FILES else ()
    built = build_task(task, Options(data=files, seed=seed, **(TASKS[task] | options)))
    weights: list[Arrays] = []
    workshop.tell(f"{task}, seed {seed}: training")
    train(workshop, name, built, epochs=epochs, also=weights)
    every = {
        TRAINED: by_worker(workshop, name, built, weights[0]),
        KERNELS: by_worker(workshop, name, built, rounded(weights[0])),
    }
    workshop.tell(f"{task}, seed {seed}: dynamic products in NumPy")
    every[DYNAMIC] = by_reference(built, weights[0])
    size = sizes(parameters(built.spec))
    evaluation = built.evaluation()
    for way in WAYS:
        labels = [answer[built.spec.answer] for answer in every[way]]
        right = np.array([right_answers(built.spec, *pair) for pair in zip(evaluation, labels, strict=True)]).sum(
            axis=0
        )
        nats = [
            cross_entropy(batch, answer["logits"])
            for batch, answer in zip(evaluation, every[way], strict=True)
            if built.has_perplexity
        ]
        before = [answer[built.spec.answer] for answer in every[TRAINED]]
        yield Answered(
            task=task,
            way=way,
            seed=seed,
            accuracy=float(right[0] / right[1]),
            same=same_answers(built, evaluation, labels, before),
            perplexity=perplexity(sum(nats), int(right[1])) if nats else None,
            float32_bytes=size.float32,
            int8_bytes=size.quantized,
        )


def by_worker(workshop: Workshop, name: str, task: Task, weights: Arrays) -> list[Arrays]:
    """The answers of an implementation to the held-out examples, from given weights, batch by batch."""
    framework, _, implementation = name.partition("/")
    network = workshop.network(framework, "quantized")
    network.open(task.spec, implementation, DTYPE, "cpu", weights, task.largest())
    asked = [unlabelled(batch) for batch in task.evaluation()]
    most = task.max_steps() if task.spec.decodes else None
    answers = network.answers(task.spec.question, asked, most)
    network.close()
    return answers


def by_reference(task: Task, weights: Arrays) -> list[Arrays]:
    """The answers of the reference with dynamic products to the held-out examples, batch by batch."""
    reference = dynamic_reference(task.spec, weights)
    most = task.max_steps() if task.spec.decodes else 0
    return [answer_of(reference, unlabelled(batch), most, None) for batch in task.evaluation()]


def same_answers(
    task: Task, evaluation: Sequence[Arrays], answers: Sequence[np.ndarray], before: Sequence[np.ndarray]
) -> float:
    """The share of the counted answers that are those of the model as it was trained."""
    key = task.spec.right
    relabelled = [batch | {key: _as_wide(other, batch[key])} for batch, other in zip(evaluation, before, strict=True)]
    counts = np.array([right_answers(task.spec, *pair) for pair in zip(relabelled, answers, strict=True)]).sum(axis=0)
    return float(counts[0] / counts[1])


def _as_wide(answer: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An answer in the shape of the labels: a decoder's is cut, or followed by 0."""
    if answer.shape == labels.shape:
        return answer
    width = labels.shape[1]
    return np.pad(answer, ((0, 0), (0, max(0, width - answer.shape[1]))))[:, :width]
