"""The training rule: each optimizer against steps worked out by hand, clipping, decay, the two biases, resuming."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.errors import InputError
from common.models.optimizers import (
    Optimizer,
    OptimizerSettings,
    global_norm,
    gradient_masks,
    optimizer_from_json,
    state_shapes,
    trained_gradients,
    trained_parameters,
)
from common.models.reference import run
from common.models.small_cases import ModelCase, model_cases
from common.models.specification import parameters
from common.models.trace import ReferenceTrainer, Step, train
from common.reference import Arrays

CASES = {case.name: case for case in model_cases()}
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"name": "sgd", "learning_rate": 0.5},
    "momentum": {"name": "momentum", "learning_rate": 0.2},
    "adam": {"name": "adam", "learning_rate": 0.05},
    "all": {"name": "adam", "learning_rate": 0.05, "epsilon": 1e-3, "weight_decay": 0.1, "clip_norm": 0.02},
    "scheduled": {"name": "momentum", "learning_rate": 0.2, "schedule": "cosine", "warm_up": 0.3, "steps": 6},
}


def settings(**content: Any) -> OptimizerSettings:
    return OptimizerSettings(**content)


def vector(*values: float) -> Arrays:
    return {"p": np.array(values, float)}


def test_sgd_subtracts_the_rate_times_the_gradient() -> None:
    optimizer = Optimizer(settings(name="sgd", learning_rate=0.5))
    np.testing.assert_array_equal(optimizer.step(vector(1, 2), vector(4, -2))["p"], [-1, 3])
    assert (optimizer.count, optimizer.state) == (1, {})


def test_momentum_sums_the_gradients() -> None:
    optimizer = Optimizer(settings(name="momentum", learning_rate=0.5, momentum=0.5))
    once = optimizer.step(vector(1), vector(4))  # m = 4
    twice = optimizer.step(once, vector(2))  # m = 0.5·4 + 2 = 4
    np.testing.assert_array_equal([once["p"], twice["p"]], [[-1], [-3]])
    np.testing.assert_array_equal(optimizer.state["momentum"]["p"], [4])


def test_adam_adds_epsilon_to_the_root_of_the_corrected_second_moment() -> None:
    """With β1 = 1/2, β2 = 3/4, rate 1 and ε = 2: gradients 4, then −2."""
    optimizer = Optimizer(settings(name="adam", learning_rate=1, beta1=0.5, beta2=0.75, epsilon=2))
    once = optimizer.step(vector(10), vector(4))  # first 2/(1/2) = 4, second 4/(1/4) = 16: 4/(4 + 2)
    assert once["p"][0] == pytest.approx(10 - 4 / 6, rel=1e-15)
    twice = optimizer.step(once, vector(-2))  # first (1 − 1)/(3/4) = 0
    np.testing.assert_array_equal(twice["p"], once["p"])
    np.testing.assert_array_equal(optimizer.state["second"]["p"], [4])  # 3/4·4 + 1/4·4
    thrice = optimizer.step(twice, vector(8))  # first 4/(7/8), second (3 + 16)/(1 − 27/64)
    assert thrice["p"][0] == pytest.approx(twice["p"][0] - 4 / (7 / 8) / (np.sqrt(19 * 64 / 37) + 2), rel=1e-15)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_decay_shrinks_matrices_alone_and_apart_from_the_gradient(name: str) -> None:
    weights = {"matrix": np.array([[8.0, -4.0]]), "vector": np.array([8.0])}
    gradients = {key: np.zeros_like(value) for key, value in weights.items()}
    after = Optimizer(settings(name=name, learning_rate=0.5, weight_decay=0.25)).step(weights, gradients)
    np.testing.assert_array_equal(after["matrix"], [[7, -3.5]])
    np.testing.assert_array_equal(after["vector"], [8])
    assert weights["matrix"][0, 0] == 8


def test_clipping_scales_all_gradients_to_the_norm_and_never_up() -> None:
    gradients = {"a": np.array([3.0]), "b": np.array([[0.0, 4.0]])}
    weights = {key: np.zeros_like(value) for key, value in gradients.items()}
    assert global_norm(gradients) == 5
    clipped = Optimizer(settings(name="sgd", learning_rate=1, clip_norm=2.5)).step(weights, gradients)
    np.testing.assert_array_equal([clipped["a"][0], clipped["b"][0, 1]], [-1.5, -2])
    whole = Optimizer(settings(name="sgd", learning_rate=1, clip_norm=6)).step(weights, gradients)
    np.testing.assert_array_equal([whole["a"][0], whole["b"][0, 1]], [-3, -4])
    still = Optimizer(settings(name="sgd", learning_rate=1, clip_norm=1)).step(weights, weights)
    assert still["a"][0] == 0


def test_the_norm_of_narrow_gradients_does_not_overflow() -> None:
    assert global_norm({"a": np.full(4, 6e4, np.float16)}) == pytest.approx(1.2e5, rel=1e-3)


# Schedules.


def rates(steps: int, **content: Any) -> list[float]:
    every = settings(name="sgd", learning_rate=2, steps=steps, **content)
    return [every.rate(step) for step in range(1, steps + 1)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, [2, 2, 2, 2]),
        ({"schedule": "linear"}, [2, 1.5, 1, 0.5]),
        ({"schedule": "cosine"}, [2, 1 + np.sqrt(0.5), 1, 1 - np.sqrt(0.5)]),
        ({"warm_up": 0.5}, [2 / 3, 4 / 3, 2, 2]),
        ({"schedule": "linear", "warm_up": 0.5}, [2 / 3, 4 / 3, 2, 1]),
        ({"schedule": "cosine", "warm_up": 0.25}, [1, 2, 1.5, 0.5]),
        ({"schedule": "linear", "warm_up": 0.01}, [1, 2, 4 / 3, 2 / 3]),  # one step at least
        ({"warm_up": 0.99}, [0.5, 1, 1.5, 2]),  # the last step has the whole rate
    ],
)
def test_the_rate_of_each_step_is_that_of_its_schedule(content: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(rates(4, **content), expected, rtol=1e-15)


def test_a_schedule_of_one_step_has_the_whole_rate() -> None:
    assert rates(1, schedule="cosine", warm_up=0.5) == rates(1, schedule="linear") == [2]


def test_behind_the_last_step_the_rate_stays() -> None:
    linear = settings(name="sgd", learning_rate=2, schedule="linear", steps=4)
    assert linear.rate(5) == linear.rate(4) == 0.5


def test_the_length_of_a_training_makes_a_difference_to_a_schedule_alone() -> None:
    """So a training at a constant rate can be gone on with for more epochs, and is the same in JSON as before."""
    constant = settings(**SETTINGS["all"])
    assert constant.over(7) == constant
    assert not {"schedule", "warm_up", "steps"} & constant.model_dump().keys()
    linear = settings(**SETTINGS["all"], schedule="linear")
    with pytest.raises(ValueError, match="steps must be given for a schedule"):
        linear.rate(1)
    assert optimizer_from_json(linear.over(7).model_dump()) == linear.over(7) != linear.over(8)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_a_schedule_changes_the_rate_of_the_step_and_nothing_that_is_kept(name: str) -> None:
    """Each step of a schedule is one of an optimizer at that rate, decay included, from the same state."""
    content = {"name": name, "learning_rate": 0.5, "weight_decay": 0.25}
    scheduled = Optimizer(settings(**content, schedule="linear", steps=3))
    weights = {"p": np.array([[8.0, -4.0]])}
    for step, share in enumerate((1, 2 / 3, 1 / 3)):
        plain = Optimizer(settings(**content | {"learning_rate": 0.5 * share}))
        plain.load_state_arrays(scheduled.state_arrays())
        gradients = {"p": np.array([[1.0 + step, 3.0]])}
        expected = plain.step(weights, gradients)
        weights = scheduled.step(weights, gradients)
        np.testing.assert_allclose(weights["p"], expected["p"], rtol=1e-15)
        for key, value in plain.state_arrays().items():
            np.testing.assert_array_equal(scheduled.state_arrays()[key], value)


# The two-bias rule.

ADDED = {"tagger": ["rnn."], "tagger-mul": ["rnn."], "pipeline": ["rnn."]}
"""Cases in which all of bias_hh is only added to bias_ih."""


@pytest.mark.parametrize("name", ADDED)
def test_a_bias_that_is_only_added_is_not_trained(name: str) -> None:
    case = CASES[name]
    trained = trained_parameters(case.spec)
    assert set(parameters(case.spec)) - set(trained) == {key for key in case.weights if "bias_hh" in key}
    assert not gradient_masks(case.spec)
    results = run(case.spec, case.weights, case.batch)
    for key in case.weights:
        if "bias_hh" in key:  # why: its gradient is that of bias_ih
            np.testing.assert_array_equal(results[f"grad.{key}"], results[f"grad.{key.replace('hh', 'ih')}"])


@pytest.mark.parametrize("name", ["classifier", "translator-bidirectional"])
def test_a_reset_after_gru_trains_the_third_gates_rows_alone(name: str) -> None:
    case = CASES[name]
    results = run(case.spec, case.weights, case.batch)
    gradients = trained_gradients(case.spec, results)
    assert list(gradients) == list(parameters(case.spec))
    biases = [key for key in gradients if "bias_hh" in key]
    assert set(biases) == set(gradient_masks(case.spec))
    for key in biases:
        first = results[f"grad.{key.replace('hh', 'ih')}"]
        np.testing.assert_array_equal(results[f"grad.{key}"][:10], first[:10])  # rows r, z of 5 units each
        assert not gradients[key][:10].any()
        np.testing.assert_array_equal(gradients[key][10:], results[f"grad.{key}"][10:])
        assert (gradients[key][10:] != first[10:]).all()


def one_bias(case: ModelCase) -> Arrays:
    """The weights with all that bias_hh only adds moved into bias_ih, as a framework with one bias holds them."""
    changed = dict(case.weights)
    masks = gradient_masks(case.spec)
    for key in case.weights:
        if "bias_hh" in key:
            stays = changed[key] * masks.get(key, 0)
            first = key.replace("hh", "ih")
            changed[first], changed[key] = changed[first] + changed[key] - stays, stays
    return changed


@pytest.mark.parametrize("optimizer", SETTINGS)
@pytest.mark.parametrize("name", ["tagger", "tagger-mul", "classifier", "translator-attention"])
def test_one_bias_and_two_train_equally(name: str, optimizer: str) -> None:
    """Gradient norms and clipping included: the trace is the same to rounding."""
    case = CASES[name]
    first, second = (
        train(case.spec, weights, [case.batch] * 4, settings(**SETTINGS[optimizer]))
        for weights in (case.weights, one_bias(case))
    )
    for each, other in zip(first, second, strict=True):
        assert each.loss == pytest.approx(other.loss, rel=1e-9)
        assert each.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-9)


def test_with_both_biases_trained_they_would_not() -> None:
    case = CASES["tagger"]
    raw = run(case.spec, case.weights, case.batch)
    doubled = {name: raw[f"grad.{name}"] for name in parameters(case.spec)}
    assert global_norm(doubled) > 1.01 * global_norm(trained_gradients(case.spec, raw))


def test_a_frozen_embedding_and_frozen_biases_stay_as_they_are() -> None:
    case = CASES["tagger-frozen"]
    trainer = ReferenceTrainer(case.spec, case.weights, settings(**SETTINGS["all"]))
    trainer.train([case.batch] * 3)
    after = trainer.weights()
    assert "embedding" not in trained_parameters(case.spec)
    np.testing.assert_array_equal(after["embedding"], case.weights["embedding"])
    np.testing.assert_array_equal(after["rnn.bias_hh_l0"][:10], case.weights["rnn.bias_hh_l0"][:10])
    moved = [key for key in after if (after[key] != case.weights[key]).any()]
    assert moved == trained_parameters(case.spec)


# Training by the reference.


@pytest.mark.parametrize("name", CASES)
def test_training_lowers_the_loss(name: str) -> None:
    case = CASES[name]
    steps = train(case.spec, case.weights, [case.batch] * 12, settings(name="adam", learning_rate=0.05))
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert steps[-1].accuracy >= steps[0].accuracy


def test_a_step_holds_what_was_before_the_update_and_before_clipping() -> None:
    case = CASES["tagger"]
    results = run(case.spec, case.weights, case.batch)
    (step,) = train(case.spec, case.weights, [case.batch], settings(**SETTINGS["all"]))
    norm = global_norm(trained_gradients(case.spec, results))
    assert norm > 0.02
    assert step == Step(float(results["loss"]), int(results["correct"]) / case.batch["counted"].sum(), norm)


@pytest.mark.parametrize("optimizer", SETTINGS)
def test_training_resumes_with_the_same_trace(optimizer: str) -> None:
    case = CASES["translator-attention"]
    chosen = settings(**SETTINGS[optimizer])
    whole = train(case.spec, case.weights, [case.batch] * 6, chosen)
    first = ReferenceTrainer(case.spec, case.weights, chosen)
    before = first.optimizer_state()
    assert {name: value.shape for name, value in before.items()} == state_shapes(case.spec, chosen)
    assert not any(value.any() for value in before.values())
    start = first.train([case.batch] * 3)
    state = first.optimizer_state()
    assert {name: value.shape for name, value in state.items()} == state_shapes(case.spec, chosen)
    assert state["count"] == 3
    second = ReferenceTrainer(case.spec, first.weights(), chosen)
    second.load_optimizer_state(state)
    assert start + second.train([case.batch] * 3) == whole


def test_the_trainer_leaves_the_weights_it_is_given() -> None:
    case = CASES["pipeline"]
    before = {name: value.copy() for name, value in case.weights.items()}
    train(case.spec, case.weights, [case.batch], settings(**SETTINGS["sgd"]))
    assert all((before[name] == case.weights[name]).all() for name in before)


def test_float32_trains_in_float32() -> None:
    case = CASES["tagger"]
    traces = [
        ReferenceTrainer(case.spec, case.weights, settings(**SETTINGS["all"]), dtype).train([case.batch] * 5)
        for dtype in (np.float64, np.float32)
    ]
    apart = [abs(first.loss - second.loss) for first, second in zip(*traces, strict=True)]
    assert 0 < max(apart) < 1e-4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "lion"}, "name"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"beta1": 1}, "beta1"),
        ({"clip_norm": -1}, "clip_norm"),
        ({"nesterov": True}, "must have no unknown keys"),
        ({"schedule": "step"}, "schedule"),
        ({"warm_up": 1}, "warm_up"),
        ({"warm_up": float("nan")}, "warm_up"),
        ({"steps": 0}, "steps"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        optimizer_from_json(SETTINGS["adam"] | change)
