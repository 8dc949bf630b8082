"""Every implementation of every framework, inside its own environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.gaps import DEVICES, Refusal, request_of
from backends.interface.layer import Implementation, inputs_of
from backends.worker.execution import Unsupported, execute
from common.case import Case, result_shapes
from common.cases.builtin import CELLS, alone_in_quick, small_cases
from common.cases.fuzzed import LAYERS, LENGTHS, MERGES, SIZES, STEPS, Draw, case_of
from common.judging.agreement import judge
from common.judging.exact import differing
from common.judging.precision import DTYPES, rounded_case
from common.judging.yardstick import yardstick
from tests.cases import a_case

CASES = {case.name: case for case in small_cases()}
DRAWN = 100
"""Drawn cases of which a tuned implementation's path is asked: every size comes three times at least."""
QUICK = alone_in_quick()


def run(framework: Framework, implementation: str, case: Case, dtype: str = "float64") -> dict[str, np.ndarray]:
    """A case's result tensors, or a skip with the declared reason."""
    try:
        return execute(framework, case, implementation, dtype, "cpu").tensors
    except Unsupported as reason:
        pytest.skip(f"declared unsupported: {reason}")


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_reference(framework: Framework, implementation: str, cell: str) -> None:
    """A ragged case in float64, stacked where that is not traced; the study runs all cases in both precisions."""
    case = a_case(cell, lengths=(2, 5, 3), num_layers=1 if framework.compiles else 2)
    verdict = judge(run(framework, implementation, case), yardstick(case, "float64"))
    assert verdict.agrees, verdict.reasons


@pytest.mark.parametrize("changes", [{"merge": "weighted"}, {"hidden_size_reverse": 7}], ids=str)
def test_options_of_version_2_agree_on_full_rows(
    framework: Framework, implementation: str, changes: dict[str, Any]
) -> None:
    """The built-in cases with them are ragged, which not every implementation can."""
    case = a_case("gru", lengths=None, num_layers=2, **changes)
    verdict = judge(run(framework, implementation, case), yardstick(case, "float64"))
    assert verdict.agrees, verdict.reasons


def test_one_direction_is_run_by_itself(framework: Framework, implementation: str) -> None:
    """By nothing that runs a reverse one, too, and drops it."""
    case = CASES["lstm-forward-full"]
    if framework.refusal(implementation, request_of(case, "float32", "cpu")) is not None:
        case = CASES["gru-forward-full"]
    layer = built(framework, implementation, case, "float32")
    assert not any(word in layer.path() for word in ("Bidirectional", "both", "flipped")), layer.path()
    layer.forward()
    layer.synchronise()
    result = layer.extract()
    assert {name: value.shape for name, value in result.items()} == {
        name: shape for name, shape in result_shapes(case.spec, 3, 9).items() if name in result
    }


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm"])
def test_native_agrees_with_three_layers(framework: Framework, cell: str) -> None:
    """Where one call runs all layers; the built-in case of three is a GRU's."""
    if framework.compiles:
        pytest.skip(f"{framework.name}'s native layers run one by one")
    case = a_case(cell, lengths=None, num_layers=3)
    verdict = judge(run(framework, "native", case, "float32"), yardstick(case, "float32"))
    assert verdict.agrees, verdict.reasons


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(("batch", "hidden_size"), [(4, 5), (1, 3), (17, 16)])
def test_tuned_agrees_at_other_sizes(framework: Framework, cell: str, batch: int, hidden_size: int) -> None:
    """What a compiler makes of a loop depends on its sizes: XLA of TensorFlow 2.21 has been wrong at (4, 5) alone."""
    if "tuned" not in framework.implementations:
        pytest.skip(f"{framework.name} has no tuned")
    case = a_case(cell, batch=batch, lengths=None, hidden_size=hidden_size)
    verdict = judge(run(framework, "tuned", case), yardstick(case, "float64"))
    assert verdict.agrees, verdict.reasons


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("rnn_tanh-one-long-row", "float32"), ("gru-many-rows-sum", "float32"), ("lstm-many-rows", "float64")],
)
def test_tuned_agrees_where_it_works_in_pieces(framework: Framework, name: str, dtype: str) -> None:
    """What is carried from piece to piece, and added up over them, shows in no shorter case."""
    case = CASES[name]
    if "tuned" not in framework.implementations:
        pytest.skip(f"{framework.name} has no tuned")
    if (declined := framework.refusal("tuned", request_of(case, dtype, "cpu"))) is not None:
        pytest.skip(f"{declined.status}: {declined.reason}")
    if "in several" not in built(framework, "tuned", case, dtype).path():
        pytest.skip(f"{framework.name}/tuned takes it in one piece")
    verdict = judge(run(framework, "tuned", case, dtype), yardstick(case, dtype))
    assert verdict.agrees, verdict.reasons


