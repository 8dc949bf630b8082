"""Checkpoints read by Gluon's loaders, and their layers run as mxnet.gluon.rnn's.

Each row is run by itself over its own steps: the fused layer ignores lengths on the CPU (MXNet 1.9.1).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint, Part, in_results, parts_with_states
from backends.interface.layer import Arrays, Inputs
from backends.mxnet_gluon.layer.layout import LAYERS
from backends.mxnet_gluon.layer.lengths import merge
from common.checkpoints.formats.mxnet import V3

FIRST_ARRAY = 24
"""Where a file's first array begins, after three numbers of eight bytes."""


class GluonCheckpoint(LoadedCheckpoint):
    """A ``.params`` file, which ``load_parameters`` or ``ParameterDict.load`` loads into each layer."""

    def __init__(self, path: Path, format_name: str, config: str | None) -> None:
        self._path, self._by_block = path, format_name == "mxnet"
        with _semantics(path):
            self._arrays = {name.partition(":")[2] or name: value for name, value in nd.load(str(path)).items()}

    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        assert inputs.lengths is not None
        parts = [(part, self._layer(part, dtype)) for part in parts_with_states(asked, inputs)]
        output = np.zeros((*inputs.x.shape[:2], asked.kind.output_size), dtype)
        rows: list[list[tuple[np.ndarray, ...]]] = []
        for row, length in enumerate(inputs.lengths):
            x = _array(inputs.x[row : row + 1, :length], dtype)
            finals: list[tuple[np.ndarray, ...]] = []
            for part, layer in parts:
                states = [_array(state[:, row : row + 1], dtype) for state in part.states]
                x, final = layer(x, states)
                if part.kind.directions == 2 and part.kind.merge != "concat":
                    x = merge(nd, part.kind.specification(), None, *nd.split(x, num_outputs=2, axis=2))
                final = [each.asnumpy() for each in final]
                finals += [tuple(each[i] for each in final) for i in range(len(final[0]))]
            output[row, :length] = x.asnumpy()[0]
            rows.append(finals)
        joined = [tuple(np.concatenate(each) for each in zip(*group, strict=True)) for group in zip(*rows, strict=True)]
        return in_results(output, joined, asked.kind)

    def _layer(self, part: Part, dtype: str) -> gluon.Block:
        kind = part.kind
        options = {"activation": kind.activation} if kind.gates == "rnn" else {}
        layer = LAYERS[kind.cell](
            kind.hidden_size,
            num_layers=kind.num_layers,
            layout="NTC",
            bidirectional=kind.directions == 2,
            input_size=kind.input_size,
            dtype=dtype,
            prefix=f"{part.name}_",
            **options,
        )
        with _semantics(self._path):
            _load(self._path, layer, part.name, self._by_block, list(self._arrays))
        return layer

    def plain(self, name: str, kind: str) -> Arrays:
        joint = "." if self._by_block else "_"
        arrays = {
            key: self._arrays[f"{name}{joint}{key}"]
            for key in ("weight", "bias")
            if f"{name}{joint}{key}" in self._arrays
        }
        dtype = arrays["weight"].dtype
        layer: gluon.Block
        if kind == "embedding":
            layer = gluon.nn.Embedding(*arrays["weight"].shape, dtype=dtype, prefix=f"{name}_")
        else:
            out, width = arrays["weight"].shape
            layer = gluon.nn.Dense(out, use_bias="bias" in arrays, in_units=width, dtype=dtype, prefix=f"{name}_")
        with _semantics(self._path):
            _load(self._path, layer, name, self._by_block, list(self._arrays))
        return {key: getattr(layer, key).data().asnumpy() for key in arrays}


def _semantics(path: Path) -> AbstractContextManager[None]:
    """MXNet's shapes as a file's first array has them: those of NumPy must be switched on for V3 (1.9.1)."""
    with path.open("rb") as file:
        file.seek(FIRST_ARRAY)
        return mx.util.np_shape(int.from_bytes(file.read(4), "little") == V3)


def _load(path: Path, layer: gluon.Block, name: str, by_block: bool, names: list[str]) -> None:
    """Have Gluon load a layer's parameters: as the child of blocks with its names, or by its prefix."""
    if not by_block:
        layer.collect_params().load(str(path), ctx=mx.cpu(0), ignore_extra=True)
        return
    if any(each.startswith(f"{name}.") for each in names):
        for each in reversed(name.split(".")):
            holder = gluon.Block()
            holder.register_child(layer, each)
            layer = holder
    layer.load_parameters(str(path), ctx=mx.cpu(0), ignore_extra=True)


def _array(value: np.ndarray, dtype: str) -> nd.NDArray:
    """An array of MXNet's on the CPU."""
    return nd.array(value, ctx=mx.cpu(0), dtype=dtype)
