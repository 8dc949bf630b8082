"""The parts of the models in NumPy, each with its gradient written out by hand: embedding, stack, linear, loss.

As everywhere in the reference, all works in the dtype that is given, complex128 included (forward only).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from common.cells import Product, relu
from common.models.specification import Arrays
from common.reference import Reference
from common.specification import Specification
from common.weights import one_layer, shapes, split_layers


@dataclass(frozen=True)
class Arithmetic:
    """What a model's reference computes in.

    Parameters
    ----------
    dtype
        Any NumPy float type, or complex128.
    layer
        The kind of ``Reference``, which also gives the product of matrices.
    kink, head_kink
        Where the slope of relu jumps, in the cell and in the head; see ``common.cells.Cell``.
    shares_by_logarithm
        Whether a term's share in a sum of exponentials is exp(term − the sum's logarithm), as in torch.logsumexp's
        derivative, and not exp(term − largest) over such a sum: as right, but off by the logarithm's own rounding.
    """

    dtype: np.dtype
    layer: type[Reference] = Reference
    kink: float = 0.0
    head_kink: float = 0.0
    shares_by_logarithm: bool = False

    @property
    def wide(self) -> np.dtype:
        """What softmax, means and sums over many positions are computed in: at least float32."""
        return np.promote_types(self.dtype, np.float32)

    @cached_property
    def product(self) -> Product:
        """The product of matrices."""
        one = Specification(cell="rnn_tanh", input_size=1, hidden_size=1, num_layers=1, bias=False, merge="concat")
        return self.layer(one, {}, self.dtype).product()


def embedding_gradient(tokens: np.ndarray, gradient: np.ndarray, rows: int, arithmetic: Arithmetic) -> np.ndarray:
    """The table's gradient (rows, width) from that of what was looked up (…, width); tokens (…)."""
    table = np.zeros((rows, gradient.shape[-1]), arithmetic.wide)
    np.add.at(table, tokens.ravel(), gradient.reshape(-1, gradient.shape[-1]).astype(arithmetic.wide))
    return table.astype(arithmetic.dtype)


