"""Checkpoints read by torch.load and safetensors.torch, and their layers run as torch.nn's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint, Part, in_results, parts_with_states
from backends.interface.layer import Arrays, Inputs
from backends.pytorch.layer.implementation import DTYPES
from backends.pytorch.layer.layout import LAYERS
from backends.pytorch.layer.lengths import merge
from common.checkpoints.formats.torch import MODELS


class TorchCheckpoint(LoadedCheckpoint):
    """A state_dict; each layer is a module of torch.nn that ``load_state_dict`` fills."""

    def __init__(self, path: Path, format_name: str, config: str | None) -> None:
        if format_name == "safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        inner = next((state[name] for name in MODELS if isinstance(state.get(name), Mapping)), state)
        self._state = {name.removeprefix("module."): value for name, value in inner.items()}

    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        assert inputs.lengths is not None
        lengths = torch.tensor(inputs.lengths)
        x = torch.tensor(inputs.x, dtype=DTYPES[dtype])
        finals = []
        with torch.no_grad():
            for part in parts_with_states(asked, inputs):
                module = self._module(part, dtype)
                states = tuple(torch.tensor(state, dtype=DTYPES[dtype]) for state in part.states)
                packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
                packed, final = module(packed, states if len(states) == 2 else states[0])
                x, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
                if part.kind.directions == 2 and part.kind.merge != "concat":
                    x = merge(part.kind.specification(), None, *x.chunk(2, dim=-1))
                group = final if isinstance(final, tuple) else (final,)
                finals += [tuple(each[row].numpy() for each in group) for row in range(len(group[0]))]
        return in_results(x.numpy(), finals, asked.kind)

    def _module(self, part: Part, dtype: str) -> nn.RNNBase:
        kind = part.kind
        options = {"nonlinearity": kind.activation} if kind.gates == "rnn" else {}
        module = LAYERS[kind.cell](
            kind.input_size,
            kind.hidden_size,
            num_layers=kind.num_layers,
            bias=kind.bias,
            batch_first=True,
            bidirectional=kind.directions == 2,
            dtype=DTYPES[dtype],
            **options,
        )
        own = {
            name.removeprefix(f"{part.name}."): v for name, v in self._state.items() if name.startswith(f"{part.name}.")
        }
        own = own or {
            name: value for name, value in self._state.items() if "." not in name
        }  # a layer alone in its file
        cells = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of a cell, whose names have no layer
        module.load_state_dict({f"{name}_l0" if name in cells else name: value for name, value in own.items()})
        return module

    def plain(self, name: str, kind: str) -> Arrays:
        if kind == "tensor":
            leaves = {key: key.removeprefix(f"{name}.") for key in self._state if f"{key}.".startswith(f"{name}.")}
            return {leaf: as_array(self._state[key]) for key, leaf in leaves.items()}
        module: nn.Module
        own = {key: self._state[f"{name}.{key}"] for key in ("weight", "bias") if f"{name}.{key}" in self._state}
        rows, width = own["weight"].shape
        dtype = own["weight"].dtype
        if kind == "embedding":
            module = nn.Embedding(rows, width, dtype=dtype)
        else:
            module = nn.Linear(width, rows, bias="bias" in own, dtype=dtype)
        module.load_state_dict(own)
        return {key: as_array(each) for key, each in module.state_dict().items()}


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor in NumPy, bfloat16 as float32."""
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
