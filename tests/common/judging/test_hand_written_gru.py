"""Realistic bugs, planted in a GRU written by hand: each is caught, and is given its name."""

from __future__ import annotations

import numpy as np
import pytest

from common.case import Case
from common.judging.agreement import judge
from common.judging.explanation import Explainer, Explanation
from common.judging.yardstick import Yardstick, yardstick
from tests.cases import a_case
from tests.common.judging.hand_written_gru import BUGS, HandWrittenGRU

EXPLAINER = Explainer()


@pytest.fixture(scope="module")
def yards() -> dict[tuple[str, str], Yardstick]:
    return {
        (merge, dtype): yardstick(a_case("gru", num_layers=2, merge=merge), dtype)
        for merge in ("concat", "ave")
        for dtype in ("float32", "float64")
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("merge", ["concat", "ave"])
def test_without_a_bug_it_agrees(merge: str, dtype: str, yards: dict[tuple[str, str], Yardstick]) -> None:
    yard = yards[merge, dtype]
    verdict = judge(HandWrittenGRU(yard.case, dtype).run(), yard)
    assert verdict.agrees, verdict.reasons


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_caught_and_named(bug: str, dtype: str, yards: dict[tuple[str, str], Yardstick]) -> None:
    yard = yards["ave" if "average" in bug else "concat", dtype]
    with np.errstate(invalid="ignore"):
        result = HandWrittenGRU(yard.case, dtype, bug).run()
    assert not judge(result, yard).agrees
    assert EXPLAINER.explain(result, yard) == Explanation(BUGS[bug])


def one_layer() -> Case:
    return a_case("gru", lengths=(4, 2, 1))


@pytest.mark.parametrize("bug", ["flips the whole row", "inverts the update gate", "has a hard sigmoid"])
def test_a_bug_whose_gradients_are_lost_is_named_in_part(bug: str) -> None:
    yard = yardstick(one_layer(), "float32")
    result = HandWrittenGRU(yard.case, "float32", bug).run()
    lost = {name: np.zeros_like(value) if name.startswith("grad") else value for name, value in result.items()}
    explanation = EXPLAINER.explain(lost, yard)
    assert explanation.matches.startswith(BUGS[bug].replace("after each layer", "in the end") + " (forward pass only, ")


@pytest.mark.parametrize(
    "bugs",
    [
        ("inverts the update gate", "adds b_ih twice"),
        ("holds no state", "resets before the product"),
        ("forgets the reverse h_0", "adds b_ih twice"),
        ("masks by <=", "resets before the product"),
        ("repeats the last output", "adds b_ih twice"),
    ],
)
def test_of_two_bugs_at_once_the_larger_is_the_nearest_and_none_matches(bugs: tuple[str, str]) -> None:
    yard = yardstick(one_layer(), "float32")
    explanation = EXPLAINER.explain(HandWrittenGRU(yard.case, "float32", *bugs).run(), yard)
    assert explanation.matches == ""
    assert explanation.nearest.startswith(f"{BUGS[bugs[0]]} (")


def test_of_two_bugs_of_which_neither_explains_much_none_is_named() -> None:
    yard = yardstick(one_layer(), "float32")
    bugs = (
        "inverts the update gate",
        "has the old hard sigmoid",
        "resets before the product",
        "forgets the reverse h_0",
    )
    assert EXPLAINER.explain(HandWrittenGRU(yard.case, "float32", *bugs).run(), yard) == Explanation()
