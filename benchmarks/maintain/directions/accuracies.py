"""What is learned with two directions, with one, and with one of twice the units, on the tasks of ``birnn train``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.claims.tasks import short_task
from benchmarks.claims.training import train
from benchmarks.claims.workshop import Workshop
from benchmarks.maintain.directions.record import ONE, TWO, WIDE, Learned
from common.models.specification import parameters
from common.tasks.task import Options, Task

VARIANTS = (TWO, ONE, WIDE)
"""The networks that are compared."""
TASKS = {
    "pipeline": "a class for each step, by a rule on the steps before and behind it",
    "tagger": "a part of speech for each word",
    "masked": "the word that is hidden in a sentence",
    "classifier": "a digit, told from its columns when the last one has been read",
}
"""The tasks, with what is asked; the last gives its answer where one direction has read everything, too."""
OF_FILES = ("tagger", "masked")
"""The tasks that need files."""


def variant_of_task(task: str, variant: str, seed: int, conllu: Sequence[Path]) -> Task:
    """A task with its own sizes, of a variant."""
    data = tuple(conllu) if task in OF_FILES else ()
    own = Options(data=data, seed=seed)
    if variant == TWO:
        return short_task(task, own)
    units = short_task(task, own).spec.recurrent.hidden_size if variant == WIDE else None
    wide = None if units is None else 2 * units
    return short_task(task, Options(data=data, seed=seed, directions=1, hidden_size=wide))


def learned(
    workshop: Workshop, implementation: str, task: str, variant: str, seed: int, *, epochs: int | None = None
) -> Learned:
    """Train a variant of a task, for its own number of epochs where none is given.

    Raises
    ------
    NoAnswer
        If the implementation declines, or fails.
    """
    made = variant_of_task(task, variant, seed, workshop.conllu)
    outcome = train(workshop, implementation, made, epochs=epochs)
    return Learned(
        task=task,
        variant=variant,
        seed=seed,
        implementation=implementation,
        accuracy=outcome.accuracies[-1],
        baseline=made.baseline.accuracy,
        parameters=sum(math.prod(shape) for shape in parameters(made.spec).values()),
    )
