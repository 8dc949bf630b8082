"""What PyTorch's models share: parameters, the rnn in one of the implementations, loss, answers and training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from backends.interface.layer import Arrays
from backends.interface.network import TrainedNetwork
from backends.pytorch.layer.implementation import DEVICES, DTYPES, TorchImplementation
from backends.pytorch.layer.training import IGNORED
from backends.pytorch.models.optimizers import Optimizer
from common.models.batch import Batch, check_batch, counted, dropout_name, labels
from common.models.optimizers import OptimizerSettings
from common.models.specification import Model, parameters
from common.models.trace import Step


class TorchNetwork(TrainedNetwork[Optimizer]):
    """A model on tensors, run eagerly; subclasses give ``forward``.

    Parameters
    ----------
    spec, implementation, dtype, device
        As in ``Network``.
    kind
        The implementation's class.
    """

    parameters: dict[str, torch.Tensor]
    """By canonical name, in canonical order; those of the rnn are the implementation's own."""

    def __init__(
        self, spec: Model, implementation: str, dtype: str, device: str, kind: type[TorchImplementation]
    ) -> None:
        super().__init__(spec, implementation, dtype, device)
        self._kind = kind

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The logits (batch, seq_len, classes), (batch, classes) or (batch, target_len, target_size) with their graph,
        0 past a length; and what else of ``results`` comes on the way: ``vectors`` and ``attention``.
        """

    def total_loss(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The sum of the losses of all counted labels ()."""
        label = np.where(counted(self.spec, batch), labels(self.spec, batch), IGNORED)
        flat = wide(logits).flatten(0, -2)  # (positions, classes)
        return functional.cross_entropy(flat, self.tensor(label).flatten(), ignore_index=IGNORED, reduction="sum")

    def answers(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The labels that the model gives, in the shape of the labels."""
        return best(logits)

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        self._rnn = [self._kind(stage, self.dtype, self.device) for stage in self.stages]
        for layer, of_layer in zip(self._rnn, self.split(weights), strict=True):
            layer.load_weights(of_layer)
        of_rnn = self.join([dict(layer.parameters) for layer in self._rnn])
        self.parameters = {
            name: of_rnn[name]
            if name in of_rnn
            else self.tensor(weights[name]).requires_grad_(name not in self.spec.frozen)
            for name in parameters(self.spec)
        }
        if self._optimizer is not None:
            self.set_optimizer(self._optimizer.settings)

    def weights(self) -> Arrays:
        return {name: value.detach().double().cpu().numpy() for name, value in self.parameters.items()}

    def results(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch)
        leaves = {name: value for name, value in self.parameters.items() if value.requires_grad}
        logits, passed = self.forward(batch)
        loss, correct = self._judged(logits, batch)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        results = {"loss": loss, "correct": correct, "logits": logits} | passed
        results |= {f"grad.{name}": value for name, value in zip(leaves, gradients, strict=True)}
        return {name: array(value) for name, value in results.items()}

    def loss(self, batch: Batch) -> float:
        check_batch(self.spec, batch)
        with torch.no_grad():
            return self._judged(self.forward(batch)[0], batch)[0].item()

    def set_optimizer(self, settings: OptimizerSettings) -> None:
        self._optimizer = Optimizer(settings, self.spec, self.parameters)

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        steps = []
        for batch in batches:
            check_batch(self.spec, batch)
            loss, correct = self._judged(self.forward(batch)[0], batch)
            norm = self.optimizer.step(loss)
            number = max(int(counted(self.spec, batch).sum()), 1)
            steps.append((loss.detach(), correct, number, norm))
        # Only now are numbers asked for: until then a GPU need not be waited for.
        return [Step(loss.item(), correct.item() / number, norm.item()) for loss, correct, number, norm in steps]

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        """A tensor on the device: floats in the run's dtype, all else as it is."""
        dtype = DTYPES[self.dtype] if values.dtype.kind == "f" else None
        return torch.tensor(values, dtype=dtype, device=DEVICES[self.device])

    def run_rnn(self, x: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The top layer's output (batch, seq_len, output_size) and h_n (num_layers·num_directions, batch, hidden_size)
        from zero states, with dropout's factors between the layers where the batch has them.
        """
        rnn = self.spec.recurrent
        host_lengths = torch.tensor(batch["lengths"]) if "lengths" in batch else None
        lengths = None if host_lengths is None else host_lengths.to(x.device)
        states = []
        for i, layer in enumerate(self._rnn):
            layer.host_lengths = host_lengths
            zeros = x.new_zeros(rnn.num_directions * layer.spec.num_layers, len(x), rnn.state_size)
            results = layer.run(x, lengths, (zeros, zeros) if rnn.cell == "lstm" else (zeros,))
            states.append(results["h_n"])
            x = results["output"]
            if dropout_name(i) in batch:
                x = x * self.tensor(batch[dropout_name(i)])
        return x, torch.cat(states)

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """The linear layers with ReLU between them, (…, readout_size) to (…, classes)."""
        count = sum(name.startswith("head.") for name in self.parameters) // 2
        for i in range(count):
            x = functional.relu(x) if i > 0 else x
            x = functional.linear(x, self.parameters[f"head.{i}.weight"], self.parameters[f"head.{i}.bias"])
        return x

    def _judged(self, logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the number of right answers."""
        real, label = counted(self.spec, batch), self.tensor(labels(self.spec, batch))
        right = (self.answers(logits, batch) == label) & self.tensor(real)
        return self.total_loss(logits, batch) / max(int(real.sum()), 1), right.sum()


def wide(x: torch.Tensor) -> torch.Tensor:
    """The array in at least float32, what softmax and means are computed in."""
    return x.float() if x.dtype.itemsize < 4 else x


def best(logits: torch.Tensor) -> torch.Tensor:
    """The first largest logit of each position (torch.argmax gives the first)."""
    return logits.detach().argmax(dim=-1)


def array(x: torch.Tensor) -> np.ndarray:
    """The array in NumPy, float32 for narrower floats."""
    x = x.detach()
    return (wide(x) if x.is_floating_point() else x).cpu().numpy()
