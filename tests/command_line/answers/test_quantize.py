"""birnn predict --quantize and --save as a user runs them, against the reference with the kernels in int8."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from common.answers.probabilities import softmax
from common.models.reference import predict
from common.models.specification import SequenceModel, parameters
from common.quantization.dynamic import answer_of, dynamic_reference
from common.quantization.kernels import rounded, sizes
from common.tasks.checkpoint import read_checkpoint
from tests.command_line.answers.checkpoints import write_drawn
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

LOOP = ("-f", "numpy/loop", "--dtype", "float64")
INT8, DYNAMIC = ("--quantize", "int8"), ("--quantize", "int8-dynamic")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn("pipeline", tmp_path_factory.mktemp("pipeline"), 2.0)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn("tagger", tmp_path_factory.mktemp("tagger"), 2.0)


def labelled(folder: Path, checkpoint: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A file of arrays of unequal lengths whose labels are the trained model's own, and those of int8's."""
    read = read_checkpoint(checkpoint)
    assert isinstance(read.spec, SequenceModel)
    x, lengths = np.random.default_rng(0).normal(size=(300, 10, 8)), np.arange(300) % 10 + 1
    batch = {"x": x, "lengths": lengths}
    before, after = (predict(read.spec, each, batch)["labels"] for each in (read.weights, rounded(read.weights)))
    save_file({"x": x, "lengths": lengths, "labels": before}, folder / "x.safetensors")
    real = np.arange(10) < lengths[:, None]
    return folder / "x.safetensors", before[real], after[real]


def test_answers_are_those_of_the_kernels_in_int8_and_sizes_and_accuracies_are_said(
    pipeline: Path, tmp_path: Path
) -> None:
    data, before, after = labelled(tmp_path, pipeline)
    same = int((before == after).sum())
    assert 0.9 * len(before) < same < len(before)
    done = birnn("predict", "pipeline", "--checkpoint", pipeline, "--data", data, *LOOP, *INT8)
    assert done.returncode == 0, done.stderr
    assert [int(label) for label in done.stdout.split()] == after.tolist()
    size = sizes(parameters(read_checkpoint(pipeline).spec))
    first, last = done.stderr.splitlines()
    assert first == (
        f"birnn: int8: {size.in_kernels:,} of {size.numbers:,} numbers are in kernels; "
        f"{size.float32:,} bytes in float32 become {size.quantized:,}, {size.float32 / size.quantized:.2f} times less"
    )
    count, share = len(before), same / len(before)
    assert last == (
        f"birnn: accuracy as trained 1.0000 ({count} of {count}), in int8 {share:.4f} ({same} of {count}); "
        f"{share:.2%} of the answers are the same"
    )
    plain = birnn("predict", "pipeline", "--checkpoint", pipeline, "--data", data, *LOOP)
    assert plain.stderr == f"birnn: accuracy 1.0000 ({count} of {count})\n"


def test_a_saved_model_answers_the_same_and_is_not_quantized_again(pipeline: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(3, 4, 8)))
    saved = tmp_path / "new" / "small.safetensors"
    command = ("predict", "pipeline", "--data", tmp_path / "x.npy", *LOOP, "--json")
    alone = birnn("predict", "pipeline", "--checkpoint", pipeline, *INT8, "--save", saved)
    assert (alone.returncode, alone.stdout) == (0, "")
    assert alone.stderr.endswith(f"birnn: wrote the quantized model: {saved}\n")
    quantized, again = birnn(*command, "--checkpoint", pipeline, *INT8), birnn(*command, "--checkpoint", saved)
    assert again.stdout == quantized.stdout
    read = read_checkpoint(pipeline)
    assert isinstance(read.spec, SequenceModel)
    shares = softmax(predict(read.spec, rounded(read.weights), {"x": np.load(tmp_path / "x.npy")})["logits"])
    first = json.loads(again.stdout)["texts"][0]["places"][0]["answers"][0]
    assert first["probability"] == pytest.approx(shares[0, 0].max(), rel=1e-12)
    content = saved.read_bytes()
    assert_one_sentence(
        birnn(*command, "--checkpoint", saved, *INT8, "--save", saved),
        f"{saved}: must not be quantized yet; its kernels are int8 already",
    )
    assert saved.read_bytes() == content


