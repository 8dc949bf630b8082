"""The one place where backends are registered by name; imports no framework.

A package outside this repository adds one through the entry point group ``birnn.backends``, whose entries name a
``Backend``; see docs/adding-a-backend.md.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NoReturn

from backends.interface.framework import Framework
from common.errors import InputError, shown

ENTRY_POINT_GROUP = "birnn.backends"
"""The group of entry points under which a package offers a backend."""


@dataclass(frozen=True)
class Backend:
    """Where a backend is found.

    Parameters
    ----------
    name
        The framework's name in ``name/implementation``.
    load
        ``module:function`` that imports the framework and returns a ``Framework``; called in the environment alone.
    environment
        The tox environment that holds the framework, or None for the interpreter that runs the command.
    files
        What computes besides the module, such as a user's own file: they are part of the source that results are of.
    optional
        Whether nobody needs to be told that its environment is missing who has not asked for it by name.
    """

    name: str
    load: str
    environment: str | None = None
    files: tuple[Path, ...] = ()
    optional: bool = False

    def load_framework(self) -> Framework:
        """Import the framework in this process."""
        return load_framework(self.load)


BUILT_IN = (
    Backend("torch", "backends.pytorch:load", "torch"),
    Backend("jax", "backends.jax_flax:load", "jax"),
    Backend("tensorflow", "backends.tensorflow_keras:load", "tensorflow"),
    Backend("mxnet", "backends.mxnet_gluon:load", "mxnet"),
)
"""The frameworks that this suite compares, whose folders read side by side."""

ONNX_RUNTIME = Backend("onnxruntime", "backends.onnx_runtime:load", "onnxruntime", optional=True)
"""The runtime that people serve with what they trained elsewhere. It computes no gradients and trains nothing, so the
first command does without its environment; what exists is used like any other."""
SHIPPED = (*BUILT_IN, ONNX_RUNTIME)
"""The backends that come with this suite."""

LOADERS = {"keras2": Backend("keras2", "backends.keras2:load", "keras2"), "onnx": ONNX_RUNTIME}
"""Environments that load checkpoints of a format for the proof of a conversion, where the format's own backend is
another or none; that of Keras 2 implements nothing."""


def load_framework(target: str) -> Framework:
    """Import ``module:function`` and call it."""
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)()


def backends() -> dict[str, Backend]:
    """Every backend by name, the built-in ones first, then those of plug-ins that can be used."""
    return _loaded().backends


def add(backend: Backend) -> None:
    """Register one more backend, for this process and its workers.

    Raises
    ------
    InputError
        If its name is taken.
    """
    if backend.name in backends():
        raise InputError(f"a backend must have a name of its own; got {backend.name!r}, which is taken")
    _added[backend.name] = backend
    _loaded.cache_clear()


def left_out() -> dict[str, str]:
    """Why a plug-in is left out, one sentence, by the name of its entry point; those that ``leave_out`` named are not
    told.
    """
    return _loaded().left_out


def leave_out(names: Iterable[str]) -> None:
    """Load the plug-ins of these names no more, and say nothing of them.

    Raises
    ------
    InputError
        If there is no plug-in of such a name.
    """
    known = entry_points(group=ENTRY_POINT_GROUP).names
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none is installed"
            raise InputError(f"--without-plugin must name a plug-in ({there}); got {shown(name)}")
    _unwanted.update(names)
    _loaded.cache_clear()


@dataclass(frozen=True)
class _Loaded:
    """The backends that can be used, and sentences on the plug-ins that cannot."""

    backends: dict[str, Backend]
    left_out: dict[str, str]


_unwanted: set[str] = set()
_added: dict[str, Backend] = {}


@cache
def _loaded() -> _Loaded:
    """Load every plug-in once; one that cannot be used keeps no other backend from being used."""
    known, reasons = {backend.name: backend for backend in SHIPPED}, {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in _unwanted:
            continue
        backend, reason = _load(entry)
        if backend is not None and backend.name in known:
            reason = f"must have a name of its own; got {backend.name!r}, which is taken"
        if backend is None or reason:
            reasons[entry.name] = (
                f"the plug-in {entry.name}, the entry point {entry.value} of {ENTRY_POINT_GROUP}, {reason}; it is left "
                f"out, as --without-plugin {entry.name} does without this line"
            )
        else:
            known[backend.name] = backend
    return _Loaded(known | _added, reasons)


@contextlib.contextmanager
def _without_end() -> Iterator[None]:
    """Make SystemExit of ``os._exit``, which would end the command in silence, with a code of the plug-in's choice."""
    real = os._exit

    def refuse(status: int) -> NoReturn:
        raise SystemExit(f"os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = real


def _load(entry: EntryPoint) -> tuple[Backend | None, str]:
    """A plug-in's backend, or None and what must hold and does not, whatever its module does while it is imported."""
    try:
        with contextlib.redirect_stdout(sys.stderr), _without_end():
            backend = entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: a plug-in does not end the command
        return None, f"must load; got {shown(error, 120)}"
    if not isinstance(backend, Backend):
        return None, f"must name a Backend; got {shown(backend)}"
    if not (isinstance(backend.name, str) and re.fullmatch(r"[\w.-]+", backend.name)):
        return None, f"must have a name of letters, digits, dots, - and _; got {shown(backend.name)}"
    return backend, ""
