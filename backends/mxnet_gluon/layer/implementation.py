"""What MXNet's implementations share: arrays to and from the device, tracing, gradients, training, and waiting."""

from __future__ import annotations

import json
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd

from backends.interface.layer import Arrays, Implementation, Inputs, Training
from backends.interface.profile import Spent, most_important
from backends.mxnet_gluon.layer.lengths import Tensor
from backends.mxnet_gluon.layer.training import LayerTrainer

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype([("bfloat16", np.uint16)]),  # MXNet's stand-in (mxnet.contrib.amp): NumPy has no bfloat16
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
"""MXNet's dtype for each of the suite's."""
DEVICES = {"cpu": mx.cpu(0), "gpu": mx.gpu(0)}
"""MXNet's name of each of the suite's devices."""
NO_KERNELS = ("DeleteVariable", "WaitForVar")
"""What the engine does among the operators."""
RESULTS = ("output", "h_n", "c_n")
"""The names of the results, in the order in which a graph gives them."""
Results = dict[str, nd.NDArray]
"""Arrays of the framework by result name."""


class Graph(gluon.HybridBlock):
    """A function as a block that is traced into one graph at its first call, two to four times as fast as its loop.

    ``blocks`` are the layers or cells that it calls: as children, so that the graph finds their parameters. Without
    static_alloc every call makes its own output arrays, so a result outlives the next call.
    """

    def __init__(self, function: Callable[..., list[Tensor]], blocks: Sequence[gluon.HybridBlock]) -> None:
        super().__init__()
        self._function = function
        for block in blocks:
            self.register_child(block)
        self.hybridize()

    def hybrid_forward(self, F: ModuleType, x: Tensor, *others: Any) -> list[Tensor]:
        return self._function(F, x, *others)


