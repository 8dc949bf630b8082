"""The decoder's stack of GRU cells and the bridge to its first states, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.cells import GRUResetAfter, State, tanh_slope
from common.models.layers import Arithmetic, linear_gradients
from common.models.specification import Arrays, Seq2Seq, decoder_shapes
from common.weights import KINDS, DirectionWeights, weight_name, without_prefix


class Bridge:
    """Decoder layer l's first states: tanh(W [forward; reverse final state of encoder layer l] + b), or, where the
    encoder has one direction, tanh(W forward + b).

    States are (num_layers, directions, batch, hidden_size); W's first H rows make the forward direction's.
    """

    def __init__(self, spec: Seq2Seq, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic) -> None:
        self._directions, self._read = spec.decoder_directions, spec.encoder.num_directions
        self._arithmetic = arithmetic
        self._layers = [
            (weights[f"bridge.{layer}.weight"], weights[f"bridge.{layer}.bias"])
            for layer in range(spec.encoder.num_layers)
        ]

    def joined(self, h_n: np.ndarray) -> np.ndarray:
        """The directions' final states side by side, (num_layers, batch, num_directions·hidden_size), forward first."""
        by_layer = h_n.reshape(len(self._layers), self._read, *h_n.shape[1:])
        return np.concatenate(list(by_layer.swapaxes(0, 1)), axis=-1)

    def joined_gradient(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient of h_n by that of the joined final states."""
        each = np.split(gradient, self._read, axis=-1)  # (num_layers, batch, hidden_size) each
        return np.stack(each, axis=1).reshape(-1, *each[0].shape[1:])

    def forward(self, h_n: np.ndarray) -> np.ndarray:
        """The first states from h_n (num_layers·num_directions, batch, hidden_size)."""
        self._joined = self.joined(h_n)
        states = [
            np.tanh(self._arithmetic.product(joined, weight.T) + bias)
            for joined, (weight, bias) in zip(self._joined, self._layers, strict=True)
        ]
        self._states = np.stack(states)  # (num_layers, batch, directions·hidden_size)
        return np.stack(np.split(self._states, self._directions, axis=-1), axis=1)

    def backward(self, d_states: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """The gradients of h_n and of the parameters."""
        by_name: Arrays = {}
        d_joined = []
        d_sums = np.concatenate(list(d_states.swapaxes(0, 1)), axis=-1) * tanh_slope(self._states)
        for layer, (weight, _) in enumerate(self._layers):
            gradients = linear_gradients(d_sums[layer], self._joined[layer], self._arithmetic)
            by_name[f"bridge.{layer}.weight"], by_name[f"bridge.{layer}.bias"] = gradients
            d_joined.append(self._arithmetic.product(d_sums[layer], weight))
        return self.joined_gradient(np.stack(d_joined)), by_name


class Decoder:
    """A stack of reset-after GRU cells, in one direction or two, stepped by hand.

    With two directions each step is a bidirectional stack's run over a sequence of one step: both directions of a
    layer read the same input, and the next layer reads both.
    """

    def __init__(self, spec: Seq2Seq, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic) -> None:
        canonical = without_prefix("decoder.", weights)
        self._names = list(decoder_shapes(spec))
        self._places = [
            (layer, direction)
            for layer in range(spec.encoder.num_layers)
            for direction in range(spec.decoder_directions)
        ]
        self._cells = {
            place: GRUResetAfter(
                DirectionWeights(*(canonical[weight_name(kind, *place)] for kind in KINDS)), arithmetic.product
            )
            for place in self._places
        }
        self._kept: list[tuple[dict[tuple[int, int], Any], Sequence[np.ndarray]]] = []
        self._totals = {name: np.zeros_like(canonical[name]) for name in self._names}

    def step(self, x: np.ndarray, states: np.ndarray, factors: Sequence[np.ndarray] = ()) -> np.ndarray:
        """The states after a step with the input x (batch, in).

        ``factors`` (batch, state_size) multiply what each layer hands to the next one, or are empty.
        """
        after = np.empty_like(states)
        kept = {}
        for layer in range(len(states)):
            for direction in range(states.shape[1]):
                state = State(states[layer, direction], np.zeros_like(states[layer, direction]))
                new, kept[layer, direction] = self._cells[layer, direction].forward(x, state)
                after[layer, direction] = new.h
            x = top(after[layer]) * factors[layer] if factors else top(after[layer])
        self._kept.append((kept, factors))
        return after

    def back_step(self, d_states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradients of x and of the states before, for the last step that has not gone back yet."""
        kept, factors = self._kept.pop()
        before = np.empty_like(d_states)
        d_above = np.zeros_like(top(d_states[-1]))  # what the layer above sends into this one's states
        for layer in reversed(range(len(d_states))):
            d_above = d_above * factors[layer] if factors else d_above
            d_into = d_states[layer] + split_top(d_above, d_states.shape[1])
            d_above = np.zeros((), d_states.dtype)
            for direction in range(d_states.shape[1]):
                d_state = State(d_into[direction], np.zeros_like(d_into[direction]))
                back = self._cells[layer, direction].backward(d_state, kept[layer, direction])
                before[layer, direction] = back.state.h
                d_above = d_above + back.x
                for kind in KINDS:
                    name = weight_name(kind, layer, direction)
                    self._totals[name] = self._totals[name] + getattr(back.weights, kind)
        return d_above, before

    def gradients(self) -> Arrays:
        """The weights' gradients, when all steps have gone back."""
        return {f"decoder.{name}": self._totals[name] for name in self._names}


def top(states: np.ndarray) -> np.ndarray:
    """A layer's states (directions, batch, hidden_size) side by side, (batch, directions·hidden_size)."""
    return np.concatenate(list(states), axis=-1)


def split_top(side_by_side: np.ndarray, directions: int) -> np.ndarray:
    """The inverse of ``top``."""
    return np.stack(np.split(side_by_side, directions, axis=-1))
