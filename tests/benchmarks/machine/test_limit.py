"""The limit: against numbers by hand, and against the products that the reference loop really does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.cases.case import BenchmarkCase, Spread
from benchmarks.machine.limit import (
    CHAIN,
    CLUSTER_BYTES,
    COMPUTE,
    MEMORY,
    SM_BYTES,
    Ceilings,
    limit,
    product_flops,
)
from common.cases.builtin import FORWARD
from common.cells import Product
from common.reference import Reference

SLOW = Ceilings(product=1e6, copy=1e5, barrier=1e-3)


def a_case(cell: str, **changes: Any) -> BenchmarkCase:
    """T7 B2 I3 H5, one layer, or as ``changes`` say."""
    sizes = {"input_size": 3, "hidden_size": 5, "num_layers": 1, "bias": True, "merge": "concat"}
    spec = {name: changes.pop(name, value) for name, value in (sizes | {"num_directions": 2}).items()}
    content = {"name": "a case", "spec": {"cell": cell, **spec}, "seq_len": 7, "batch": 2}
    return BenchmarkCase.model_validate(content | changes)


class Counting(Reference):
    """The reference, counting what its matrix products cost."""

    flops = 0

    def product(self) -> Product:
        multiply = super().product()

        def counted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            self.flops += 2 * a.shape[0] * a.shape[1] * b.shape[1]
            return multiply(a, b)

        return counted


def counted_flops(case: BenchmarkCase) -> tuple[int, int]:
    """Flops of the reference loop's products: forward, and forward with backward; row by row, so no padding counts."""
    made = case.make()
    counts = np.zeros(2, int)
    for row in range(case.batch):
        steps = case.seq_len if made.lengths is None else int(made.lengths[row])
        h_0, c_0 = (made.initial_state("h")[:, row : row + 1] for _ in range(2))
        loop = Counting(case.spec, made.weights, np.float64)
        outputs = loop.forward(made.x[row : row + 1, :steps], None, h_0, c_0)
        forward = loop.flops
        loop.backward(np.ones_like(outputs["output"]), np.ones_like(h_0), np.zeros_like(c_0))
        counts += forward, loop.flops
    return counts[0], counts[1]


def test_gru_by_hand_forward() -> None:
    bound = limit(a_case("gru"), "forward", 4, SLOW)
    # D·G·H = 30, B·T = 14: F_in = 2·30·3·14 = 2520, F_rec = 2·30·5·14 = 4200
    assert bound.flops == 6720
    assert bound.pointwise_flops == 14 * 10 * 14
    assert bound.bytes == 4 * (30 * 8 + 2 * 30 + 14 * 3 + 14 * 10)
    assert bound.steps == 7
    # per step: the product 2·30·5·2 / 1e6 = 0.6 ms, gates and states 4·2·10·4 / 1e5 = 3.2 ms
    assert bound.step_seconds == pytest.approx(1e-3 + 3.2e-3)
    assert bound.compute_seconds == pytest.approx(6720e-6)
    assert bound.memory_seconds == pytest.approx(1928e-5)
    assert bound.chain_seconds == pytest.approx(2520e-6 + 7 * 4.2e-3)
    assert bound.seconds == bound.chain_seconds
    assert bound.binding == CHAIN


def test_gru_by_hand_backward_and_train_step() -> None:
    case = a_case("gru", classes=6)
    backward = limit(case, "forward_backward", 4, SLOW)
    assert backward.flops == 3 * 6720
    forward_numbers = 30 * 8 + 2 * 30 + 14 * 3 + 14 * 10 + 4 * 14 * 10
    backward_numbers = 2 * 30 * 8 + 14 * 10 * 6 + 2 * 14 * 3 + 3 * 14 * 30
    assert backward.bytes == 4 * (forward_numbers + backward_numbers)
    assert backward.steps == 14
    assert backward.chain_seconds == pytest.approx((3 * 6720 - 2 * 4200) / 1e6 + 14 * 4.2e-3)
    step = limit(case, "train_step", 4, SLOW)
    # no gradient of x: −2·30·3·14; the head of 6 × 10, three times
    assert step.flops == 3 * 6720 - 2520 + 3 * 2 * 6 * 10 * 14
    moved_weights, head = 30 * 8 + 60, 3 * 60 + 2 * 14 * 10
    assert step.bytes == 4 * (forward_numbers + backward_numbers - 14 * 3 + head + moved_weights)


def test_two_layers_and_merge_by_hand() -> None:
    case = a_case("lstm", num_layers=2, merge="sum")
    # D·G·H = 40; the second layer reads 5 for sum, 10 for concat
    assert product_flops(case, "forward") == 2 * 40 * 14 * ((3 + 5) + (5 + 5))
    assert product_flops(a_case("lstm", num_layers=2), "forward") == 2 * 40 * 14 * ((3 + 5) + (10 + 5))
    assert limit(case, "forward", 4, SLOW).steps == 14


