"""Discrimination: every mistake that people really make is caught by the built-in cases, and named when it is the
cause."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.agreement import judge
from common.builtin import CELLS, SIZES, small_cases
from common.case import Case
from common.explanation import Explainer
from common.mistakes import Mistake, mistakes
from common.specification import Specification
from common.yardstick import Yardstick, yardstick
from tests.cases import a_case

LANES = ("float64", "float32")


def cell_mistakes() -> list[tuple[str, Mistake]]:
    return [(cell, mistake) for cell, change in CELLS.items() for mistake in mistakes(Specification(**SIZES, **change))]


@pytest.fixture(scope="module")
def yards() -> list[Yardstick]:
    return [yardstick(case, dtype) for dtype in LANES for case in small_cases() if case.seq_len < 100]


@pytest.mark.parametrize(("cell", "mistake"), cell_mistakes(), ids=lambda part: getattr(part, "name", part))
def test_builtin_cases_catch(cell: str, mistake: Mistake, yards: list[Yardstick]) -> None:
    """Each lane in which the mistake can be made must see it, on at least one case."""
    if cell != "lstm" and mistake.name == "(c, h) for (h, c)":
        assert not any(mistake.applies(yard.case, yard.dtype) for yard in yards if is_cell(yard.case, cell))
        return
    lanes = 0
    for dtype in LANES:
        concerned = [
            yard
            for yard in yards
            if yard.dtype == dtype and is_cell(yard.case, cell) and mistake.applies(yard.case, dtype)
        ]
        lanes += bool(concerned)
        caught = any(not judge(mistake.results(yard.case, dtype), yard).agrees for yard in concerned)
        assert not concerned or caught, f"no case of {len(concerned)} catches it in {dtype}"
    assert lanes == (1 if mistake.arithmetic else 2)


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
    "the two directions' weights swapped",
    "states in the order: all forward, then all reverse",
    "states in the order: reverse, forward",
    "(c, h) for (h, c)",
    "initial states ignored",
    "the two halves of the output swapped",
    "reverse half not flipped back",
    "flipped over the padding",
    "lengths ignored",
    "lengths ignored in the reverse direction",
    "lengths ignored, outputs masked in the end",
    "last output taken for the final state",
    "the rows of a learned merge swapped",
    "merge after the stack only",
    "float32 arithmetic in a float64 lane",
    "TF32-like rounding in a float32 lane",
}
OF_ONE_CELL = {
    "gru": {"bias_ih and bias_hh swapped", "reset before the recurrent product for after"},
    "gru_before": {"reset after the recurrent product for before"},
}


@pytest.mark.parametrize("cell", CELLS)
def test_no_mistake_is_missing_from_the_list(cell: str) -> None:
    """Written out, so that one that is dropped is missed; a new one is added here, too."""
    names = [mistake.name for found, mistake in cell_mistakes() if found == cell and mistake.name[:5] != "gates"]
    assert sorted(names) == sorted(EVERYWHERE | OF_ONE_CELL.get(cell, set()))


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
    mistake = next(found for found in mistakes(case.spec) if found.name == name)
    rng = np.random.default_rng(3)
    result = {
        key: value * (1 + 1e-7 * rng.normal(size=value.shape))
        for key, value in mistake.results(yard.case, "float32").items()
    }
    assert not judge(result, yard).agrees
    assert name in Explainer().explain(result, yard).split(" or ")


@pytest.mark.parametrize("name", ["flipped over the padding", "lengths ignored in the reverse direction"])
def test_a_mistake_is_named_when_the_padding_was_cleared_before_it(name: str) -> None:
    yard = yardstick(a_case("lstm"), "float64")
    cleared = replace(yard.case, x=np.where(yard.case.padding_mask()[..., None], 0.0, yard.case.x))
    mistake = next(found for found in mistakes(cleared.spec) if found.name == name)
    assert name in Explainer().explain(mistake.results(cleared, "float64"), yard).split(" or ")


def test_numbers_from_nowhere_are_not_explained() -> None:
    yard = yardstick(a_case("gru"), "float32")
    result = {key: np.random.default_rng(3).normal(size=value.shape) for key, value in yard.truth.items()}
    assert Explainer().explain(result, yard) == ""


@pytest.mark.parametrize("fits", ["output", "h_n", "c_n"])
@pytest.mark.parametrize("name", ["recurrent kernel transposed", "lengths ignored in the reverse direction"])
def test_a_mistake_that_gives_one_tensor_of_the_result_explains_nothing(name: str, fits: str) -> None:
    case = a_case("lstm", input_size=SIZES["hidden_size"])
    yard = yardstick(case, "float32")
    wrong = next(found for found in mistakes(case.spec) if found.name == name).results(yard.case, "float32")
    assert name in Explainer().explain(wrong, yard)
    rng = np.random.default_rng(3)
    others = {key: rng.normal(size=value.shape) for key, value in wrong.items()}
    assert Explainer().explain(others | {fits: wrong[fits]}, yard) == ""


def test_where_nothing_can_be_told_no_mistake_explains_a_result() -> None:
    """Every mistake would fit."""
    yard = yardstick(a_case("gru"), "float32")
    size = {name: np.abs(value) for name, value in yard.truth.items()}
    assert Explainer().explain(yard.plain, replace(yard, ambiguity=size)) == ""
