"""The one place where backends are registered by name; imports no framework.

A package outside this repository adds one through the entry point group ``birnn.backends``, whose entries name a
``Backend``; see docs/adding-a-backend.md.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from backends.base import Framework
from common.errors import InputError

ENTRY_POINT_GROUP = "birnn.backends"


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
    """

    name: str
    load: str
    environment: str | None = None

    def load_framework(self) -> Framework:
        """Import the framework in this process."""
        return load_framework(self.load)


BUILT_IN = (
    Backend("torch", "backends.pytorch:load", "torch"),
    Backend("jax", "backends.jax_flax:load", "jax"),
    Backend("tensorflow", "backends.tensorflow_keras:load", "tensorflow"),
    Backend("mxnet", "backends.mxnet_gluon:load", "mxnet"),
)


def load_framework(target: str) -> Framework:
    """Import ``module:function`` and call it."""
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)()


@cache
def backends() -> dict[str, Backend]:
    """Every backend by name, the built-in ones first.

    Raises
    ------
    InputError
        If a plug-in cannot be loaded, is no ``Backend``, or takes a name that is in use.
    """
    found = {backend.name: backend for backend in BUILT_IN}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            backend = entry.load()
        except Exception as error:
            raise InputError(f"the entry point {entry.name} of {ENTRY_POINT_GROUP} must load; got {error!r}") from error
        if not isinstance(backend, Backend):
            raise InputError(
                f"the entry point {entry.name} of {ENTRY_POINT_GROUP} must name a Backend; got {backend!r}"
            )
        if backend.name in found:
            raise InputError(f"a backend's name must be its own; got {backend.name!r} twice")
        found[backend.name] = backend
    return found