def test_one_direction_by_hand() -> None:
    """Half of everything but the input, and layers that run one step behind another."""
    one = a_case("gru", **FORWARD)
    bound = limit(one, "forward", 4, SLOW)
    assert bound.flops == 6720 / 2
    assert bound.bytes == 4 * (15 * 8 + 2 * 15 + 14 * 3 + 14 * 5)
    assert bound.step_seconds == pytest.approx(1e-3 + 1.6e-3)
    assert bound.chain_seconds == pytest.approx(1260e-6 + 7 * 2.6e-3)
    stacked = limit(a_case("gru", num_layers=3, **FORWARD), "forward", 4, SLOW)
    assert stacked.flops == 2 * 15 * 14 * (3 + 5 + 2 * (5 + 5))
    assert stacked.steps == 7 + 2
    assert stacked.chain_seconds == pytest.approx((stacked.flops - 3 * 2100) / 1e6 + 9 * 1e-3 + 3 * 7 * 1.6e-3)
    assert limit(a_case("gru", num_layers=3, **FORWARD), "forward_backward", 4, SLOW).steps == 18
    assert limit(a_case("gru", num_layers=3, lengths=(0, 0), **FORWARD), "forward", 4, SLOW).steps == 0


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"num_layers": 2}, {"num_layers": 3, "merge": "ave"}, {"lengths": (6, 2)}, FORWARD | {"num_layers": 2}],
)
def test_flops_are_those_of_the_reference_loop(cell: str, changes: dict[str, Any]) -> None:
    case = a_case(cell, **changes)
    forward, both = counted_flops(case)
    assert product_flops(case, "forward") == forward
    assert product_flops(case, "forward_backward") == both


def test_ragged_counts_real_steps_and_the_longest_row() -> None:
    ragged = limit(a_case("gru", lengths=(6, 2)), "forward", 4, SLOW)
    assert ragged.flops == 6720 * 8 / 14
    assert ragged.steps == 6
    # 8 rows' steps in 6 steps
    assert ragged.step_seconds == pytest.approx(1e-3 + 4 * (8 / 6) * 10 * 4 / 1e5)
    assert ragged.bytes == limit(a_case("gru"), "forward", 4, SLOW).bytes
    drawn = a_case("gru", lengths=Spread(low=0, high=3))
    assert limit(drawn, "forward", 4, SLOW).steps == 7


def test_a_case_of_empty_rows_has_a_limit() -> None:
    bound = limit(a_case("gru", lengths=(0, 0)), "forward", 4, SLOW)
    assert (bound.flops, bound.steps, bound.chain_seconds) == (0, 0, 0)
    assert bound.binding == MEMORY


def test_weights_that_do_not_stay_on_the_chip_are_read_at_each_step() -> None:
    case = a_case("gru")
    weights = 4 * 30 * 5
    kept = limit(case, "forward", 4, Ceilings(1e6, 1e5, 1e-3, on_chip=weights))
    read = limit(case, "forward", 4, Ceilings(1e6, 1e5, 1e-3, on_chip=weights - 1))
    assert kept.step_seconds == pytest.approx(1e-3 + 3.2e-3)
    assert read.step_seconds == pytest.approx(1e-3 + weights / 1e5)


@pytest.mark.parametrize(
    ("input_size", "ceilings", "binding"),
    [
        (3, Ceilings(1e3, 1e9, 0.0), COMPUTE),
        (300, Ceilings(1e9, 1e3, 0.0), MEMORY),
        (3, Ceilings(1e9, 1e9, 1e-3), CHAIN),
        # The chain contains the products: a barrier that adds less than 5 % leaves them what binds.
        (3, Ceilings(1e3, 1e9, 6.72 / 7 * 0.04), COMPUTE),
        (3, Ceilings(1e3, 1e9, 6.72 / 7 * 0.06), CHAIN),
    ],
)
def test_the_binding_term_is_the_largest(input_size: int, ceilings: Ceilings, binding: str) -> None:
    bound = limit(a_case("gru", input_size=input_size), "forward", 4, ceilings)
    assert bound.binding == binding
    assert bound.seconds == max(bound.compute_seconds, bound.memory_seconds, bound.chain_seconds)


def test_on_a_gpu_the_barrier_follows_what_holds_the_recurrent_weights() -> None:
    endless = Ceilings(product=math.inf, copy=math.inf, barrier=None)

    def barrier(hidden_size: int, bytes_per_element: int) -> float:
        case = a_case("lstm", hidden_size=hidden_size)
        return limit(case, "forward", bytes_per_element, endless).step_seconds

    assert 2 * 4 * 128**2 < SM_BYTES < 2 * 4 * 256**2 < CLUSTER_BYTES < 2 * 4 * 768**2
    assert barrier(128, 2) == 0.5e-6
    assert barrier(256, 2) == 0.63e-6
    assert barrier(768, 2) == 1.9e-6


def test_a_long_small_batch_on_a_gpu_is_bound_by_its_chain_and_far_from_the_product_rate() -> None:
    case = a_case("lstm", seq_len=1024, batch=16, input_size=768, hidden_size=768)
    bound = limit(case, "forward", 2, Ceilings(product=8e14, copy=3e12, barrier=None, on_chip=50e6))
    assert bound.binding == CHAIN
    assert bound.compute_seconds / bound.seconds < 0.25
    # FlashRNN's page has 2.01 ms for cuDNN on one direction: its waiting alone is nearly all of that
    assert 0.9 < bound.steps * 1.9e-6 / 2.01e-3 < 1


def test_half_the_bytes_halve_the_memory_term() -> None:
    case = a_case("gru")
    assert limit(case, "forward", 2, SLOW).memory_seconds == limit(case, "forward", 4, SLOW).memory_seconds / 2