def test_dynamic_products_are_the_references(pipeline: Path, tmp_path: Path) -> None:
    """Of a checkpoint and of the model saved of it, whose kernels are the same; neither is anything's framework."""
    data, before, _ = labelled(tmp_path, pipeline)
    saved = tmp_path / "small.safetensors"
    assert birnn("predict", "pipeline", "--checkpoint", pipeline, *INT8, "--save", saved).returncode == 0
    read, tensors = read_checkpoint(pipeline), load_file(data)
    batch = {"x": tensors["x"], "lengths": tensors["lengths"]}
    reference = dynamic_reference(read.spec, read.weights)
    expected = answer_of(reference, batch, 0, None)["labels"][np.arange(10) < tensors["lengths"][:, None]]
    same = int((expected == before).sum())
    assert same < len(before)
    for checkpoint, first in ((pipeline, "as trained 1.0000"), (saved, "in int8 0.")):
        done = birnn("predict", "pipeline", "--checkpoint", checkpoint, "--data", data, "--dtype", "float64", *DYNAMIC)
        assert done.returncode == 0, done.stderr
        assert [int(label) for label in done.stdout.split()] == expected.tolist()
        assert f"accuracy {first}" in done.stderr
        assert f", in int8-dynamic {same / len(before):.4f} ({same} of {len(before)})" in done.stderr
        assert "answered by the NumPy reference" in done.stderr


def test_a_word_is_written_with_dynamic_products_by_a_beam(tmp_path: Path) -> None:
    checkpoint = write_drawn("seq2seq", tmp_path, 4.0)
    command = ("predict", "seq2seq", "pig", "--checkpoint", checkpoint, "--max-steps", 3, *DYNAMIC, "--json")
    answers = [birnn(*command, "--dtype", "float64", "--beam", width) for width in (1, 3)]
    assert [each.returncode for each in answers] == [0, 0], answers[0].stderr
    shares = [json.loads(each.stdout)["texts"][0]["places"][0]["answers"][0]["probability"] for each in answers]
    assert shares[1] >= shares[0] > 0
    assert json.loads(answers[0].stdout)["implementation"] == "numpy/reference"


def test_a_taggers_accuracy_is_by_the_tags_of_its_file(tagger: Path) -> None:
    data = tagger.parent / "tagged.conllu"
    done = birnn("predict", "tagger", "--checkpoint", tagger, "--data", data, *LOOP)
    tags = re.findall(r"\S+/(\w+)", done.stdout)
    right = sum(tag == wanted for tag, wanted in zip(tags, ["DET", "NOUN", "VERB", "PUNCT"] * 5, strict=True))
    assert done.stderr == f"birnn: accuracy {right / 20:.4f} ({right} of 20)\n"
    done = birnn("predict", "tagger", "--checkpoint", tagger, "--data", data, *LOOP, *INT8)
    assert re.search(rf"accuracy as trained {right / 20:.4f} \({right} of 20\), in int8 0\.\d{{4}} ", done.stderr)


def test_a_word_and_its_symbols_are_told_right_place_by_place(tmp_path: Path) -> None:
    checkpoint = write_drawn("seq2seq", tmp_path, 4.0)
    command = ("predict", "seq2seq", "--checkpoint", checkpoint, *LOOP, "--max-steps", 6)
    done = birnn(*command, "--data", tmp_path / "pairs.tsv")
    assert re.fullmatch(r"birnn: accuracy 0\.\d{4} \(\d+ of 81\)\n", done.stderr)  # 21 symbols and 6 ends, three times


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--quantize int4", "--quantize must be one of int8, int8-dynamic; got 'int4'"),
        ("--save a.safetensors", "--save must stand with --quantize, whose model it writes"),
        ("--quantize int8 --save a.pt", "--save must name a file that ends in .safetensors"),
        ("--quantize int8 --save {checkpoint}", "--save must not name a checkpoint of birnn train"),
        ("--quantize int8 --save /dev/null/a.safetensors", "--save"),
        ("--quantize int8-dynamic", "--framework must be left out with --quantize int8-dynamic"),
        ("--quantize int8", "there must be a text or --data; got neither"),
        ("--quantize int8 --save a.safetensors --data {nowhere}", "must be"),
    ],
)
def test_what_cannot_be_quantized_is_one_sentence(
    arguments: str, sentence: str, pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = pipeline.read_bytes()
    words = arguments.format(checkpoint=pipeline, nowhere=tmp_path / "none.npy").split()
    assert_one_sentence(birnn("predict", "pipeline", "--checkpoint", pipeline, *LOOP, *words), sentence)
    assert (pipeline.read_bytes(), list(tmp_path.iterdir())) == (before, [])


def test_labels_that_are_no_classes_are_one_sentence(pipeline: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": np.ones((2, 3, 8)), "labels": np.full((2, 3), 5)}, path)
    done = birnn("predict", "pipeline", "--checkpoint", pipeline, "--data", path, *LOOP)
    assert_one_sentence(done, f"{path}: labels must be whole numbers of shape (2, 3) from 0 to 4; got int64 (2, 3)")


def test_kernels_beyond_float32_are_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    checkpoint = write_drawn("pipeline", tmp_path, 1e300)
    before = sorted(tmp_path.iterdir())
    done = birnn("predict", "pipeline", "--checkpoint", checkpoint, *INT8, "--save", tmp_path / "q.safetensors")
    assert_one_sentence(done, "rnn.weight_ih_l0 must hold numbers up to 1e+38 to be quantized; got ")
    assert sorted(tmp_path.iterdir()) == before
