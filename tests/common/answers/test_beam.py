"""Beam search against all sequences that there are, each scored by itself, on a tiny model."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from common.answers.beam import beam_search
from common.models.reference import beam, decode, run
from common.models.specification import END, PADDING, Arrays, Seq2Seq, initialise
from common.specification import Specification

MAX_STEPS, SYMBOLS = 3, 5
BATCH: Arrays = {"tokens": np.array([[3, 4, 5], [5, 3, 0]]), "lengths": np.array([3, 2])}


def tiny(seed: int) -> tuple[Seq2Seq, Arrays]:
    """A model with attention and weights with which it hesitates between answers."""
    encoder = Specification(cell="gru", input_size=2, hidden_size=3, num_layers=1, bias=True, merge="concat")
    spec = Seq2Seq(
        source_size=6, target_size=SYMBOLS, embedding_size=2, encoder=encoder, attention=True, attention_size=2
    )
    return spec, {name: 3 * value for name, value in initialise(spec, np.random.default_rng(seed)).items()}


def every_answer() -> list[tuple[int, ...]]:
    """Every sequence that has ended within ``MAX_STEPS``, and every one that has not ended by then."""
    others = [token for token in range(SYMBOLS) if token != END]
    ended = [(*before, END) for length in range(MAX_STEPS) for before in product(others, repeat=length)]
    return [*ended, *product(others, repeat=MAX_STEPS)]


def score(spec: Seq2Seq, weights: Arrays, row: int, answer: tuple[int, ...]) -> float:
    """An answer's log-probability: the loss of a model that is forced to write it, times its tokens."""
    forced = {
        "targets": np.array([answer]), "target_lengths": np.array([len(answer)]), "forced": np.ones(len(answer), bool),
    }  # fmt: skip
    source = {"tokens": BATCH["tokens"][[row], : BATCH["lengths"][row]], "lengths": BATCH["lengths"][[row]]}
    return -float(run(spec, weights, source | forced)["loss"]) * len(answer)


def trimmed(tokens: np.ndarray) -> tuple[int, ...]:
    """An answer without what stands behind its end."""
    ends = np.flatnonzero(tokens == END)
    return tuple(tokens[: ends[0] + 1 if ends.size else None].tolist())


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_as_wide_as_everything_finds_every_answer_in_its_order(seed: int) -> None:
    spec, weights = tiny(seed)
    everything = every_answer()
    likeliest = beam(spec, weights, BATCH, MAX_STEPS, len(everything) + 2)
    assert likeliest["tokens"].shape == (2, len(everything) + 2, MAX_STEPS)
    for row in range(2):
        scored = sorted(((score(spec, weights, row, each), each) for each in everything), reverse=True)
        np.testing.assert_allclose(likeliest["scores"][row, :-2], [each for each, _ in scored], rtol=1e-12)
        assert [trimmed(each) for each in likeliest["tokens"][row, :-2]] == [answer for _, answer in scored]
        assert np.exp(likeliest["scores"][row]).sum() == pytest.approx(1, rel=1e-12)
        assert np.isneginf(likeliest["scores"][row, -2:]).all()
        assert (likeliest["tokens"][row, -2:] == PADDING).all()


def test_a_wider_beam_finds_better_answers_than_greedy_ones() -> None:
    """Each score is its answer's own; width 1 is greedy; somewhere greedy is not the best."""
    better = 0
    for seed in range(3):
        spec, weights = tiny(seed)
        np.testing.assert_array_equal(
            beam(spec, weights, BATCH, MAX_STEPS, 1)["tokens"][:, 0], decode(spec, weights, BATCH, MAX_STEPS)
        )
        narrow, wide = (beam(spec, weights, BATCH, MAX_STEPS, width) for width in (1, 4))
        for row in range(2):
            own = [score(spec, weights, row, trimmed(answer)) for answer in wide["tokens"][row]]
            np.testing.assert_allclose(wide["scores"][row], own, rtol=1e-12)
            assert (np.diff(wide["scores"][row]) <= 0).all()
        better += int((wide["scores"][:, 0] > narrow["scores"][:, 0] + 1e-9).sum())
    assert better > 0


def test_no_step_is_asked_for_when_all_have_ended() -> None:
    steps = []

    def ending(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        steps.append(len(tokens))
        return np.where(np.arange(SYMBOLS) == END, 50.0, np.zeros((len(tokens), 1)))

    likeliest = beam_search(ending, 2, 1, 9)
    assert steps == [2]
    assert likeliest["tokens"].tolist() == [[[END, *[PADDING] * 8]]] * 2
