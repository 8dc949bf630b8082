"""What is tried for each kind of data: recipes, trained on a part of the training data and judged by the rest of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from backends.pool.pool import NoAnswer, Pool
from backends.pool.selection import Selection
from backends.studies.training import TRAINED, Course, Learner, Trained
from backends.worker.messages import NotDone
from benchmarks.maintain.recipes.record import Trial
from common.data.examples import split
from common.models.optimizers import OptimizerSettings
from common.models.specification import initialise, parameters
from common.tasks.building import HELD_OUT, build_task
from common.tasks.recipes import Recipe, adam, filled_in
from common.tasks.task import Options, Task

TREEBANK, COLUMNS = "treebank", "columns"
"""The kinds of files, by the options that name them."""
DTYPE = "float32"
"""The precision that is trained in."""
ADAM = ("learning_rate", "weight_decay", "schedule")
"""What of a change is the optimizer's."""


@dataclass(frozen=True)
class Kind:
    """A kind of data that has a recipe: its ``task``, with ``options``, on files or (``files`` empty) its own data; how
    many epochs are tried at most, the recipes ``tried`` by what they are called; and what they are judged by, greater
    being better.
    """

    task: str
    most_epochs: int
    tried: Mapping[str, Recipe]
    files: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    judged: str = "accuracy"


def varied(
    cell: str, hidden_size: int, embedding_size: int | None, batch_size: int, changes: Sequence[dict[str, Any]]
) -> dict[str, Recipe]:
    """Recipes with these sizes but for their changes, each called by them; ``learning_rate``, ``weight_decay`` and
    ``schedule`` are Adam's. The epochs are what is to be found, and 1 here, but for those of a schedule, which has to
    know them when it begins.
    """
    sizes: dict[str, Any] = {
        "cell": cell,
        "hidden_size": hidden_size,
        "embedding_size": embedding_size,
        "batch_size": batch_size,
    }
    recipes = {}
    for change in changes:
        settings = {name: value for name, value in change.items() if name in ADAM}
        others = {name: value for name, value in change.items() if name not in settings}
        called = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in change.items())
        recipes[called] = Recipe(optimizer=adam(**settings), **({"epochs": 1} | sizes | others))
    return recipes


def rates(*values: float) -> list[dict[str, Any]]:
    """Changes of the learning rate alone."""
    return [{"learning_rate": value} for value in values]


WIDE: dict[str, Any] = {"hidden_size": 128, "embedding_size": 128}
"""Twice the units and the width."""
DEEP: dict[str, Any] = {"num_layers": 2, "dropout": 0.3}
"""A second layer, with dropout below it."""
KINDS: dict[str, Kind] = {
    "pipeline": Kind("pipeline", 20, varied("gru", 10, None, 20, rates(0.005, 0.01))),
    "tagger": Kind(
        "tagger",
        20,
        varied(
            "lstm",
            64,
            64,
            32,
            [
                *rates(0.002, 0.005, 0.01),
                {"learning_rate": 0.005, **WIDE},
                {"learning_rate": 0.01, **DEEP},
                {"learning_rate": 0.01, "weight_decay": 0.1},
                {"learning_rate": 0.01, "weight_decay": 0.1, "schedule": "linear", "epochs": 8},
            ],
        ),
        TREEBANK,
    ),
    "entities": Kind(
        "tagger",
        15,
        varied(
            "lstm",
            64,
            64,
            32,
            [*rates(0.005, 0.01), {"learning_rate": 0.01, **WIDE}, {"learning_rate": 0.01, **DEEP}],
        ),
        COLUMNS,
        {"head": "crf", "scheme": "iob1"},
        "entity F1",
    ),
    "digits": Kind(
        "classifier",
        15,
        varied("gru", 32, None, 32, [*rates(0.005, 0.01), {"learning_rate": 0.01, "hidden_size": 64}]),
    ),
    "texts": Kind(
        "classifier",
        10,
        varied("gru", 64, 64, 32, [*rates(0.002, 0.005, 0.01), {"learning_rate": 0.005, "weight_decay": 0.1}]),
        TREEBANK,
    ),
    "seq2seq": Kind(
        "seq2seq",
        8,
        varied(
            "gru",
            64,
            32,
            64,
            [
                *rates(0.004, 0.008),
                {"learning_rate": 0.004, "schedule": "linear", "epochs": 7},
                {"learning_rate": 0.008, "schedule": "linear", "epochs": 7},
            ],
        ),
        options={"limit": 6000},
    ),
    "masked": Kind(
        "masked",
        12,
        varied("gru", 64, 64, 32, [*rates(0.002, 0.005, 0.01), {"learning_rate": 0.005, "weight_decay": 0.1}]),
        TREEBANK,
    ),
    "language of words": Kind(
        "language",
        10,
        varied("gru", 64, 64, 32, [*rates(0.005, 0.01), {"learning_rate": 0.005, "weight_decay": 0.1}]),
        options={"directions": 1},
        judged="perplexity",
    ),
    "language of characters": Kind(
        "language",
        15,
        varied("gru", 64, 64, 32, rates(0.005, 0.01)),
        options={"directions": 1, "unit": "characters"},
        judged="perplexity",
    ),
}
"""Everything that is tried, by the names of ``common.tasks.recipes.RECIPES``."""


