"""Where traces part: the verdict on gaps that are written down, and on training that is right and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from common.judging.precision import epsilon
from common.models.optimizers import Optimizer
from common.models.pipeline_data import OPTIMIZER, pipeline_data, pipeline_model
from common.models.specification import Arrays, initialise
from common.models.trace import ReferenceTrainer, Step
from common.tasks.parting import AGREES, EXPLAINED, PARTED, PARTS, TOO_FAST, Parting, compare, compare_stopped, gaps

LOSS = 2.0
CHAOS = 1e-6
STEPS = 40


def trace(gaps: Sequence[float]) -> list[Step]:
    """Losses that lie these parts of ``LOSS`` above it."""
    return [Step(LOSS * (1 + gap), 0.5, 1.0) for gap in gaps]


def parting(gaps: Sequence[float], chaos: Sequence[float], dtype: str = "float64") -> Parting:
    return compare(trace([0.0] * len(gaps)), trace(gaps), trace(chaos), dtype)


def test_gaps_are_parts_of_the_first_traces_loss() -> None:
    np.testing.assert_allclose(gaps(trace([0, 0, 0]), trace([0.5, -0.25])), [0.5, 0.25], rtol=1e-12)
    lost = [Step(np.nan, 0.0, 0.0)]
    assert gaps(trace([0]), lost).tolist() == gaps(lost, trace([0])).tolist() == [np.inf]


@pytest.mark.parametrize(
    ("gaps", "chaos", "verdict", "step", "unexplained"),
    [
        ([0, 1e-9, 1e-8], [CHAOS] * 3, AGREES, None, None),
        ([0, 0.9 * PARTED, 1.1 * PARTED], [PARTED] * 3, PARTS, 2, None),
        ([0, 0, 0.99 * EXPLAINED * CHAOS], [0, CHAOS, 0], AGREES, None, None),  # the twin's largest gap so far counts
        ([0, 0, 1.01 * EXPLAINED * CHAOS], [0, CHAOS, 0], TOO_FAST, None, 2),
        ([0, 1.01 * EXPLAINED * CHAOS, 0], [0, CHAOS, 1], TOO_FAST, None, 1),  # and what it will have been does not
        ([0.1, 0.1], [CHAOS, CHAOS], TOO_FAST, 0, 0),
        ([0, 0.1], [0, 0], TOO_FAST, 1, 1),
        ([0, np.nan], [0, 0.01], TOO_FAST, 1, 1),
        ([0, 0, 0.1], [0, 0.1], PARTS, 2, None),  # a twin that stopped keeps its gap
        ([0, 0, 0.1], [], TOO_FAST, 2, 2),
    ],
)
def test_the_verdict_on_gaps(
    gaps: list[float], chaos: list[float], verdict: str, step: int | None, unexplained: int | None
) -> None:
    parted = parting(gaps, chaos)
    assert (parted.verdict, parted.step, parted.unexplained) == (verdict, step, unexplained)
    assert parted.largest == pytest.approx(np.inf if np.isnan(gaps).any() else max(gaps), rel=1e-9)


@pytest.mark.parametrize(
    ("of_steps", "of_validation", "verdict", "step", "unexplained"),
    [
        ([0] * 6, [0, 0, 0], AGREES, None, None),
        ([0] * 6, [0, 0.01, 0], TOO_FAST, 3, 3),  # the second epoch's last step
        ([0] * 5 + [0.01], [0, 0, 0], TOO_FAST, 5, 5),
        ([0, 0, 0.01, 0, 0, 0], [0, 0, 0], TOO_FAST, 2, 2),
        ([0] * 6, [0.01, 0, 0], TOO_FAST, 1, 1),
        ([0] * 4, [0, 0], AGREES, None, None),  # stopped before the other
        ([0] * 4, [0, 0.01], TOO_FAST, 3, 3),
        ([0, 0, CHAOS, 0, 0, 0], [0, 50 * CHAOS, 0], AGREES, None, None),
    ],
)
def test_a_validation_loss_counts_as_its_epochs_last_step(
    of_steps: list[float], of_validation: list[float], verdict: str, step: int | None, unexplained: int | None
) -> None:
    """Of three epochs of two steps; the twin's first gap is in the second one."""
    first, twin = (trace([0] * 6), [LOSS] * 3), (trace([0, 0, CHAOS, 0, 0, 0]), [LOSS] * 3)
    other = trace(of_steps), [LOSS * (1 + gap) for gap in of_validation]
    parted = compare_stopped(first, other, twin, "float64")
    assert (parted.verdict, parted.step, parted.unexplained) == (verdict, step, unexplained)
    assert parted.largest == pytest.approx(max(of_steps + of_validation), rel=1e-9)


def test_rounding_alone_is_explained_where_the_twin_has_not_parted_yet() -> None:
    for dtype in ("float32", "float64"):
        limit = EXPLAINED * epsilon(dtype)
        assert parting([0.9 * limit], [0], dtype).verdict == AGREES
        assert parting([1.1 * limit], [0], dtype).verdict == TOO_FAST


# Training by the reference: in float32, with one bit flipped, in another precision, and with mistakes.


class Nesterov(Optimizer):
    def direction(self, name: str, gradient: np.ndarray) -> np.ndarray:
        return gradient + self.settings.momentum * super().direction(name, gradient)


class BiasesStill(ReferenceTrainer):
    def held(self, weights: Arrays) -> Arrays:
        return weights | {name: self.first[name] for name in weights if "bias" in name}

    @property
    def first(self) -> Arrays:
        return {name: value.astype(self.dtype) for name, value in first_weights().items()}


@cache
def first_weights() -> Arrays:
    return initialise(pipeline_model("rnn_tanh"), np.random.default_rng(0))


@cache
def trained(how: str = "") -> list[Step]:
    """The trace of the pipeline's first steps, ``how`` being what is other than it should be."""
    data, weights = pipeline_data(0), dict(first_weights())
    batches = list(data.epoch(np.random.default_rng(0)))[:STEPS]
    settings: dict[str, Any] = {"name": "momentum", "learning_rate": 0.05}
    settings |= {"rate 1 % off": {"learning_rate": 0.0505}, "momentum 0.89": {"momentum": 0.89}}.get(how, {})
    if how == "one bit flipped":
        x = batches[0]["x"].copy()
        place = (0, *np.unravel_index(np.abs(x[0]).argmax(), x[0].shape))
        x[place] = np.nextafter(np.float32(x[place]), np.float32(np.inf))
        batches[0] = {**batches[0], "x": x}
    if how == "a batch left out":
        del batches[16]
    kind = BiasesStill if how == "biases still" else ReferenceTrainer
    dtype = np.float64 if how == "float64" else np.float32
    trainer = kind(pipeline_model("rnn_tanh"), weights, OPTIMIZER.model_copy(update=settings), dtype)
    if how == "nesterov":
        trainer.optimizer = Nesterov(trainer.optimizer.settings)
    return trainer.train(batches)


def against_its_twin(how: str) -> Parting:
    return compare(trained(), trained(how), trained("one bit flipped"), "float32")


@pytest.mark.parametrize("how", ["float64", "one bit flipped"])
def test_rounding_errors_are_explained(how: str) -> None:
    parted = against_its_twin(how)
    assert parted.largest > 0
    assert parted.verdict == AGREES


@pytest.mark.parametrize("how", ["rate 1 % off", "momentum 0.89", "nesterov", "a batch left out", "biases still"])
def test_a_mistake_parts_faster_than_chaos_explains(how: str) -> None:
    parted = against_its_twin(how)
    assert parted.verdict == TOO_FAST
    assert parted.unexplained is not None
