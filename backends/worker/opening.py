"""What a worker opens to time it: an implementation's pass over a case, or a train step of a system that it is in."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from backends.interface.framework import Framework
from backends.interface.gaps import Refusal, Request, request_of
from backends.interface.layer import Arrays, Implementation, Inputs, inputs_of
from backends.interface.network import Network
from backends.worker import messages
from backends.worker.execution import Unsupported, all_versions
from backends.worker.messages import Done, OpenLayer, OpenSystem, OpenWork
from common import tensorfile
from common.case import Case, read_case
from common.judging.models import rounded_batch
from common.judging.precision import rounded, rounded_case
from common.models.batch import Batch, sizes
from common.models.specification import Model
from common.result import Result, ResultHeader, write_result
from common.training import Training, rounded_training

SYSTEM = "system"
"""What stands for a case's name in a system's result: a system has none of its own in a worker."""


class Timed(Protocol):
    """What is asked of what is timed, as ``Implementation`` has it."""

    def synchronise(self) -> None: ...
    def extract(self) -> Arrays: ...
    def path(self) -> str: ...
    def kernels(self, work: str) -> list[str]: ...


@dataclass
class Opened:
    """Something that is ready to be timed; ``call`` starts the pass ``work``, ``run.synchronise`` waits for it."""

    run: Timed
    call: Callable[[], None]
    work: str


class Opening(ABC):
    """A request to open something, read from its files; ``Unsupported`` is raised where it cannot be done."""

    @abstractmethod
    def build(self) -> Opened:
        """Weights and inputs in the framework's own arrays on the device, rounded to the run's dtype."""

    @abstractmethod
    def judged(self, path: Path, seconds: float) -> None:
        """Write the first call's results, and that it took ``seconds``, into a result file, to be judged.

        Every later call begins from the same weights and inputs as the first did, although a train step moves them.
        """


def files_sha256(request: OpenWork) -> str:
    """SHA-256 of the files that say what a request opens, hexadecimal: the hash that its judged result names."""
    digest = hashlib.sha256()
    for path in request.inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def opening_of(framework: Framework, request: OpenWork) -> Opening:
    """The opening that a request asks for."""
    if isinstance(request, OpenSystem):
        return SystemOpening(framework, request)
    assert isinstance(request, OpenLayer)
    return LayerOpening(framework, request)


class LayerOpening(Opening):
    """One pass of the layer."""

    def __init__(self, framework: Framework, request: OpenLayer) -> None:
        self._framework, self._request = framework, request
        case = read_case(request.case)
        self._case = replace(case, cotangents={}) if request.work == "forward" else case
        _decline(framework.refusal(request.implementation, request_of(self._case, request.dtype, request.device)))

    def build(self) -> Opened:
        request = self._request
        self._rounded = rounded_case(self._case, request.dtype)
        kind = self._framework.implementations[request.implementation]
        self._run = kind(self._case.spec, request.dtype, request.device)
        self._load(self._rounded, request.telling_rate)
        passes = {
            "forward": self._run.forward,
            "forward_backward": self._run.forward_backward,
            "train_step": self._run.train_step,
        }
        return Opened(self._run, passes[request.work], request.work)

    def judged(self, path: Path, seconds: float) -> None:
        request = self._request
        header = _header(self._framework, request, self._rounded.name, self._run.path(), seconds)
        write_result(Result(header, self._run.extract()), path, durable=False)
        if request.work == "train_step":
            self._load(self._rounded, None)  # from the first weights, at the usual rate

    def _load(self, case: Case, learning_rate: float | None) -> None:
        run, request = self._run, self._request
        run.load_weights(case.weights)
        run.move_inputs(inputs_of(case))
        if request.work == "train_step":
            assert request.training is not None
            assert request.learning_rate is not None
            tensors, _ = tensorfile.read(request.training)
            rate = request.learning_rate if learning_rate is None else learning_rate
            training = Training(tensors["weight"], tensors["bias"], tensors["labels"], rate)
            try:
                run.load_training(rounded_training(training, request.dtype))
            except NotImplementedError as error:
                raise Unsupported(Refusal(str(error))) from None


def _header(framework: Framework, request: OpenWork, case: str, path: str, seconds: float) -> ResultHeader:
    """The header of the first call's results."""
    return ResultHeader(
        case=case,
        case_sha256=files_sha256(request),
        implementation=f"{framework.name}/{request.implementation}",
        dtype=request.dtype,
        device=request.device,
        versions=all_versions(framework),
        path=path,
        seconds=seconds,
    )


