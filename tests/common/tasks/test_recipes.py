"""Recipes fill in what a user leaves open, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.data.vocabulary import build_vocabulary
from common.models.specification import SequenceModel
from common.specification import Specification
from common.tasks import building
from common.tasks.building import build_task
from common.tasks.recipes import RECIPES, Recipe, adam, filled_in
from common.tasks.task import Options, Start
from tests.common.tasks.data import WRITERS, sentences

DEEP = Recipe("lstm", 7, adam(0.01), 3, batch_size=5, embedding_size=6, num_layers=2, dropout=0.25)


def test_what_is_left_open_is_the_recipe_s() -> None:
    filled = filled_in(Options(seed=4), DEEP)
    assert filled == Options(
        seed=4, cell="lstm", hidden_size=7, embedding_size=6, num_layers=2, dropout=0.25, batch_size=5
    )


def test_what_a_user_says_stays() -> None:
    said = Options(cell="gru", hidden_size=2, embedding_size=3, num_layers=4, dropout=0.0, batch_size=9)
    assert filled_in(said, DEEP) == said


@pytest.mark.parametrize(("layers", "dropout"), [(1, 0.0), (2, 0.25), (3, 0.25)])
def test_dropout_is_the_recipe_s_where_there_is_a_place_for_it(layers: int, dropout: float) -> None:
    assert filled_in(Options(num_layers=layers), DEEP).dropout == dropout


def test_the_width_of_word_vectors_and_the_sizes_of_a_start_stay_open() -> None:
    assert filled_in(Options(embeddings=Path("vectors.txt")), DEEP).embedding_size is None
    rnn = Specification(cell="gru", input_size=3, hidden_size=2, num_layers=1, bias=True, merge="concat")
    spec = SequenceModel(rnn=rnn, num_embeddings=4, readout="steps", classes=2)
    start = Start("there", spec, build_vocabulary([["a"]]), {"embedding": np.zeros((4, 3))})
    filled = filled_in(Options(start=start), DEEP)
    assert filled == Options(start=start, batch_size=5, dropout=0.0)


def test_every_kind_of_data_has_its_own_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told from the others by its units, its batch, and its epochs."""
    numbers = {name: 3 + number for number, name in enumerate(RECIPES)}
    of_kind = {
        name: replace(of, hidden_size=numbers[name], batch_size=numbers[name], epochs=numbers[name])
        for name, of in RECIPES.items()
    }
    monkeypatch.setattr(building, "RECIPES", of_kind)
    files = {name: (write(tmp_path / name, sentences(0)),) for name, write in WRITERS.items()}
    entities = tmp_path / "entities.conll"
    entities.write_text("Ann B-person\nruns O\n\n" * 10)
    tasks = {
        "pipeline": build_task("pipeline", Options()),
        "tagger": build_task("tagger", Options(data=files["tagger"])),
        "entities": build_task("tagger", Options(data=(entities,))),
        "texts": build_task("classifier", Options(data=files["classifier"])),
        "masked": build_task("masked", Options(data=files["masked"])),
        "language of words": build_task("language", Options(limit=10)),
        "language of characters": build_task("language", Options(limit=10, unit="characters")),
    }
    for name, task in tasks.items():
        had = {task.spec.recurrent.hidden_size, task.batching.batch_size, task.epochs}
        assert had == {numbers[name]}, name
        assert task.optimizer == RECIPES[name].optimizer
