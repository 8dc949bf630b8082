"""What cannot be told is not judged: where rounding is as large as the answer, nothing agrees, zeros least of all."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from common.case import Case
from common.judging.agreement import AGREES, DISAGREES, NOT_JUDGED, judge, measure, thresholds, units
from common.judging.models import judge_model, model_yardstick
from common.judging.yardstick import Yardstick, yardstick
from common.models.small_cases import model_cases
from common.reference import Arrays
from common.training import judge_step, training_yardstick
from tests.cases import a_case, a_training

SEVERAL = 4
"""How many limits zeros must be off where a tensor can be told."""


def heavy_case(cell: str, weights: float, **changes: Any) -> Case:
    """A case whose weights are many times the usual ones, without lengths and states."""
    case = a_case(cell, batch=2, lengths=None, with_states=False, **changes)
    return replace(case, weights={name: value * weights for name, value in case.weights.items()})


def zeros(yard: Yardstick) -> Arrays:
    return {name: np.zeros(value.shape) for name, value in yard.truth.items()}


@cache
def chaotic_yardstick(name: str) -> Yardstick:
    return yardstick(CHAOTIC[name], "float32")


CHAOTIC = {
    "gru, 20 times the weights": heavy_case("gru", 20, seq_len=60, hidden_size=16),
    "rnn_tanh, 4 times the weights": heavy_case("rnn_tanh", 4, seq_len=200, hidden_size=32),
    "rnn_relu that overflows": heavy_case("rnn_relu", 8, seq_len=80, with_cotangents=False),
}


@pytest.mark.parametrize("name", CHAOTIC)
def test_where_rounding_decides_the_answer_neither_zeros_nor_the_plain_loop_agree(name: str) -> None:
    """Zeros used to agree, gradients included, where one plain loop's error was as large as the answer."""
    yard = chaotic_yardstick(name)
    for result in (zeros(yard), yard.plain):
        verdict = judge(result, yard)
        assert (verdict.status, verdict.agrees) == (NOT_JUDGED, False)
        assert len(verdict.untold) == len(yard.truth)
        assert verdict.reasons[0].startswith("nothing can be told on this case in float32; of output: ")
    reason = "the right answer overflows" if "overflows" in name else "not far below the answer's own"
    assert all(reason in sentence for sentence in verdict.untold)


def test_an_answer_that_overflows_even_the_reference_is_not_judged() -> None:
    yard = yardstick(heavy_case("rnn_relu", 1e4, seq_len=100, with_cotangents=False), "float32")
    assert judge(zeros(yard), yard).untold[0] == "output cannot be told: the right answer overflows"


def test_the_exact_rules_hold_where_nothing_else_can_be_told() -> None:
    yard = chaotic_yardstick("gru, 20 times the weights")
    result = {name: value.copy() for name, value in yard.plain.items()}
    result["h_n"][1, 0, 2] = 0.5
    verdict = judge(result, yard)
    assert verdict.status == DISAGREES
    assert verdict.reasons == ["the top layer's reverse h_n must equal its outputs at step 0; they differ"]
    result = yard.plain | {"grad.x": np.full_like(yard.plain["grad.x"], np.nan)}
    assert judge(result, yard).status == DISAGREES  # no plain loop overflows


def test_infinity_is_wrong_only_where_correct_code_cannot_reach_it() -> None:
    """Where numbers may become so large that products of two overflow, correct code may meet infinity."""
    yard = yardstick(a_case("gru"), "float32")
    infinite = np.where(yard.case.padding_mask()[..., None], yard.plain["grad.x"], np.inf)
    result = yard.plain | {"grad.x": infinite}
    for error, status in ((100.0, DISAGREES), (1e20, AGREES)):
        part = replace(yard, ambiguity={"grad.x": np.full_like(yard.truth["grad.x"], error)})
        assert [each.tensor for each in judge(yard.plain, part).measures if each.untold] == ["grad.x"]
        assert judge(result, part).status == status


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_the_size_of_an_answer_is_known_where_squares_overflow_or_vanish(size: float) -> None:
    yard = yardstick(a_case("gru"), "float64")
    plain = yard.plain["output"] * size
    yard = replace(yard, truth={"output": plain * 1.0}, plain={"output": plain}, spread={})
    unit = units("output", yard)
    assert unit.size_rms == pytest.approx(np.sqrt(np.mean((plain / size) ** 2)) * size)
    assert measure("output", plain * 0, yard).exceeds(thresholds()["float64"])
    part = replace(yard, dtype="float32")
    assert ("overflows" in units("output", part).untold("float32")) == (size > 1)


