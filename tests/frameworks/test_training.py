"""Train steps of every implementation of every framework, inside its own environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backends.base import Framework, Implementation, inputs_of, request_of
from common.case import Case
from common.precision import rounded_case
from common.training import Training, judge_step, rounded_training, training_yardstick
from tests.cases import a_case, a_training

CASES = {
    "gru-ragged": (a_case("gru"), "float32"),
    "lstm-two-layers": (a_case("lstm", lengths=None, num_layers=2), "float64"),  # where MXNet's own kernel has a trap
}
NO_BIASES: dict[str, Any] = {"cell": "rnn_tanh", "lengths": None, "bias": False}
"""Without biases several steps have one right answer."""
PLAIN = a_case(**NO_BIASES)


def loaded(framework: Framework, implementation: str, case: Case, training: Training, dtype: str) -> Implementation:
    """An implementation that is ready to train, or a skip with the declared reason."""
    reason = framework.unsupported(implementation, request_of(case, dtype, "cpu"))
    if reason is not None:
        pytest.skip(f"declared unsupported: {reason}")
    found = framework.implementations[implementation](case.spec, dtype, "cpu")
    case = rounded_case(case, dtype)
    found.load_weights(case.weights)
    found.move_inputs(inputs_of(case))
    found.load_training(rounded_training(training, dtype))
    return found


def stepped(network: Implementation, steps: int = 1) -> dict[str, np.ndarray]:
    """The result of so many train steps."""
    for _ in range(steps):
        network.train_step()
    network.synchronise()
    return network.extract()


@pytest.mark.parametrize("name", CASES)
def test_a_step_agrees_with_the_reference(framework: Framework, implementation: str, name: str) -> None:
    case, dtype = CASES[name]
    training = a_training(case)
    found = stepped(loaded(framework, implementation, case, training, dtype))
    verdict = judge_step(found, training_yardstick(case, training, dtype))
    assert verdict.agrees, verdict.reasons


def test_two_steps_agree_and_are_not_one(framework: Framework, implementation: str) -> None:
    """Weights stay moved, the head's bias with them; biases that stand for absent ones stay zeros."""
    training = a_training(PLAIN, learning_rate=0.5)
    network = loaded(framework, implementation, PLAIN, training, "float64")
    yards = [training_yardstick(PLAIN, training, "float64", steps=steps) for steps in (1, 2)]
    for yard in yards:
        verdict = judge_step(stepped(network), yard)
        assert verdict.agrees, verdict.reasons
    assert not judge_step(network.extract(), yards[0]).agrees


def test_what_is_computed_after_a_step_has_the_moved_weights(framework: Framework, implementation: str) -> None:
    network = loaded(framework, implementation, PLAIN, a_training(PLAIN, learning_rate=0.5), "float64")
    moved = stepped(network)
    weights = {name.removeprefix("trained."): value for name, value in moved.items() if "weight_" in name}
    network.forward()
    network.synchronise()
    output = network.extract()["output"]
    network.load_weights(weights)
    network.move_inputs(inputs_of(PLAIN))
    network.forward()
    network.synchronise()
    np.testing.assert_allclose(output, network.extract()["output"], rtol=1e-12, atol=1e-14)


def test_loading_again_starts_anew_at_another_learning_rate(framework: Framework, implementation: str) -> None:
    """As the benchmark does: one step is judged, then the timed ones begin from the first weights."""
    training = a_training(PLAIN)
    network = loaded(framework, implementation, PLAIN, training, "float64")
    stepped(network, steps=2)
    other = replace(training, learning_rate=training.learning_rate / 4)
    network.load_weights(PLAIN.weights)
    network.move_inputs(inputs_of(PLAIN))
    network.load_training(other)
    verdict = judge_step(stepped(network), training_yardstick(PLAIN, other, "float64"))
    assert verdict.agrees, verdict.reasons


def test_two_networks_at_once_do_not_disturb_each_other(framework: Framework, implementation: str) -> None:
    """Compilations are shared between networks of a shape; weights, labels and learning rates must not be."""
    cases = [a_case(**NO_BIASES, seed=seed) for seed in (1, 2)]
    trainings = [a_training(case, seed=seed) for seed, case in enumerate(cases)]
    networks = [loaded(framework, implementation, *each, "float64") for each in zip(cases, trainings, strict=True)]
    for network in networks:
        network.train_step()
    for case, training, network in zip(cases, trainings, networks, strict=True):
        network.synchronise()
        verdict = judge_step(network.extract(), training_yardstick(case, training, "float64"))
        assert verdict.agrees, verdict.reasons
