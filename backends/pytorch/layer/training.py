"""A train step in PyTorch: a linear head, cross-entropy over the real steps, and torch.optim.SGD."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from backends.interface.layer import Training

IGNORED = -100
"""The label of a step that is padding (torch.nn.functional.cross_entropy's ``ignore_index``)."""


class LayerTrainer:
    """The head, the labels and the optimizer of one network.

    Parameters
    ----------
    training
        What to train on.
    parameters
        The network's weights, under their canonical names.
    lengths
        (batch,) on the device, or None.
    """

    def __init__(
        self, training: Training, parameters: Mapping[str, torch.Tensor], lengths: torch.Tensor | None
    ) -> None:
        weight = next(iter(parameters.values()))
        options = {"dtype": weight.dtype, "device": weight.device}
        classes, width = training.weight.shape
        self._head = nn.Linear(width, classes, **options)
        with torch.no_grad():
            self._head.weight.copy_(torch.tensor(training.weight))
            self._head.bias.copy_(torch.tensor(training.bias))
        labels = torch.tensor(training.labels, device=weight.device)
        if lengths is not None:
            padding = torch.arange(labels.shape[1], device=weight.device) >= lengths[:, None]
            labels = labels.masked_fill(padding, IGNORED)
        self._labels = labels.flatten()
        self._num_real = max(int((self._labels != IGNORED).sum()), 1)  # at least 1: an empty mean is NaN in PyTorch
        self._optimizer = torch.optim.SGD([*parameters.values(), *self._head.parameters()], lr=training.learning_rate)
        kernels = {f"trained.{name}": value for name, value in parameters.items() if not name.startswith("bias")}
        self._trained = {"trained.head.weight": self._head.weight, **kernels}

    def step(self, output: torch.Tensor) -> dict[str, torch.Tensor]:
        """Move all weights once; ``output`` (batch, seq_len, output_size) is the network's, with its graph.

        The loss and the moved weights by result name; these are the live ones.
        """
        logits = self._head(output).flatten(0, 1)  # (batch·seq_len, classes)
        if logits.dtype.itemsize < 4:
            logits = logits.float()  # the softmax and the mean of a narrow format are float32's
        total = nn.functional.cross_entropy(logits, self._labels, ignore_index=IGNORED, reduction="sum")
        loss = total / self._num_real
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return {"loss": loss.detach(), **self._trained}
