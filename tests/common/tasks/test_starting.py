"""Where a network starts: another task's embedding and RNN, a file of vectors, and how much of the text that covers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data.vocabulary import UNKNOWN, vocabulary_from_json
from common.errors import InputError
from common.models.specification import SequenceModel, initialise
from common.tasks.building import build_task
from common.tasks.task import Options, Start, Task
from tests.common.tasks.data import sentences, write_plain, write_tagged

SIZES: dict[str, Any] = {"cell": "gru", "hidden_size": 3, "embedding_size": 4, "num_layers": 2}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two texts with words of their own, and tags for the first sentences of one."""
    folder = tmp_path_factory.mktemp("texts")
    return {
        "plain": write_plain(folder / "plain", [*sentences(1), *sentences(2, own="y")]),
        "training": write_tagged(folder / "training", sentences(1)[:10]),
        "held_out": write_tagged(folder / "held_out", sentences(2, own="y")[:5]),
    }


@pytest.fixture(scope="module")
def start(texts: dict[str, Path]) -> Start:
    masked = build_task("masked", Options(data=(texts["plain"], texts["held_out"]), **SIZES))
    assert isinstance(masked.spec, SequenceModel)
    words = vocabulary_from_json(masked.vocabularies["words"], "words")
    weights = initialise(masked.spec, np.random.default_rng(7))  # as if it had been trained
    return Start("masked.safetensors", masked.spec, words, weights)


def tagger(texts: dict[str, Path], **options: Any) -> Task:
    return build_task("tagger", Options(data=(texts["training"], texts["held_out"]), **options))


def test_the_embedding_and_the_rnn_go_on_and_the_head_is_new(texts: dict[str, Path], start: Start) -> None:
    task = tagger(texts, start=start)
    assert isinstance(task.spec, SequenceModel)
    assert task.spec.rnn == start.spec.rnn
    assert task.vocabularies["words"] == start.words.as_json()
    for name, value in task.weights.items():
        if not name.startswith("head."):
            np.testing.assert_array_equal(value, start.weights[name])
    assert task.weights["head.0.weight"].shape == (task.spec.classes, 6)
    with_a_crf = replace(start, weights=start.weights | {"crf.start": np.zeros(5)})
    assert tagger(texts, start=with_a_crf).weights.keys() == task.weights.keys()
    assert tagger(texts, start=start, frozen=True).spec.frozen == {"embedding"}


def test_a_word_that_the_training_data_lacks_is_known_to_the_start(texts: dict[str, Path], start: Start) -> None:
    alone, going_on = tagger(texts), tagger(texts, start=start)
    unknown = [
        int(np.concatenate([example.inputs == UNKNOWN for example in task.held_out]).sum())  # type: ignore[union-attr]
        for task in (alone, going_on)
    ]
    assert unknown[0] >= 10  # two of each held-out sentence's own, at least
    assert unknown[1] == 0
    assert alone.coverage == ""
    words = len({word for each, _ in sentences(1)[:10] for word in each})
    covered = f"{words} of {words} training words: 100.0% of the 40 training tokens and 100.0% of the 20 held-out"
    assert going_on.coverage == f"masked.safetensors has {covered} tokens"


def test_what_a_file_of_vectors_covers_is_counted(texts: dict[str, Path], tmp_path: Path) -> None:
    counts: dict[str, int] = {}
    for words, _ in sentences(1)[:10]:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    often = sorted((word for word, count in counts.items() if count > 1), key=lambda word: (-counts[word], word))
    file = tmp_path / "vectors.txt"
    file.write_text("".join(f"{word} 1 2 3\n" for word in often[:2]))
    share = sum(counts[word] for word in often[:2]) / 40
    covered = tagger(texts, embeddings=file).coverage
    assert covered.startswith(f"{file} has 2 of ")
    assert f": {share:.1%} of the 40 training tokens and " in covered


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cell": "lstm"}, "--cell must be gru, as the RNN of --from masked.safetensors has it; got lstm"),
        ({"hidden_size": 8}, "--hidden-size must be 3, as"),
        ({"num_layers": 1}, "--num-layers must be 2, as"),
        ({"merge": "sum"}, "--merge must be concat, as"),
        ({"embedding_size": 5}, "--embedding-size must be 4, as"),
        ({"directions": 1}, "--directions must be 2, as"),
        ({"embeddings": Path("vectors.txt")}, "--from must stand without --embeddings"),
    ],
)
def test_what_contradicts_the_start_is_refused(
    texts: dict[str, Path], start: Start, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        tagger(texts, start=start, **options)


def test_one_direction_goes_on_with_one_alone(texts: dict[str, Path], start: Start) -> None:
    rnn = start.spec.rnn.model_copy(update={"merge": None, "num_directions": 1})
    spec = start.spec.model_copy(update={"rnn": rnn})
    one = replace(start, spec=spec, weights=initialise(spec, np.random.default_rng(1)))
    assert tagger(texts, start=one, directions=1).spec.recurrent == rnn
    with pytest.raises(InputError, match=r"--directions must be 1, as the RNN of --from masked.safetensors .* got 2"):
        tagger(texts, start=one)


def test_a_task_without_words_has_no_start(start: Start) -> None:
    with pytest.raises(InputError, match=r"--from must be left out for pipeline, which has no words"):
        build_task("pipeline", Options(start=start))
