"""Realistic bugs, planted in a GRU written by hand: each is caught, and is given its name."""

from __future__ import annotations

import numpy as np
import pytest

from common.agreement import judge
from common.case import Case
from common.explanation import Explainer, Explanation
from common.yardstick import Yardstick, yardstick
from tests.cases import a_case
from tests.common.hand_written_gru import BUGS, HandWrittenGRU

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
    found = EXPLAINER.explain(lost, yard)
    assert found.matches.startswith(BUGS[bug].replace("after each layer", "in the end") + " (forward pass only, ")


def test_two_bugs_at_once_are_no_match() -> None:
    """What half of the numbers say is not claimed of all."""
    yard = yardstick(one_layer(), "float32")
    first, second = (HandWrittenGRU(yard.case, "float32", bug).run() for bug in ("holds no state", "adds b_ih twice"))
    both = {name: value + second[name] - yard.truth[name] for name, value in first.items()}
    found = EXPLAINER.explain(both, yard)
    assert found.matches == ""
