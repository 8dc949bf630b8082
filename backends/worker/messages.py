"""The messages between controller and worker: typed requests, and the typed reply to each; lines.py sends them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from backends.interface.framework import LANES
from backends.interface.gaps import DECLINED
from backends.interface.probe import Harm, Status
from common.models.optimizers import OptimizerSettings
from common.models.specification import Model
from common.models.streaming import Streaming
from common.specification import Specification

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration, finite and not below 0."""
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Flops or bytes in a second, finite and above 0."""
FAILED = "failed"
"""The status of a request during which the worker raised an exception."""
NOT_DONE = (*DECLINED, FAILED)
"""The statuses with which a worker says that it has not done what it was asked."""


@dataclass(frozen=True)
class NotDone:
    """The reply that stands for what was not done.

    Parameters
    ----------
    status
        One of ``NOT_DONE``; or ``crashed`` or ``timed out``, which the pool says of a worker that has ended.
    reason
        Why, in one sentence.
    log
        The end of what the worker wrote, where it has ended.
    """

    status: str
    reason: str
    log: str = ""


class WorkerReply(BaseModel):
    """What a worker says when it has done what it was asked; keys that this suite does not know are left alone."""

    # Schemas are built when they are first used: a worker uses few, and they were a sixth of its start.
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, defer_build=True)


class DescribedGap(WorkerReply):
    """A row of a framework's table of known gaps, as ``backends.interface.gaps.Gap`` has it."""

    implementations: list[str]
    what: str
    status: str
    reason: str
    link: str


class Description(WorkerReply):
    """A worker's first line: what its framework says of itself.

    ``forward_only`` says why by the name of each implementation that computes no gradients.
    """

    status: Literal["ready"] = "ready"
    name: str
    versions: dict[str, str]
    devices: dict[str, str]
    implementations: list[str]
    gaps: list[DescribedGap]
    forward_only: dict[str, str] = {}


class Done(WorkerReply):
    """The reply that holds nothing: what was asked for is in files, or there is nothing to tell."""


class OtherResults(WorkerReply):
    """The names of the further results of a case that differ from the first; None where none were asked for."""

    others: list[str] | None = None


class InstalledPackages(WorkerReply):
    """The version of every installed distribution, by name."""

    packages: dict[str, str]


class ProbeTexts(WorkerReply):
    """The texts of one probe, as ``backends.interface.probe.Probe`` has them."""

    name: str
    what: str
    consequence: str
    way_out: str
    harm: Harm
    upstream: str = ""
    topic: str = ""


class ListedProbes(WorkerReply):
    """The framework's probes."""

    probes: list[ProbeTexts]


class ProbeResult(WorkerReply):
    """What a probe measured, as ``backends.interface.probe.Observation`` has it."""

    status: Status
    evidence: str


class Observed(WorkerReply):
    """A probe's result; in a field of its own, since a reply has a status, too."""

    observation: ProbeResult


class ProductRate(WorkerReply):
    """Flops in a second of the best product of two (size, size) matrices."""

    flops_per_second: Rate
    size: int


class CopyRate(WorkerReply):
    """Bytes in a second of the best copy, those read and those written."""

    bytes_per_second: Rate


class BarrierCost(WorkerReply):
    """Seconds of a barrier; None where there is no libgomp."""

    seconds: Seconds | None


class ThreadsAtWork(WorkerReply):
    """CPU seconds over wall seconds of a product."""

    threads: Seconds


class SetUp(WorkerReply):
    """What opening an implementation took and told.

    ``samples`` are the seconds of the calls since the first; the memory that later calls took at their peak is there
    where the first call was judged: ``peak_host_bytes`` over what was resident before the call, ``peak_device_bytes``
    all that the device held, None where it cannot be told.
    """

    build_seconds: Seconds
    first_call_seconds: Seconds
    samples: list[Seconds]
    path: str
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None


class Samples(WorkerReply):
    """The seconds of each call of a block, from before it to after its fence."""

    samples: Annotated[list[Seconds], Field(min_length=1)]


