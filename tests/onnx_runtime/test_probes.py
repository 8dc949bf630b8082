"""Every probe of ONNX Runtime measures: its verdict turns when the behaviour is the other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from common.reference import Arrays
from common.specification import Specification
from tests.onnx_runtime.loaded import framework

PROBES = framework().probes()


def right(
    spec: Specification,
    weights: Arrays,
    x: np.ndarray,
    lengths: np.ndarray,
    h_0: np.ndarray,
    dtype: str = "float32",
    **attributes: Any,
) -> Arrays:
    """What a user expects of a layer: the reference's answer."""
    from backends.onnx_runtime.probes import truth

    return truth(spec, weights, np.nan_to_num(x), lengths, h_0)


def repeated(*arguments: Any, **attributes: Any) -> Arrays:
    """The same with the last output past a length, as Keras has it."""
    results = right(*arguments, **attributes)
    lengths = arguments[3]
    last = np.minimum(np.arange(results["output"].shape[1]), lengths[:, None] - 1)
    return results | {"output": np.take_along_axis(results["output"], last[..., None], axis=1)}


STAND_INS: dict[str, Callable[..., Any]] = {
    "empty-row-ends-in-zeros": right,
    "small-states-of-an-rnn-lose-their-digits": right,
    "gru-resets-before-by-default": right,
    "int8-lstm-reads-its-padding": right,
    "quantize-dynamic-leaves-rnn-and-gru-in-float32": lambda cell: ["DynamicQuantized"],
    "float64-loads-and-does-not-run": right,
    "outputs-past-a-length-are-zero": repeated,
    "float16-is-computed-in-float32": lambda *arguments: "float16",
}
"""The behaviours that a user would expect, by the probes' names."""


def read(*arguments: Any, **attributes: Any) -> Arrays:
    """A layer that reads its padding."""
    results = right(*arguments, **attributes)
    return {name: value * np.nan for name, value in results.items()}


@pytest.mark.parametrize("name", PROBES)
def test_the_verdict_turns_with_the_behaviour(name: str) -> None:
    measured = PROBES[name].measure()
    assert measured.status == "present", measured
    corrected = PROBES[name].measure(STAND_INS[name])
    assert corrected.status == "fixed", corrected


def test_a_layer_that_begins_to_read_its_padding_is_noticed() -> None:
    assert PROBES["outputs-past-a-length-are-zero"].measure(read).status == "changed"


def test_they_come_with_the_worst_harm_first_and_in_sentences() -> None:
    order = ["silent", "late", "surprise"]
    harms = [probe.harm for probe in PROBES.values()]
    assert harms == sorted(harms, key=order.index)
    for probe in PROBES.values():
        for text in (probe.what, probe.consequence, probe.way_out):
            assert text.rstrip("`").endswith("."), (probe.name, text)
            assert "\n" not in text
