"""Steps in float32 of the optimizers that keep something, against NumPy's in float64; and schedules."""

from __future__ import annotations

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.network import Network
from common.models.optimizers import (
    Optimizer,
    OptimizerName,
    OptimizerSettings,
    ScheduleName,
    trained_gradients,
    trained_parameters,
)
from common.models.small_cases import BatchShape, random_batch
from common.models.specification import Arrays, SequenceModel, initialise
from common.models.trace import ReferenceTrainer
from common.specification import Specification

MODEL = SequenceModel(
    rnn=Specification(cell="rnn_tanh", input_size=3, hidden_size=4, num_layers=1, bias=True, merge="concat"),
    readout="steps",
    classes=5,
)
STEPS = 3
SCHEDULED = 8
"""Steps of a schedule."""
RATES: dict[OptimizerName, float] = {"momentum": 1024.0, "adam": 64.0}
"""So large that the weights after a step are what they have moved by: then their digits are the step's."""
TYPICAL, WORST = 1e-6, 1e-4
"""How far the median element may be off, as a part of itself, and the worst one, whose gradient may be a difference of
larger numbers. Half a unit of float32's last digit is 6e-8."""


def off(moved: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """How far elements are off, as parts of themselves."""
    return np.abs(moved - expected)[expected != 0] / np.abs(expected[expected != 0])


def assert_near(moved: Arrays, expected: Arrays) -> None:
    assert moved.keys() == expected.keys()
    parts = np.concatenate([off(moved[name], expected[name]).ravel() for name in expected])
    assert np.median(parts) < TYPICAL
    assert parts.max() < WORST


def a_network(
    framework: Framework, settings: OptimizerSettings, batch: Arrays, dtype: str = "float32", timed: bool = False
) -> Network:
    """A network before its first step, with programs of its own if it is ``timed``."""
    name = next(
        name for name in framework.implementations if framework.model_refusal(name, MODEL, batch, dtype, "cpu") is None
    )
    network = framework.network(MODEL, name, dtype, "cpu")
    if not timed:
        network.reuse_programs()
    network.load_weights(initialise(MODEL, np.random.default_rng(0)))
    network.set_optimizer(settings)
    return network


@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("name", RATES)
def test_steps_in_float32_have_the_digits_of_float32(
    framework: Framework, name: OptimizerName, schedule: ScheduleName
) -> None:
    """Of the usual numbers. Every step begins with the first weights and with the state that the one before it gave,
    saved and loaded, and is held against NumPy's for the same gradients."""
    settings = OptimizerSettings(name=name, learning_rate=RATES[name], schedule=schedule, steps=STEPS)
    rng = np.random.default_rng(1)
    batches = [dict(random_batch(MODEL, BatchShape(6, 5, ragged=False), rng)) for _ in range(STEPS)]
    network = a_network(framework, settings, batches[0])
    weights, state = network.weights(), network.optimizer_state()
    for count, batch in enumerate(batches, 1):
        if count == STEPS:  # one that has taken no step
            network = a_network(framework, settings, batch)
        network.load_weights(weights)
        network.load_optimizer_state(state)
        gradients = trained_gradients(MODEL, network.results(batch))
        expected = Optimizer(settings)
        expected.load_state_arrays(state)
        after = expected.step(weights, {key: value.astype(np.float64) for key, value in gradients.items()})
        network.train([batch])
        moved, state = network.weights(), network.optimizer_state()
        assert state.pop("count") == count
        kept = expected.state_arrays()
        assert kept.pop("count") == count
        assert_near({key: moved[key] for key in gradients}, {key: after[key] for key in gradients})
        assert_near(state, kept)
        state["count"] = np.array(count, np.int64)
    assert set(gradients) == set(trained_parameters(MODEL))


def programs(framework: Framework, network: Network) -> int:
    """How many programs of a train step have been made, where the framework makes any."""
    if framework.name == "jax":
        from backends.jax_flax.models.network import _train_step

        return _train_step._cache_size()
    steps = getattr(network, "_steps", {})
    return sum(step.experimental_get_tracing_count() for step in steps.values())


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_a_scheduled_trace_is_the_references_and_goes_on_in_the_middle(
    framework: Framework, name: OptimizerName
) -> None:
    """In float64, with decay; interrupted within the warm-up and behind it, by one program for all rates."""
    settings = OptimizerSettings(
        name=name, learning_rate=0.2, weight_decay=0.1, schedule="cosine", warm_up=0.4, steps=SCHEDULED
    )
    rng = np.random.default_rng(2)
    batches = [dict(random_batch(MODEL, BatchShape(6, 5, ragged=False), rng)) for _ in range(SCHEDULED)]
    network = a_network(framework, settings, batches[0], "float64", timed=True)
    reference = ReferenceTrainer(MODEL, network.weights(), settings)
    expected = [list(vars(step).values()) for step in reference.train(batches)]
    trace, made = [], []
    for first, last in ((0, 2), (2, 6), (6, 8)):
        trace += [list(vars(step).values()) for step in network.train(batches[first:last])]
        made.append(programs(framework, network))
        weights, state = network.weights(), network.optimizer_state()
        network.load_weights(weights)
        network.load_optimizer_state(state)
    np.testing.assert_allclose(trace, expected, rtol=1e-9)
    assert made[0] == made[-1]
    for key, value in reference.optimizer_state().items():
        np.testing.assert_allclose(state[key], value, rtol=0, atol=1e-12, err_msg=key)
