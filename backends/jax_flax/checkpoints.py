"""Checkpoints read by flax.serialization and Orbax, and their layers run as flax.linen's and flax.nnx's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as orbax
from flax import linen, nnx, serialization

from backends.interface.checkpoint import AskedLayer, LoadedCheckpoint, Part, in_results, parts_with_states
from backends.interface.layer import Arrays, Inputs
from backends.jax_flax.layer.implementation import Tree
from backends.jax_flax.layer.layout import build_linen_cell, build_nnx_cell, carry_of, states_of
from backends.jax_flax.layer.lengths import step_mask
from backends.jax_flax.layer.native import DIRECTIONS, own_merge


class FlaxCheckpoint(LoadedCheckpoint):
    """The tree of a ``.msgpack`` file or a folder; each layer is a Bidirectional or an RNN that is given its part."""

    def __init__(self, path: Path, format_name: str, config: str | None) -> None:
        self._is_nnx = format_name == "flax-nnx"
        if path.is_dir():
            with orbax.StandardCheckpointer() as checkpointer:
                tree = checkpointer.restore(path)
        else:
            tree = serialization.msgpack_restore(path.read_bytes())
        self._tree = _without_values(tree.get("params", tree))

    def run(self, asked: AskedLayer, dtype: str, inputs: Inputs) -> Arrays:
        lengths = jnp.asarray(inputs.lengths)
        x = jnp.asarray(inputs.x, dtype)
        finals: list[tuple[np.ndarray, ...]] = []
        for part in parts_with_states(asked, inputs):
            states = [
                tuple(jnp.asarray(state[row], dtype) for state in part.states) for row in range(len(part.states[0]))
            ]
            carries = tuple(carry_of(row) for row in states)
            tree = jax.tree.map(lambda value: jnp.asarray(value, dtype), self._part(part.name))
            options = {"seq_lengths": lengths, "return_carry": True}
            if part.kind.directions == 1:
                options["initial_carry"] = carries[0]
                tree = tree if "cell" in tree else {"cell": tree}
            else:
                options["initial_carry"] = carries
            final, x = (self._with_nnx if self._is_nnx else self._with_linen)(part, tree, x, dtype, options)
            carried = (final,) if part.kind.directions == 1 else final
            finals += [tuple(np.asarray(each) for each in states_of(carry)) for carry in carried]
            x = jnp.where(step_mask(lengths, x.shape[1]), x, jnp.zeros_like(x))
        return in_results(np.asarray(x), finals, asked.kind)

    def _part(self, name: str) -> Tree:
        tree: Any = self._tree
        for each in name.split("."):
            if each not in tree and name == "rnn":  # a layer alone in its file
                return tree
            if not isinstance(tree, dict) or each not in tree:
                raise ValueError(f"the tree must have the layer {name}; it has {', '.join(map(str, self._tree))}")
            tree = tree[each]
        return tree

    def _with_linen(self, part: Part, tree: Tree, x: jax.Array, dtype: str, options: dict[str, Any]) -> Any:
        spec = part.kind.specification()
        sides = [linen.RNN(build_linen_cell(spec.of_direction(0, i), dtype)) for i in range(part.kind.directions)]
        module = sides[0] if len(sides) == 1 else linen.Bidirectional(*sides, merge_fn=own_merge(spec))
        return module.apply({"params": tree}, x, **options)

    def _with_nnx(self, part: Part, tree: Tree, x: jax.Array, dtype: str, options: dict[str, Any]) -> Any:
        spec = part.kind.specification()

        def side(direction: int) -> nnx.RNN:
            own, cells = (
                spec.of_direction(0, direction),
                tree if part.kind.directions == 1 else tree[DIRECTIONS[direction]],
            )
            if "ii" in cells["cell"]:
                keys = {"dtype": dtype, "param_dtype": dtype, "rngs": nnx.Rngs(0)}
                return nnx.RNN(nnx.LSTMCell(own.input_size, own.hidden_size, **keys), rngs=False)
            if "bias" not in cells["cell"]["dense_h"]:  # a GRU as nnx has it, without b_hn
                own = own.model_copy(update={"bias": spec.bias and spec.cell != "gru"})
            return nnx.RNN(build_nnx_cell(own, jnp.dtype(dtype)), rngs=False)

        def build() -> Any:
            sides = [side(direction) for direction in range(part.kind.directions)]
            return sides[0] if len(sides) == 1 else nnx.Bidirectional(*sides, merge_fn=own_merge(spec), rngs=False)

        return nnx.merge(nnx.graphdef(nnx.eval_shape(build)), nnx.State(tree))(x, **options)

    def plain(self, name: str, kind: str) -> Arrays:
        tree = self._part(name)
        if kind == "embedding":
            return {"weight": np.asarray(tree["embedding"])}
        arrays = {"weight": np.asarray(tree["kernel"]).T}  # (in, out) to (out, in)
        return arrays | ({"bias": np.asarray(tree["bias"])} if "bias" in tree else {})


def _without_values(tree: Any) -> Any:
    """The tree of an nnx state that Orbax has kept, where each Param is a dictionary with its value."""
    if not isinstance(tree, dict):
        return tree
    return tree["value"] if tree.keys() == {"value"} else {name: _without_values(each) for name, each in tree.items()}
