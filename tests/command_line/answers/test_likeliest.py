"""birnn predict with probabilities, as a user runs it, against the reference's own logits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from common.data.text import tokenise
from common.data.vocabulary import MASK, NUM_SPECIAL, labels_from_json, vocabulary_from_json
from common.models.reference import predict
from common.tasks.checkpoint import read_checkpoint
from tests.command_line.answers.checkpoints import write_drawn
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

LOOP = ("-f", "numpy/loop", "--dtype", "float64")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each task."""
    folder = tmp_path_factory.mktemp("drawn")
    return {task: write_drawn(task, folder, 3.0) for task in ("tagger", "classifier", "masked", "pipeline")}


def shares(checkpoint: Path, words: list[str]) -> np.ndarray:
    """The reference's probabilities for one text, by the definition."""
    read = read_checkpoint(checkpoint)
    ids = vocabulary_from_json(read.header.vocabularies["words"], "").ids(words)
    tokens = np.where(np.array(words) == "___", MASK, ids)[None]
    logits = predict(read.spec, read.weights, {"tokens": tokens, "lengths": np.array([len(words)])})["logits"][0]  # type: ignore[arg-type]
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_a_gap_is_filled_with_the_likeliest_words(drawn: dict[str, Path]) -> None:
    """At the gap alone, in JSON; the words and probabilities are the reference's."""
    text = "I am ___ hungry, and I can eat half a pig."
    done = birnn("predict", "masked", text, "--checkpoint", drawn["masked"], *LOOP, "--top", 4, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["version"], content["model"], content["implementation"]) == (1, "masked", "numpy/loop")
    (answered,) = content["texts"]
    assert answered["text"] == "I am ___ hungry , and I can eat half a pig ."
    (place,) = answered["places"]
    assert (place["place"], place["token"]) == (3, "___")
    expected = shares(drawn["masked"], list(tokenise(text)))[2]
    best = np.argsort(-expected)[:4]
    words = vocabulary_from_json(read_checkpoint(drawn["masked"]).header.vocabularies["words"], "")
    assert [each["answer"] for each in place["answers"]] == words.spelled(best)
    assert [each["probability"] for each in place["answers"]] == pytest.approx(expected[best], rel=1e-12)
    assert len(words.words) > NUM_SPECIAL


def test_a_file_of_texts_is_answered_word_by_word_into_a_file_with_tabs(drawn: dict[str, Path], tmp_path: Path) -> None:
    """More texts than are answered at once, of several lengths; every word's tags, as the reference has them."""
    texts = ["the dog runs .", "runs the cat the dog the cat the dog .", "dog"] * 30
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    out = tmp_path / "new" / "answers.tsv"
    files = ("--data", tmp_path / "texts.txt", "--out", out)
    done = birnn("predict", "tagger", *files, "--checkpoint", drawn["tagger"], *LOOP, "--top", 2)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"birnn: wrote the answers: {out}\n")
    head, *rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert head == ["text", "place", "token", "rank", "answer", "probability"]
    assert len(rows) == 2 * sum(len(text.split()) for text in texts)
    tags = labels_from_json(read_checkpoint(drawn["tagger"]).header.vocabularies["labels"], "")
    by_text = {text: shares(drawn["tagger"], text.split()) for text in set(texts)}
    for number, place, token, rank, answer, probability in rows:
        text = texts[int(number) - 1]
        assert text.split()[int(place) - 1] == token
        of_word = by_text[text][int(place) - 1]
        (label,) = tags.ids([answer])
        assert float(probability) == pytest.approx(of_word[label], rel=1e-12)
        assert (of_word > of_word[label]).sum() == int(rank) - 1


def test_a_text_has_its_classes_in_a_table(drawn: dict[str, Path]) -> None:
    done = birnn("predict", "classifier", "a grim day", "a day", "--checkpoint", drawn["classifier"], *LOOP, "--top", 3)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ *(\d) +(a[a-z ]+?)((?: +(?:good|bad|so-so) +[01]\.\d{4}){3}) *$", done.stdout, re.MULTILINE)
    assert [(number, text) for number, text, _ in rows] == [("1", "a grim day"), ("2", "a day")]
    names = labels_from_json(read_checkpoint(drawn["classifier"]).header.vocabularies["labels"], "").names
    for _, text, answers in rows:
        expected = shares(drawn["classifier"], text.split())
        cells = answers.split()
        assert cells[::2] == [names[i] for i in np.argsort(-expected)]
        assert cells[1::2] == [f"{share:.4f}" for share in sorted(expected, reverse=True)]


