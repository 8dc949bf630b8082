"""The interface of a framework: its facts, its settings, what it offers, and what it declares that it does not do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path

from backends.interface.checkpoint import LoadedCheckpoint
from backends.interface.gaps import Gap, Refusal, Request
from backends.interface.int8 import Int8Offer
from backends.interface.layer import Implementation
from backends.interface.network import Network, requests
from backends.interface.probe import Probes
from common.errors import InputError, shown
from common.models.batch import Batch
from common.models.specification import Model
from common.specification import Specification

LANES = ("exact", "fast")
"""Precision lanes: ``exact`` computes float32 as float32 (no TF32, highest precision everywhere); ``fast`` is what each
framework does by default, TF32 included where that is its default. They differ on GPUs; on CPUs no default differs."""


class Framework(ABC):
    """A framework inside its own environment: its facts, its settings, its implementations and its known gaps."""

    name: str
    gaps: tuple[Gap, ...]
    implementations: Mapping[str, type[Implementation]]
    compiles = False
    """Whether each pass is a program that is traced or compiled at its first call, which takes far longer than to run
    it; ``verify`` then judges a forward pass alone on few cases (see ``backends.studies.cases``)."""

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

    def checkpoint(self, path: Path, format_name: str, config: str | None) -> LoadedCheckpoint:
        """A checkpoint (``common.checkpoints.table``) that the framework's own loader has read; ``config`` is the
        configuration of a model for a file of weights alone.
        """
        raise NotImplementedError(f"{self.name} loads no checkpoints")

    def model_refusal(self, implementation: str, spec: Model, batch: Batch, dtype: str, device: str) -> Refusal | None:
        """Why ``implementation`` computes no model's rnn for this batch, gradients included, or None when it does."""
        refusals = (self.refusal(implementation, each) for each in requests(spec, batch, dtype, device))
        return next((each for each in refusals if each is not None), None)

    def int8_layers(self, spec: Specification) -> Int8Offer:
        """The framework's own int8 kernels of a layer, by name, or why there are none."""
        return Refusal(f"{self.name} has no int8 kernels of recurrent layers")

    def probes(self) -> Probes:
        """Known divergences of this framework, each with a function that measures it."""
        return Probes()

    def refusal(self, implementation: str, request: Request) -> Refusal | None:
        """Why ``implementation`` does not do what is asked, or None when it does."""
        if request.device not in self.devices():
            return Refusal(f"{self.name} sees no {request.device} on this machine")
        reason = self.implementations[implementation].forward_only
        if reason and request.gradients:
            return Refusal(f"it computes no gradients: {reason}")
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
