"""HDF5 files: every dataset where it lies, by its path, and the attributes that Keras writes; links lead nowhere.

Group ``/`` to the leaves by hard links alone: soft and external ones, data in other files, virtual datasets and groups
that hold themselves are refused.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.blocks import BLOCK, contiguous, row_blocks
from common.checkpoints.contents import Arrays
from common.checkpoints.limits import (
    DEEPEST,
    DTYPES,
    MOST_TENSORS,
    array_in,
    checked_bytes,
    checked_name,
    checked_shape,
    needed,
)
from common.errors import InputError, shown

MOST_SQUEEZED = 1000
"""How many times larger than in its file compressed data may be."""
LARGEST_ATTRIBUTE = 2**26
"""Bytes of an attribute at most."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first bytes of an HDF5 file."""


class Hdf5:
    """What an HDF5 file holds: ``arrays`` by path, ``attributes`` of each group by its path, both without the ``/``.

    With ``root_alone``, which tells what kind of file it is, what is in the root, and of the groups in it their
    attributes.
    """

    def __init__(self, content: np.ndarray, what: str, root_alone: bool = False) -> None:
        h5py = needed("h5py", what)
        content = content.view(np.ndarray)  # a view of a part of a memmap takes five times as long
        if bytes(content[:8]) != SIGNATURE:
            raise InputError(f"{what}: must be an HDF5 file; its first bytes are not those of one")
        self.arrays: Arrays = {}
        self.attributes: dict[str, dict[str, Any]] = {}
        self._content, self._what, self._h5py = content, what, h5py
        self._groups: set[Any] = set()
        self._root_alone = root_alone
        try:
            with h5py.File(_Window(content), "r") as file:
                self._group(file, "", 0)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"{what}: must be a whole HDF5 file; got: {shown(first, 120)}") from None

    def _group(self, group: Any, path: str, depth: int) -> None:
        """Take a group's attributes, its datasets of numbers, and the groups in it."""
        address = self._h5py.h5o.get_info(group.id).addr
        if depth > DEEPEST or address in self._groups:
            raise InputError(f"{self._what}: groups must be a tree of at most {DEEPEST} levels; got {shown(path)}")
        self._groups.add(address)
        self.attributes[path] = {name: self._attribute(group, name) for name in group.attrs}
        if self._root_alone and depth:
            return
        for name in group:
            inner = f"{path}/{checked_name(name, self._what)}" if path else checked_name(name, self._what)
            if group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != self._h5py.h5l.TYPE_HARD:
                raise InputError(f"{self._what}: must hold its data itself; got the link {shown(inner)} to elsewhere")
            entry = group[name]
            if isinstance(entry, self._h5py.Group):
                self._group(entry, inner, depth + 1)
            elif isinstance(entry, self._h5py.Dataset) and (entry.dtype.kind in "fiub" or entry.dtype.name in DTYPES):
                self.arrays[inner] = self._array(entry, inner)
            if len(self.arrays) + len(self._groups) > MOST_TENSORS:
                raise InputError(f"{self._what}: must have at most {MOST_TENSORS:,} datasets and groups")

    def _attribute(self, group: Any, name: str) -> Any:
        """An attribute's value, which is held against its size before it is read."""
        identity = group.attrs.get_id(name)
        count = math.prod(identity.shape or ())
        if count == 0:
            return np.zeros(0)
        size = identity.dtype.itemsize * count
        if size > LARGEST_ATTRIBUTE or count > MOST_TENSORS:
            raise InputError(
                f"{self._what}: attributes must have at most {LARGEST_ATTRIBUTE:,} bytes; got {name[:40]!r}"
            )
        return group.attrs[name]

    def _array(self, dataset: Any, path: str) -> np.ndarray:
        """A dataset, where it lies in the file if it is of one piece, and otherwise read."""
        what = f"{self._what}: {path}"
        if dataset.is_virtual or dataset.external:
            raise InputError(f"{what} must hold its data itself; got a dataset whose data lies in other files")
        shape, dtype = checked_shape(dataset.shape or (), what), dataset.dtype.newbyteorder("=")
        if dtype.name not in DTYPES:
            raise InputError(f"{what} must have one of the dtypes {', '.join(DTYPES)}; got {shown(dtype.name)}")
        if 0 in shape:
            return np.zeros(shape, dtype)
        stored = dataset.id.get_storage_size()
        offset = dataset.id.get_offset() if dataset.chunks is None else None
        if offset is not None and dataset.dtype.isnative:
            return array_in(self._content, offset, dtype, shape, what)
        squeezed = MOST_SQUEEZED if dataset.chunks is not None and dataset.compression else 1
        checked_bytes(shape, dtype, min(stored, self._content.size) * squeezed, what)
        return np.asarray(dataset[()]).astype(dtype, copy=False)

    def text(self, path: str, name: str) -> str | None:
        """An attribute that is text, or None."""
        value = self.attributes.get(path, {}).get(name)
        value = value.decode(errors="replace") if isinstance(value, bytes) else value
        return value if isinstance(value, str) else None

    def names(self, path: str, name: str) -> list[str] | None:
        """An attribute that is a list of names, also where it is split into ``<name>0``, ``<name>1`` …; or None."""
        attributes = self.attributes.get(path, {})
        chunks = [attributes[name]] if name in attributes else []
        while f"{name}{len(chunks)}" in attributes and name not in attributes:
            chunks.append(attributes[f"{name}{len(chunks)}"])
        if not chunks:
            return None
        listed = []
        for value in (each for chunk in chunks for each in np.asarray(chunk).ravel()):
            text = value.decode(errors="replace") if isinstance(value, bytes) else value
            listed.append(checked_name(text, f"{self._what}: {name}"))
        return listed


class _Window(io.RawIOBase):
    """A file's bytes, or a part of them, as a stream that HDF5 can read."""

    def __init__(self, content: np.ndarray) -> None:
        super().__init__()
        self._content, self._place = content.data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (0, self._place, self._content.nbytes)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        part = self._content[self._place : self._place + len(buffer)]
        buffer[: part.nbytes] = part
        self._place += part.nbytes
        return part.nbytes


def write_hdf5(file: BinaryIO, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write datasets by path, and attributes of groups by theirs; texts, or lists of them as fixed-width bytes."""
    h5py = needed("h5py", "writing HDF5")
    with h5py.File(file, "w") as target:
        for path, named in attributes.items():
            group = target.require_group(path) if path else target
            for name, value in named.items():
                group.attrs[name] = np.array([each.encode() for each in value]) if isinstance(value, list) else value
        groups = {"": target}
        for path, value in arrays.items():
            outer, _, name = path.rpartition("/")
            if outer not in groups:
                groups[outer] = target.require_group(outer)
            if value.dtype.name not in DTYPES or value.dtype.name == "bfloat16":
                raise InputError(f"{path} must have a dtype that HDF5 has; got {value.dtype}")
            if value.flags.c_contiguous or value.ndim != 2 or value.nbytes <= BLOCK:
                groups[outer].create_dataset(name, data=contiguous(value))
                continue
            dataset = groups[outer].create_dataset(name, value.shape, value.dtype)
            for rows, part in row_blocks(value):
                dataset[rows] = part
