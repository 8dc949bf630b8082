"""Orbax's folders: the tree of ``_METADATA`` and its arrays, by tensorstore, each held against the folder's size first.

Layout (orbax-checkpoint 0.12.8): ``_METADATA`` is JSON whose ``tree_metadata`` has each leaf's keys; an array is zarr
(zarr3 where the checkpoint says so) in an ocdbt store under its keys joined by dots, or in a folder of that name.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.checkpoints.blocks import contiguous
from common.checkpoints.contents import Arrays
from common.checkpoints.limits import (
    DTYPES,
    MOST_HEADER,
    checked_bytes,
    checked_count,
    checked_dtype,
    checked_name,
    checked_shape,
    needed,
    one_sentence,
)
from common.errors import InputError, shown

METADATA = "_METADATA"
"""The file with the tree of a checkpoint."""
CHECKPOINT_METADATA = "_CHECKPOINT_METADATA"
"""The file that says which of Orbax' handlers reads the checkpoint."""
HANDLER = "orbax.checkpoint._src.handlers.standard_checkpoint_handler.StandardCheckpointHandler"
"""The handler that reads what is written."""
MOST_SQUEEZED = 1000
"""How many times larger than the whole folder an array may be; arrays are compressed."""
MOST_FILES = 100_000
"""Files of a folder at most."""
OF_DICTIONARY = 2
"""The key_type of a dictionary's key."""


def tree(folder: Path) -> Arrays:
    """Every array of a folder by its path in the tree; an ``InputError`` says what is wrong with it."""
    with one_sentence(folder, "a folder of Orbax"):
        size = _size(folder)
        metadata = _json(folder / METADATA)
        leaves = metadata.get("tree_metadata") if isinstance(metadata, dict) else None
        if not isinstance(leaves, dict):
            raise InputError(f"{folder}: must have {METADATA} with tree_metadata, as Orbax writes")
        checked_count(len(leaves), str(folder))
        store = _Store(folder, bool(metadata.get("use_ocdbt", True)), bool(metadata.get("use_zarr3", False)), size)
        arrays: Arrays = {}
        for leaf in leaves.values():
            keys = [str(each["key"]) for each in leaf["key_metadata"]]
            if leaf.get("value_metadata", {}).get("value_type") in ("jax.Array", "np.ndarray"):
                arrays[checked_name("/".join(keys), str(folder))] = store.array(".".join(keys))
        return arrays


def _size(folder: Path) -> int:
    """Bytes of all files; links are refused, which may lead out of the folder."""
    total = 0
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise InputError(f"{folder}: must have at most {MOST_FILES:,} files")
        if path.is_symlink():
            raise InputError(f"{folder}: must hold its data itself; got the link {shown(path.name)}")
        total += path.stat().st_size if path.is_file() else 0
    return total


def _json(path: Path) -> Any:
    """A file's JSON, which must be small."""
    if not path.is_file() or path.stat().st_size > MOST_HEADER:
        raise InputError(f"{path}: must be there, with at most {MOST_HEADER:,} bytes")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: must be JSON; got {shown(str(error), 80)}") from None


class _Store:
    """The arrays of a folder."""

    def __init__(self, folder: Path, ocdbt: bool, zarr3: bool, size: int) -> None:
        self._tensorstore = needed("tensorstore", f"reading {folder}")
        self._folder, self._ocdbt, self._size = folder.resolve(), ocdbt, size
        self._driver, self._header = ("zarr3", "zarr.json") if zarr3 else ("zarr", ".zarray")

    def array(self, name: str) -> np.ndarray:
        """An array, whose own header is held against the folder's size before it is opened."""
        what = f"{self._folder.name}: {name[:100]}"
        store = kvstore(self._folder, name, self._ocdbt)
        content = self._tensorstore.KvStore.open(store).result().read(self._header).result().value
        if not content or len(content) > MOST_HEADER:
            raise InputError(f"{what} must have the header {self._header}; it is missing")
        header = json.loads(content)
        shape = checked_shape(header["shape"], what)
        kind = header.get("data_type") or header["dtype"]
        dtype = checked_dtype(kind if kind in DTYPES else np.dtype(kind).name, what)
        checked_bytes(shape, dtype, self._size * MOST_SQUEEZED, what)
        stored = self._tensorstore.open({"driver": self._driver, "kvstore": store}, open=True, read=True).result()
        if tuple(stored.shape) != shape:
            raise InputError(f"{what} must have the shape {shape} of its header; got {tuple(stored.shape)}")
        return np.asarray(stored.read().result()).astype(dtype, copy=False)


def kvstore(folder: Path, name: str, ocdbt: bool) -> dict[str, Any]:
    """Tensorstore's specification of where an array lies."""
    if not ocdbt:
        return {"driver": "file", "path": f"{folder}/{name}/"}
    return {"driver": "ocdbt", "base": {"driver": "file", "path": f"{folder}/"}, "path": f"{name}/"}


def write(arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write arrays by their paths as a folder, whole or not at all, in the place of one of Orbax's that is there.

    Raises
    ------
    InputError
        If it cannot be written, or there is something else.
    """
    tensorstore = needed("tensorstore", f"writing {folder}")
    if folder.exists() and not (folder / METADATA).is_file():
        raise InputError(f"{folder}: must be a folder of Orbax, or not be there")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".birnn-", suffix=".part", dir=folder.parent))
        try:
            for path, value in arrays.items():
                _write_array(tensorstore, part, path.replace("/", "."), value)
            (part / METADATA).write_text(json.dumps(_metadata(arrays)))
            (part / CHECKPOINT_METADATA).write_text(json.dumps({"item_handlers": HANDLER, "metrics": {}}))
            (part / "commit_success.txt").write_text("")
            part.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: must be a folder that can be written; got: {error.strerror or error}") from None


def _write_array(tensorstore: Any, folder: Path, name: str, value: np.ndarray) -> None:
    """Write an array as zarr in a store of the folder."""
    spec = {"driver": "zarr", "kvstore": kvstore(folder, name, ocdbt=True), "dtype": value.dtype.name}
    target = tensorstore.open({**spec, "metadata": {"shape": value.shape}}, create=True).result()
    target.write(contiguous(value)).result()


def _metadata(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The content of ``METADATA`` for arrays by their paths, whose keys are those of dictionaries."""
    leaves = {}
    for path, value in arrays.items():
        keys = path.split("/")
        leaves[str(tuple(keys))] = {
            "key_metadata": [{"key": key, "key_type": OF_DICTIONARY} for key in keys],
            "value_metadata": {
                "value_type": "np.ndarray",
                "skip_deserialize": False,
                "write_shape": list(value.shape),
            },
        }
    return {
        "tree_metadata": leaves,
        "use_ocdbt": True,
        "use_zarr3": False,
        "store_array_data_equal_to_fill_value": True,
        "custom_metadata": None,
    }
