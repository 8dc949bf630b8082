"""Reading safetensors files, checked, and what is written into them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from common.errors import InputError
from common.output import write_bytes as write_bytes  # what most who use this module do next


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every tensor of a safetensors file and its metadata.

    Raises
    ------
    InputError
        If the file cannot be read or is not safetensors (truncated, a header that claims more than there is, …).
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file alone; raises as ``read`` does."""
    with _opened(path) as file:
        return file.metadata() or {}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: must be a safetensors file; there is no such file") from None
    except (OSError, safetensors.SafetensorError, TypeError, ValueError, AttributeError) as error:
        reason = "a folder" if path.is_dir() else _first_line(error)
        raise InputError(f"{path}: must be a readable safetensors file; got: {reason}") from None


def as_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file's bytes."""
    return save({name: np.require(value, requirements="C") for name, value in tensors.items()}, metadata=dict(metadata))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
