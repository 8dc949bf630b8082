"""Discrimination: every mistake that people really make is caught by the built-in cases, and named when it is the
cause."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from common.case import Case
from common.cases.builtin import CELLS, FORWARD, SIZES, quick_cases, small_cases
from common.judging.agreement import judge
from common.judging.explanation import Explainer, Explanation
from common.judging.mistakes.every import mistakes
from common.judging.mistakes.mistake import Mistake
from common.judging.precision import rounded_case
from common.judging.yardstick import Yardstick, run_reference, truth_dtype, yardstick
from common.reference import Arrays
from common.specification import Specification
from tests.cases import a_case

LANES = ("float64", "float32")
QUICK = {case.name for case in quick_cases()}
OF_AN_LSTM = ("(c, h) for (h, c)", "(c, h) for (h, c) in the initial states alone")
OF_SOME_MERGES = (
    "merge ave for sum",
    "merge sum for ave",
    "upper layers fed the forward half twice",
    "upper layers fed the forward half and zeros",
    "upper layers fed the reverse half twice",
    "upper layers fed the reverse half and zeros",
)
"""Mistakes that no cell whose built-in cases merge otherwise, or have one layer, can have."""
BACKWARDS = "the forward direction reads time from its end"
"""The one mistake that takes a network of one direction."""


def cell_mistakes() -> list[tuple[str, Mistake]]:
    return [(cell, mistake) for cell, change in CELLS.items() for mistake in mistakes(Specification(**SIZES, **change))]


@cache
def cases_of(cell: str, dtype: str) -> list[Case]:
    """The built-in cases of a cell, rounded."""
    return [rounded_case(case, dtype) for case in small_cases() if case.seq_len < 100 and is_cell(case, cell)]


@cache
def yards_of(cell: str, dtype: str) -> dict[str, Yardstick]:
    """The yardsticks of a cell's quick cases by their names; a process that is given one cell's mistakes needs no
    other's.
    """
    return {case.name: yardstick(case, dtype) for case in cases_of(cell, dtype) if case.name in QUICK}


@pytest.mark.parametrize(("cell", "mistake"), cell_mistakes(), ids=lambda part: getattr(part, "name", part))
def test_builtin_cases_catch(cell: str, mistake: Mistake) -> None:
    """Each lane in which the mistake can be made must see it, on at least one of the cases of ``verify --quick``, which
    benchmarks/maintain/quick_set.py finds.
    """
    if cell != "lstm" and mistake.name in OF_AN_LSTM:
        assert not any(mistake.applies(case, dtype) for dtype in LANES for case in cases_of(cell, dtype))
        return
    lanes = {num_directions: lanes_that_catch(cell, mistake, num_directions) for num_directions in (1, 2)}
    every = 1 if mistake.arithmetic else 2
    if mistake.name == BACKWARDS:
        assert lanes == {1: every, 2: 0}
        return
    assert (mistake.name in OF_SOME_MERGES and not lanes[2]) or lanes[2] == every
    assert lanes[1] == (0 if mistake.name in OF_TWO_DIRECTIONS else every)


def lanes_that_catch(cell: str, mistake: Mistake, num_directions: int) -> int:
    """In how many lanes the mistake can be made in networks of so many directions; each of them must catch it."""
    lanes = 0
    for dtype in LANES:
        concerned = [
            case
            for case in cases_of(cell, dtype)
            if case.spec.num_directions == num_directions and mistake.applies(case, dtype)
        ]
        lanes += bool(concerned)
        quick = [yards_of(cell, dtype)[case.name] for case in concerned if case.name in QUICK]
        caught = any(not judge(mistake.results(yard.case, dtype), yard).agrees for yard in quick)
        assert not concerned or caught, f"no case of {len(quick)} of {num_directions} directions catches it in {dtype}"
    return lanes


@pytest.mark.parametrize("name", OF_SOME_MERGES)
def test_builtin_cases_of_some_cell_can_have_a_mistake_of_a_merge(name: str) -> None:
    """A mistake that applies nowhere would be caught nowhere."""
    for dtype in LANES:
        cases = [case for cell in CELLS for case in cases_of(cell, dtype)]
        pairs = [(case, mistake) for case in cases for mistake in mistakes(case.spec) if mistake.name == name]
        assert any(mistake.applies(case, dtype) for case, mistake in pairs)


def is_cell(case: Case, cell: str) -> bool:
    change = CELLS[cell]
    return (case.spec.cell, case.spec.reset_after) == (change["cell"], change.get("reset_after", True))


def test_the_list_has_every_gate_permutation() -> None:
    names = [mistake.name for _, mistake in cell_mistakes() if mistake.name.startswith("gates")]
    assert len(names) == 23 + 5 + 5


EVERYWHERE = {
    "recurrent kernel transposed",
    "recurrent kernel zeroed",
    "bias_ih dropped",
    "bias_hh dropped",
    "bias_ih used twice, bias_hh never",
    "bias_hh used twice, bias_ih never",
    "the two directions' weights swapped",
    "states in the order: all forward, then all reverse",
    "states in the order: reverse, forward",
    "final states alone in the order: all forward, then all reverse",
    "final states alone in the order: reverse, forward",
    *OF_AN_LSTM,
    "initial states ignored",
    "initial states of the reverse half ignored",
    "initial states of the forward half given to both",
    "the two halves of the output swapped",
    "reverse half not flipped back",
    BACKWARDS,
    "flipped over the padding",
    "lengths ignored",
    "lengths ignored in the reverse direction",
    "lengths ignored, outputs masked in the end",
    "whole padded row flipped, outputs masked in the end",
    "whole padded row flipped, outputs masked after each layer",
    "state runs on through the padding",
    "masks one step too long",
    "masks one step too short",
    "lengths one too large",
    "lengths one too small",
    "last real output repeated past the length",
    "held state given as output past the length",
    "last output taken for the final state",
    "last real output taken for the final state",
    "the rows of a learned merge swapped",
    "merge after the stack only",
    "merge ave for sum",
    "merge sum for ave",
    "upper layers fed the forward half twice",
    "upper layers fed the forward half and zeros",
    "upper layers fed the forward half alone",
    "upper layers fed the reverse half twice",
    "upper layers fed the reverse half and zeros",
    "upper layers fed the reverse half alone",
    "gradient cut between steps",
    "gradient cut between steps, those past the length included",
    "gradient of the initial states cut",
    "gradient from the final states cut",
    "float32 arithmetic in a float64 lane",
    "TF32-like rounding in a float32 lane",
    "TF32-like truncation in a float32 lane",
}
HARD = {"hard sigmoid (x/6 + 1/2) for sigmoid", "hard sigmoid (0.2·x + 1/2) for sigmoid"}
INVERTED = "update gate inverted: h' = z·n + (1 − z)·h"
OF_ONE_CELL = {
    "rnn_tanh": {"relu for tanh"},
    "rnn_relu": {"tanh for relu"},
    "gru": {"bias_ih and bias_hh swapped", "reset before the recurrent product for after", INVERTED, *HARD},
    "gru_before": {"reset after the recurrent product for before", INVERTED, *HARD},
    "lstm": HARD,
}


OF_TWO_DIRECTIONS = {
    "the two directions' weights swapped",
    "states in the order: all forward, then all reverse",
    "states in the order: reverse, forward",
    "final states alone in the order: all forward, then all reverse",
    "final states alone in the order: reverse, forward",
    "last real output taken for the final state",
    "initial states of the reverse half ignored",
    "initial states of the forward half given to both",
    "the two halves of the output swapped",
    "reverse half not flipped back",
    "flipped over the padding",
    "lengths ignored in the reverse direction",
    "whole padded row flipped, outputs masked in the end",
    "whole padded row flipped, outputs masked after each layer",
    "the rows of a learned merge swapped",
    "merge after the stack only",
    "upper layers fed the forward half alone",
    "upper layers fed the reverse half alone",
    *OF_SOME_MERGES,
}
"""Mistakes that a network of one direction cannot have."""


@pytest.mark.parametrize("cell", CELLS)
def test_no_mistake_is_missing_from_the_list(cell: str) -> None:
    """Written out, so that one that is dropped is missed; a new one is added here, too."""
    names = [mistake.name for listed, mistake in cell_mistakes() if listed == cell and mistake.name[:5] != "gates"]
    assert sorted(names) == sorted(EVERYWHERE | OF_ONE_CELL.get(cell, set()))


def merged(merge: str | None) -> dict[str, Any]:
    """What makes a network merge so, or have one direction."""
    return {"merge": merge} if merge else FORWARD


def slopes_apart(mistake: Mistake, case: Case, direction: int | None) -> float:
    """How far a mistake's gradients are from the central difference of its own forward pass, along a random direction
    in all inputs and weights that it reads; relative.
    """
    rng = np.random.default_rng(3)
    given = {"x": case.x, "h_0": case.initial_state("h"), "c_0": case.initial_state("c"), **case.weights}
    along = {
        key: np.zeros_like(value) if f"grad.{key}".startswith(mistake.unused) else rng.normal(size=value.shape)
        for key, value in given.items()
    }
    if case.spec.cell != "lstm":
        along.pop("c_0")

    def results(step: float) -> Arrays:
        moved = {key: value + step * along.get(key, 0) for key, value in given.items()}
        inputs: dict[str, Any] = {key: moved.pop(key) for key in ("x", "h_0", "c_0")}
        changed = replace(case, weights=moved, **inputs)
        if direction is None:
            return mistake.results(changed, "float32")
        assert mistake.in_direction is not None
        return mistake.in_direction(changed, "float32", direction)

    higher, lower = results(1e-6), results(-1e-6)
    difference = sum((case.cotangents[key] * (higher[key] - lower[key]) / 2e-6).sum() for key in case.cotangents)
    first = results(0)
    return float(abs(sum((first[f"grad.{key}"] * value).sum() for key, value in along.items()) / difference - 1))


@pytest.mark.parametrize(
    ("cell", "merge"),
    [
        ("rnn_tanh", "sum"),
        ("rnn_relu", "weighted"),
        ("gru", "concat"),
        ("gru_before", "ave"),
        ("lstm", "concat"),
        ("lstm", None),
    ],
)
def test_gradients_of_a_mistake_are_those_of_its_own_forward_pass(cell: str, merge: str | None) -> None:
    case = a_case(cell, batch=2, seq_len=3, lengths=(2, 1), num_layers=2, **merged(merge))
    concerned = [
        each
        for each in mistakes(case.spec)
        if each.applies(case, "float32") and not each.arithmetic and not each.gradients_alone
    ]
    orders = [each for each in concerned if each.name.startswith("gates")]
    for mistake in [each for each in concerned if each not in orders[1:]]:
        for direction in (None, 0, 1) if merge and mistake.in_direction else (None,):
            assert slopes_apart(mistake, case, direction) < 1e-6, f"{mistake.name}, direction {direction}"


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("lstm", "gates i, f, g, o loaded in the order i, g, f, o"),
        ("gru", "reset before the recurrent product for after"),
        ("gru", "lengths ignored in the reverse direction"),
        ("rnn_tanh", "flipped over the padding"),
        ("rnn_relu", "recurrent kernel transposed"),
        ("lstm", "(c, h) for (h, c)"),
        ("gru_before", "TF32-like rounding in a float32 lane"),
    ],
)
def test_a_failure_is_explained_by_its_mistake(cell: str, name: str) -> None:
    case = a_case(cell)
    yard = yardstick(case, "float32")
    mistake = next(each for each in mistakes(case.spec) if each.name == name)
    rng = np.random.default_rng(3)
    result = {
        key: value * (1 + 1e-7 * rng.normal(size=value.shape))
        for key, value in mistake.results(yard.case, "float32").items()
    }
    assert not judge(result, yard).agrees
    assert name in Explainer().explain(result, yard).matches.split(" or ")


@pytest.mark.parametrize(
    ("cell", "merge"),
    [
        ("rnn_tanh", "sum"),
        ("rnn_relu", "weighted"),
        ("gru", "concat"),
        ("gru_before", "ave"),
        ("lstm", "concat"),
        ("lstm", None),
    ],
)
def test_every_mistake_is_explained_by_its_own_name(cell: str, merge: str | None) -> None:
    case = a_case(cell, seq_len=4, lengths=(4, 2, 1), num_layers=2, **merged(merge))
    yard, explainer = yardstick(case, "float32"), Explainer()
    concerned = [each for each in mistakes(yard.case.spec) if each.applies(yard.case, "float32")]
    orders = [each for each in concerned if each.name.startswith("gates")]
    rng = np.random.default_rng(3)
    for mistake in [each for each in concerned if each not in orders[2:]]:
        wrong = mistake.results(yard.case, "float32")
        result = {key: value * (1 + 1e-7 * rng.normal(size=value.shape)) for key, value in wrong.items()}
        explanation = explainer.explain(result, yard)
        assert mistake.name in explanation.matches.split(" or "), f"{mistake.name}: {explanation}"
        assert merge or "direction only" not in explanation.matches, explanation
        assert len(explanation.matches.split(" or ")) <= 2, explanation


FORWARD_THEN_REVERSE = [0, 2, 1, 3]
REVERSE_FIRST = [1, 0, 3, 2]


def with_wrong_states(case: Case, dtype: str) -> dict[str, Arrays]:
    """Results without gradients that are wrong in their states alone, by the mistake's name; two layers, concat."""
    lengths = case.lengths
    assert lengths is not None

    def right(case: Case) -> Arrays:
        return run_reference(rounded_case(replace(case, cotangents={}), dtype), truth_dtype(dtype))

    def last_outputs(result: Arrays, step: Any) -> Arrays:
        """Of the layers below, whose outputs are no result, from a network that ends with them."""
        below = replace(
            case,
            spec=case.spec.model_copy(update={"num_layers": 1}),
            weights={name: value for name, value in case.weights.items() if "_l0" in name},
            h_0=case.initial_state("h")[:2],
            c_0=None if case.c_0 is None else case.c_0[:2],
        )
        halves = [half for each in (right(below), result) for half in np.split(each["output"], 2, axis=-1)]
        return result | {"h_n": np.stack([half[np.arange(case.batch), step] for half in halves])}

    tensors, states = right(case), ("h_n", "c_n")
    wrong: dict[str, Arrays] = {"last real output taken for the final state": last_outputs(tensors, lengths - 1)}
    for order, rows in (("all forward, then all reverse", FORWARD_THEN_REVERSE), ("reverse, forward", REVERSE_FIRST)):
        own = {name: tensors[name][rows] for name in states if name in tensors}
        wrong[f"final states alone in the order: {order}"] = tensors | own
        given = {f"{name}_0": case.initial_state(name)[rows] for name in "hc" if f"{name}_n" in tensors}
        moved = right(replace(case, **given))  # type: ignore[arg-type]
        own = {name: moved[name][rows] for name in states if name in tensors}
        wrong[f"states in the order: {order}"] = moved | own
    if case.spec.cell == "lstm":
        swapped = right(replace(case, h_0=case.c_0, c_0=case.h_0))
        wrong["(c, h) for (h, c) in the initial states alone"] = swapped
        wrong["(c, h) for (h, c)"] = swapped | {"h_n": swapped["c_n"], "c_n": swapped["h_n"]}
    return wrong


