"""ONNX's protobuf without its large fields: tensors' raw data is read where it lies, and written without a copy.

Wire format: protobuf.dev/programming-guides/encoding. Of a ModelProto field 7 is its graph, of a GraphProto 5 are its
initialisers, of a TensorProto 9 is its raw data (onnx/onnx.proto). Everything else is left to onnx's own parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from common.checkpoints.blocks import pieces
from common.errors import InputError

GRAPH, INITIALISER, RAW_DATA = 7, 5, 9
"""Numbers of the fields that lead from a model to a tensor's raw data."""
VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5
"""Wire types."""
FIXED_SIZES = {FIXED_64: 8, FIXED_32: 4}
"""Bytes of the values that have a fixed size."""
LONGEST_VARINT = 10
"""Bytes of the longest varint."""
MOST_FIELDS = 1_000_000
"""Fields of a model, its graph and its initialisers; a model of 100,000 nodes and as many tensors has 600,000."""
LARGEST = 2**31 - 1
"""Bytes of a protobuf message."""
Parts = Callable[[], Iterable[np.ndarray]]
"""Makes the arrays that lie one after the other in a tensor's raw data, when it is written."""


@dataclass
class RawData:
    """A model's bytes without its initialisers' raw data, ``slim``, and that data by the initialiser's number."""

    content: np.ndarray
    what: str
    parts: list[bytes] = field(default_factory=list)
    raw: dict[int, np.ndarray] = field(default_factory=dict)
    initialisers: int = 0
    fields: int = 0

    @property
    def slim(self) -> bytes:
        """What is left of the model, for onnx's parser."""
        return b"".join(self.parts)

    def message(self, start: int, end: int, inner: tuple[int, ...]) -> list[bytes]:
        """A message's fields but for raw data; ``inner`` are the fields that lead there, each in the one before."""
        parts: list[bytes] = []
        for number, wire, head, place, stop in self._fields(start, end):
            if wire == BYTES and inner and number == inner[0]:
                if len(inner) > 1:
                    own = b"".join(self.message(place, stop, inner[1:]))
                    parts += [_key(number, BYTES), _varint(len(own)), own]
                    self.initialisers += number == INITIALISER
                else:
                    self.raw[self.initialisers] = self.content[place:stop]
            else:
                parts.append(self.content[head:stop].tobytes())
        return parts

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Each field's number and wire type, and where its key, its value and what follows begin."""
        place = start
        while place < end:
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise InputError(f"{self.what}: must have at most {MOST_FIELDS:,} fields")
            head = place
            key, place = self._number(place, end)
            wire, size = key & 7, 0
            if wire == VARINT:
                stop = self._number(place, end)[1]
            elif wire == BYTES:
                size, place = self._number(place, end)
                stop = place + size
            elif wire in FIXED_SIZES:
                stop = place + FIXED_SIZES[wire]
            else:
                raise InputError(f"{self.what}: must be an ONNX model; got the wire type {wire}")
            if stop > end:
                raise InputError(f"{self.what}: must be a whole ONNX model; it ends before its fields do")
            yield key >> 3, wire, head, place, stop
            place = stop

    def _number(self, place: int, end: int) -> tuple[int, int]:
        """A varint, and where it ends."""
        value = 0
        for shift, byte in enumerate(self.content[place : min(end, place + LONGEST_VARINT)].tolist()):
            value |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:
                return value, place + shift + 1
        raise InputError(f"{self.what}: must be a whole ONNX model; it ends in the middle of a number")


def split(content: np.ndarray, what: str) -> RawData:
    """A model without its initialisers' raw data, and that data where it lies; an ``InputError`` where it is none."""
    model = RawData(content, what)
    model.parts = model.message(0, content.size, (GRAPH, INITIALISER, RAW_DATA))
    return model


def write_model(model: Any, tensors: Iterable[tuple[Any, int, Parts]], file: BinaryIO) -> None:
    """Write a model without initialisers and, as those, tensors without raw data, each with the number of bytes of its
    raw data and what makes the arrays that it is made of.

    Raises
    ------
    InputError
        If it has more bytes than a message may have.
    """
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    heads = []
    for tensor, size, parts in tensors:
        head = tensor.SerializeToString() + _key(RAW_DATA, BYTES) + _varint(size)
        heads.append((_key(INITIALISER, BYTES) + _varint(len(head) + size) + head, size, parts))
    total = len(graph) + sum(len(head) + size for head, size, _ in heads)
    start = model.SerializeToString() + _key(GRAPH, BYTES) + _varint(total)
    if len(start) + total > LARGEST:
        raise InputError("an ONNX model without other files must have less than 2 GiB")
    file.write(start + graph)
    for head, _, parts in heads:
        file.write(head)
        for array in parts():
            for piece in pieces(array):
                file.write(piece)


def _key(number: int, wire: int) -> bytes:
    """A field's key."""
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    """A number, seven bits in a byte, the lowest first."""
    septets = bytearray()
    while value > 0x7F:
        septets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*septets, value])
