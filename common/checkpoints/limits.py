"""What a file may ask for before anything is allocated: sizes are held against the file's own length."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from common.errors import InputError, shown

MOST_HEADER = 64 * 2**20
"""Bytes of a header, a config or a pickle without its tensors."""
LONGEST_NAME = 1024
"""Characters of a tensor's name at most."""
MOST_TENSORS = 100_000
"""Tensors of a file at most."""
MOST_DIMENSIONS = 32
"""Dimensions of a tensor at most."""
DEEPEST = 64
"""Levels of a tree."""
DTYPES: dict[str, np.dtype] = {
    **{
        name: np.dtype(name)
        for name in (
            *("float16", "float32", "float64", "int8", "int16", "int32", "int64"),
            *("uint8", "uint16", "uint32", "uint64", "bool"),
        )
    },
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
"""The dtypes that are read, by the suite's names of them."""
FLOATS = ("float16", "bfloat16", "float32", "float64")
"""The dtypes of weights."""


def needed(package: str, what: str) -> ModuleType:
    """A package of the extra ``convert``; an ``InputError`` that says what to install where it is not there."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(f"{what} needs the package {package}: pip install -e '.[convert]'") from None


def checked_name(name: Any, what: str) -> str:
    """A tensor's name, if it can be one."""
    if not isinstance(name, str):
        raise InputError(f"{what}: names must be text; got {shown(name)}")
    if len(name) > LONGEST_NAME:
        raise InputError(
            f"{what}: names must have at most {LONGEST_NAME:,} characters; got {len(name):,}, {shown(name)}"
        )
    if not name.isprintable():
        raise InputError(f"{what}: names must be printable; got {shown(name)}")
    return name


def checked_count(count: int, what: str) -> None:
    """Raise an ``InputError`` for more tensors than any model has."""
    if not 0 <= count <= MOST_TENSORS:
        raise InputError(f"{what}: must have at most {MOST_TENSORS:,} tensors; got {count:,}")


def checked_dtype(name: Any, what: str) -> np.dtype:
    """The NumPy dtype of a name."""
    if not isinstance(name, str) or name not in DTYPES:
        raise InputError(f"{what} must have one of the dtypes {', '.join(DTYPES)}; got {shown(name)}")
    return DTYPES[name]


def checked_shape(shape: Sequence[Any], what: str) -> tuple[int, ...]:
    """A shape of whole numbers, none negative, and few."""
    sizes = [*shape]
    if len(sizes) > MOST_DIMENSIONS:
        raise InputError(f"{what} must have at most {MOST_DIMENSIONS} dimensions; got {len(sizes)}")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 <= size < 2**62:
            raise InputError(f"{what} must have a shape of whole numbers; got {shown(sizes)}")
    return tuple(int(size) for size in sizes)


def num_bytes(shape: Iterable[int], dtype: np.dtype) -> int:
    """Bytes of an array, in whole numbers that do not overflow."""
    total = dtype.itemsize
    for size in shape:
        total *= size
    return total


def checked_bytes(shape: Sequence[int], dtype: np.dtype, there: int, what: str) -> int:
    """How many bytes an array has, if the file has as many."""
    wanted = num_bytes(shape, dtype)
    if wanted > there:
        raise InputError(f"{what} must lie within its file: {dtype} {tuple(shape)} has {wanted:,} bytes; got {there:,}")
    return wanted


def opened(path: Path) -> np.memmap | np.ndarray:
    """A file's bytes, mapped and not read; an ``InputError`` where there is none."""
    try:
        if path.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.memmap(path, np.uint8, mode="r")
    except FileNotFoundError:
        raise InputError(f"{path}: must be a checkpoint; there is no such file") from None
    except (OSError, ValueError) as error:
        reason = "a folder" if path.is_dir() else getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: must be a file that can be read; got: {reason}") from None


def array_in(content: np.ndarray, start: int, dtype: np.dtype, shape: Sequence[int], what: str) -> np.ndarray:
    """An array that lies in a file's bytes, C order and little-endian, without a copy."""
    size = checked_bytes(shape, dtype, content.size - start, what)
    return np.asarray(content[start : start + size]).view(dtype).reshape(shape)


@contextmanager
def one_sentence(path: Path, what: str) -> Iterator[None]:
    """Make whatever a library raises about a file one ``InputError``; ours pass."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: must fit into this machine's memory") from None
    except RecursionError:
        raise InputError(f"{path}: must be {what}; got one that is nested too deep") from None
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: must be {what}; got: {shown(first, 160)}") from None
