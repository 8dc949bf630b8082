"""What is told of streaming: counts are of windows, answers of a trained tagger, times of what has been judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from birnn_numpy_loop import BACKEND as NUMPY

from backends.pool.pool import Pool
from benchmarks.claims.workshop import Workshop
from benchmarks.maintain.directions.record import Taken, read_measured
from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.streaming import __main__ as command
from benchmarks.maintain.streaming import page
from benchmarks.maintain.streaming.answers import MODELS, answers_of, counts_of, paces
from benchmarks.maintain.streaming.record import (
    ONE_DIRECTION,
    ONE_LAYER,
    TWO_LAYERS,
    Answered,
    Counts,
    Measured,
    Timed,
)
from benchmarks.maintain.streaming.times import check_answer, timed_model, times_of
from common.errors import InputError
from common.models.reference import predict
from common.models.specification import initialise
from common.models.streaming import Streaming
from tests.common.tasks.data import sentences, write_tagged
from tests.registered import register


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Workshop]:
    register(monkeypatch, NUMPY)
    files = [write_tagged(tmp_path / f"{seed}.conllu", sentences(seed)[:20]) for seed in (1, 2)]
    with Pool.open() as pool:
        yield Workshop(pool, 60.0, conllu=files)


def test_counts_are_of_the_windows_of_all_rows() -> None:
    """Rows of 5 and 2 steps, chunks of 2 and a look-ahead of 1: windows 2+1, 2+1, 1 and 2."""
    one = timed_model(ONE_LAYER).rnn
    counts = counts_of(one, Streaming(chunk=2, look_ahead=1), [5, 2])
    assert counts.wait == (3 + 2) / 2
    assert counts.computed == pytest.approx((5 + 2 + 3 + 3 + 1 + 2) / 7)
    # Of the row of 5 the last two windows reach the end, and of that of 2 its only one.
    assert counts.exact == pytest.approx((3 + 2) / 7)
    whole = counts_of(one, None, [5, 2])
    assert (whole.wait, whole.computed, whole.exact) == (3.5, 2.0, 1.0)
    forward = counts_of(timed_model(ONE_DIRECTION).rnn, Streaming(chunk=1), [5, 2])
    assert (forward.wait, forward.computed, forward.exact) == (1.0, 1.0, 1.0)


def test_a_tagger_answers_at_every_pace_that_is_not_there_yet(workshop: Workshop) -> None:
    every = paces(ONE_LAYER)
    short, covering = Streaming(chunk=1), Streaming(chunk=20, look_ahead=10)
    done = [pace for pace in every if pace not in (None, short, covering)]
    whole, first, last = answers_of(workshop, "numpy/loop", ONE_LAYER, 0, done, epochs=1)
    assert [each.streaming for each in (whole, first, last)] == [None, short, covering]
    assert (whole.same, last.same, last.accuracy) == (1.0, 1.0, whole.accuracy)
    assert first.same < 1
    assert list(answers_of(workshop, "numpy/loop", ONE_LAYER, 0, every, epochs=1)) == []


def test_a_pace_is_judged_and_then_timed(workshop: Workshop) -> None:
    times = times_of(workshop, "numpy/loop", ONE_LAYER, rounds=2, steps=12, units=3)
    assert [each.streaming.chunk for each in times] == [12, 1, 1, 5, 10, 12]
    assert all(each.first_seconds > 0 and each.step_seconds > 0 for each in times)


def test_an_answer_that_is_wrong_in_one_window_is_never_timed() -> None:
    spec, pace = timed_model(ONE_LAYER, 3), Streaming(chunk=4, look_ahead=20)
    weights = initialise(spec, np.random.default_rng(0))
    tokens = np.arange(5, 15)
    logits = predict(spec, weights, {"tokens": tokens[None]})["logits"][0]
    check_answer(logits, spec, weights, tokens, pace, "x/y")
    logits[9, 0] += 0.01
    with pytest.raises(InputError, match=r"^x/y must answer chunk=4 look_ahead=20 as the reference does to 0.001; it"):
        check_answer(logits, spec, weights, tokens, pace, "x/y")
    logits[9, 0] = np.nan
    with pytest.raises(InputError, match=r"it is nan away"):
        check_answer(logits, spec, weights, tokens, pace, "x/y")


def an_answer(model: str, pace: Streaming | None, seed: int, accuracy: float) -> Answered:
    counts = Counts(wait=3.0, computed=2.5, exact=0.25)
    return Answered(model=model, seed=seed, streaming=pace, accuracy=accuracy, same=0.5, counts=counts)


def test_the_page_says_what_was_measured_and_what_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to = tmp_path / "streaming.md"
    to.write_text("# Title\n\n<!-- answers -->\n<!-- /answers -->\n\n<!-- times -->\n<!-- /times -->\n")
    file = tmp_path / "streaming.json"
    monkeypatch.setattr(command, "PAGE", to)
    command.main(conllu=[], file=file, to=to)
    assert "Nothing has been trained yet" in to.read_text()
    assert "Times have not been measured yet" in to.read_text()
    assert not to.with_suffix(".svg").exists()
    pace, taken = Streaming(chunk=5, look_ahead=2), Taken(machine="one", commit="abc", day="2026-01-01")
    measured = Measured(implementation="numpy/loop", answered_taken=taken, timed_taken=taken)
    for seed in (0, 1):
        measured.answered += [
            an_answer(ONE_LAYER, None, seed, 0.8 + 0.02 * seed),
            an_answer(TWO_LAYERS, None, seed, 0.9),
        ]
        measured.answered += [an_answer(ONE_LAYER, pace, seed, 0.7 + 0.02 * seed)]
    for each in (Streaming(chunk=80), pace):
        measured.timed.append(
            Timed(implementation="numpy/loop", model=ONE_LAYER, streaming=each, steps=80, rounds=3,
                  first_seconds=0.002, step_seconds=0.001, others_cpu=None)
        )  # fmt: skip
    command.write_measured(measured, file)
    assert read_measured(file, Measured) == measured
    command.main(conllu=[], file=file, to=to)
    text = to.read_text()
    assert "| one layer | whole | – | 0.8100 | – | 50.00% | 25.0% | 3.0 | 2.50 |" in text
    assert "| one layer | 5 | 2 | 0.7100 | 10.00 | 50.00% | 25.0% | 3.0 | 2.50 |" in text
    assert "| numpy/loop | one layer | whole (80) | – | 2 | 1 |" in text
    assert "| numpy/loop | one layer | 5 | 2 | 2 | 1 |" in text
    assert "Others were at work on the machine" in text
    assert to.with_suffix(".svg").read_bytes() == page.picture(measured.answered)


def test_what_is_concluded_is_of_the_table() -> None:
    """A pace loses more the less it reads ahead, and the shorter its chunks are."""
    answered = [an_answer(ONE_LAYER, None, 0, 0.8), an_answer(ONE_DIRECTION, None, 0, 0.75)]
    assert page.conclusions(answered) == []
    for pace in paces(ONE_LAYER)[1:]:
        assert pace is not None
        answered.append(an_answer(ONE_LAYER, pace, 0, 0.8 - 0.07 / (pace.chunk + 3 * pace.look_ahead)))
    (text,) = page.conclusions(answered)
    assert "loses less than 0.5 points of the whole sequence's: 5 in chunks of 1, 5 in chunks of 5, " in text
    assert "2 in chunks of 10, 0 in chunks of 20. " in text
    assert text.endswith("with half of the directions: 1 and 0.")


def test_means_are_over_the_seeds_that_are_whole() -> None:
    first = [an_answer(model, pace, 0, 0.5) for model in MODELS for pace in paces(model)]
    begun = an_answer(ONE_LAYER, None, 1, 0.9)
    assert page.whole_seeds([*first, begun]) == first
    assert page.whole_seeds([begun]) == [begun]


def test_the_page_is_what_was_measured() -> None:
    """Written anew by python -m benchmarks.maintain.streaming."""
    measured = read_measured(command.FILE, Measured)
    blocks = {"answers": page.answers_block(measured), "times": page.times_block(measured)}
    assert command.PAGE.read_text() == replaced(command.PAGE, blocks)


def test_accuracies_want_two_files(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^--accuracies needs --conllu twice"):
        command.main(accuracies=True, conllu=[tmp_path / "one"], file=tmp_path / "none")
    measured = Measured(implementation="c/d")
    with pytest.raises(SystemExit, match=r"must be of a/b; it is of c/d"):
        command.measure_accuracies(measured, tmp_path / "none", "a/b", 1, [], 1.0)
