"""MXNet's ``.params``: arrays of the versions V0 to V3 read, V2 written; the names of Gluon's two ways of saving.

Layout (src/ndarray/ndarray.cc, 1.9.1), little-endian: u64 0x112, u64 0, u64 count, the arrays, u64 count, the names. An
array of V2 or V3: u32 magic, i32 stype, i32 ndim, i64 × ndim, i32 device type, i32 device, i32 type flag, the numbers.
V1 has no stype; V0 has u32 ndim, u32 × ndim in the place of the magic and what follows up to the device.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.blocks import pieces
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
from common.checkpoints.layouts import GLUON, pack_gluon, unpack_gluon
from common.checkpoints.limits import (
    MOST_DIMENSIONS,
    MOST_HEADER,
    array_in,
    checked_count,
    checked_name,
    checked_shape,
    one_sentence,
    opened,
)
from common.errors import InputError, shown

HEAD = 0x112
"""The first number of a file."""
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
"""The first number of an array of each version; V0 has none."""
FLAGS: dict[int, np.dtype] = {
    number: np.dtype(name)
    for number, name in enumerate(("float32", "float64", "float16", "uint8", "int32", "int8", "int64"))
}
"""The dtypes by the numbers that MXNet has for them."""
SIDES = "lr"
"""The letters of the directions in names, forward first."""
LEAF = "|".join(GLUON.values())
"""A pattern of the names of a cell's weights."""
OF_BLOCK = re.compile(rf"(?:(.*?)\.?)??(?:_unfused\.(\d{{1,3}})\.)?(?:([lr])_cell\.)?({LEAF})")
"""A recurrent weight's name from ``save_parameters``: block, layer, side and weight."""
OF_PREFIX = re.compile(rf"(.*?)(?:([lr])(\d{{1,3}})_)?({LEAF})")
"""A recurrent weight's name from ``collect_params().save``: prefix, side, layer and weight."""
PARAMETER = re.compile(rf"(^|\.)(weight|bias|gamma|beta|running_mean|running_var|{LEAF})$")
"""How a name ends that ``save_parameters`` has written."""


def read(path: Path) -> Contents:
    """The layers of a file of ``save_parameters``, of ``collect_params().save`` or of an export, by its names; with
    what a ``-symbol.json`` of the same name beside it says.
    """
    content = opened(path)
    with one_sentence(path, "a .params file of MXNet"):
        tensors = _tensors(path, content)
        kinds = _symbol(path)
    tensors = {re.sub("^(arg|aux):", "", name): value for name, value in tensors.items()}
    by_block = any(PARAMETER.search(name) for name in tensors)
    return _contents(tensors, "mxnet" if by_block else "mxnet-prefix", kinds, str(path))


def write(contents: Contents, file: BinaryIO) -> None:
    """Write what ``load_parameters`` of a block with children of these names reads."""
    _write(_named(contents, by_block=True), file)


def write_prefixed(contents: Contents, file: BinaryIO) -> None:
    """Write what ``collect_params().load`` of blocks with these names as prefixes reads."""
    _write(_named(contents, by_block=False), file)


def _contents(tensors: Mapping[str, np.ndarray], format_name: str, kinds: dict[str, Any], where: str) -> Contents:
    """The layers among arrays with Gluon's names, of which ``kinds`` says what a graph beside the file does."""
    cells: dict[str, dict[tuple[int, int], Arrays]] = {}
    plain: dict[str, Arrays] = {}
    order = []
    for name, value in tensors.items():
        match = (OF_BLOCK if format_name == "mxnet" else OF_PREFIX).fullmatch(name)
        if match is None:
            module, leaf = _module(name, format_name)
            plain.setdefault(module, {})[leaf] = value
        else:
            layer, side = (match[2], match[3]) if format_name == "mxnet" else (match[3], match[2])
            module = (match[1] or "").removesuffix("_" if format_name == "mxnet-prefix" else ".") or "rnn"
            place = int(layer or 0), SIDES.index(side or "l")
            cells.setdefault(module, {}).setdefault(place, {})[match[4]] = value
        order.append(module)
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    notes = []
    for name in dict.fromkeys(order):
        if name in cells:
            layers[name] = _recurrent(name, cells[name], kinds.get(name), f"{where}: the layer {name}")
            continue
        layers[name] = plain_layer = _plain(name, plain[name], kinds.get(name))
        if plain_layer.kind == "tensor" and set(plain[name]) == {"weight"}:
            notes.append(f"whether {name} is an embedding or a dense layer without a bias is not in the file")
    return Contents(format_name, layers, tuple(notes))


