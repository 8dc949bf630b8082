"""A made-up framework whose implementations take a known time, and do what makes measuring go wrong; NumPy computes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from backends.interface.framework import Framework
from backends.interface.gaps import Gap
from backends.interface.layer import Arrays, Inputs
from backends.interface.network import Network
from backends.registry import Backend
from backends.worker import timing
from backends.worker.capacity import BUSY_SIZE, LONG_ENOUGH
from backends.worker.memory import TRIALS
from common.models.batch import Batch
from common.models.specification import Model
from common.models.trace import Step
from common.specification import Specification
from tests.numpy_loop.birnn_numpy_loop.framework import Loop
from tests.numpy_loop.birnn_numpy_loop.networks import LoopNetwork

BACKEND = Backend(name="paced", load="tests.benchmarks.measure.paced:load")
OTHER = Backend(name="other", load="tests.benchmarks.measure.paced:load_other")
STOPPING = Backend(name="stopping", load="tests.benchmarks.measure.paced:load_stopping")
SECONDS = 0.002
BUSY = 0.002
"""Seconds of a core that a product takes while threads are counted."""
BULK = 64 * 2**20
"""Bytes."""


class Clock:
    """A clock that goes on only when something is made to take time, so that costs are known exactly, and a little
    noise from a seed.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._rng = np.random.default_rng(os.getpid())

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> None:
        self.now += seconds * float(np.exp(self._rng.normal(0, 0.01)))


CLOCK = Clock()


def spin(seconds: float) -> None:
    """Take a core for a real while."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Steady(Loop):
    """Computes once, when the inputs are there; a call takes ``seconds``."""

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        super().__init__(spec, dtype, device)
        self.calls = 0

    @property
    def seconds(self) -> float:
        return SECONDS

    def move_inputs(self, inputs: Inputs) -> None:
        super().move_inputs(inputs)
        loop = Loop(self.spec, self.dtype, self.device)
        loop._network = self._network
        loop.move_inputs(inputs)
        (loop.forward_backward if inputs.cotangents else loop.forward)()
        self._results = loop._results

    def forward(self) -> None:
        self.calls += 1
        CLOCK.spend(self.seconds)

    def forward_backward(self) -> None:
        self.forward()

    def kernels(self, work: str) -> list[str]:
        return [f"busy loop for {work}"]


class Slower(Steady):
    @property
    def seconds(self) -> float:
        return 1.1 * SECONDS


class Bimodal(Steady):
    """Takes one of two paths in turn."""

    @property
    def seconds(self) -> float:
        return SECONDS * (1.3 if self.calls % 2 else 1.0)


class Drifting(Steady):
    """Gets slower with every call, for ever."""

    @property
    def seconds(self) -> float:
        return SECONDS * 1.03**self.calls


class Warming(Steady):
    """Comes down to its speed over some forty calls."""

    @property
    def seconds(self) -> float:
        return SECONDS * (1 + 4 * 0.9**self.calls)


class Noisy(Steady):
    """Takes a time of its own in every call, each as likely to be above as below."""

    @property
    def seconds(self) -> float:
        return SECONDS * float(np.exp(np.random.default_rng(self.calls).normal(0, 0.05)))


class Bulky(Steady):
    """Takes 64 MiB during its first calls, those before anything is timed, and gives them back."""

    def forward(self) -> None:
        super().forward()
        if self.calls <= 1 + TRIALS:
            np.ones(BULK, np.uint8)


class Peeking(Steady):
    """Right within rounding, whatever the padding holds; what that is shows in the last bit of one number."""

    def extract(self) -> Arrays:
        tensors = super().extract()
        if (lengths := self._inputs.lengths) is not None:
            row = int(np.argmin(lengths))
            output = tensors["output"].copy()
            for _ in range(int(1e3 * np.abs(self._inputs.x[row, lengths[row] :]).sum()) % 3):
                output[row, 0, 0] = np.nextafter(output[row, 0, 0], np.float32(2))
            tensors["output"] = output
        return tensors


class Compiling(Steady):
    """Takes long the first time, and is slower by a twentieth each time that it is built again in the same process."""

    built = 0

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        super().__init__(spec, dtype, device)
        self._slower = 1.05**self.built
        type(self).built += 1

    @property
    def seconds(self) -> float:
        return (0.2 if self.calls == 1 else SECONDS) * self._slower


class Leaky(Steady):
    """Starts to compute and returns; its fence waits for nothing."""

    def forward(self) -> None:
        self._ready = CLOCK.now + 10 * SECONDS

    def extract(self) -> Arrays:
        CLOCK.now = max(CLOCK.now, self._ready)
        return super().extract()


class Fenced(Leaky):
    """The same with a fence."""

    _ready = 0.0

    def synchronise(self) -> None:
        CLOCK.now = max(CLOCK.now, self._ready)


class Busy(Steady):
    """Really takes its time."""

    def forward(self) -> None:
        super().forward()
        spin(self.seconds)


class Spinning(Busy):
    """Leaves a thread running that takes a core, as some libraries' pools do."""

    def forward(self) -> None:
        super().forward()
        if self.calls == 1:
            threading.Thread(target=spin, args=(600,), daemon=True).start()