@pytest.mark.parametrize("dtype", LANES)
@pytest.mark.parametrize("cell", CELLS)
def test_wrong_states_beside_a_right_output_are_not_confused(cell: str, dtype: str) -> None:
    """Each is given its own name alone; an order's own inverse is the order where there are two layers."""
    case = a_case(cell, num_layers=2)
    yard, explainer = yardstick(replace(case, cotangents={}), dtype), Explainer()
    for name, result in with_wrong_states(yard.case, dtype).items():
        assert not judge(result, yard).agrees
        assert explainer.explain(result, yard).matches == name


@pytest.mark.parametrize("name", ["flipped over the padding", "lengths ignored in the reverse direction"])
def test_a_mistake_is_named_when_the_padding_was_cleared_before_it(name: str) -> None:
    yard = yardstick(a_case("lstm"), "float64")
    cleared = replace(yard.case, x=np.where(yard.case.padding_mask()[..., None], 0.0, yard.case.x))
    mistake = next(each for each in mistakes(cleared.spec) if each.name == name)
    assert name in Explainer().explain(mistake.results(cleared, "float64"), yard).matches.split(" or ")


def test_numbers_from_nowhere_are_not_explained() -> None:
    yard = yardstick(a_case("gru"), "float32")
    result = {key: np.random.default_rng(3).normal(size=value.shape) for key, value in yard.truth.items()}
    assert Explainer().explain(result, yard) == Explanation()


@pytest.mark.parametrize("fits", ["output", "h_n", "c_n"])
@pytest.mark.parametrize("name", ["recurrent kernel transposed", "lengths ignored in the reverse direction"])
def test_a_mistake_that_gives_one_tensor_of_the_result_explains_nothing(name: str, fits: str) -> None:
    case = a_case("lstm", input_size=SIZES["hidden_size"])
    yard = yardstick(case, "float32")
    wrong = next(each for each in mistakes(case.spec) if each.name == name).results(yard.case, "float32")
    assert name in Explainer().explain(wrong, yard).matches
    rng = np.random.default_rng(3)
    others = {key: rng.normal(size=value.shape) for key, value in wrong.items()}
    assert Explainer().explain(others | {fits: wrong[fits]}, yard) == Explanation()


def test_where_nothing_can_be_told_no_mistake_explains_a_result() -> None:
    """Every mistake would fit."""
    yard = yardstick(a_case("gru"), "float32")
    size = {name: np.abs(value) for name, value in yard.truth.items()}
    assert Explainer().explain(yard.plain, replace(yard, ambiguity=size)) == Explanation()