class MXNetImplementation(Implementation):
    """An implementation on NDArrays; subclasses give ``load_weights`` and ``run``."""

    parameters: Mapping[str, nd.NDArray]
    """The arrays that gradients are taken by, under their canonical names."""

    blocks: Sequence[gluon.HybridBlock] = ()
    """The layers or cells that own them; none in an implementation without."""
    _traced: tuple[int | bool, ...] = ()
    """What the graph was traced for: the padded length, whether without lengths, and the layers or cells."""

    @abstractmethod
    def run(
        self, F: ModuleType, x: Tensor, lengths: Tensor | None, states: list[Tensor], weights: list[Tensor]
    ) -> list[Tensor]:
        """Output and final states, in the order of ``RESULTS``; x is (batch, seq_len, input_size).

        ``weights`` are ``self.parameters`` in their order where no block owns them, else empty. Symbols have no shape:
        the padded length is ``self.seq_len``.
        """

    def tensor(self, array: np.ndarray, requires_grad: bool = False) -> nd.NDArray:
        """An array in the run's dtype on its device."""
        # Without its dtype nd.array makes float32 of float64; it cannot make bfloat16, astype can.
        tensor = nd.array(array, ctx=DEVICES[self.device], dtype="float64").astype(DTYPES[self.dtype])
        if requires_grad:
            tensor.attach_grad()
        return tensor

    def move_inputs(self, inputs: Inputs) -> None:
        self._x = self.tensor(inputs.x, requires_grad=True)
        initial = [inputs.h_0] if inputs.c_0 is None else [inputs.h_0, inputs.c_0]
        self._states = [self.tensor(state, requires_grad=True) for state in initial]
        self.seq_len = inputs.x.shape[1]
        lengths = self.given_lengths(inputs.lengths, *inputs.x.shape[:2])
        self._lengths = None if lengths is None else nd.array(lengths, ctx=DEVICES[self.device], dtype="int32")
        self._cotangents = {name: self.tensor(value) for name, value in inputs.cotangents.items()}
        traced = (self.seq_len, lengths is None, *map(id, self.blocks))
        if traced != self._traced:  # tracing takes longer than a run, and a stream has many inputs of one size
            self._graph, self._traced = Graph(self.run, self.blocks), traced

    def given_lengths(self, lengths: np.ndarray | None, batch: int, seq_len: int) -> np.ndarray | None:
        """The lengths (batch,) that ``run`` is given for those of the inputs, or None: it runs over all steps."""
        return lengths

    def forward(self) -> None:
        self._results = self._call_graph()

    def forward_backward(self) -> None:
        with autograd.record():
            results = self._call_graph()
        leaves = {"x": self._x, **dict(zip(("h_0", "c_0"), self._states, strict=False)), **self.parameters}
        cotangents = [self._cotangents[name] for name in results]
        gradients = autograd.grad(list(results.values()), list(leaves.values()), cotangents)
        self._results = results | {f"grad.{name}": value for name, value in zip(leaves, gradients, strict=True)}

    def _call_graph(self) -> Results:
        weights = [] if self.blocks else list(self.parameters.values())
        results = self._graph(self._x, self._lengths, self._states, weights)
        return dict(zip(RESULTS, results, strict=False))

    def load_training(self, training: Training) -> None:
        if (self.dtype, self.device) == ("float16", "cpu"):
            raise NotImplementedError("mxnet.gluon.nn.Dense raises in float16 on the CPU in MXNet 1.9.1")
        self._trainer = LayerTrainer(training, self, self._lengths, DEVICES[self.device], DTYPES[self.dtype])
        states = [state.detach() for state in self._states]
        weights = [] if self.blocks else list(self.parameters.values())
        self._data = (self.data(), self._lengths, states, weights, self._trainer.labels)
        self._step_graph = Graph(self._trainer.loss, [*self.blocks, self._trainer.head])
        kernels = {f"trained.{name}": value for name, value in self.parameters.items() if not name.startswith("bias")}
        self._trained = {"trained.head.weight": self._trainer.head.weight.data(), **kernels}

    def data(self) -> nd.NDArray:
        """The input as a train step reads it: without a gradient, which an input that is no parameter does not need."""
        return self._x.detach()

    def train_step(self) -> None:
        with autograd.record():
            (loss,) = self._step_graph(*self._data)
        loss.backward()
        self._trainer.optimizer.step(1)  # the loss is a mean already
        self._results = {"loss": loss, **self._trained}

    def synchronise(self) -> None:
        nd.waitall()  # operations run behind their caller, and what fails in one is raised here

    def extract(self) -> Arrays:
        narrow = DTYPES[self.dtype].itemsize < 4
        wide = {name: value.astype("float32") if narrow else value for name, value in self._results.items()}
        arrays = {name: value.asnumpy() for name, value in wide.items()}
        return arrays | ({"loss": arrays["loss"].reshape(())} if "loss" in arrays else {})  # MXNet's scalars are (1,)

    def kernels(self, work: str) -> list[str]:
        call = getattr(self, work)
        call()  # what happens only at first is not of interest
        self.synchronise()
        with tempfile.TemporaryDirectory() as folder:
            # MXNet removes what it finds under this name and makes a file of it, at once (1.9.1,
            # src/profiler/profiler.cc): /dev/null here, and root has none any more.
            profile = Path(folder) / "profile.json"
            mx.profiler.set_config(profile_symbolic=True, aggregate_stats=True, filename=str(profile))
            mx.profiler.set_state("run")
            call()
            self.synchronise()
            mx.profiler.set_state("stop")
            counted = json.loads(mx.profiler.dumps(reset=True, format="json"))
        return most_important(in_profile(counted))


def in_profile(profile: dict[str, Any]) -> dict[str, Spent]:
    """The operators that ran, with their time in ms, from a profile's aggregate statistics."""
    operators = profile["Time"].get("operator", {})
    return {name: Spent(each["Count"], each["Total"]) for name, each in operators.items() if name not in NO_KERNELS}
