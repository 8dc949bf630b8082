"""The rule of agreement: its limits, its exact rules, and what it reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.cases.builtin import CELLS
from common.judging.agreement import MEASURES, THRESHOLDS_FILE, judge, measure, thresholds
from common.judging.exact import broken_rules, differing
from common.judging.models import model_yardstick
from common.judging.precision import DTYPES, epsilon, numpy_dtype
from common.judging.yardstick import KINK_WIDTH, Yardstick, kink_width, run_network, run_reference, yardstick
from common.models.small_cases import model_cases
from common.reference import Reference
from common.training import training_yardstick
from tests.cases import a_case, a_training

LIMIT_MARGIN, ROUNDED_UP, MISTAKE_MARGIN = 2.5, 1.1, 100


@pytest.fixture
def yard() -> Yardstick:
    return yardstick(a_case("lstm", num_layers=2), "float32")


def changed(yard: Yardstick, name: str, index: tuple, value: float) -> dict[str, np.ndarray]:
    """The plain loop's result with one number changed."""
    result = {key: array.copy() for key, array in yard.plain.items()}
    result[name][index] = value
    return result


def test_a_limit_is_what_the_calibration_found_and_mistakes_are_far_outside() -> None:
    """Not only above what correct code needed, but no more than the margin above it."""
    content = json.loads(THRESHOLDS_FILE.read_text())
    for dtype in DTYPES:
        for name in MEASURES:
            share = thresholds()[dtype][name] / content["worst"][dtype][name]
            assert LIMIT_MARGIN <= share <= LIMIT_MARGIN * ROUNDED_UP, (dtype, name)
    assert content["nearest_mistake"] >= MISTAKE_MARGIN


def test_the_limits_stand_in_the_docs() -> None:
    """As the calibration wrote both; and the worst that correct code needed is in the table that lists it all."""
    content = json.loads(THRESHOLDS_FILE.read_text())
    page = (Path(__file__).parents[3] / "docs" / "calibration.md").read_text()
    lines = page.partition("## How far away")[0].splitlines()
    for dtype, limits in content["limits"].items():
        assert f"| {dtype} | " + " | ".join(f"{limits[name]:g}" for name in MEASURES) + " |" in lines
        rows = [line.split("|")[3:6] for line in lines if f" | {dtype} | " in line and "/" in line.split("|")[1]]
        for column, name in enumerate(MEASURES):
            assert max(float(row[column]) for row in rows) == pytest.approx(content["worst"][dtype][name], abs=0.005)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_truth_is_of_the_rounded_case_and_wider_than_the_run(dtype: str) -> None:
    case = a_case("gru")
    yard = yardstick(case, dtype)
    wide = np.longdouble if dtype == "float64" else np.float64
    assert {value.dtype for value in yard.truth.values()} == {np.dtype(wide)}
    narrow = numpy_dtype(dtype)
    by_hand = replace(
        case,
        x=case.x.astype(narrow).astype(np.float64),
        h_0=case.initial_state("h").astype(narrow).astype(np.float64),
        weights={name: value.astype(narrow).astype(np.float64) for name, value in case.weights.items()},
        cotangents={name: value.astype(narrow).astype(np.float64) for name, value in case.cotangents.items()},
    )
    for name, value in run_reference(by_hand, wide).items():
        np.testing.assert_array_equal(yard.truth[name], value)
    # Each of the four matters: with any one unrounded, something else comes out (float64 has nothing to round).
    for field in ("x", "h_0", "weights", "cotangents"):
        other = run_reference(replace(by_hand, **{field: getattr(case, field)}), wide)
        same = all(np.array_equal(other[name], yard.truth[name]) for name in other)
        assert same == (dtype == "float64"), field


def test_the_further_loops_count_in_every_kind_of_yardstick() -> None:
    """Of a layer, a train step and a model: no tensor is allowed less for them, and most are allowed more."""
    case = a_case("lstm")
    model = next(model for model in model_cases() if model.name == "tagger")
    yards = (
        yardstick(case, "float32"),
        training_yardstick(case, a_training(case), "float32"),
        model_yardstick(model.spec, model.weights, model.batch, "float32"),
    )
    for yard in yards:
        alone = replace(yard, spread={})
        more = [np.max(yard.allowance(name) - alone.allowance(name)) for name in yard.truth]
        assert min(more) >= 0
        assert np.mean(np.array(more) > 0) > 0.8


