"""Hold what an implementation computed for a benchmark case against the reference, before it is timed.

The reference is a NumPy loop; for the largest cases it would take hours. There the cotangents of all rows of the batch
but a few are zero: outputs, states and the input's gradient are then judged on those rows, and the weights' gradients,
to which the other rows give nothing, as a whole. The implementation computes the whole batch all the same. A train
step's loss is over all rows, so its reference always runs whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.cases.case import BenchmarkCase
from common.case import Case
from common.judging.agreement import Verdict, judge
from common.judging.models import ModelYardstick, judge_model, model_yardstick
from common.judging.trial import judge_trial
from common.judging.yardstick import Yardstick, without_gradients, yardstick
from common.models.specification import Model, parameters, rnn_prefix
from common.reference import Arrays
from common.training import Training, judge_step, telling_rate, training_yardstick

Paddings = Mapping[str, Callable[[], Arrays | None]]
"""What computes a result with each other padding, as ``common.judging.trial.judge_trial`` takes it."""
LARGEST_REFERENCE = 5e10
"""Flops of a forward pass up to which the reference takes all rows; about four seconds on two cores."""
FEW_ROWS = 2
"""Rows of a large case that are judged."""
BATCH_AXIS = {"output": 0, "grad.x": 0, "h_n": 1, "c_n": 1, "grad.h_0": 1, "grad.c_0": 1}
"""The axis of the batch in each tensor that has one."""


def forward_flops(case: BenchmarkCase) -> float:
    """Flops of the products of a forward pass; a system's with those of its matrices beside the rnn, each counted once
    an answer.
    """
    spec = case.spec
    per_step = sum(spec.layer_input_size(layer) + spec.hidden_size for layer in range(spec.num_layers))
    of_rnn = 2 * 2 * spec.num_gates * spec.hidden_size * per_step * case.real_steps()
    return of_rnn if case.system is None else of_rnn + 2 * _sizes_beside_rnn(case.system) * case.answers()


def _sizes_beside_rnn(system: Model) -> int:
    """Numbers in a system's matrices but for its embeddings and its bidirectional RNN."""
    return sum(
        math.prod(shape)
        for name, shape in parameters(system).items()
        if len(shape) == 2 and "embedding" not in name and not name.startswith(rnn_prefix(system))
    )


def judged_rows(case: BenchmarkCase, largest: float | None = None) -> np.ndarray | None:
    """The rows of the batch that the reference computes, drawn from the case's seed; None for all, up to ``largest``
    flops of a forward pass (default: ``LARGEST_REFERENCE``).
    """
    if case.batch <= FEW_ROWS or forward_flops(case) <= (LARGEST_REFERENCE if largest is None else largest):
        return None
    return np.sort(np.random.default_rng(case.seed).choice(case.batch, FEW_ROWS, replace=False))


def with_cotangents_on(case: Case, rows: np.ndarray) -> Case:
    """The case with zero cotangents on all other rows of the batch."""
    cotangents = {}
    for name, value in case.cotangents.items():
        axis = BATCH_AXIS[name]
        cotangents[name] = np.zeros_like(value)
        kept = [slice(None)] * axis + [rows]
        cotangents[name][tuple(kept)] = value[tuple(kept)]
    return replace(case, cotangents=cotangents, file_sha256=None)


def only(rows: np.ndarray, arrays: Arrays) -> Arrays:
    """The rows of a result's tensors; what has no batch axis stays whole."""
    return {
        name: np.take(value, rows, BATCH_AXIS[name]) if name in BATCH_AXIS else value for name, value in arrays.items()
    }


def sliced(case: Case, rows: np.ndarray) -> Case:
    """The case with some rows of its batch alone."""
    return replace(
        case,
        x=case.x[rows],
        lengths=None if case.lengths is None else case.lengths[rows],
        h_0=None if case.h_0 is None else case.h_0[:, rows],
        c_0=None if case.c_0 is None else case.c_0[:, rows],
        cotangents=only(rows, case.cotangents),
        file_sha256=None,
    )


