"""The interface of a model in a framework: what every framework's models room implements, in the same order.

A network is built from shared weights and computes with one of the framework's own implementations of the layer;
embedding, linear layers, attention, loss and optimizer are the framework's own, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

from backends.interface.gaps import Request
from backends.interface.layer import Arrays, Implementation
from common.answers.beam import DecoderStep, beam_search
from common.judging.precision import has_finite_padding
from common.models.batch import Batch, check_batch, padding_mask, repeated, sizes
from common.models.optimizers import OptimizerSettings
from common.models.specification import Model, rnn_prefix, rnn_weights
from common.models.trace import Step
from common.specification import GATES, Specification
from common.weights import join_layers, one_layer, split_layers, weight_name, with_prefix


class Network(ABC):
    """A model of ``common.models.specification`` in one framework.

    The bidirectional RNN (an encoder–decoder's encoder) is computed by one of the framework's implementations, with
    zeros as its initial states: by one object for the whole stack, or, where the model has dropout, by one for each
    layer, so that dropout's factors come between them. ``stages`` are their specifications.

    What is computed is what ``common.models.reference`` computes, and what is trained follows
    ``common.models.optimizers``. Embeddings, products and the cells are in ``dtype``, softmax and means in at least
    float32. Batches are those of ``common.models.batch``; they have been checked, or a method checks them with
    ``check_batch``.

    Parameters
    ----------
    spec
        The model.
    implementation
        Name of the implementation within the framework, for example ``manual``; ``refusal`` has said that it can.
    dtype
        ``float16``, ``bfloat16``, ``float32`` or ``float64``: what weights, inputs and arithmetic are in.
    device
        ``cpu`` or ``gpu``.
    """

    def __init__(self, spec: Model, implementation: str, dtype: str, device: str) -> None:
        self.spec = spec
        self.implementation = implementation
        self.dtype = dtype
        self.device = device
        self.stages = stages(spec)

    @abstractmethod
    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Load the parameters in ``dtype`` onto the device: float64 arrays by canonical name
        (``common.models.specification.parameters``). An optimizer that was set starts anew.
        """

    @abstractmethod
    def weights(self) -> Arrays:
        """All parameters by canonical name, float64, in canonical order and shape.

        Where the framework has one bias for ``bias_ih`` and ``bias_hh``, ``bias_hh`` is what was loaded (training does
        not move it) and ``bias_ih`` the rest.
        """

    def reuse_programs(self) -> None:  # noqa: B027 (most have nothing to do)
        """Allow it to run programs that an earlier process made, where these are the very same; for numbers that are
        wanted and not their times.
        """

    @abstractmethod
    def results(self, batch: Batch) -> Arrays:
        """Loss, right answers, logits, vectors, attention and raw gradients for a labelled batch; nothing is moved.

        ``loss`` (): the mean cross-entropy over the counted positions, or with a CRF the sum of the counted rows'
        negative log-likelihoods over as many, 0 where there are none; ``correct`` () int64: how many counted positions
        have their label as the first largest logit, or in the best path; ``logits`` (batch, seq_len, classes),
        (batch, classes) for the readout ``final``, or (batch, target_len, target_size), exactly 0 past a length or
        target length; ``vectors`` (batch, seq_len, output_size): the top layer's output of the RNN, both directions
        merged, exactly 0 past a length; for a decoder with attention ``attention`` (batch, target_len, seq_len): what
        each of its steps looks at, 1 together, exactly 0 past a length or target length; ``grad.<parameter>`` for every
        parameter but a frozen embedding, without the two-bias rule. Floats are float32 for narrower dtypes.
        """

    def loss(self, batch: Batch) -> float:
        """The loss of ``results`` alone for a labelled batch; a framework may have it without gradients."""
        return float(self.results(batch)["loss"])

    @abstractmethod
    def set_optimizer(self, settings: OptimizerSettings) -> None:
        """Make the framework's own optimizer, set so that it follows ``OptimizerSettings``; its state is new."""

    @abstractmethod
    def train(self, batches: Sequence[Batch]) -> list[Step]:
        """Train one step on each labelled batch in turn; what each gave, computed before its update.

        The updates, too, are done when it returns.
        """

    @abstractmethod
    def optimizer_state(self) -> Arrays:
        """The optimizer's state: ``momentum.<parameter>``, or ``first.<parameter>`` and ``second.<parameter>``, for
        each of ``trained_parameters``, float64 in canonical shape, and ``count`` () int64.

        As ``OptimizerSettings`` defines them: momentum is the running sum of gradients, without the learning rate.
        Before the first step they are zeros. Rows that the two-bias rule freezes are 0.
        """

    @abstractmethod
    def load_optimizer_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what ``optimizer_state`` of any framework gave; call ``set_optimizer`` first."""

    @abstractmethod
    def predict(self, batch: Batch) -> Arrays:
        """A sequence model's answers for an unlabelled batch, without dropout: ``labels`` int64, (batch, seq_len) or
        (batch,), 0 past a length, and ``logits`` and ``vectors`` as in ``results``. With a CRF the labels are the best
        path's, of those that the batch's ``allowed`` allows.
        """

    @abstractmethod
    def decode(self, batch: Batch, max_steps: int) -> np.ndarray:
        """An encoder–decoder's greedy answer for an unlabelled batch, (batch, max_steps) int64.

        Each step is given the best token of the step before, the first the start token. A row ends with its end token,
        0 behind it; one without has not ended within ``max_steps``.
        """

    @abstractmethod
    def stepper(self, batch: Batch) -> DecoderStep:
        """An encoder–decoder's steps for an unlabelled batch, to be taken before the network is asked anything else."""

    def beam(self, batch: Batch, max_steps: int, width: int) -> Arrays:
        """An encoder–decoder's answers by a beam search for an unlabelled batch: ``tokens`` (batch, width, max_steps)
        int64, best first, and ``scores`` (batch, width) float64, their log-probabilities.
        """
        check_batch(self.spec, batch, labelled=False)
        return beam_search(self.stepper(repeated(batch, width)), len(batch["lengths"]), width, max_steps)

    def split(self, weights: Mapping[str, np.ndarray]) -> list[Arrays]:
        """The bidirectional RNN's weights of the model's, one dictionary by canonical name for each of ``stages``."""
        of_rnn = rnn_weights(self.spec, weights)
        return [of_rnn] if len(self.stages) == 1 else split_layers(self.spec.recurrent, of_rnn)

    def join(self, by_stage: list[Arrays]) -> Arrays:
        """The inverse of ``split``: under the model's names what each stage has under its own."""
        return with_prefix(rnn_prefix(self.spec), by_stage[0] if len(self.stages) == 1 else join_layers(by_stage))

    def summed_biases(self, layers: Sequence[Implementation]) -> Arrays:
        """A mask of each ``bias_hh`` of the bidirectional RNN, (rows,) bool: true where the implementation that
        computes it, one of ``layers`` for each of ``stages``, holds its sum with ``bias_ih`` alone.
        """
        return self.join(
            [
                {
                    weight_name("bias_hh", number, direction): np.repeat(
                        [gate in layer.summed_gates() for gate in GATES[layer.spec.cell]],
                        layer.spec.hidden_sizes[direction],
                    )
                    for number in range(layer.spec.num_layers if layer.spec.bias else 0)
                    for direction in range(layer.spec.num_directions)
                }
                for layer in layers
            ]
        )


class NetworkOptimizer(Protocol):
    """What every framework's ``optimizers.Optimizer`` has, beside a step of its own kind."""

    settings: OptimizerSettings

    def state(self) -> Arrays:
        """The state of the optimizer, as ``Network.optimizer_state`` gives it."""
        ...

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over a state, as ``Network.load_optimizer_state`` does."""
        ...


Chosen = TypeVar("Chosen", bound=NetworkOptimizer)
"""The kind of optimizer of a framework."""


class TrainedNetwork(Network, Generic[Chosen]):
    """A network that is trained by an optimizer object of its framework; ``set_optimizer`` puts it into ``_optimizer``.

    Parameters are those of ``Network``.
    """

    _optimizer: Chosen | None = None

    @property
    def optimizer(self) -> Chosen:
        """The one that was set."""
        if self._optimizer is None:
            raise RuntimeError("set_optimizer must be called before training")
        return self._optimizer

    def optimizer_state(self) -> Arrays:
        return self.optimizer.state()

    def load_optimizer_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.optimizer.load_state(arrays)


def stages(spec: Model) -> list[Specification]:
    """What each implementation object of a network computes: the whole rnn, or with dropout one layer of it."""
    rnn = spec.recurrent
    return [one_layer(rnn, layer) for layer in range(rnn.num_layers)] if spec.dropout else [rnn]


def requests(spec: Model, batch: Batch, dtype: str, device: str) -> list[Request]:
    """What a model's batch asks of an implementation of the layer, gradients included; one for each stage."""
    rows, steps = sizes(batch)
    lengths = batch.get("lengths")
    finite = "x" not in batch or has_finite_padding(batch["x"], padding_mask(batch), dtype)
    return [Request(stage, dtype, device, rows, steps, lengths, True, finite) for stage in stages(spec)]
