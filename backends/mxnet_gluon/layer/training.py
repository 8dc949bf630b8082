"""A train step in MXNet: a linear head, cross-entropy over the real steps, and gluon.Trainer's SGD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from backends.interface.layer import Training
from backends.mxnet_gluon.layer.lengths import Tensor, step_mask


class TrainedLayer(Protocol):
    """What training takes of an implementation, an ``MXNetImplementation``."""

    dtype: str
    seq_len: int
    parameters: Mapping[str, nd.NDArray]
    blocks: Sequence[gluon.HybridBlock]

    def tensor(self, array: np.ndarray) -> nd.NDArray:
        """A tensor in the run's dtype on its device."""
        ...

    def run(
        self, F: ModuleType, x: Tensor, lengths: Tensor | None, states: list[Tensor], weights: list[Tensor]
    ) -> list[Tensor]:
        """The output and the final states."""
        ...


class LayerTrainer:
    """The head, the labels and the optimizer of one network.

    Weights that no block of the network owns become parameters of their own. MXNet 1.9.1 keeps a learning rate as
    float32, in float64 too.

    Parameters
    ----------
    training
        What to train on.
    network
        The network; its weights are on its device.
    lengths
        (batch,) on the device, or None where the network runs over all steps.
    device, dtype
        Where the network is and what it computes in.
    """

    def __init__(
        self,
        training: Training,
        network: TrainedLayer,
        lengths: nd.NDArray | None,
        device: mx.Context,
        dtype: Any,
    ) -> None:
        self._network = network
        classes, width = training.weight.shape
        self.head = gluon.nn.Dense(classes, flatten=False, in_units=width, dtype=dtype)
        self.head.initialize(mx.init.Zero(), ctx=device)
        self.head.weight.set_data(network.tensor(training.weight))
        self.head.bias.set_data(network.tensor(training.bias))
        self.labels = nd.array(training.labels, ctx=device, dtype="int32")
        self._num_real = training.labels.size if lengths is None else max(int(lengths.asnumpy().sum()), 1)
        parameters = [*self.head.collect_params().values()]
        for block in network.blocks:
            parameters += block.collect_params().values()
        if not network.blocks:
            owned = {name: _parameter(name, value, device) for name, value in network.parameters.items()}
            network.parameters = {name: parameter.data() for name, parameter in owned.items()}
            parameters += owned.values()
        self.optimizer = gluon.Trainer(parameters, "sgd", {"learning_rate": training.learning_rate})

    def loss(
        self,
        F: ModuleType,
        x: Tensor,
        lengths: Tensor | None,
        states: list[Tensor],
        weights: list[Tensor],
        labels: Tensor,
    ) -> list[Tensor]:
        """The network's ``run`` with the head and the mean cross-entropy of the real steps, (1,)."""
        logits = self.head(self._network.run(F, x, lengths, states, weights)[0])  # (batch, seq_len, classes)
        if self._network.dtype == "float16":
            logits = F.cast(logits, "float32")  # the softmax and the mean of a narrow format are float32's
        # Not log_softmax: oneDNN's in MXNet 1.9.1 is off by about 30 float32 spacings, its gradient by up to as many.
        shifted = F.broadcast_sub(logits, F.BlockGrad(F.max(logits, axis=-1, keepdims=True)))
        losses = F.log(F.sum(F.exp(shifted), axis=-1)) - F.pick(shifted, labels, axis=-1)  # (batch, seq_len)
        if lengths is not None:
            real = F.transpose(step_mask(F, lengths, self._network.seq_len))  # (seq_len, batch) to (batch, seq_len)
            losses = F.where(real, losses, F.zeros_like(losses))
        return [F.sum(losses) / self._num_real]


def _parameter(name: str, value: nd.NDArray, device: mx.Context) -> gluon.Parameter:
    """A parameter of Gluon's that holds a value."""
    parameter = gluon.Parameter(name, shape=value.shape, dtype=value.dtype)
    parameter.initialize(mx.init.Zero(), ctx=device)
    parameter.set_data(value)
    return parameter
