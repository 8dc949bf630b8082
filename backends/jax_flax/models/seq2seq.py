"""The encoder–decoder in JAX: bridge, additive attention and a decoder of GRU steps in a jax.lax.scan."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.layer import Arrays
from backends.jax_flax.layer.lengths import Results, Tree, step_mask
from backends.jax_flax.layer.scratch import step as gru_step
from backends.jax_flax.models.network import JaxNetwork, Program, array, best, head, linear, lookup, run_rnn, wide
from common.errors import InputError
from common.models.batch import Batch, check_batch
from common.models.specification import END, PADDING, START, Seq2Seq
from common.weights import KINDS, weight_name

Layers = list[list[jax.Array]]
"""A decoder's states, by layer and direction, (batch, hidden_size) each."""


class Memory(NamedTuple):
    """What attention reads at every step: the encoder's output (batch, seq_len, 2·hidden_size), its product with W2
    (batch, seq_len, attention_size), and which of its steps are real (batch, seq_len).
    """

    output: jax.Array
    keys: jax.Array
    real: jax.Array


class Seq2SeqNetwork(JaxNetwork):
    """Tokens in, tokens out, with or without attention, the decoder in one direction or two."""

    spec: Seq2Seq

    @classmethod
    def logits(cls, program: Program, parameters: Tree, batch: Results) -> jax.Array:
        memory, states = _encode(program, parameters, batch)
        targets = batch["labels"].T  # (batch, target_len) to (target_len, batch)
        start = jnp.full_like(targets[0], START)
        right = jnp.concatenate([start[None], targets[:-1]])

        def body(
            carry: tuple[Layers, jax.Array], at_u: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[Layers, jax.Array], jax.Array]:
            states, chosen = carry
            forced, given = at_u
            logits, states = _step(program, parameters, memory, jnp.where(forced, given, chosen), states)
            return (states, best(logits)), logits

        # Step 0 is given the start token in any case, which is what the carry begins with.
        _, logits = jax.lax.scan(body, (states, start), (batch["forced"], right))
        logits = logits.swapaxes(0, 1)  # (target_len, batch, target_size) to (batch, target_len, target_size)
        return jnp.where(batch["counted"][..., None], logits, jnp.zeros_like(logits))

    def predict(self, batch: Batch) -> Arrays:
        raise InputError("predict must be asked of a sequence model; got an encoder–decoder")

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        check_batch(self.spec, batch, labelled=False)
        arrays = self.moved(batch)
        self.make_room(f"decode {max_steps}", arrays)
        return array(_decode(self._program, max_steps, self.parameters, arrays))


def _encode(program: Program, parameters: Tree, batch: Results) -> tuple[Memory | None, Layers]:
    """What attention reads, None without it, and the decoder's first states."""
    spec: Seq2Seq = program.spec
    output, h_n = run_rnn(program, parameters, lookup(parameters["source_embedding"], batch["tokens"]), batch)
    memory = None
    if spec.attention:
        real = step_mask(batch["lengths"], output.shape[1])[..., 0]
        memory = Memory(output, output @ parameters["attention.w2"].T, real)
    states = []
    for layer in range(spec.encoder.num_layers):
        rows = layer * spec.encoder.num_directions
        pair = h_n[rows : rows + spec.encoder.num_directions]
        joined = jnp.concatenate([*pair], axis=-1)  # (batch, num_directions·hidden_size), forward first
        weight, bias = (parameters[f"bridge.{layer}.{part}"] for part in ("weight", "bias"))
        first = jnp.tanh(linear(joined, weight, bias))
        states.append(jnp.split(first, spec.decoder_directions, axis=-1))
    return memory, states


def _step(
    program: Program, parameters: Tree, memory: Memory | None, tokens: jax.Array, states: Layers
) -> tuple[jax.Array, Layers]:
    """The logits (batch, target_size) and the states after a step that is given the tokens (batch,)."""
    embedded = lookup(parameters["target_embedding"], tokens)
    context = [] if memory is None else [_context(parameters, memory, jnp.concatenate(states[-1], axis=-1))]
    x = jnp.concatenate([embedded, *context], axis=-1)
    after = []
    for layer, before in enumerate(states):
        halves: list[jax.Array] = []
        for direction, state in enumerate(before):
            w = [parameters[f"decoder.{weight_name(kind, layer, direction)}"] for kind in KINDS]
            halves += gru_step(program.spec.decoder_rnn, w, x, (state,))
        after.append(halves)
        x = jnp.concatenate(halves, axis=-1)
    return head(parameters, jnp.concatenate([x, *context], axis=-1)), after


def _context(parameters: Tree, memory: Memory, s: jax.Array) -> jax.Array:
    """(batch, 2·hidden_size), the memory's mean weighted by v·tanh(W1 s + W2 memory), for the decoder's top states
    s (batch, state_size).
    """
    query = s @ parameters["attention.w1"].T
    energies = jnp.tanh(query[:, None] + memory.keys) @ parameters["attention.v"]  # (batch, seq_len)
    weights = jax.nn.softmax(jnp.where(memory.real, wide(energies), -jnp.inf), axis=-1).astype(s.dtype)
    return jnp.einsum("bt,btf->bf", weights, memory.output)


@partial(jax.jit, static_argnums=(0, 1))
def _decode(program: Program, max_steps: int, parameters: Tree, batch: Results) -> jax.Array:
    """Greedy answers (batch, max_steps), each up to its end token, then padding."""
    memory, states = _encode(program, parameters, batch)
    start = jnp.full(len(batch["tokens"]), START, jnp.int32)

    def body(carry: tuple[Layers, jax.Array, jax.Array], _: None) -> tuple[tuple, jax.Array]:
        states, tokens, ended = carry
        logits, states = _step(program, parameters, memory, tokens, states)
        tokens = best(logits)
        return (states, tokens, ended | (tokens == END)), jnp.where(ended, PADDING, tokens)

    _, answers = jax.lax.scan(body, (states, start, jnp.zeros_like(start, bool)), length=max_steps)
    return answers.T  # (max_steps, batch) to (batch, max_steps)
