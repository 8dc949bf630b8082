"""Which mistake a wrong result is given the name of: in all, in part, as a guess, or none."""

from __future__ import annotations

import re

import numpy as np
import pytest

from common.judging.agreement import judge
from common.judging.explanation import Explainer, Explanation
from common.judging.mistakes.every import mistakes
from common.judging.mistakes.matching import Error, Share, same_forward
from common.judging.mistakes.mistake import Mistake
from common.judging.yardstick import Yardstick, yardstick
from common.reference import Arrays
from tests.cases import a_case

INVERTED = "update gate inverted: h' = z·n + (1 − z)·h"
EXPLAINER = Explainer()


@pytest.fixture(scope="module")
def yard() -> Yardstick:
    return yardstick(a_case("gru", num_layers=2), "float32")


def a_mistake(yard: Yardstick, name: str) -> Mistake:
    return next(each for each in mistakes(yard.case.spec) if each.name == name)


def given(yard: Yardstick, name: str) -> Arrays:
    return a_mistake(yard, name).results(yard.case, yard.dtype)


def explained(result: Arrays, yard: Yardstick) -> Explanation:
    assert judge(result, yard).status == "disagrees"
    return EXPLAINER.explain(result, yard)


def noisy(value: np.ndarray, size: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return value + size * np.sqrt(np.mean(np.square(value))) * rng.normal(size=value.shape)


def test_the_forward_pass_alone_is_a_match_in_part_with_its_share_of_the_error(yard: Yardstick) -> None:
    wrong = given(yard, INVERTED)
    result = {name: noisy(yard.truth[name], 1.0) if "grad" in name else value for name, value in wrong.items()}
    explanation = explained(result, yard)
    assert re.fullmatch(re.escape(INVERTED) + r" \(forward pass only, \d+ % of the error\)", explanation.matches)
    assert explanation.nearest == ""


def test_right_gradients_of_a_wrong_forward_pass_are_a_match_in_part(yard: Yardstick) -> None:
    result = {name: value if "grad" in name else given(yard, INVERTED)[name] for name, value in yard.truth.items()}
    assert explained(result, yard).matches == f"{INVERTED} (forward pass only, 100 % of the error)"


def test_gradients_alone_are_a_match_in_part(yard: Yardstick) -> None:
    result = {name: given(yard, INVERTED)[name] if "grad" in name else value for name, value in yard.truth.items()}
    assert explained(result, yard) == Explanation(f"{INVERTED} (gradients only, 100 % of the error)")


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("name", [INVERTED, "bias_ih dropped", "masks one step too short"])
def test_a_mistake_in_one_direction_is_said_to_be_in_that_one(name: str, direction: int, yard: Yardstick) -> None:
    made = a_mistake(yard, name).in_direction
    assert made is not None
    explanation = explained(made(yard.case, yard.dtype, direction), yard)
    assert explanation == Explanation(f"{name}, in the {('forward', 'reverse')[direction]} direction only")


@pytest.mark.parametrize(
    "name", ["gradient cut between steps", "gradient of the initial states cut", "gradient from the final states cut"]
)
def test_a_mistake_in_the_gradients_is_named(name: str, yard: Yardstick) -> None:
    assert explained(given(yard, name), yard).matches.split(" or ") == [name]


@pytest.mark.parametrize("name", ["initial states ignored", "bias_hh dropped", "gradient cut between steps"])
def test_what_code_never_reads_may_have_a_gradient_of_0(name: str, yard: Yardstick) -> None:
    mistake = a_mistake(yard, name)
    wrong = given(yard, name)
    assert any(wrong[each].any() for each in wrong if each.startswith(mistake.unused))
    result = {each: np.zeros_like(value) if each.startswith(mistake.unused) else value for each, value in wrong.items()}
    assert explained(result, yard).matches == name


def test_where_none_fits_the_two_nearest_are_said_with_their_shares(yard: Yardstick) -> None:
    name = "recurrent kernel transposed"
    wrong = given(yard, name)
    forward = ("output", "h_n")
    off = {each: 0.3 * np.sqrt(np.mean(np.square(wrong[each] - yard.truth[each]))) for each in forward}
    rng = np.random.default_rng(1)
    result = wrong | {each: wrong[each] + off[each] * rng.normal(size=wrong[each].shape) for each in forward}
    result["output"] = np.where(yard.case.padding_mask()[..., None], 0, result["output"])
    explanation = explained(result, yard)
    assert explanation.matches == ""
    assert re.match(re.escape(name) + r" \((8[5-9]|9[0-4]) % of the error\)", explanation.nearest)
    assert explanation.nearest.count("of the error") <= 2


@pytest.mark.parametrize("factor", [0.0, 0.4, 0.6, 2.0])
def test_a_scale_is_no_mistake_but_the_exact_one(factor: float) -> None:
    yard = yardstick(a_case("gru", merge="sum"), "float32")
    right = yard.truth["output"]
    assert explained(yard.truth | {"output": factor * right}, yard) == Explanation()
    halved = explained(yard.truth | {"output": right / 2}, yard)
    assert halved.matches.startswith("merge ave for sum (forward pass only")


def test_a_result_without_gradients_is_explained_by_what_is_there(yard: Yardstick) -> None:
    wrong = given(yard, INVERTED)
    assert EXPLAINER.explain({"output": wrong["output"]}, yard).matches == INVERTED


def test_what_is_kept_of_one_dtype_is_not_taken_for_another_s() -> None:
    """The case is the same, rounded otherwise."""
    explainer, case = Explainer(), a_case("gru", num_layers=2)
    for dtype in ("bfloat16", "float32", "float64"):
        rounded = yardstick(case, dtype)
        wrong = given(rounded, INVERTED)
        result = {name: wrong[name] if "grad" in name else value for name, value in rounded.truth.items()}
        explanation = explainer.explain(result, rounded)
        assert explanation == Explanation(f"{INVERTED} (gradients only, 100 % of the error)"), dtype


def test_tensors_of_zeros_have_no_name_though_a_mistake_gives_them() -> None:
    """Zeros come from anywhere: here from masks that are one step too short, too."""
    yard = yardstick(a_case("gru", batch=2, seq_len=1, lengths=None, with_states=False), "float32")
    ragged = yardstick(a_case("gru", batch=2, seq_len=1, lengths=(1, 1), with_states=False), "float32")
    for each in (yard, ragged):
        result = {name: np.zeros_like(value) for name, value in each.truth.items()}
        assert explained(result, each) == Explanation()
    assert not given(ragged, "masks one step too short")["output"].any()


def test_a_share_counts_tensors_alike_and_is_1_for_the_result_itself() -> None:
    truth = {"a": np.full(4, 100.0), "b": np.full(2, 1.0)}
    result = {"a": np.full(4, 110.0), "b": np.full(2, 1.1)}
    error = Error(result, truth, truth)
    assert error.share(result).explained == 1
    assert error.share(truth).explained == 0
    assert error.share(truth | {"b": result["b"]}).explained == pytest.approx(0.5)
    assert Error(result, truth, ["a"]).share(result).numbers == pytest.approx(4)
    assert error.share(truth | {"b": np.array([np.nan, 1.1])}).explained == -np.inf


def test_a_share_of_few_numbers_is_chance() -> None:
    assert Share(0.9, 1.0).chance(100) == 100
    assert Share(0.9, 21.0).chance(100) == pytest.approx(100 * 0.1**10)


def test_a_mistake_that_gives_nan_where_the_result_has_numbers_is_another_one() -> None:
    yard = yardstick(a_case("gru"), "float32")
    wrong = {"output": yard.plain["output"].copy()}
    assert same_forward(yard.plain, wrong, yard, ["output"])
    wrong["output"][0, 0, 0] = np.nan
    assert not same_forward(yard.plain, wrong, yard, ["output"])
    assert same_forward(wrong, wrong, yard, ["output"])
