"""tuned: GRU and RNN with a backward pass written by hand, both directions in one loop; docs/tuning.md has the figures.

Both directions run as a batch of two, the second on input reversed by length, so that one product serves both; one
direction is a batch of one. Below, D is the number of directions. The input product stands before the loop. Going
back, the factors between the gradient of a state and those of its gates are computed for many steps at once, so that
the loop itself has one product and two pointwise operations a step, and the gradients of weights are products over many
steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from backends.pytorch.layer.implementation import Results, TorchImplementation
from backends.pytorch.layer.lengths import States, flip, merge, step_mask
from common.specification import NUM_DIRECTIONS, Specification
from common.weights import KINDS, merge_weight_name, weight_name

CHUNK = 2**20
"""Numbers of one gate, both directions, that are worked on at once: 4 MB in float32, so that the cache holds them."""
RNN_STEPS = 128
"""The most steps of an RNN's span, whose loop is no slower in short spans (a GRU's is: each span of it has a dozen
operations of its own), so that what goes from span to span also shows where there are few rows."""
Tensors = list[torch.Tensor]
"""Tensors in an order that a function of this module names."""
CELLS = ("rnn_tanh", "rnn_relu", "gru")
"""The cells whose backward pass is written here; an LSTM's is the framework's own."""


def by_direction(x: torch.Tensor, lengths: torch.Tensor | None, directions: int) -> torch.Tensor:
    """(batch, seq_len, features) to (D, seq_len, batch, features): as it is, and reversed by length."""
    each = [x, flip(x, lengths)] if directions == NUM_DIRECTIONS else [x]
    return torch.stack([source.transpose(0, 1) for source in each])  # each to (seq_len, batch, features)


def batch_first(states: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Back again: (D, seq_len, batch, features) to (batch, seq_len, D, features), the second half reversed."""
    forward, *reverse = states.transpose(1, 2)  # (batch, seq_len, features) each
    return torch.stack([forward, *(flip(each, lengths) for each in reverse)], dim=2)


