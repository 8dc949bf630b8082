"""Models inside a worker: opened by handle, trained on batches from files, asked for results, saved."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from backends.interface.framework import Framework
from backends.interface.network import Network
from backends.worker.execution import Unsupported
from common.models.optimizers import optimizer_from_json
from common.models.specification import Arrays, model_from_json
from common.tensorfile import as_bytes, read, write_bytes

OPERATIONS = ("network_open", "network_train", "network_save", "network_ask", "network_close")
QUESTIONS = ("results", "predict", "decode")


@dataclass
class Networks:
    """A worker's models by handle."""

    framework: Framework
    opened: dict[str, Network] = field(default_factory=dict)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one of ``OPERATIONS``; what it returns goes into the reply."""
        return getattr(self, request["op"])(request)

    def network_open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Build a model: ``spec``, ``implementation``, ``dtype``, ``device``, a file of ``weights``; with ``optimizer``
        for training, with ``state`` to go on with one. ``batch`` is a file with a batch of the largest sizes, by which
        it is told whether the implementation can.
        """
        spec = model_from_json(request["spec"])
        batch, _ = read(Path(request["batch"]))
        dtype, device = request["dtype"], request["device"]
        declined = self.framework.model_refusal(request["implementation"], spec, batch, dtype, device)
        if declined is not None:
            raise Unsupported(declined)
        network = self.framework.network(spec, request["implementation"], dtype, device)
        network.load_weights(read(Path(request["weights"]))[0])
        if "optimizer" in request:
            network.set_optimizer(optimizer_from_json(request["optimizer"]))
        if "state" in request:
            network.load_optimizer_state(read(Path(request["state"]))[0])
        self.opened[request["handle"]] = network
        return {}

    def network_train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train on the ``batches`` of a file, in their order; what each step gave."""
        network = self.opened[request["handle"]]
        return {"steps": [asdict(step) for step in network.train(read_batches(Path(request["batches"])))]}

    def network_save(self, request: dict[str, Any]) -> dict[str, Any]:
        """Write all parameters to the file ``weights`` and the optimizer's state to the file ``state``."""
        network = self.opened[request["handle"]]
        write_bytes(Path(request["weights"]), as_bytes(network.weights(), {}), durable=False)
        if "state" in request:
            write_bytes(Path(request["state"]), as_bytes(network.optimizer_state(), {}), durable=False)
        return {}

    def network_ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a question, one of ``QUESTIONS``, on every batch of a file, into the file ``answers``."""
        network = self.opened[request["handle"]]
        answers = []
        for batch in read_batches(Path(request["batches"])):
            if request["question"] == "decode":
                answers.append({"tokens": network.decode(batch, request["max_steps"])})
            else:
                answers.append(getattr(network, request["question"])(batch))
        write_batches(answers, Path(request["answers"]))
        return {}

    def network_close(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let go of a model."""
        self.opened.pop(request["handle"], None)
        return {}


def write_batches(batches: list[Arrays], path: Path) -> None:
    """Several dictionaries of arrays in one safetensors file: ``{number}.{name}``."""
    tensors = {
        f"{number}.{name}": np.asarray(value) for number, batch in enumerate(batches) for name, value in batch.items()
    }
    write_bytes(path, as_bytes(tensors, {}), durable=False)


def read_batches(path: Path) -> list[Arrays]:
    """What ``write_batches`` wrote."""
    found: dict[int, Arrays] = {}
    for key, value in read(path)[0].items():
        number, _, name = key.partition(".")
        found.setdefault(int(number), {})[name] = value
    return [found[number] for number in sorted(found)]
