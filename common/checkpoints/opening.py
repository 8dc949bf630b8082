"""Opening a checkpoint of any format: which one it is by its first bytes, and what is known besides what it tells."""

from __future__ import annotations

import re
from pathlib import Path

from common.checkpoints.containers.archive import Archive
from common.checkpoints.containers.hdf5 import SIGNATURE, Hdf5
from common.checkpoints.contents import Contents
from common.checkpoints.formats import flax
from common.checkpoints.formats.birnn import CHECKPOINT, WEIGHTS
from common.checkpoints.formats.mxnet import HEAD
from common.checkpoints.formats.safetensors import tensors_and_metadata
from common.checkpoints.formats.torch import ZIP
from common.checkpoints.limits import one_sentence, opened
from common.checkpoints.table import FORMATS
from common.errors import InputError

PICKLE = b"\x80"
"""The first byte of a pickle of protocol 2 or later."""


def read_checkpoint_file(path: Path, name: str | None = None) -> Contents:
    """What a checkpoint holds, by its own file alone.

    Parameters
    ----------
    path
        The file.
    name
        One of ``FORMATS``, or None: told by the first bytes.

    Raises
    ------
    InputError
        If it is no checkpoint of a known format; one sentence that names the file.
    """
    format_name = format_of(path) if name is None else name
    with one_sentence(path, FORMATS[format_name].what):
        return FORMATS[format_name].read(path)


def format_of(path: Path) -> str:
    """The format of a file, one of ``FORMATS``, by its first bytes and, where they say nothing, by its ending."""
    if path.is_dir():
        return "flax-nnx" if flax.is_nnx(path) else "flax-linen"
    content = opened(path)
    first = bytes(content[:8])
    if first.startswith(ZIP):
        with one_sentence(path, "a zip archive of torch or Keras"):
            try:
                names = Archive(path, content).names
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
        return "keras" if "config.json" in names else "torch"
    if first == SIGNATURE:
        with one_sentence(path, "an HDF5 file of Keras"):
            file = Hdf5(content, str(path), root_alone=True)
        root = file.attributes[""]
        old = "model_weights" in file.attributes or any(re.fullmatch(r"layer_names0?", name) for name in root)
        return "keras2" if old else "keras-weights"
    if first == HEAD.to_bytes(8, "little"):
        return "mxnet"
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".msgpack":
        return "flax-nnx" if flax.is_nnx(path) else "flax-linen"
    if path.suffix == ".safetensors":  # before a pickle: its length may begin with the same byte
        _, metadata = tensors_and_metadata(path)
        return "birnn" if WEIGHTS in metadata or CHECKPOINT in metadata else "safetensors"
    if first.startswith(PICKLE):
        return "torch"
    raise InputError(
        f"{path}: must be a checkpoint of a known format ({', '.join(FORMATS)}); its first bytes and ending are of none"
    )
