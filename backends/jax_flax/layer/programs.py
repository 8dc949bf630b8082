"""Programs kept on disk: what JAX traced, lowered and compiled once, later processes load without doing so again.

JAX's own cache spares the compiler alone: its key is the lowered program, so every process traces and lowers all of its
programs anew, which takes three fourths of what `birnn verify` needs of a processor in JAX 0.10.2. Here it is kept
which entry of that cache a program is, with what JAX knows of its arguments and results, as
``jax.experimental.serialize_executable`` writes it. It is the same machine code; only the call goes past jax.jit, so
no benchmark is timed this way. (What was loaded from the cache cannot be serialized a second time in jaxlib 0.10.2, and
an entry is the same for many of our keys, so the machine code stays there.)

The key of a program holds what tracing and lowering read: the implementation and its specification, or the model's,
the arguments' structure, shapes and dtypes, our sources, the files of JAX, Flax and optax, versions, devices, and
switches. A file holds a pickle, and only a whole one is read; like JAX's cache, the folder is for those who may write
it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import optax
from jax._src import compilation_cache  # not public: nothing that is tells which entry of its cache a program is
from jax._src.lib import _jax
from jax.experimental import serialize_executable
from pydantic import BaseModel

from backends.interface.kept_files import keep, read_kept

FOLDER = "BIRNN_JAX_PROGRAMS"
"""The environment variable that names the folder of programs; where it is not set or empty, none are kept."""
MOST_BYTES = 2**27
"""Bytes that a process leaves in the folder when it starts; a program takes some 10 kB."""
SOURCES = (
    "backends/interface",
    "backends/jax_flax",
    "backends/jax_flax/layer",
    "backends/jax_flax/models",
    "common",
    "common/models",
    "common/models/crf",
)
"""Folders of ours whose files tracing may read."""
SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_disable_jit")
"""JAX's settings that a program follows from."""
SWITCHES = ("JAX_", "XLA_", "LIBTPU_", "NPROC")
"""How the names of environment variables begin that JAX reads."""
ENTRY = "entry of JAX's cache"
"""What stands in a file for the machine code, with the entry's key."""

Function = Callable[..., Any]
"""A function that is compiled."""
_KNOWN: dict[Hashable, Function] = {}
"""The programs of this process, by what of their keys can change while it lasts."""


class NotThere(Exception):
    """JAX's cache has no entry, or no longer, for a program."""


class Pickler(serialize_executable._JaxPjrtPickler):
    """Writes a program, with the key of its entry in JAX's cache for its machine code."""

    def __init__(self, file: io.BytesIO, entry: str) -> None:
        super().__init__(file)
        self._entry = entry

    def persistent_id(self, obj: Any) -> Any:
        """What stands for an object that cannot be pickled."""
        if isinstance(obj, _jax.LoadedExecutable | _jax.Executable):
            return ENTRY, self._entry
        return super().persistent_id(obj)


class Unpickler(serialize_executable._JaxPjrtUnpickler):
    """Reads what ``Pickler`` writes; raises ``NotThere``."""

    def persistent_load(self, pid: Any) -> Any:
        """The object that ``pid`` stands for."""
        if pid[0] != ENTRY:
            return super().persistent_load(pid)
        entries = compilation_cache._get_cache(self.backend)
        content = None if entries is None else entries.get(pid[1])
        if content is None:
            raise NotThere
        code, _ = compilation_cache.extract_executable_and_time(compilation_cache.decompress_executable(content))
        return self.backend.deserialize_executable(code, executable_devices=self.execution_devices)


def folder() -> Path | None:
    """Where programs are kept, or None: also where JAX has no cache for their machine code."""
    named = os.environ.get(FOLDER)
    return Path(named) if named and compilation_cache.is_persistent_cache_enabled() else None