RUN_OVER_PADDING = ("jax/native-linen", "jax/native-nnx", "jax/manual", "mxnet/manual")
"""Where states go on past a length and are dropped afterwards: flax's RNN (0.12.8), Gluon's unroll (1.9.1)."""


def test_states_that_would_overflow_past_a_length_leave_no_trace(framework: Framework, implementation: str) -> None:
    """A relu whose states grow 10⁵-fold a step: large at the length, infinite soon after, times a gradient of 0."""
    case = a_case("rnn_relu", seq_len=12, lengths=(7, 5, 3))
    growing = {
        name: np.abs(value) * (1e5 if name.startswith("weight_hh") else 1.0) for name, value in case.weights.items()
    }
    assert case.h_0 is not None
    case = replace(case, weights=growing, x=np.abs(case.x), h_0=np.abs(case.h_0))
    verdict = judge(run(framework, implementation, case, "float32"), yardstick(case, "float32"))
    wrong = [each.tensor for each in verdict.measures if not np.isfinite(each.max)]
    if f"{framework.name}/{implementation}" in RUN_OVER_PADDING:
        assert wrong == ["grad.weight_hh_l0", "grad.weight_hh_l0_reverse"]
    else:
        assert verdict.agrees, verdict.reasons


def test_an_empty_row_keeps_its_states(framework: Framework, implementation: str) -> None:
    case = a_case("lstm", lengths=(0, 5, 2))
    verdict = judge(run(framework, implementation, case), yardstick(case, "float64"))
    assert verdict.agrees, verdict.reasons


def test_padding_has_no_influence(framework: Framework, implementation: str) -> None:
    case = a_case("lstm")
    other = case.with_padding(np.random.default_rng(9), 3.0)
    assert differing(run(framework, implementation, case), run(framework, implementation, other)) == []


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_relu"])
def test_nan_and_infinity_in_the_padding_have_no_influence(
    framework: Framework, implementation: str, cell: str
) -> None:
    """Neither forward nor backward, to the last bit: what is masked after the arithmetic alone is 0·NaN there."""
    for case in (a_case(cell), a_case(cell, lengths=(0, 5, 2))):
        other = run(framework, implementation, case.with_nonfinite_padding(np.random.default_rng(9), 3.0))
        assert differing(run(framework, implementation, case), other) == []


def test_forward_alone_gives_the_same_outputs(framework: Framework, implementation: str) -> None:
    case = a_case("gru")
    both = run(framework, implementation, case)
    forward = run(framework, implementation, replace(case, cotangents={}))
    assert set(forward) == {"output", "h_n"}
    yard = yardstick(replace(case, cotangents={}), "float64")
    assert judge(forward, yard).agrees
    assert judge({name: both[name] for name in forward}, yard).agrees


def built(framework: Framework, implementation: str, case: Case, dtype: str, timed: bool = False) -> Implementation:
    """An implementation with a case's weights and inputs; with programs of its own if it is ``timed``."""
    layer = framework.implementations[implementation](case.spec, dtype, "cpu")
    if not timed:
        layer.reuse_programs()
    case = rounded_case(case, dtype)
    layer.load_weights(case.weights)
    layer.move_inputs(inputs_of(case))
    return layer


