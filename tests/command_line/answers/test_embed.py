"""birnn embed as a user runs it, against the reference's own vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.data.text import read_sentences
from common.data.vocabulary import vocabulary_from_json
from common.models.reference import predict
from common.tasks.checkpoint import read_checkpoint
from tests.command_line.answers.checkpoints import write_drawn
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

LOOP = ("-f", "numpy/loop", "--dtype", "float64")


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn("masked", tmp_path_factory.mktemp("masked"), 3.0)


def vectors(checkpoint: Path, words: tuple[str, ...]) -> np.ndarray:
    """The reference's vectors of a sentence's words, (words, output_size)."""
    read = read_checkpoint(checkpoint)
    tokens = vocabulary_from_json(read.header.vocabularies["words"], "").ids(words)[None]
    return predict(read.spec, read.weights, {"tokens": tokens, "lengths": np.array([len(words)])})["vectors"][0]  # type: ignore[arg-type]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_a_words_vector_and_neighbours_are_the_references(masked: Path, tmp_path: Path) -> None:
    """The second of two words of one spelling; the neighbours are words of the other sentences, each once."""
    out, sentence = tmp_path / "vectors.json", ("A", "pig", "can", "eat", "a", "pig", ".")
    command = ("embed", "masked", " ".join(sentence), "--word", "pig:2", "--checkpoint", masked, *LOOP)
    done = birnn(*command, "--data", masked.with_name("plain.txt"), "--neighbours", 6, "--out", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"birnn: wrote the vectors: {out}\n")
    content = json.loads(out.read_text())
    assert {key: content[key] for key in ("model", "directions", "merge", "sentence")} == {
        "model": "masked", "directions": 2, "merge": "concat", "sentence": " ".join(sentence),
    }  # fmt: skip
    (word,) = content["words"]
    own = vectors(masked, sentence)[5]
    assert (word["place"], word["token"], len(word["vector"])) == (6, "pig", 12)
    np.testing.assert_allclose(word["vector"], own, rtol=0, atol=1e-14)
    sentences = dict.fromkeys(read_sentences(masked.with_name("plain.txt")))
    every = [
        (cosine(own, vector), token, place, " ".join(each))
        for each in sentences
        for place, (token, vector) in enumerate(zip(each, vectors(masked, each), strict=True), 1)
    ]
    expected = sorted(every, reverse=True)[:6]
    near = [tuple(each[key] for key in ("cosine", "token", "place", "sentence")) for each in word["neighbours"]]
    assert [each[1:] for each in near] == [each[1:] for each in expected]
    assert [each[0] for each in near] == pytest.approx([each[0] for each in expected], rel=1e-12)


def test_static_neighbours_are_those_of_the_embedding_alone(masked: Path) -> None:
    """The same for every word of a spelling, whose contextual vectors differ."""
    done = birnn("embed", "masked", "I am hungry . I can eat .", "--checkpoint", masked, *LOOP, "--json")
    words = {each["place"]: each for each in json.loads(done.stdout)["words"]}
    assert [each["token"] for each in words.values()] == ["I", "am", "hungry", ".", "I", "can", "eat", "."]
    assert words[1]["static"] == words[5]["static"]
    assert cosine(np.array(words[1]["vector"]), np.array(words[5]["vector"])) < 0.999
    read = read_checkpoint(masked)
    vocabulary = vocabulary_from_json(read.header.vocabularies["words"], "")
    table = read.weights["embedding"]
    (own,) = vocabulary.ids(["I"])
    order = np.argsort([-cosine(table[own], row) for row in table])[1:6]
    assert [each["token"] for each in words[1]["static"]] == vocabulary.spelled(order)


def test_what_is_printed_names_word_size_and_neighbours(masked: Path) -> None:
    command = ("embed", "masked", "I am so hungry today .", "--word", "hungry", "--checkpoint", masked, *LOOP)
    done = birnn(*command, "--data", masked.with_name("plain.txt"), "--neighbours", 2)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("I am so [hungry] today .: 12 numbers, 6 + 6 forward and reverse: ")
    numbers = [float(each) for each in first.partition("reverse: ")[2].split()[:6]]
    own = vectors(masked, ("I", "am", "so", "hungry", "today", "."))[3]
    assert numbers == pytest.approx(own[:6], abs=5.1e-5)
    assert rest[0].strip() == "nearest by contextual vector"
    assert sum("[" in line for line in rest) == 2
    assert rest[-1].startswith("nearest by static embedding, whatever the sentence: ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--word cow", "--word must be a word of the sentence, one of a pig , a pig; got 'cow'"),
        ("--word pig", "--word must say which one, as pig:1 or pig:2, where the word stands 2 times"),
        ("--word pig:3", "'pig' is there 2 times; got 'pig:3'"),
        ("--word cow:1", "'cow' is there 0 times; got 'cow:1'"),
        ("--out vectors.npy", "--out must end in .json"),
        ("--data /nosuch.txt", "no such file"),
        ("--neighbours 0 --data {masked}", "'--neighbours'"),
    ],
)
def test_what_cannot_be_looked_at_is_one_sentence(masked: Path, arguments: str, sentence: str) -> None:
    command = ("embed", "masked", "a pig, a pig", "--checkpoint", masked, *arguments.format(masked=masked).split())
    assert_one_sentence(birnn(*command, *LOOP), sentence)


def test_a_model_without_words_has_no_vectors_of_words(tmp_path: Path) -> None:
    pipeline = write_drawn("pipeline", tmp_path)
    done = birnn("embed", "pipeline", "a pig", "--checkpoint", pipeline, *LOOP)
    assert_one_sentence(done, "embed must be asked of a model that reads words and labels them; got pipeline")