class SystemOpening(Opening):
    """One train step of a system."""

    def __init__(self, framework: Framework, request: OpenSystem) -> None:
        self._framework, self._request = framework, request
        self._weights, self._batch = (tensorfile.read(path)[0] for path in (request.weights, request.batch))

    def build(self) -> Opened:
        request = self._request
        dtype, kind = request.dtype, self._framework.implementations[request.implementation]
        network = network_of(self._framework, request, request.system, self._batch)
        self._weights = {name: rounded(value, dtype) for name, value in self._weights.items()}
        network.load_weights(self._weights)
        network.set_optimizer(request.optimizer)
        self._step = NetworkStep(network, rounded_batch(self._batch, dtype), kind)
        return Opened(self._step, self._step.call, request.work)

    def judged(self, path: Path, seconds: float) -> None:
        """The results for the batch, with the loss that the train step gave."""
        network = self._step.network
        network.load_weights(self._weights)
        results = network.results(self._step.batch)
        results["loss"] = np.asarray(self._step.loss, results["loss"].dtype)
        header = _header(self._framework, self._request, SYSTEM, self._step.path(), seconds)
        write_result(Result(header, results), path, durable=False)


class NetworkStep:
    """Train steps of a network on one batch, with the methods that are asked of what is timed.

    Parameters
    ----------
    network
        With its weights and an optimizer.
    batch
        In NumPy, and moved to the device in every step.
    kind
        The class of the implementation that computes its rnn.
    """

    def __init__(self, network: Network, batch: Batch, kind: type[Implementation]) -> None:
        self.network, self.batch, self._kind = network, batch, kind
        self._batches = [batch]
        self.loss = np.nan

    def call(self) -> None:
        """One step, up to the numbers that it gives; FloatingPointError where the training has come to nothing."""
        (step,) = self.network.train(self._batches)
        if not math.isfinite(step.loss):
            raise FloatingPointError(f"the loss of every step must be finite; got {step.loss}")
        self.loss = step.loss

    def synchronise(self) -> None:
        """``Network.train`` has waited: a step is done when its numbers are read."""

    def extract(self) -> Arrays:
        """All parameters."""
        return self.network.weights()

    def path(self) -> str:
        """What the implementation says of itself where it computes the network's rnn, or the lowest layer of it."""
        network, spec = self.network, self.network.stages[0]
        layer = self._kind(spec, network.dtype, network.device)
        layer.load_weights(network.split(network.weights())[0])
        rows, steps = sizes(self.batch)
        zeros = np.zeros((spec.num_directions * spec.num_layers, rows, spec.state_size))
        x, c_0 = np.zeros((rows, steps, spec.input_size)), zeros if spec.cell == "lstm" else None
        layer.move_inputs(Inputs(x, self.batch.get("lengths"), zeros, c_0, {}))
        return layer.path()

    def kernels(self, work: str) -> list[str]:
        """None: frameworks tell those of the layer alone."""
        return []


def network_of(framework: Framework, request: messages.InImplementation, system: Model, batch: Batch) -> Network:
    """The network of a system in the implementation that a request names; ``Unsupported`` with the reason where it
    cannot be. Of the batch, sizes and lengths are enough.
    """
    name, dtype, device = request.implementation, request.dtype, request.device
    _decline(framework.model_refusal(name, system, batch, dtype, device))
    try:
        return framework.network(system, name, dtype, device)
    except NotImplementedError as error:
        raise Unsupported(Refusal(str(error))) from None


def require_layer(framework: Framework, request: messages.CanRunLayer) -> Done:
    """Raise ``Unsupported`` where an implementation does not do a pass of a case that has not been made yet."""
    lengths = None if request.lengths is None else np.array(request.lengths, np.int64)
    sizes_of_case = (request.batch, request.seq_len, lengths)
    asked = Request(request.spec, request.dtype, request.device, *sizes_of_case, request.work != "forward")
    _decline(framework.refusal(request.implementation, asked))
    return Done()


def require_system(framework: Framework, request: messages.CanTrainSystem) -> Done:
    """Raise ``Unsupported`` where an implementation does not train a system on a batch that has not been made yet."""
    batch = {"tokens": np.broadcast_to(np.int64(0), (request.batch, request.seq_len))}
    if request.lengths is not None:
        batch |= {"lengths": np.array(request.lengths, np.int64)}
    network_of(framework, request, request.system, batch)
    return Done()


def _decline(declined: Refusal | None) -> None:
    """Raise ``Unsupported`` for a refusal."""
    if declined is not None:
        raise Unsupported(declined)
