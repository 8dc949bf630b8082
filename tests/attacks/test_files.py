"""Files that no birnn has written: nested, oversized, contradicting themselves. Each is one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.studies.probes import read_record
from benchmarks.cases.files import MOST_CASES, load_set
from common.case import read_case, write_case
from common.data.conllu import read_conllu
from common.data.vocabulary import NUM_SPECIAL
from common.errors import InputError
from common.models.specification import Model, Seq2Seq, SequenceModel, initialise, model_as_json
from common.result import read_header
from common.specification import Specification
from common.tasks import checkpoint
from common.tasks.checkpoint import VERSION, read_checkpoint
from common.tensorfile import as_bytes
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import CASE, assert_one_sentence, header, write

DEEP = "[" * 100_000
"""Deeper than Python's parser of JSON goes."""
NAME = "𝄞" * 100
"""100 characters of four bytes, in a file system whose names have 255."""


def assert_refused(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "read"),
    [("birnn.case", read_case), ("birnn.result", read_header), ("birnn.checkpoint", read_checkpoint)],
)
def test_json_nested_too_deep_is_one_sentence(tmp_path: Path, key: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(as_bytes({"x": np.zeros(1)}, {key: DEEP}))
    assert "nested too deep" in assert_refused(read, path)
    path.write_bytes(as_bytes({"x": np.zeros(1)}, {key: f'{{"version": {"9" * 5000}}}'}))
    assert key in assert_refused(read, path)


def test_a_record_of_findings_nested_too_deep_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(DEEP)
    assert "nested too deep" in assert_refused(read_record, tmp_path / "record.json")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": True}, "version must be a number; got True"),
        ({"name": NAME}, "must have at most 255 bytes in UTF-8 (it has 400)"),
        ({"source": {"a": [1]}}, "source should be a valid string"),
    ],
)
def test_a_header_that_python_would_take_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = write(tmp_path / "c.safetensors", header(**changes))
    assert sentence in assert_refused(read_case, path)


def test_nothing_is_written_that_would_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    with pytest.raises(InputError, match="at most 255 bytes"):
        write_case(replace(CASE, name=NAME), path)
    assert_one_sentence(birnn("case", "new", tmp_path / f"{'n' * 120}.safetensors"), "name")
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_255_bytes_can_be_a_folder(tmp_path: Path) -> None:
    name = "é" * 27 + "日" * 67
    assert (len(name), len(name.encode())) == (94, 255)
    write_case(replace(CASE, name=name), tmp_path / "c.safetensors")
    (tmp_path / read_case(tmp_path / "c.safetensors").name).mkdir()


def test_a_tensor_of_a_type_that_numpy_lacks_is_one_sentence(tmp_path: Path) -> None:
    for kind, size in (("F8_E4M3", 1), ("BF16", 2), ("F4", 1)):
        content = json.dumps({"x": {"dtype": kind, "shape": [2], "data_offsets": [0, 2 * size if kind != "F4" else 1]}})
        path = tmp_path / f"{kind}.safetensors"
        path.write_bytes(len(content).to_bytes(8, "little") + content.encode() + bytes(2 * size if kind != "F4" else 1))
        assert_refused(read_case, path)


# Sets of benchmark cases.

TABLE = '[[case]]\ncell = "gru"\nseq_len = 3\nbatch = 2\ninput_size = 2\nhidden_size = 3\n'


