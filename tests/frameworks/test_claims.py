"""What the claims ask of each framework's own layer: as it is called rightly, and as tutorials call it."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.layer import inputs_of
from backends.worker.own_layer import implementation_of
from benchmarks.claims.statements.starts import cut, seed_case
from benchmarks.claims.statements.states import FOLDERS, case_with_states
from common.case import Case
from common.reference import Arrays


def called(framework: Framework, name: str, case: Case) -> Arrays:
    """What one of the framework's functions gives for a case, in float64."""
    module = importlib.import_module(f"benchmarks.claims.statements.natural.{FOLDERS[framework.name]}.natural")
    run = implementation_of(getattr(module, name), framework.name)(case.spec, "float64", "cpu")
    run.load_weights(case.weights)
    run.move_inputs(inputs_of(case))
    run.forward()
    run.synchronise()
    return run.extract()


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_a_layer_takes_the_states_of_both_directions_and_not_those_of_one(framework: Framework, cell: Any) -> None:
    case = case_with_states(cell)
    output = called(framework, "state_of_two_directions", case)["output"]
    assert output.shape == (case.batch, case.seq_len, 2 * case.spec.hidden_size)
    with pytest.raises(Exception, match=r"(?i)size|shape|unpack|index|call"):
        called(framework, "state_of_one_direction", case)


def test_default_weights_are_drawn_by_the_seed_and_in_canonical_order(framework: Framework) -> None:
    spec = case_with_states("gru").spec
    first, again, other = (
        cut(spec, called(framework, "default_weights", seed_case(spec, seed))["output"].ravel()) for seed in (0, 0, 1)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["weight_ih_l0"], other["weight_ih_l0"])
    assert not np.array_equal(first["weight_hh_l0"], first["weight_hh_l0_reverse"])
    if framework.name in ("jax", "tensorflow"):  # their recurrent kernels are orthogonal, each gate's or all together
        gate = first["weight_hh_l0"][: spec.hidden_size] if framework.name == "jax" else first["weight_hh_l0"]
        assert np.allclose(gate.T @ gate, np.eye(spec.hidden_size), atol=1e-6)