def task_apart(kind: Kind, recipe: Recipe, training: Path | None, seed: int) -> Task:
    """A task by a recipe whose held-out examples are a part of its training data, which the seed draws.

    What is held out otherwise, and reported, plays no part: of files the first alone is given, and data that a task
    brings are first divided as they always are, by seed 0.
    """
    options = Options(**kind.options)
    if kind.files:
        assert training is not None
        return build_task(kind.task, filled_in(replace(options, data=(training,), seed=seed), recipe))
    task = build_task(kind.task, filled_in(options, recipe))
    first, second = split(task.training, HELD_OUT, seed)
    weights = initialise(task.spec, np.random.default_rng([seed, 1]))
    return replace(task, training=first, held_out=second, seed=seed, weights=weights)


def scores_of(kind: Kind, trained: Trained) -> list[float]:
    """What a training is judged by after each epoch: of a perplexity minus its logarithm, so that greater is better."""
    if kind.judged == "perplexity":
        return [-math.log(each) for each in trained.perplexities]
    if kind.judged == "entity F1":
        return [each.f1 for each in trained.entities]
    return list(trained.accuracies)


def multiplications(task: Task) -> int:
    """The numbers that a step multiplies by, once for each token: all matrices but those that are looked up."""
    return sum(
        math.prod(shape)
        for name, shape in parameters(task.spec).items()
        if len(shape) == 2 and not name.endswith("embedding")
    )


def epochs_of(name: str, called: str) -> int:
    """How many epochs a recipe of a kind is tried for: its own where it has a schedule."""
    recipe = KINDS[name].tried[called]
    return recipe.epochs if recipe.optimizer.varies else KINDS[name].most_epochs


def try_recipe(
    pool: Pool, selection: Selection, name: str, called: str, seed: int, training: Path | None, timeout_seconds: float
) -> Trial:
    """Train one recipe of a kind for as many epochs as it is tried for.

    Raises
    ------
    NoAnswer
        If the implementation declines, or fails.
    """
    kind = KINDS[name]
    recipe = kind.tried[called]
    task = task_apart(kind, recipe, training, seed)
    epochs = epochs_of(name, called)
    optimizer = recipe.optimizer.over(epochs * len(task.epoch(0)))
    course = Course(task, optimizer, epochs, DTYPE, "cpu", timeout_seconds)
    (trained,) = Learner(pool, selection, course, lambda _: None).run()
    if trained.status != TRAINED:
        raise NoAnswer(NotDone(status=trained.status, reason=trained.reason))
    return Trial(
        kind=name,
        called=called,
        recipe=as_json(recipe),
        seed=seed,
        scores=scores_of(kind, trained),
        multiplications=multiplications(task),
        examples=(len(task.training), len(task.held_out)),
    )


def as_json(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it, without its epochs."""
    content = {name: value for name, value in asdict(recipe).items() if name not in ("optimizer", "epochs")}
    return content | {"optimizer": recipe.optimizer.model_dump()}


def recipe_from_json(content: Mapping[str, Any], epochs: int) -> Recipe:
    """The recipe that ``as_json`` made this of, with epochs."""
    optimizer = OptimizerSettings.model_validate(content["optimizer"])
    return Recipe(**{**content, "optimizer": optimizer, "epochs": epochs})
