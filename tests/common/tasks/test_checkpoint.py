"""Checkpoints: what is written comes back, and what is of no use as a model is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.models.optimizers import OptimizerSettings
from common.models.pipeline_data import pipeline_data, pipeline_model
from common.models.specification import initialise, model_as_json
from common.models.trace import ReferenceTrainer
from common.tasks.checkpoint import VERSION, Checkpoint, CheckpointHeader, read_checkpoint, write_checkpoint

SPEC = pipeline_model()


def a_checkpoint(trainer: ReferenceTrainer) -> Checkpoint:
    header = CheckpointHeader(
        version=VERSION,
        task="pipeline",
        model=model_as_json(SPEC),
        vocabularies={"labels": {"names": ["b", "a", "e", "c", "d"]}},
        fingerprint="f" * 64,
        implementation="numpy/loop",
        dtype="float64",
        versions={"numpy": np.__version__},
        epoch=1,
        trace=[(1.5, 0.25, 0.125)],
        accuracies=[0.5],
    )
    return Checkpoint(header, SPEC, trainer.weights(), trainer.optimizer_state())


def trained(steps: int = 2, learning_rate: float = 0.01) -> ReferenceTrainer:
    weights = initialise(SPEC, np.random.default_rng(0))
    trainer = ReferenceTrainer(SPEC, weights, OptimizerSettings(name="adam", learning_rate=learning_rate))
    trainer.train([pipeline_data(0, sequences=4).all()] * steps)
    return trainer


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    written = a_checkpoint(trained())
    write_checkpoint(written, tmp_path / "c.safetensors")
    found = read_checkpoint(tmp_path / "c.safetensors")
    assert (found.header, found.spec) == (written.header, written.spec)
    for mine, its in ((found.weights, written.weights), (found.state, written.state)):
        assert mine.keys() == its.keys()
        assert all(np.array_equal(mine[name], its[name]) and mine[name].dtype == its[name].dtype for name in its)
    assert list(found.weights) == list(written.weights)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_checkpoint_of_training_that_diverged_is_refused(number: float, tmp_path: Path) -> None:
    found = a_checkpoint(trained())
    found.weights["rnn.weight_hh_l0"][2, 1] = number
    write_checkpoint(found, tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=r"c.safetensors: rnn.weight_hh_l0 must be finite; training has diverged"):
        read_checkpoint(tmp_path / "c.safetensors")