def test_a_verdict_on_a_part_says_what_it_leaves_out() -> None:
    """Of a tensor that cannot be told nothing counts; of the others everything does."""
    yard = yardstick(a_case("gru"), "float32")
    error = np.full_like(yard.truth["grad.x"], np.abs(yard.truth["grad.x"]).max())
    part = replace(yard, ambiguity={"grad.x": error})
    result = yard.plain | {"grad.x": np.zeros_like(yard.plain["grad.x"])}
    verdict = judge(result, part)
    assert verdict.status == AGREES
    assert [sentence.split()[0] for sentence in verdict.untold] == ["grad.x"]
    assert verdict.worst("rms") <= 1  # the worst of what can be told
    assert verdict.as_json()["untold"] == verdict.untold
    assert judge(result, yard).status == DISAGREES
    assert judge(result | {"output": result["output"] * 0}, part).status == DISAGREES


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_zeros_and_noise_are_red_up_to_where_a_tensor_cannot_be_told(dtype: str) -> None:
    """An ambiguity is raised until the tensor cannot be told; just below, zeros are still several limits off."""
    yard = yardstick(a_case("lstm"), dtype)
    limits, truth = thresholds()[dtype], yard.truth["output"]
    told = set()
    for exponent in np.arange(-12, 1, 0.25):
        part = replace(yard, ambiguity={"output": np.abs(truth) * 2**exponent})
        measured = measure("output", np.zeros_like(truth), part)
        told.add(not measured.untold)
        if not measured.untold:
            assert max(measured.rms / limits["rms"], measured.max / limits["max"]) >= SEVERAL
            noise = np.random.default_rng(0).normal(scale=np.sqrt(np.mean(truth**2)), size=truth.shape)
            assert measure("output", noise, part).exceeds(limits)
    assert told == {True, False}


def test_tensors_of_zeros_do_not_make_a_verdict() -> None:
    """Where rounding decides all the rest, that zeros are zeros says nothing."""
    yard = chaotic_yardstick("gru, 20 times the weights")
    nothing = np.zeros_like(yard.truth["grad.x"])
    yard = replace(yard, truth=yard.truth | {"grad.x": nothing}, plain=yard.plain | {"grad.x": nothing}, spread={})
    assert units("grad.x", yard).untold("float32") == ""
    assert judge(zeros(yard), yard).status == NOT_JUDGED


@pytest.mark.parametrize("value", [1e-300, 1.0, np.nan])
def test_where_the_truth_is_exactly_0_nothing_else_agrees(value: float) -> None:
    case = a_case("gru", lengths=(0, 0, 0))
    yard = yardstick(case, "float64")
    assert judge(yard.plain, yard).status == AGREES
    wrong = yard.plain["grad.weight_hh_l0"].copy()
    wrong[2, 1] = value
    assert judge(yard.plain | {"grad.weight_hh_l0": wrong}, yard).status == DISAGREES


def test_a_train_step_of_which_nothing_can_be_told_is_not_judged() -> None:
    """The weights' own size hides no gradient: the step moves them by at least as much."""
    case = replace(CHAOTIC["gru, 20 times the weights"], cotangents={})
    yard = training_yardstick(case, a_training(case), "float32")
    untold = {each.tensor for each in judge_step(yard.plain, yard).measures if each.untold}
    assert {"trained.weight_hh_l0", "trained.weight_hh_l0_reverse"} <= untold


def test_a_model_of_which_nothing_can_be_told_is_not_judged() -> None:
    case = next(case for case in model_cases() if case.name == "tagger")
    yard = model_yardstick(case.spec, case.weights, case.batch, "float32")
    result = {name: np.zeros(value.shape) for name, value in yard.truth.items()} | {"correct": np.array(0)}
    assert judge_model(result, yard).status == DISAGREES
    part = replace(yard, ambiguity={name: np.abs(value) for name, value in yard.truth.items()})
    assert judge_model(result, part).status == NOT_JUDGED
