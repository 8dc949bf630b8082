"""PyTorch's names for a model's tensors, which torch's own files and safetensors share: layers found, and named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from common.checkpoints.contents import (
    Arrays,
    Contents,
    Half,
    PlainLayer,
    RecurrentLayer,
    kind_of_halves,
    parts_of,
    recurrent_layer,
)
from common.checkpoints.layouts import unpack_canonical

WEIGHT = re.compile(r"(?:(.*)\.)?(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(?:_l(\d{1,3})(_reverse)?)?")
"""A recurrent tensor's name: module, weight, number of the layer and direction."""
PARALLEL = "module."
"""What torch.nn.DataParallel puts before every name."""
ALONE = "rnn"
"""The name of a layer whose file has no other."""


def contents_of(tensors: Mapping[str, np.ndarray], format_name: str, where: str) -> Contents:
    """The layers among tensors that have PyTorch's names."""
    if tensors and all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): value for name, value in tensors.items()}
    recurrent: dict[str, dict[tuple[int, int], Arrays]] = {}
    unusual: dict[str, list[str]] = {}
    plain: dict[str, Arrays] = {}
    order: list[str] = []
    for name, value in tensors.items():
        match = WEIGHT.fullmatch(name)
        if match is None:
            module, _, leaf = name.rpartition(".")
            plain.setdefault(module or leaf, {})[leaf] = value
            order.append(module or leaf)
            continue
        module = match[1] or ALONE
        order.append(module)
        halves = recurrent.setdefault(module, {})
        if match[2] == "weight_hr":
            unusual.setdefault(module, []).append("it has a projection (proj_size), which no other suite's layer has")
        else:
            halves.setdefault((int(match[3] or 0), int(bool(match[4]))), {})[match[2]] = value
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    notes = []
    for name in dict.fromkeys(order):
        if name in recurrent:
            layers[name] = _recurrent(name, recurrent[name], unusual.get(name, []), where)
        else:
            layers[name], note = _plain(name, plain[name])
            notes += [note] if note else []
    return Contents(format_name, layers, tuple(notes))


def _recurrent(name: str, arrays: dict[tuple[int, int], Arrays], unusual: list[str], where: str) -> RecurrentLayer:
    """A recurrent layer of its tensors by layer and direction; one with a projection is there to be refused."""
    what = f"{where}: the layer {name}"
    halves = {place: unpack_canonical(each, what) for place, each in arrays.items()}
    if unusual:  # its recurrent kernels are as wide as the projection
        halves = {place: _without_projection(half) for place, half in halves.items()}
        kind = kind_of_halves({(0, 0): halves[0, 0]}, what, reset_after=None)
        return replace(recurrent_layer(name, kind, halves), unusual=tuple(dict.fromkeys(unusual)))
    kind = kind_of_halves(halves, what)
    directions_merge = "concat" if kind.directions == 2 else None
    kind = replace(kind, reset_after=True if kind.gates == "gru" else None, merge=directions_merge)
    return recurrent_layer(name, kind, halves)


def _without_projection(half: Half) -> Half:
    """A half with zeros for its recurrent kernel, (4·units, units), as wide as it is without a projection."""
    units = half.weight_hh.shape[0] // 4 if half.weight_hh.ndim == 2 else 0
    return replace(half, weight_hh=np.zeros((4 * units, units), half.weight_ih.dtype))


def _plain(name: str, arrays: Arrays) -> tuple[PlainLayer, str]:
    """A layer around the recurrent ones, and a note where its tensors do not tell what it is."""
    weight = arrays.get("weight")
    if weight is not None and weight.ndim == 2:
        if set(arrays) == {"weight", "bias"} and arrays["bias"].shape == weight.shape[:1]:
            return PlainLayer(name, "dense", arrays), ""
        if set(arrays) == {"weight"}:
            note = f"whether {name} is an embedding or a dense layer without a bias is not in the file"
            return PlainLayer(name, "tensor", arrays), note
    return PlainLayer(name, "tensor", arrays), ""


def tensors_of(contents: Contents) -> Arrays:
    """Every tensor by PyTorch's name; a stack whose merge is not concat has one module a layer."""
    tensors: Arrays = {}
    for layer in contents.layers.values():
        if isinstance(layer, PlainLayer):
            tensors |= {
                f"{layer.name}.{leaf}" if leaf != layer.name else leaf: value for leaf, value in layer.arrays.items()
            }
            continue
        whole = layer.kind.merge in (None, "concat")
        for part in [layer] if whole else parts_of(layer):
            tensors |= {f"{part.name}.{name}": value for name, value in part.weights.items()}
    return tensors
