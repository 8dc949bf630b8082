"""Files that the frameworks wrote (``making``), read without them: the reference gives what their layers answered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.checkpoints.blocks import same_bits
from common.checkpoints.contents import Contents, PlainLayer, RecurrentLayer
from common.checkpoints.proof_case import case_of
from common.checkpoints.told import read_known
from common.judging.agreement import measure, thresholds
from common.judging.yardstick import Yardstick, yardstick
from common.tensorfile import read
from tests.common.checkpoints.packages import require_packages

require_packages()
FILES = Path(__file__).with_name("files")
KERAS_WEIGHTS: dict[str, Any] = {
    "activation": "tanh",
    "merge": "concat",
    "rnn": {"activation": "relu"},
    "gru": {"merge": "sum"},
    "bare": {"merge": "ave"},
}
SPECS: dict[str, dict[str, Any]] = {
    "torch.pt": {"rnn": {"cell": "rnn_relu"}},
    "torch-training.pt": {"rnn": {"cell": "rnn_relu"}},
    "torch-before-1.6.pt": {"rnn": {"cell": "rnn_relu"}},
    "torch.safetensors": {"rnn": {"cell": "rnn_relu"}},
    "keras.keras": {},
    "keras-old-format.h5": {},
    "keras.weights.h5": KERAS_WEIGHTS,
    "keras2.h5": {},
    "keras2-weights.h5": KERAS_WEIGHTS,
    "flax-linen.msgpack": {"activation": "tanh", "merge": "concat"},
    "flax-nnx.msgpack": {"activation": "tanh", "merge": "concat"},
    "flax-orbax": {"activation": "tanh", "merge": "concat"},
    "mxnet.params": {"rnn": {"activation": "relu"}},
    "mxnet-prefix.params": {"model_rnn0": {"activation": "relu"}},
    "mxnet-export-0000.params": {},
    **{f"mxnet-v{version}.params": {"rnn": {"activation": "relu"}} for version in (0, 1, 3)},
}
ANSWERS = {name: name.partition(".")[0] for name in SPECS} | {
    "torch-training.pt": "torch",
    "torch-before-1.6.pt": "torch",
    "keras-old-format.h5": "keras",
    "keras2-weights.h5": "keras2",
    "flax-orbax": "flax-nnx",
    "mxnet-prefix.params": "mxnet",
    "mxnet-export-0000.params": "mxnet",
    **{f"mxnet-v{version}.params": "mxnet" for version in (0, 1, 3)},
}


def known(name: str, tmp_path: Path) -> Contents:
    """A file with what has to be said of it."""
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(SPECS[name]))
    return read_known(FILES / name, spec)


def yard_and_result(layer: RecurrentLayer, x: np.ndarray, output: np.ndarray) -> tuple[Yardstick, np.ndarray]:
    """What the reference gives for a layer's weights, and the framework's answer."""
    case = replace(case_of(layer), x=x.astype(np.float64), lengths=None, h_0=None, c_0=None)
    return yardstick(case, "float32"), output


@pytest.mark.parametrize("name", SPECS)
def test_a_layer_read_from_a_real_file_answers_as_it_did_in_its_framework(name: str, tmp_path: Path) -> None:
    answers, _ = read(FILES / f"{ANSWERS[name]}.answers.safetensors")
    layers = {layer.name.removeprefix("model_").rstrip("0"): layer for layer in known(name, tmp_path).recurrent}
    checked = 0
    for layer_name in dict.fromkeys(key.partition(".")[0] for key in answers):
        layer = layers[layer_name]
        if layer.unusual or layer_name == "hard":
            continue
        yard, result = yard_and_result(layer, answers[f"{layer_name}.x"], answers[f"{layer_name}.output"])
        assert not measure("output", result, yard).exceeds(thresholds()["float32"]), layer_name
        checked += 1
    assert checked >= 3


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    answers, _ = read(FILES / "keras.answers.safetensors")
    layer = next(each for each in known("keras.keras", tmp_path).recurrent if each.name == "lstm")
    wrong = replace(layer, weights={name: layer.weights[_other(name)] for name in layer.weights})
    yard, result = yard_and_result(wrong, answers["lstm.x"], answers["lstm.output"])
    assert measure("output", result, yard).exceeds(thresholds()["float32"])


def _other(name: str) -> str:
    return name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"


def test_what_no_other_suite_holds_is_named(tmp_path: Path) -> None:
    torch = {layer.name: layer.unusual for layer in known("torch.pt", tmp_path).recurrent}
    assert "projection" in torch["projected"][0]
    for name in ("keras.keras", "keras2.h5"):
        keras = {layer.name: layer.unusual for layer in known(name, tmp_path).recurrent}
        assert "hard_sigmoid" in keras["hard"][0]
        assert keras["lstm"] == ()


def test_other_layers_and_other_things_in_the_file_are_said(tmp_path: Path) -> None:
    contents = known("torch-training.pt", tmp_path)
    assert any("beside it, and not read: epoch, optimizer" in note for note in contents.notes)
    assert {layer.name: layer.kind for layer in contents.plain} == {"embedding": "tensor", "head": "dense"}
    contents = known("mxnet-export-0000.params", tmp_path)
    assert {layer.name: layer.kind for layer in contents.plain} == {
        "model_embedding0": "embedding",
        "model_dense0": "dense",
    }
    assert {each.kind.cell for each in contents.recurrent} == {"lstm", "gru", "rnn_relu"}, (
        "by the symbol.json beside it"
    )


def test_every_version_of_mxnets_arrays_has_the_same_numbers(tmp_path: Path) -> None:
    """V0 and V1 have shapes of 32 and of 64 bits, V3 those of NumPy: a scalar, and an array of none."""
    wanted = known("mxnet.params", tmp_path).layers
    for version, first in ((0, 2), (1, 0xF993FAC8), (3, 0xF993FACA)):
        name = f"mxnet-v{version}.params"
        assert int.from_bytes((FILES / name).read_bytes()[24:28], "little") == first
        layers = dict(known(name, tmp_path).layers)
        if version == 3:
            step = layers.pop("step")
            assert isinstance(step, PlainLayer)
            assert (step.arrays["count"].shape, float(step.arrays["count"])) == ((), 3.0)
            assert step.arrays["none"].shape == (0, 2)
        assert list(layers) == list(wanted)
        for layer, other in zip(layers.values(), wanted.values(), strict=True):
            mine, its = (each.arrays if isinstance(each, PlainLayer) else each.weights for each in (layer, other))
            assert mine.keys() == its.keys()
            assert all(same_bits(mine[key], its[key]) for key in its)


def test_bfloat16_is_read_as_it_is(tmp_path: Path) -> None:
    narrow = {each.name: each for each in read_known(FILES / "torch-bfloat16.pt").recurrent}
    wide = {each.name: each for each in read_known(FILES / "torch.pt").recurrent}
    for name, layer in narrow.items():
        if not layer.unusual:
            for weight, value in layer.weights.items():
                assert value.dtype.name == "bfloat16"
                assert np.array_equal(value, wide[name].weights[weight].astype(value.dtype))
