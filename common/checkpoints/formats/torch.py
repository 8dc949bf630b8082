"""torch's files: what ``torch.save`` writes of a state_dict, as a zip archive or, before 1.6, as pickles in a row.

Layout of both: torch/serialization.py of torch 2.13; ``data.pkl`` names storages, ``data/<key>`` are their bytes.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.containers.archive import Archive, stored_entry
from common.checkpoints.containers.pickled import STORAGES, Storage, StoredTensor, unpickled
from common.checkpoints.contents import Contents
from common.checkpoints.formats.state_dict import contents_of, tensors_of
from common.checkpoints.limits import (
    DEEPEST,
    LONGEST_NAME,
    MOST_HEADER,
    array_in,
    checked_bytes,
    checked_count,
    checked_name,
    one_sentence,
    opened,
)
from common.errors import InputError

ZIP = b"PK\x03\x04"
"""The first bytes of a zip archive."""
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The first two pickles of a file from before torch 1.6."""
MODELS = ("state_dict", "model_state_dict", "model", "module")
"""The names under which training programs put a model's state_dict beside an optimizer's."""
ROOT = "archive"
"""The folder in an archive that a written file's entries lie in."""
WHAT = "a file of torch.save"
"""What a file must be, in an error."""
MOST_VALUES = 100_000
"""Numbers, texts and tensors of a state_dict and of what it lies in."""


def read(path: Path) -> Contents:
    """The layers of a state_dict; an ``InputError`` says what is wrong with the file."""
    content = opened(path)
    with one_sentence(path, WHAT):
        try:
            saved, storage = (_zipped if bytes(content[:4]) == ZIP else _legacy)(path, content)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        state, left = _state(saved, path)
        tensors: dict[str, np.ndarray] = {}
        for name, tensor in _tensors_in(state):
            tensors[checked_name(name, str(path))] = _array(tensor, storage, f"{path}: {name[:LONGEST_NAME]}")
            checked_count(len(tensors), str(path))
    contents = contents_of(tensors, "torch", str(path))
    return Contents(contents.format, contents.layers, (*contents.notes, *left))


def write(contents: Contents, file: BinaryIO) -> None:
    """Write a state_dict that ``torch.load`` reads, with ``weights_only=True`` too."""
    tensors = tensors_of(contents)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{ROOT}/data.pkl", _pickle(tensors))
        archive.writestr(f"{ROOT}/byteorder", "little")
        for number, value in enumerate(tensors.values()):
            stored_entry(archive, f"{ROOT}/data/{number}", value)
        archive.writestr(f"{ROOT}/version", "3\n")


