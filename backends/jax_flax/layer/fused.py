"""One direction of a recurrent layer with its derivative written out: the loops of ``tuned``.

The loop over time keeps only what needs the step before: the product with the recurrent kernel, and the gates. Whatever
does not is done for many steps at once, before or after it: the input's product, the derivatives of the gates, and the
gradients of both kernels and of the input, one product each. Of the way forward only the states are kept; the way back
computes the gates again, for many steps at once. "Many" is a piece of the sequence, small enough for its arrays to stay
in the cache, and for XLA's temporary memory to be used again at the next call (docs/tuning.md has the measurements).

Arrays of a sequence are (seq_len, batch, features), or (seq_len, features, batch) where ``Loop.batch_last``. Each gate
of the input's product is an array of its own: XLA's CPU compiler does not vectorise a loop's gates when they are read
as pieces of one wider array at the step's index (jaxlib 0.10.2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from backends.jax_flax.layer.lengths import States

Tree = Any
"""A tree of arrays."""
PIECE_BYTES = 2 << 20
"""The most that the gates of the steps worked on at once may take (see ``steps_in_piece``)."""


class Loop(NamedTuple):
    """What a direction's program depends on: the cell, whether time runs backwards, which axis is the last, and how
    many steps make a piece.
    """

    cell: str
    reset_after: bool
    reverse: bool
    batch_last: bool
    steps: int

    @property
    def axis(self) -> int:
        """The axis of the features."""
        return -2 if self.batch_last else -1

    @property
    def reset_before(self) -> bool:
        """Whether r multiplies h before n's recurrent product."""
        return self.cell == "gru" and not self.reset_after

    def product(self, a: jax.Array, kernel: jax.Array) -> jax.Array:
        """Features of ``a``, for a step or a sequence, times ``kernel``, (in, out)."""
        return jnp.einsum("...ib,io->...ob" if self.batch_last else "...bi,io->...bo", a, kernel)

    def product_over_time(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Sum of the outer products of two sequences' features over steps and batch, (features, features)."""
        if self.batch_last:
            a, b = a.swapaxes(1, 2), b.swapaxes(1, 2)  # to (seq_len, batch, features)
        rows = a.reshape(-1, a.shape[-1]).T  # (seq_len, batch, in) to (in, seq_len·batch)
        # The barrier has XLA:CPU write the transposed array out, faster than its product of a transposed one.
        return jax.lax.optimization_barrier(rows) @ b.reshape(-1, b.shape[-1])

    def sum_over_time(self, a: jax.Array) -> jax.Array:
        """(features,)."""
        return a.sum(0).sum(-1 if self.batch_last else 0)

    def along(self, bias: jax.Array) -> jax.Array:
        """A bias, (features,), in the shape that adds to a step."""
        return bias[:, None] if self.batch_last else bias

    def split(self, a: jax.Array, gates: int) -> list[jax.Array]:
        """The gates of an array that holds ``gates`` of them."""
        return jnp.split(a, gates, axis=self.axis)

    def join(self, gates: list[jax.Array]) -> jax.Array:
        """The inverse of ``split``."""
        return jnp.concatenate(gates, axis=self.axis) if len(gates) > 1 else gates[0]

    def pieces(self, sequences: Tree) -> Tree:
        """Sequences in pieces of ``steps`` steps, (seq_len, …) to (pieces, steps, …)."""
        return jax.tree.map(lambda a: a.reshape(-1, self.steps, *a.shape[1:]), sequences)

    def before(self, states: jax.Array, initial: jax.Array) -> jax.Array:
        """The state that each step started from, for the states that the steps left."""
        first = initial[None]
        return jnp.concatenate([states[1:], first] if self.reverse else [first, states[:-1]])


class Weights(NamedTuple):
    """One direction's weights. ``biases`` hold both canonical biases but for the n of a GRU with reset_after, whose
    recurrent one is ``recurrent_bias``, None elsewhere. kernels: (in, hidden_size) a gate; recurrent: (hidden_size,
    G·hidden_size); biases: (hidden_size,) a gate.
    """

    kernels: tuple[jax.Array, ...]
    biases: tuple[jax.Array, ...]
    recurrent: jax.Array
    recurrent_bias: jax.Array | None


class Factors(NamedTuple):
    """The derivative of a step at every step: what the gradients that arrive are multiplied by.

    gates: dgate/dh (dgate/dc for i, f and g), the gate before its activation; with reset_before dr/d(r·h). kept: dh/dh
    past the products, z for a GRU and 1 at padding. cell: dc/dh and dc/dc of an LSTM. reset: r, with reset_before.
    input_n: dn/dh of a GRU with reset_after, whose last of ``gates`` is that of R_n h + b_hn.
    """

    gates: tuple[jax.Array, ...]
    kept: jax.Array | None = None
    cell: tuple[jax.Array, ...] = ()
    reset: jax.Array | None = None
    input_n: jax.Array | None = None


def recurrent_parts(loop: Loop, recurrent: jax.Array) -> tuple[jax.Array, ...]:
    """The recurrent kernels that a step multiplies by: one, or with reset_before that of r and z, and n's."""
    rows = recurrent.shape[0]
    return (recurrent[:, : 2 * rows], recurrent[:, 2 * rows :]) if loop.reset_before else (recurrent,)


def gates_of(
    loop: Loop, kernels: tuple[jax.Array, ...], bias: jax.Array | None, from_x: tuple[jax.Array, ...], h: jax.Array
) -> tuple[jax.Array, ...]:
    """The gates after their activations, of a step or, given all of ``h``, of a sequence; equations in common.cells.

    Of a GRU with reset_after also R_n h + b_hn, of an RNN the sum before the activation.
    """
    product = loop.product(h, kernels[0])
    if loop.cell == "lstm":
        i, f, g, o = (x + p for x, p in zip(from_x, loop.split(product, 4), strict=True))
        return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    if loop.cell != "gru":
        return (from_x[0] + product,)
    parts = loop.split(product, 2 if loop.reset_before else 3)
    r, z = (sigmoid(x + p) for x, p in zip(from_x[:2], parts[:2], strict=True))
    if loop.reset_before:
        return r, z, jnp.tanh(from_x[2] + loop.product(r * h, kernels[1]))
    from_h = parts[2] + loop.along(bias)
    return r, z, jnp.tanh(from_x[2] + r * from_h), from_h


def step(loop: Loop, gates: tuple[jax.Array, ...], states: States) -> States:
    """The new states."""
    if loop.cell == "gru":
        _, z, n, *_ = gates
        return ((1 - z) * n + z * states[0],)
    if loop.cell == "lstm":
        i, f, g, o = gates
        c = f * states[1] + i * g
        return o * jnp.tanh(c), c
    return (jnp.tanh(gates[0]) if loop.cell == "rnn_tanh" else jax.nn.relu(gates[0]),)


def from_input(loop: Loop, x: jax.Array, w: Weights) -> tuple[jax.Array, ...]:
    """The input's part of every gate, one product each for all steps."""
    pairs = zip(w.kernels, w.biases, strict=True)
    return tuple(loop.product(x, kernel) + loop.along(bias) for kernel, bias in pairs)


def steps_in_piece(seq_len: int, step_bytes: int, least: int) -> int:
    """How many steps to work on at once: the most that divide ``seq_len`` and whose gates, ``step_bytes`` each, take
    PIECE_BYTES or less, or that are no more than ``least``; all where ``seq_len`` has no such divisor of at least half
    of that.
    """
    most = max(1, min(seq_len, max(PIECE_BYTES // step_bytes, least)))
    divisor = next(steps for steps in range(most, 0, -1) if seq_len % steps == 0)
    return divisor if 2 * divisor >= most else seq_len


def scan_pieces(run: Callable, carry: Tree, pieces: Tree, reverse: bool) -> tuple[Tree, Tree]:
    """``jax.lax.scan`` over pieces, (pieces, steps, …), giving a sequence, (pieces·steps, …), back."""
    if len(jax.tree.leaves(pieces)[0]) == 1:
        return run(carry, jax.tree.map(lambda a: a[0], pieces))
    carry, outputs = jax.lax.scan(run, carry, pieces, reverse=reverse)
    return carry, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), outputs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def run_direction(
    loop: Loop, x: jax.Array, w: Weights, real: jax.Array | None, states: States
) -> tuple[jax.Array, States]:
    """Every step's h and the final states, past a length the state that stays.

    ``real`` says where a step is no padding, in the shape of a sequence with one feature; x must be finite at padding.
    """
    every, final = _run(loop, x, w, real, states)
    return every[0], final


def _run(loop: Loop, x: jax.Array, w: Weights, real: jax.Array | None, states: States) -> tuple[States, States]:
    """Every step's states and the final ones."""
    kernels = recurrent_parts(loop, w.recurrent)

    def body(states: States, at_t: tuple) -> tuple[States, States]:
        from_x, real = at_t
        new = step(loop, gates_of(loop, kernels, w.recurrent_bias, from_x, states[0]), states)
        if real is not None:
            new = tuple(jnp.where(real, after, held) for after, held in zip(new, states, strict=True))
        return new, new

    def piece(states: States, part: tuple) -> tuple[States, States]:
        x, real = part
        return jax.lax.scan(body, states, (from_input(loop, x, w), real), reverse=loop.reverse)

    final, every = scan_pieces(piece, states, loop.pieces((x, real)), loop.reverse)
    return every, final


def _forward(loop: Loop, x: jax.Array, w: Weights, real: jax.Array | None, states: States) -> tuple:
    """The results of ``run_direction``, and what its derivative needs."""
    every, final = _run(loop, x, w, real, states)
    return (every[0], final), (x, w, real, states, every)


def factors(loop: Loop, gates: tuple[jax.Array, ...], every: States, before: States) -> Factors:
    """The derivative of every step, were none of them padding; with s = sigmoid(a), ds/da = s·(1 - s), and with
    t = tanh(a), dt/da = 1 - t².
    """
    h, old = every[0], before[0]
    if loop.cell == "rnn_tanh":
        return Factors((1 - h * h,))
    if loop.cell == "rnn_relu":
        return Factors(((h > 0).astype(h.dtype),))
    if loop.cell == "lstm":
        i, f, g, o = gates
        t = jnp.tanh(every[1])
        by_gates = (g * i * (1 - i), before[1] * f * (1 - f), i * (1 - g * g), t * o * (1 - o))
        return Factors(by_gates, cell=(o * (1 - t * t), f))
    r, z, n, *from_h = gates
    by_z, by_n = (old - n) * z * (1 - z), (1 - z) * (1 - n * n)
    if loop.reset_before:
        return Factors((old * r * (1 - r), by_z, by_n), kept=z, reset=r)
    return Factors((by_n * from_h[0] * r * (1 - r), by_z, by_n * r), kept=z, input_n=by_n)


def mask_factors(of: Factors, real: jax.Array) -> Factors:
    """The factors with those of padding changed: no gate has a gradient there, and the states' gradients pass."""
    zeros = jnp.zeros((), of.gates[0].dtype)
    masked = jax.tree.map(lambda factor: jnp.where(real, factor, zeros), of)
    kept = jnp.where(real, zeros if of.kept is None else of.kept, 1 + zeros)
    cell = (masked.cell[0], jnp.where(real, of.cell[1], 1 + zeros)) if of.cell else ()
    return masked._replace(kept=kept, cell=cell)


def pull_step(loop: Loop, kernels: tuple[jax.Array, ...], given: Factors, states: States) -> tuple[States, jax.Array]:
    """One step back: the gradients of the states before it, and the gates', joined, as the recurrent kernel sees them.

    ``kernels`` are transposed. For the gates a of h' to h: da = dh · dh/da, dh' = Rᵀ da + dh · kept.
    """
    dh = states[0]
    if loop.reset_before:
        by_z, by_n = dh * given.gates[1], dh * given.gates[2]
        by_reset = loop.product(by_n, kernels[1])  # of r·h
        by_both = loop.join([by_reset * given.gates[0], by_z])
        old = loop.product(by_both, kernels[0]) + by_reset * given.reset + dh * given.kept
        return (old,), loop.join([by_both, by_n])
    if loop.cell == "lstm":
        dc = states[1] + dh * given.cell[0]
        *of_c, of_h = given.gates
        by_gates = loop.join([*(dc * gate for gate in of_c), dh * of_h])
    else:
        by_gates = loop.join([dh * gate for gate in given.gates])
    old = loop.product(by_gates, kernels[0])
    if given.kept is not None:
        old = old + dh * given.kept
    return ((old, dc * given.cell[1]) if loop.cell == "lstm" else (old,)), by_gates


def _backward(loop: Loop, kept: tuple, cotangents: tuple[jax.Array, States]) -> tuple:
    """The derivative of ``run_direction``."""
    x, w, real, states, every = kept
    by_output, by_final = cotangents
    kernels = recurrent_parts(loop, w.recurrent)
    transposed = tuple(kernel.T for kernel in kernels)  # (hidden, gates) to (gates, hidden)
    by_input = jnp.concatenate([kernel.T for kernel in w.kernels])  # (in, gates) to (gates, in)

    def body(states: States, at_t: tuple) -> tuple[States, tuple]:
        by_output, given = at_t
        states = (states[0] + by_output, *states[1:])
        old, by_gates = pull_step(loop, transposed, given, states)
        return old, (by_gates, None if given.input_n is None else states[0])

    def piece(carry: tuple, part: tuple) -> tuple:
        by_states, sums = carry
        x, real, every, first, by_output = part
        before = tuple(loop.before(after, edge) for after, edge in zip(every, first, strict=True))
        gates = (
            ()
            if loop.cell.startswith("rnn")
            else gates_of(loop, kernels, w.recurrent_bias, from_input(loop, x, w), before[0])
        )
        of = factors(loop, gates, every, before)
        if real is not None:
            of = mask_factors(of, real)
        by_states, (by_gates, dh) = jax.lax.scan(body, by_states, (by_output, of), reverse=not loop.reverse)
        new, by_gates = weight_sums(loop, x, before[0], of, by_gates, dh)
        return (by_states, jax.tree.map(jnp.add, sums, new)), loop.product(by_gates, by_input)

    every = loop.pieces(every)
    first = tuple(
        loop.before(after[:, 0 if loop.reverse else -1], initial) for after, initial in zip(every, states, strict=True)
    )
    sums = jax.tree.map(jnp.zeros_like, _sums_of(w))
    parts = (*loop.pieces((x, real)), every, first, loop.pieces(by_output))
    (by_states, sums), by_x = scan_pieces(piece, (by_final, sums), parts, not loop.reverse)
    by_kernels, by_biases, by_recurrent, by_bias = sums
    count = len(w.kernels)
    weights = Weights(
        tuple(jnp.split(by_kernels, count, axis=1)), tuple(jnp.split(by_biases, count)), by_recurrent, by_bias
    )
    return by_x, weights, None, by_states


def _sums_of(w: Weights) -> tuple:
    """Arrays of the shapes that ``weight_sums`` gives."""
    return jnp.concatenate(w.kernels, axis=1), jnp.concatenate(w.biases), w.recurrent, w.recurrent_bias


def weight_sums(
    loop: Loop, x: jax.Array, h: jax.Array, of: Factors, by_gates: jax.Array, dh: jax.Array | None
) -> tuple[tuple, jax.Array]:
    """The gradients of the kernels joined, the biases joined, the recurrent kernel, Σ_t h_{t-1}ᵀ da_t, and its bias;
    and the gates' as the input's kernel sees them, which differ where r multiplies R_n h alone.
    """
    if of.reset is None:
        by_recurrent = loop.product_over_time(h, by_gates)
    else:
        by_r, by_z, by_n = loop.split(by_gates, 3)
        first = loop.product_over_time(h, loop.join([by_r, by_z]))
        by_recurrent = jnp.concatenate([first, loop.product_over_time(of.reset * h, by_n)], axis=1)
    by_bias = None
    if of.input_n is not None:
        *by_rz, by_hn = loop.split(by_gates, 3)
        by_bias, by_gates = loop.sum_over_time(by_hn), loop.join([*by_rz, dh * of.input_n])
    return (loop.product_over_time(x, by_gates), loop.sum_over_time(by_gates), by_recurrent, by_bias), by_gates


run_direction.defvjp(_forward, _backward)