def supported_case(framework: Framework, implementation: str) -> Case:
    """A full case of an LSTM, or of a GRU where there is no LSTM."""
    cases = [a_case(cell, lengths=None) for cell in ("lstm", "gru")]
    supported = [
        case for case in cases if framework.refusal(implementation, request_of(case, "float32", "cpu")) is None
    ]
    return supported[0]


def test_computing_twice_gives_the_same_numbers_and_does_not_add_up(framework: Framework, implementation: str) -> None:
    layer = built(framework, implementation, supported_case(framework, implementation), "float32")
    results = []
    for _ in range(2):
        layer.forward_backward()
        layer.synchronise()
        results.append(layer.extract())
    assert differing(*results) == []


def test_two_networks_at_once_do_not_disturb_each_other(framework: Framework, implementation: str) -> None:
    """Compilations are shared between cases of a shape; weights and inputs must not be."""
    case, other = (a_case("gru", lengths=None, seed=seed) for seed in (1, 2))
    first = built(framework, implementation, case, "float64", timed=True)
    second = built(framework, implementation, other, "float64", timed=True)
    for network in (first, second):
        network.forward_backward()
        network.synchronise()
    assert judge(first.extract(), yardstick(case, "float64")).agrees
    assert judge(second.extract(), yardstick(other, "float64")).agrees


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_agrees_or_is_declared(framework: Framework, implementation: str, dtype: str) -> None:
    case = a_case("gru")
    verdict = judge(run(framework, implementation, case, dtype), yardstick(case, dtype))
    assert verdict.agrees, verdict.reasons


def test_every_implementation_says_what_it_takes(framework: Framework, implementation: str) -> None:
    case = supported_case(framework, implementation)
    assert len(built(framework, implementation, case, "float64").path()) > 5


def test_the_path_tells_of_no_zeros_that_are_not_there(framework: Framework, implementation: str) -> None:
    path = built(framework, implementation, supported_case(framework, implementation), "float32").path()
    assert "zero biases" not in path


def test_builtin_cases_take_every_path(framework: Framework, implementation: str) -> None:
    """Of an implementation that names its paths, as tuned code must; what differs between cases must be named."""
    named = set(framework.implementations[implementation].paths)
    assert named or implementation != "tuned"
    if not named:
        return
    taken: list[set[str]] = []
    quick: set[str] = set()
    for name, case in CASES.items():
        for dtype in ("float32", "float64"):
            if framework.refusal(implementation, request_of(case, dtype, "cpu")) is None:
                taken.append(set(built(framework, implementation, case, dtype).path().split(", ")))
                quick |= taken[-1] if name in QUICK else set()
    always = set[str].intersection(*taken)
    varying = {part for part in set[str].union(*taken) - always if not part[0].isdigit()}
    assert varying == named
    supported = (each for each in drawn_cases() if framework.refusal(implementation, request_of(*each, "cpu")) is None)
    parts = [set(built(framework, implementation, *each).path().split(", ")) for each in islice(supported, DRAWN)]
    every = set[str].union(*parts)
    assert {part for part in every if not part[0].isdigit()} <= always | named, "a path that no built-in case takes"
    assert named <= quick, "verify --quick must take every path; benchmarks/maintain/quick_set.py finds its cases"


def test_a_case_of_the_quick_set_is_there_for_a_path_that_no_other_takes(
    framework: Framework, implementation: str
) -> None:
    """What is there for a mistake, tests/benchmarks/maintain/test_quick_set.py holds."""
    for only, reason in QUICK.items():
        if reason.get("implementation") != f"{framework.name}/{implementation}":
            continue
        takes = []
        for name in QUICK:
            asked = request_of(CASES[name], reason["dtype"], "cpu")
            if framework.refusal(implementation, asked) is None:
                path = built(framework, implementation, CASES[name], reason["dtype"]).path()
                takes += [name] if reason["part"] in path.split(", ") else []
        assert takes == [only], "run python -m benchmarks.maintain.quick_set"


