"""Reading and writing safetensors files: checked on the way in, whole or not at all on the way out."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save

from common.errors import InputError

_UMASK_READ = threading.Lock()


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


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary name beside ``path`` and rename it, so that the file is whole or not there.

    Raises
    ------
    InputError
        If the folder or the file cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        raise InputError(f"{path}: must be in a folder that can be written; got: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it; so one thread at a time."""
    with _UMASK_READ:
        current = os.umask(0)
        os.umask(current)
        return current


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