class Kernels(WorkerReply):
    """What really ran in a pass."""

    kernels: list[str]


class StepNumbers(WorkerReply):
    """What one step of training gave, as ``common.models.trace.Step`` has it; numbers that are not finite, too."""

    loss: float
    accuracy: float
    gradient_norm: float


class TrainedSteps(WorkerReply):
    """What each step of training gave, in order, and the processor time that all took, in seconds, of all threads."""

    steps: list[StepNumbers]
    cpu_seconds: float | None = None


Answer = TypeVar("Answer", bound=WorkerReply)
"""The kind of reply to a request."""
Question = Literal["results", "loss", "predict", "decode"]
"""What a model is asked about a batch: the outputs, loss and gradients; the loss; the labels; a decoder's tokens."""


class WorkerRequest(BaseModel, Generic[Answer]):
    """What a worker is asked to do; the parameter is the kind of its reply."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def reply_kind(cls) -> type[Answer]:
        """The class of the reply to this request."""
        kinds = (base for base in cls.__mro__ if issubclass(base, WorkerRequest))
        return next(args[0] for args in (kind.__pydantic_generic_metadata__["args"] for kind in kinds) if args)


class InImplementation(BaseModel):
    """The fields of a request that names an implementation of the framework, a dtype and a device."""

    implementation: str
    dtype: str
    device: str


class Ping(WorkerRequest[Done]):
    """Answer."""


class ListPackages(WorkerRequest[InstalledPackages]):
    """List every installed distribution."""


class ListProbes(WorkerRequest[ListedProbes]):
    """List the framework's probes."""


class Observe(WorkerRequest[Observed]):
    """Run the probe of a name."""

    name: str


class RunCase(InImplementation, WorkerRequest[OtherResults]):
    """Run the case of a file and write the file ``result``.

    With ``others``, paths by name, run it again and write what ``execute_again`` gives besides, where it differs;
    ``forward`` says whether that is to have a forward pass alone that has to be compiled. Without ``gradients`` outputs
    and states alone are computed, whatever the case asks for.
    """

    case: Path
    result: Path
    lane: str = LANES[0]
    others: dict[str, Path] | None = None
    forward: bool = False
    gradients: bool = True


class CanRunLayer(InImplementation, WorkerRequest[Done]):
    """Say whether an implementation does a pass of a case that has not been made yet; sizes are enough."""

    work: str
    batch: int
    seq_len: int
    lengths: tuple[int, ...] | None
    spec: Specification


class CanTrainSystem(InImplementation, WorkerRequest[Done]):
    """Say whether an implementation does a train step of a system on a batch of these sizes."""

    batch: int
    seq_len: int
    lengths: tuple[int, ...] | None
    system: Annotated[Model, Field(discriminator="kind")]


class TimeProduct(WorkerRequest[ProductRate]):
    """Time a product of two square matrices for some seconds, in a lane that the process then stays in."""

    lane: str = LANES[0]
    dtype: str
    device: str
    seconds: float


class TimeCopy(WorkerRequest[CopyRate]):
    """Time a copy of ``num_bytes`` for some seconds, in a lane that the process then stays in."""

    lane: str = LANES[0]
    device: str
    num_bytes: int
    seconds: float


class TimeBarrier(WorkerRequest[BarrierCost]):
    """Time a barrier between threads."""

    threads: int


class TimeThreads(WorkerRequest[ThreadsAtWork]):
    """Count the threads that work on a product on the CPU, for some seconds."""

    seconds: float