def spans(cell: str, seq_len: int, rows: int, size: int) -> list[slice]:
    """The steps, cut into pieces of about ``CHUNK`` numbers, an RNN's of at most ``RNN_STEPS`` steps.

    ``rows`` are those of a step, D·batch.
    """
    steps = max(1, CHUNK // (rows * size))
    if cell != "gru":
        steps = min(steps, RNN_STEPS)
    return [slice(start, min(start + steps, seq_len)) for start in range(0, seq_len, steps)]


class Gradients:
    """Gradients by x, (D, seq_len, batch, in), where it is wanted, and by the weights, added up over spans of steps.

    ``total`` is the gradient by the sum of a step's products, (D, steps, batch, gates·hidden_size).
    """

    def __init__(self, x: torch.Tensor, weights: Tensors, by_x: bool) -> None:
        self._source = x
        self._kernel = weights[0]
        self.x = torch.empty_like(x) if by_x else None
        self.weights = [torch.zeros_like(weight) for weight in weights]

    def add_recurrent(self, total: torch.Tensor, before: torch.Tensor) -> None:
        """What the recurrent kernel and bias get; ``before`` are the states before each step."""
        rows = total.flatten(1, 2)
        self.weights[1].baddbmm_(rows.mT, before.flatten(1, 2))
        self.weights[3] += rows.sum(1)

    def add_input(self, total: torch.Tensor, span: slice) -> None:
        """What the input, its kernel and its bias get."""
        rows = total.flatten(1, 2)
        self.weights[0].baddbmm_(rows.mT, self._source[:, span].flatten(1, 2))
        self.weights[2] += rows.sum(1)
        if self.x is not None:
            self.x[:, span] = torch.bmm(rows, self._kernel).unflatten(1, total.shape[1:3])


def run_rnn(activation: str, x: torch.Tensor, h: torch.Tensor, weights: Tensors, keep: bool) -> Tensors:
    """Fill h[:, 1:] from h[:, 0]; x (D, seq_len, batch, in), h (D, seq_len + 1, batch, hidden_size).

    ``weights`` are weight_ih, weight_hh, bias_ih and bias_hh, each with the directions on its first axis.
    """
    kernel, recurrent_kernel, bias, recurrent_bias = weights
    _, seq_len, batch, _ = x.shape
    before = h[:, 0]
    total = torch.empty_like(before)
    for span in spans("rnn", seq_len, len(x) * batch, h.shape[-1]):
        rows = x[:, span].flatten(1, 2)
        from_x = torch.baddbmm((bias + recurrent_bias)[:, None], rows, kernel.mT).unflatten(1, (-1, batch))
        for source, after in zip(from_x.unbind(1), h[:, 1:][:, span].unbind(1), strict=True):
            torch.baddbmm(source, before, recurrent_kernel.mT, out=total)
            if activation == "tanh":
                torch.tanh(total, out=after)
            else:
                torch.clamp_min(total, 0, out=after)
            before = after
    return []


def differentiate_rnn(
    activation: str, gradients: Gradients, grad_h: torch.Tensor, h: torch.Tensor, weights: Tensors, kept: Tensors
) -> None:
    """Fill ``gradients``; grad_h (seq_len + 1, D, batch, hidden_size) comes with those of the outputs
    and leaves, in its first step, with that of h_0.
    """
    backward = torch.ops.aten.tanh_backward if activation == "tanh" else _relu_backward
    for span in reversed(spans("rnn", h.shape[1] - 1, len(h) * h.shape[2], h.shape[-1])):
        after, total = h[:, 1:][:, span], torch.empty_like(h[:, span], memory_format=torch.contiguous_format)
        steps = zip(grad_h[span], grad_h[1:][span], after.unbind(1), total.unbind(1), strict=True)
        for grad_before, grad_after, state, grad_total in reversed(list(steps)):
            backward(grad_after, state, grad_input=grad_total)
            grad_before.baddbmm_(grad_total, weights[1])
        gradients.add_recurrent(total, h[:, span])
        gradients.add_input(total, span)


def _relu_backward(grad: torch.Tensor, output: torch.Tensor, grad_input: torch.Tensor) -> None:
    """Write the gradient by a ReLU's input into ``grad_input``."""
    torch.ops.aten.threshold_backward(grad, output, 0, grad_input=grad_input)


def run_gru(_: str, x: torch.Tensor, h: torch.Tensor, weights: Tensors, keep: bool) -> Tensors:
    """Fill h as ``run_rnn`` does; keeps for each span the gates r, z and R h + b_hh for n, (steps, D, batch,
    3·hidden_size), and n, (D, steps, batch, hidden_size).
    """
    kernel, recurrent_kernel, bias, recurrent_bias = weights
    _, seq_len, batch, _ = x.shape
    size = h.shape[-1]
    rz = 2 * size  # the columns of r and z come before those of n
    bias_rz = bias[:, :rz] + recurrent_bias[:, :rz]
    cut = spans("gru", seq_len, len(x) * batch, size)
    most = cut[0].stop
    from_x = x.new_empty(len(x), most * batch, 3 * size)
    from_x[:, :, rz:] = recurrent_bias[:, None, rz:]
    before = h[:, 0]
    kept: Tensors = []
    for span in cut:
        rows = x[:, span].flatten(1, 2)
        if keep or not kept:
            gates = x.new_empty(most, len(x), batch, 3 * size)
            new = x.new_empty(len(x), most * batch, size)
            kept += [gates, new]
        for d in range(len(x)):
            count = len(rows[d])
            torch.addmm(bias_rz[d], rows[d], kernel[d, :rz].T, out=from_x[d, :count, :rz])
            torch.addmm(bias[d, rz:], rows[d], kernel[d, rz:].T, out=new[d, :count])
        by_step = [part.unflatten(1, (most, batch)).unbind(1) for part in (from_x, new)]
        parts = [gates.unbind(), gates[..., :rz].unbind(), *(part.unbind() for part in gates.split(size, -1))]
        # zip ends with the span, which the buffers may exceed
        for after, source, n, gate, r_and_z, r, z, h_n in zip(
            h[:, 1:][:, span].unbind(1), *by_step, *parts, strict=False
        ):
            torch.baddbmm(source, before, recurrent_kernel.mT, out=gate)
            r_and_z.sigmoid_()
            n.addcmul_(r, h_n).tanh_()
            torch.lerp(n, before, z, out=after)  # n + z·(h − n)
            before = after
    return kept


def differentiate_gru(
    _: str, gradients: Gradients, grad_h: torch.Tensor, h: torch.Tensor, weights: Tensors, kept: Tensors
) -> None:
    """Fill ``gradients`` of a GRU as ``differentiate_rnn`` does."""
    aten = torch.ops.aten
    size = h.shape[-1]
    pairs = zip(spans("gru", h.shape[1] - 1, len(h) * h.shape[2], size), kept[::2], kept[1::2], strict=True)
    for span, gates, new in reversed(list(pairs)):
        before = h[:, span]
        steps = before.shape[1]
        r, z, h_n = gates[:steps].transpose(0, 1).split(size, -1)  # (D, steps, batch, hidden_size) each
        n = new.unflatten(1, (-1, before.shape[2]))[:, :steps]
        # The gradient of each gate's sum is a factor, which needs no gradient, times that of the new state.
        total = torch.empty((*before.shape[:3], 3 * size), dtype=h.dtype)
        by_r, by_z, by_h_n = total.split(size, -1)
        by_n = aten.tanh_backward(1 - z, n)
        aten.sigmoid_backward(before - n, z, grad_input=by_z)
        aten.sigmoid_backward(by_n * h_n, r, grad_input=by_r)
        torch.mul(by_n, r, out=by_h_n)
        columns = (grad_h[span], grad_h[1:][span], total.unbind(1), total.unflatten(-1, (3, size)).unbind(1))
        for grad_before, grad_after, grad_total, factors, z_t in reversed(
            list(zip(*columns, z.unbind(1), strict=True))
        ):
            factors.mul_(grad_after[:, :, None])
            grad_before.addcmul_(grad_after, z_t).baddbmm_(grad_total, weights[1])
        gradients.add_recurrent(total, before)
        torch.mul(by_n, grad_h[1:][span].transpose(0, 1), out=by_h_n)  # what n's input product sees, not h_n's
        gradients.add_input(total, span)


class Layer(torch.autograd.Function):
    """One layer in its directions: x (batch, seq_len, in) and h_0 (D, batch, hidden_size) to the outputs, (batch,
    seq_len, D, hidden_size), and h_n.

    Past a length the loop runs on; what it finds there is never read, and its gradient is 0. ``x`` must be 0 there.
    """

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        keep: bool,
        x: torch.Tensor,
        lengths: torch.Tensor | None,
        h_0: torch.Tensor,
        *weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        source = by_direction(x, lengths, len(h_0))
        h = source.new_empty(len(h_0), x.shape[1] + 1, *h_0.shape[1:])
        h[:, 0] = h_0
        kept = (run_gru if cell == "gru" else run_rnn)(cell.removeprefix("rnn_"), source, h, list(weights), keep)
        if lengths is not None:
            past = torch.arange(h.shape[1], device=x.device)[:, None] > lengths  # (seq_len + 1, batch)
            h.masked_fill_(past[..., None], 0)  # relu may have grown to infinity there
        ctx.cell = cell
        ctx.save_for_backward(lengths, source, h, *weights, *(kept if keep else ()))
        final = h[:, -1].clone() if lengths is None else h[:, lengths, torch.arange(len(lengths))]
        return batch_first(h[:, 1:], lengths), final

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor, grad_final: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        lengths, x, h, *rest = ctx.saved_tensors
        weights, kept = rest[: len(KINDS)], rest[len(KINDS) :]
        grad_h = x.new_zeros(h.shape[1], len(h), *h.shape[2:])
        for direction, of_one in enumerate(grad_output.unbind(2)):  # (batch, seq_len, hidden_size) each
            grad_h[1:, direction] = (flip(of_one, lengths) if direction else of_one).transpose(0, 1)
        if lengths is None:
            grad_h[-1] += grad_final
        else:
            grad_h[lengths, :, torch.arange(len(lengths))] += grad_final.transpose(0, 1)  # (batch, D, hidden_size)
        differentiate: Callable = differentiate_gru if ctx.cell == "gru" else differentiate_rnn
        gradients = Gradients(x, weights, by_x=ctx.needs_input_grad[2])
        differentiate(ctx.cell.removeprefix("rnn_"), gradients, grad_h, h, weights, kept)
        by_x = None if gradients.x is None else batch_first(gradients.x, lengths).sum(2)
        return None, None, by_x, None, grad_h[0], *gradients.weights


class Tuned(TorchImplementation):
    """RNN and GRU on a CPU; torch.nn.LSTM has fused kernels there, which no loop over operations reaches."""

    paths = (
        *("both directions as a batch of two in one Python loop", "one direction in one Python loop"),
        *("RNN in one span", "RNN in several spans", "GRU in one span", "GRU in several spans"),
        *("padded", "flipped by length", "masked by length"),
    )

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        if spec.cell not in CELLS or not spec.reset_after or device != "cpu":
            raise NotImplementedError("torch/tuned must be asked for an RNN, or a GRU with reset_after, on a CPU")
        super().__init__(spec, dtype, device)

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self.parameters = {name: self.tensor(value, requires_grad=True) for name, value in weights.items()}

    def run(self, x: torch.Tensor, lengths: torch.Tensor | None, states: States) -> Results:
        padding = None if lengths is None else ~step_mask(lengths, x.shape[1])
        finals = []
        for layer, h_0 in enumerate(states[0].split(self.spec.num_directions)):
            if padding is not None:
                x = x.masked_fill(padding, 0)
            outputs, final = Layer.apply(
                self.spec.cell, torch.is_grad_enabled(), x, lengths, h_0, *self._stacked(layer)
            )
            weight = self.parameters.get(merge_weight_name(layer))
            x = outputs.flatten(2) if self.spec.keeps_directions else merge(self.spec, weight, *outputs.unbind(2))
            finals.append(final)
        output = x if padding is None else x.masked_fill(padding, 0)
        return {"output": output, "h_n": torch.cat(finals)}

    def _stacked(self, layer: int) -> Tensors:
        """The layer's weights by kind, the directions on the first axis; zeros for biases that are not there."""
        kinds = KINDS if self.spec.bias else KINDS[:2]
        names = [
            [weight_name(kind, layer, direction) for direction in range(self.spec.num_directions)] for kind in kinds
        ]
        stacked = [torch.stack([self.parameters[name] for name in pair]) for pair in names]
        absent = [stacked[0].new_zeros(stacked[0].shape[:2])] * (len(KINDS) - len(kinds))
        return stacked + absent

    def path(self) -> str:
        by_length = "flipped by length" if self.spec.num_directions == 2 else "masked by length"
        padded = "padded" if self.host_lengths is None else by_length
        batch, seq_len, _ = self._x.shape
        count = len(spans(self.spec.cell, seq_len, self.spec.num_directions * batch, self.spec.hidden_size))
        cut = f"{'GRU' if self.spec.cell == 'gru' else 'RNN'} in {'one span' if count == 1 else 'several spans'}"
        directions = "both directions as a batch of two in" if self.spec.num_directions == 2 else "one direction in"
        return f"{directions} one Python loop, {cut}, gradients by hand, {padded}"
