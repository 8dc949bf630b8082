"""What a worker opens to time it: an implementation's pass over a case, or a train step of a system that it is in."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from backends.interface.framework import Framework
from backends.interface.gaps import Refusal, Request, request_of
from backends.interface.layer import Arrays, Implementation, Inputs, inputs_of
from backends.interface.network import Network
from backends.worker.execution import Unsupported, all_versions
from common import tensorfile
from common.case import Case, read_case
from common.judging.models import rounded_batch
from common.judging.precision import rounded, rounded_case
from common.models.batch import Batch, sizes
from common.models.optimizers import optimizer_from_json
from common.models.specification import model_from_json
from common.result import Result, ResultHeader, write_result
from common.specification import NUM_DIRECTIONS, specification_from_json
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


def files_sha256(request: Mapping[str, Any]) -> str:
    """SHA-256 of the files that say what a request opens, hexadecimal: the hash that its judged result names."""
    digest = hashlib.sha256()
    for name in ("weights", "batch") if "system" in request else ("case",):
        digest.update(Path(request[name]).read_bytes())
    return digest.hexdigest()


def opening_of(framework: Framework, request: dict[str, Any]) -> Opening:
    """The opening that a request asks for."""
    return SystemOpening(framework, request) if "system" in request else LayerOpening(framework, request)


class LayerOpening(Opening):
    """One pass of the layer: see ``Timing.open`` for the request."""

    def __init__(self, framework: Framework, request: dict[str, Any]) -> None:
        self._framework, self._request = framework, request
        case = read_case(Path(request["case"]))
        self._case = replace(case, cotangents={}) if request["pass"] == "forward" else case
        asked = request_of(self._case, request["dtype"], request["device"])
        _decline(framework.refusal(request["implementation"], asked))

    def build(self) -> Opened:
        request = self._request
        self._rounded = rounded_case(self._case, request["dtype"])
        kind = self._framework.implementations[request["implementation"]]
        self._run = kind(self._case.spec, request["dtype"], request["device"])
        self._load(self._rounded, request.get("telling_rate"))
        work = request["pass"]
        passes = {
            "forward": self._run.forward,
            "forward_backward": self._run.forward_backward,
            "train_step": self._run.train_step,
        }
        return Opened(self._run, passes[work], work)

    def judged(self, path: Path, seconds: float) -> None:
        request = self._request
        header = _header(self._framework, request, self._rounded.name, self._run.path(), seconds)
        write_result(Result(header, self._run.extract()), path, durable=False)
        if request["pass"] == "train_step":
            self._load(self._rounded, None)  # from the first weights, at the usual rate

    def _load(self, case: Case, learning_rate: float | None) -> None:
        run, request = self._run, self._request
        run.load_weights(case.weights)
        run.move_inputs(inputs_of(case))
        if request["pass"] == "train_step":
            tensors, _ = tensorfile.read(Path(request["training"]))
            rate = request["learning_rate"] if learning_rate is None else learning_rate
            training = Training(tensors["weight"], tensors["bias"], tensors["labels"], rate)
            try:
                run.load_training(rounded_training(training, request["dtype"]))
            except NotImplementedError as error:
                raise Unsupported(Refusal(str(error))) from None


def _header(framework: Framework, request: Mapping[str, Any], case: str, path: str, seconds: float) -> ResultHeader:
    return ResultHeader(
        case=case,
        case_sha256=files_sha256(request),
        implementation=f"{framework.name}/{request['implementation']}",
        dtype=request["dtype"],
        device=request["device"],
        versions=all_versions(framework),
        path=path,
        seconds=seconds,
    )


class SystemOpening(Opening):
    """One train step of a system: a request with its specification ``system``, an ``optimizer``, and files of
    ``weights`` and of a labelled ``batch``.
    """

    def __init__(self, framework: Framework, request: dict[str, Any]) -> None:
        self._framework, self._request = framework, request
        self._weights, self._batch = (tensorfile.read(Path(request[name]))[0] for name in ("weights", "batch"))

    def build(self) -> Opened:
        dtype, kind = self._request["dtype"], self._framework.implementations[self._request["implementation"]]
        network = network_of(self._framework, self._request, self._batch)
        self._weights = {name: rounded(value, dtype) for name, value in self._weights.items()}
        network.load_weights(self._weights)
        network.set_optimizer(optimizer_from_json(self._request["optimizer"]))
        self._step = NetworkStep(network, rounded_batch(self._batch, dtype), kind)
        return Opened(self._step, self._step.call, self._request["pass"])

    def judged(self, path: Path, seconds: float) -> None:
        """The results for the batch, with the loss that the train step gave."""
        network = self._step.network
        network.load_weights(self._weights)
        found = network.results(self._step.batch)
        found["loss"] = np.asarray(self._step.loss, found["loss"].dtype)
        header = _header(self._framework, self._request, SYSTEM, self._step.path(), seconds)
        write_result(Result(header, found), path, durable=False)


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
        zeros = np.zeros((NUM_DIRECTIONS * spec.num_layers, rows, spec.state_size))
        x, c_0 = np.zeros((rows, steps, spec.input_size)), zeros if spec.cell == "lstm" else None
        layer.move_inputs(Inputs(x, self.batch.get("lengths"), zeros, c_0, {}))
        return layer.path()

    def kernels(self, work: str) -> list[str]:
        """None: frameworks tell those of the layer alone."""
        return []


def network_of(framework: Framework, request: dict[str, Any], batch: Batch) -> Network:
    """The network that a request asks for; ``Unsupported`` with the reason where it cannot be. Of the batch, sizes and
    lengths are enough.
    """
    spec = model_from_json(request["system"])
    name, dtype, device = request["implementation"], request["dtype"], request["device"]
    _decline(framework.model_refusal(name, spec, batch, dtype, device))
    try:
        return framework.network(spec, name, dtype, device)
    except NotImplementedError as error:
        raise Unsupported(Refusal(str(error))) from None


def require_supported(framework: Framework, request: dict[str, Any]) -> dict[str, Any]:
    """Raise ``Unsupported`` where an implementation does not do a pass of a case that has not been made yet; sizes are
    enough.
    """
    lengths = None if request["lengths"] is None else np.array(request["lengths"], np.int64)
    if "system" in request:
        shape = {"tokens": np.broadcast_to(np.int64(0), (request["batch"], request["seq_len"]))}
        network_of(framework, request, shape if lengths is None else shape | {"lengths": lengths})
        return {}
    asked = Request(
        specification_from_json(request["spec"]),
        request["dtype"],
        request["device"],
        request["batch"],
        request["seq_len"],
        lengths,
        request["pass"] != "forward",
    )
    _decline(framework.refusal(request["implementation"], asked))
    return {}


def _decline(declined: Refusal | None) -> None:
    if declined is not None:
        raise Unsupported(declined)