def test_float64_is_not_judged_by_itself() -> None:
    """Its error against longdouble is seen, and what is right in longdouble has none."""
    yard = yardstick(a_case("lstm"), "float64")
    assert all(measure(name, yard.plain[name], yard).rms > 0 for name in yard.truth)
    assert all(measure(name, yard.truth[name], yard).rms == 0 for name in yard.truth)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cell", CELLS)
def test_the_plain_loop_agrees(cell: str, dtype: str) -> None:
    yard = yardstick(a_case(cell), dtype)
    verdict = judge(yard.plain, yard)
    assert verdict.agrees, verdict.reasons
    assert verdict.worst("rms") <= 1


def test_one_wrong_number_disagrees_and_is_located(yard: Yardstick) -> None:
    result = changed(yard, "output", (1, 2, 3), 0.9)
    verdict = judge(result, yard)
    assert not verdict.agrees
    assert "output at (1, 2, 3): layer 1, forward, time step 2" in verdict.where


def test_the_reverse_half_goes_wrong_from_its_last_step_on(yard: Yardstick) -> None:
    result = changed(yard, "output", (0, slice(0, 4), 8), 0.9)
    assert judge(result, yard).where == "output at (0, 3, 8): layer 1, reverse, time step 3"


def test_a_wrong_state_of_a_lower_layer_is_where_it_begins(yard: Yardstick) -> None:
    result = changed(yard, "h_n", (1, 2, 3), 0.9)
    result["output"][0, 0, 0] = 0.9
    assert judge(result, yard).where == "h_n at (1, 2, 3): layer 0, reverse"


def test_a_wrong_weight_gradient_names_layer_and_direction(yard: Yardstick) -> None:
    result = changed(yard, "grad.weight_hh_l1_reverse", (2, 1), 9.0)
    assert judge(result, yard).where == "grad.weight_hh_l1_reverse at (2, 1): layer 1, reverse"


def test_a_row_of_a_merge_weight_is_a_direction() -> None:
    yard = yardstick(a_case("gru", num_layers=2, merge="weighted"), "float64")
    result = changed(yard, "grad.merge_weight_l1", (1, 3), 9.0)
    assert judge(result, yard).where == "grad.merge_weight_l1 at (1, 3): layer 1, reverse"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_disagree(yard: Yardstick, value: float) -> None:
    verdict = judge(changed(yard, "grad.x", (0, 0, 0), value), yard)
    assert not verdict.agrees
    json.dumps(verdict.as_json(), allow_nan=False)


def test_missing_unknown_and_misshapen_tensors_disagree(yard: Yardstick) -> None:
    result = dict(yard.plain)
    del result["c_n"]
    assert judge(result, yard).reasons == ["the result must have c_n; it is missing"]
    assert judge(yard.plain | {"extra": np.zeros(1)}, yard).reasons == ["the result must have no extra; it has"]
    assert "shape" in judge(yard.plain | {"h_n": yard.plain["h_n"][:1]}, yard).reasons[0]


@pytest.mark.parametrize("name", ["output", "grad.x"])
def test_a_tiny_number_past_the_length_breaks_a_rule(yard: Yardstick, name: str) -> None:
    result = changed(yard, name, (2, 4, 1), 1e-30)
    assert f"{name} must be 0 past the length" in broken_rules(result, yard.case)[0]
    assert not judge(result, yard).agrees


@pytest.mark.parametrize("name", ["h_n", "c_n", "grad.h_0", "grad.c_0"])
def test_a_tiny_number_beyond_a_directions_own_units_breaks_a_rule(name: str) -> None:
    """The narrower direction has zeros there; the wider one has units."""
    yard = yardstick(a_case("lstm", num_layers=2, hidden_size_reverse=3), "float32")
    result = changed(yard, name, (3, 1, 4), 1e-30)
    assert judge(yard.plain, yard).agrees
    assert broken_rules(result, yard.case)[0].startswith(f"{name} must be 0 beyond the units of its direction; got 1")
    assert not judge(result, yard).agrees
    assert broken_rules(changed(yard, name, (2, 1, 4), 1e-30), yard.case)[:1] == (
        ["the top layer's forward h_n must equal its outputs at the last step; they differ"] if name == "h_n" else []
    )


