"""Quantized checkpoints: what is written comes back, in a quarter of the bytes, and what is broken is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.checkpoints.opening import read_checkpoint_file
from common.errors import InputError
from common.quantization.files import read_trained, write_quantized
from common.quantization.kernels import is_kernel, rounded, sizes
from common.tasks.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from common.tensorfile import as_bytes, read
from tests.common.tasks.test_checkpoint import a_checkpoint, trained

KERNEL = "rnn.weight_hh_l0"


@pytest.fixture
def checkpoint() -> Checkpoint:
    return a_checkpoint(trained())


def test_a_quantized_checkpoint_comes_back_without_what_training_needs(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_quantized(checkpoint, tmp_path / "q.safetensors")
    stored, kind = read_trained(tmp_path / "q.safetensors")
    assert kind == "int8"
    assert (stored.header, stored.spec, stored.state) == (checkpoint.header, checkpoint.spec, {})
    expected = rounded(checkpoint.weights)
    assert list(stored.weights) == list(expected)
    assert all(np.array_equal(stored.weights[name], value) for name, value in expected.items())
    assert all(value.dtype == np.float64 for value in stored.weights.values())


@pytest.mark.parametrize(("narrow", "dtype"), [(True, np.float32), (False, np.float64)])
def test_what_is_no_kernel_is_float32_where_that_loses_nothing(
    narrow: bool, dtype: type, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    weights = {name: value.astype(np.float32).astype(np.float64) for name, value in checkpoint.weights.items()}
    given = Checkpoint(checkpoint.header, checkpoint.spec, weights if narrow else checkpoint.weights, {})
    write_quantized(given, tmp_path / "q.safetensors")
    tensors = read(tmp_path / "q.safetensors")[0]
    assert {tensors[name].dtype for name in given.weights} == {np.dtype(np.int8), np.dtype(dtype)}
    if narrow:
        shapes = {name: value.shape for name, value in given.weights.items()}
        assert sum(value.nbytes for value in tensors.values()) == sizes(shapes).quantized


def test_a_checkpoint_that_is_not_quantized_is_read_as_before(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(checkpoint, tmp_path / "c.safetensors")
    stored, kind = read_trained(tmp_path / "c.safetensors")
    assert kind is None
    assert all(np.array_equal(stored.weights[name], value) for name, value in checkpoint.weights.items())


def test_nothing_is_trained_from_a_quantized_one(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_quantized(checkpoint, tmp_path / "q.safetensors")
    with pytest.raises(InputError, match=r"must be a checkpoint of birnn train, .*; got a quantized one, which birnn"):
        read_checkpoint(tmp_path / "q.safetensors")
    with pytest.raises(InputError, match=r"must be a checkpoint whose kernels are floats; got one of birnn predict"):
        read_checkpoint_file(tmp_path / "q.safetensors")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 2}, "must have version 1; got 2: upgrade birnn"),
        ({"kind": "int4"}, "must be of kind int8; got 'int4'"),
        ({"more": 1}, "must have version, kind and checkpoint"),
        ({KERNEL: np.full((30, 10), -128, np.int8)}, f"{KERNEL} must be int8 from -127 to 127"),
        ({KERNEL: np.zeros((30, 10))}, f"{KERNEL} must be int8 from -127 to 127"),
        ({KERNEL: np.zeros((30, 9), np.int8)}, rf"{KERNEL} must be float64 \(30, 10\)"),
        ({f"{KERNEL}.scale": np.zeros(30)}, rf"{KERNEL}.scale must be float32 \(30,\); got float64"),
        ({f"{KERNEL}.scale": None}, rf"{KERNEL}.scale must be float32 \(30,\); got none"),
        ({f"{KERNEL}.scale": np.full(30, np.nan, np.float32)}, f"{KERNEL}.scale must be finite and not negative"),
        ({"head.0.bias": None}, "must have the parameter 'head.0.bias'"),
        ({"other.scale": np.zeros(3, np.float32)}, "parameters of its model alone; got 'other.scale'"),
    ],
)
def test_what_is_broken_is_one_sentence(change: dict, sentence: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "q.safetensors"
    write_quantized(checkpoint, path)
    tensors, metadata = read(path)
    content = json.loads(metadata["birnn.quantized"])
    for key, value in change.items():
        if key in tensors or "." in key:
            tensors[key] = value
        else:
            content[key] = value
    kept = {name: value for name, value in tensors.items() if value is not None}
    path.write_bytes(as_bytes(kept, {"birnn.quantized": json.dumps(content)}))
    with pytest.raises(InputError, match=sentence):
        read_trained(path)


def test_every_kernel_has_a_scale_for_each_row(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_quantized(checkpoint, tmp_path / "q.safetensors")
    tensors = read(tmp_path / "q.safetensors")[0]
    kernels = {name for name in checkpoint.weights if is_kernel(name)}
    assert {name for name in tensors if name.endswith(".scale")} == {f"{name}.scale" for name in kernels}
    assert {tensors[f"{name}.scale"].shape for name in kernels} == {(30,), (5,)}
