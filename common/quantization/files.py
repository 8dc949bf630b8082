"""Quantized checkpoints: a trained model's int8 kernels with their scales, and what turns ids into words and labels.

One safetensors file: each kernel's whole numbers under its canonical name, int8, and its rows' scales as
``<name>.scale``, float32; every other parameter in float32 where that loses nothing, which it does not where training
was in float32, else in float64. The metadata key ``birnn.quantized`` is a JSON object: the version of this format, the
kind of quantization, and the header of the checkpoint that was quantized (``common.tasks.checkpoint``). There is no
optimizer's state: nothing is trained from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError, shown
from common.models.specification import Arrays
from common.quantization.kernels import INT8, LARGEST, QuantizedKernel, dequantize, is_kernel, quantized_kernels
from common.tasks.checkpoint import (
    QUANTIZED_KEY,
    Checkpoint,
    checked_checkpoint,
    header_json,
    read_checkpoint,
)
from common.tensorfile import as_bytes, json_metadata, read, read_metadata, write_bytes

VERSION = 1
"""The version of the format."""
SCALE = ".scale"
"""The end of the name of a kernel's scales."""


class Stored(NamedTuple):
    """A checkpoint as it is computed with, and the kind of quantization that its file has, None where it has none."""

    checkpoint: Checkpoint
    kind: str | None


def write_quantized(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint with its kernels in int8, whole or not at all.

    Raises
    ------
    InputError
        If a kernel cannot be quantized, or the file not be written.
    """
    kernels = quantized_kernels(checkpoint.weights)
    tensors: Arrays = {}
    for name, value in checkpoint.weights.items():
        if name in kernels:
            tensors |= {name: kernels[name].numbers, f"{name}{SCALE}": kernels[name].scales}
        else:
            narrow = value.astype(np.float32)
            tensors[name] = narrow if np.array_equal(narrow, value) else value
    content = {"version": VERSION, "kind": INT8, "checkpoint": json.loads(header_json(checkpoint.header))}
    write_bytes(path, as_bytes(tensors, {QUANTIZED_KEY: json.dumps(content)}))


def read_trained(path: Path) -> Stored:
    """Read and check a checkpoint of ``birnn train``, or a quantized one, whose kernels come back in float64.

    Raises
    ------
    InputError
        As ``common.tasks.checkpoint.read_checkpoint``; or if a quantized one is of a newer version or another kind, or
        its kernels and scales do not go together.
    """
    if QUANTIZED_KEY not in read_metadata(path):
        return Stored(read_checkpoint(path), None)
    tensors, metadata = read(path)
    content = json_metadata(path, metadata, QUANTIZED_KEY)
    if not isinstance(content, dict) or content.keys() != {"version", "kind", "checkpoint"}:
        raise InputError(f"{path}: {QUANTIZED_KEY} must have version, kind and checkpoint; got {shown(content)}")
    if content["version"] != VERSION:
        got = shown(content["version"])
        raise InputError(f"{path}: {QUANTIZED_KEY} must have version {VERSION}; got {got}: upgrade birnn")
    if content["kind"] != INT8:
        raise InputError(f"{path}: {QUANTIZED_KEY} must be of kind {INT8}; got {shown(content['kind'])}")
    checkpoint = checked_checkpoint(path, content["checkpoint"], _dequantized(path, tensors))
    return Stored(checkpoint, content["kind"])


def _dequantized(path: Path, tensors: Mapping[str, np.ndarray]) -> Arrays:
    """The parameters of a file in float64; an ``InputError`` where a kernel and its scales do not go together."""
    weights: Arrays = {}
    for name, value in tensors.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in tensors:
            continue
        if not is_kernel(name):
            weights[name] = value.astype(np.float64) if value.dtype == np.float32 else value
            continue
        scales = tensors.get(f"{name}{SCALE}")
        if value.dtype != np.int8 or (value.size and np.abs(value.astype(np.int16)).max() > LARGEST):
            raise InputError(f"{path}: {name} must be int8 from -{LARGEST} to {LARGEST}; it is not")
        if scales is None or scales.dtype != np.float32 or scales.shape != value.shape[:-1]:
            got = "none" if scales is None else f"{scales.dtype} {scales.shape}"
            raise InputError(f"{path}: {name}{SCALE} must be float32 {value.shape[:-1]}; got {got}")
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise InputError(f"{path}: {name}{SCALE} must be finite and not negative; it is not")
        weights[name] = dequantize(QuantizedKernel(value, scales))
    return weights