class Stack:
    """An RNN a layer at a time, from zero states, with dropout's factors between the layers.

    ``outputs`` are the layers' merged outputs of the last ``forward``.
    """

    def __init__(self, rnn: Specification, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic) -> None:
        self.rnn = rnn
        self.arithmetic = arithmetic
        self.outputs: list[np.ndarray] = []
        self._factors: Sequence[np.ndarray] = ()
        self._layers = [
            arithmetic.layer(one_layer(rnn, layer), of_layer, arithmetic.dtype, arithmetic.kink)
            for layer, of_layer in enumerate(split_layers(rnn, weights))
        ]

    def forward(
        self, x: np.ndarray, lengths: np.ndarray | None, factors: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The top layer's output (batch, seq_len, output_size) and h_n (num_layers·num_directions, batch,
        hidden_size).

        ``factors`` multiply the outputs of all layers but the top, or are empty.
        """
        zeros = np.zeros((self.rnn.num_directions, x.shape[0], self.rnn.state_size), self.arithmetic.dtype)
        self._factors = [factor.astype(self.arithmetic.dtype) for factor in factors]
        self.outputs = []
        states = []
        for i, layer in enumerate(self._layers):
            results = layer.forward(x, lengths, zeros, zeros)
            self.outputs.append(results["output"])
            states.append(results["h_n"])
            x = results["output"] * self._factors[i] if i < len(self._factors) else results["output"]
        return x, np.concatenate(states)

    def backward(self, d_output: np.ndarray, d_h_n: np.ndarray) -> tuple[np.ndarray, Arrays]:
        """The gradient of x, and those of the weights by canonical name."""
        by_name: Arrays = {}
        no_c = np.zeros((self.rnn.num_directions, *d_h_n.shape[1:]), self.arithmetic.dtype)
        for i in reversed(range(len(self._layers))):
            if i < len(self._factors):
                d_output = d_output * self._factors[i]
            rows = slice(i * self.rnn.num_directions, (i + 1) * self.rnn.num_directions)
            gradients = self._layers[i].backward(d_output, d_h_n[rows], no_c)
            d_output = gradients["grad.x"]
            for name in shapes(self._layers[i].spec):
                by_name[name.replace("_l0", f"_l{i}", 1)] = gradients[f"grad.{name}"]
        return d_output, by_name


class Head:
    """Linear layers with ReLU between them; parameters ``head.{i}.weight`` (out, in) and ``head.{i}.bias`` (out,)."""

    def __init__(self, weights: Mapping[str, np.ndarray], arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        count = sum(name.startswith("head.") for name in weights) // 2
        self._layers = [(weights[f"head.{i}.weight"], weights[f"head.{i}.bias"]) for i in range(count)]

    def forward(self, x: np.ndarray) -> list[np.ndarray]:
        """What every linear layer gives, before ReLU; the last is the logits (…, classes). x is (…, readout_size)."""
        inputs: list[np.ndarray] = []
        for weight, bias in self._layers:
            inputs.append(self.arithmetic.product(relu(inputs[-1]) if inputs else x, weight.T) + bias)
        return inputs

    def backward(self, d_logits: np.ndarray, x: np.ndarray, sums: Sequence[np.ndarray]) -> tuple[np.ndarray, Arrays]:
        """The gradients of x and of the parameters; ``sums`` are what ``forward`` gave, the logits not needed."""
        by_name: Arrays = {}
        gradient = d_logits
        for i in reversed(range(len(self._layers))):
            before = x if i == 0 else relu(sums[i - 1])
            name = f"head.{i}"
            by_name[f"{name}.weight"], by_name[f"{name}.bias"] = linear_gradients(gradient, before, self.arithmetic)
            gradient = self.arithmetic.product(gradient, self._layers[i][0])
            if i > 0:
                gradient = np.where(sums[i - 1] > self.arithmetic.head_kink, gradient, np.zeros_like(gradient))
        return gradient, by_name


def linear_gradients(d_output: np.ndarray, x: np.ndarray, arithmetic: Arithmetic) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of weight (out, in) and bias (out,) of a linear layer, from (…, out) and (…, in)."""
    flat = d_output.reshape(-1, d_output.shape[-1])  # (positions, out)
    weight = arithmetic.product(flat.T, x.reshape(-1, x.shape[-1]))
    return weight, flat.astype(arithmetic.wide).sum(axis=0).astype(arithmetic.dtype)


class Loss(NamedTuple):
    """Cross-entropy: of every position (0 where not counted), their mean, how many are right, and the gradient of the
    mean by the logits.
    """

    each: np.ndarray
    mean: np.ndarray
    correct: np.ndarray
    gradient: np.ndarray


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, counted: np.ndarray, divisor: int, arithmetic: Arithmetic
) -> Loss:
    """The mean cross-entropy between softmax(logits) and the labels over the counted positions.

    logits (…, classes), labels and counted (…); ``divisor`` is what the sum is divided by: how many are counted, or 1
    where none are.
    """
    right = (best(logits) == labels) & counted
    wide = logits.astype(arithmetic.wide)
    shifted = wide - wide.real.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=-1, keepdims=True)
    label = labels[..., None]
    losses = (np.log(total) - np.take_along_axis(shifted, label, axis=-1))[..., 0]
    losses = np.where(counted, losses, np.zeros_like(losses))
    gradient = exponentials / total
    np.put_along_axis(gradient, label, np.take_along_axis(gradient, label, axis=-1) - 1, axis=-1)
    gradient = np.where(counted[..., None], gradient / divisor, np.zeros_like(gradient))
    mean = np.asarray(losses.sum() / arithmetic.wide.type(divisor))
    return Loss(losses, mean, np.asarray(right.sum(), np.int64), gradient.astype(arithmetic.dtype))


def best(logits: np.ndarray) -> np.ndarray:
    """The first largest logit of each position, (…) int64."""
    return logits.real.argmax(axis=-1)
