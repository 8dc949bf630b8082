"""A layer that somebody else wrote: judged in this process, located, named, and never green unchecked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import birnn
from common.cases.builtin import SIZES
from common.judging.yardstick import yardstick
from examples.numpy_forward_gru import layer as forward_layer
from examples.numpy_gru import layer
from tests.cases import a_case

CASES = [
    replace(a_case("gru"), name="ragged"),
    replace(a_case("gru", lengths=None, with_states=False), name="full"),
]
GRU: dict[str, Any] = {"cases": CASES, "dtypes": ["float32"]}
Changed = Callable[..., Any]


def flipped(spec: Any, weights: Mapping[str, Any], x: Any, lengths: Any, h_0: Any, c_0: Any) -> Any:
    """Its reverse half's weights are the forward half's."""
    swapped = {name: weights[name.removesuffix("_reverse")] for name in weights}
    return layer(spec, swapped, x, lengths, h_0, c_0)


def ignoring_lengths(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> Any:
    return layer(spec, weights, x, None, h_0, c_0)


def test_a_right_layer_agrees_and_it_is_said_that_no_gradient_was_judged() -> None:
    verification = birnn.verify(layer, cases=CASES)
    assert verification.agrees
    assert (verification.exit_code, verification.gradients, verification.failures) == (0, False, [])
    assert {outcome.dtype for outcome in verification.outcomes} == {"float32", "float64"}
    assert "4 agree, 0 unsupported, 0 wrong: outputs and states; no gradient was judged" in str(verification)
    assert all(outcome.implementation == "numpy/layer" for outcome in verification.outcomes)


def test_the_built_in_cases_of_a_cell_are_judged_and_what_is_refused_is_no_failure() -> None:
    verification = birnn.verify(layer, cells=["gru", "gru_before"], dtypes=["float32"])
    assert verification.agrees, str(verification)
    refused = [outcome for outcome in verification.outcomes if outcome.declined]
    assert {outcome.reason for outcome in refused} == {
        "this is a GRU that resets after the product, with concat and equal halves"
    }
    assert 0 < len(refused) < len(verification.outcomes)
    assert all(outcome.case.startswith("gru") for outcome in verification.outcomes)


def test_what_is_wrong_is_located_and_named() -> None:
    verification = birnn.verify(ignoring_lengths, **GRU)
    assert not verification.agrees
    assert verification.exit_code == 1
    (failure,) = verification.failures
    assert failure.case == "ragged"
    assert failure.verdict is not None
    assert failure.verdict.matches == "lengths ignored"
    assert "first wrong: " in str(verification)
    assert "matches: lengths ignored" in str(verification)


def test_where_everything_is_refused_nothing_is_green() -> None:
    def refusing(*arguments: Any) -> Any:
        raise NotImplementedError("not yet")

    verification = birnn.verify(refusing, **GRU)
    assert (verification.agrees, verification.exit_code, verification.failures) == (False, 3, [])
    assert str(verification).endswith("Nothing was checked.")
    assert "unsupported numpy/refusing, 2 cases: not yet" in str(verification)


def test_expected_gradients_are_left_out_with_the_gradients() -> None:
    case = replace(CASES[0], expected=birnn.reference(CASES[0], "float32"), rtol=1e-4, atol=1e-4)
    assert "grad.x" in case.expected
    assert birnn.verify(layer, cases=[case], dtypes=["float32"]).agrees
    wrong = replace(case, expected=case.expected | {"h_n": case.expected["h_n"] + 1})
    (failure,) = birnn.verify(layer, cases=[wrong], dtypes=["float32"]).failures
    assert "h_n must be within" in failure.reason


def test_a_forward_only_layer_is_judged_on_the_cases_of_one_direction() -> None:
    verification = birnn.verify(forward_layer, cells="gru", dtypes=["float32"], num_directions=1)
    assert verification.agrees, str(verification)
    assert [outcome.case for outcome in verification.outcomes] == ["gru-forward-ragged", "gru-forward-full"]
    assert {case.spec.num_directions for case in birnn.cases()} == {2}
    assert {case.spec.num_directions for case in birnn.cases(num_directions=None)} == {1, 2}


def test_a_forward_only_layer_that_reads_backwards_is_named() -> None:
    def backwards(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> Any:
        output, h_n = forward_layer(spec, weights, x[:, ::-1], lengths, h_0, c_0)
        return output[:, ::-1], h_n

    case = next(case for case in birnn.cases(["gru"], num_directions=1) if case.name == "gru-forward-full")
    (failure,) = birnn.verify(backwards, cases=[case], dtypes=["float32"]).failures
    assert failure.verdict is not None
    assert failure.verdict.matches == "the forward direction reads time from its end"
    assert "layer 0, forward" in failure.verdict.where


def test_one_cell_or_dtype_may_be_its_name() -> None:
    verification = birnn.verify(layer, cells="gru", dtypes="float32")
    assert verification.agrees
    assert {outcome.dtype for outcome in verification.outcomes} == {"float32"}


def test_no_case_is_nothing_checked() -> None:
    assert birnn.verify(layer, cases=[]).exit_code == 3


def raising(*arguments: Any) -> Any:
    raise ValueError("shapes do not fit\nsecond line")


def returning(*values: Any) -> Changed:
    return lambda *arguments: values if len(values) > 1 else values[0]


def wide(*arguments: Any) -> Any:
    return tuple(value.astype(np.float64) for value in layer(*arguments))


def misshapen(*arguments: Any) -> Any:
    output, h_n = layer(*arguments)
    return output[:, :-1], h_n


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (raising, "ValueError: shapes do not fit"),
        (returning(None), "the layer must return output, h_n; got NoneType"),
        (returning(1, 2, 3), "the layer must return output, h_n; got 3 things"),
        (wide, "output must be float32; got float64"),
        (misshapen, "output must have shape (3, 5, 12); got (3, 4, 12)"),
    ],
)
def test_what_a_layer_raises_or_returns_by_mistake_is_a_failure_in_one_sentence(wrong: Changed, sentence: str) -> None:
    verification = birnn.verify(wrong, cases=CASES[:1], dtypes=["float32"])
    (failure,) = verification.failures
    assert failure.reason == sentence
    assert sentence in str(verification)


def test_a_state_that_is_kept_between_calls_is_seen() -> None:
    kept: dict[str, Any] = {}

    def keeping(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> Any:
        output, h_n = layer(spec, weights, x, lengths, kept.get("h", h_0), c_0)
        kept["h"] = h_n
        return output, h_n

    (failure,) = birnn.verify(keeping, cases=CASES[:1], dtypes=["float32"]).failures
    assert failure.reason.startswith("a second call on the same object: ")


def test_what_depends_on_the_paddings_content_is_seen() -> None:
    def leaking(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> Any:
        output, h_n = layer(spec, weights, x, lengths, h_0, c_0)
        return output, h_n + (np.nan if np.isnan(x).any() else 0)

    def reading(spec: Any, weights: Any, x: Any, lengths: Any, h_0: Any, c_0: Any) -> Any:
        output, h_n = layer(spec, weights, x, lengths, h_0, c_0)
        factor = np.float32(1 + 2e-7 * (np.isfinite(x).all() and x[1, -1, 0] > 0))
        return output * factor, h_n * factor

    (failure,) = birnn.verify(leaking, cases=CASES[:1], dtypes=["float32"]).failures
    assert failure.reason.startswith("h_n must not depend on the padding's content; ")
    assert failure.reason.endswith("with NaN and infinity there")
    padded = [replace(CASES[0].with_padding(np.random.default_rng(seed), 10.0), name=f"{seed}") for seed in range(9)]
    verification = birnn.verify(reading, cases=padded, dtypes=["float32"])
    assert any(failure.reason.endswith("with other numbers there") for failure in verification.failures)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"framework": "theano"}, "framework must be one of torch, jax, tensorflow, mxnet, numpy; got 'theano'"),
        (
            {"framework": "torch"},
            "framework torch must be importable here; got: No module named 'torch'",
        ),
        ({"dtypes": ["float8"]}, "dtype must be one of float16, bfloat16, float32, float64; got 'float8'"),
        ({"cells": ["peephole"]}, "cells must be one of rnn_tanh, rnn_relu, gru, gru_before, lstm; got 'peephole'"),
        ({"gradients": True}, "gradients must be False or 'auto' with numpy, which has no automatic derivative"),
        ({"gradients": "yes"}, "gradients must be True, False or 'auto'; got \"'yes'\""),
        ({"device": "tpu"}, "device must be one of cpu, gpu; got 'tpu'"),
    ],
)
def test_a_bad_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(birnn.InputError) as raised:
        birnn.verify(layer, **arguments)
    assert str(raised.value) == sentence


def test_everything_is_json() -> None:
    content = json.loads(json.dumps(birnn.verify(ignoring_lengths, **GRU).as_json()))
    assert (content["agrees"], content["framework"], len(content["outcomes"])) == (False, "numpy", 2)


def test_the_import_is_light_and_the_names_are_there() -> None:
    script = "import sys, birnn; assert not {'numpy', 'pydantic', 'rich', 'typer'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(getattr(birnn, name) is not None for name in birnn.__all__)
    assert dir(birnn) == sorted(birnn.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'verfiy'"):
        birnn.verfiy  # noqa: B018


TESTS = """
import pytest
import birnn
from {module} import layer

