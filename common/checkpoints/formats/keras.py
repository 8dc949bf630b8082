"""Keras 3's files: ``.keras``, a zip with a configuration and weights, and ``.weights.h5``, weights alone.

Paths in the weights (keras/src/saving/saving_lib.py, 3.15): ``layers/<class in snake case>[_<n>]``, in it
``{forward,backward}_layer/cell/vars/<i>`` of a Bidirectional, ``cell/vars/<i>`` of a layer, ``vars/<i>`` of others; the
attribute ``name`` of ``…/vars`` is the layer's.
"""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.containers.archive import Archive, moved_entry
from common.checkpoints.containers.hdf5 import Hdf5, write_hdf5
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
from common.checkpoints.formats import keras_config
from common.checkpoints.formats.keras_config import Config, described, layers_of
from common.checkpoints.layouts import pack_keras, unpack_keras
from common.checkpoints.limits import DEEPEST, one_sentence, opened
from common.errors import InputError

DIRECTIONS = ("forward_layer", "backward_layer")
"""The folders of a Bidirectional's two cells, forward first."""
VARIABLES = ("kernel", "recurrent_kernel", "bias")
"""A cell's variables in Keras' order."""
VERSION = "3.15.1"
"""The version of Keras that a written file says it is of."""
OF_LAYER = re.compile(r"(.+?)/((?:(?:forward|backward)_layer/)?(?:cell/)?vars/[^/]+)")
"""A variable's path: the layer's, and its own below it."""
WITHOUT_NAME = "the order of the layers and what joins them is not in the file"
"""The note on a file of weights alone."""


def read(path: Path) -> Contents:
    """The layers of a ``.keras`` file; an ``InputError`` says what is wrong with it."""
    content = opened(path)
    with one_sentence(path, "a file of model.save in Keras 3"):
        try:
            archive = Archive(path, content)
            config = archive.json("config.json")
            weights = archive.stored("model.weights.h5")
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        file = Hdf5(weights, str(path))
        segments = dict(_segments(file))
        layers: dict[str, RecurrentLayer | PlainLayer] = {}
        notes: list[str] = []
        for name, segment, each in _placed(config, f"{path}: config.json"):
            if segment in segments:
                what = f"{path}: the layer {name}"
                own = file.text(f"{segment}/vars", "name")
                if own not in (None, each.name):
                    raise InputError(f"{what} must have its name in the weights, too; they have {own!r}")
                layers[name] = _layer(name, segments.pop(segment), each, what, notes)
        for segment, arrays in segments.items():  # of what is no layer of the configuration, and is not to be lost
            name = _name_of(file, segment)
            layers[name] = plain(name, [], arrays, "", notes)
    return Contents("keras", layers, tuple(notes))


def read_weights(path: Path) -> Contents:
    """The layers of a ``.weights.h5`` file, as far as it tells; an ``InputError`` says what is wrong with it."""
    content = opened(path)
    with one_sentence(path, "a file of model.save_weights in Keras 3"):
        file = Hdf5(content, str(path))
        layers: dict[str, RecurrentLayer | PlainLayer] = {}
        notes = [WITHOUT_NAME]
        for segment, arrays in _segments(file):
            name = _name_of(file, segment)
            if name in layers:
                raise InputError(f"{path}: layers must have names of their own; got {name!r} twice")
            layers[name] = _layer(name, arrays, None, f"{path}: the layer {name}", notes, segment.rpartition("/")[2])
        if not layers:
            raise InputError(f"{path}: must have a layer's variables under vars/, as Keras 3 has; got none")
    return Contents("keras-weights", layers, tuple(notes))


def write(contents: Contents, file: BinaryIO) -> None:
    """Write a Functional model in which each layer has an input of its own: what joins them is the program's."""
    parts = list(single_layers(contents))
    config = model_config(parts)
    metadata = {"keras_version": VERSION, "date_saved": "1980-01-01@00:00:00"}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", json.dumps(config))
        with tempfile.TemporaryFile() as weights:
            write_hdf5(weights, *_paths(parts))
            moved_entry(archive, "model.weights.h5", weights)


def write_weights(contents: Contents, file: BinaryIO) -> None:
    """Write the weights of the same model alone."""
    write_hdf5(file, *_paths(list(single_layers(contents))))


