"""One step of training by the reference: a linear head, softmax cross-entropy and plain SGD, in NumPy.

A small learning rate hides a wrong gradient: the moved weights are then nearly the old ones, and agree. So a step is
judged at a ``telling_rate``, which moves every weight matrix by at least its own size, and timed at a usual one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from common.case import Case
from common.cells import Product
from common.judging.agreement import Verdict, judge_tensors
from common.judging.precision import numpy_dtype, rounded, rounded_case
from common.judging.reordered import further_loops, nudged, nudged_case, reordered
from common.judging.tf32 import TF32
from common.judging.yardstick import Yardstick, in_order_error, kink_width, spread, truth_dtype, yardstick
from common.reference import Arrays, Reference, step_mask
from common.specification import Specification
from common.weights import shapes

HEAD = ("head.weight", "head.bias")
"""The names of the head's parameters."""
LARGEST_RATE = 2.0**15
"""The largest power of two that float16 holds."""


@dataclass(frozen=True)
class Training:
    """What a train step adds to a case: a linear head, labels, and a learning rate.

    The step is: logits = output @ weight.T + bias; the loss is the mean over all real steps of the cross-entropy
    between softmax(logits) and the labels; every weight moves by −learning_rate times its gradient (plain SGD). Where
    no step is real, loss and gradients are 0.

    weight (classes, output_size), bias (classes,) float64; labels (batch, seq_len) int64, in the padding too a class.
    """

    weight: np.ndarray
    bias: np.ndarray
    labels: np.ndarray
    learning_rate: float


def rounded_training(training: Training, dtype: str) -> Training:
    """The training with head and learning rate rounded to ``dtype`` but held as float64."""
    rate = float(rounded(np.array(training.learning_rate), dtype))
    return replace(
        training, weight=rounded(training.weight, dtype), bias=rounded(training.bias, dtype), learning_rate=rate
    )


def trained_kernels(spec: Specification) -> list[str]:
    """The canonical weights that a train step gives as ``trained.*``: all but the biases."""
    return [name for name in shapes(spec) if not name.startswith("bias")]


