"""How often an error that is no known mistake is given a name: bounded here on small cases, measured by the command."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.maintain.marked_pages import replaced
from benchmarks.maintain.naming import ERRORS, MARKER, MATCHES, NEAREST, UNNAMED, Named, errors, named, table
from benchmarks.maintain.simulate import TABLE, upper_bound
from common.judging.agreement import DISAGREES, judge
from common.judging.explanation import Explainer
from common.judging.yardstick import yardstick
from tests.cases import a_case

SEEDS = 6
MOST = 0.02
"""Of all errors, how many may be given a name, by the upper end of the 95 % confidence interval."""


def test_random_errors_are_hardly_ever_given_a_name() -> None:
    count = given = 0
    for cell, layers in (("rnn_relu", 2), ("gru", 1), ("lstm", 1)):
        yard, explainer = yardstick(a_case(cell, num_layers=layers), "float32"), Explainer()
        for seed in range(SEEDS):
            for kind, result in errors(yard, seed):
                if judge(result, yard).status == DISAGREES:
                    explanation = explainer.explain(result, yard)
                    count += 1
                    given += bool(explanation.matches or explanation.nearest)
                    assert not explanation.matches, f"{kind}, seed {seed}: {explanation}"
    assert count >= 0.9 * 3 * SEEDS * len(ERRORS)
    assert upper_bound(given, count) <= MOST


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_of_each_kind_is_one(kind: str) -> None:
    """It is wrong somewhere, and in nothing that the exact rules about padding see."""
    yard = yardstick(a_case("gru", num_layers=2), "float64")
    results = [result for seed in range(4) for each, result in errors(yard, seed) if each == kind]
    assert any(judge(result, yard).status == DISAGREES for result in results)
    for result in results:
        assert not result["output"][yard.case.padding_mask()].any()
        assert all(np.isfinite(value).all() for value in result.values())


def test_a_drawn_case_s_errors_are_counted() -> None:
    names = named(5)
    assert {each.kind for each in names} <= set(ERRORS)
    assert {each.how for each in names} <= {MATCHES, NEAREST, UNNAMED}
    assert len(names) >= 5


def test_the_table_bounds_what_was_counted() -> None:
    errors = [Named("scaled", UNNAMED)] * 98 + [Named("scaled", MATCHES, "a"), Named("scaled", NEAREST, "b")]
    text = table(errors, 10)
    assert f"| scaled | 100 | 1 | {upper_bound(1, 100):.2%} | 1 | {upper_bound(1, 100):.2%} |" in text
    assert f"| all | 100 | 1 | {upper_bound(1, 100):.2%} | 1 | {upper_bound(1, 100):.2%} |" in text
    assert text in replaced(TABLE, {MARKER: text})
