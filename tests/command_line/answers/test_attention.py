"""birnn predict --attention and --stages as a user runs them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from common.answers.probabilities import softmax
from common.data.vocabulary import vocabulary_from_json
from common.models.reference import decode, predict, run
from common.models.specification import END, Seq2Seq
from common.tasks.checkpoint import read_checkpoint
from tests.command_line.answers.checkpoints import write_drawn
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence

LOOP = ("-f", "numpy/loop", "--dtype", "float64")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn("seq2seq", tmp_path_factory.mktemp("seq2seq"), 4.0)


def texts(path: Path) -> list[str]:
    """What is written in a picture, in its order."""
    return ["".join(each.itertext()) for each in ET.parse(path).iter(f"{SVG}text")]


def test_the_picture_has_letters_across_answers_down_and_the_references_weights(seq2seq: Path, tmp_path: Path) -> None:
    """Every weight as the reference computes it for the answer that is printed."""
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "attention.svg"
    command = ("predict", "seq2seq", "pigs", "--checkpoint", seq2seq, *LOOP, "--max-steps", 6)
    done = birnn(*command, "--attention", out)
    assert (done.returncode, done.stderr) == (0, f"birnn: wrote the picture of the attention: {out}\n")
    assert done.stdout == birnn(*command).stdout
    read = read_checkpoint(seq2seq)
    spec = read.spec
    assert isinstance(spec, Seq2Seq)
    source, target = (vocabulary_from_json(read.header.vocabularies[name], "") for name in ("source", "target"))
    batch = {"tokens": source.ids("pigs")[None], "lengths": np.array([4])}
    tokens = decode(spec, read.weights, batch, 6)[0]
    ends = np.flatnonzero(tokens == END)
    tokens = tokens[: ends[0] + 1] if ends.size else tokens
    forced = {"targets": tokens[None], "target_lengths": np.array([len(tokens)]), "forced": np.ones(len(tokens), bool)}
    weights = run(spec, read.weights, batch | forced)["attention"][0]
    assert len(np.unique(np.round(weights, 2))) > len(tokens)
    written = texts(out)
    numbers = [each for each in written if re.fullmatch(r"[01]\.\d\d", each)]
    assert numbers == [f"{weight:.2f}" for weight in weights.ravel()]
    others = [each for each in written if each not in numbers]
    assert others == [*"pigs", "source", *target.spelled(tokens), "answer, step by step", "attention: pigs"]
    before = out.read_bytes()
    assert birnn(*command, "--attention", out).returncode == 0
    assert out.read_bytes() == before


def test_the_four_stages_have_their_shapes_and_a_row_of_softmax(tmp_path: Path) -> None:
    checkpoint = write_drawn("pipeline", tmp_path, 2.0)
    x = np.random.default_rng(0).normal(size=(3, 10, 8))
    np.save(tmp_path / "x.npy", x)
    command = ("predict", "pipeline", "--data", tmp_path / "x.npy", "--checkpoint", checkpoint, *LOOP)
    done = birnn(*command, "--stages")
    stages = re.findall(r"^ +([1-4])  (.+?)  +(\([\d, ]+\))", done.stdout, re.MULTILINE)
    assert stages == [
        ("1", "features", "(3, 10, 8)"),
        ("2", "gru 8→10×1 concat", "(3, 10, 20)"),
        ("3", "linear 20→5", "(3, 10, 5)"),
        ("4", "softmax", "(3, 10, 5)"),
    ]
    read = read_checkpoint(checkpoint)
    row = softmax(predict(read.spec, read.weights, {"x": x})["logits"])[0, 0]  # type: ignore[arg-type]
    printed = re.findall(r"\b([0-4])\s+(0\.\d{4})\b", done.stdout)
    assert printed == [(str(i), f"{share:.4f}") for i, share in enumerate(row)]
    assert done.stdout.endswith(birnn(*command).stdout)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("predict tagger dog --checkpoint {tagger} --attention a.svg", "a model with attention; got tagger without"),
        ("predict seq2seq a --checkpoint {without} --attention a.svg", "a model with attention; got seq2seq without"),
        ("predict seq2seq a b --checkpoint {seq2seq} --attention a.svg", "of one word, as it is one picture; got 2"),
        (
            "predict seq2seq a --checkpoint {seq2seq} --attention a.png",
            "--attention must name a file that ends in .svg",
        ),
        ("predict seq2seq a --checkpoint {seq2seq} --attention /dev/full/b.svg", "folder"),
        ("predict seq2seq a --checkpoint {seq2seq} --stages", "--stages must be asked of a model with classes"),
        ("predict tagger a --checkpoint {tagger} --stages --json", "--stages must be asked of a model with classes"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(
    seq2seq: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"seq2seq": seq2seq, "tagger": tmp_path / "none", "without": tmp_path / "none"}
    if "{tagger}" in arguments:
        files["tagger"] = write_drawn("tagger", tmp_path)
    if "{without}" in arguments:
        files["without"] = write_drawn("seq2seq", tmp_path, attention=False)
    before = sorted(tmp_path.iterdir())
    assert_one_sentence(birnn(*arguments.format(**files).split(), *LOOP), sentence)
    assert sorted(tmp_path.iterdir()) == before