def snake_case(name: str) -> str:
    """A class' name as Keras has it in paths: SimpleRNN is simple_rnn."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _placed(
    config: Any, what: str, outer: str = "", place: str = "layers", depth: int = 0
) -> Iterator[tuple[str, str, Config]]:
    """Each layer of a model, and of the models in it, with its name, where its variables are, and its configuration."""
    if depth > DEEPEST:
        raise InputError(f"{what}: models must be nested at most {DEEPEST} deep")
    counts: Counter[str] = Counter()
    for each in layers_of(config, what):
        snake = snake_case(each.class_name)
        segment = f"{place}/{snake}_{counts[snake]}" if counts[snake] else f"{place}/{snake}"
        counts[snake] += 1
        name = f"{outer}{each.name}"
        if each.class_name in keras_config.MODELS:
            inner = {"class_name": each.class_name, "config": each.values}
            yield from _placed(inner, f"{what}: {name}", f"{name}.", f"{segment}/layers", depth + 1)
        else:
            yield name, segment, each


def _segments(file: Hdf5) -> Iterator[tuple[str, Arrays]]:
    """Each layer's path with its variables, by their paths below it: below ``layers``, in a model that is a layer, or,
    of a class of somebody's own, under its attribute's name.
    """
    segments: dict[str, Arrays] = {}
    for path, array in file.arrays.items():
        match = OF_LAYER.fullmatch(path)
        if match is not None and not match[1].startswith("optimizer"):
            segments.setdefault(match[1], {})[match[2]] = array
    yield from sorted(segments.items(), key=lambda item: _natural(item[0]))


def _name_of(file: Hdf5, segment: str) -> str:
    """A layer's name by weights alone: its own where it stands in a list of layers, else its attribute's."""
    own = file.text(f"{segment}/vars", "name")
    names = [part for part in segment.split("/") if part != "layers"]
    if segment.rpartition("/")[0].endswith("layers"):
        names[-1] = own or names[-1]
    return ".".join(names)


def _natural(segment: str) -> tuple[str, int]:
    """What segments are sorted by: the class, and then its number, which the first one has not."""
    stem, _, number = segment.rpartition("_")
    return (stem, int(number)) if number.isdigit() and len(number) < 9 else (segment, 0)


def _layer(
    name: str, arrays: Arrays, config: Config | None, what: str, notes: list[str], segment: str = ""
) -> RecurrentLayer | PlainLayer:
    """A layer of its segment's variables, recurrent where they are those of cells."""
    halves = {direction: _variables(arrays, f"{place}/cell/vars/") for direction, place in enumerate(DIRECTIONS)}
    cells = {(0, direction): variables for direction, variables in halves.items() if variables}
    alone = _variables(arrays, "cell/vars/")
    if alone:
        cells = {(0, 0): alone}
    if cells:
        used = sum(map(len, cells.values()))
        if used != len(arrays):
            raise InputError(f"{what} must have the variables of its cells alone; got {len(arrays) - used} more")
        return recurrent(name, cells, config, what)
    return plain(name, _variables(arrays, "vars/"), arrays, config.class_name if config else segment, notes, config)


def _variables(arrays: Arrays, prefix: str) -> list[np.ndarray]:
    """The variables that are numbered from 0 on behind a prefix."""
    variables: list[np.ndarray] = []
    while f"{prefix}{len(variables)}" in arrays:
        variables.append(arrays[f"{prefix}{len(variables)}"])
    return variables


def recurrent(
    name: str, cells: dict[tuple[int, int], list[np.ndarray]], config: Config | None, what: str
) -> RecurrentLayer:
    """A recurrent layer of its cells' variables in Keras' order, and of its configuration where there is one."""
    halves: dict[tuple[int, int], Half] = {}
    for place, variables in cells.items():
        if len(variables) not in (2, 3):
            raise InputError(f"{what} must have two or three variables in each direction; got {len(variables)}")
        halves[place] = unpack_keras(dict(zip(VARIABLES, variables, strict=False)), what)
    kind = kind_of_halves(halves, what, activation=None)
    if kind.gates == "gru" and kind.bias:
        two = {variables[2].ndim == 2 for variables in cells.values()}
        if len(two) != 1:
            raise InputError(f"{what} must have biases of one shape in both directions")
        kind = replace(kind, reset_after=two.pop())
    unusual: list[str] = []
    if config is not None:
        kind, unusual = described(config, kind, what)
    return replace(recurrent_layer(name, kind, halves), unusual=tuple(unusual))


def plain(
    name: str,
    variables: list[np.ndarray],
    arrays: Arrays,
    class_name: str,
    notes: list[str],
    config: Config | None = None,
) -> PlainLayer:
    """An embedding or a dense layer by its class, or tensors of no known kind."""
    class_name = re.sub(r"_\d+$", "", snake_case(class_name))
    shapes = [each.ndim for each in variables]
    if len(variables) == len(arrays):
        if class_name == "embedding" and shapes == [2]:
            return PlainLayer(name, "embedding", {"weight": variables[0]})
        if class_name == "dense" and shapes in ([2], [2, 1]):
            activation = config.values.get("activation") if config else None
            if activation not in (None, "linear"):
                notes.append(f"{name} applies {activation}, which elsewhere is the program's to do")
            weights = {"weight": variables[0].T}  # (in, out) to (out, in)
            return PlainLayer(name, "dense", weights | ({"bias": variables[1]} if len(variables) == 2 else {}))
    return PlainLayer(name, "tensor", {path.replace("/", "."): value for path, value in arrays.items()})


