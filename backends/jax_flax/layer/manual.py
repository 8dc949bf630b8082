"""manual: flax.linen's unidirectional RNN run twice, the second time on input reversed by length.

With one direction it is applied once: a row of length 0 keeps its state, as it does not in ``native``.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from backends.interface.layer import Arrays
from backends.jax_flax.layer.implementation import JaxImplementation, Results, Tree
from backends.jax_flax.layer.layout import (
    MODULES,
    build_linen_cell,
    canonical_gradients,
    carry_of,
    linen_denses,
    load_cell,
    states_of,
    summed_gates,
)
from backends.jax_flax.layer.lengths import States, run_stack, step_mask
from common.specification import Specification
from common.weights import merge_weights


class Manual(JaxImplementation):
    """flax.linen.RNN on SimpleCell, GRUCell or OptimizedLSTMCell, applied once for each layer and direction.

    Flax hands out live numbers past a length, and for a length of 0 the state after all the padding: such outputs are
    masked, and such a row's state stays. Flax's cells have no switch for their biases: without biases they hold zeros,
    which is exact.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        cells = []
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                cells.append({"cell": load_cell(self.spec, linen_denses(self.spec), weights, layer, direction)})
        self.parameters = jax.tree.map(self.array, {MODULES: cells} | merge_weights(weights))

    @classmethod
    def run(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> Results:
        def run_direction(x: jax.Array, states: States, layer: int, direction: int) -> tuple[jax.Array, States]:
            module = parameters[MODULES][layer * spec.num_directions + direction]
            return cls._run_module(spec.of_direction(layer, direction), module, x, lengths, states)

        return run_stack(spec, parameters, x, lengths, states, run_direction)

    @classmethod
    def _run_module(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> tuple[jax.Array, States]:
        module = linen.RNN(build_linen_cell(spec, x.dtype), return_carry=True)
        carry, output = module.apply({"params": parameters}, x, initial_carry=carry_of(states), seq_lengths=lengths)
        final = states_of(carry)
        if lengths is None:
            return output, final
        output = jnp.where(step_mask(lengths, x.shape[1]), output, jnp.zeros_like(output))
        some = (lengths > 0)[:, None]
        return output, tuple(jnp.where(some, new, old) for new, old in zip(final, states, strict=True))

    def canonical(self, gradients: Tree) -> Arrays:
        canonical: Arrays = {name: np.asarray(value) for name, value in merge_weights(gradients).items()}
        for row, tree in enumerate(gradients[MODULES]):
            layer, direction = divmod(row, self.spec.num_directions)
            canonical |= canonical_gradients(self.spec, linen_denses(self.spec), tree["cell"], layer, direction)
        return canonical

    def summed_gates(self) -> tuple[str, ...]:
        return summed_gates(linen_denses(self.spec))

    def path(self) -> str:
        cell = type(build_linen_cell(self.spec, jnp.float32)).__name__
        masked = "flipped and masked by length" if self.spec.num_directions == 2 else "masked by length"
        ragged = "" if self._inputs[1] is None else f", seq_lengths, {masked}"
        notes = "" if self.spec.bias else ", zero biases"
        return f"{len(self.parameters[MODULES])} × unidirectional flax.linen.RNN({cell}){ragged}{notes}"