def program(traced: Callable[[], Any], what: tuple[Hashable, ...], arguments: tuple[Any, ...]) -> Function | None:
    """A program for these arguments: from the folder where it is there, else ``traced()`` compiled, which is then kept
    there; None where none are kept.

    Parameters
    ----------
    traced
        Gives the ``jax.stages.Lowered``.
    what
        All that the program follows from but its arguments and ``surroundings``: what JSON has, and specifications.
    arguments
        What it is going to be called with.
    """
    where = folder()
    if where is None:
        return None
    leaves, structure = jax.tree.flatten(arguments)
    known = (what, structure, tuple(leaf.aval for leaf in leaves), *_settings().values())
    if known not in _KNOWN:
        signature = [str(structure), *([leaf.shape, leaf.dtype.name, leaf.weak_type] for leaf in leaves)]
        content = json.dumps([what, signature, surroundings()], sort_keys=True, default=_as_json)
        path = where / hashlib.sha256(content.encode()).hexdigest()[:32]
        _KNOWN[known] = _read(path, arguments) or _keep(traced(), path)
    return _KNOWN[known]


def forget() -> None:
    """Drop the programs of this process."""
    _KNOWN.clear()


def surroundings() -> dict[str, Any]:
    """What tracing and lowering may read that no argument says."""
    return {
        "sources": _sources(),
        "versions": [
            *(module.__version__ for module in (jax, jaxlib, flax, optax)),
            jax.devices()[0].client.platform_version,
        ],
        "files": _files_of_jax(),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.devices()],
        "settings": _settings(),
        "switches": {
            name: value
            for name, value in os.environ.items()
            if name.startswith(SWITCHES) and name != "JAX_COMPILATION_CACHE_DIR"
        },
    }


def _settings() -> dict[str, str]:
    """What ``SETTINGS`` are."""
    return {name: str(getattr(jax.config, name)) for name in SETTINGS}


def _as_json(specification: BaseModel) -> dict[str, Any]:
    """What stands for a specification of a layer or a model."""
    return specification.model_dump(mode="json")


@cache
def _sources() -> str:
    """A hash of our own files that tracing may read."""
    root = Path(__file__).resolve().parents[3]
    files = sorted(file for each in SOURCES for file in (root / each).glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


@cache
def _files_of_jax() -> str:
    """A hash of the names, sizes and times of the files of JAX, Flax and optax: whoever changes one traces anew."""
    roots = [Path(module.__path__[0]) for module in (jax, jaxlib, flax, optax)]
    files = [(file, file.stat()) for root in roots for file in sorted(root.rglob("*.py"))]
    listed = [(file.name, stat.st_size, stat.st_mtime_ns) for file, stat in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _read(path: Path, arguments: tuple[Any, ...]) -> Function | None:
    """The program in a file, loaded; None where there is none, not a whole one, or no machine code any more."""
    content = read_kept(path)
    if content is None:
        return None
    devices = jax.tree.leaves(arguments)[0].devices()
    client = next(iter(devices)).client
    try:
        unloaded, told, no_kwargs, out_tree = Unpickler(io.BytesIO(content), client, list(devices)).load()
        loaded = unloaded.load()
    except Exception:  # whatever a damaged or another version's entry of JAX's cache makes of it: it is compiled
        return None
    in_tree = jax.tree.structure((arguments, {}))
    return jax.stages.Compiled(loaded, [], in_tree.unflatten(told), out_tree, no_kwargs=no_kwargs)


def _keep(lowered: jax.stages.Lowered, path: Path) -> Function:
    """The compiled program; which entry of JAX's cache it is, is written into a file."""
    with noted_entries() as entries:
        compiled = lowered.compile()
    executable = compiled._executable
    if len(entries) != 1 or compiled._params.const_args or not hasattr(executable, "_unloaded_executable"):
        return compiled
    file = io.BytesIO()
    told = jax.tree.leaves(compiled.args_info)
    Pickler(file, entries[0]).dump((executable._unloaded_executable, told, compiled._no_kwargs, compiled.out_tree))
    keep(path, file.getvalue())
    return compiled


@contextmanager
def noted_entries() -> Iterator[list[str]]:
    """The keys under which JAX's cache is asked for programs while it is entered."""
    own = compilation_cache.get_cache_key
    keys: list[str] = []

    def get_cache_key(*arguments: Any, **options: Any) -> str:
        keys.append(own(*arguments, **options))
        return keys[-1]

    compilation_cache.get_cache_key = get_cache_key
    try:
        yield keys
    finally:
        compilation_cache.get_cache_key = own