def at_once(key: object, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, in this process: what ``backends.pool.calculator.Once`` does where it can be
    stopped.
    """
    return function(*arguments)


@dataclass
class Judge:
    """Judges the results of one benchmark case; the reference runs once for each dtype, when it is first needed.

    ``made`` is the case as implementations get it; ``tf32`` whether the lane multiplies float32 as TF32; ``reference``
    calls what takes long; up to ``largest`` flops of a forward pass it takes all rows.
    """

    case: BenchmarkCase
    tf32: bool = False
    reference: Callable[..., Any] = at_once
    largest: float | None = None
    _telling_rate: float | None = None
    _yards: dict[str, Yardstick] = field(default_factory=dict)
    _steps: dict[str, Yardstick] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = judged_rows(self.case, self.largest)
        made = self.case.make()
        self.made = made if self.rows is None else with_cotangents_on(made, self.rows)
        self.training: Training = self.case.training()

    def judge(self, passed: str, dtype: str, result: Arrays, paddings: Paddings | None = None) -> Verdict:
        """Whether a result of one pass agrees, and with the case computed with other ``paddings``, if given."""
        if passed == "train_step":
            return judge_trial(result, self._step(dtype), judge=judge_step, explain=None)
        yard = self._yard(dtype)
        if passed == "forward":
            yard = without_gradients(yard)
        return judge_trial(result, yard, judge=self._judge_rows, explain=None, paddings=paddings)

    def _judge_rows(self, result: Arrays, yard: Yardstick) -> Verdict:
        """The verdict on the rows that are judged."""
        return judge(result if self.rows is None else only(self.rows, result), yard)

    def is_padded(self, passed: str) -> bool:
        """Whether padding could have an influence that has to be looked for; a train step's inputs are those of the
        other passes.
        """
        return passed != "train_step" and bool(self.made.padding_mask().any())

    def telling_rate(self) -> float:
        """The learning rate at which a step is judged: one at which a wrong gradient shows."""
        if self._telling_rate is None:
            self._telling_rate = self.reference("rate", telling_rate, self.made, self.training)
        return self._telling_rate

    def _yard(self, dtype: str) -> Yardstick:
        """The yardstick of the passes but for a train step."""
        if dtype not in self._yards:
            judged = self.made if self.rows is None else sliced(self.made, self.rows)
            self._yards[dtype] = self.reference(("passes", dtype), yardstick, judged, dtype, self.tf32)
        return self._yards[dtype]

    def _step(self, dtype: str) -> Yardstick:
        """The yardstick of a train step."""
        if dtype not in self._steps:
            training = replace(self.training, learning_rate=self.telling_rate())
            wanted = (training_yardstick, self.made, training, dtype, self.tf32)
            self._steps[dtype] = self.reference(("step", dtype), *wanted)
        return self._steps[dtype]


@dataclass
class SystemJudge:
    """Judges one system's outputs, loss and gradients; the reference runs once for each dtype, when it is first needed.

    ``made`` is the system as implementations get it; ``reference`` calls what takes long.
    """

    case: BenchmarkCase
    tf32: bool = False
    reference: Callable[..., Any] = at_once
    _yards: dict[str, ModelYardstick] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.made = self.case.make_system()

    def judge(self, passed: str, dtype: str, result: Arrays, paddings: Paddings | None = None) -> Verdict:
        """Whether what a network gave for the batch agrees."""
        if dtype not in self._yards:
            made = self.made
            wanted = (model_yardstick, made.spec, made.weights, made.batch, dtype, self.tf32)
            self._yards[dtype] = self.reference(dtype, *wanted)
        # A decoder that chose otherwise where two tokens were near is held against one that was given its choices.
        return judge_trial(
            result, self._yards[dtype], judge=partial(self.reference, object(), judge_model), explain=None
        )

    def is_padded(self, passed: str) -> bool:
        """False: the batch's padding is garbage, which the reference leaves alone."""
        return False


def judge_of(
    case: BenchmarkCase,
    tf32: bool,
    reference: Callable[..., Any] = at_once,
    largest: float | None = None,
) -> Judge | SystemJudge:
    """A case's judge; ``largest`` is for a layer."""
    return Judge(case, tf32, reference, largest) if case.system is None else SystemJudge(case, tf32, reference)
