"""What the claims are measured with: nothing is timed that is wrong, and the numbers are of what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.pool.pool import NoAnswer, Pool
from benchmarks.analysis.statistics import Interval
from benchmarks.cases.case import Spread
from benchmarks.claims import ledger, timing
from benchmarks.claims.claim import Point
from benchmarks.claims.pictures import curves
from benchmarks.claims.statements.directions import (
    off_two,
    one_direction,
    past_task,
    units_of_equal_size,
)
from benchmarks.claims.statements.learning import rnn_of_task, with_rnn
from benchmarks.claims.statements.memory import copy_task
from benchmarks.claims.statements.next_token import beginnings, judged, share_written
from benchmarks.claims.statements.speed import attention_case, layer_case, narrower_size
from benchmarks.claims.statements.starts import cut, small_weights
from benchmarks.claims.timing import TWIN, Variant, time_side_by_side
from benchmarks.claims.training import over_seeds, right_by_length
from benchmarks.claims.word_vectors import write_vectors
from benchmarks.claims.workshop import Workshop
from common.data.embeddings import load_vectors
from common.data.examples import SequenceExample, next_token_examples
from common.data.vocabulary import UNKNOWN, build_vocabulary
from common.models.batch import labels
from common.models.specification import END, START, Arrays, SequenceModel
from common.specification import Specification
from common.tasks.building import build_task
from common.tasks.task import Options
from common.weights import count, initialise
from tests.registered import register
from tests.workers.misbehaving import BACKEND


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    register(monkeypatch, BACKEND)
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    with Pool.open() as pool:
        yield Workshop(pool, 60.0)


def test_only_what_agrees_is_timed_and_the_first_runs_twice(workshop: Workshop) -> None:
    short, long = (layer_case("gru", (seq_len, 3, 4, 5)) for seq_len in (2, 40))
    times = time_side_by_side(workshop, "misbehaving", [Variant("short", short, "well"), Variant("long", long, "well")])
    assert list(times) == ["short", "long", TWIN]
    assert all(each.calls >= timing.FEWEST_CYCLES for each in times.values())
    assert times["short"].ratio.median == 1.0
    assert times["long"].ratio.median > 1.0, "twenty times as many steps"
    ragged = layer_case("gru", (9, 3, 4, 5), lengths=Spread(low=1, high=9))
    for wrong in (Variant("wrong", short, "swapped"), Variant("wrong", ragged, "reads-padding")):
        with pytest.raises(NoAnswer, match="wrong: "):
            time_side_by_side(workshop, "misbehaving", [Variant("right", short, "well"), wrong])


def test_two_narrower_layers_have_no_more_parameters_and_one_unit_more_would() -> None:
    narrow = narrower_size("lstm", 64, 128)
    one = count(layer_case("lstm", (1, 1, 64, 128)).spec)
    two = [count(layer_case("lstm", (1, 1, 64, units), num_layers=2).spec) for units in (narrow, narrow + 1)]
    assert two[0] <= one < two[1]


def test_the_systems_with_and_without_attention_differ_in_it_alone() -> None:
    systems = [attention_case(10, attention).system for attention in (True, False)]
    assert systems[0] is not None
    assert systems[0].model_copy(update={"attention": False, "attention_size": None}) == systems[1]


def test_the_symbol_to_copy_is_as_far_from_both_ends() -> None:
    task = copy_task("gru", 7, seed=0)
    (batch,) = task.epoch(0)[:1]
    assert batch["x"].shape[1:] == (15, 8)
    rows, steps, symbols = np.nonzero(batch["x"])
    assert (steps == 7).all()
    assert (symbols == batch["labels"][rows]).all()


def test_answers_are_counted_by_the_length_of_their_source() -> None:
    task = build_task("seq2seq", Options(limit=50))
    right = [labels(task.spec, batch).copy() for batch in task.evaluation()]
    counts = right_by_length(task, right)
    assert all(count == total > 0 for count, total in counts.values())
    length = int(task.evaluation()[0]["lengths"][0])
    right[0][0, 0] += 1
    changed = right_by_length(task, right)
    assert changed.pop(length) == (counts[length][0] - 1, counts.pop(length)[1])
    assert changed == counts


def test_another_rnn_of_a_task_changes_nothing_else() -> None:
    task = build_task("pipeline", Options(seed=3))
    assert with_rnn(task, rnn_of_task(task)).fingerprint() == task.fingerprint()
    other = with_rnn(task, rnn_of_task(task, hidden_size=15, hidden_size_reverse=5))
    assert other.weights["rnn.weight_hh_l0_reverse"].shape == (15, 5)
    assert replace(other, spec=task.spec, weights=task.weights).fingerprint() == task.fingerprint()


def test_weights_come_back_from_one_row_of_numbers() -> None:
    spec = Specification(cell="gru", input_size=3, hidden_size=2, num_layers=1, bias=True, merge="concat")
    weights = initialise(spec, np.random.default_rng(0))
    again = cut(spec, np.concatenate([value.ravel() for value in weights.values()]))
    assert all(np.array_equal(again[name], value) for name, value in weights.items())
    small = small_weights(weights, 0)
    assert not small["bias_ih_l0"].any()
    assert 0 < np.abs(small["weight_ih_l0"]).max() < 0.05


def test_vectors_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    vocabulary = build_vocabulary([["the", "dog", "runs"]])
    matrix = np.random.default_rng(0).normal(size=(len(vocabulary), 4))
    write_vectors(vocabulary, matrix, tmp_path / "vectors.txt")
    vectors = load_vectors(tmp_path / "vectors.txt", vocabulary, 0)
    assert vectors.known.sum() == 3
    assert np.allclose(vectors.matrix[vectors.known], matrix[-3:], rtol=1e-5)


def test_a_picture_of_equal_points_has_equal_bytes_and_no_ground() -> None:
    points = [Point(where={"cell": cell, "d": d}, numbers={"n": d + 1.0}) for cell in ("gru", "lstm") for d in (1, 2)]
    drawn = [curves(points, across="d", number="n", line="cell", x_label="d", y_label="n") for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert b"lstm" in drawn[0]
    assert b"fill: #ffffff" not in drawn[0].lower()


def test_an_interval_over_seeds_holds_every_seed() -> None:
    assert over_seeds("gain", [0.1, -0.2, 0.4]) == pytest.approx({"gain": 0.1, "gain_low": -0.2, "gain_high": 0.4})


def test_packing_is_drawn_over_the_part_that_is_padding() -> None:
    (claim,) = (each for each in ledger.CLAIMS if each.name == "packing-saves-time")
    assert claim.picture is not None
    places = [("torch", "gru", 0.5), ("torch", "gru", 0.1), ("jax", "lstm", 0.5)]
    points = [
        Point(where={"framework": framework, "cell": cell}, numbers={"padding": padding, "ratio": 0.8})
        for framework, cell, padding in places
    ]
    twin = Point(where={"framework": "torch", "cell": "gru"}, numbers={"twin_ratio": 1.0})
    drawn = claim.picture([*points, twin])
    assert b"torch gru" in drawn
    assert b"jax lstm" in drawn


def labelled(examples: Sequence[object]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Inputs and labels of examples that have both."""
    sequences = [each for each in examples if isinstance(each, SequenceExample)]
    return [(each.inputs, each.labels) for each in sequences if each.labels is not None]