class ReferenceHead:
    """The linear head and its loss: ``product`` in ``dtype``, softmax and mean in at least float32.

    The methods that a mistake would change are apart.
    """

    def __init__(self, labels: np.ndarray, dtype: np.dtype, product: Product) -> None:
        self.labels = labels
        self.dtype = dtype
        self.wide = np.promote_types(dtype, np.float32)
        self.product = product

    def real_steps(self, case: Case) -> np.ndarray:
        """(batch, seq_len) bool: which steps the loss is over."""
        return step_mask(case.lengths, case.batch, case.seq_len)

    def divisor(self, real: np.ndarray) -> int:
        """What the sum over the real steps is divided by."""
        return max(int(real.sum()), 1)

    def logits(self, output: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """(batch, seq_len, classes) from the output (batch, seq_len, output_size)."""
        return self.product(output, weight.T) + bias

    def losses(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cross-entropy of each step (batch, seq_len), and its gradient by the logits (batch, seq_len, classes)."""
        logits = logits.astype(self.wide)
        shifted = logits - logits.max(axis=-1, keepdims=True)
        total = np.exp(shifted).sum(axis=-1, keepdims=True)
        label = self.labels[..., None]
        losses = np.log(total) - np.take_along_axis(shifted, label, axis=-1)  # (batch, seq_len, 1)
        gradient = np.exp(shifted) / total
        np.put_along_axis(gradient, label, np.take_along_axis(gradient, label, axis=-1) - 1, axis=-1)
        return losses[..., 0], gradient


@dataclass(frozen=True)
class TrainedStep:
    """What a step gave: the loss of each step (batch, seq_len), 0 in the padding, their mean, and all weights'
    gradients, by canonical name and those in ``HEAD``.
    """

    losses: np.ndarray
    loss: np.ndarray
    gradients: Arrays


def step(reference: Reference, head: ReferenceHead, head_weights: Mapping[str, np.ndarray], case: Case) -> TrainedStep:
    """The loss and the gradients of a train step; nothing is moved."""
    output = reference.forward(case.x, case.lengths, case.initial_state("h"), case.initial_state("c"))["output"]
    weight, bias = (head_weights[name] for name in HEAD)
    losses, d_logits = head.losses(head.logits(output, weight, bias))
    real = head.real_steps(case)
    divisor = head.wide.type(head.divisor(real))
    losses = np.where(real, losses, np.zeros_like(losses))
    d_logits = np.where(real[..., None], d_logits / divisor, np.zeros_like(d_logits)).astype(head.dtype)
    no_gradient = np.zeros_like(case.initial_state("h"))
    raw = reference.backward(head.product(d_logits, weight), no_gradient, no_gradient)
    gradients = {name: raw[f"grad.{name}"] for name in reference.weights}
    by_class = d_logits.reshape(-1, d_logits.shape[-1])  # (batch·seq_len, classes)
    gradients["head.weight"] = head.product(by_class.T, output.reshape(-1, output.shape[-1]))
    gradients["head.bias"] = by_class.astype(head.wide).sum(axis=0).astype(head.dtype)
    return TrainedStep(losses, losses.sum() / divisor, gradients)


@dataclass
class ReferenceStep:
    """A network that is trained by the reference, in some dtype.

    ``kind`` and ``head_kind`` are the classes that a mistake would change; ``kink`` see ``common.cells.Cell``.
    """

    case: Case
    training: Training
    dtype: np.dtype | type
    kind: type[Reference] = Reference
    head_kind: type[ReferenceHead] = ReferenceHead
    kink: float = 0.0
    last: TrainedStep = field(init=False)

    def __post_init__(self) -> None:
        self._reference = self.kind(self.case.spec, self.case.weights, self.dtype, self.kink)
        self._head = self.head_kind(self.training.labels, np.dtype(self.dtype), self._reference.product())
        arrays = (self.training.weight, self.training.bias)
        self._head_weights = {name: array.astype(self.dtype) for name, array in zip(HEAD, arrays, strict=True)}

    def step(self) -> None:
        """Move every weight once; ``last`` is what the step gave."""
        self.last = step(self._reference, self._head, self._head_weights, self.case)
        rate = np.dtype(self.dtype).type(self.training.learning_rate)
        for weights in (self._reference.weights, self._head_weights):
            for name, value in weights.items():
                weights[name] = value - rate * self.last.gradients[name]

    def results(self) -> Arrays:
        """What a result holds after a step: ``loss`` and the moved weights but for the biases."""
        results = {"loss": np.asarray(self.last.loss), "trained.head.weight": self._head_weights["head.weight"]}
        return results | {f"trained.{name}": self._reference.weights[name] for name in trained_kernels(self.case.spec)}


def training_yardstick(case: Case, training: Training, dtype: str, tf32: bool = False, steps: int = 1) -> Yardstick:
    """What the result of ``steps`` train steps is held against: the truth and the plain loop, as ``yardstick`` has
    them.

    A mean of many losses can be right by luck, so the loss may besides be off by the mean error of the single losses;
    and the gradients, which are sums over all real steps, by what adding up in order costs. More than one step is for
    specifications without biases: a framework with one bias where another has two moves it half as far, and from the
    second step on that is seen in all weights.
    """
    case, training = rounded_case(case, dtype), rounded_training(training, dtype)
    kind = TF32 if tf32 and dtype == "float32" else Reference
    truth = _train(ReferenceStep(case, training, truth_dtype(dtype)), steps)
    plain = _train(ReferenceStep(case, training, numpy_dtype(dtype), kind), steps)
    loops = [_further_loop(case, training, dtype, kind, steps, number) for number in range(further_loops(case))]
    num_real = max(int((~case.padding_mask()).sum()), 1)
    losses = truth.last.losses
    off = max(np.abs(each.last.losses.astype(losses.dtype) - losses).sum() for each in (plain, *loops))
    ambiguity = {"loss": np.asarray(off / num_real)}
    for name in (*trained_kernels(case.spec), "head.weight"):
        moved = training.learning_rate * truth.last.gradients[name]
        ambiguity[f"trained.{name}"] = in_order_error(moved, num_real, dtype)
    if case.spec.cell == "rnn_relu":
        for name, value in _kink_ambiguity(case, training, dtype, steps).items():
            ambiguity[name] = ambiguity[name] + value
    right = truth.results()
    return Yardstick(case, dtype, right, plain.results(), spread(right, (each.results() for each in loops)), ambiguity)


def _further_loop(
    case: Case, training: Training, dtype: str, kind: type[Reference], steps: int, number: int
) -> ReferenceStep:
    """One of the further plain loops, trained; the learning rate stays, as it is given and not computed."""
    rng = np.random.default_rng(number)
    moved = replace(training, weight=nudged(training.weight, dtype, rng), bias=nudged(training.bias, dtype, rng))
    trainer = ReferenceStep(nudged_case(case, dtype, number), moved, numpy_dtype(dtype), reordered(kind, number))
    return _train(trainer, steps)


def _train(trainer: ReferenceStep, steps: int) -> ReferenceStep:
    """The trainer after some steps."""
    for _ in range(steps):
        trainer.step()
    return trainer


def _kink_ambiguity(case: Case, training: Training, dtype: str, steps: int) -> Arrays:
    """How much the moved weights change when pre-activations within rounding of 0 fall on relu's other side."""
    width = kink_width(yardstick(replace(case, cotangents={}), dtype))
    above, below = (
        _train(ReferenceStep(case, training, truth_dtype(dtype), kink=kink), steps).results()
        for kink in (width, -width)
    )
    return {name: np.abs(above[name] - below[name]) for name in above if name != "loss"}


def judge_step(result: Arrays, yard: Yardstick) -> Verdict:
    """Hold the result of a train step against the truth, tensor by tensor."""
    return judge_tensors(result, yard)


def telling_rate(case: Case, training: Training) -> float:
    """A learning rate at which a wrong gradient shows: the step moves every kernel, and the head's weight, by at least
    its own size (Frobenius norm), by the reference's gradients in float32.

    Gradients that are 0 do not count. It is a power of two, exact in every format, of at most ``LARGEST_RATE``;
    ``training``'s own learning rate plays no part.
    """
    trainer = ReferenceStep(case, training, np.float32)
    trainer.step()
    weights = {**case.weights, "head.weight": training.weight}
    ratios = [0.0]
    for name in (*trained_kernels(case.spec), "head.weight"):
        size = np.linalg.norm(trainer.last.gradients[name].astype(np.float64))
        if size > 0:
            ratios.append(float(np.linalg.norm(weights[name]) / size))
    largest = max(ratios)
    return float(min(2.0 ** np.ceil(np.log2(largest)), LARGEST_RATE)) if largest > 0 else 1.0
