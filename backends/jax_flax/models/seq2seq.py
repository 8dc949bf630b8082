"""The encoder–decoder in JAX: bridge, additive attention and a decoder of GRU steps in a jax.lax.scan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from backends.interface.layer import Arrays
from backends.jax_flax.layer.lengths import Results, Tree, step_mask
from backends.jax_flax.layer.scratch import step as gru_step
from backends.jax_flax.models.network import JaxNetwork, Program, array, best, head, linear, lookup, run_rnn, wide
from common.answers.beam import DecoderStep
from common.errors import InputError
from common.models.batch import Batch, check_batch, decoder_dropout_name
from common.models.specification import END, PADDING, START, Seq2Seq
from common.weights import KINDS, weight_name

Layers = list[list[jax.Array]]
"""A decoder's states, by layer and direction, (batch, hidden_size) each."""


class Memory(NamedTuple):
    """What the encoder leaves: its output (batch, seq_len, 2·hidden_size); for attention its product with W2 (batch,
    seq_len, attention_size), and which of its steps are real (batch, seq_len).
    """

    output: jax.Array
    keys: jax.Array | None
    real: jax.Array


class Seq2SeqNetwork(JaxNetwork):
    """Tokens in, tokens out, with or without attention, the decoder in one direction or two."""

    spec: Seq2Seq

    @classmethod
    def forward(cls, program: Program, parameters: Tree, batch: Results) -> tuple[jax.Array, Results]:
        memory, states = _encode(program, parameters, batch)
        targets = batch["labels"].T  # (batch, target_len) to (target_len, batch)
        start = jnp.full_like(targets[0], START)
        right = jnp.concatenate([start[None], targets[:-1]])
        names = [decoder_dropout_name(layer) for layer in range(program.spec.encoder.num_layers)]
        # (batch, target_len, state_size) to (target_len, batch, state_size)
        factors = [batch[name].swapaxes(0, 1) for name in names if name in batch]

        def body(
            carry: tuple[Layers, jax.Array], at_u: tuple[jax.Array, jax.Array, list[jax.Array]]
        ) -> tuple[tuple[Layers, jax.Array], tuple[jax.Array, list[jax.Array]]]:
            states, chosen = carry
            forced, given, of_step = at_u
            tokens = jnp.where(forced, given, chosen)
            logits, states, attention = _step(program, parameters, memory, tokens, states, of_step)
            return (states, best(logits)), (logits, attention)

        # Step 0 is given the start token in any case, which is what the carry begins with.
        _, (logits, attention) = jax.lax.scan(body, (states, start), (batch["forced"], right, factors))
        real = batch["counted"][..., None]

        def laid_out(steps: jax.Array) -> jax.Array:
            steps = steps.swapaxes(0, 1)  # (target_len, batch, …) to (batch, target_len, …)
            return jnp.where(real, steps, jnp.zeros_like(steps))

        passed = {"vectors": memory.output}
        if attention:
            passed["attention"] = laid_out(attention[0])
        return laid_out(logits), passed

    def predict(self, batch: Batch) -> Arrays:
        raise InputError("predict must be asked of a sequence model; got an encoder–decoder")

    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        check_batch(self.spec, batch, labelled=False)
        arrays = self.moved(batch)
        self.make_room(f"decode {max_steps}", arrays)
        return array(self.call(_decode, self.parameters, arrays, static=(max_steps,)))

    def stepper(self, batch: Batch) -> DecoderStep:
        check_batch(self.spec, batch, labelled=False)
        arrays = self.moved(batch)
        self.make_room("stepper", arrays)
        memory, states = self.call(_begin, self.parameters, arrays)

        def step(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
            nonlocal states
            given = jax.device_put([each.astype(np.int32) for each in (tokens, parents)], self.device_used)
            logits, states = self.call(_go_on, self.parameters, memory, *given, states)
            return array(logits)

        return step


def _encode(program: Program, parameters: Tree, batch: Results) -> tuple[Memory, Layers]:
    """What the encoder leaves, and the decoder's first states."""
    spec: Seq2Seq = program.spec
    output, h_n = run_rnn(program, parameters, lookup(parameters["source_embedding"], batch["tokens"]), batch)
    keys = output @ parameters["attention.w2"].T if spec.attention else None
    memory = Memory(output, keys, step_mask(batch["lengths"], output.shape[1])[..., 0])
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
    program: Program,
    parameters: Tree,
    memory: Memory,
    tokens: jax.Array,
    states: Layers,
    factors: Sequence[jax.Array] = (),
) -> tuple[jax.Array, Layers, list[jax.Array]]:
    """The logits (batch, target_size) and the states after a step that is given the tokens (batch,), and, with
    attention, its weights; dropout's factors multiply what each layer hands up.
    """
    embedded = lookup(parameters["target_embedding"], tokens)
    s = jnp.concatenate(states[-1], axis=-1)
    attention = [] if memory.keys is None else [_attend(parameters, memory.keys, memory.real, s)]
    context = [jnp.einsum("bt,btf->bf", weights, memory.output) for weights in attention]
    x = jnp.concatenate([embedded, *context], axis=-1)
    after = []
    for layer, before in enumerate(states):
        halves: list[jax.Array] = []
        for direction, state in enumerate(before):
            w = [parameters[f"decoder.{weight_name(kind, layer, direction)}"] for kind in KINDS]
            halves += gru_step(program.spec.decoder_rnn, w, x, (state,))
        after.append(halves)
        x = jnp.concatenate(halves, axis=-1) * factors[layer] if factors else jnp.concatenate(halves, axis=-1)
    return head(parameters, jnp.concatenate([x, *context], axis=-1)), after, attention


