"""Recipes: the network's sizes, the optimizer and the epochs that a task has where its user says nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from common.models.optimizers import OptimizerSettings, ScheduleName
from common.models.pipeline_data import BATCH, UNITS
from common.specification import Cell
from common.tasks.task import Options


@dataclass(frozen=True)
class Recipe:
    """A network's sizes and how it is trained.

    ``embedding_size`` is None where the data are features. ``dropout`` is between layers, so 0 where there is one.
    """

    cell: Cell
    hidden_size: int
    optimizer: OptimizerSettings
    epochs: int
    batch_size: int = 32
    embedding_size: int | None = None
    num_layers: int = 1
    dropout: float = 0.0


def adam(
    learning_rate: float,
    clip_norm: float | None = 5.0,
    weight_decay: float = 0.0,
    schedule: ScheduleName = "constant",
) -> OptimizerSettings:
    """Adam, with the gradients' norm clipped."""
    return OptimizerSettings(
        name="adam", learning_rate=learning_rate, clip_norm=clip_norm, weight_decay=weight_decay, schedule=schedule
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "pipeline": Recipe("gru", UNITS, adam(0.005), 20, batch_size=BATCH),
        "tagger": Recipe("lstm", 64, adam(0.01, weight_decay=0.1), 6, embedding_size=64),
        "entities": Recipe("lstm", 64, adam(0.005), 12, embedding_size=64),
        "digits": Recipe("gru", 32, adam(0.01), 13),
        "texts": Recipe("gru", 64, adam(0.005), 3, embedding_size=64),
        "seq2seq": Recipe("gru", 64, adam(0.008, schedule="linear"), 7, batch_size=64, embedding_size=32),
        "masked": Recipe("gru", 64, adam(0.01), 9, embedding_size=64),
        "language of words": Recipe("gru", 64, adam(0.005, weight_decay=0.1), 9, embedding_size=64),
        "language of characters": Recipe("gru", 64, adam(0.005), 14, embedding_size=64),
    }
)
"""The recipe of each kind of data; how each was chosen stands in docs/recipes.md."""


def filled_in(options: Options, recipe: Recipe) -> Options:
    """The options with what they leave open taken from a recipe.

    What a network that they start from brings stays open, and so does the width of the user's word vectors; dropout is
    the recipe's where several layers are left for it.
    """
    sizes: dict[str, object] = {"cell": recipe.cell, "hidden_size": recipe.hidden_size, "num_layers": recipe.num_layers}
    if options.embeddings is None:
        sizes["embedding_size"] = recipe.embedding_size
    if options.start is not None:
        sizes = {}
    layers = options.num_layers or recipe.num_layers
    if options.start is not None:
        layers = options.start.spec.rnn.num_layers
    sizes |= {"batch_size": recipe.batch_size, "dropout": recipe.dropout if layers > 1 else 0.0}
    left = {name: value for name, value in sizes.items() if getattr(options, name) is None}
    return replace(options, **left)  # type: ignore[arg-type]  # each is of its field
