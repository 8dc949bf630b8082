"""What JAX's implementations share: arrays to and from the device, compiled programs with gradients, and waiting."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from backends.base import Arrays, Implementation, Inputs
from backends.jax_flax.sequence import States
from common.specification import Specification
from common.weights import shapes

DTYPES = {
    "float16": jnp.float16,
    "bfloat16": jnp.bfloat16,
    "float32": jnp.float32,
    "float64": jnp.float64,
}
Tree = Any
"""Nested dictionaries and lists of arrays: a pytree."""
PROGRAMS_KEPT = 150
"""Programs of one process before compiled ones are dropped. Each costs 130 to 640 memory mappings on a CPU, of which
Linux allows 65,530 (vm.max_map_count); past that LLVM aborts the process (jaxlib 0.10.2)."""
Results = dict[str, jax.Array]


class JaxImplementation(Implementation):
    """An implementation on arrays; subclasses give ``load_weights``, ``run`` and ``canonical``."""

    parameters: Tree
    """The arrays that gradients are taken by, in the layout that ``run`` reads."""

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        super().__init__(spec, dtype, device)
        self._program = self.program(spec)

    @classmethod
    @abstractmethod
    def run(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> Results:
        """Output and final states by result name; a pure function, for JAX traces and compiles it."""

    @abstractmethod
    def canonical(self, gradients: Tree) -> Arrays:
        """Gradients in the layout of ``parameters`` under canonical names, in NumPy."""

    @classmethod
    def program(cls, spec: Specification) -> Specification:
        """What of ``spec`` the compiled program depends on: not on ``bias``, absent biases being zeros."""
        return spec.model_copy(update={"bias": True})

    def array(self, array: np.ndarray) -> jax.Array:
        """An array in the run's dtype on its device."""
        copy = np.array(array, DTYPES[self.dtype])  # device_put may keep the memory of what it is given
        return jax.device_put(copy, jax.devices(self.device)[0])

    def move_inputs(self, inputs: Inputs) -> None:
        initial = [inputs.h_0] if inputs.c_0 is None else [inputs.h_0, inputs.c_0]
        states = tuple(self.array(state) for state in initial)
        lengths = None
        if inputs.lengths is not None:
            lengths = jax.device_put(inputs.lengths.astype(np.int32), jax.devices(self.device)[0])
        self._inputs = (self.array(inputs.x), lengths, states)
        _make_room((type(self), self._program, self.dtype, self.device, inputs.x.shape, lengths is None))
        self._cotangents = {name: self.array(value) for name, value in inputs.cotangents.items()}

    def forward(self) -> None:
        self._found = (_forward(type(self), self._program, self.parameters, *self._inputs), None)

    def forward_backward(self) -> None:
        self._found = _forward_backward(type(self), self._program, self.parameters, *self._inputs, self._cotangents)

    def synchronise(self) -> None:
        jax.block_until_ready(self._found)

    def extract(self) -> Arrays:
        results, gradients = self._found
        found = {name: np.asarray(value) for name, value in results.items()}
        if gradients is not None:
            by_parameters, by_x, by_states = gradients
            found["grad.x"] = np.asarray(by_x)
            found |= {f"grad.{name}": np.asarray(value) for name, value in zip(("h_0", "c_0"), by_states, strict=False)}
            by_name = self.canonical(by_parameters)
            found |= {f"grad.{name}": by_name[name] for name in shapes(self.spec)}
        narrow = jnp.dtype(DTYPES[self.dtype]).itemsize < 4
        return {name: value.astype(np.float32) if narrow else value for name, value in found.items()}


# The two programs are functions of the module, so that all cases with the same program and shapes share a compilation.

_kept: set[tuple] = set()


def _make_room(key: tuple) -> None:
    """Drop all compiled programs when ``key`` would be one too many; those still wanted are compiled again."""
    if key not in _kept and len(_kept) >= PROGRAMS_KEPT:
        jax.clear_caches()
        _kept.clear()
    _kept.add(key)


@partial(jax.jit, static_argnums=(0, 1))
def _forward(
    implementation: type[JaxImplementation],
    program: Specification,
    parameters: Tree,
    x: jax.Array,
    lengths: jax.Array | None,
    states: States,
) -> Results:
    return implementation.run(program, parameters, x, lengths, states)


@partial(jax.jit, static_argnums=(0, 1))
def _forward_backward(
    implementation: type[JaxImplementation],
    program: Specification,
    parameters: Tree,
    x: jax.Array,
    lengths: jax.Array | None,
    states: States,
    cotangents: Results,
) -> tuple[Results, tuple[Tree, jax.Array, States]]:
    results, pull_back = jax.vjp(
        lambda parameters, x, states: implementation.run(program, parameters, x, lengths, states), parameters, x, states
    )
    return results, pull_back(cotangents)