@pytest.mark.parametrize("case", birnn.cases(cells=["gru"])[:4])
def test_layer(case):
    birnn.assert_agrees(layer, case)
"""


def pytest_on(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_mine.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "test_mine.py"]
    path = f"{Path(__file__).parents[2]}"
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": path, "PATH": "", "COLUMNS": "200"}
    )


def test_five_lines_in_a_test_file_are_enough(tmp_path: Path) -> None:
    done = pytest_on(tmp_path, TESTS.format(module="examples.numpy_gru"))
    assert done.returncode == 0, done.stdout
    assert "test_mine.py::test_layer[gru-ragged] PASSED" in done.stdout
    assert "test_mine.py::test_layer[gru-wide-mul] SKIPPED" in done.stdout
    assert "the layer does not support it: this is a GRU" in done.stdout


def test_a_failing_test_says_what_is_wrong(tmp_path: Path) -> None:
    text = TESTS.format(module="tests.api.test_own_layer").replace("import layer", "import ignoring_lengths as layer")
    done = pytest_on(tmp_path, text)
    assert done.returncode == 1
    assert "test_mine.py::test_layer[gru-ragged] FAILED" in done.stdout
    assert "matches: lengths ignored" in done.stdout


def test_outside_of_pytest_a_refusal_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with pytest.raises(NotImplementedError, match="this is a GRU"):
        birnn.assert_agrees(layer, a_case("lstm"))


def test_one_case_is_judged_with_and_without_gradients() -> None:
    case = birnn.make_case(birnn.Specification(**SIZES, cell="lstm"), lengths=[5, 3, 1])
    assert {"output", "h_n", "c_n", "grad.x", "grad.weight_ih_l0"} <= set(birnn.reference(case))
    tensors = yardstick(case, "float32").plain
    assert birnn.judge(case, tensors).agrees
    forward = {name: value for name, value in tensors.items() if not name.startswith("grad.")}
    assert birnn.judge(case, forward).agrees
    right = {name: value.astype(np.float32) for name, value in birnn.reference(case, "float32").items()}
    assert "must be computed in float32" in birnn.judge(case, right).reasons[0], "it is the truth itself, rounded"
    verdict = birnn.judge(case, forward | {"h_n": forward["h_n"][[1, 0]]})
    assert not verdict.agrees
    assert "the top layer's forward h_n must equal its outputs" in "; ".join(verdict.reasons)
    with pytest.raises(birnn.InputError, match="tensors must be of one dtype"):
        birnn.judge(case, forward | {"h_n": forward["h_n"].astype(np.float64)})