def test_a_classifier_of_characters_reads_characters(tmp_path: Path) -> None:
    """White space among them, and texts of a file as those of the command line; words have no vectors in it."""
    checkpoint = write_drawn("classifier", tmp_path, 3.0, unit="characters")
    read = read_checkpoint(checkpoint)
    ids = vocabulary_from_json(read.header.vocabularies["characters"], "").ids(list("a grim day"))
    logits = predict(read.spec, read.weights, {"tokens": ids[None], "lengths": np.array([10])})["logits"][0]  # type: ignore[arg-type]
    expected = np.exp(logits) / np.exp(logits).sum()
    command = ("predict", "classifier", "--checkpoint", checkpoint, *LOOP)
    (text,) = json.loads(birnn(*command, "a grim day", "--top", 3, "--json").stdout)["texts"]
    assert text["text"] == "a grim day"
    shares = [each["probability"] for each in text["places"][0]["answers"]]
    assert shares == pytest.approx(sorted(expected, reverse=True), rel=1e-12)
    (tmp_path / "texts.txt").write_text(" a grim day\n")
    assert (
        birnn(*command, "--data", tmp_path / "texts.txt").stdout
        == f"{text['places'][0]['answers'][0]['answer']}\ta grim day\n"
    )
    done = birnn("embed", "classifier", "a day", "--checkpoint", checkpoint, *LOOP)
    assert_one_sentence(done, "embed must be asked of a model that reads words; got a classifier of characters")


def test_classes_without_names_have_their_numbers(drawn: dict[str, Path], tmp_path: Path) -> None:
    """Of arrays: a place for every step."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2, 10, 8)))
    command = ("predict", "pipeline", "--data", tmp_path / "x.npy", "--checkpoint", drawn["pipeline"], *LOOP)
    content = json.loads(birnn(*command, "--json", "--top", 5).stdout)
    assert [len(each["places"]) for each in content["texts"]] == [10, 10]
    for place in content["texts"][1]["places"]:
        assert {each["answer"] for each in place["answers"]} == set("01234")
        assert sum(each["probability"] for each in place["answers"]) == pytest.approx(1, rel=1e-12)
    plain = [line.split() for line in birnn(*command).stdout.splitlines()]
    assert plain == [[each["answers"][0]["answer"] for each in text["places"]] for text in content["texts"]]


def test_readings_have_probabilities_at_their_characters() -> None:
    """The first of them is what is answered without probabilities."""
    content = json.loads(birnn("predict", "g2pm", "我还没有把书还给图书馆。", *LOOP, "--top", 2, "--json").stdout)
    places = content["texts"][0]["places"]
    assert [(each["place"], each["token"], each["answers"][0]["answer"]) for each in places] == [
        (2, "还", "hai2"), (3, "没", "mei2"), (5, "把", "ba3"), (7, "还", "hai2"), (8, "给", "gei3"),
    ]  # fmt: skip
    assert all(first["probability"] > second["probability"] for first, second in (each["answers"] for each in places))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            "predict tagger dog --checkpoint {tagger} --top 5",
            "--top must be at most 4, the classes of the model; got 5",
        ),
        ("predict masked pig --checkpoint {masked} --top 2", "must have a gap, written ___, to be filled; got 'pig'"),
        ("predict g2pm 书。 --top 2", "must have a character of several readings; got '书。'"),
        ("predict tagger dog --checkpoint {tagger} --out a.csv", "--out must end in .json or .tsv, which says how"),
        ("predict tagger dog --checkpoint {tagger} --out /dev/full/a.tsv", "--out's folder must be a folder"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(drawn: dict[str, Path], arguments: str, sentence: str) -> None:
    assert_one_sentence(birnn(*arguments.format(**drawn).split(), *LOOP), sentence)


def test_answers_that_cannot_be_written_leave_the_file_as_it_was(drawn: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "answers.json"
    out.write_text("mine")
    command = ("predict", "tagger", "dog", "--checkpoint", drawn["tagger"], "--out", out)
    assert_one_sentence(birnn(*command, *LOOP, "--top", 9), "--top must be at most 4")
    assert out.read_text() == "mine"
    assert birnn(*command, *LOOP).returncode == 0
    assert json.loads(out.read_text())["texts"][0]["text"] == "dog"
