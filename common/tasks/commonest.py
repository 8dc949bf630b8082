"""The baseline of a task: how good the most common answer of its training data is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.data.batching import Batching, evaluation_batches
from common.models.batch import counted, labels
from common.models.specification import Model
from common.tasks.task import Baseline, right_answers


def most_common(
    spec: Model, training: Sequence, held_out: Sequence, batching: Batching, seed: int, what: str
) -> Baseline:
    """The most common answer of the training data, at each place of a target or in all."""
    answered: list[np.ndarray] = []
    for batch in evaluation_batches(training, batching, seed):
        answers, where = labels(spec, batch), counted(spec, batch)
        places = np.broadcast_to(np.arange(answers.shape[-1]) if spec.decodes else 0, answers.shape)
        answered.append(np.stack([places[where], answers[where]]))
    common = _commonest(*np.concatenate(answered, axis=1))
    right = total = 0
    for batch in evaluation_batches(held_out, batching, seed):
        shape = labels(spec, batch).shape
        places = np.broadcast_to(np.arange(shape[-1]) if spec.decodes else 0, shape)
        answer = np.vectorize(lambda place: common.get(int(place), 0))(places)
        counts_of_batch = right_answers(spec, batch, answer)
        right, total = right + counts_of_batch[0], total + counts_of_batch[1]
    return Baseline(right / max(total, 1), what)


def _commonest(places: np.ndarray, answers: np.ndarray) -> dict[int, int]:
    """The most common answer of each place; of several the one that comes first."""
    common: dict[int, int] = {}
    for place in np.unique(places):
        there, first, counts = np.unique(answers[places == place], return_index=True, return_counts=True)
        common[int(place)] = int(there[np.lexsort((first, -counts))[0]])
    return common
