"""Large arrays are moved as they are: in pieces, in blocks, where they lie in a protobuf; no other one is the same."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from common.checkpoints import blocks
from common.checkpoints.containers import protobuf
from common.checkpoints.formats import onnx as onnx_format
from common.errors import InputError

ARRAYS: list[np.ndarray] = [
    np.asarray(3, np.int64),
    np.zeros((0, 4), np.float32),
    np.arange(5, dtype=np.float64),
    np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4),
    np.random.default_rng(0).normal(size=(9, 7)).astype(ml_dtypes.bfloat16),
    np.random.default_rng(1).normal(size=(11, 13)).astype(np.float32),
]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that these arrays have several, and a rest."""
    monkeypatch.setattr(blocks, "BLOCK", 40)
    monkeypatch.setattr(blocks, "SQUARE", 3)


@pytest.mark.parametrize(
    "array", [each for array in ARRAYS for each in (array, array.T)], ids=lambda each: str(each.shape)
)
def test_bytes_stay_and_one_bit_makes_another(array: np.ndarray) -> None:
    copied = blocks.contiguous(array)
    assert (copied.shape, copied.tobytes(), copied.flags.c_contiguous) == (array.shape, array.tobytes(), True)
    assert b"".join(blocks.pieces(array)) == array.tobytes()
    assert blocks.same_bits(array, copied)
    assert blocks.same_bits(array, array)
    assert not blocks.same_bits(array, copied.astype(np.complex64))
    for place in range(array.nbytes):
        changed = copied.copy()
        changed.reshape(-1).view(np.uint8)[place] ^= 1
        assert not blocks.same_bits(array, changed)


def test_a_nan_is_itself_and_minus_zero_is_not_zero() -> None:
    assert blocks.same_bits(np.full(3, np.nan), np.full(3, np.nan))
    assert not blocks.same_bits(np.zeros(3), -np.zeros(3))
    assert blocks.same_bits(None, None)
    assert not blocks.same_bits(None, np.zeros(1))


def model_of(onnx: Any) -> Any:
    """A model with tensors that are written in all the ways that protobuf has."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    raw = [numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3) + i, f"t{i}.weight") for i in range(3)]
    fields = helper.make_tensor("f.weight", 1, [2, 2], [1.0, 2.0, 3.0, 4.0])
    empty = onnx.TensorProto(name="none.weight", data_type=1, dims=[0, 2])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [], [], [*raw, fields, empty])
    return helper.make_model(graph)


def test_a_graph_of_onnxs_own_writer_is_read_as_it_is(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "m.onnx"
    content = model_of(onnx).SerializeToString()
    # A graph may come in two parts, and raw data twice, of which the last counts.
    again = onnx.ModelProto()
    again.graph.initializer.append(onnx.numpy_helper.from_array(np.full((1, 2), 9, np.float32), "late.weight"))
    doubled = again.graph.initializer[0].SerializeToString() + b"\x4a\x08" + np.array([5, 6], np.float32).tobytes()
    graph = b"\x2a" + bytes([len(doubled)]) + doubled
    path.write_bytes(content + b"\x3a" + bytes([len(graph)]) + graph)
    whole = onnx.ModelProto.FromString(path.read_bytes())
    wanted = {each.name: onnx.numpy_helper.to_array(each) for each in whole.graph.initializer}
    assert wanted["late.weight"].tolist() == [[5, 6]]
    layers = onnx_format.read(path).layers
    read = {f"{name}.{leaf}": value for name, layer in layers.items() for leaf, value in layer.arrays.items()}  # type: ignore[union-attr]
    assert read.keys() == wanted.keys()
    assert all(blocks.same_bits(read[name], np.ascontiguousarray(wanted[name])) for name in wanted)


def test_what_is_written_is_what_onnx_writes() -> None:
    onnx = pytest.importorskip("onnx")
    model = model_of(onnx)
    wanted = model.SerializeToString()
    arrays: list[Any] = [
        (onnx.TensorProto(name=each.name, data_type=1, dims=each.dims), value.nbytes, partial(list, [value]))
        for each in model.graph.initializer
        for value in [onnx.numpy_helper.to_array(each)]
    ]
    model.graph.ClearField("initializer")
    file = io.BytesIO()
    protobuf.write_model(model, arrays, file)
    written, known = onnx.ModelProto.FromString(file.getvalue()), onnx.ModelProto.FromString(wanted)
    for each in (written, known):
        del each.graph.initializer[3:]  # whose numbers onnx had not as raw data
    assert written == known


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x3a\x85", "in the middle of a number"),
        (b"\x3a\x7f\x00", "ends before its fields do"),
        (b"\x3b\x01", "the wire type 3"),
        (b"\xff" * 11, "in the middle of a number"),
    ],
)
def test_a_broken_message_is_a_sentence(content: bytes, what: str) -> None:
    with pytest.raises(InputError, match=what):
        protobuf.split(np.frombuffer(content, np.uint8), "m.onnx")


def test_more_fields_than_any_model_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protobuf, "MOST_FIELDS", 10)
    with pytest.raises(InputError, match="at most 10 fields"):
        protobuf.split(np.frombuffer(b"\x08\x01" * 11, np.uint8), "m.onnx")