def _zipped(path: Path, content: np.ndarray) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """The object in an archive, and what gives a storage's numbers where they lie."""
    archive = Archive(path, content)
    pickles = [name for name in archive.names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError(f"must be {WHAT}, with one data.pkl; got {len(pickles)} of them")
    root = pickles[0].removesuffix("/data.pkl")
    order = f"{root}/byteorder"
    if order in archive.names and archive.small(order) != b"little":
        raise InputError("must be little-endian; got another byte order")
    saved = unpickled(archive.small(pickles[0]))

    def storage(each: Storage) -> np.ndarray:
        entry = archive.stored(f"{root}/data/{each.key}")
        return array_in(entry, 0, each.dtype, (each.count,), f"the storage {each.key}")

    return saved, storage


def _legacy(path: Path, content: np.ndarray) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    """The object in a file from before torch 1.6, and what gives a storage's numbers where they lie."""
    stream = io.BytesIO(content[: min(content.size, MOST_HEADER)].tobytes())
    try:
        magic = unpickled(stream)
    except InputError:
        magic = None
    if magic != MAGIC:
        raise InputError(f"must be {WHAT}, a zip archive or the pickles that torch wrote before 1.6; got neither")
    if unpickled(stream) != PROTOCOL:
        raise InputError(f"must have torch's protocol {PROTOCOL}")
    system, saved, keys = unpickled(stream), unpickled(stream), unpickled(stream)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise InputError("must be little-endian; got another byte order")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InputError("must have a list of its storages' keys")
    storages: dict[str, Storage] = {}
    _collect(saved, storages)
    places: dict[str, np.ndarray] = {}
    start = stream.tell()
    for key in keys:
        if key not in storages:
            raise InputError(f"must use each of its storages; got {key[:20]!r}, which no tensor names")
        if start + 8 > content.size:
            raise InputError("must be whole; it ends before its storages do")
        (count,) = struct.unpack("<q", content[start : start + 8].tobytes())
        if count != storages[key].count:
            raise InputError(f"the storage {key[:20]!r} must have {storages[key].count:,} numbers; got {count:,}")
        places[key] = array_in(content, start + 8, storages[key].dtype, (count,), f"the storage {key[:20]!r}")
        start += 8 + places[key].nbytes
    return saved, lambda each: places[each.key]


def _collect(saved: Any, storages: dict[str, Storage]) -> None:
    """Every storage that tensors name, by key."""
    for _, tensor in _tensors_in(saved):
        storages[tensor.storage.key] = tensor.storage


def _tensors_in(saved: Any) -> Iterator[tuple[str, StoredTensor]]:
    """Every tensor with the names of all that it lies in, joined by dots; other values are passed by.

    A value may lie in several places, and even in itself: how deep this goes, and how far, is bounded.
    """
    waiting: list[tuple[str, Any, int]] = [("", saved, 0)]
    seen = 0
    while waiting:
        name, value, depth = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or depth > DEEPEST:
            raise InputError(
                f"a state_dict must be nested at most {DEEPEST} deep and have at most {MOST_VALUES:,} values"
            )
        if isinstance(value, StoredTensor):
            yield name, value
        elif isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            inner = [(f"{name}.{key}" if name else str(key), each, depth + 1) for key, each in items]
            waiting += reversed(inner)


def _state(saved: Any, path: Path) -> tuple[Any, list[str]]:
    """A model's state_dict where it lies beside other things, and a sentence on what is left."""
    if isinstance(saved, dict):
        for name in MODELS:
            inner = saved.get(name)
            if isinstance(inner, dict) and any(isinstance(value, StoredTensor) for value in inner.values()):
                others = ", ".join(str(key)[:40] for key in saved if key != name)
                return inner, [f"read from {name!r}; beside it, and not read: {others}"] if others else []
    if not isinstance(saved, dict):
        raise InputError(f"{path}: must hold a state_dict; got a {type(saved).__name__}")
    return saved, []


def _array(tensor: StoredTensor, storage: Callable[[Storage], np.ndarray], what: str) -> np.ndarray:
    """A tensor as a view of its storage, which it must lie in and not be larger than."""
    numbers = storage(tensor.storage)
    itemsize = tensor.storage.dtype.itemsize
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, tensor.storage.dtype)
    checked_bytes(tensor.shape, tensor.storage.dtype, numbers.nbytes, what)
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if last >= numbers.size:
        raise InputError(f"{what} must lie in its storage of {numbers.size:,} numbers; it ends at {last + 1:,}")
    strides = tuple(step * itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)


def _pickle(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The pickle (protocol 2) of an OrderedDict of tensors, each the whole of a storage of its own.

    Opcodes: Lib/pickletools.py. ``_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)``.
    """
    names = {dtype: name for name, dtype in STORAGES.items()}
    out = io.BytesIO()
    out.write(b"\x80\x02ccollections\nOrderedDict\n)R(")
    for number, (name, value) in enumerate(tensors.items()):
        if value.dtype not in names:
            raise InputError(f"{name} must have a dtype that torch has; got {value.dtype}")
        strides = [step // value.itemsize for step in _contiguous(value)]
        out.write(_text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((")
        module, _, kind = names[value.dtype].partition(" ")
        out.write(_text("storage") + f"c{module}\n{kind}\n".encode())
        out.write(_text(str(number)) + _text("cpu") + _number(value.size) + b"tQ" + _number(0))
        out.write(_tuple(value.shape) + _tuple(strides) + b"\x89ccollections\nOrderedDict\n)RtR")
    out.write(b"u.")
    return out.getvalue()


def _contiguous(value: np.ndarray) -> tuple[int, ...]:
    """The strides in bytes that an array of this shape has in C order."""
    steps, step = [], value.itemsize
    for size in reversed(value.shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))


def _text(value: str) -> bytes:
    """A text as ``pickle`` writes it, without a memo."""
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def _number(value: int) -> bytes:
    """A whole number as ``pickle`` writes it, without its frame."""
    return pickle.dumps(value, protocol=2)[2:-1]


def _tuple(values: Any) -> bytes:
    """Whole numbers as a pickled tuple."""
    return b"(" + b"".join(_number(int(each)) for each in values) + b"t"