@pytest.mark.parametrize("state", ["h", "c"])
def test_a_row_of_length_0_must_keep_its_states_exactly(state: str) -> None:
    yard = yardstick(a_case("lstm", lengths=(5, 0, 3)), "float32")
    result = changed(yard, f"{state}_n", (1, 1, 2), np.nextafter(yard.plain[f"{state}_n"][1, 1, 2], np.float32(9)))
    assert f"{state}_n must equal {state}_0 where the length is 0" in broken_rules(result, yard.case)[0]


@pytest.mark.parametrize(("row", "direction"), [(-2, "forward"), (-1, "reverse")])
def test_h_n_must_equal_the_outputs_exactly(yard: Yardstick, row: int, direction: str) -> None:
    result = changed(yard, "h_n", (row, 1, 2), np.nextafter(yard.plain["h_n"][row, 1, 2], np.float32(9)))
    assert f"the top layer's {direction} h_n" in broken_rules(result, yard.case)[0]


def test_one_bit_of_difference_with_other_padding_is_noticed(yard: Yardstick) -> None:
    other = changed(yard, "grad.x", (0, 0, 0), np.nextafter(yard.plain["grad.x"][0, 0, 0], np.float32(9)))
    assert differing(yard.plain, yard.plain) == []
    assert differing(yard.plain, other) == ["grad.x must not depend on the padding's content; it differs at (0, 0, 0)"]


def test_expected_tensors_are_held_and_nan_is_not_checked() -> None:
    case = a_case("gru")
    yard = yardstick(case, "float64")
    expected = np.full(yard.truth["output"].shape, np.nan)
    expected[0, 0, 0] = float(yard.truth["output"][0, 0, 0])
    right = replace(yard, case=replace(yard.case, expected={"output": expected}, atol=1e-12))
    assert judge(yard.plain, right).agrees
    expected[0, 0, 1] = float(yard.truth["output"][0, 0, 1]) + 1e-6
    verdict = judge(yard.plain, right)
    assert not verdict.agrees
    assert "of the case's expected" in verdict.reasons[0]
    assert judge(yard.plain, replace(right, case=replace(right.case, atol=1e-5))).agrees


def test_an_expected_number_may_be_off_by_rtol_times_itself(yard: Yardstick) -> None:
    index = np.unravel_index(np.abs(np.abs(yard.truth["output"]) - 0.1).argmin(), yard.truth["output"].shape)
    value = float(yard.truth["output"][index])
    expected = np.full(yard.truth["output"].shape, np.nan)
    expected[index] = 2 * value
    for rtol, agrees in ((0.6, True), (0.4, False)):
        held = replace(yard, case=replace(yard.case, expected={"output": expected}, atol=0.0, rtol=rtol))
        assert judge(yard.plain, held).agrees is agrees


def test_of_several_expected_tensors_one_that_overflows_leaves_the_others_held(yard: Yardstick) -> None:
    wrong = np.asarray(yard.truth["h_n"], float) + 1
    expected = {"output": np.asarray(yard.truth["output"], float), "h_n": wrong}
    spread = {**yard.spread, "output": np.full(yard.truth["output"].shape, np.inf)}
    held = replace(yard, spread=spread, case=replace(yard.case, expected=expected, atol=0.0))
    assert any("of the case's expected" in reason for reason in judge(yard.plain, held).reasons)


def test_tensors_of_two_shapes_are_both_named() -> None:
    first, second = {"output": np.zeros((2, 3))}, {"output": np.zeros((2, 4))}
    (reason,) = differing(first, second)
    assert reason.endswith("got (2, 3), then (2, 4)")


