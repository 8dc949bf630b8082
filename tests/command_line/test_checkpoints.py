"""``birnn inspect`` and ``birnn convert``: what is written, what is refused, and that nothing of a refusal is left."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from common.checkpoints.formats.torch import read
from tests.command_line.running import birnn
from tests.command_line.test_bad_input import assert_one_sentence
from tests.common.checkpoints.packages import require_packages

require_packages()
ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "common" / "checkpoints" / "files"


def spec_file(folder: Path, **content: object) -> Path:
    path = folder / "spec.json"
    path.write_text(json.dumps(content))
    return path


def test_inspect_shows_the_layers_in_words_and_as_json() -> None:
    done = birnn("inspect", FILES / "torch.pt")
    assert done.returncode == 0
    assert "lstm 3→4×2 concat" in done.stdout
    assert "rnn: not in the file: activation (--spec)" in done.stdout
    shown = json.loads(birnn("inspect", FILES / "torch.pt", "--json").stdout)
    assert shown["layers"]["gru"]["reset_after"] is True
    assert shown["layers"]["rnn"]["not_told"] == ["activation"]
    assert shown["others"]["head"] == {
        "kind": "dense",
        "tensors": {"weight": {"dtype": "float32", "shape": [2, 4]}, "bias": {"dtype": "float32", "shape": [2]}},
    }


def test_what_the_file_does_not_tell_must_be_said_and_is_never_guessed(tmp_path: Path) -> None:
    source, target = FILES / "flax-nnx.msgpack", tmp_path / "o.pt"
    assert_one_sentence(birnn("convert", source, target, "--no-prove"), "does not tell activation, merge; say it with")
    spec = spec_file(tmp_path, activation="tanh", merge="concat")
    assert birnn("convert", source, target, "--no-prove", "--spec", spec).returncode == 0
    assert {layer.name for layer in read(target).recurrent} == {"lstm", "gru", "rnn", "plain"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"cell": "lstm"}, "cell must be gru as its file says; got lstm"),
        ({"lstm": {"reset_after": True}}, "the layer lstm must be left without reset_after"),
        ({"gru": {"reset_after": False}}, "reset_after must be true as its file says; got false"),
        ({"nosuch": {"merge": "sum"}}, "must name layers of the file"),
        ({"gates": "ifgo"}, "keys must be cell, activation, reset_after, merge, kind"),
        ({"merge": "max"}, "merge must be one of"),
        ({"reset_after": 1}, "reset_after must be one of true, false; got 1"),
        ({"head": {"kind": "embedding"}}, "kind must be dense as its tensors say"),
    ],
)
def test_a_spec_that_contradicts_the_file_is_one_sentence(
    content: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    spec = spec_file(tmp_path, **content)
    done = birnn("convert", FILES / "torch.pt", tmp_path / "o.keras", "--no-prove", "--spec", spec)
    assert_one_sentence(done, sentence)
    assert not (tmp_path / "o.keras").exists()


def test_an_impossible_layer_is_1_and_writes_nothing(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, rnn={"activation": "relu"}, embedding={"kind": "embedding"})
    done = birnn("convert", FILES / "torch.pt", tmp_path / "o.keras", "--no-prove", "--spec", spec)
    assert done.returncode == 1
    assert "projected: it has a projection (proj_size)" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


def test_other_tensors_are_refused_but_with_only_rnn(tmp_path: Path) -> None:
    done = birnn(
        "convert",
        FILES / "mxnet.params",
        tmp_path / "o.onnx",
        "--no-prove",
        "--spec",
        spec_file(tmp_path, rnn={"activation": "relu"}),
    )
    assert done.returncode == 1
    assert "embedding: no row of the table says what it is in onnx" in done.stdout
    again = ("convert", FILES / "mxnet.params", tmp_path / "o.onnx", "--no-prove", "--only-rnn")
    assert birnn(*again, "--spec", tmp_path / "spec.json").returncode == 0


def test_a_target_that_is_there_or_is_the_source_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "a.params"
    source.write_bytes((FILES / "mxnet.params").read_bytes())
    (tmp_path / "b.pt").write_text("mine")
    assert_one_sentence(birnn("convert", source, tmp_path / "b.pt"), "must not be there; --force replaces it")
    assert (tmp_path / "b.pt").read_text() == "mine"
    assert_one_sentence(birnn("convert", source, source, "--force"), "must be another file than")
    assert_one_sentence(birnn("convert", source, tmp_path / "b.xyz"), "must have an ending of")
    assert_one_sentence(birnn("convert", source, tmp_path / "c.pt", "--to", "caffe"), "--to must be one of torch,")
    assert_one_sentence(birnn("convert", source, tmp_path / "c.pt", "--layer", "lstm"), "--layer must be NAME=NEW")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.params", "b.pt"]


def test_what_lies_beside_must_be_of_the_file(tmp_path: Path) -> None:
    target = tmp_path / "o.pt"
    options = ("--no-prove", "--layer", "lstm=encoder", "--only-rnn")
    assert birnn("convert", FILES / "keras2.h5", target, *options).returncode == 1, "hard_sigmoid"
    source = FILES / "mxnet-export-0000.params"
    assert birnn("convert", source, target, "--no-prove", "--layer", "model_lstm0=encoder").returncode == 0
    assert "encoder" in birnn("inspect", target).stdout
    target.write_bytes((FILES / "torch.pt").read_bytes())
    assert_one_sentence(birnn("inspect", target), "has changed since: remove one of them")


def test_every_command_of_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with real files under the names that the page has."""
    monkeypatch.chdir(tmp_path)
    for name, file in {"model.params": "mxnet.params", "old.h5": "keras2.h5", "model.pt": "torch.pt"}.items():
        Path(name).write_bytes((FILES / file).read_bytes())
    page = (ROOT / "docs" / "moving.md").read_text()
    blocks = re.findall(r"^    (.*)$", page, re.MULTILINE)
    commands = 0
    for line in blocks:
        text = line.partition("  #")[0].strip()
        if text.startswith("echo "):
            content, _, file = text.removeprefix("echo ").partition(" > ")
            Path(file).write_text(shlex.split(content)[0])
        elif text.startswith("birnn "):
            words = shlex.split(text)[1:]
            done = birnn(*words, *(["--no-prove"] if words[0] == "convert" else []))
            assert done.returncode == 0, (text, done.stdout, done.stderr)
            commands += 1
    assert commands >= 6
