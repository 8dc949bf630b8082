"""The sense of a word by its nearest neighbours, on words that were made up."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.maintain.vectors.nearest_sense import Marked, judge_senses

RUN, RUNS = [1.0, 0.1], [-0.2, 1.0]
TRAINING = Marked(
    ["run", "run", "run", "run", "run", "dog", "dog", "dog", "bank", "bank"],
    ["VERB", "VERB", "VERB", "NOUN", "NOUN", "NOUN", "NOUN", "VERB", "NOUN", "NOUN"],
    np.array([RUN, RUN, RUN, RUNS, RUNS, RUN, RUN, RUNS, RUN, RUN]),
)
"""``run`` alone is ambiguous: dog is a verb once, bank never."""


def test_the_nearest_word_of_the_spelling_tells_the_sense() -> None:
    """Of the four words that count, two lie by the verbs: the most common sense is theirs alone."""
    vectors = 3 * np.array([RUN, RUNS, RUN, RUNS, RUNS, RUN, RUN])
    words = ["run", "run", "run", "run", "dog", "bank", "cat"]
    held_out = Marked(words, ["VERB", "NOUN", "VERB", "NOUN", "VERB", "NOUN", "NOUN"], vectors)
    judged = judge_senses(TRAINING, held_out, 1)
    assert (judged.spellings, judged.words, judged.most_common, judged.nearest) == (1, 4, 0.5, 1.0)
    assert judge_senses(TRAINING, held_out, 5).nearest == 0.5  # all five of them: the most common


def test_vectors_that_know_the_spelling_alone_say_its_most_common_sense() -> None:
    same = Marked(TRAINING.spellings, TRAINING.senses, np.ones((10, 2)))
    held_out = Marked(["run"] * 5, ["VERB", "VERB", "NOUN", "NOUN", "NOUN"], np.ones((5, 2)))
    judged = judge_senses(same, held_out, 3)
    assert judged.most_common == judged.nearest == pytest.approx(0.4)


def test_a_sense_that_training_never_had_is_left_out() -> None:
    held_out = Marked(["run", "run"], ["ADJ", "NOUN"], np.array([RUN, RUN]))
    judged = judge_senses(TRAINING, held_out, 1)
    assert (judged.words, judged.most_common, judged.nearest) == (1, 0.0, 0.0)
    assert judge_senses(TRAINING, Marked(["dog"], ["VERB"], np.array([RUN])), 1).words == 0
