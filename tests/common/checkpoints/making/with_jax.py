"""Make Flax's files: ``python with_jax.py FOLDER`` where flax 0.12.8 and orbax-checkpoint are."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as orbax
from flax import linen, nnx, serialization
from safetensors.numpy import save_file


class Linen(linen.Module):
    """Modules made in setup, whose names are those of what holds them."""

    def setup(self) -> None:
        self.embedding = linen.Embed(7, 3)
        self.lstm = linen.Bidirectional(
            linen.RNN(linen.OptimizedLSTMCell(4, parent=None)), linen.RNN(linen.OptimizedLSTMCell(4, parent=None))
        )
        self.gru = linen.Bidirectional(
            linen.RNN(linen.GRUCell(3, parent=None)), linen.RNN(linen.GRUCell(3, parent=None))
        )
        self.rnn = linen.RNN(linen.SimpleCell(5, parent=None))
        self.head = linen.Dense(2)

    def __call__(self, ids):
        first = self.lstm(self.embedding(ids))
        second = self.gru(first)
        third = self.rnn(second)
        return self.head(third), (self.embedding(ids), first, second, third)


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        def both(make):
            return nnx.Bidirectional(nnx.RNN(make(), rngs=rngs), nnx.RNN(make(), rngs=rngs), rngs=rngs)

        self.embedding = nnx.Embed(7, 3, rngs=rngs)
        self.lstm = both(lambda: nnx.OptimizedLSTMCell(3, 4, rngs=rngs))
        self.gru = both(lambda: nnx.GRUCell(8, 3, rngs=rngs))
        self.rnn = nnx.RNN(nnx.SimpleCell(6, 5, rngs=rngs), rngs=rngs)
        self.plain = nnx.RNN(nnx.LSTMCell(5, 2, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(2, 2, rngs=rngs)


def randomised(tree, seed: int):
    """Numbers in the biases, too, which begin as zeros."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda value: random.normal(scale=0.5, size=value.shape).astype(np.float32), tree)


folder = Path(sys.argv[1])
ids = np.random.default_rng(0).integers(7, size=(2, 5))
model = Linen()
variables = randomised(model.init(jax.random.key(0), ids), 1)
(folder / "flax-linen.msgpack").write_bytes(serialization.to_bytes(variables))
_, (x, first, second, third) = model.apply(variables, ids)
answers = {
    "lstm.x": x,
    "lstm.output": first,
    "gru.x": first,
    "gru.output": second,
    "rnn.x": second,
    "rnn.output": third,
}
save_file({name: np.asarray(value) for name, value in answers.items()}, folder / "flax-linen.answers.safetensors")

module = Nnx(nnx.Rngs(0))
state = randomised(nnx.to_pure_dict(nnx.state(module, nnx.Param)), 2)
nnx.replace_by_pure_dict(target := nnx.state(module, nnx.Param), state)
nnx.update(module, target)
(folder / "flax-nnx.msgpack").write_bytes(serialization.msgpack_serialize(state))
widths = {"lstm": 3, "gru": 8, "rnn": 6, "plain": 5}
answers = {}
for name, width in widths.items():
    x = np.random.default_rng(3).normal(size=(2, 5, width)).astype(np.float32)
    answers |= {f"{name}.x": x, f"{name}.output": np.asarray(getattr(module, name)(x))}
save_file(answers, folder / "flax-nnx.answers.safetensors")
with orbax.StandardCheckpointer() as checkpointer:
    checkpointer.save((folder / "flax-orbax").absolute(), nnx.state(module, nnx.Param))