def sentences_of_tokens() -> list[SequenceExample]:
    return next_token_examples([tuple("abcab"), tuple("ba"), tuple("cbacba")], build_vocabulary([tuple("abc")]))


def test_beginnings_end_before_the_token_that_is_asked() -> None:
    steps = set()
    for seed in range(9):
        for (inputs, following), (begun, asked) in zip(
            labelled(sentences_of_tokens()), labelled(beginnings(sentences_of_tokens(), seed)), strict=True
        ):
            assert np.array_equal(begun, inputs[: len(begun)])
            assert (asked[:-1] == UNKNOWN).all()
            assert asked[-1] == following[len(begun) - 1]
            steps.add(len(begun))
    assert steps == set(range(2, 8))


class Parrot:
    """A network that says the token before, or, behind the start, the end."""

    def answers(self, question: str, batches: Sequence[Arrays]) -> list[Arrays]:
        before = [np.where(batch["tokens"] == START, END, batch["tokens"]) for batch in batches]
        return [{"labels": each, "logits": np.eye(9)[each]} for each in before]


def test_what_is_written_is_compared_with_what_follows() -> None:
    """Behind aa stands aab and the end: of four tokens a parrot's aaaa has one right; behind a a, of b, none."""
    every = next_token_examples([tuple("aaaab"), tuple("ab")], build_vocabulary([tuple("ab")]))
    prompts = [SequenceExample(every[0].inputs[:3]), SequenceExample(every[1].inputs[:2])]
    assert share_written(Parrot(), every, prompts) == 2 / 6  # type: ignore[arg-type]


def test_whole_sentences_and_their_next_token_are_judged_by_their_known_labels() -> None:
    task = build_task("language", Options(limit=60))
    parrot: Any = Parrot()
    examples = [SequenceExample(np.array([START, 5, 5, 6]), np.array([5, 5, 6, UNKNOWN]))]
    task = replace(task, batching=replace(task.batching, length_multiple=1))
    right, perplexity = judged(parrot, task, examples)
    assert right == 1 / 3
    every, one = np.log(8 + np.e), 1.0
    assert perplexity == pytest.approx(np.exp((every + (every - one) + every) / 3), rel=1e-12)


def test_labels_of_the_past_say_nothing_of_the_future() -> None:
    past, both = labelled(past_task(0).training), labelled(build_task("pipeline", Options(seed=0)).training)
    for (inputs, marks), (other_inputs, other) in zip(past, both, strict=True):
        assert np.array_equal(inputs, other_inputs)
        assert np.array_equal(marks == 2, other == 4)
        assert np.array_equal(marks == 1, np.isin(other, (2, 3)))


def test_one_direction_of_equal_size_has_no_more_parameters_and_one_unit_more_would() -> None:
    task = build_task("pipeline", Options())
    assert isinstance(task.spec, SequenceModel)
    units = units_of_equal_size(task.spec.rnn)
    sizes = [count(one_direction(task, each).spec.recurrent) for each in (units, units + 1)]
    assert sizes[0] <= count(task.spec.rnn) < sizes[1]


def test_how_far_a_ratio_is_from_2_has_the_interval_of_the_ratio() -> None:
    assert off_two(Interval(1.5, 1.4, 1.7)) == pytest.approx({"off": 0.5, "off_low": 0.3, "off_high": 0.6})
    assert off_two(Interval(2.1, 1.9, 2.2)) == pytest.approx({"off": 0.1, "off_low": 0.0, "off_high": 0.2})
