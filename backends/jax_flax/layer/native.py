"""native: Flax's Bidirectional of two RNNs, or one RNN by itself, from flax.linen and from flax.nnx; lengths as
``seq_lengths``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from backends.interface.directions import split_states
from backends.interface.layer import Arrays
from backends.jax_flax.layer.implementation import JaxImplementation, Results, Tree
from backends.jax_flax.layer.layout import (
    MODULES,
    Dense,
    build_linen_cell,
    build_nnx_cell,
    canonical_gradients,
    carry_of,
    linen_denses,
    load_cell,
    nnx_denses,
    states_of,
    summed_gates,
)
from backends.jax_flax.layer.lengths import States, join_states, merge, step_mask
from common.specification import Specification
from common.weights import merge_weight_name, merge_weights

DIRECTIONS = ("forward_rnn", "backward_rnn")
"""The names under which Bidirectional holds its two halves."""


def own_merge(spec: Specification) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """What Bidirectional merges by: a learned merge needs its weight, so its halves are joined there, merged after."""
    return partial(merge, spec.model_copy(update={"merge": "concat"}) if spec.merge == "weighted" else spec, None)


class Native(JaxImplementation):
    """What the two share: one Bidirectional a layer, or one RNN where there is one direction, whose parameters have the
    same tree in both libraries.

    Flax hands out live numbers past a length, so the last layer's output is masked; the layers between flip and pick by
    length and need no mask. Flax's cells have no switch for their biases: without biases these hold zeros, which is
    exact.
    """

    @staticmethod
    @abstractmethod
    def denses(spec: Specification) -> list[Dense]:
        """The dense layers of the library's cell."""

    @staticmethod
    @abstractmethod
    def build_layer(spec: Specification, layer: int, dtype: Any) -> Any:
        """A layer's Bidirectional, or RNN, without its parameters."""

    @staticmethod
    @abstractmethod
    def apply_layer(module: Any, parameters: Tree, x: jax.Array, **options: Any) -> tuple[Any, jax.Array]:
        """Both directions' carries, or the one's, and the merged output."""

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        modules = []
        for layer in range(self.spec.num_layers):
            cells = [
                load_cell(self.spec, self.denses(self.spec), weights, layer, direction)
                for direction in range(self.spec.num_directions)
            ]
            trees = [{"cell": cell} for cell in cells]
            modules.append(trees[0] if len(trees) == 1 else dict(zip(DIRECTIONS, trees, strict=True)))
        self.parameters = jax.tree.map(self.array, {MODULES: modules} | merge_weights(weights))

    @classmethod
    def run(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> Results:
        finals = []
        by_row = split_states(spec, states)
        for layer in range(spec.num_layers):
            rows = by_row[layer * spec.num_directions : (layer + 1) * spec.num_directions]
            initial = tuple(carry_of(row) for row in rows) if len(rows) > 1 else carry_of(rows[0])
            module = cls.build_layer(spec, layer, x.dtype)
            options = {"initial_carry": initial, "seq_lengths": lengths, "return_carry": True}
            carries, x = cls.apply_layer(module, parameters[MODULES][layer], x, **options)
            finals += [states_of(carry) for carry in (carries if len(rows) > 1 else (carries,))]
            if spec.merge == "weighted":
                halves = jnp.split(x, 2, axis=-1)  # (batch, seq_len, 2·hidden_size) to halves
                x = merge(spec, parameters[merge_weight_name(layer)], *halves)
        if lengths is not None:
            x = jnp.where(step_mask(lengths, x.shape[1]), x, jnp.zeros_like(x))
        return {"output": x} | dict(zip(("h_n", "c_n"), join_states(spec, finals), strict=False))

    def canonical(self, gradients: Tree) -> Arrays:
        canonical: Arrays = {name: np.asarray(value) for name, value in merge_weights(gradients).items()}
        for layer in range(self.spec.num_layers):
            tree = gradients[MODULES][layer]
            trees = [tree] if self.spec.num_directions == 1 else [tree[name] for name in DIRECTIONS]
            for direction, one in enumerate(trees):
                canonical |= canonical_gradients(self.spec, self.denses(self.spec), one["cell"], layer, direction)
        return canonical

    def summed_gates(self) -> tuple[str, ...]:
        return summed_gates(self.denses(self.spec))

    def path(self) -> str:
        module = self.build_layer(self.spec, 0, jnp.float32)
        two = self.spec.num_directions == 2
        cell = (module.forward_rnn if two else module).cell
        library = "linen" if isinstance(module, linen.Module) else "nnx"
        notes = "" if self.spec.bias else ", zero biases"
        if library == "nnx" and self.spec.cell == "gru" and self.spec.bias:
            notes = ", dense_h replaced by a Linear with a bias (google/flax#5594)"
        ragged = "" if self._inputs[1] is None else ", seq_lengths, output masked past them"
        module_name = f"flax.{library}.{'Bidirectional of RNN' if two else 'RNN'}({type(cell).__name__})"
        return f"{self.spec.num_layers} × {module_name}{ragged}{notes}"


class NativeLinen(Native):
    """flax.linen.Bidirectional with ``apply``, on SimpleCell, GRUCell or OptimizedLSTMCell.

    OptimizedLSTMCell has LSTMCell's parameters and equations with two products a step in place of eight: 10.5 ms
    against 14.7 ms forward and backward (64 to 128 units, batch 16, seq_len 50, float32, 2 cores; flax 0.12.8).
    """

    denses = staticmethod(linen_denses)

    @staticmethod
    def build_layer(spec: Specification, layer: int, dtype: Any) -> linen.Module:
        forward, *backward = (
            linen.RNN(build_linen_cell(spec.of_direction(layer, direction), dtype))
            for direction in range(spec.num_directions)
        )
        return linen.Bidirectional(forward, *backward, merge_fn=own_merge(spec)) if backward else forward

    @staticmethod
    def apply_layer(module: linen.Module, parameters: Tree, x: jax.Array, **options: Any) -> tuple[Any, jax.Array]:
        return module.apply({"params": parameters}, x, **options)


class NativeNnx(Native):
    """flax.nnx.Bidirectional, split and merged around jax.jit, on SimpleCell, GRUCell or OptimizedLSTMCell.

    The modules are abstract (nnx.eval_shape), as when restoring a checkpoint: they are never initialised. With biases
    the GRU's recurrent layer is replaced, because nnx.GRUCell lacks b_hn (``build_nnx_cell``); without, it stays.
    """

    denses = staticmethod(nnx_denses)

    @classmethod
    def program(cls, spec: Specification) -> Specification:
        return spec if spec.cell == "gru" else super().program(spec)

    @staticmethod
    @lru_cache
    def build_layer(spec: Specification, layer: int, dtype: Any) -> nnx.Module:
        def build() -> nnx.Module:
            forward, *backward = (
                nnx.RNN(build_nnx_cell(spec.of_direction(layer, direction), dtype), rngs=False)
                for direction in range(spec.num_directions)
            )  # no random numbers: the initial carries are given
            if not backward:
                return forward
            return nnx.Bidirectional(forward, *backward, merge_fn=own_merge(spec), rngs=False)

        return nnx.eval_shape(build)

    @staticmethod
    def apply_layer(module: nnx.Module, parameters: Tree, x: jax.Array, **options: Any) -> tuple[Any, jax.Array]:
        return nnx.merge(nnx.graphdef(module), nnx.State(parameters))(x, **options)