def _module(name: str, format_name: str) -> tuple[str, str]:
    """A parameter's block and what it is there."""
    module, _, leaf = name.rpartition("." if format_name == "mxnet" else "_")
    return (module, leaf) if module else (leaf, leaf)


def _recurrent(name: str, cells: dict[tuple[int, int], Arrays], kind_of_file: str | None, what: str) -> RecurrentLayer:
    """A recurrent layer of its cells by layer and direction, and of its mode where a graph says it."""
    halves: dict[tuple[int, int], Half] = {place: unpack_gluon(arrays, what) for place, arrays in cells.items()}
    kind = kind_of_halves(halves, what)
    kind = replace(
        kind, reset_after=True if kind.gates == "gru" else None, merge="concat" if kind.directions == 2 else None
    )
    if kind_of_file is not None:
        gates, _, activation = kind_of_file.partition("_")
        if gates != kind.gates:
            raise InputError(f"{what} must be a {kind.gates} as its weights are; the symbol.json says {kind_of_file}")
        kind = replace(kind, activation=activation or "tanh")
    return recurrent_layer(name, kind, halves)


def _plain(name: str, arrays: Arrays, operator: str | None) -> PlainLayer:
    """A layer around the recurrent ones, by its shapes and by its operator where a graph says it."""
    weight = arrays.get("weight")
    if weight is not None and weight.ndim == 2:
        if set(arrays) == {"weight", "bias"} and arrays["bias"].shape == weight.shape[:1]:
            return PlainLayer(name, "dense", arrays)
        if set(arrays) == {"weight"} and operator in ("Embedding", "FullyConnected"):
            return PlainLayer(name, "embedding" if operator == "Embedding" else "dense", arrays)
    return PlainLayer(name, "tensor", arrays)


