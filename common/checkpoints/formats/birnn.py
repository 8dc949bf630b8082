"""birnn's own files, both safetensors: the exchange format, and the checkpoints of ``birnn train``.

The exchange format has the metadata key ``birnn.weights``, a JSON object with ``version``, ``source``, ``layers`` (a
specification by name, in the model's order) and ``others`` (what each other tensor is); its tensors are
``<layer>.weight_ih_l0`` and so on, canonical, and others under their own names. A file may be both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.contents import (
    Arrays,
    Contents,
    PlainLayer,
    RecurrentKind,
    RecurrentLayer,
    kind_of,
)
from common.checkpoints.formats.safetensors import tensors_and_metadata, write_tensors
from common.errors import InputError, shown
from common.models.crf.scores import PREFIX
from common.models.specification import Model, Seq2Seq, model_from_json, parameters
from common.specification import specification_from_json
from common.tasks.checkpoint import LAST, STATE
from common.tasks.checkpoint import METADATA_KEY as CHECKPOINT
from common.tensorfile import json_from_text
from common.weights import shapes

WEIGHTS = "birnn.weights"
"""The metadata key of the exchange format."""
VERSION = 1
"""The version of the exchange format that is read and written."""
DIRECT = ("embedding", "source_embedding", "target_embedding", "attention.w1", "attention.w2")
"""Parameters of a model that are a layer's whole weight, without ``.weight`` after the layer's name."""
VECTOR = "attention.v"
"""A parameter that is a dense layer's weight (1, width) without its first axis."""


def read(path: Path) -> Contents:
    """The layers of an exchange file or a checkpoint; an ``InputError`` says what is wrong with it."""
    tensors, metadata = tensors_and_metadata(path)
    header = json_from_text(metadata[CHECKPOINT], f"{path}: {CHECKPOINT}") if CHECKPOINT in metadata else None
    if header is not None:
        return _checkpoint(path, tensors, header)
    content = json_from_text(metadata.get(WEIGHTS, "null"), f"{path}: {WEIGHTS}")
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise InputError(f"{path}: {WEIGHTS} must be a JSON object with version {VERSION}; got {shown(content)}")
    specifications, others = content.get("layers"), content.get("others")
    if not isinstance(specifications, dict) or not isinstance(others, dict):
        raise InputError(f"{path}: {WEIGHTS} must have layers and others, JSON objects by name")
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    for name, specification in specifications.items():
        if isinstance(specification, dict) and "kind" in specification:
            layers[name] = PlainLayer(name, _plain_kind(specification["kind"], path), {})
        else:
            if not isinstance(specification, dict):
                raise InputError(f"{path}: the layer {name} must have a JSON object; got {shown(specification)}")
            kind = kind_of(specification_from_json(specification, f"{path}: the layer {name}"))
            layers[name] = recurrent_of(name, kind, tensors, f"{path}: the layer {name}")
    for name, value in tensors.items():
        module, _, leaf = name.rpartition(".")
        layer = layers.get(module)
        if isinstance(layer, RecurrentLayer) and leaf in layer.weights:
            continue
        if name not in others:
            raise InputError(f"{path}: {WEIGHTS} must say what each tensor is; it does not of {shown(name)}")
        if isinstance(layer, PlainLayer):
            layer.arrays[leaf] = value
        else:
            layers[module or leaf] = PlainLayer(module or leaf, _plain_kind(others[name], path), {leaf: value})
    return Contents("birnn", layers)


def _plain_kind(kind: Any, path: Path) -> Any:
    """What a layer around the recurrent ones is, if it is one of the three kinds."""
    if kind not in ("embedding", "dense", "tensor"):
        raise InputError(f"{path}: {WEIGHTS}: others must be embedding, dense or tensor; got {shown(kind)}")
    return kind


