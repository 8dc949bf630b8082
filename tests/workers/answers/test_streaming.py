"""Streaming: which windows a row falls into, what is computed, what is exact; and that is what a model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from birnn_numpy_loop import load
from birnn_numpy_loop.framework import Loop

from backends.interface.layer import Inputs
from backends.pool.network import RemoteNetwork
from backends.worker.messages import AskNetwork, NotDone, OpenNetwork, TrainNetwork
from backends.worker.networks import Networks
from backends.worker.streaming import Streamed
from common.errors import InputError
from common.models.optimizers import OptimizerSettings
from common.models.small_cases import model_cases
from common.models.specification import SequenceModel
from common.models.streaming import Streaming, check_streamed, computed_steps, exact_steps
from tests.frameworks.streaming.by_the_equations import LENGTHS, a_tagger, expected_logits, weights_and_batch

PACES = [Streaming(chunk=chunk, look_ahead=ahead) for chunk, ahead in ((1, 0), (1, 3), (2, 0), (3, 2), (4, 5), (20, 7))]
FORWARD_ONLY = {"num_directions": 1, "merge": None}
MODELS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "two layers": {"num_layers": 2, "hidden_size_reverse": 2},
    "three layers": {"cell": "gru", "num_layers": 3, "merge": "weighted"},
    "without biases": {"cell": "rnn_tanh", "num_layers": 2, "merge": "mul", "bias": False},
    "average": {"cell": "rnn_tanh", "merge": "ave"},
    "forward only": {"num_layers": 2, **FORWARD_ONLY},
}


def streamed(spec: SequenceModel, batch: dict[str, np.ndarray], weights: dict[str, np.ndarray], pace: Streaming) -> Any:
    framework = load()
    network = framework.network(spec, "loop", "float64", "cpu")
    network.load_weights(weights)
    return Streamed(framework, network, pace).predict(batch), network.predict(batch)


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_the_equations_and_exact_where_it_is_said(name: str) -> None:
    """A step is counted as exact if and only if it can be told from its window that it is."""
    spec = a_tagger(**MODELS[name])
    weights, batch = weights_and_batch(spec)
    for pace in PACES:
        if spec.rnn.num_directions == 1 and pace.look_ahead:
            continue
        answers, whole = streamed(spec, batch, weights, pace)
        expected = expected_logits(spec, weights, batch, pace)
        np.testing.assert_allclose(answers["logits"], expected, rtol=0, atol=1e-12, err_msg=str(pace))
        np.testing.assert_array_equal(answers["labels"], answers["logits"].argmax(axis=-1))
        assert len(answers["seconds"]) == len(list(pace.windows(max(LENGTHS))))
        same = (np.abs(answers["logits"] - whole["logits"]) < 1e-12).all(axis=-1)
        counts = [int(same[row, :length].sum()) for row, length in enumerate(LENGTHS)]
        assert counts == [exact_steps(spec.rnn, pace, length) for length in LENGTHS], pace


def test_a_stream_is_of_the_parameters_that_the_model_has_now(tmp_path: Path) -> None:
    """Its layers are kept from one question to the next, but not over a step of training."""
    spec = a_tagger()
    weights, batch = weights_and_batch(spec)
    rows, steps = batch["tokens"].shape
    counted = np.arange(steps) < batch["lengths"][:, None]
    labelled = batch | {"labels": np.zeros((rows, steps), np.int64), "counted": counted}
    networks = Networks(load())
    does: dict[Any, Any] = {OpenNetwork: networks.open, AskNetwork: networks.ask, TrainNetwork: networks.train}

    def ask(request: Any) -> Any:
        return does[type(request)](request)

    network = RemoteNetwork("a", ask, lambda reason: NotDone("failed", reason), tmp_path.joinpath)
    settings = OptimizerSettings(name="sgd", learning_rate=0.5)
    network.open(spec, "loop", "float64", "cpu", weights, labelled, settings)
    pace = Streaming(chunk=3, look_ahead=6)
    before, again = (network.answers("predict", [batch], streaming=pace)[0]["logits"] for _ in range(2))
    (kept,) = networks.streams["a"].values()
    np.testing.assert_array_equal(before, again)
    network.train([labelled])
    (after,) = network.answers("predict", [batch], streaming=pace)
    assert networks.streams["a"][pace] is not kept
    np.testing.assert_allclose(after["logits"], network.answers("predict", [batch])[0]["logits"], rtol=0, atol=1e-12)
    assert np.abs(after["logits"] - before).max() > 0.01


def test_the_windows_of_a_row() -> None:
    pace = Streaming(chunk=4, look_ahead=3)
    assert list(pace.windows(10)) == [(0, 4, 3), (4, 4, 2), (8, 2, 0)]
    assert list(pace.windows(4)) == [(0, 4, 0)]
    assert (pace.wait(10), pace.wait(5), pace.wait(1)) == (7, 5, 1)
    assert list(Streaming(chunk=1).windows(2)) == [(0, 1, 0), (1, 1, 0)]


@pytest.mark.parametrize("name", ["lstm", "three layers", "forward only"])
def test_so_many_steps_are_computed_as_are_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one row whose length the chunk divides, so that nothing is padded."""
    spec = a_tagger(**MODELS[name])
    weights, batch = weights_and_batch(spec)
    pace = Streaming(chunk=3, look_ahead=0 if spec.rnn.num_directions == 1 else 2)
    counted: list[int] = []
    move_inputs = Loop.move_inputs

    def counting(self: Loop, inputs: Inputs) -> None:
        counted.append(inputs.x.shape[1] if inputs.lengths is None else int(inputs.lengths.sum()))
        move_inputs(self, inputs)

    monkeypatch.setattr(Loop, "move_inputs", counting)
    streamed(spec, {name: value[:1] for name, value in batch.items()}, weights, pace)
    assert sum(counted) == sum(computed_steps(spec.rnn, window) for window in pace.windows(9))


def test_a_model_without_an_answer_for_each_step_is_refused() -> None:
    models = {case.name: case.spec for case in model_cases()}
    refused = {
        "classifier": "reads the final states",
        "translator-attention": "decodes the whole",
        "tagger-crf": "a CRF answers whole rows",
    }
    for name, sentence in refused.items():
        with pytest.raises(InputError, match=sentence):
            check_streamed(models[name], Streaming(chunk=2))
    forward = a_tagger(**FORWARD_ONLY)
    assert check_streamed(forward, Streaming(chunk=2)) is forward
    with pytest.raises(InputError, match=r"--look-ahead must be 0 for a model of one direction.*; got 3"):
        check_streamed(forward, Streaming(chunk=2, look_ahead=3))
