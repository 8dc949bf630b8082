"""safetensors: the header and the tensors where they lie, bfloat16 among them, and birnn's two kinds of such files.

Layout (safetensors 0.8): u64 length, a JSON header with dtype, shape and data_offsets of each tensor, the data.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.blocks import pieces
from common.checkpoints.contents import Arrays, Contents
from common.checkpoints.formats.state_dict import contents_of, tensors_of
from common.checkpoints.limits import (
    DTYPES,
    MOST_HEADER,
    array_in,
    checked_bytes,
    checked_count,
    checked_name,
    checked_shape,
    one_sentence,
    opened,
)
from common.errors import InputError, shown
from common.tasks.checkpoint import QUANTIZED_KEY
from common.tensorfile import json_from_text

CODES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
}
"""The suite's names of the dtypes by those that a header has."""


def read(path: Path) -> Contents:
    """The layers among tensors with PyTorch's names; an ``InputError`` says what is wrong with the file."""
    tensors, metadata = tensors_and_metadata(path)
    if QUANTIZED_KEY in metadata:
        what = "got one of birnn predict --save, in int8: take the checkpoint that it was made of"
        raise InputError(f"{path}: must be a checkpoint whose kernels are floats; {what}")
    return contents_of(tensors, "safetensors", str(path))


def write(contents: Contents, file: BinaryIO) -> None:
    """Write every tensor under PyTorch's name."""
    write_tensors(tensors_of(contents), {}, file)


def tensors_and_metadata(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Every tensor, where it lies in the file, and the metadata."""
    content = opened(path)
    with one_sentence(path, "a safetensors file"):
        header, start = _header(path, content)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise InputError(f"{path}: its metadata must be text by name")
        checked_count(len(header), str(path))
        return {name: _tensor(path, content, start, name, entry) for name, entry in header.items()}, metadata


def _header(path: Path, content: np.ndarray) -> tuple[dict[str, Any], int]:
    """The header, and where the data begins."""
    if content.size < 8:
        raise InputError(f"{path}: must be a safetensors file; got {content.size} bytes")
    (length,) = struct.unpack("<Q", content[:8].tobytes())
    if length > min(MOST_HEADER, content.size - 8):
        raise InputError(f"{path}: must be a safetensors file; its header of {length:,} bytes ends after the file")
    header = json_from_text(content[8 : 8 + length].tobytes().decode(), f"{path}: its header")
    if not isinstance(header, dict):
        raise InputError(f"{path}: its header must be a JSON object")
    return header, 8 + length


def _tensor(path: Path, content: np.ndarray, start: int, name: str, entry: Any) -> np.ndarray:
    """A tensor where it lies, if its header's entry fits the file."""
    what = f"{path}: {checked_name(name, str(path))}"
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        raise InputError(f"{what} must have dtype, shape and data_offsets")
    if entry.get("dtype") not in CODES:
        raise InputError(f"{what} must have one of the dtypes {', '.join(CODES)}; got {shown(entry.get('dtype'))}")
    dtype, shape = DTYPES[CODES[entry["dtype"]]], checked_shape(entry["shape"], what)
    offsets = checked_shape(entry.get("data_offsets") or [], what)
    if len(offsets) != 2 or offsets[1] < offsets[0]:
        raise InputError(f"{what} must have two data_offsets; got {shown(offsets)}")
    size = checked_bytes(shape, dtype, content.size - start - offsets[0], what)
    if offsets[1] - offsets[0] != size:
        raise InputError(f"{what} must have {size:,} bytes, as its shape has; its data_offsets have another number")
    return array_in(content, start + offsets[0], dtype, shape, what)


def write_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], file: BinaryIO) -> None:
    """Write a safetensors file, one tensor at a time, the widest dtypes first, as its own library does."""
    codes = {DTYPES[name]: code for code, name in CODES.items()}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, value in ordered:
        if value.dtype not in codes:
            raise InputError(f"{name} must have a dtype that safetensors has; got {value.dtype}")
        header[name] = {"dtype": codes[value.dtype], "shape": value.shape, "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for _, value in ordered:
        for piece in pieces(value):
            file.write(piece)
