"""The sequence model in JAX: embedding, bidirectional RNN, linear layers, and softmax or a CRF."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.layer import Arrays
from backends.jax_flax.layer.lengths import Results, Tree, step_mask
from backends.jax_flax.models.crf import best_paths, negative_log_likelihood
from backends.jax_flax.models.network import JaxNetwork, Program, array, head, lookup, run_rnn, wide
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch
from common.models.crf.scores import ALLOWED, Scores, scores_of
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

    @classmethod
    def total_loss(cls, program: Program, parameters: Tree, logits: jax.Array, batch: Results) -> jax.Array:
        if program.spec.head == "softmax":
            return super().total_loss(program, parameters, logits, batch)
        losses = negative_log_likelihood(wide(logits), batch["labels"], _real(batch, logits), _scores(parameters))
        return jnp.where(batch["counted"][:, 0], losses, 0).sum()  # a row is counted as a whole

    @classmethod
    def answers(cls, program: Program, parameters: Tree, logits: jax.Array, batch: Results) -> jax.Array:
        if program.spec.head == "softmax":
            return super().answers(program, parameters, logits, batch)
        return best_paths(wide(logits), _real(batch, logits), _scores(parameters), batch.get(ALLOWED))

    def predict(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch, labelled=False)
        arrays = self.moved(batch)
        self.make_room("predict", arrays)
        answers = self.call(_predict, self.parameters | self.fixed, arrays)
        return {name: array(value) for name, value in answers.items()}

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        raise InputError("decode must be asked of an encoder–decoder; got a sequence model")

    def stepper(self, batch: Batch) -> DecoderStep:
        raise InputError("stepper must be asked of an encoder–decoder; got a sequence model")


@partial(jax.jit, static_argnums=0)
def _predict(program: Program, parameters: Tree, batch: Results) -> Results:
    """The compiled answers to a batch."""
    logits, passed = program.network.forward(program, parameters, batch)
    return {"labels": program.network.answers(program, parameters, logits, batch), "logits": logits} | passed


def _scores(parameters: Tree) -> Scores:
    """The CRF's scores."""
    return Scores(*(wide(score) for score in scores_of(parameters)))


def _real(batch: Results, logits: jax.Array) -> jax.Array:
    """(batch, seq_len) bool: which steps are real."""
    rows, steps = logits.shape[:2]
    return step_mask(batch["lengths"], steps)[..., 0] if "lengths" in batch else jnp.ones((rows, steps), bool)