def _attend(parameters: Tree, keys: jax.Array, real: jax.Array, s: jax.Array) -> jax.Array:
    """The weights (batch, seq_len) of the memory's steps, softmax of v·tanh(W1 s + W2 memory), for the decoder's top
    states s (batch, state_size).
    """
    query = s @ parameters["attention.w1"].T
    energies = jnp.tanh(query[:, None] + keys) @ parameters["attention.v"]  # (batch, seq_len)
    return jax.nn.softmax(jnp.where(real, wide(energies), -jnp.inf), axis=-1).astype(s.dtype)


@partial(jax.jit, static_argnums=(0, 1))
def _decode(program: Program, max_steps: int, parameters: Tree, batch: Results) -> jax.Array:
    """Greedy answers (batch, max_steps), each up to its end token, then padding."""
    memory, states = _encode(program, parameters, batch)
    start = jnp.full(len(batch["tokens"]), START, jnp.int32)

    def body(carry: tuple[Layers, jax.Array, jax.Array], _: None) -> tuple[tuple, jax.Array]:
        states, tokens, ended = carry
        logits, states, _attention = _step(program, parameters, memory, tokens, states)
        tokens = best(logits)
        return (states, tokens, ended | (tokens == END)), jnp.where(ended, PADDING, tokens)

    _, answers = jax.lax.scan(body, (states, start, jnp.zeros_like(start, bool)), length=max_steps)
    return answers.T  # (max_steps, batch) to (batch, max_steps)


@partial(jax.jit, static_argnums=0)
def _begin(program: Program, parameters: Tree, batch: Results) -> tuple[Memory, Layers]:
    """What the encoder leaves, and the decoder's first states."""
    return _encode(program, parameters, batch)


@partial(jax.jit, static_argnums=0)
def _go_on(
    program: Program, parameters: Tree, memory: Memory, tokens: jax.Array, parents: jax.Array, states: Layers
) -> tuple[jax.Array, Layers]:
    """The logits (batch, target_size) and the states after a step from the states of the parents (batch,)."""
    before = [[state[parents] for state in of_layer] for of_layer in states]
    logits, states, _ = _step(program, parameters, memory, tokens, before)
    return logits, states
