"""A layer that is written by hand in a framework: its arrays, and gradients by its own differentiation."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import birnn
from backends.interface.arrays import arrays_of
from backends.interface.framework import Framework
from tests.cases import a_case

CASES = [
    replace(a_case("gru"), name="ragged"),
    replace(a_case("gru", lengths=None, with_states=False), name="full"),
]
Layer = Callable[..., Any]


@pytest.fixture
def layer(framework: Framework) -> Layer:
    return importlib.import_module(f"examples.{framework.name}_gru").layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_example_agrees_gradients_included(framework: Framework, layer: Layer, dtype: str) -> None:
    verification = birnn.verify(layer, framework=framework.name, cases=CASES, dtypes=[dtype])
    assert verification.agrees, str(verification)
    assert verification.gradients
    for outcome in verification.outcomes:
        assert outcome.verdict is not None
        assert {"grad.x", "grad.h_0", "grad.weight_hh_l0_reverse"} <= {each.tensor for each in outcome.verdict.measures}


def test_a_forward_pass_alone_is_judged_where_no_gradients_are_wanted(framework: Framework, layer: Layer) -> None:
    verification = birnn.verify(layer, framework=framework.name, cases=CASES[:1], dtypes=["float32"], gradients=False)
    assert verification.agrees
    assert "no gradient was judged" in str(verification)


def test_a_gradient_that_is_cut_is_seen_and_named(framework: Framework, layer: Layer) -> None:
    arrays = arrays_of(framework.name)("float32", "cpu")

    def cut(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> Any:
        return layer(spec, weights, x, lengths, arrays.array(states), c_0)

    states = CASES[0].initial_state("h")
    (failure,) = birnn.verify(cut, framework=framework.name, cases=CASES[:1], dtypes=["float32"]).failures
    assert failure.verdict is not None
    assert failure.verdict.matches == "gradient of the initial states cut"


def test_mistaken_weights_are_named(framework: Framework, layer: Layer) -> None:
    def dropping(spec: Any, weights: Any, *rest: Any) -> Any:
        return layer(spec, {name: value for name, value in weights.items() if "bias_hh" not in name}, *rest)

    (failure,) = birnn.verify(dropping, framework=framework.name, cases=CASES[:1], dtypes=["float32"]).failures
    assert failure.verdict is not None
    assert failure.verdict.matches == "bias_hh dropped"


def test_narrow_formats_go_in_and_out(framework: Framework) -> None:
    for dtype in ("float16", "bfloat16"):
        if framework.name == "mxnet" and dtype == "bfloat16":
            continue  # MXNet 1.9.1 has none on the way to NumPy
        arrays = arrays_of(framework.name)(dtype, "cpu")
        values = CASES[0].x
        assert arrays.numpy(arrays.array(values)).dtype.name == dtype
