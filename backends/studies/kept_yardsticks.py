"""Yardsticks kept on disk: the reference and its plain loops are run once for a case, not once for every command.

They follow from the case, the precision and the sources of ``common`` alone, which no framework is a part of; so the
key of a file is a hash of these, of what NumPy computes with, and of the machine. A file says what it is of: one
that is damaged, or of anything else, is computed and written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from backends.interface.kept_files import keep, make_room, read_kept
from backends.pool.environments import ROOT, tox_folder
from common.case import Case
from common.judging.precision import DTYPES, numpy_dtype, rounded_case
from common.judging.yardstick import Yardstick, yardstick
from common.reference import Arrays

FOLDER = "yardsticks"
"""The folder's name among tox's environments, so that it goes when these go."""
MOST_BYTES = 2**28
"""Bytes that are left in the folder when one is written; the built-in cases' take two fifths of it."""
BLAS_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
"""The environment variables by which a BLAS shares out and orders its sums."""
PARTS = ("truth", "plain", "spread", "ambiguity")
"""The groups of tensors that a yardstick consists of, besides its case."""


def kept_folder() -> Path | None:
    """Where yardsticks are kept: beside tox's environments, or nowhere where there are none."""
    return tox_folder() / FOLDER if tox_folder().is_dir() else None


class KeptYardsticks:
    """Gives yardsticks from a folder, and has those computed and put there that it lacks.

    Parameters
    ----------
    compute
        ``Pool.compute``.
    folder
        What ``kept_folder`` says.
    """

    def __init__(self, compute: Callable[..., Any], folder: Path | None) -> None:
        self._compute, self._folder = compute, folder

    def compute(self, timeout_seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``; raises as ``Pool.compute`` does. What is no yardstick is always computed."""
        if self._folder is None or function is not yardstick:
            return self._compute(timeout_seconds, function, *arguments)
        case, dtype, _ = arguments
        key = key_of(*arguments)
        path = self._folder / key[:32]
        groups = read_groups(path, key)
        if groups is not None:
            return Yardstick(rounded_case(case, dtype), dtype, **groups)
        yard = self._compute(timeout_seconds, function, *arguments)
        write_yardstick(path, key, yard)
        return yard


def key_of(case: Case, dtype: str, tf32: bool) -> str:
    """A hash of all that a yardstick follows from, hexadecimal.

    The case's own hash will not do: that of a file is kept when something of the case is left out.
    """
    content = hashlib.sha256(replace(case, file_sha256=None).as_bytes()).hexdigest()
    return hashlib.sha256(json.dumps([content, dtype, tf32, surroundings()]).encode()).hexdigest()


@cache
def surroundings() -> dict[str, Any]:
    """What a yardstick follows from besides its case: our sources, and what NumPy's numbers depend on."""
    return {
        "sources": _sources(),
        "versions": [sys.version, np.__version__, ml_dtypes.__version__],
        "numpy": _numpy_build(),
        "processor": [platform.machine(), *_processor_names()],
        "variables": {name: os.environ.get(name) for name in BLAS_VARIABLES},
    }


def _sources() -> str:
    """A hash of the names and contents of all of ``common`` that is code, or a table that code reads."""
    digest = hashlib.sha256()
    for file in sorted((ROOT / "common").rglob("*")):
        if file.suffix in (".py", ".json"):
            content = file.read_bytes()
            digest.update(f"{file.relative_to(ROOT)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _numpy_build() -> Any:
    """What NumPy is built with, its BLAS, and which of the processor's instructions it uses; NumPy before 1.25 prints
    it alone.
    """
    with contextlib.suppress(TypeError):
        return np.show_config(mode="dicts")
    return None


def _processor_names() -> list[str]:
    """The names of the machine's processors, by which a BLAS chooses its kernels; none where the system has no such
    file.
    """
    with contextlib.suppress(OSError):
        return sorted(set(re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)))
    return []


def write_yardstick(path: Path, key: str, yard: Yardstick) -> None:
    """Keep a yardstick's tensors, in the place of those unused for longest where there is no room."""
    groups = {part: getattr(yard, part) for part in PARTS}
    arrays = [(part, name, value) for part, group in groups.items() for name, value in group.items()]
    listed = [[part, name, value.dtype.name, value.shape] for part, name, value in arrays]
    head = json.dumps({"key": key, "arrays": listed}).encode()
    body = b"\n".join([head, b"".join(value.tobytes() for _, _, value in arrays)])
    make_room(path.parent, MOST_BYTES - len(body))
    keep(path, body)


def read_groups(path: Path, key: str) -> dict[str, Arrays] | None:
    """The groups of tensors in a file; None where there is none, or not a whole one of this key."""
    content = read_kept(path)
    if content is None:
        return None
    end = content.index(b"\n")
    head = json.loads(content[:end])
    if head["key"] != key:
        return None
    groups: dict[str, Arrays] = {part: {} for part in PARTS}
    for part, name, value in _arrays(head["arrays"], content, end + 1):
        groups[part][name] = value
    return groups


def _arrays(listed: list[Any], content: bytes, start: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """Each array of a file with its group and name."""
    for part, name, dtype_name, shape in listed:
        dtype = numpy_dtype(dtype_name) if dtype_name in DTYPES else np.dtype(dtype_name)
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(content, dtype, count, start).copy()  # aligned, and free to be written
        yield part, name, flat.reshape(shape)
        start += count * dtype.itemsize