def test_an_error_counts_in_units_of_the_plain_loops_largest(yard: Yardstick) -> None:
    truth = yard.truth["output"]
    tripled = truth + 3 * yard.allowance("output")
    measured = measure("output", tripled, yard)
    assert measured.rms == pytest.approx(3, rel=1e-3)
    assert measured.max == pytest.approx(3, rel=1e-3)
    assert measured.relative_l2 is None


def test_either_side_of_relus_kink_is_right_and_nothing_else_is() -> None:
    """A weight is moved until a pre-activation of the first step is a billionth: its sign is rounding's in float32."""
    case = a_case("rnn_relu", lengths=None)
    weights = {name: value.astype(np.float32).astype(np.float64) for name, value in case.weights.items()}
    x, h_0 = (value.astype(np.float32).astype(np.float64) for value in (case.x, case.initial_state("h")))
    inputs = weights["weight_ih_l0"] @ x[0, 0] + weights["weight_hh_l0"] @ h_0[0, 0] + weights["bias_ih_l0"]
    weights["bias_hh_l0"][2] = np.float32(-inputs[2])  # the sum is now within rounding of 0
    near = replace(case, weights=weights, x=x, h_0=h_0, file_sha256=None)
    yard = yardstick(near, "float32")
    assert yard.ambiguity["grad.bias_hh_l0"][2] > 1e-3
    sides = [run_network(Reference(near.spec, near.weights, np.float32, kink), near) for kink in (1e-6, -1e-6)]
    assert np.abs(sides[0]["grad.bias_hh_l0"][2] - sides[1]["grad.bias_hh_l0"][2]) > 1e-3
    for side in sides:
        assert judge(side, yard).agrees
    assert not yardstick(case, "float32").ambiguity["grad.bias_hh_l0"].any()
    wrong = {name: value * (1.01 if name == "grad.weight_hh_l0_reverse" else 1) for name, value in sides[0].items()}
    assert not judge(wrong, yard).agrees


def test_sums_of_many_terms_may_err_as_one_added_up_in_order_does_and_few_may_not() -> None:
    """Of weights' gradients alone, and from 1000 real steps on; a mistake is still far outside."""
    few, many = (yardstick(a_case("gru", batch=rows, seq_len=10, lengths=None), "float32") for rows in (5, 100))
    assert few.ambiguity == {}
    assert set(many.ambiguity) == {name for name in many.truth if name.startswith(("grad.w", "grad.b"))}
    result = many.plain
    assert judge(result, many).agrees
    assert not judge(result | {"grad.weight_hh_l0": result["grad.weight_hh_l0"] * np.float32(1.001)}, many).agrees


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_result_of_wider_arithmetic_is_not_of_the_lane(dtype: str) -> None:
    """Rounded once in the end, it has no error that a limit could see; what rounding gave to a part acquits it."""
    yard = yardstick(a_case("gru", num_layers=2), dtype)
    wider = {name: value.astype(dtype) for name, value in yard.truth.items()}
    verdict = judge(wider, yard)
    assert not verdict.agrees
    assert verdict.reasons[0].startswith(f"the result must be computed in {dtype}; of ")
    own = {name: yard.plain[name] for name in wider if name.startswith("grad.weight")}
    assert judge(wider | own, yard).agrees


def test_narrow_lanes_may_add_up_in_float32() -> None:
    yard = yardstick(a_case("gru", num_layers=2), "float16")
    assert judge({name: value.astype(np.float16) for name, value in yard.truth.items()}, yard).agrees


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_relus_kink_is_as_wide_as_the_loops_error_or_a_spacing_of_the_largest_number(
    dtype: str,
) -> None:
    yard = yardstick(a_case("rnn_relu"), dtype)
    exact = replace(yard, plain=yard.truth, spread={}, ambiguity={})
    largest = max(np.abs(yard.truth[name]).max() for name in ("output", "h_n"))
    assert largest > 1
    assert kink_width(exact) == pytest.approx(KINK_WIDTH * epsilon(dtype) * largest)
    off = replace(exact, spread={"h_n": np.full_like(yard.truth["h_n"], 0.25)})
    assert kink_width(off) == pytest.approx(KINK_WIDTH * 0.25)
