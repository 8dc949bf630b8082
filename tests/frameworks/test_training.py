"""Train steps of every implementation of every framework, inside its own environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface.framework import Framework
from backends.interface.gaps import request_of
from backends.interface.layer import Implementation, inputs_of
from backends.worker.messages import OpenLayer
from backends.worker.opening import opening_of
from common.case import Case, write_case
from common.judging.precision import rounded_case
from common.tensorfile import as_bytes, write_bytes
from common.training import (
    ReferenceStep,
    Training,
    judge_step,
    rounded_training,
    trained_kernels,
    training_yardstick,
)
from tests.cases import a_case, a_training

CASES = {
    "gru-ragged": (a_case("gru"), "float32"),
    "lstm-two-layers": (a_case("lstm", lengths=None, num_layers=2), "float64"),  # where MXNet's own kernel has a trap
}
NO_BIASES: dict[str, Any] = {"cell": "rnn_tanh", "lengths": None, "bias": False, "merge": "weighted"}
"""Without biases several steps have one right answer; the merge is learned."""
PLAIN = a_case(**NO_BIASES)


def loaded(
    framework: Framework, implementation: str, case: Case, training: Training, dtype: str, timed: bool = False
) -> Implementation:
    """An implementation that is ready to train, or a skip with the declared reason; with programs of its own if it is
    ``timed``.
    """
    declined = framework.refusal(implementation, request_of(case, dtype, "cpu"))
    if declined is not None:
        pytest.skip(f"{declined.status}: {declined.reason}")
    layer = framework.implementations[implementation](case.spec, dtype, "cpu")
    if not timed:
        layer.reuse_programs()
    case = rounded_case(case, dtype)
    layer.load_weights(case.weights)
    layer.move_inputs(inputs_of(case))
    layer.load_training(rounded_training(training, dtype))
    return layer


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
    moved = stepped(loaded(framework, implementation, case, training, dtype))
    verdict = judge_step(moved, training_yardstick(case, training, dtype))
    assert verdict.agrees, verdict.reasons


def test_two_steps_agree_and_are_not_one(framework: Framework, implementation: str) -> None:
    """Weights stay moved, the merge and the head's bias with them; biases that stand for absent ones stay zeros."""
    training = a_training(PLAIN, learning_rate=0.5)
    network = loaded(framework, implementation, PLAIN, training, "float64")
    yards = [training_yardstick(PLAIN, training, "float64", steps=steps) for steps in (1, 2)]
    for yard in yards:
        verdict = judge_step(stepped(network), yard)
        assert verdict.agrees, verdict.reasons
    assert not judge_step(network.extract(), yards[0]).agrees


class OneBias(ReferenceStep):
    """Trains the sum of two biases as one: ``bias_hh`` stays."""

    still: tuple[str, ...] = ("bias_hh",)

    def step(self) -> None:
        before = dict(self._reference.weights)
        super().step()
        self._reference.weights.update({name: before[name] for name in before if name.startswith(self.still)})


class NoBias(OneBias):
    still = ("bias",)


def test_biases_are_trained(framework: Framework, implementation: str) -> None:
    """Each of the two, or their sum once: by the second step's loss, and by all that it moved."""
    case, dtype = CASES["lstm-two-layers"]
    training = a_training(case, learning_rate=0.5)
    moved = stepped(loaded(framework, implementation, case, training, dtype), steps=2)
    fitting = []
    for kind in (ReferenceStep, OneBias, NoBias):
        trainer = kind(case, training, np.float64)
        trainer.step()
        trainer.step()
        right = trainer.results()
        assert moved.keys() == right.keys()
        if all(np.allclose(moved[name], right[name], rtol=1e-9, atol=1e-12) for name in right):
            fitting.append(kind)
    assert fitting in ([ReferenceStep], [OneBias])


def test_what_is_computed_after_a_step_has_the_moved_weights(framework: Framework, implementation: str) -> None:
    network = loaded(framework, implementation, PLAIN, a_training(PLAIN, learning_rate=0.5), "float64")
    moved = stepped(network)
    weights = {name: moved[f"trained.{name}"] for name in trained_kernels(PLAIN.spec)}
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


def test_steps_that_are_timed_begin_with_the_first_weights(framework: Framework, tmp_path: Path) -> None:
    """Not with those to which the telling rate has led, at which the first step was judged."""
    training = a_training(PLAIN)
    usual = replace(training, learning_rate=training.learning_rate / 4)
    write_case(PLAIN, tmp_path / "case.safetensors")
    arrays = {"weight": training.weight, "bias": training.bias, "labels": training.labels}
    write_bytes(tmp_path / "training.safetensors", as_bytes(arrays, {}))
    files: dict[str, Any] = {name: tmp_path / f"{name}.safetensors" for name in ("case", "training")}
    rates: dict[str, Any] = {"learning_rate": usual.learning_rate, "telling_rate": training.learning_rate}
    how: dict[str, Any] = {
        "implementation": "scratch",
        "dtype": "float64",
        "device": "cpu",
        "lane": "exact",
        "work": "train_step",
    }
    opening = opening_of(framework, OpenLayer(**how, **files, **rates, handle="a layer"))
    opened = opening.build()
    for expected in (training, usual):
        opened.call()
        opened.run.synchronise()
        verdict = judge_step(opened.run.extract(), training_yardstick(PLAIN, expected, "float64"))
        assert verdict.agrees, verdict.reasons
        opening.judged(tmp_path / "result.safetensors", 0.1)


def test_two_networks_at_once_do_not_disturb_each_other(framework: Framework, implementation: str) -> None:
    """Compilations are shared between networks of a shape; weights, labels and learning rates must not be."""
    cases = [a_case(**NO_BIASES, seed=seed) for seed in (1, 2)]
    trainings = [a_training(case, seed=seed) for seed, case in enumerate(cases)]
    pairs = zip(cases, trainings, strict=True)
    networks = [loaded(framework, implementation, *each, "float64", timed=True) for each in pairs]
    for network in networks:
        network.train_step()
    for case, training, network in zip(cases, trainings, networks, strict=True):
        network.synchronise()
        verdict = judge_step(network.extract(), training_yardstick(case, training, "float64"))
        assert verdict.agrees, verdict.reasons
