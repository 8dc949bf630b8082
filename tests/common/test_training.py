"""The reference's train step: its gradients, the telling learning rate, and the mistakes that judging catches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.case import Case
from common.cases.builtin import CELLS, SIZES
from common.judging.agreement import Verdict
from common.judging.mistakes.padding import LengthsIgnored, NotFlippedBack
from common.judging.precision import DTYPES, rounded_case
from common.judging.yardstick import truth_dtype
from common.reference import Arrays, Reference
from common.training import (
    HEAD,
    LARGEST_RATE,
    ReferenceHead,
    ReferenceStep,
    Training,
    judge_step,
    rounded_training,
    trained_kernels,
    training_yardstick,
)
from tests.cases import a_case, a_training

Change = Callable[[Arrays], Arrays]


def unchanged(weights: Arrays) -> Arrays:
    return weights


def stepped(
    case: Case,
    training: Training,
    dtype: str,
    kind: type[Reference] = Reference,
    head: type[ReferenceHead] = ReferenceHead,
    load: Change = unchanged,
    read: Change = unchanged,
) -> Arrays:
    """What code with a mistake gives after one step, before rounding errors; weights are loaded and read as told."""
    case, training = rounded_case(case, dtype), rounded_training(training, dtype)
    trainer = ReferenceStep(replace(case, weights=load(case.weights)), training, truth_dtype(dtype), kind, head)
    trainer.step()
    results = trainer.results()
    kernels = read({name: results[f"trained.{name}"] for name in trained_kernels(case.spec)})
    return results | {f"trained.{name}": value for name, value in kernels.items()}


class LossNotMasked(ReferenceHead):
    def real_steps(self, case: Case) -> np.ndarray:
        return np.ones((case.batch, case.seq_len), bool)


class MeanOverAllSteps(ReferenceHead):
    def divisor(self, real: np.ndarray) -> int:
        return real.size


class SumForMean(ReferenceHead):
    def divisor(self, real: np.ndarray) -> int:
        return 1


class BiasDropped(ReferenceHead):
    def logits(self, output: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return super().logits(output, weight, np.zeros_like(bias))


def first_two_gates_swapped(weights: Arrays) -> Arrays:
    def swap(value: np.ndarray) -> np.ndarray:
        first, second, *rest = np.split(value, len(value) // SIZES["hidden_size"])
        return np.concatenate([second, first, *rest])

    return {name: swap(value) for name, value in weights.items()}


def second_bias_dropped(weights: Arrays) -> Arrays:
    return {name: np.zeros_like(value) if "bias_hh" in name else value for name, value in weights.items()}


MISTAKES: dict[str, dict[str, Any]] = {
    "gates swapped": {"load": first_two_gates_swapped, "read": first_two_gates_swapped},
    "bias_hh dropped": {"load": second_bias_dropped},
    "reverse half not flipped back": {"kind": NotFlippedBack},
    "lengths ignored": {"kind": LengthsIgnored},
    "loss not masked": {"head": LossNotMasked},
    "mean over all steps, not the real ones": {"head": MeanOverAllSteps},
    "sum for mean": {"head": SumForMean},
    "head's bias dropped": {"head": BiasDropped},
}


def judged(case: Case, training: Training, dtype: str, **mistake: Any) -> Verdict:
    return judge_step(stepped(case, training, dtype, **mistake), training_yardstick(case, training, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_caught(mistake: str, cell: str, dtype: str) -> None:
    case = a_case(cell)
    assert not judged(case, a_training(case), dtype, **MISTAKES[mistake]).agrees


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [None, (5, 3, 1), (5, 0, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_the_plain_loop_agrees(cell: str, lengths: tuple[int, ...] | None, dtype: str) -> None:
    case = a_case(cell, lengths=lengths)
    yard = training_yardstick(case, a_training(case), dtype)
    verdict = judge_step(yard.plain, yard)
    assert verdict.agrees, verdict.reasons
    assert yard.plain["loss"].shape == ()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_float32_arithmetic_in_float64_is_caught(cell: str) -> None:
    case = a_case(cell)
    training = a_training(case)
    results = training_yardstick(case, training, "float32").plain
    assert not judge_step(results, training_yardstick(case, training, "float64")).agrees


def test_tf32_in_float32_is_caught_and_agrees_in_its_lane() -> None:
    case = a_case("lstm", seq_len=20, lengths=(20, 11, 4))
    training = a_training(case)
    exact, fast = (training_yardstick(case, training, "float32", tf32=tf32) for tf32 in (False, True))
    assert not judge_step(fast.plain, exact).agrees
    assert judge_step(fast.plain, fast).agrees


def nudged(case: Case, training: Training, rate: float) -> Verdict:
    """The verdict on a float32 step whose recurrent gradient is 1.5 times the right one."""
    training = replace(training, learning_rate=rate)
    yard = training_yardstick(case, training, "float32")
    before = yard.case.weights["weight_hh_l0"]
    wrong = {"trained.weight_hh_l0": before + 1.5 * (yard.truth["trained.weight_hh_l0"] - before)}
    return judge_step(yard.plain | wrong, yard)


def test_a_wrong_gradient_shows_at_the_telling_rate_and_hides_at_a_small_one() -> None:
    case = a_case("gru")
    training = a_training(case)
    assert nudged(case, training, training.learning_rate).reasons[0].startswith("trained.weight_hh_l0 is ")
    assert nudged(case, training, 1e-8).agrees


@pytest.mark.parametrize("cell", CELLS)
def test_the_telling_rate_moves_every_matrix_by_at_least_its_size(cell: str) -> None:
    case = a_case(cell, num_layers=2)
    training = a_training(case)
    rate = training.learning_rate
    assert np.log2(rate) == int(np.log2(rate)) <= np.log2(LARGEST_RATE)
    after = stepped(case, training, "float64")
    before = {**case.weights, "head.weight": training.weight}
    for name in (*trained_kernels(case.spec), "head.weight"):
        moved = (after[f"trained.{name}"] - before[name]).astype(float)
        assert np.linalg.norm(moved) >= np.linalg.norm(before[name])


def test_where_no_step_is_real_loss_and_gradients_are_0() -> None:
    case = a_case("gru", lengths=(0, 0, 0))
    training = a_training(case)
    assert training.learning_rate == 1
    after = stepped(case, training, "float64")
    assert after["loss"] == 0
    assert all((after[f"trained.{name}"] == case.weights[name]).all() for name in trained_kernels(case.spec))


def test_the_loss_may_err_by_the_mean_of_the_steps_errors_not_by_their_sum() -> None:
    case = a_case("gru", batch=40, lengths=None)
    yard = training_yardstick(case, a_training(case), "float32")
    assert yard.ambiguity["loss"] <= 4 * np.finfo(np.float32).eps * yard.truth["loss"]


def test_either_side_of_relus_kink_may_be_trained_on() -> None:
    """A pre-activation of the first step is within rounding of 0, as in tests/common/judging/test_agreement.py."""
    case = a_case("rnn_relu", lengths=None)
    weights = {name: value.astype(np.float32).astype(np.float64) for name, value in case.weights.items()}
    x, h_0 = (value.astype(np.float32).astype(np.float64) for value in (case.x, case.initial_state("h")))
    inputs = weights["weight_ih_l0"] @ x[0, 0] + weights["weight_hh_l0"] @ h_0[0, 0] + weights["bias_ih_l0"]
    weights["bias_hh_l0"][2] = np.float32(-inputs[2])
    near = replace(case, weights=weights, x=x, h_0=h_0, file_sha256=None)
    open_side, usual = (training_yardstick(each, a_training(each), "float32") for each in (near, case))
    name = "trained.weight_ih_l0"
    assert open_side.ambiguity[name][2].max() > 100 * usual.ambiguity[name][2].max()


def test_an_empty_row_contributes_nothing() -> None:
    """The mean is over the steps of the other rows, whatever the row holds."""
    case = a_case("lstm", lengths=(5, 0, 2))
    training = a_training(case)
    others = _rows(case, [0, 2])
    fewer = replace(training, labels=training.labels[[0, 2]])
    moved, expected = stepped(case, training, "float64"), stepped(others, fewer, "float64")
    for name in moved:
        np.testing.assert_allclose(moved[name].astype(float), expected[name].astype(float), rtol=1e-12, atol=1e-12)


def _rows(case: Case, rows: list[int]) -> Case:
    assert case.lengths is not None
    states = {name: getattr(case, name)[:, rows] for name in ("h_0", "c_0")}
    return replace(case, x=case.x[rows], lengths=case.lengths[rows], cotangents={}, **states)


def loss_of(case: Case, training: Training, weights: Arrays) -> np.ndarray:
    arrays = [weights.pop(name) for name in HEAD]
    trainer = ReferenceStep(
        replace(case, weights=weights), replace(training, weight=arrays[0], bias=arrays[1]), np.longdouble
    )
    trainer.step()
    return trainer.last.loss


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn_tanh"])
def test_gradients_are_those_of_the_loss(cell: str) -> None:
    """Along a random direction, by central differences in longdouble."""
    case = a_case(cell)
    training = a_training(case)
    weights = {**case.weights, "head.weight": training.weight, "head.bias": training.bias}
    trainer = ReferenceStep(case, training, np.longdouble)
    trainer.step()
    rng = np.random.default_rng(3)
    for name, value in weights.items():
        direction = rng.normal(size=value.shape)
        sides = [loss_of(case, training, weights | {name: value + h * direction}) for h in (1e-5, -1e-5)]
        slope = (trainer.last.gradients[name] * direction).sum()
        assert float((sides[0] - sides[1]) / 2e-5) == pytest.approx(float(slope), rel=1e-6, abs=1e-9), name


def test_missing_and_misshapen_tensors_disagree() -> None:
    case = a_case("gru")
    yard = training_yardstick(case, a_training(case), "float64")
    without = {name: value for name, value in yard.plain.items() if name != "loss"}
    assert judge_step(without, yard).reasons == ["the result must have loss; it is missing"]
    assert "shape" in judge_step(yard.plain | {"loss": np.zeros(1)}, yard).reasons[0]


def test_two_steps_are_not_one() -> None:
    case = a_case("gru", bias=False)
    training = a_training(case, learning_rate=0.5)
    assert not judge_step(
        training_yardstick(case, training, "float64").plain, training_yardstick(case, training, "float64", steps=2)
    ).agrees
