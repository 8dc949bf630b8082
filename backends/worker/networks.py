"""Models inside a worker: opened by handle, trained on batches from files, asked for results, saved."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from backends.interface.framework import Framework
from backends.interface.network import Network
from backends.worker import messages
from backends.worker.execution import Unsupported
from backends.worker.messages import Done
from backends.worker.streaming import Streamed
from common.models.specification import Arrays
from common.models.streaming import Streaming
from common.tensorfile import as_bytes, read, write_bytes


@dataclass
class Networks:
    """A worker's models by handle.

    ``streams`` are the layers that a model is streamed by, by its handle and at each pace: they are kept, with what
    they have traced and compiled, until the model's parameters are others.
    """

    framework: Framework
    opened: dict[str, Network] = field(default_factory=dict)
    streams: dict[str, dict[Streaming, Streamed]] = field(default_factory=dict)

    def open(self, request: messages.OpenNetwork) -> Done:
        """Build a model, or raise ``Unsupported`` where the implementation declines."""
        batch, _ = read(request.batch)
        name, spec, dtype, device = request.implementation, request.spec, request.dtype, request.device
        declined = self.framework.model_refusal(name, spec, batch, dtype, device)
        if declined is not None:
            raise Unsupported(declined)
        network = self.framework.network(spec, name, dtype, device)
        network.reuse_programs()
        network.load_weights(read(request.weights)[0])
        if request.optimizer is not None:
            network.set_optimizer(request.optimizer)
        if request.state is not None:
            network.load_optimizer_state(read(request.state)[0])
        self.opened[request.handle] = network
        self.streams.pop(request.handle, None)
        return Done()

    def train(self, request: messages.TrainNetwork) -> messages.TrainedSteps:
        """Train a model on the batches of a file."""
        self.streams.pop(request.handle, None)
        batches, begun = read_batches(request.batches), time.process_time()
        steps = self.opened[request.handle].train(batches)
        cpu_seconds = time.process_time() - begun
        numbers = [messages.StepNumbers(**asdict(step)) for step in steps]
        return messages.TrainedSteps(steps=numbers, cpu_seconds=cpu_seconds)

    def save(self, request: messages.SaveNetwork) -> Done:
        """Write a model's parameters and its optimizer's state."""
        network = self.opened[request.handle]
        write_bytes(request.weights, as_bytes(network.weights(), {}), durable=False)
        write_bytes(request.state, as_bytes(network.optimizer_state(), {}), durable=False)
        return Done()

    def ask(self, request: messages.AskNetwork) -> Done:
        """Answer a question on every batch of a file."""
        network = self.opened[request.handle]
        answers: list[Arrays] = []
        batches = read_batches(request.batches)
        for batch in batches:
            if request.streaming is not None:
                answers.append(self._stream(request.handle, request.streaming).predict(batch))
            elif request.question == "loss":
                answers.append({"loss": np.asarray(network.loss(batch))})
            elif request.question == "decode":
                assert request.max_steps is not None
                answers.append(
                    {"tokens": network.decode(batch, request.max_steps)}
                    if request.beam is None
                    else network.beam(batch, request.max_steps, request.beam)
                )
            else:
                answers.append(network.predict(batch) if request.question == "predict" else network.results(batch))
        write_batches(answers, request.answers)
        return Done()

    def close(self, request: messages.CloseNetwork) -> Done:
        """Let go of a model."""
        self.opened.pop(request.handle, None)
        self.streams.pop(request.handle, None)
        return Done()

    def _stream(self, handle: str, streaming: Streaming) -> Streamed:
        """The layers of a model that is streamed at a pace."""
        streams = self.streams.setdefault(handle, {})
        if streaming not in streams:
            streams[streaming] = Streamed(self.framework, self.opened[handle], streaming)
        return streams[streaming]


def write_batches(batches: list[Arrays], path: Path) -> None:
    """Several dictionaries of arrays in one safetensors file: ``{number}.{name}``."""
    tensors = {
        f"{number}.{name}": np.asarray(value) for number, batch in enumerate(batches) for name, value in batch.items()
    }
    write_bytes(path, as_bytes(tensors, {}), durable=False)


def read_batches(path: Path) -> list[Arrays]:
    """What ``write_batches`` wrote."""
    by_number: dict[int, Arrays] = {}
    for key, value in read(path)[0].items():
        number, _, name = key.partition(".")
        by_number.setdefault(int(number), {})[name] = value
    return [by_number[number] for number in sorted(by_number)]
