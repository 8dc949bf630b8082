"""The interface of a backend: what every framework's folder implements, in the same order.

Set-up and extraction stand outside what is timed: load the weights, move the inputs to the device, then compute and
synchronise (timed), then extract.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from backends.probing import Probes
from common.case import Case
from common.errors import InputError, shown
from common.precision import has_finite_padding, is_subnormal
from common.specification import Specification
from common.training import Training

if TYPE_CHECKING:
    from backends.modelling import Network
    from common.models.specification import Model

Arrays = dict[str, np.ndarray]
DEVICES = ("cpu", "gpu")
PASSES = ("forward", "forward_backward", "train_step")
LANES = ("exact", "fast")
"""Precision lanes: ``exact`` computes float32 as float32 (no TF32, highest precision everywhere); ``fast`` is what each
framework does by default, TF32 included where that is its default. They differ on GPUs; on CPUs no default differs."""


@dataclass(frozen=True)
class Request:
    """What is asked of an implementation: enough to say whether it can do it.

    ``lengths`` is (batch,) int64 or None; ``seq_len`` the padded length; ``finite_padding`` whether what x holds past
    the lengths is finite in ``dtype``; ``subnormal`` whether some input is nothing but numbers below the smallest
    normal one of ``dtype``, and zeros.
    """

    spec: Specification
    dtype: str
    device: str
    batch: int
    seq_len: int
    lengths: np.ndarray | None
    gradients: bool
    finite_padding: bool = True
    subnormal: bool = False


UNSUPPORTED, NOT_OFFERED = "unsupported", "not offered"
DECLINED = (UNSUPPORTED, NOT_OFFERED)
"""How an implementation declines: what it cannot do, and what could be written and is left out, for it would be slower
than what is there."""
READ = "read, not run"
"""The mark of what was read in sources or documentation and never run here."""


@dataclass(frozen=True)
class Gap:
    """Something that an implementation cannot do, with the reason: one row of a framework's table of known gaps.

    Parameters
    ----------
    implementations
        Names within the framework, for example ``("native",)``.
    what
        What is not supported, in a few words.
    reason
        Why not, in one sentence that names versions where they matter.
    applies
        Whether a request falls into the gap.
    link
        The upstream issue, where there is one.
    read
        Whether it was only read, in sources or documentation, and never run: so of a GPU, while none was at hand.
    slower
        Whether it could be done, and is left out because it would be slower than what is there: it is then
        ``NOT_OFFERED``, not ``UNSUPPORTED``.
    """

    implementations: tuple[str, ...]
    what: str
    reason: str
    applies: Callable[[Request], bool]
    link: str = ""
    read: bool = False
    slower: bool = False

    @property
    def told(self) -> str:
        """The reason as a user meets it, marked where it was only read."""
        return f"{self.reason} ({READ})" if self.read else self.reason

    @property
    def status(self) -> str:
        """``UNSUPPORTED`` or ``NOT_OFFERED``."""
        return NOT_OFFERED if self.slower else UNSUPPORTED


@dataclass(frozen=True)
class Refusal:
    """What an implementation declares that it does not do: why, and whether it cannot or is left out."""

    reason: str
    status: str = UNSUPPORTED


@dataclass(frozen=True)
class Inputs:
    """A case's inputs in NumPy, already rounded to what the run computes in, but held as float64 (see
    ``Implementation``).

    x (batch, seq_len, input_size), which past the lengths may hold anything; lengths (batch,) int64 or None; h_0, c_0
    (num_layers·2, batch, hidden_size), c_0 None but for an LSTM; cotangents by result name, all of them or none.
    """

    x: np.ndarray
    lengths: np.ndarray | None
    h_0: np.ndarray
    c_0: np.ndarray | None
    cotangents: Arrays


class Implementation(ABC):
    """One way of one framework to compute a bidirectional RNN.

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

    @abstractmethod
    def path(self) -> str:
        """The kernel or path taken, as far as it can be told."""

    def kernels(self, work: str) -> list[str]:
        """What really runs in a pass (one of ``PASSES``), from a profiler or the compiled program, the most important
        first, at most eight short texts; empty where it cannot be told. Slow: never call it while timing.
        """
        return []


