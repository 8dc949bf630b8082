"""A failure as a script of the framework alone: it needs nothing of this suite, and shows what is wrong."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.gaps import request_of
from backends.studies.fuzzing import Failure
from backends.studies.study import Outcome
from birnn.commands.fuzz import write_failure
from common.case import read_case
from common.cases.fuzzed import Draw, case_of

MODULES = {
    "torch": {"torch"},
    "jax": {"jax", "flax"},
    "tensorflow": {"tensorflow", "keras"},
    "mxnet": {"mxnet", "re"},
}
"""What a framework's script may import, besides NumPy and safetensors."""
LINE = re.compile(r"(\S+) +largest error (\S+) at \((.*)\): (\S+), right (\S+)")
BASE = Draw("gru", 4, 6, 0, 2, 2, True, "concat", 3, 5, "drawn", "usual", "given", "all", "float32", 3)
RELU = replace(BASE, cell="rnn_relu", num_layers=1, states="absent", cotangents="none")
FORWARD = replace(BASE, directions=1, merge="sum")
LSTM = replace(BASE, cell="lstm", bias=False, num_layers=1, cotangents="states", dtype="float64")


def natives(framework: Framework) -> list[str]:
    return [name for name in framework.implementations if name.startswith("native")]


def failure_of(framework: Framework, name: str, draw: Draw, reason: str = "output is wrong") -> Failure:
    """A failure as the fuzzer hands it on; of full rows where the layer takes no others."""
    if framework.refusal(name, request_of(case_of(draw), draw.dtype, "cpu")) is not None:
        draw = replace(draw, lengths="full", merge="concat", reverse=0)
    case = case_of(draw)
    assert framework.refusal(name, request_of(case, draw.dtype, "cpu")) is None
    implementation = f"{framework.name}/{name}"
    outcome = Outcome(case.name, implementation, draw.dtype, "cpu", "disagrees", reason)
    return Failure(implementation, draw, case, outcome)


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Write a failure, and run its script in its folder: by tensor, the largest error, the number and the right one."""

    def run(failure: Failure) -> dict[str, tuple[float, float, float]]:
        case_file, script = write_failure(failure, 1, tmp_path)
        framework = failure.implementation.partition("/")[0]
        names = {
            alias.name if isinstance(node, ast.Import) else node.module
            for node in ast.walk(ast.parse(script.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert {str(name).partition(".")[0] for name in names} == {"numpy", "safetensors"} | MODULES[framework]
        monkeypatch.chdir(tmp_path)
        runpy.run_path(script.name)
        expected = read_case(case_file).expected
        lines = {}
        for line in capsys.readouterr().out.splitlines()[1:]:
            match = LINE.fullmatch(line)
            assert match is not None, line
            name, error, at, number, right = match.groups()
            place = tuple(int(i) for i in at.split(",") if i.strip())
            if failure.outcome.reason == "output is wrong":
                assert float(right) == expected[name][place]
            lines[name] = float(error), float(number), float(right)
        assert set(lines) == set(expected)
        return lines

    return run


@pytest.mark.parametrize(
    "draw", [BASE, FORWARD, LSTM], ids=["gru", "forward-only gru", "lstm without biases, from the states alone"]
)
def test_where_nothing_is_wrong_the_script_shows_nothing(
    framework: Framework, draw: Draw, shown: Callable[..., Any]
) -> None:
    """Weights, states, lengths and gradients come and go as they are meant."""
    for name in natives(framework):
        failure = failure_of(framework, name, draw)
        largest = max(np.abs(value).max() for value in failure.case.tensors().values())
        for tensor, (error, _, _) in shown(failure).items():
            assert error < (1e-5 if draw.dtype == "float32" else 1e-13) * max(largest, 1), (name, tensor)


def doubling(layer: Any, from_call: int = 1) -> Any:
    """A framework's layer whose first result is twice what it is, from a call on."""

    class Doubling(layer):
        calls = 0

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            Doubling.calls += 1
            first, *rest = super().__call__(*arguments, **options)
            return (twice(first) if Doubling.calls >= from_call else first, *rest)

    return Doubling


def twice(value: Any) -> Any:
    return value._replace(data=2 * value.data) if hasattr(value, "_replace") else 2 * value  # rows packed by torch


def plant(framework: Framework, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in the framework itself: outputs, or for Flax relu, twice what they are."""
    if framework.name == "jax":
        import jax

        monkeypatch.setattr(jax.nn, "relu", lambda a: 2 * jax.numpy.maximum(a, 0))
    elif framework.name == "tensorflow":
        import keras

        monkeypatch.setattr(keras.layers, "Bidirectional", doubling(keras.layers.Bidirectional))
    elif framework.name == "mxnet":
        import mxnet

        monkeypatch.setattr(mxnet.gluon.rnn, "RNN", doubling(mxnet.gluon.rnn.RNN))
    else:
        import torch

        monkeypatch.setattr(torch.nn, "RNN", doubling(torch.nn.RNN))


def test_a_fault_of_the_framework_is_shown_beside_what_is_right(
    framework: Framework, shown: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(framework, monkeypatch)
    for name in natives(framework):
        error, number, right = shown(failure_of(framework, name, RELU))["output"]
        assert error > 0.3
        assert error == pytest.approx(abs(number - right), rel=1e-3)


CALLS = (
    ("a second call on the same object: output is wrong", 2),
    ("a forward pass alone: output is wrong", 1),
    ("output must not depend on the padding's content; …, with NaN and infinity there", 2),
    ("output must not depend on the padding's content; …, with other numbers there", 2),
    ("with other padding: the worker died", 2),
)
"""What a fuzzer says of a failure past the first call, and from which call on the layer is wrong."""


def test_the_call_that_came_out_wrong_is_the_one_that_is_shown(
    framework: Framework, shown: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a layer is called is the same text for every framework: one is enough."""
    if framework.name != "torch":
        pytest.skip("PyTorch's is the quickest")
    import torch

    right_layer = torch.nn.RNN
    for reason, from_call in CALLS:
        monkeypatch.setattr(torch.nn, "RNN", doubling(right_layer, from_call))
        error, _, right = shown(failure_of(framework, "native", RELU, reason))["output"]
        assert error == pytest.approx(abs(right), rel=1e-3), reason
    monkeypatch.setattr(torch.nn, "RNN", doubling(right_layer, 2))
    assert shown(failure_of(framework, "native", RELU))["output"][0] < 1e-6, "the first call is right"
