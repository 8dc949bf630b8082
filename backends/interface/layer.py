"""The interface of a bidirectional layer: what every implementation of a framework has, in the same order.

Set-up and extraction stand outside what is timed: load the weights, move the inputs to the device, then compute and
synchronise (timed), then extract.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common.case import Case
from common.specification import Specification
from common.training import Training

Arrays = dict[str, np.ndarray]
"""Arrays in NumPy by name."""
PASSES = ("forward", "forward_backward", "train_step")
"""The passes of an implementation; each is the name of its method."""


@dataclass(frozen=True)
class Inputs:
    """A case's inputs in NumPy, already rounded to what the run computes in, but held as float64 (see
    ``Implementation``).

    x (batch, seq_len, input_size), which past the lengths may hold anything; lengths (batch,) int64 or None; h_0, c_0
    (num_layers·num_directions, batch, state_size), c_0 None but for an LSTM; cotangents by result name, all of them or
    none.
    """

    x: np.ndarray
    lengths: np.ndarray | None
    h_0: np.ndarray
    c_0: np.ndarray | None
    cotangents: Arrays


class Implementation(ABC):
    """One way of one framework to compute a bidirectional RNN, and a forward one.

    Parameters
    ----------
    spec
        The specification; the framework has said that it is supported.
    dtype
        ``float16``, ``bfloat16``, ``float32`` or ``float64``: what weights, inputs and arithmetic are in.
    device
        ``cpu`` or ``gpu``.
    """

    paths: tuple[str, ...] = ()
    """Ways that the code can go on a CPU, for an implementation that chooses between them by a case's sizes: parts of
    what ``path`` gives, which are joined by ", ". Each is taken by a built-in case, as a test demands."""
    forward_only = ""
    """Why it computes outputs and states alone, a sentence; empty for an implementation that computes gradients, too.
    ``Framework.refusal`` declines whatever asks it for gradients."""

    def __init__(self, spec: Specification, dtype: str, device: str) -> None:
        self.spec = spec
        self.dtype = dtype
        self.device = device

    @abstractmethod
    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Load the canonical weights (float64 arrays by canonical name) in ``dtype`` onto the device."""

    @abstractmethod
    def move_inputs(self, inputs: Inputs) -> None:
        """Make the framework's own arrays of the inputs, in ``dtype``, on the device."""

    def reuse_programs(self) -> None:  # noqa: B027 (most have nothing to do)
        """Allow the passes to run programs that an earlier process made, where these are the very same; for runs whose
        numbers are wanted and not their times.
        """

    @abstractmethod
    def forward(self) -> None:
        """Compute the outputs and final states."""

    @abstractmethod
    def forward_backward(self) -> None:
        """Compute the outputs, the final states and all gradients of the sum of products with the cotangents."""

    def load_training(self, training: Training) -> None:
        """Make the head, the labels and the framework's own SGD optimizer; call it after ``move_inputs``.

        Raises NotImplementedError where the implementation cannot train; ``Framework.refusal`` says so first.
        """
        raise NotImplementedError(f"{type(self).__name__} has no train step")

    def train_step(self) -> None:
        """One step of training, as ``Training`` defines it; the weights stay moved.

        ``extract`` gives ``loss`` (a scalar), ``trained.head.weight`` and ``trained.<canonical name>`` of every kernel
        and learned merge afterwards.
        Biases are moved but not given: a framework with one bias moves their sum half as far as one with two.
        """
        raise NotImplementedError(f"{type(self).__name__} has no train step")

    @abstractmethod
    def synchronise(self) -> None:
        """Wait until what was computed is there; raise what went wrong on the way."""

    @abstractmethod
    def extract(self) -> Arrays:
        """The result's tensors in NumPy under their names in a result file, float32 for narrower dtypes."""

    def summed_gates(self) -> tuple[str, ...]:
        """The gates whose two biases its parameters hold as one, their sum; none unless its layout has one bias."""
        return ()

    @abstractmethod
    def path(self) -> str:
        """The kernel or path taken, as far as it can be told."""

    def kernels(self, work: str) -> list[str]:
        """What really runs in a pass (one of ``PASSES``), from a profiler or the compiled program, the most important
        first, at most eight short texts; empty where it cannot be told. Slow: never call it while timing.
        """
        return []


def inputs_of(case: Case) -> Inputs:
    """The inputs of a case with absent states and cotangents filled in with zeros."""
    c_0 = case.initial_state("c") if case.spec.cell == "lstm" else None
    return Inputs(case.x, case.lengths, case.initial_state("h"), c_0, case.full_cotangents())
