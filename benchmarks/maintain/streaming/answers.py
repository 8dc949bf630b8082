"""What a trained tagger answers when it is streamed, beside the whole sequence and beside one direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.claims.tasks import short_task
from benchmarks.claims.training import DTYPE, train
from benchmarks.claims.workshop import Workshop
from benchmarks.maintain.streaming.record import ONE_DIRECTION, ONE_LAYER, TWO_LAYERS, Answered, Counts
from common.models.specification import Arrays
from common.models.streaming import Streaming, computed_steps, exact_steps
from common.specification import Specification
from common.tasks.task import Options, Task, right_answers, unlabelled

CHUNKS = (1, 5, 10, 20)
"""Steps that are answered together."""
LOOK_AHEADS = (0, 1, 2, 5, 10)
"""Steps that are read ahead."""
MODELS: dict[str, dict[str, Any]] = {ONE_LAYER: {}, TWO_LAYERS: {"num_layers": 2}, ONE_DIRECTION: {"directions": 1}}
"""The options of the taggers."""
EXACT = Streaming(chunk=1)
"""The pace of one direction, which loses nothing by it."""


def paces(model: str) -> list[Streaming | None]:
    """The whole sequence, which is None, and the paces of a tagger."""
    if model == ONE_DIRECTION:
        return [None, EXACT]
    return [None, *(Streaming(chunk=chunk, look_ahead=ahead) for chunk in CHUNKS for ahead in LOOK_AHEADS)]


def counts_of(rnn: Specification, streaming: Streaming | None, lengths: Sequence[int]) -> Counts:
    """The counts of a pace over rows of these lengths."""
    wait = computed = exact = 0
    for length in lengths:
        pace = Streaming(chunk=length) if streaming is None else streaming
        wait += pace.wait(length)
        computed += sum(computed_steps(rnn, window) for window in pace.windows(length))
        exact += exact_steps(rnn, pace, length)
    steps = sum(lengths)
    return Counts(wait=wait / len(lengths), computed=computed / steps, exact=exact / steps)


def answers_of(
    workshop: Workshop, name: str, model: str, seed: int, done: Sequence[Streaming | None], epochs: int | None = None
) -> Iterator[Answered]:
    """Train a tagger in ``framework/implementation``, and have it answer at each pace that is not yet done.

    Raises
    ------
    NoAnswer
        If the implementation declines, or fails.
    """
    wanted = [pace for pace in paces(model) if pace not in done]
    if not wanted:
        return
    task = short_task("tagger", Options(data=tuple(workshop.conllu), seed=seed, **MODELS[model]))
    weights: list[Arrays] = []
    workshop.tell(f"{model}, seed {seed}: training")
    train(workshop, name, task, epochs=epochs, also=weights)
    framework, _, implementation = name.partition("/")
    network = workshop.network(framework, "streamed")
    network.open(task.spec, implementation, DTYPE, "cpu", weights[0], task.largest())
    evaluation = task.evaluation()
    asked = [unlabelled(batch) for batch in evaluation]
    whole = [labels["labels"] for labels in network.answers("predict", asked)]
    lengths = [int(length) for batch in evaluation for length in batch["lengths"]]
    for pace in wanted:
        workshop.tell(f"{model}, seed {seed}: {pace or 'the whole sequence'}")
        labels = whole
        if pace is not None:
            labels = [answer["labels"] for answer in network.answers("predict", asked, streaming=pace)]
        accuracy, same = _shares(task, evaluation, labels, whole)
        counts = counts_of(task.spec.recurrent, pace, lengths)
        yield Answered(model=model, seed=seed, streaming=pace, accuracy=accuracy, same=same, counts=counts)
    network.close()


def _shares(
    task: Task, evaluation: Sequence[Arrays], answers: Sequence[np.ndarray], whole: Sequence[np.ndarray]
) -> tuple[float, float]:
    """The shares of the counted answers that are right, and that are those of the whole sequence."""
    right = np.array([right_answers(task.spec, *pair) for pair in zip(evaluation, answers, strict=True)]).sum(axis=0)
    same = sum(
        int(((one == other) & batch["counted"]).sum())
        for batch, one, other in zip(evaluation, answers, whole, strict=True)
    )
    return float(right[0] / right[1]), float(same / right[1])