def drawn_cases() -> Iterator[tuple[Case, str]]:
    """Cases of sizes around the edges that matter, as the fuzzer draws them, each with a dtype, without end: every
    value of a field comes in its turn, in an order drawn anew each time.
    """
    rng = np.random.default_rng(0)
    values: dict[str, Sequence[Any]] = {
        "cell": list(CELLS),
        "input_size": SIZES,
        "hidden_size": SIZES,
        "reverse": (0, 0, 0, 5),
        "directions": (1, 2, 2),
        "num_layers": LAYERS,
        "bias": (True, False),
        "merge": MERGES,
        "batch": SIZES,
        "seq_len": STEPS,
        "lengths": LENGTHS,
        "dtype": ("float32", "float64"),
    }
    fixed: dict[str, Any] = {"magnitude": "usual", "states": "given", "cotangents": "none", "seed": 0}
    turns: dict[str, list[Any]] = {name: [] for name in values}
    while True:
        for name, each in values.items():
            turns[name] = turns[name] or [each[i] for i in rng.permutation(len(each))]
        draw = Draw(**fixed, **{name: each.pop() for name, each in turns.items()})
        if draw.fits():
            yield case_of(draw), draw.dtype


def gap_cases() -> list[Case]:
    """Cases to look for a gap's failure in: the built-in ones, and deeper and longer ones; first the long ones, in
    which what a narrow format adds up shows soonest.
    """
    deep = [a_case(cell, lengths=None, num_layers=3) for cell in CELLS]
    ragged = [CASES[f"{cell}-ragged"].with_nonfinite_padding(np.random.default_rng(9), 3.0) for cell in CELLS]
    long = [a_case(cell, seq_len=40, lengths=(40, 31, 7)) for cell in CELLS]
    short = [case for case in CASES.values() if case.seq_len < 100]
    return [*long, *short, *ragged, *deep]


def test_every_gap_is_real(framework: Framework) -> None:
    """Some case in the gap, run anyway, raises or is wrong; else the gap is out of date. A GPU's gaps need a GPU."""
    candidates = [(case, dtype) for dtype in ("float64", "float32", "float16", "bfloat16") for case in gap_cases()]
    for gap in framework.gaps:
        inside = [(case, dtype) for case, dtype in candidates if gap.applies(request_of(case, dtype, "cpu"))]
        if not inside:
            assert any(gap.applies(request_of(case, dtype, "gpu")) for case, dtype in candidates), gap.what
            assert gap.read, f"{gap.what}: what could not be run must be marked as read"
            continue
        for name in gap.implementations:
            assert name in framework.implementations
            assert not all(agrees(framework, name, *each) for each in inside), f"{name} can do {gap.what}"


def agrees(framework: Framework, implementation: str, case: Case, dtype: str) -> bool:
    """Whether an implementation computes a case rightly, whatever it declares."""
    try:
        layer = built(framework, implementation, case, dtype)
        layer.forward_backward()
        layer.synchronise()
        result = layer.extract()
    except Exception:
        return False
    return judge(result, yardstick(case, dtype)).agrees


def test_scratch_supports_every_specification_and_both_precisions(framework: Framework) -> None:
    for case in CASES.values():
        for dtype in ("float32", "float64"):
            request = request_of(case, dtype, "cpu")
            assert request.subnormal or framework.refusal("scratch", request) is None


def test_gpu_is_declared_unsupported_where_there_is_none(framework: Framework) -> None:
    assert set(framework.devices()) <= set(DEVICES)
    if "gpu" not in framework.devices():
        declined = framework.refusal("scratch", request_of(CASES["gru-ragged"], "float32", "gpu"))
        assert declined == Refusal(f"{framework.name} sees no gpu on this machine")


def test_the_framework_says_its_versions(framework: Framework) -> None:
    assert all(version and "+" not in version for version in framework.versions().values())
    assert DTYPES == ("float16", "bfloat16", "float32", "float64")