class Wrong(Steady):
    def extract(self) -> Arrays:
        return {name: value * 1.001 for name, value in super().extract().items()}


class Crashing(Steady):
    """Dies at the tenth call."""

    def forward(self) -> None:
        super().forward()
        if self.calls == 10:
            os.kill(os.getpid(), signal.SIGSEGV)


class Hanging(Steady):
    """Never comes back from the tenth call."""

    def forward(self) -> None:
        super().forward()
        if self.calls == 10:
            time.sleep(600)


class Hungry(Steady):
    def forward(self) -> None:
        raise MemoryError("Unable to allocate 1.00 PiB")


class Incapable(Steady):
    """Declares that it cannot do it."""


class PacedNetwork(LoopNetwork):
    """The reference, with steps of training that take a known time; some implementations err in their own way."""

    _ready = 0.0

    def results(self, batch: Batch) -> Arrays:
        tensors = super().results(batch)
        return tensors | {"logits": tensors["logits"] * 1.001} if self.implementation == "wrong" else tensors

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        steps = super().train(batches)
        if self.implementation == "leaky":
            self._ready = CLOCK.now + 10 * SECONDS
        else:
            CLOCK.spend(SECONDS)
        if self.implementation == "diverging" and self.optimizer_state()["count"] > 1:
            return [replace(step, loss=np.nan) for step in steps]
        return [replace(step, loss=step.loss * 1.001) for step in steps] if self.implementation == "misled" else steps

    def weights(self) -> Arrays:
        CLOCK.now = max(CLOCK.now, self._ready)
        return super().weights()


class Paced(Framework):
    name = "paced"
    gaps = (
        Gap(("incapable",), "everything", "it was made for this", applies=lambda request: True),
        Gap(("outpaced",), "everything", "it was slow", applies=lambda request: True, slower=True),
        Gap(("backward-less",), "gradients", "it was made for this", applies=lambda request: request.gradients),
    )
    implementations = {
        "steady": Steady,
        "slower": Slower,
        "outpaced": Slower,
        "bimodal": Bimodal,
        "drifting": Drifting,
        "warming": Warming,
        "noisy": Noisy,
        "bulky": Bulky,
        "peeking": Peeking,
        "compiling": Compiling,
        "leaky": Leaky,
        "fenced": Fenced,
        "busy": Busy,
        "spinning": Spinning,
        "wrong": Wrong,
        "misled": Steady,
        "diverging": Steady,
        "crashing": Crashing,
        "hanging": Hanging,
        "hungry": Hungry,
        "incapable": Incapable,
        "backward-less": Steady,
    }

    def versions(self) -> dict[str, str]:
        return {self.name: "1.0"}

    def devices(self) -> dict[str, str]:
        return {"cpu": "1 thread"}

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        return PacedNetwork(spec, implementation, dtype, device)

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        """One that takes as long as it must and no core; for the count of threads, a short one that takes a core."""
        return partial(spin, BUSY) if size == BUSY_SIZE else partial(time.sleep, LONG_ENOUGH)

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        a = np.ones(num_bytes, np.uint8)
        b = np.empty_like(a)
        return lambda: np.copyto(b, a)


class Other(Paced):
    name = "other"


class Stopping(Paced):
    """Is stopped, as by Ctrl-Z or a debugger, when it is asked how many threads work."""

    name = "stopping"

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        if size == BUSY_SIZE:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().product(size, dtype, device)


def load() -> Framework:
    timing.clock, timing.sleep = CLOCK, CLOCK.spend  # type: ignore[assignment]
    return Paced()


def load_other() -> Framework:
    load()
    return Other()


def load_stopping() -> Framework:
    load()
    return Stopping()
