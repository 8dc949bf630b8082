"""What each format can hold: one table, by which layers are read, converted or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from common.checkpoints.contents import Contents
from common.checkpoints.formats import birnn, flax, keras, keras2, mxnet, onnx, safetensors, torch
from common.checkpoints.layouts import (
    CANONICAL_LAYOUT,
    GLUON_LAYOUT,
    KERAS_LAYOUT,
    LINEN_LAYOUT,
    NNX_LAYOUT,
    ONNX_LAYOUT,
    Layout,
)
from common.checkpoints.limits import FLOATS
from common.errors import InputError

NARROW = ("float16", "float32", "float64")
"""The floats of formats without bfloat16."""


@dataclass(frozen=True)
class Format:
    """One format of checkpoints.

    Parameters
    ----------
    read, write
        The functions that do it; ``write`` is given a file that is open for reading, too.
    ending
        What its files' names end with; a format without one must be asked for by name.
    what
        What the file is, in a few words.
    backend, layout
        The suite's backend whose environment loads such files, None where none does; a cell's layout in it.
    dtypes
        The floats that it holds.
    stacks
        Whether a stack of layers is one layer of its; where not, each layer of a stack has a name of its own.
    merges
        The merges that its own layer computes, or that the file holds; another one is the program's to do, or, of
        ``refused_merges``, nobody's.
    reset_before, uneven, without_bias, tensors
        Whether it holds a GRU that resets before the product, directions of different sizes, layers without biases
        (where not, as biases of zeros), and tensors of no known kind.
    write_folder
        The function that writes a folder, which a target without an ending is, where there is such a form.
    loose_merge
        Whether the merge that a file of one layer tells is what the format's own layer does, which a program may have
        left for another.
    """

    read: Callable[[Path], Contents]
    write: Callable[[Contents, BinaryIO], None]
    ending: str
    what: str
    backend: str | None
    layout: Layout
    dtypes: tuple[str, ...] = FLOATS
    stacks: bool = True
    merges: tuple[str, ...] = ("concat",)
    refused_merges: tuple[str, ...] = ("weighted",)
    reset_before: bool = False
    uneven: bool = False
    without_bias: bool = True
    tensors: bool = False
    write_folder: Callable[[Contents, Path], None] | None = None
    loose_merge: bool = False


EVERY = ("concat", "sum", "mul", "ave")
"""The merges without weights of their own."""

_TORCH = Format(
    torch.read,
    torch.write,
    ".pt",
    "a state_dict of torch.save",
    "torch",
    CANONICAL_LAYOUT,
    tensors=True,
    loose_merge=True,
)
_KERAS = Format(
    keras.read,
    keras.write,
    ".keras",
    "a model of Keras 3",
    "tensorflow",
    KERAS_LAYOUT,
    dtypes=NARROW,
    stacks=False,
    merges=EVERY,
    reset_before=True,
    uneven=True,
)
_FLAX = Format(
    flax.read_linen,
    flax.write_linen,
    "",
    "msgpack of flax.linen's variables",
    "jax",
    LINEN_LAYOUT,
    stacks=False,
    merges=(),
    uneven=True,
    without_bias=False,
    write_folder=flax.write_linen_folder,
)
_MXNET = Format(
    mxnet.read,
    mxnet.write,
    ".params",
    "Gluon's save_parameters",
    "mxnet",
    GLUON_LAYOUT,
    dtypes=NARROW,
    without_bias=False,
    loose_merge=True,
)
_ONNX = Format(
    onnx.read,
    onnx.write,
    ".onnx",
    "an ONNX graph",
    None,
    ONNX_LAYOUT,
    stacks=False,
    merges=EVERY,
    reset_before=True,
)
_BIRNN = Format(
    birnn.read,
    birnn.write,
    "",
    "birnn's exchange format",
    None,
    CANONICAL_LAYOUT,
    merges=(*EVERY, "weighted"),
    refused_merges=(),
    reset_before=True,
    uneven=True,
    tensors=True,
)

FORMATS: dict[str, Format] = {
    "torch": _TORCH,
    "safetensors": replace(
        _TORCH,
        read=safetensors.read,
        write=safetensors.write,
        ending=".safetensors",
        what="safetensors with torch's names",
    ),
    "keras": _KERAS,
    "keras-weights": replace(
        _KERAS, read=keras.read_weights, write=keras.write_weights, ending=".weights.h5", what="weights of Keras 3"
    ),
    "keras2": replace(_KERAS, read=keras2.read, write=keras2.write, ending=".h5", what="a model of Keras 2"),
    "flax-linen": _FLAX,
    "flax-nnx": replace(
        _FLAX,
        read=flax.read_nnx,
        write=flax.write_nnx,
        write_folder=flax.write_nnx_folder,
        layout=NNX_LAYOUT,
        what="msgpack of a flax.nnx state",
    ),
    "mxnet": _MXNET,
    "mxnet-prefix": replace(_MXNET, write=mxnet.write_prefixed, ending="", what="Gluon's collect_params().save"),
    "onnx": _ONNX,
    "birnn": _BIRNN,
}
"""Every format by the name that ``--to`` has for it."""


def format_for(path: Path, name: str | None) -> str:
    """The format of a target: by ``--to``, or by the ending.

    Raises
    ------
    InputError
        If neither says it.
    """
    if name is not None:
        if name not in FORMATS:
            raise InputError(f"--to must be one of {', '.join(FORMATS)}; got {name!r}")
        return name
    endings = {each.ending: key for key, each in FORMATS.items() if each.ending} | {".pth": "torch"}
    for ending in sorted(endings, key=len, reverse=True):
        if path.name.endswith(ending):
            return endings[ending]
    raise InputError(f"{path}: must have an ending of {', '.join(endings)}, or --to must say the format")
