"""Flax's files: ``.msgpack`` of ``flax.serialization``, with the trees of flax.linen or of flax.nnx.

Layout (flax/serialization.py, 0.12.8): ExtType 1 is msgpack of [shape, dtype's name, C-order bytes], 2 a complex
number, 3 a NumPy scalar; an array over 2³⁰ bytes is a map with ``__msgpack_chunked_array__``, shape and chunks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.blocks import contiguous, pieces
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
from common.checkpoints.formats import orbax
from common.checkpoints.layouts import LINEN, pack_linen, pack_nnx, unpack_linen, unpack_nnx
from common.checkpoints.limits import (
    DEEPEST,
    MOST_TENSORS,
    checked_bytes,
    checked_dtype,
    checked_name,
    checked_shape,
    needed,
    one_sentence,
    opened,
)
from common.errors import InputError, shown

CHUNKED = "__msgpack_chunked_array__"
"""The key by which flax marks an array in chunks."""
LARGEST = 2**30
"""Bytes of an array from which on flax writes it in chunks."""
DIRECTIONS = ("forward_rnn", "backward_rnn")
"""The names of the two cells in a Bidirectional of Flax, forward first."""
ARRAY, BIN_32, EXT_32 = 1, 0xC6, 0xC9
"""The extension's number, and the first bytes of msgpack's long bytes and long extensions."""
LONGEST_HEAD = 512
"""Bytes of an array's shape and dtype, at most, in which its numbers are looked for."""
EMPTY = b"\xc4\x00"
"""msgpack's bytes of none."""
WHAT = "a .msgpack file of flax.serialization"
"""What a file must be, in the words of an error."""
SEPARATE = (
    "whether cells of their own names belong together as two directions is not in the file; --spec says it, as in "
    '{"encoder": {"forward": "LSTMCell_0", "reverse": "LSTMCell_1"}}'
)
"""The note on two cells whose names do not say that they are one layer."""


def read_linen(path: Path) -> Contents:
    """The layers of a tree of flax.linen; an ``InputError`` says what is wrong with the file."""
    return layers_in(_tree(path), "flax-linen", str(path))


def read_nnx(path: Path) -> Contents:
    """The layers of a tree of flax.nnx; an ``InputError`` says what is wrong with the file."""
    return layers_in(_tree(path), "flax-nnx", str(path))


def is_nnx(path: Path) -> bool:
    """Whether a file's tree is one of nnx: without ``params`` at its top, or with cells that linen has not."""
    tree = _tree(path)
    return not any(name.startswith("params/") for name in tree)


def write_linen(contents: Contents, file: BinaryIO) -> None:
    """Write ``{"params": …}`` as ``flax.serialization.to_bytes`` does of linen's variables."""
    _write(linen_tree(contents), file)


def write_nnx(contents: Contents, file: BinaryIO) -> None:
    """Write the pure dictionary of an nnx state, as ``flax.serialization.msgpack_serialize`` does."""
    _write(nnx_tree(contents), file)


def write_linen_folder(contents: Contents, folder: Path) -> None:
    """Write linen's variables as a folder of Orbax, as ``StandardCheckpointer`` does."""
    orbax.write(linen_tree(contents), folder)


def write_nnx_folder(contents: Contents, folder: Path) -> None:
    """Write the pure dictionary of an nnx state as a folder of Orbax."""
    orbax.write(nnx_tree(contents), folder)


def linen_tree(contents: Contents) -> Arrays:
    """Every array of linen's variables by its path."""
    return {f"params/{path}": value for path, value in _tree_of(contents, pack_linen).items()}


def nnx_tree(contents: Contents) -> Arrays:
    """Every array of an nnx state by its path."""
    return _tree_of(contents, pack_nnx)


def layers_in(tree: dict[str, np.ndarray], format_name: str, where: str) -> Contents:
    """The layers in a tree, whose arrays are given by their paths; it is empty afterwards, so that what is joined into
    another array is not held beside it.
    """
    unpack = unpack_linen if format_name == "flax-linen" else unpack_nnx
    groups: dict[str, Arrays] = {}
    for path in [*tree]:
        names = path.removeprefix("params/").split("/")
        if names[-1] == "value" and len(names) > 1:  # orbax keeps an nnx Param as its value
            names = names[:-1]
        depth = 2 if _is_gate(names) else 1
        groups.setdefault("/".join(names[:-depth]), {})["/".join(names[-depth:])] = tree.pop(path)
    cells: dict[str, dict[tuple[int, int], Arrays]] = {}
    layers: dict[str, RecurrentLayer | PlainLayer] = {}
    order: list[str] = []
    notes: list[str] = []
    separate = any(not path.endswith("cell") for path in groups if path and any("/" in leaf for leaf in groups[path]))
    for path in [*groups]:
        arrays = groups.pop(path)
        name, direction = _place(path)
        if any("/" in leaf for leaf in arrays):
            cells.setdefault(name, {})[0, direction] = arrays
        else:
            layers[name] = _plain(name, arrays)
        order.append(name)
    for name in [*cells]:
        layers[name] = _recurrent(name, cells.pop(name), unpack, f"{where}: the layer {name}")
    if separate:
        notes.append(SEPARATE)
    notes.append("the order of the layers, and what joins them, is not in the file")
    return Contents(format_name, {name: layers[name] for name in dict.fromkeys(order)}, tuple(notes))