def single_layers(contents: Contents) -> Iterator[RecurrentLayer | PlainLayer]:
    """The layers in their order, each of a stack by itself, as Keras has them."""
    for layer in contents.layers.values():
        if isinstance(layer, PlainLayer):
            yield layer
        else:
            yield from parts_of(layer)


def cells_of(layer: RecurrentLayer) -> list[list[np.ndarray]]:
    """A single layer's variables in Keras' order, for each direction."""
    packed = [pack_keras(layer.kind, half) for half in layer.halves(0)]
    return [[each[name] for name in VARIABLES if name in each] for each in packed]


def plain_variables(layer: PlainLayer) -> list[np.ndarray]:
    """An embedding's or a dense layer's variables in Keras' order."""
    if layer.kind == "embedding":
        return [layer.arrays["weight"]]
    return [layer.arrays["weight"].T, *([layer.arrays["bias"]] if "bias" in layer.arrays else [])]


def _paths(parts: list[RecurrentLayer | PlainLayer]) -> tuple[Arrays, dict[str, dict[str, Any]]]:
    """Every variable by its path in the weights, and the attributes with the layers' names."""
    arrays: Arrays = {}
    attributes: dict[str, dict[str, Any]] = {}
    counts: Counter[str] = Counter()
    for layer in parts:
        if isinstance(layer, PlainLayer):
            class_name: str = layer.kind
            places = {"vars": plain_variables(layer)}
        elif layer.kind.directions == 2:
            class_name = "bidirectional"
            places = {f"{place}/cell/vars": cell for place, cell in zip(DIRECTIONS, cells_of(layer), strict=True)}
        else:
            class_name = snake_case(keras_config.CLASSES[layer.kind.gates])
            places = {"cell/vars": cells_of(layer)[0]}
        segment = f"layers/{class_name}_{counts[class_name]}" if counts[class_name] else f"layers/{class_name}"
        counts[class_name] += 1
        attributes[f"{segment}/vars"] = {"name": layer.name}
        for place, variables in places.items():
            arrays |= {f"{segment}/{place}/{number}": value for number, value in enumerate(variables)}
    return arrays, attributes


def configs_of(parts: list[RecurrentLayer | PlainLayer]) -> Iterator[tuple[dict[str, Any], list[int | None], str]]:
    """Each layer's configuration, the shape of its input, and that one's dtype."""
    for layer in parts:
        if isinstance(layer, RecurrentLayer):
            dtype = layer.weights["weight_ih_l0"].dtype.name
            yield keras_config.recurrent_config(layer, layer.name, dtype), [None, None, layer.kind.input_size], dtype
            continue
        weight = layer.arrays["weight"]
        dtype = weight.dtype.name
        if layer.kind == "embedding":
            rows, width = weight.shape
            yield keras_config.embedding_config(layer.name, rows, width, dtype), [None, None], "int32"
        else:
            config = keras_config.dense_config(layer.name, weight.shape[0], "bias" in layer.arrays, dtype)
            yield config, [None, None, weight.shape[1]], dtype


def model_config(parts: list[RecurrentLayer | PlainLayer]) -> dict[str, Any]:
    """The configuration of a Functional model in Keras 3's words."""
    inputs, layers = [], []
    for config, shape, dtype in configs_of(parts):
        name = config["config"]["name"]
        source = f"{name}_input"
        values = {"batch_shape": shape, "dtype": dtype, "sparse": False, "ragged": False, "name": source}
        inputs.append(_object("InputLayer", values) | {"name": source, "inbound_nodes": []})
        tensor = {"shape": shape, "dtype": dtype, "keras_history": [source, 0, 0]}
        node = {"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}
        layers.append(wrapped(config) | {"build_config": {"input_shape": shape}, "name": name, "inbound_nodes": [node]})
    values = {
        "name": "converted",
        "trainable": True,
        "layers": [*inputs, *layers],
        "input_layers": [[each["name"], 0, 0] for each in inputs],
        "output_layers": [[each["name"], 0, 0] for each in layers],
    }
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": values}


def _object(class_name: str, values: dict[str, Any]) -> dict[str, Any]:
    """An object of keras.layers in Keras 3's words."""
    return {"module": "keras.layers", "class_name": class_name, "config": values, "registered_name": None}


def wrapped(config: dict[str, Any]) -> dict[str, Any]:
    """A layer's configuration, and those of the layers in it, as Keras 3's objects."""
    inner = {
        key: wrapped(value) if isinstance(value, dict) and "class_name" in value else value
        for key, value in config["config"].items()
    }
    return _object(config["class_name"], inner)
