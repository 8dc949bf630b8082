"""Batches: every example once, the same arrays from the same seed, and random draws that do not disturb each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.data.batching import Batching, batches, evaluation_batches
from common.data.examples import PairExample, SequenceExample
from common.data.vocabulary import MASK, NUM_SPECIAL, UNKNOWN
from common.errors import InputError
from common.models.batch import check_batch
from common.models.specification import END, Arrays, Seq2Seq, SequenceModel
from common.specification import Specification

LENGTHS = (3, 7, 1, 4, 4, 9, 2, 4, 6, 5, 8)
SIZE = 40
BATCHING = Batching(batch_size=4)


def rnn() -> Specification:
    return Specification(cell="gru", input_size=3, hidden_size=5, num_layers=3, bias=True, merge="concat")


def model(**changes: Any) -> SequenceModel:
    content: dict[str, Any] = {"rnn": rnn(), "num_embeddings": SIZE, "readout": "steps", "classes": SIZE}
    return SequenceModel(**(content | changes))


TAGGER = model()
PAIRS = Seq2Seq(source_size=SIZE, target_size=SIZE, embedding_size=3, encoder=rnn(), attention=False, dropout=0.25)


def tagged() -> list[SequenceExample]:
    """Every token of all examples is another one, and its label is the token minus 1."""
    ids = np.split(np.arange(NUM_SPECIAL, NUM_SPECIAL + sum(LENGTHS)) % SIZE, np.cumsum(LENGTHS)[:-1])
    return [SequenceExample(tokens, (tokens - 1) % SIZE) for tokens in ids]


def pairs() -> list[PairExample]:
    return [PairExample(each.inputs, np.append(each.inputs[:3] % 9 + NUM_SPECIAL, END)) for each in tagged()]


def words() -> list[SequenceExample]:
    examples = [SequenceExample(np.full(length, NUM_SPECIAL + i)) for i, length in enumerate((1, 4, 20, 7))]
    return [*examples, SequenceExample(np.array([UNKNOWN, NUM_SPECIAL, UNKNOWN])), SequenceExample(np.array([UNKNOWN]))]


def epoch(examples: Sequence, batching: Batching = BATCHING, spec: Any = TAGGER, seed: int = 5, number: int = 0):
    drawn = list(batches(spec, examples, batching, seed, number))
    for batch in drawn:
        check_batch(spec, batch)
    return drawn


def rows(steps: list[Arrays]) -> list[tuple[int, ...]]:
    return [
        tuple(tokens[:length].tolist())
        for batch in steps
        for tokens, length in zip(batch["tokens"], batch["lengths"], strict=True)
    ]


def same(one: list[Arrays], other: list[Arrays]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("by_length", [False, True])
def test_every_example_is_there_once_and_the_last_batch_is_kept(by_length: bool) -> None:
    drawn = epoch(tagged(), replace(BATCHING, by_length=by_length))
    assert sorted(len(batch["tokens"]) for batch in drawn) == [3, 4, 4]
    assert sorted(rows(drawn)) == sorted(tuple(each.inputs.tolist()) for each in tagged())


@pytest.mark.parametrize("by_length", [False, True])
def test_batches_hang_on_seed_and_epoch_alone(by_length: bool) -> None:
    batching = replace(BATCHING, by_length=by_length, forcing=0.5)
    drawn = epoch(pairs(), batching, PAIRS)
    assert same(drawn, epoch(pairs(), batching, PAIRS))
    assert not same(drawn, epoch(pairs(), batching, PAIRS, seed=6))
    assert not same(drawn, epoch(pairs(), batching, PAIRS, number=1))


def test_without_lengths_every_example_may_come_at_every_place() -> None:
    """In 300 epochs each example of eleven comes as often in the first half as in the second, before and behind each
    other; 5 standard deviations are allowed."""
    number = {tuple(each.inputs.tolist()): i for i, each in enumerate(tagged())}
    places = np.array([np.argsort([number[row] for row in rows(epoch(tagged(), number=i))]) for i in range(300)])
    before = (places[:, :, None] < places[:, None]).mean(axis=0)[~np.eye(len(number), dtype=bool)]
    assert np.abs(before - 0.5).max() < 5 * 0.5 / np.sqrt(len(places))
    middle, spread = (len(number) - 1) / 2, np.sqrt((len(number) ** 2 - 1) / 12)
    assert np.abs(places.mean(axis=0) - middle).max() < 5 * spread / np.sqrt(len(places))


def test_padding_is_not_counted_and_labels_stay_with_their_tokens() -> None:
    for batch in epoch(tagged()):
        steps = np.arange(batch["tokens"].shape[1]) < batch["lengths"][:, None]
        assert (batch["counted"] == steps).all()
        assert (batch["labels"][steps] == (batch["tokens"][steps] - 1) % SIZE).all()
        assert not batch["tokens"][~steps].any()
        assert batch["tokens"].shape[1] == batch["lengths"].max()


def test_batches_by_length_hold_neighbours_in_a_random_order() -> None:
    batching = replace(BATCHING, by_length=True)
    orders, ties = set(), set()
    for number in range(20):
        drawn = epoch(tagged(), batching, number=number)
        spans = sorted((batch["lengths"].min(), batch["lengths"].max()) for batch in drawn)
        assert [(int(least), int(most)) for least, most in spans] == [(1, 4), (4, 6), (7, 9)]
        orders.add(tuple(int(batch["lengths"].min()) for batch in drawn))
        ties.add(next(tuple(sorted(rows([batch]))) for batch in drawn if batch["lengths"].min() == 1))
    assert len(orders) > 2
    assert len(ties) == 3  # one of the three examples of length 4 goes with the shorter ones


def test_lengths_are_rounded_up() -> None:
    drawn = epoch(tagged(), replace(BATCHING, length_multiple=4))
    for batch in drawn:
        longest = int(batch["lengths"].max())
        assert longest <= batch["tokens"].shape[1] < longest + 4
        assert batch["tokens"].shape[1] % 4 == 0
    assert sorted(rows(drawn)) == sorted(rows(epoch(tagged())))


def test_features_of_one_length_need_no_lengths() -> None:
    spec = model(num_embeddings=None, readout="final", classes=3)
    examples = [SequenceExample(np.full((6, 3), float(i)), np.array(i % 3)) for i in range(5)]
    for batch in epoch(examples, Batching(2, ragged=False, length_multiple=4), spec):
        assert "lengths" not in batch
        assert batch["x"].shape[1:] == (6, 3)
        assert (batch["labels"] == batch["x"][:, 0, 0] % 3).all()
        assert batch["counted"].all()
    with pytest.raises(InputError, match="one length without lengths; got 3 and 7"):
        epoch(tagged(), replace(BATCHING, ragged=False))


def test_dropout_zeroes_its_share_between_layers_and_nothing_else_changes() -> None:
    dropped = epoch(tagged() * 20, spec=model(dropout=0.25))
    plain = epoch(tagged() * 20)
    for batch, other in zip(dropped, plain, strict=True):
        assert set(batch) - set(other) == {"dropout.0", "dropout.1"}
        assert all(np.array_equal(batch[name], other[name]) for name in other)
        assert batch["dropout.0"].shape == (*batch["tokens"].shape, 10)
        assert not np.array_equal(batch["dropout.0"], batch["dropout.1"])
        assert set(np.unique(batch["dropout.0"])) == {0, 1 / 0.75}
    share = np.concatenate([(batch["dropout.1"] == 0).ravel() for batch in dropped])
    assert abs(share.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / share.size)


def test_targets_end_with_the_end_token_and_are_forced_at_the_ratio() -> None:
    drawn = epoch(pairs() * 20, replace(BATCHING, forcing=0.3), PAIRS)
    for batch in drawn:
        last = batch["target_lengths"] - 1
        assert (batch["targets"][np.arange(len(last)), last] == END).all()
        assert (batch["targets"] == END).sum() == len(last)
    flips = np.concatenate([batch["forced"] for batch in drawn])
    assert abs(flips.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / flips.size)
    assert all(batch["forced"].all() for batch in epoch(pairs(), spec=PAIRS))
    assert not any(batch["forced"].any() for batch in epoch(pairs(), replace(BATCHING, forcing=0.0), PAIRS))


def test_dropout_in_the_decoder_zeroes_its_share_of_every_layer_and_nothing_else_changes() -> None:
    spec = PAIRS.model_copy(update={"decoder_dropout": 0.25})
    dropped, others = (epoch(pairs() * 20, spec=each) for each in (spec, PAIRS))
    names = {f"dropout.decoder.{layer}" for layer in range(spec.encoder.num_layers)}
    for batch, other in zip(dropped, others, strict=True):
        assert set(batch) - set(other) == names
        assert all(np.array_equal(batch[name], other[name]) for name in other)
        assert {batch[name].shape for name in names} == {(*batch["targets"].shape, spec.state_size)}
        assert not np.array_equal(*(batch[name] for name in sorted(names)[:2]))
    zeros = np.concatenate([(batch[name] == 0).ravel() for batch in dropped for name in names])
    assert zeros.mean() == pytest.approx(0.25, abs=0.02)
    values = np.unique(np.concatenate([batch[name].ravel() for batch in dropped for name in names]))
    assert values.tolist() == [0, 1 / 0.75]
    assert not any("dropout" in name for batch in evaluation_batches(pairs(), BATCHING) for name in batch)


def test_forcing_and_dropout_have_streams_of_their_own() -> None:
    drawn = epoch(pairs() * 20, replace(BATCHING, forcing=PAIRS.dropout), PAIRS)
    dropped = [batch["dropout.0"].ravel()[: len(batch["forced"])] == 0 for batch in drawn]
    assert any((batch["forced"] != first).any() for batch, first in zip(drawn, dropped, strict=True))


def test_masks_hide_their_share_of_known_words_and_these_alone_are_counted() -> None:
    batching = replace(BATCHING, masked_share=0.15)
    counts = {}
    for batch in epoch(words(), batching):
        assert ((batch["tokens"] == MASK) == batch["counted"]).all()
        assert (batch["tokens"] == batch["labels"])[~batch["counted"]].all()
        assert not np.isin(batch["labels"][batch["counted"]], (UNKNOWN, MASK, 0)).any()
        for labels, length, counted in zip(batch["labels"], batch["lengths"], batch["counted"], strict=True):
            counts[tuple(labels[:length].tolist())] = int(counted.sum())
    assert [counts[tuple(each.inputs.tolist())] for each in words()] == [1, 1, 3, 1, 1, 0]


def test_masked_positions_are_drawn_anew_in_every_epoch_but_one_evaluation_is_like_the_next() -> None:
    examples = [SequenceExample(np.arange(NUM_SPECIAL, NUM_SPECIAL + 20))] * 3
    batching = Batching(3, masked_share=0.2)
    trained = [epoch(examples, batching, number=number)[0]["counted"] for number in range(3)]
    assert len({counted.tobytes() for counted in trained}) == 3
    assert len({row.tobytes() for row in trained[0]}) > 1
    (judged,) = evaluation_batches(examples, batching, seed=5)
    one_by_one = [
        batch["counted"][0] for batch in evaluation_batches(examples, replace(batching, batch_size=1), seed=5)
    ]
    assert (judged["counted"] == np.stack(one_by_one)).all()


def test_evaluation_keeps_the_order_and_draws_nothing() -> None:
    drawn = list(evaluation_batches(tagged(), replace(BATCHING, by_length=True)))
    assert rows(drawn) == [tuple(each.inputs.tolist()) for each in tagged()]
    for batch in evaluation_batches(pairs(), BATCHING):
        check_batch(PAIRS, batch)
        assert not batch["forced"].any()
        assert not any(name.startswith("dropout") for name in batch)


def test_what_has_no_labels_becomes_batches_for_prediction() -> None:
    for batch in evaluation_batches([replace(each, labels=None) for each in tagged()], BATCHING):
        check_batch(TAGGER, batch, labelled=False)
    for batch in evaluation_batches([replace(each, target=None) for each in pairs()], BATCHING):
        check_batch(PAIRS, batch, labelled=False)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"length_multiple": 0}, "length_multiple must be at least 1; got 0"),
        ({"masked_share": 0.0}, "masked_share must be above 0 and at most 1; got 0.0"),
        ({"masked_share": 1.5}, "masked_share"),
        ({"forcing": -0.1}, "forcing must lie between 0 and 1; got -0.1"),
    ],
)
def test_bad_settings_are_one_sentence(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(InputError, match=part):
        replace(BATCHING, **changes)


def test_no_examples_and_empty_ones_are_refused() -> None:
    with pytest.raises(InputError, match="at least one example; it holds none"):
        epoch([])
    with pytest.raises(InputError, match="at least one step; number 2 has none"):
        list(evaluation_batches([tagged()[0], SequenceExample(np.zeros(0, np.int64))], BATCHING))
