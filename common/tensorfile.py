"""Reading safetensors files, checked, and what is written into them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from common.errors import InputError, shown
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


def json_metadata(path: Path, metadata: Mapping[str, str], key: str) -> Any:
    """What a metadata key holds as JSON.

    Raises
    ------
    InputError
        If the key is missing, or what it holds is not JSON, or is nested deeper than anything that is written here.
    """
    if key not in metadata:
        raise InputError(f"{path}: must have the metadata key {key!r}; got {shown(sorted(metadata), 200)}")
    return json_from_text(metadata[key], f"{path}: {key}")


def json_from_text(text: str, what: str) -> Any:
    """``text`` as JSON; an ``InputError`` that begins with ``what`` where it is none."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"{what} must be JSON; got arrays or objects nested too deep") from None
    except ValueError as error:
        raise InputError(f"{what} must be JSON; got {error}") from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file that is open; an ``InputError`` where it cannot be read."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: must be a safetensors file; there is no such file") from None
    except (OSError, safetensors.SafetensorError, TypeError, ValueError, AttributeError, KeyError) as error:
        reason = "a folder" if path.is_dir() else _first_line(error)
        raise InputError(f"{path}: must be a readable safetensors file; got: {reason}") from None


def as_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file's bytes."""
    return save({name: np.require(value, requirements="C") for name, value in tensors.items()}, metadata=dict(metadata))


def _first_line(error: BaseException) -> str:
    """The first line of an exception's text, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