def _is_gate(names: list[str]) -> bool:
    """Whether a path's end is a dense layer of a cell: linen's ``hr/kernel``, nnx's ``dense_i/kernel``."""
    gates = {name for pair in LINEN.values() for part in pair for name in part} | {"if_", "dense_i", "dense_h"}
    return len(names) > 1 and names[-1] in ("kernel", "bias") and names[-2] in gates


def _place(path: str) -> tuple[str, int]:
    """A layer's name and the direction of a cell, by the cell's path."""
    names = [name for name in path.split("/") if name]
    if names and names[-1] == "cell":
        names = names[:-1]
    direction = DIRECTIONS.index(names[-1]) if names and names[-1] in DIRECTIONS else 0
    if names and names[-1] in DIRECTIONS:
        names = names[:-1]
    return ".".join(names) or "rnn", direction


def _recurrent(
    name: str,
    cells: dict[tuple[int, int], Arrays],
    unpack: Callable[[Mapping[str, np.ndarray], str], Half],
    what: str,
) -> RecurrentLayer:
    """A recurrent layer of its cells by layer and direction, which ``unpack`` reads."""
    halves = {place: unpack(arrays, what) for place, arrays in cells.items()}
    kind = kind_of_halves(halves, what, activation=None)
    return recurrent_layer(name, replace(kind, reset_after=True if kind.gates == "gru" else None), halves)


def _plain(name: str, arrays: Arrays) -> PlainLayer:
    """A layer around the recurrent ones by the names and shapes of its arrays."""
    kernel = arrays.get("kernel")
    if set(arrays) == {"embedding"} and arrays["embedding"].ndim == 2:
        return PlainLayer(name, "embedding", {"weight": arrays["embedding"]})
    if kernel is not None and kernel.ndim == 2 and set(arrays) <= {"kernel", "bias"}:
        weights = {"weight": kernel.T}  # (in, out) to (out, in)
        return PlainLayer(name, "dense", weights | ({"bias": arrays["bias"]} if "bias" in arrays else {}))
    return PlainLayer(name, "tensor", arrays)


def _tree_of(contents: Contents, pack: Callable[..., Arrays]) -> Arrays:
    """Every layer's arrays by their paths, those of a half as ``pack`` makes them."""
    tree: Arrays = {}
    for layer in contents.layers.values():
        if isinstance(layer, PlainLayer):
            path = layer.name.replace(".", "/")
            if layer.kind == "embedding":
                tree[f"{path}/embedding"] = layer.arrays["weight"]
            else:
                tree[f"{path}/kernel"] = layer.arrays["weight"].T
                tree |= {f"{path}/bias": layer.arrays["bias"]} if "bias" in layer.arrays else {}
            continue
        for part in parts_of(layer):
            path = part.name.replace(".", "/")
            for place, half in zip(DIRECTIONS, part.halves(0), strict=False):
                cell = f"{path}/{place}/cell" if part.kind.directions == 2 else f"{path}/cell"
                tree |= {f"{cell}/{leaf}": value for leaf, value in pack(part.kind, half).items()}
    return tree


# The bytes.


def _tree(path: Path) -> Arrays:
    """Every array of a file, or of a folder of Orbax, by its path in the tree."""
    if path.is_dir():
        return orbax.tree(path)
    content = opened(path)
    msgpack = needed("msgpack", f"reading {path}")
    with one_sentence(path, WHAT):
        tree = _unpacked(msgpack, content.data, str(path), 0)
        arrays: Arrays = {}
        _flatten(tree, (), arrays, str(path))
    return arrays


def _unpacked(msgpack: Any, content: Any, what: str, depth: int) -> Any:
    """What msgpack holds, flax' arrays among it; ``depth`` is 1 within an array, which holds no other one."""

    def extended(code: int, data: bytes) -> Any:
        if code != ARRAY:
            return None  # complex numbers and scalars, which no weight is
        if depth:
            raise InputError(f"{what}: an array must hold no other one")
        shape, name, numbers = _parts_of_array(msgpack, data, what, depth)
        name = name.decode() if isinstance(name, bytes) else name
        dtype = checked_dtype(name, f"{what}: an array")
        sizes = checked_shape(shape, f"{what}: an array")
        if checked_bytes(sizes, dtype, len(numbers), f"{what}: an array") != len(numbers):
            raise InputError(f"{what}: an array {dtype} {sizes} must have as many bytes as that; got {len(numbers):,}")
        return np.frombuffer(numbers, dtype).reshape(sizes)

    return msgpack.unpackb(content, ext_hook=extended, raw=False, strict_map_key=False)


