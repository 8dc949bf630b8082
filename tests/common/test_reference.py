"""The reference: against steps computed by hand, and its gradients against complex-step derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import exp, tanh
from typing import Any

import numpy as np
import pytest

from common.case import Case, result_shapes
from common.cases.builtin import CELLS, FORWARD
from common.judging.precision import rounded_case
from common.judging.yardstick import run_reference
from common.reference import Reference, flip
from common.specification import MERGES, Specification
from tests.cases import a_case

COMPLEX_STEP = 1e-30


def sigma(a: float) -> float:
    return 1 / (1 + exp(-a))


# One unit, one feature: W, R, b_ih, b_hh for each gate, then a step by hand from x and h (and c).
ONE_UNIT = {
    "weight_ih": [0.5, -0.3, 0.8, 0.2],
    "weight_hh": [-0.4, 0.7, 0.6, -0.9],
    "bias_ih": [0.1, 0.2, -0.1, 0.3],
    "bias_hh": [-0.2, 0.05, 0.4, 0.15],
}


def step_by_hand(cell: str, x: float, h: float, c: float) -> tuple[float, float]:
    """h' and c' in plain Python floats, term by term."""
    w, r, b, d = (ONE_UNIT[kind] for kind in ONE_UNIT)
    a = [w[i] * x + b[i] for i in range(4)]
    s = [r[i] * h + d[i] for i in range(4)]
    if cell == "rnn_tanh":
        return tanh(a[0] + s[0]), c
    if cell == "rnn_relu":
        return max(a[0] + s[0], 0.0), c
    if cell == "lstm":
        new_c = sigma(a[1] + s[1]) * c + sigma(a[0] + s[0]) * tanh(a[2] + s[2])
        return sigma(a[3] + s[3]) * tanh(new_c), new_c
    reset, update = sigma(a[0] + s[0]), sigma(a[1] + s[1])
    inner = reset * s[2] if cell == "gru" else r[2] * (reset * h) + d[2]
    return (1 - update) * tanh(a[2] + inner) + update * h, c


@pytest.mark.parametrize("cell", CELLS)
def test_forward_equals_steps_computed_by_hand(cell: str) -> None:
    spec = Specification(input_size=1, hidden_size=1, num_layers=1, bias=True, merge="concat", **CELLS[cell])
    gates = spec.num_gates
    both = {kind: np.array(values[:gates]) for kind, values in ONE_UNIT.items()}
    weights = {
        f"{kind}_l0{suffix}": value[:, None] if kind.startswith("weight") else value
        for kind, value in both.items()
        for suffix in ("", "_reverse")
    }
    steps, h_0, c_0 = [0.7, -1.2, 0.4], (0.3, -0.6), (0.5, 0.9)
    outputs = Reference(spec, weights, np.float64).forward(
        np.array(steps).reshape(1, 3, 1), np.array([2]), np.array(h_0).reshape(2, 1, 1), np.array(c_0).reshape(2, 1, 1)
    )
    # Length 2: the forward half reads steps 0, 1; the reverse half reads 1, 0; step 2 is padding.
    h, c = h_0[0], c_0[0]
    forward = []
    for x in steps[:2]:
        h, c = step_by_hand(cell, x, h, c)
        forward.append(h)
    back_h, back_c = h_0[1], c_0[1]
    reverse: list[float] = []
    for x in steps[1::-1]:
        back_h, back_c = step_by_hand(cell, x, back_h, back_c)
        reverse.insert(0, back_h)
    np.testing.assert_allclose(outputs["output"][0, :, 0], [*forward, 0], rtol=1e-15, atol=0)
    np.testing.assert_allclose(outputs["output"][0, :, 1], [*reverse, 0], rtol=1e-15, atol=0)
    np.testing.assert_allclose(outputs["h_n"].ravel(), [h, back_h], rtol=1e-15)
    if cell == "lstm":
        np.testing.assert_allclose(outputs["c_n"].ravel(), [c, back_c], rtol=1e-15)


@pytest.mark.parametrize("cell", CELLS)
def test_one_direction_is_the_forward_half_of_two(cell: str) -> None:
    """To the last bit, in outputs, states and their gradients: nothing of the reverse half reaches it."""
    two = a_case(cell, lengths=(5, 3, 0))
    forward = {name: value for name, value in two.weights.items() if not name.endswith("_reverse")}
    units = two.spec.hidden_size
    halves = {name: value[:1] if name != "output" else value[..., :units] for name, value in two.cotangents.items()}
    c_0 = two.initial_state("c")[:1] if cell == "lstm" else None
    spec = a_case(cell, **FORWARD).spec
    one = replace(two, spec=spec, weights=forward, cotangents=halves, h_0=two.initial_state("h")[:1], c_0=c_0)
    silent = {name: value.copy() for name, value in two.cotangents.items()}
    silent["output"][..., units:] = 0
    results, both = run_reference(one, np.float64), run_reference(replace(two, cotangents=silent), np.float64)
    assert {name: value.shape for name, value in results.items()} == result_shapes(spec, 3, 5)
    assert results["h_n"].shape == (1, 3, units)
    assert not any(name.endswith("_reverse") for name in results)
    np.testing.assert_array_equal(results["output"], both["output"][..., :units])
    for name in ("h_n", "c_n", "grad.h_0", "grad.c_0"):
        if name in results:
            np.testing.assert_array_equal(results[name], both[name][:1])
    for name in forward:
        np.testing.assert_array_equal(results[f"grad.{name}"], both[f"grad.{name}"])


def derivative(case: Case, name: str, direction: np.ndarray) -> float:
    """The complex-step derivative of the sum of products along a direction of an input or weight."""
    values = {"x": case.x, "h_0": case.initial_state("h"), "c_0": case.initial_state("c"), **case.weights}
    moved = {key: value.astype(np.complex128) for key, value in values.items()}
    moved[name] += COMPLEX_STEP * 1j * direction
    network = Reference(case.spec, case.weights, np.complex128)
    network.weights = {key: moved[key] for key in case.weights}
    outputs = network.forward(moved["x"], case.lengths, moved["h_0"], moved["c_0"])
    return sum((case.cotangents[key] * outputs[key]).sum() for key in outputs).imag / COMPLEX_STEP


def directions(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The first, the middle and the last number of a tensor by itself, and all of them, each up or down."""
    size = int(np.prod(shape))
    for place in (0, size // 2, size - 1):
        yield (np.arange(size) == place).reshape(shape).astype(float)
    yield np.random.default_rng(size).choice([-1.0, 1.0], size=shape)


@pytest.mark.parametrize(
    "changes", [*({"merge": merge} for merge in MERGES), FORWARD], ids=lambda each: str(each["merge"])
)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_match_complex_step_derivatives(cell: str, changes: dict[str, Any]) -> None:
    case = a_case(cell, lengths=(5, 3, 0), num_layers=2, **changes)
    gradients = {name: value for name, value in run_reference(case, np.float64).items() if name.startswith("grad.")}
    assert set(gradients) >= {"grad.x", "grad.h_0", *(f"grad.{name}" for name in case.weights)}
    for name, gradient in gradients.items():
        for direction in directions(gradient.shape):
            expected = derivative(case, name.removeprefix("grad."), direction)
            assert abs((gradient * direction).sum() - expected) <= 2e-14 * max(1, abs(expected)), name


def test_a_wrong_gradient_is_noticed_by_the_complex_step() -> None:
    case = a_case("gru")
    gradient = run_reference(case, np.float64)["grad.weight_hh_l0"]
    gradient[1, 2] *= 1.001
    *_, every = directions(gradient.shape)
    assert abs((gradient * every).sum() - derivative(case, "weight_hh_l0", every)) > 1e-6


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_reference_keeps_its_dtype(dtype: type) -> None:
    for cell in CELLS:
        results = run_reference(a_case(cell, num_layers=2, merge="ave"), dtype)
        assert {value.dtype for value in results.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("cell", CELLS)
def test_longdouble_judges_float64(cell: str) -> None:
    case = a_case(cell, num_layers=2)
    narrow, wide = run_reference(case, np.float64), run_reference(case, np.longdouble)
    differences = [np.abs(narrow[name] - wide[name]).max() for name in narrow]
    assert 0 < max(differences) < 1e-13


def test_flip_reverses_by_length_and_is_its_own_inverse() -> None:
    x = np.arange(8.0).reshape(2, 4, 1)
    lengths = np.array([3, 0])
    assert flip(x, lengths)[..., 0].tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]
    assert flip(x, None)[..., 0].tolist() == [[3, 2, 1, 0], [7, 6, 5, 4]]
    np.testing.assert_array_equal(flip(flip(x, lengths), lengths), x)


@pytest.mark.parametrize("cell", CELLS)
def test_reference_keeps_the_exact_rules(cell: str) -> None:
    from common.judging.exact import broken_rules, differing

    case = a_case(cell, lengths=(5, 0, 3), num_layers=2)
    results = run_reference(case, np.float32)
    rng = np.random.default_rng(5)
    for other in (case.with_padding(rng, 3.0), case.with_nonfinite_padding(rng, 3.0)):
        assert differing(results, run_reference(rounded_case(other, "float32"), np.float32)) == []
    rounded = {name: value.astype(np.float64) for name, value in run_reference(case, np.float64).items()}
    assert broken_rules(rounded, case) == []