class OpenWork(InImplementation, WorkerRequest[SetUp]):
    """The fields of a request to open something and make its first call.

    With ``result`` the first call's results go to that file, to be judged before anything is timed, and the fence is
    checked. ``work`` is the pass, ``handle`` the name of what is opened.
    """

    handle: str
    work: str
    lane: str
    result: Path | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files that say what is opened."""
        raise NotImplementedError


class OpenLayer(OpenWork):
    """Open one pass of the layer over a case file.

    ``training`` is a file with a ``Training``'s arrays, ``learning_rate`` that of the timed steps, ``telling_rate``
    that of the step that is judged; a train step alone has them.
    """

    case: Path
    training: Path | None = None
    learning_rate: float | None = None
    telling_rate: float | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.case,)


class OpenSystem(OpenWork):
    """Open a train step of a system, with its weights and a labelled batch in files."""

    system: Annotated[Model, Field(discriminator="kind")]
    optimizer: OptimizerSettings
    weights: Path
    batch: Path

    @property
    def inputs(self) -> tuple[Path, ...]:
        return self.weights, self.batch


class TimeBlock(WorkerRequest[Samples]):
    """Call what is open again and again, at least ``least`` and at most ``most`` times, until ``seconds`` are over."""

    handle: str
    seconds: float
    least: int
    most: int


class ListKernels(WorkerRequest[Kernels]):
    """Say what really runs in the pass of what is open; slow, and never asked between blocks."""

    handle: str


class CloseWork(WorkerRequest[Done]):
    """Let go of what is open under these handles; None means of all."""

    handles: tuple[str, ...] | None = None


class OpenNetwork(InImplementation, WorkerRequest[Done]):
    """Build a model with the weights of a file.

    ``optimizer`` is there for training, with the file ``state`` to go on with one. ``batch`` is a file with a batch of
    the largest sizes, by which it is told whether the implementation can.
    """

    handle: str
    spec: Annotated[Model, Field(discriminator="kind")]
    weights: Path
    batch: Path
    optimizer: OptimizerSettings | None = None
    state: Path | None = None


class TrainNetwork(WorkerRequest[TrainedSteps]):
    """Train a model on the batches of a file, in their order."""

    handle: str
    batches: Path


class SaveNetwork(WorkerRequest[Done]):
    """Write a model's parameters to the file ``weights`` and its optimizer's state to the file ``state``."""

    handle: str
    weights: Path
    state: Path


class AskNetwork(WorkerRequest[Done]):
    """Answer a question on every batch of a file, into the file ``answers``; ``decode`` has ``max_steps`` and may have
    the width of a ``beam``, and ``predict`` may have ``streaming``.
    """

    handle: str
    question: Question
    batches: Path
    answers: Path
    max_steps: int | None = None
    streaming: Streaming | None = None
    beam: int | None = None


class CloseNetwork(WorkerRequest[Done]):
    """Let go of a model."""

    handle: str


class AskedRecurrent(BaseModel):
    """A recurrent layer of a checkpoint, run on a case: its specification and the names of its parts in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str
    spec: Specification
    parts: tuple[str, ...]
    case: Path
    dtype: str
    result: Path


class AskedPlain(BaseModel):
    """An embedding, a dense layer or other tensors of a checkpoint, given as they were loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str
    kind: Literal["embedding", "dense", "tensor"]
    result: Path


class LoadedLayers(WorkerReply):
    """Why each layer's result was not written, an empty text where it was; and the versions."""

    layers: dict[str, str]
    plain: dict[str, str]
    versions: dict[str, str]


class Int8Times(WorkerReply):
    """The seconds of a call of each kernel, and of the float32 layer, round by round; what each runs."""

    seconds: dict[str, list[float]]
    paths: dict[str, str]


class TimeInt8(WorkerRequest[Int8Times]):
    """Time the framework's own int8 kernels of the layer of a case file beside its float32 ``implementation``.

    The outputs of all go to the file ``result``, by the kernels' names. A round is a block of calls of each, for at
    least ``seconds``.
    """

    case: Path
    implementation: str
    result: Path
    rounds: int
    seconds: float


class RunCheckpoint(WorkerRequest[LoadedLayers]):
    """Load a checkpoint by the framework's own loader, run its recurrent layers, and write what each of them gives.

    ``format`` is one of ``common.checkpoints.table.FORMATS``; ``config`` the configuration of a model for a file of
    weights alone.
    """

    file: Path
    format: str
    config: str | None = None
    layers: tuple[AskedRecurrent, ...]
    plain: tuple[AskedPlain, ...] = ()
