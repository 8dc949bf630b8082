"""tuned: the fastest we can write in JAX: a derivative of our own, and only what must be in the loop in the loop."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.directions import split_states
from backends.interface.layer import Arrays
from backends.jax_flax.layer.fused import Loop, Weights, run_direction, steps_in_piece
from backends.jax_flax.layer.implementation import JaxImplementation, Results, Tree
from backends.jax_flax.layer.lengths import States, join_states, merge, step_mask
from common.specification import GATES, Specification
from common.weights import KINDS, merge_weight_name, merge_weights, of_direction, weight_name

LOOPS = "loops"
"""The name under which the parameters hold those of the loops; a learned merge's have their canonical names."""
NARROW = 16
"""Below so many units, and with at least as many sequences, a step's arrays have the batch last: XLA:CPU vectorises
along the last axis (docs/tuning.md)."""


class Tuned(JaxImplementation):
    """``fused.run_direction`` once for each layer and direction; the reverse one reads time from its end.

    Neither direction flips anything: at padding a state stays, so that the reverse one starts at its length's end.
    Outputs past a length are set to 0, and so is the input, whatever it holds. Without biases it adds zeros.
    """

    paths = (
        *("batch last", "batch first"),
        *("in one piece", "in several pieces"),
        *("padded", "masked by length"),
        *("biases", "zero biases"),
    )

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        loops = []
        for layer in range(self.spec.num_layers):
            for direction in range(self.spec.num_directions):
                mine = of_direction(self.spec, weights, layer, direction)
                kernels, biases, second = (
                    np.split(array, self.spec.num_gates) for array in (mine.weight_ih, mine.bias_ih, mine.bias_hh)
                )
                apart = second.pop() if self._apart else None
                biases[: len(second)] = [ih + hh for ih, hh in zip(biases, second, strict=False)]
                transposed = [kernel.T for kernel in kernels]  # (hidden_size, in) to (in, hidden_size)
                loops.append(Weights(tuple(transposed), tuple(biases), mine.weight_hh.T, apart))
        self.parameters = jax.tree.map(self.array, {LOOPS: loops} | merge_weights(weights))

    @property
    def _apart(self) -> bool:
        """Whether n's recurrent bias cannot be added to its other one."""
        return self.spec.cell == "gru" and self.spec.reset_after

    @classmethod
    def run(
        cls, spec: Specification, parameters: Tree, x: jax.Array, lengths: jax.Array | None, states: States
    ) -> Results:
        batch_last = spec.state_size < NARROW <= x.shape[0]
        axes = (1, 2, 0) if batch_last else (1, 0, 2)  # (batch, seq_len, features) to the loop's order
        back = (2, 0, 1) if batch_last else (1, 0, 2)  # and from it
        real = mask = None
        if lengths is not None:
            mask = step_mask(lengths, x.shape[1])
            real, x = mask.transpose(axes), jnp.where(mask, x, jnp.zeros_like(x))  # (batch, seq_len, 1)
        finals = []
        by_row = split_states(spec, states)
        for layer in range(spec.num_layers):
            outputs = []
            sequence, steps = x.transpose(axes), cls._steps(spec, x, x.shape[2])
            for direction in range(spec.num_directions):
                row = layer * spec.num_directions + direction
                initial = tuple(state.T if batch_last else state for state in by_row[row])  # (batch, hidden_size)
                loop = Loop(spec.cell, spec.reset_after, bool(direction), batch_last, steps)
                output, final = run_direction(loop, sequence, parameters[LOOPS][row], real, initial)
                outputs.append(output.transpose(back))
                finals.append(tuple(state.T if batch_last else state for state in final))  # (hidden_size, batch)
            x = merge(spec, parameters.get(merge_weight_name(layer)), *outputs)
            if mask is not None:
                x = jnp.where(mask, x, jnp.zeros_like(x))
        return {"output": x} | dict(zip(("h_n", "c_n"), join_states(spec, finals), strict=False))

    @staticmethod
    def _steps(spec: Specification, x: jax.Array, width: int) -> int:
        """The steps of a layer's pieces, ``width`` being that of its input, x the network's or its own: enough rows for
        the sums over pieces, which are as large as the weights, to cost little beside the gates.
        """
        batch, seq_len, _ = x.shape
        step_bytes = batch * spec.num_gates * spec.state_size * x.dtype.itemsize
        return steps_in_piece(seq_len, step_bytes, 2 * (width + spec.state_size) // batch)

    def canonical(self, gradients: Tree) -> Arrays:
        canonical: Arrays = {name: np.asarray(value) for name, value in merge_weights(gradients).items()}
        for row, of in enumerate(gradients[LOOPS]):
            layer, direction = divmod(row, self.spec.num_directions)
            kernel = np.concatenate([np.asarray(kernel).T for kernel in of.kernels])  # (in, hidden_size) a gate
            bias = second = np.concatenate([np.asarray(bias) for bias in of.biases])
            if self._apart:
                second = np.concatenate([bias[: -len(of.recurrent_bias)], np.asarray(of.recurrent_bias)])
            arrays = (kernel, np.asarray(of.recurrent).T, bias, second)  # (hidden_size, gates) to (gates, hidden_size)
            canonical |= {weight_name(kind, layer, direction): array for kind, array in zip(KINDS, arrays, strict=True)}
        return canonical

    def summed_gates(self) -> tuple[str, ...]:
        gates = GATES[self.spec.cell]
        return gates[:-1] if self._apart else gates

    def path(self) -> str:
        x = self._inputs[0]
        layout = "batch last" if self.spec.state_size < NARROW <= x.shape[0] else "batch first"
        widths = [self.spec.layer_input_size(layer) for layer in range(self.spec.num_layers)]
        steps = [self._steps(self.spec, x, width) for width in widths]
        cut = "in one piece" if min(steps) == x.shape[1] else "in several pieces"
        biases = "biases" if self.spec.bias else "zero biases"
        ragged = "padded" if self._inputs[1] is None else "masked by length"
        loops = f"{len(self.parameters[LOOPS])} × jax.lax.scan with its own derivative (custom_vjp)"
        return f"{loops}, {layout}, {cut}, {ragged}, {biases}"