def _symbol(path: Path) -> dict[str, Any]:
    """What the graph beside a file says of blocks by name: an RNN's mode, or an operator."""
    stem = re.sub(r"-\d{4}$", "", path.name.removesuffix(".params"))
    beside = path.with_name(f"{stem}-symbol.json")
    if not beside.is_file():
        return {}
    if beside.stat().st_size > MOST_HEADER:
        raise InputError(f"{beside}: must have at most {MOST_HEADER:,} bytes")
    try:
        nodes = json.loads(beside.read_bytes())["nodes"]
        kinds: dict[str, Any] = {}
        for node in nodes:
            inputs = [nodes[each[0]]["name"] for each in node.get("inputs", [])]
            attributes = node.get("attrs", {})
            for name in inputs[1:] if node["op"] in ("Embedding", "FullyConnected") else []:
                kinds[re.sub("_(weight|bias)$", "", name)] = node["op"]
            if node["op"] == "RNN":
                kinds[re.sub("_rnn0$", "", node["name"])] = attributes["mode"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(f"{beside}: must be a graph of MXNet; got: {shown(str(error), 80)}") from None
    return kinds


def _named(contents: Contents, by_block: bool) -> Arrays:
    """Every array by Gluon's name for it."""
    tensors: Arrays = {}
    joint = "." if by_block else "_"
    for layer in contents.layers.values():
        if isinstance(layer, PlainLayer):
            tensors |= {f"{layer.name}{joint}{leaf}": value for leaf, value in layer.arrays.items()}
            continue
        for part in [layer] if layer.kind.merge in (None, "concat") else parts_of(layer):
            for k in range(part.kind.num_layers):
                for direction, half in enumerate(part.halves(k)):
                    side = SIDES[direction]
                    cell = f"{side}_cell." if part.kind.directions == 2 else ""
                    prefix = f"{part.name}._unfused.{k}.{cell}" if by_block else f"{part.name}_{side}{k}_"
                    tensors |= {f"{prefix}{leaf}": value for leaf, value in pack_gluon(part.kind, half).items()}
    return tensors


# The bytes.


class _Reader:
    """Numbers of a file one after the other."""

    def __init__(self, path: Path, content: np.ndarray) -> None:
        self.path, self.content, self.place = path, content, 0

    def take(self, code: str) -> int:
        """The next number, of one of ``struct``'s codes."""
        size = struct.calcsize(f"<{code}")
        part = self.content[self.place : self.place + size].tobytes()
        if len(part) < size:
            raise InputError(f"{self.path}: must be whole; it ends within an array's header")
        self.place += size
        return struct.unpack(f"<{code}", part)[0]

    def text(self) -> str:
        """The next text, as a name."""
        size = self.take("Q")
        if size > self.content.size - self.place:
            raise InputError(f"{self.path}: must be whole; a name of {size:,} bytes ends after it")
        if size > MOST_HEADER:
            raise InputError(f"{self.path}: names must have at most 1,024 characters; got {size:,} bytes")
        self.place += size
        return checked_name(self.content[self.place - size : self.place].tobytes().decode(), str(self.path))

    def array(self) -> np.ndarray:
        """The next array, where it lies in the file."""
        magic = self.take("I")
        if magic in (V2, V3) and self.take("i") != 0:
            raise InputError(f"{self.path}: arrays must be dense; got a sparse one")
        ndim = magic if magic not in (V1, V2, V3) else self.take("i")
        if not 0 <= ndim <= MOST_DIMENSIONS:
            raise InputError(f"{self.path}: arrays must have at most {MOST_DIMENSIONS} dimensions; got {ndim}")
        code = "q" if magic in (V1, V2, V3) else "I"
        shape = checked_shape([self.take(code) for _ in range(ndim)], f"{self.path}: an array")
        if ndim == 0 and magic != V3:
            raise InputError(f"{self.path}: arrays must have numbers; got one that was never initialised")
        self.take("i")
        self.take("i")
        flag = self.take("i")
        if flag not in FLAGS:
            raise InputError(f"{self.path}: arrays must have a type flag from 0 to {max(FLAGS)}; got {flag}")
        numbers = array_in(self.content, self.place, FLAGS[flag], shape, f"{self.path}: an array")
        self.place += numbers.nbytes
        return numbers


def _tensors(path: Path, content: np.ndarray) -> Arrays:
    """Every array of a file by its name."""
    reader = _Reader(path, content)
    if reader.take("Q") != HEAD or reader.take("Q") != 0:
        raise InputError(f"{path}: must be a .params file of MXNet; its first bytes are not those of one")
    count = reader.take("Q")
    checked_count(count, str(path))
    arrays = [reader.array() for _ in range(count)]
    names = reader.take("Q")
    if names != count:
        raise InputError(f"{path}: must have a name for each of its {count:,} arrays; got {names:,} names")
    tensors = {reader.text(): array for array in arrays}
    if len(tensors) != count:
        raise InputError(f"{path}: arrays must have names of their own")
    return tensors


def _write(tensors: Mapping[str, np.ndarray], file: BinaryIO) -> None:
    """Write a file of V2, one array at a time."""
    flags = {dtype: flag for flag, dtype in FLAGS.items()}
    file.write(struct.pack("<QQQ", HEAD, 0, len(tensors)))
    for name, value in tensors.items():
        if value.dtype not in flags:
            raise InputError(f"{name} must have a dtype that MXNet has; got {value.dtype}")
        file.write(struct.pack(f"<Iii{value.ndim}q", V2, 0, value.ndim, *value.shape))
        file.write(struct.pack("<iii", 1, 0, flags[value.dtype]))  # on the CPU
        for piece in pieces(value):
            file.write(piece)
    file.write(struct.pack("<Q", len(tensors)))
    for name in tensors:
        file.write(struct.pack("<Q", len(name.encode())) + name.encode())
