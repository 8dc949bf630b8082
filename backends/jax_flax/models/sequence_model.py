"""The sequence model in JAX: embedding, bidirectional RNN and linear layers."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.layer import Arrays
from backends.jax_flax.layer.lengths import Results, Tree, step_mask
from backends.jax_flax.models.network import JaxNetwork, Program, array, best, head, lookup, run_rnn
from common.errors import InputError
from common.models.batch import Batch, check_batch
from common.models.specification import SequenceModel


class SequenceNetwork(JaxNetwork):
    """A label for each step, or one for the whole sequence."""

    spec: SequenceModel

    @classmethod
    def forward(cls, program: Program, parameters: Tree, batch: Results) -> tuple[jax.Array, Results]:
        x = batch["x"] if "x" in batch else lookup(parameters["embedding"], batch["tokens"])
        output, h_n = run_rnn(program, parameters, x, batch)
        if program.spec.readout == "final":
            top = h_n[-program.spec.rnn.num_directions :]
            logits = head(parameters, jnp.concatenate([*top], axis=-1))  # (batch, num_directions·hidden_size)
            return logits, {"vectors": output}
        logits = head(parameters, output)
        if "lengths" in batch:
            logits = jnp.where(step_mask(batch["lengths"], x.shape[1]), logits, jnp.zeros_like(logits))
        return logits, {"vectors": output}

    def predict(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch, labelled=False)
        arrays = self.moved(batch)
        self.make_room("predict", arrays)
        answers = _predict(self._program, self.parameters | self.fixed, arrays)
        return {name: array(value) for name, value in answers.items()}

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        raise InputError("decode must be asked of an encoder–decoder; got a sequence model")


@partial(jax.jit, static_argnums=0)
def _predict(program: Program, parameters: Tree, batch: Results) -> Results:
    """The compiled answers to a batch."""
    logits, passed = program.network.forward(program, parameters, batch)
    return {"labels": best(logits), "logits": logits} | passed
