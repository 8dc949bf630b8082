"""scratch: the equations step by step in JAX operations, as in Dive into Deep Learning, section 10.4."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.layer import Arrays
from backends.jax_flax.layer.implementation import JaxImplementation, Results, Tree
from backends.jax_flax.layer.lengths import States, run_stack, step_mask
from common.specification import Specification
from common.weights import KINDS, merge_weights, of_direction, weight_name


def step(spec: Specification, w: list[jax.Array], x: jax.Array, states: States) -> States:
    """One step of the cell: x (batch, in) and states (batch, hidden_size) to the new states; equations in common.cells.

    ``w`` is weight_ih, weight_hh, bias_ih and bias_hh.
    """
    kernel, recurrent_kernel, bias, recurrent_bias = w
    h = states[0]
    from_x = x @ kernel.T + bias
    if spec.cell == "gru" and not spec.reset_after:
        rows = 2 * spec.hidden_size
        bias_rz, bias_n = recurrent_bias[:rows], recurrent_bias[rows:]
        x_rz, x_n = from_x[:, :rows], from_x[:, rows:]
        r, z = jnp.split(jax.nn.sigmoid(x_rz + h @ recurrent_kernel[:rows].T + bias_rz), 2, axis=1)
        n = jnp.tanh(x_n + (r * h) @ recurrent_kernel[rows:].T + bias_n)
        return ((1 - z) * n + z * h,)
    from_h = h @ recurrent_kernel.T + recurrent_bias
    if spec.cell == "gru":
        x_r, x_z, x_n = jnp.split(from_x, 3, axis=1)
        h_r, h_z, h_n = jnp.split(from_h, 3, axis=1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * h_n)
        return ((1 - z) * n + z * h,)
    if spec.cell == "lstm":
        i, f, g, o = jnp.split(from_x + from_h, 4, axis=1)
        c = jax.nn.sigmoid(f) * states[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c
    return (jnp.tanh(from_x + from_h) if spec.cell == "rnn_tanh" else jax.nn.relu(from_x + from_h),)


class Scratch(JaxImplementation):
    """A jax.lax.scan over time; states stay and outputs are 0 past a length.

    Without biases it adds zeros, which is exact, and spares a compilation.
    """

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {name: self.array(value) for name, value in merge_weights(weights).items()}
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                mine = of_direction(self.spec, weights, layer, direction)
                self.parameters |= {weight_name(k, layer, direction): self.array(getattr(mine, k)) for k in KINDS}

    @classmethod
    def run(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> Results:
        mask = None if lengths is None else step_mask(lengths, x.shape[1]).swapaxes(0, 1)  # to (seq_len, batch, 1)

        def run_direction(x: jax.Array, states: States, layer: int, direction: int) -> tuple[jax.Array, States]:
            w = [parameters[weight_name(kind, layer, direction)] for kind in KINDS]
            return cls._run_direction(spec.of_direction(layer, direction), w, x, mask, states)

        return run_stack(spec, parameters, x, lengths, states, run_direction)

    @classmethod
    def _run_direction(
        cls, spec: Specification, w: list[jax.Array], x: jax.Array, mask: jax.Array | None, states: States
    ) -> tuple[jax.Array, States]:
        def body(states: States, at_t: tuple[jax.Array, jax.Array | None]) -> tuple[States, jax.Array]:
            x_t, real = at_t  # (batch, in) and (batch, 1)
            new = step(spec, w, x_t, states)
            if real is None:
                return new, new[0]
            held = tuple(jnp.where(real, after, before) for after, before in zip(new, states, strict=True))
            return held, jnp.where(real, new[0], jnp.zeros_like(new[0]))

        steps = x.swapaxes(0, 1)  # (batch, seq_len, in) to (seq_len, batch, in)
        states, output = jax.lax.scan(body, states, (steps, mask))
        return output.swapaxes(0, 1), states  # (seq_len, batch, hidden_size) to (batch, seq_len, hidden_size)

    def canonical(self, gradients: Tree) -> Arrays:
        return {name: np.asarray(value) for name, value in gradients.items()}

    def path(self) -> str:
        biases = "" if self.spec.bias else ", zero biases"
        return f"JAX operations in a jax.lax.scan over time, compiled{biases}"
