"""Next tokens: what is held out stands nowhere else, a perplexity is the definition's, and only the past is read."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.data.examples import SequenceExample
from common.data.python_manual import read_manual
from common.data.text import tokens_of
from common.data.vocabulary import UNKNOWN, vocabulary_from_json
from common.errors import InputError
from common.models.reference import predict, run
from common.models.specification import END, SequenceModel
from common.tasks.building import build_task
from common.tasks.language import LONGEST, cross_entropy, frequency_perplexity, perplexity, spelled
from common.tasks.task import Options, Task, unlabelled

TEXT = "The dog runs. A cat sleeps! Does the dog sleep? The dog runs. The cat\nruns away.\n\nA dog"
"""Six sentences, one of them twice."""


def a_task(folder: Path, text: str = TEXT, *more: str, **options: object) -> Task:
    files = []
    for number, content in enumerate((text, *more)):
        files.append(folder / f"{number}.txt")
        files[-1].write_text(content)
    return build_task("language", Options(data=tuple(files), **options))  # type: ignore[arg-type]


def texts_of(task: Task, examples: object) -> list[str]:
    (unit, content), *_ = task.vocabularies.items()
    vocabulary = vocabulary_from_json(content, unit)
    return [spelled(vocabulary.answer(each.labels), unit) for each in examples]  # type: ignore[attr-defined]


def test_of_one_text_a_sentence_that_stands_twice_is_not_on_both_sides(tmp_path: Path) -> None:
    text = " ".join(3 * [f"{who} {does}." for who in "abcd" for does in "vwxyz"])
    task = a_task(tmp_path, text, unit="characters")
    training, held_out = (texts_of(task, part) for part in (task.training, task.held_out))
    assert (len(training), len(held_out)) == (16, 4)
    assert not set(training) & set(held_out)


def test_without_files_there_is_prose_that_python_brings() -> None:
    sentences = read_manual()
    assert len(set(sentences)) == len(sentences) > 1000
    assert not any(">>>" in sentence or "****" in sentence for sentence in sentences)
    words = [word for sentence in sentences for word in sentence.split()]
    assert sum(word.isalpha() for word in words) > 0.7 * len(words)
    task = build_task("language", Options(limit=50))
    assert len(task.training) < 60 < 200 < len(task.held_out)
    assert task.spec.recurrent.num_directions == 2


def test_characters_are_the_text_as_it_stands(tmp_path: Path) -> None:
    task = a_task(tmp_path, TEXT * 3, TEXT, unit="characters")
    assert texts_of(task, task.held_out) == [
        *("The dog runs.", "A cat sleeps!", "Does the dog sleep?", "The dog runs.", "The cat runs away.", "A dog"),
    ]
    assert all(len(each.labels) <= LONGEST["characters"] + 1 for each in task.training)  # type: ignore[union-attr, arg-type]


def test_a_long_text_is_cut_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    words = [f"w{number % 7}" for number in range(150)]
    task = a_task(tmp_path, " ".join(words), TEXT)
    assert [len(text.split()) for text in texts_of(task, task.training)] == [63, 63, 24]
    assert " ".join(texts_of(task, task.training)).split() == words


def test_labels_that_the_vocabulary_lacks_are_not_counted(tmp_path: Path) -> None:
    task = a_task(tmp_path, "a a b b. a b.", "a c b. d a.")
    (batch,) = task.evaluation()
    right = [each.labels for each in task.held_out]  # type: ignore[union-attr]
    known = np.concatenate([labels[labels != UNKNOWN] for labels in right])  # type: ignore[index]
    assert sorted(batch["labels"][batch["counted"]].tolist()) == sorted(known.tolist())
    assert batch["counted"].sum() == 7 < sum(map(len, right))  # type: ignore[arg-type]


@pytest.mark.parametrize("directions", [1, 2])
def test_the_cross_entropy_is_the_loss_of_the_reference(directions: int, tmp_path: Path) -> None:
    task = a_task(tmp_path, TEXT * 2, TEXT, directions=directions, hidden_size=3, embedding_size=2)
    assert isinstance(task.spec, SequenceModel)
    (batch,) = task.evaluation()
    logits = predict(task.spec, task.weights, unlabelled(batch))["logits"]
    count = int(batch["counted"].sum())
    loss = float(run(task.spec, task.weights, batch)["loss"])
    assert cross_entropy(batch, logits) / count == pytest.approx(loss, rel=1e-12)
    assert perplexity(cross_entropy(batch, logits), count) == pytest.approx(math.exp(loss), rel=1e-12)
    uniform = perplexity(cross_entropy(batch, np.zeros_like(logits) + 1e4), count)
    assert uniform == pytest.approx(task.spec.classes, rel=1e-12)


def test_frequency_has_the_perplexity_of_its_counts(tmp_path: Path) -> None:
    """Two of three labels have been seen: (2 + 1) of 3 + 8 each; the third never: 1 of 11."""
    vocabulary = vocabulary_from_json({"words": ["a", "b", "c"]}, "words")
    a, b, c = vocabulary.ids(["a", "b", "c"])
    training = [SequenceExample(np.zeros(3, np.int64), np.array([a, b, UNKNOWN, a, b]))]
    held_out = [SequenceExample(np.zeros(3, np.int64), np.array([a, UNKNOWN, b, c]))]
    shares = [3 / 12, 3 / 12, 1 / 12]
    expected = math.exp(-sum(map(math.log, shares)) / 3)
    assert frequency_perplexity(training, held_out, vocabulary) == pytest.approx(expected, rel=1e-12)


def test_one_direction_alone_does_not_see_its_answer(tmp_path: Path) -> None:
    """With the token behind a step changed, one direction says the same there, and two say something else."""
    for directions, same in ((1, True), (2, False)):
        task = a_task(tmp_path, TEXT * 2, TEXT, directions=directions, hidden_size=3, embedding_size=2)
        assert isinstance(task.spec, SequenceModel)
        batch = unlabelled(task.evaluation()[0])
        other = batch | {"tokens": batch["tokens"].copy()}
        other["tokens"][0, 3] = END
        one, two = (predict(task.spec, task.weights, each)["logits"][0] for each in (batch, other))
        assert np.array_equal(one[2], two[2]) is same
        assert not np.array_equal(one[3], two[3])


def test_tokens_come_back_as_a_text() -> None:
    assert spelled(tokens_of("It's so.", "words"), "words") == "It's so ."
    assert spelled(tokens_of(" It's so.", "characters"), "characters") == " It's so."


def test_perplexity_of_nothing_is_no_number() -> None:
    assert math.isnan(perplexity(0.0, 0))
    assert perplexity(1e6, 1) == math.inf


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"data": (Path("a"),) * 3}, "language needs --data at most twice"),
        ({"unit": "characters", "embeddings": Path("v.txt")}, "--embeddings must be left out with --units characters"),
        ({"directions": 1, "merge": "sum"}, "--merge must be left out with --directions 1"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build_task("language", Options(**options))  # type: ignore[arg-type]


def test_units_are_refused_where_tokens_are_no_choice() -> None:
    with pytest.raises(InputError, match="--units must be left out for pipeline"):
        build_task("pipeline", replace(Options(), unit="words"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "it is empty"), ("\n \n", "it has blank lines alone"), ("One sentence.", "examples on both sides")],
)
def test_a_text_with_nothing_to_learn_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        a_task(tmp_path, text)