def _parts_of_array(msgpack: Any, data: bytes, what: str, depth: int) -> tuple[Any, Any, Any]:
    """Shape, dtype's name and numbers of an array; long numbers, which flax writes as the last, are not copied."""
    place = data.find(bytes([BIN_32]), 0, LONGEST_HEAD)
    while place > 0:
        (size,) = struct.unpack_from(">I", data, place + 1) if place + 5 <= len(data) else (None,)
        if size == len(data) - place - 5:
            shape, name, _ = _unpacked(msgpack, data[:place] + EMPTY, what, depth + 1)
            return shape, name, memoryview(data)[place + 5 :]
        place = data.find(bytes([BIN_32]), place + 1, LONGEST_HEAD)
    return _unpacked(msgpack, data, what, depth + 1)


def _flatten(value: Any, path: tuple[str, ...], arrays: Arrays, what: str) -> None:
    """Put every array below a value into the arrays by path, each once."""
    if len(path) > DEEPEST:
        raise InputError(f"{what}: must be nested at most {DEEPEST} deep")
    if isinstance(value, np.ndarray):
        name = checked_name("/".join(path), what)
        if name in arrays:
            raise InputError(f"{what}: must have one array at {shown(name)}")
        arrays[name] = value
        if len(arrays) > MOST_TENSORS:
            raise InputError(f"{what}: must have at most {MOST_TENSORS:,} tensors")
    elif isinstance(value, dict) and value.get(CHUNKED):
        _flatten(_from_chunks(value, what), path, arrays, what)
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            if not isinstance(key, str | int):
                raise InputError(f"{what}: keys must be text or numbers; got {shown(key)}")
            _flatten(each, (*path, str(key)), arrays, what)


def _from_chunks(value: dict[Any, Any], what: str) -> np.ndarray:
    """An array of its chunks, which lie one after the other in C order."""
    shape, chunks = value.get("shape"), value.get("chunks")
    if not isinstance(shape, dict) or not isinstance(chunks, dict):
        raise InputError(f"{what}: an array in chunks must have a shape and chunks")
    sizes = checked_shape([shape.get(str(i)) for i in range(len(shape))], f"{what}: an array in chunks")
    parts = [chunks.get(str(i)) for i in range(len(chunks))]
    flat = [part for part in parts if isinstance(part, np.ndarray) and part.ndim == 1]
    if not flat or len(flat) != len(parts):
        raise InputError(f"{what}: chunks must be arrays of one dimension, numbered from 0")
    whole = np.concatenate(flat)
    if checked_bytes(sizes, whole.dtype, whole.nbytes, f"{what}: an array in chunks") != whole.nbytes:
        raise InputError(f"{what}: chunks must hold as many numbers as their shape says; got {whole.size:,}")
    return whole.reshape(sizes)


def _write(tree: Arrays, file: BinaryIO) -> None:
    """Write a tree, one array at a time."""
    msgpack = needed("msgpack", "writing .msgpack")
    nested: dict[str, Any] = {}
    for path, value in tree.items():
        *parents, leaf = path.split("/")
        place = nested
        for name in parents:
            place = place.setdefault(name, {})
        place[leaf] = value
    _pack(msgpack.Packer(use_bin_type=True), nested, file)


def _pack(packer: Any, value: Any, file: BinaryIO) -> None:
    """Write a value as flax does; an array's numbers do not pass through msgpack's packer."""
    if isinstance(value, np.ndarray) and value.nbytes > LARGEST:
        each = LARGEST // value.itemsize
        flat = contiguous(value).reshape(-1)
        chunks = {str(i): flat[start : start + each] for i, start in enumerate(range(0, flat.size, each))}
        shape = {str(i): int(size) for i, size in enumerate(value.shape)}
        _pack(packer, {CHUNKED: True, "shape": shape, "chunks": chunks}, file)
    elif isinstance(value, np.ndarray):
        head = packer.pack([list(map(int, value.shape)), value.dtype.name])
        # An array of three where there are two: the numbers follow, written without a copy.
        inner = b"\x93" + head[1:] + struct.pack(">BI", BIN_32, value.nbytes)
        file.write(struct.pack(">BIb", EXT_32, len(inner) + value.nbytes, ARRAY) + inner)
        for piece in pieces(value):
            file.write(piece)
    elif isinstance(value, dict):
        file.write(packer.pack_map_header(len(value)))
        for key, each in value.items():
            file.write(packer.pack(key))
            _pack(packer, each, file)
    else:
        file.write(packer.pack(value))
