"""g2pM's network as a sequence model: on every sentence it gives the answers of g2pM's own code."""

from __future__ import annotations

import numpy as np
import pytest

from common.data.g2pm_sentences import (
    g2pm_batch,
    g2pm_labels,
    g2pm_polyphones,
    g2pm_sentences,
    g2pm_spec,
    g2pm_weights,
)
from common.models.batch import check_batch
from common.models.reference import predict
from common.models.specification import Arrays, parameters

ALL, SOME = slice(None), slice(100, 140)
"""Sentences; some of them are enough for each mistake to show."""


def wrong_answers(weights: Arrays, dtype: str = "float32", rows: slice = ALL, **changes: np.ndarray) -> int:
    """How many of the polyphones of some sentences the reference answers differently from g2pM."""
    batch = {name: value[rows] for name, value in g2pm_batch().items()}
    answers = predict(g2pm_spec(), weights, {"tokens": batch["tokens"], "lengths": batch["lengths"], **changes}, dtype)
    return int((answers["labels"] != batch["labels"])[batch["counted"]].sum())


def test_there_are_at_least_200_sentences_each_with_a_polyphone() -> None:
    sentences, polyphones = g2pm_sentences(), g2pm_polyphones()
    assert len(set(sentences)) == len(sentences) >= 200
    assert {each.sentence for each in polyphones} == set(range(len(sentences)))
    assert all(sentences[each.sentence][each.index] == each.character for each in polyphones)
    answers: dict[str, set[str]] = {}
    for each in polyphones:
        answers.setdefault(each.character, set()).add(each.answer)
    assert sum(len(readings) > 1 for readings in answers.values()) >= 40  # characters that the sentence must decide


def test_weights_and_batch_fit_the_model() -> None:
    spec, batch = g2pm_spec(), g2pm_batch()
    assert {name: value.shape for name, value in g2pm_weights().items()} == parameters(spec)
    assert spec.classes == len(g2pm_labels()) == 876
    check_batch(spec, batch)
    assert batch["counted"].sum() == len(g2pm_polyphones())


@pytest.mark.parametrize(("dtype", "rows"), [("float32", ALL), ("float64", SOME)])
def test_every_polyphone_gets_g2pms_own_answer(dtype: str, rows: slice) -> None:
    assert wrong_answers(g2pm_weights(), dtype, rows) == 0


def test_a_mistake_gives_other_answers() -> None:
    weights = g2pm_weights()
    swapped = {
        name: weights[name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"]
        for name in weights
        if name.startswith("rnn.")
    }
    batch = {name: value[SOME] for name, value in g2pm_batch().items()}
    seq_len = batch["tokens"].shape[1]
    no_end = np.where(np.arange(seq_len) == batch["lengths"][:, None] - 1, 0, batch["tokens"])
    assert wrong_answers(weights, rows=SOME) == 0
    assert wrong_answers(weights | swapped, rows=SOME) > 0
    assert wrong_answers(weights | {"head.0.bias": 0 * weights["head.0.bias"]}, rows=SOME) > 0
    assert wrong_answers(weights, rows=SOME, lengths=np.full_like(batch["lengths"], seq_len)) > 0
    assert wrong_answers(weights, rows=SOME, tokens=no_end) > 0