def recurrent_of(name: str, kind: RecurrentKind, tensors: Arrays, what: str) -> RecurrentLayer:
    """A layer of tensors named ``<name>.<canonical name>``, held against what it should be."""
    weights: Arrays = {}
    for weight, shape in shapes(kind.specification()).items():
        value = tensors.get(f"{name}.{weight}")
        if value is None or value.shape != shape:
            got = "none" if value is None else value.shape
            raise InputError(f"{what} must have {weight} of shape {shape}; got {got}")
        weights[weight] = value
    return RecurrentLayer(name, kind, weights)


def write(contents: Contents, file: BinaryIO) -> None:
    """Write an exchange file, which is a checkpoint of ``birnn train``, too, where the contents are one's."""
    tensors: Arrays = {}
    specifications: dict[str, Any] = {}
    others: dict[str, str] = {}
    for layer in contents.layers.values():
        if isinstance(layer, RecurrentLayer):
            specifications[layer.name] = layer.kind.specification().as_json()
            tensors |= {f"{layer.name}.{name}": value for name, value in layer.weights.items()}
            continue
        if layer.kind != "tensor":
            specifications[layer.name] = {"kind": layer.kind}
        for leaf, value in layer.arrays.items():
            name = f"{layer.name}.{leaf}" if leaf != layer.name else leaf
            tensors[name] = value
            others[name] = layer.kind
    content = {"version": VERSION, "source": contents.format, "layers": specifications, "others": others}
    metadata = {WEIGHTS: json.dumps(content, ensure_ascii=False)}
    if contents.checkpoint is not None:
        metadata[CHECKPOINT] = json.dumps(contents.checkpoint, ensure_ascii=False)
        tensors = {
            _as_parameter(name): value[0] if name == f"{VECTOR}.weight" else value for name, value in tensors.items()
        }
    write_tensors(tensors, metadata, file)


def _as_parameter(name: str) -> str:
    """A tensor's name in a checkpoint: a whole weight without ``.weight``."""
    module = name.removesuffix(".weight")
    return module if module in (*DIRECT, VECTOR) else name


def _checkpoint(path: Path, tensors: Arrays, header: Any) -> Contents:
    """A checkpoint's parameters as layers; what training alone goes on from is left behind."""
    if not isinstance(header, dict) or not isinstance(header.get("model"), dict):
        raise InputError(f"{path}: {CHECKPOINT} must be a JSON object with a model")
    spec = model_from_json(header["model"], f"{path}: model")
    left = {
        what: sum(name.startswith(prefix) for name in tensors)
        for what, prefix in {"the optimizer's state": STATE, "the network's state after the last epoch": LAST}.items()
    }
    for name, shape in parameters(spec).items():
        if name not in tensors or tensors[name].shape != shape:
            got = tensors[name].shape if name in tensors else "none"
            raise InputError(f"{path}: {name} must have shape {shape}; got {got}")
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    kinds = dict(_kinds(spec))
    for name in parameters(spec):
        recurrent = next((each for each in kinds if name.startswith(f"{each}.")), None)
        if recurrent is not None:
            if recurrent not in layers:
                layers[recurrent] = recurrent_of(recurrent, kinds[recurrent], tensors, f"{path}: {recurrent}")
            continue
        module, leaf = (name, "weight") if name in (*DIRECT, VECTOR) else name.rsplit(".", 1)
        value: np.ndarray = tensors[name][None] if name == VECTOR else tensors[name]
        kind = "embedding" if "embedding" in module else "tensor" if name.startswith(PREFIX) else "dense"
        layer = layers.setdefault(module, PlainLayer(module, kind, {}))  # type: ignore[arg-type]
        assert isinstance(layer, PlainLayer)
        layer.arrays[leaf] = value
    notes = tuple(f"{what}, {count} tensors, is left behind" for what, count in left.items() if count)
    return Contents("birnn", layers, notes, header)


def _kinds(spec: Model) -> Iterator[tuple[str, RecurrentKind]]:
    """The recurrent layers of a model by name."""
    yield spec.rnn_name, kind_of(spec.recurrent)
    if isinstance(spec, Seq2Seq):
        yield "decoder", kind_of(spec.decoder_rnn)
