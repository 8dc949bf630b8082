"""What MXNet's models share: parameters, the rnn in one of the implementations, loss, answers and training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType

import numpy as np
from mxnet import autograd, nd

from backends.interface.layer import Arrays
from backends.interface.network import TrainedNetwork
from backends.mxnet_gluon.layer.implementation import DEVICES, Graph, MXNetImplementation
from backends.mxnet_gluon.layer.lengths import Tensor
from backends.mxnet_gluon.layer.scratch import affine
from backends.mxnet_gluon.models.optimizers import Optimizer
from common.models.batch import DROPOUT, Batch, check_batch, counted, dropout_name, labels, sizes
from common.models.crf.scores import ALLOWED
from common.models.optimizers import OptimizerSettings
from common.models.specification import Model, Seq2Seq, parameters
from common.models.trace import Step

Tensors = dict[str, Tensor]
"""Arrays, or symbols of a graph, by name."""
Function = Callable[[ModuleType, Tensors, Tensors], list[Tensor]]
"""What gives results for the module of operations, and for parameters and other arrays by name."""


class MXNetNetwork(TrainedNetwork[Optimizer]):
    """A model on NDArrays, in graphs; subclasses give ``forward``.

    A new shape of a batch is traced into a graph anew; no batch is padded here.

    Parameters
    ----------
    spec, implementation, dtype, device
        As in ``Network``.
    kind
        The implementation's class.
    """

    parameters: Mapping[str, nd.NDArray]
    """By canonical name, in canonical order, each with its gradient; those of the rnn are the implementation's own."""

    def __init__(
        self, spec: Model, implementation: str, dtype: str, device: str, kind: type[MXNetImplementation]
    ) -> None:
        if (dtype, device) == ("float16", "cpu"):
            raise NotImplementedError("products raise in float16 on the CPU in MXNet 1.9.1")
        super().__init__(spec, implementation, dtype, device)
        self.parameters = {}
        self.wide_dtype = "float32" if dtype == "float16" else dtype
        self._rnn = [kind(stage, dtype, device) for stage in self.stages]
        self._graphs: dict[tuple, Graph] = {}

    @abstractmethod
    def forward(self, F: ModuleType, parameters: Tensors, batch: Tensors) -> tuple[Tensor, Tensors]:
        """The logits (batch, seq_len, classes), (batch, classes) or (batch, target_len, target_size), 0 past a length;
        and what else of ``results`` comes on the way, in the order of ``passed``.

        ``batch`` as ``moved`` gives it; the rnn's parameters may lie in its blocks instead.
        """

    @property
    def passed(self) -> tuple[str, ...]:
        """The names of what ``forward`` gives beside the logits."""
        return ("vectors", "attention") if isinstance(self.spec, Seq2Seq) and self.spec.attention else ("vectors",)

    def total_loss(self, F: ModuleType, parameters: Tensors, logits: Tensor, batch: Tensors) -> Tensor:
        """The sum of the losses of all counted labels (1,)."""
        label, real = (F.reshape(batch[name], shape=(-1,)) for name in ("labels", "counted"))  # (positions,)
        flat = F.reshape(self.wide(F, logits), shape=(-1, 0), reverse=True)  # (positions, classes)
        # Not log_softmax: oneDNN's in MXNet 1.9.1 is off by 30 float32 spacings, and its gradient by as much.
        shifted = F.broadcast_sub(flat, F.BlockGrad(F.max(flat, axis=-1, keepdims=True)))
        losses = F.log(F.sum(F.exp(shifted), axis=-1)) - F.pick(shifted, label, axis=-1)
        return F.sum(F.where(real, losses, F.zeros_like(losses)))

    def answers(self, F: ModuleType, parameters: Tensors, logits: Tensor, batch: Tensors) -> Tensor:
        """The labels that the model gives, in the shape of the labels."""
        return self.best(F, logits)

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        if not self.parameters:
            self._make_parameters(weights)
        for name, value in self.parameters.items():
            value[:] = self.tensor(weights[name])  # in place: graphs stay what they are
        if self._optimizer is not None:
            self.set_optimizer(self._optimizer.settings)

    def weights(self) -> Arrays:
        nd.waitall()
        return {name: value.asnumpy().astype(np.float64) for name, value in self.parameters.items()}

    def results(self, batch: Batch) -> Arrays:
        check_batch(self.spec, batch)
        loss, correct, logits, *rest = self._judge(batch)
        loss.backward()
        results = {"loss": loss, "correct": correct, "logits": logits} | dict(zip(self.passed, rest, strict=True))
        trained = {name: value for name, value in self.parameters.items() if name not in self.spec.frozen}
        results |= {f"grad.{name}": value.grad for name, value in trained.items()}
        nd.waitall()
        shapes = {"loss": (), "correct": ()}  # MXNet's scalars are (1,)
        return {name: array(value).reshape(shapes.get(name, value.shape)) for name, value in results.items()}

    def loss(self, batch: Batch) -> float:
        check_batch(self.spec, batch)
        return float(self.call("judge", self._judged, self.moved(batch))[0].asscalar())

    def set_optimizer(self, settings: OptimizerSettings) -> None:
        self._optimizer = Optimizer(settings, self.spec, self.parameters)

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        steps = []
        for batch in batches:
            check_batch(self.spec, batch)
            loss, correct, *_ = self._judge(batch)
            norm = self.optimizer.step(loss)
            steps.append((loss, correct, max(int(counted(self.spec, batch).sum()), 1), norm))
        nd.waitall()  # only now are numbers asked for; what failed is raised here
        return [
            Step(float(loss.asscalar()), int(correct.asscalar()) / number, float(norm.asscalar()))
            for loss, correct, number, norm in steps
        ]

    def tensor(self, values: np.ndarray) -> nd.NDArray:
        """An array on the device: floats in the run's dtype, all else in int32."""
        if values.dtype.kind == "f":
            return self._rnn[0].tensor(values)
        return nd.array(values, ctx=DEVICES[self.device], dtype="int32")

    def moved(self, batch: Batch) -> dict[str, nd.NDArray]:
        """A batch on the device, with the rnn's first states as ``zeros``; whatever the model, a labelled one has
        ``labels``, ``counted`` and how many are counted as ``number`` (1,), 1 where none is.

        No ``lengths``: all rows are full. A frozen embedding is looked up here, which saves its gradient.
        """
        rows, steps = sizes(batch)
        given = ("x", ALLOWED)
        arrays = {name: value for name, value in batch.items() if name in given or name.startswith(DROPOUT)}
        lengths = self._rnn[0].given_lengths(batch.get("lengths"), rows, steps)
        if lengths is not None:
            arrays["lengths"] = lengths
        arrays["zeros"] = np.zeros(
            (self.stages[0].num_directions * self.stages[0].num_layers, rows, self.spec.recurrent.state_size)
        )
        if "labels" in batch or "targets" in batch:
            arrays |= {"labels": labels(self.spec, batch), "counted": counted(self.spec, batch)}
        moved = {name: self.tensor(value) for name, value in arrays.items()}
        if "labels" in moved:
            number = max(int(arrays["counted"].sum()), 1)
            moved["number"] = nd.full(1, number, ctx=DEVICES[self.device], dtype=self.wide_dtype)
        if "tokens" in batch:
            moved["tokens"] = self.tensor(batch["tokens"])
        for name in self.spec.frozen:
            moved["x"] = self.lookup(nd, self.parameters, moved.pop("tokens"), name)
        if "x" in moved:
            # Without it MXNet 1.9.1 takes the gradients of some lower layers from unwritten memory (native.py).
            moved["x"].attach_grad()
        for layer in self._rnn:
            layer.seq_len = steps
        return moved

    def call(
        self, work: str, function: Function, arrays: dict[str, nd.NDArray], uses: Callable[[str], bool] = bool
    ) -> list[nd.NDArray]:
        """What a function gives for the parameters that it uses, told by their names, and other arrays.

        It becomes a graph at the first call for this work and these shapes.
        """
        names = [name for name in self.parameters if uses(name) and name not in self.spec.frozen]
        given = [name for name in names if name not in self._in_blocks]
        key = (work, tuple((name, value.shape) for name, value in arrays.items()))
        if key not in self._graphs:
            blocks = [block for layer in self._rnn for block in layer.blocks] if names != given else []
            self._graphs[key] = Graph(partial(_by_name, function, given, list(arrays)), blocks)
        return self._graphs[key]([self.parameters[name] for name in given], list(arrays.values()))

    def run_rnn(self, F: ModuleType, parameters: Tensors, x: Tensor, batch: Tensors) -> tuple[Tensor, Tensor]:
        """The top layer's output (batch, seq_len, output_size) and h_n (num_layers·2, batch, hidden_size) from zero
        states, with dropout's factors between the layers where the batch has them.
        """
        zeros = [batch["zeros"]] * (2 if self.spec.recurrent.cell == "lstm" else 1)
        states = []
        for i, layer in enumerate(self._rnn):
            weights = [] if layer.blocks else [parameters[name] for name in self._of_rnn[i]]
            x, h_n, *_ = layer.run(F, x, batch.get("lengths"), zeros, weights)
            states.append(h_n)
            if dropout_name(i) in batch:
                x = x * batch[dropout_name(i)]
        return x, states[0] if len(states) == 1 else F.concat(*states, dim=0)

    def head(self, F: ModuleType, parameters: Tensors, x: Tensor) -> Tensor:
        """The linear layers with ReLU between them, (rows, readout_size) to (rows, classes)."""
        for i in range(sum(name.startswith("head.") for name in parameters) // 2):
            x = F.relu(x) if i > 0 else x
            x = self.linear(F, parameters, x, f"head.{i}.weight", f"head.{i}.bias")
        return x

    def linear(self, F: ModuleType, parameters: Tensors, x: Tensor, weight: str, bias: str | None = None) -> Tensor:
        """A linear layer of the parameters of these names, (rows, in) to (rows, out)."""
        return affine(F, x, parameters[weight], None if bias is None else parameters[bias], self._shapes[weight][0])

    def lookup(self, F: ModuleType, parameters: Mapping[str, Tensor], tokens: Tensor, name: str) -> Tensor:
        """Rows of an embedding table (…, width); in float16 the table's gradient is added up in float32."""
        rows, width = self._shapes[name]
        tokens = F.BlockGrad(tokens)  # where a decoder chose them, Embedding would be asked for their gradient
        table = self.wide(F, parameters[name])
        rows_of_table = F.Embedding(tokens, table, input_dim=rows, output_dim=width, dtype=self.wide_dtype)
        return self.narrow(F, rows_of_table)

    def wide(self, F: ModuleType, x: Tensor) -> Tensor:
        """The array in at least float32, what softmax and means are computed in."""
        return x if self.wide_dtype == self.dtype else F.cast(x, self.wide_dtype)

    def narrow(self, F: ModuleType, x: Tensor) -> Tensor:
        """What was wide in the run's dtype."""
        return x if self.wide_dtype == self.dtype else F.cast(x, self.dtype)

    def best(self, F: ModuleType, logits: Tensor) -> Tensor:
        """The first largest logit of each position, int32 (argmax gives the first, as a float)."""
        return F.cast(F.argmax(F.BlockGrad(self.wide(F, logits)), axis=-1), "int32")

    def _make_parameters(self, weights: Mapping[str, np.ndarray]) -> None:
        for layer, of_layer in zip(self._rnn, self.split(weights), strict=True):
            layer.load_weights(of_layer)
        nothing: list[Arrays] = [{} for _ in self._rnn]
        by_layer = [
            self.join([*nothing[:i], dict(layer.parameters), *nothing[i + 1 :]]) for i, layer in enumerate(self._rnn)
        ]
        self._of_rnn = [list(of_layer) for of_layer in by_layer]
        of_rnn = {name: value for of_layer in by_layer for name, value in of_layer.items()}
        self._in_blocks = set(of_rnn) if self._rnn[0].blocks else set()
        self._shapes = parameters(self.spec)
        self.parameters = {
            name: of_rnn[name] if name in of_rnn else self.tensor(weights[name]) for name in self._shapes
        }
        for name in set(self.parameters) - set(of_rnn) - self.spec.frozen:
            self.parameters[name].attach_grad()

    def _judge(self, batch: Batch) -> list[nd.NDArray]:
        """The loss (1,), the number of right answers (1,), the logits and what is ``passed``, with their graph."""
        arrays = self.moved(batch)
        with autograd.record():
            return self.call("judge", self._judged, arrays)

    def _judged(self, F: ModuleType, parameters: Tensors, batch: Tensors) -> list[Tensor]:
        logits, passed = self.forward(F, parameters, batch)
        right = F.broadcast_equal(self.answers(F, parameters, logits, batch), batch["labels"]) * batch["counted"]
        loss = self.total_loss(F, parameters, logits, batch) / batch["number"]
        # What is passed has a gradient through the logits alone; none is asked of it.
        return [loss, F.sum(right), logits, *(F.BlockGrad(passed[name]) for name in self.passed)]


def array(x: nd.NDArray) -> np.ndarray:
    """The array in NumPy, float32 for narrower floats, int64 for integers."""
    values = x.asnumpy()
    if values.dtype.kind == "f":
        return values.astype(np.float32) if values.dtype.itemsize < 4 else values
    return values.astype(np.int64)


def _by_name(
    function: Function, given: list[str], names: list[str], F: ModuleType, weights: list[Tensor], arrays: list[Tensor]
) -> list[Tensor]:
    """Call a function with what a graph is given in lists."""
    return function(F, dict(zip(given, weights, strict=True)), dict(zip(names, arrays, strict=True)))
