"""The tasks that claims train: short, by recipes of their own, which no new default of ``birnn train`` changes.

What a claim says was measured with these; with others its results would not be its own any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from common.models.pipeline_data import BATCH, EPOCHS, OPTIMIZER, UNITS
from common.tasks.building import build_task
from common.tasks.recipes import Recipe, adam, filled_in
from common.tasks.task import Options, Task

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "pipeline": Recipe("gru", UNITS, OPTIMIZER, EPOCHS, batch_size=BATCH),
        "tagger": Recipe("lstm", 64, adam(0.002), 5, embedding_size=64),
        "classifier": Recipe("gru", 32, adam(0.01), 8),
        "seq2seq": Recipe("gru", 64, adam(0.004), 5, batch_size=64, embedding_size=32),
        "masked": Recipe("gru", 64, adam(0.002), 5, embedding_size=64),
        "language": Recipe("gru", 64, adam(0.005), 5, embedding_size=64),
    }
)
"""The recipe of each task; the classifier's is that of digits."""


def short_task(name: str, options: Options) -> Task:
    """A task by its name, as ``common.tasks.building.build_task`` makes it, with the recipe of the claims."""
    recipe = RECIPES[name]
    task = build_task(name, filled_in(options, recipe))
    return replace(task, epochs=recipe.epochs, optimizer=recipe.optimizer)