ALL_SIZES = TABLE.replace("= 3", f"= {list(range(1, 99))}")
TOO_MUCH = {
    "many tables": (TABLE * (MOST_CASES + 1), f"must have at most {MOST_CASES:,} [[case]]; got 10,001"),
    "a deep key": (f"{TABLE}lengths.{'.'.join('a' * 20_000)} = 1\n", "keys of at most 20 parts"),
    "20,000 tables in each other": (f"{TABLE}[{'.'.join('a' * 20_000)}]\n", "keys of at most 20 parts"),
    "inline tables in each other": (f"{TABLE}x = {'{a=' * 20_000}1{'}' * 20_000}\n", "nested too deep"),
    "lists in several tables": (f"{ALL_SIZES}bias = false\n{ALL_SIZES}", f"at most {MOST_CASES:,} cases; case 2 makes"),
    "a large file": (TABLE + "#" * 2**23, "must be at most 8,388,608 bytes"),
    "1,000 layers of 1,000 units": (
        TABLE.replace("hidden_size = 3", "hidden_size = 1_000\nnum_layers = 1_000"),
        "must have at most 4,294,967,296 numbers in its weights, not 18,0",
    ),
    "a name of 400 bytes": (TABLE + f'name = "{NAME}"\n', "at most 255 bytes"),
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_a_set_that_is_too_much_is_refused_before_it_is_made(tmp_path: Path, kind: str) -> None:
    text, sentence = TOO_MUCH[kind]
    (tmp_path / "set.toml").write_text(text)
    assert sentence in assert_refused(lambda path: load_set(str(path)), tmp_path / "set.toml")


def test_a_token_id_of_5000_digits_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.conllu").write_text("1" * 5000 + "\tdog\t_\tNOUN\t_\t_\t_\t_\t_\t_\n")
    assert "must have the id 1" in assert_refused(read_conllu, tmp_path / "t.conllu")


# Checkpoints.

RNN = Specification(cell="gru", input_size=4, hidden_size=3, num_layers=1, bias=True, merge="concat")
TAGGER = SequenceModel(rnn=RNN, num_embeddings=NUM_SPECIAL + 2, readout="steps", classes=3)
PAIRS = Seq2Seq(
    source_size=NUM_SPECIAL + 1, target_size=NUM_SPECIAL + 2, embedding_size=4, encoder=RNN, attention=False
)


def words(count: int) -> dict[str, Any]:
    return {"words": [f"w{i}" for i in range(count)], "lowercase": False}


def labels(count: int) -> dict[str, Any]:
    return {"names": [f"l{i}" for i in range(count)]}


def checkpoint_file(path: Path, spec: Model = TAGGER, drop: str = "", wider: str = "", **changes: Any) -> Path:
    """A tagger's checkpoint, or what the changes make of it."""
    content = {
        "version": VERSION,
        "task": "tagger",
        "model": model_as_json(spec),
        "vocabularies": {"words": words(2), "labels": labels(3)},
        "fingerprint": "f",
        "implementation": "numpy/loop",
        "dtype": "float32",
        "versions": {},
        "epoch": 2,
        "trace": [(1.0, 0.5, 0.1)] * 4,
        "accuracies": [0.5, 0.6],
    }
    weights = {name: value for name, value in initialise(spec, np.random.default_rng(0)).items() if name != drop}
    if wider:
        weights[wider] = np.zeros((*weights[wider].shape, 1))
    path.write_bytes(as_bytes(weights, {checkpoint.METADATA_KEY: json.dumps(content | changes)}))
    return path


INCONSISTENT: dict[str, tuple[dict[str, Any], str]] = {
    "fewer labels than classes": (
        {"vocabularies": {"words": words(2), "labels": labels(2)}},
        "as many entries as classes, 3; got 2",
    ),
    "more words than embeddings": (
        {"vocabularies": {"words": words(9), "labels": labels(3)}},
        "as many entries as num_embeddings",
    ),
    "no labels": ({"vocabularies": {"words": words(2)}}, "must have 'labels' for tagger"),
    "no words": ({"vocabularies": {"labels": labels(3)}}, "must have 'words' for tagger"),
    "labels that are none": ({"vocabularies": {"words": words(2), "labels": 7}}, "vocabularies.labels"),
    "words that are a list": ({"vocabularies": {"words": ["a", "b"], "labels": labels(3)}}, "vocabularies.words"),
    "another task's model": ({"task": "seq2seq"}, "model must be one of seq2seq; got one of the kind sequence"),
    "another readout": ({"task": "classifier"}, "must have the readout final for classifier; got steps"),
    "a class too few for words": ({"task": "masked"}, "must have a class for each of"),
    "next tokens in an older version": ({"task": "language", "version": 2}, "must have version 3 for language; got 2"),
    "next tokens without a perplexity": (
        {"task": "language"},
        "a held-out perplexity for each of its 2 epochs where its task is language, and none elsewhere; got 0",
    ),
    "perplexities of tags": ({"perplexities": [9.0, 8.0]}, "where its task is language, and none elsewhere; got 2"),
    "a class too few for next tokens": (
        {"task": "language", "perplexities": [9.0, 8.0]},
        "must have a class for each of 7 words; got 3",
    ),
    "no such task": ({"task": "translator"}, "task must be one of pipeline"),
    "a decoder that tags": ({"spec": PAIRS}, "model must be one of tagger; got one of the kind seq2seq"),
    "a decoder without target": (
        {"spec": PAIRS, "task": "seq2seq", "vocabularies": {"source": words(1)}},
        "must have 'target' for seq2seq",
    ),
    "features where words are read": (
        {"spec": TAGGER.model_copy(update={"num_embeddings": None})},
        "must have num_embeddings for tagger",
    ),
    "a parameter that is missing": ({"drop": "head.0.bias"}, "must have the parameter 'head.0.bias'"),
    "a parameter of another shape": ({"wider": "rnn.bias_ih_l0"}, "rnn.bias_ih_l0 must be float64 (9,)"),
    "more epochs than accuracies": ({"epoch": 3}, "a held-out accuracy for each of its 3 epochs; got 2"),
    "steps that are no epochs": ({"trace": [(1.0, 0.5, 0.1)] * 3}, "equally many steps in each of its 2 epochs; got 3"),
    "no epoch": ({"epoch": 0, "trace": [], "accuracies": []}, "epoch"),
    "an epoch that is true": ({"epoch": True, "accuracies": [0.5]}, "epoch"),
    "a version that is true": ({"version": True}, "version"),
    "a model nested too deep": ({"model": json.loads("[" * 900 + "]" * 900)}, "model"),
    "another specification": (
        {"model": model_as_json(TAGGER) | {"classes": 4}, "vocabularies": {"words": words(2), "labels": labels(4)}},
        "head.0.weight must be float64 (4, 6)",
    ),
}


@pytest.mark.parametrize("kind", INCONSISTENT)
def test_a_checkpoint_that_contradicts_itself_is_one_sentence(tmp_path: Path, kind: str) -> None:
    changes, sentence = INCONSISTENT[kind]
    assert sentence in assert_refused(read_checkpoint, checkpoint_file(tmp_path / "c.safetensors", **changes))


def test_predict_refuses_it_before_any_worker_starts(tmp_path: Path) -> None:
    assert read_checkpoint(checkpoint_file(tmp_path / "good.safetensors")).header.epoch == 2
    changes, sentence = INCONSISTENT["fewer labels than classes"]
    path = checkpoint_file(tmp_path / "c.safetensors", **changes)
    done = birnn("predict", "tagger", "a dog", "--checkpoint", path, "-f", "nosuch")
    assert_one_sentence(done, sentence)
