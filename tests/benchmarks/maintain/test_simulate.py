"""The simulation of verdicts: a small one is part of the tests, and its parts are right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.maintain.correct_loops import CORRECT_LOOPS
from benchmarks.maintain.simulate import (
    BY_EYE,
    CORRECT,
    LANES,
    WRONG,
    VerdictTally,
    drawn_case,
    noise,
    table,
    trials,
    upper_bound,
)
from common.cases.builtin import CELLS
from common.cells import Elementwise
from common.judging.agreement import AGREES, DISAGREES, MEASURES, NOT_JUDGED, TELLING, judge, thresholds
from common.judging.exact import broken_rules
from common.judging.precision import DTYPES, numpy_dtype
from common.judging.yardstick import run_reference, yardstick
from common.reference import Reference
from tests.cases import a_case

SEEDS = range(16)
FAR = 30
"""How many times what correct loops need a limit is, at most; NumPy's functions are spacings better than others'."""
LUCKY = {("rnn_tanh", "float32"): 36}
"""Seeds of cases with inputs of about a thousand on which one plain loop is lucky, by cell and dtype."""


@pytest.fixture(scope="module")
def tally() -> VerdictTally:
    verdicts = VerdictTally()
    for seed in SEEDS:
        verdicts.add(trials(seed))
    return verdicts


def test_no_correct_loop_is_called_wrong(tally: VerdictTally) -> None:
    count = tally.total(CORRECT)
    assert set(tally.names(CORRECT)) == set(CORRECT_LOOPS)
    assert count[AGREES] > 0.6 * count.total() > 0
    assert count[DISAGREES] == 0


def test_neither_zeros_nor_noise_agree(tally: VerdictTally) -> None:
    for name in BY_EYE:
        count = tally.total(WRONG, name)
        assert count[DISAGREES] > 0.6 * count.total() > 0
        assert count[AGREES] == 0


def test_a_mistake_that_agrees_has_no_effect_on_anything_that_was_told(tally: VerdictTally) -> None:
    assert len(tally.names(WRONG)) > 15
    assert all(effect < 1 / TELLING for effect in tally.effects.values())


@pytest.mark.parametrize(("cell", "dtype"), LUCKY)
def test_where_one_plain_loop_is_lucky_correct_loops_agree_all_the_same(cell: str, dtype: str) -> None:
    """And would not by that loop alone."""
    case = a_case(cell, seed=LUCKY[cell, dtype], lengths=None)
    yard = yardstick(replace(case, x=case.x * 1000), dtype)
    results = [loop(yard.case, dtype) for loop in CORRECT_LOOPS.values()]
    assert all(judge(result, yard).status == AGREES for result in results)
    alone = replace(yard, spread={})
    assert any(judge(result, alone).status == DISAGREES for result in results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm"])
def test_where_tanh_saturates_a_library_s_rounding_agrees(cell: str, dtype: str) -> None:
    """1 − y² is then all rounding: NumPy's tanh gives ±1 where others' give the number before it; both are right."""

    class NeverOne(Reference):
        def tanh(self) -> Elementwise:
            below = np.nextafter(np.ones((), self.dtype), np.zeros((), self.dtype))
            return lambda a: np.clip(np.tanh(a), -below, below)

    verdicts, without_further_loops = [], []
    for seed in range(4):
        case = a_case(cell, seed=seed, lengths=None)
        yard = yardstick(replace(case, x=case.x * 1000), dtype)
        result = run_reference(yard.case, numpy_dtype(dtype), NeverOne)
        verdicts.append(judge(result, yard).status)
        without_further_loops.append(judge(result, replace(yard, spread={})).status)
    assert AGREES in verdicts
    assert DISAGREES not in verdicts
    assert DISAGREES in without_further_loops


@pytest.mark.parametrize("dtype", DTYPES)
def test_correct_loops_need_what_was_calibrated_to_within_a_few_times(dtype: str) -> None:
    """Whatever the files say: a limit that is far beyond what correct code ever needs would let mistakes through."""
    worst = dict.fromkeys(MEASURES, 0.0)
    for seed in range(4):
        yard = yardstick(a_case("lstm", seed=seed, hidden_size=16, input_size=8), dtype)
        for loop in CORRECT_LOOPS.values():
            verdict = judge(loop(yard.case, dtype), yard)
            assert verdict.agrees, verdict.reasons
            worst = {name: max(worst[name], verdict.worst(name)) for name in MEASURES}
    for name in MEASURES:
        assert worst[name] <= thresholds()[dtype][name] <= FAR * worst[name]


@pytest.mark.parametrize("name", CORRECT_LOOPS)
def test_a_correct_loop_is_right(name: str) -> None:
    for cell in CELLS:
        case = a_case(cell, num_layers=2)
        results, right = CORRECT_LOOPS[name](case, "float64"), run_reference(case, np.longdouble)
        assert set(results) == set(right)
        for tensor, value in right.items():
            np.testing.assert_allclose(results[tensor].astype(float), value.astype(float), rtol=1e-11, atol=1e-13)


def test_noise_breaks_no_exact_rule() -> None:
    for seed in range(8):
        yard = yardstick(drawn_case(seed), "float32")
        assert broken_rules(noise(yard, seed), yard.case) == []


def test_magnitudes_reach_from_a_thousandth_to_a_thousand() -> None:
    sizes = [np.abs(drawn_case(seed).weights["weight_ih_l0"]).max() for seed in range(200)]
    assert min(sizes) < 1e-2 < 1e2 < max(sizes)


@pytest.mark.parametrize(("count", "number"), [(0, 1), (0, 2000), (1, 20), (7, 60), (60, 60)])
def test_at_the_upper_bound_so_few_are_seen_in_one_of_twenty(count: int, number: int) -> None:
    rate = upper_bound(count, number)
    if count == number:
        assert rate == 1
    else:
        seen = sum(math.comb(number, k) * rate**k * (1 - rate) ** (number - k) for k in range(count + 1))
        assert seen == pytest.approx(0.05, rel=1e-6)


def test_the_table_has_a_row_for_everything_that_was_tried(tally: VerdictTally) -> None:
    text = table(tally, len(SEEDS), 0, first=0)
    for name in (*CORRECT_LOOPS, *tally.names(WRONG)):
        assert f"| {name} | " in text
    assert NOT_JUDGED in text
    assert all(f"| {dtype} | " in text for dtype in LANES)
