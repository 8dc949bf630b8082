"""Keras 2's ``.h5`` files: a whole model, or weights alone, by order and not by name.

Layout (keras/saving/legacy/hdf5_format.py, 2.15): the attribute ``model_config`` is JSON; in ``model_weights``, or at
the root, ``layer_names`` lists groups, in each of which ``weight_names`` lists datasets; either may be split in chunks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.containers.hdf5 import Hdf5, write_hdf5
from common.checkpoints.contents import Arrays, Contents, PlainLayer, RecurrentLayer
from common.checkpoints.formats.keras import (
    VARIABLES,
    cells_of,
    configs_of,
    plain,
    plain_variables,
    recurrent,
    single_layers,
    wrapped,
)
from common.checkpoints.formats.keras_config import Config, layers_of
from common.checkpoints.limits import one_sentence, opened
from common.errors import InputError
from common.tensorfile import json_from_text

VERSION = "2.15.0"
"""The version of Keras that a written file says it is of."""
WITHOUT_CONFIG = "what joins the layers is not in the file"
"""The note on a file of weights alone."""
LONGEST_ATTRIBUTE = 64_000
"""Bytes that HDF5 keeps in an object's header; Keras 2 splits longer lists of names."""


def read(path: Path) -> Contents:
    """The layers of a file of Keras 2, or of Keras 3's old format; an ``InputError`` says what is wrong with it."""
    content = opened(path)
    with one_sentence(path, "a .h5 file of Keras 2"):
        file = Hdf5(content, str(path))
        text = file.text("", "model_config")
        configs: dict[str, Config] = {}
        if text is not None:
            config = json_from_text(text, f"{path}: model_config")
            configs = {each.name: each for each in layers_of(config, f"{path}: model_config")}
        root = "model_weights" if "model_weights" in file.attributes else ""
        names = file.names(root, "layer_names")
        if names is None:
            raise InputError(f"{path}: must have the attribute layer_names, as Keras 2 writes; it is missing")
        layers: dict[str, RecurrentLayer | PlainLayer] = {}
        notes = [] if configs else [WITHOUT_CONFIG]
        for name in names:
            what = f"{path}: the layer {name}"
            variables = list(_variables(file, f"{root}/{name}" if root else name, what))
            if name in layers:
                raise InputError(f"{what} must be there once")
            if configs and name not in configs:
                raise InputError(f"{what} must be in model_config; it is missing there")
            if variables:
                layers[name] = _layer(name, variables, configs.get(name), what, notes)
    return Contents("keras2", layers, tuple(notes))


def _variables(file: Hdf5, group: str, what: str) -> Iterator[tuple[str, np.ndarray]]:
    """A layer's variables in their order, each with the last part of its name."""
    for name in file.names(group, "weight_names") or []:
        array = file.arrays.get(f"{group}/{name}")
        if array is None:
            raise InputError(f"{what} must have the weight {name!r}; it is missing")
        yield name.rpartition("/")[2].partition(":")[0], array


def _layer(
    name: str, variables: list[tuple[str, np.ndarray]], config: Config | None, what: str, notes: list[str]
) -> RecurrentLayer | PlainLayer:
    """A layer of its variables in their order, recurrent where one of them is a recurrent kernel."""
    leaves = [leaf for leaf, _ in variables]
    arrays = [array for _, array in variables]
    if "recurrent_kernel" in leaves:
        cells = leaves.count("recurrent_kernel")
        each = len(leaves) // cells
        if cells > 2 or leaves != [*VARIABLES[:each]] * cells:
            raise InputError(f"{what} must have kernel, recurrent_kernel and bias of one or two cells; got {leaves}")
        halves = {(0, direction): arrays[direction * each : (direction + 1) * each] for direction in range(cells)}
        return recurrent(name, halves, config, what)
    kinds = {("embeddings",): "embedding", ("kernel",): "dense", ("kernel", "bias"): "dense"}
    class_name = config.class_name if config else kinds.get(tuple(leaves), "")
    by_name: Arrays = {
        f"{leaf}:{number}" if leaves.count(leaf) > 1 else leaf: array for number, (leaf, array) in enumerate(variables)
    }
    return plain(name, arrays, by_name, class_name, notes, config)


def write(contents: Contents, file: BinaryIO) -> None:
    """Write a whole model as Keras 2.15 does, in which each layer has an input of its own."""
    parts = list(single_layers(contents))
    arrays: Arrays = {}
    attributes: dict[str, dict[str, Any]] = {}
    inputs = [f"{layer.name}_input" for layer in parts]
    for layer in parts:
        names = []
        for name, value in _named(layer):
            arrays[f"model_weights/{layer.name}/{name}"] = value
            names.append(name)
        attributes[f"model_weights/{layer.name}"] = {"weight_names": names}
    attributes |= {f"model_weights/{name}": {"weight_names": np.zeros(0)} for name in inputs}
    every = [*inputs, *(layer.name for layer in parts)]
    if sum(map(len, every)) > LONGEST_ATTRIBUTE:
        raise InputError("the layers' names must have less than 64,000 bytes together in a file of Keras 2")
    version = {"backend": "tensorflow", "keras_version": VERSION}
    attributes["model_weights"] = {"layer_names": every, **version}
    attributes[""] = {**version, "model_config": json.dumps(_model_config(parts))}
    write_hdf5(file, arrays, attributes)


def _named(layer: RecurrentLayer | PlainLayer) -> Iterator[tuple[str, np.ndarray]]:
    """A layer's variables under the names that Keras 2 gives them."""
    if isinstance(layer, PlainLayer):
        leaves = ("embeddings",) if layer.kind == "embedding" else ("kernel", "bias")
        for leaf, value in zip(leaves, plain_variables(layer), strict=False):
            yield f"{layer.name}/{leaf}:0", value
        return
    cell = {"rnn": "simple_rnn_cell", "gru": "gru_cell", "lstm": "lstm_cell"}[layer.kind.gates]
    for prefix, variables in zip(("forward_", "backward_"), cells_of(layer), strict=False):
        inner = f"{prefix}{layer.name}/{cell}" if layer.kind.directions == 2 else cell
        for leaf, value in zip(VARIABLES, variables, strict=False):
            yield f"{layer.name}/{inner}/{leaf}:0", value


def _model_config(parts: list[RecurrentLayer | PlainLayer]) -> dict[str, Any]:
    """The configuration of a Functional model in Keras 2's words."""
    inputs, layers = [], []
    for config, shape, dtype in configs_of(parts):
        name = config["config"]["name"]
        source = f"{name}_input"
        values = {"batch_input_shape": shape, "dtype": dtype, "sparse": False, "ragged": False, "name": source}
        inputs.append({"class_name": "InputLayer", "config": values, "name": source, "inbound_nodes": []})
        inner = wrapped(config)["config"]  # of layers in layers, 2.13 and later write the module, and Keras 3 wants it
        layer = {"class_name": config["class_name"], "config": inner}
        layers.append(layer | {"name": name, "inbound_nodes": [[[source, 0, 0, {}]]]})
    values = {
        "name": "converted",
        "trainable": True,
        "layers": [*inputs, *layers],
        "input_layers": [[each["name"], 0, 0] for each in inputs],
        "output_layers": [[each["name"], 0, 0] for each in layers],
    }
    return {"class_name": "Functional", "config": values}