class Framework(ABC):
    """A framework inside its own environment: its facts, its settings, its implementations and its known gaps."""

    name: str
    gaps: tuple[Gap, ...]
    implementations: Mapping[str, type[Implementation]]
    compiles = False
    """Whether each pass is a program that is traced or compiled at its first call, which takes far longer than to run
    it; ``verify`` then judges a forward pass alone on few cases (see ``backends.study``)."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the framework and of the libraries that decide its numbers."""

    @abstractmethod
    def devices(self) -> dict[str, str]:
        """Devices that the framework sees: ``cpu``, and ``gpu`` where there is one, with a description."""

    def use_lane(self, lane: str) -> None:
        """Switch the process to a precision lane, one of ``LANES``; the first is set from the start.

        A process stays in its lane once it has computed: compiled programs are kept.
        """
        if lane != LANES[0]:
            raise NotImplementedError(f"{self.name} has no {lane} lane")

    def product(self, size: int, dtype: str, device: str) -> Callable[[], None]:
        """A function that multiplies two random size × size matrices and waits: 2·size³ flops."""
        raise NotImplementedError(f"{self.name} has no product to measure")

    def copy(self, num_bytes: int, device: str) -> Callable[[], None]:
        """A function that copies an array of ``num_bytes`` on the device and waits: 2·num_bytes of traffic."""
        raise NotImplementedError(f"{self.name} has no copy to measure")

    def peak_device_bytes(self) -> int | None:
        """The most memory of the GPU that was in use since ``reset_peak``, or since the start; None without a GPU."""
        return None

    def reset_peak(self) -> None:
        """Start counting the GPU's peak memory anew, where the framework can."""
        return

    def network(self, spec: Model, implementation: str, dtype: str, device: str) -> Network:
        """A model (``common.models.specification``) whose rnn is computed by one of the implementations."""
        raise NotImplementedError(f"{self.name} has no models")

    def probes(self) -> Probes:
        """Known divergences of this framework, each with a function that measures it."""
        return Probes()

    def refusal(self, implementation: str, request: Request) -> Refusal | None:
        """Why ``implementation`` does not do what is asked, or None when it does."""
        if request.device not in self.devices():
            return Refusal(f"{self.name} sees no {request.device} on this machine")
        for gap in self.gaps:
            if implementation in gap.implementations and gap.applies(request):
                return Refusal(gap.told, gap.status)
        return None


def check_lane(lane: str) -> None:
    """Raise an ``InputError`` for what is not one of ``LANES``."""
    if lane not in LANES:
        raise InputError(f"lane must be {' or '.join(LANES)}; got {shown(lane)}")


def uses_tf32(device: str, lane: str) -> bool:
    """Whether float32 may be multiplied as TF32: on a GPU, in the fast lane."""
    return device == "gpu" and lane == "fast"


def request_of(case: Case, dtype: str, device: str) -> Request:
    """What running ``case`` asks of an implementation."""
    finite = has_finite_padding(case.x, case.padding_mask(), dtype)
    inputs = (case.x[~case.padding_mask()], case.h_0, case.c_0, *case.weights.values(), *case.cotangents.values())
    subnormal = any(is_subnormal(array, dtype) for array in inputs if array is not None)
    shape = (case.batch, case.seq_len, case.lengths)
    return Request(case.spec, dtype, device, *shape, bool(case.cotangents), finite, subnormal)


def inputs_of(case: Case) -> Inputs:
    """The inputs of a case with absent states and cotangents filled in with zeros."""
    c_0 = case.initial_state("c") if case.spec.cell == "lstm" else None
    return Inputs(case.x, case.lengths, case.initial_state("h"), c_0, case.full_cotangents())


def has_empty_row(request: Request) -> bool:
    """Whether some row has length 0."""
    return request.lengths is not None and bool((request.lengths == 0).any())
